"""Requests, facts and journal headers of made-up runs."""

from __future__ import annotations

from typing import Any

import msgspec

from bdd100k_zoo.backends.protocol import DetectorFacts
from bdd100k_zoo.prediction.journal import JournalHeader, ProcessInfo
from bdd100k_zoo.prediction.run import RunRequest, WeightsUsed

WEIGHTS = WeightsUsed(
    path="x.pth",
    size=3,
    md5="0" * 32,
    sha256="a" * 64,
    verified=False,
    verified_by=None,
    unverified_because="no digest is recorded",
    address=None,
)
REQUEST = RunRequest(
    model="fcos_r50_fpn_1x",
    config="x.py",
    config_sha256="0" * 64,
    cfg_options={"a": 1},
    split=None,
    image_roots=("/data/b", "/data/a"),
    frames=100,
    frames_sha256="f" * 64,
    weights_sha256="a" * 64,
    precision="fp32",
)
FACTS = DetectorFacts(
    backend="mmdet3",
    device="cuda:1",
    device_name="a card",
    precision="fp32",
    ops="torchvision",
    optimised=True,
    batch_size=8,
    threads=None,
    versions={"python": "3.11", "torch": "2.15", "mmdet": "3.3.0"},
)
PROCESS = ProcessInfo(started="2030-01-02T03:04:05+00:00", load=0.5)


def make_header(**changes: Any) -> JournalHeader:
    """Return a header with other values of fields of its request, its facts or its own."""
    request = {name: changes[name] for name in RunRequest.__struct_fields__ if name in changes}
    facts = {name: changes[name] for name in DetectorFacts.__struct_fields__ if name in changes}
    own = {name: changes[name] for name in JournalHeader.__struct_fields__ if name in changes}
    return JournalHeader(
        request=msgspec.structs.replace(REQUEST, **request),
        facts=msgspec.structs.replace(FACTS, **facts),
        **({"weights": WEIGHTS, "chunk_size": 32} | own),
    )
