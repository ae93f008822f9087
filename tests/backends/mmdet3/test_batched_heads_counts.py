"""What a batch of 8 in fp16 asks of a GPU when the heads select its boxes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fake_cuda import count_inference
from reference import differences_from_frozen

from bdd100k_zoo.backends.mmdet3 import detector as detectors
from bdd100k_zoo.backends.mmdet3.batched_heads import batch_heads
from bdd100k_zoo.registry import load_zoo

if TYPE_CHECKING:
    from pathlib import Path

LAUNCHES = {
    "faster_rcnn_r50_fpn_1x": (1373, 2),
    "retinanet_r50_fpn_1x": (1113, 1),
    "cascade_rcnn_r50_fpn_1x": (1873, 2),
    "fcos_r50_fpn_1x": (1253, 1),
    "fcos_tricks_r50_fpn_1x": (1266, 1),
    "atss_r50_fpn_1x": (1348, 1),
    "atss_r50_fpn_dyhead_1x": (3139, 1),
    "libra_faster_r50_fpn_1x": (1410, 2),
}
"""Launches with mmdet's own heads, and how often the heads that select at once may wait for a number of boxes."""

POOLINGS = {"cascade_rcnn_r50_fpn_1x": 3}
"""Each pooling copies the number of regions of the levels back. One-stage models have none."""

OTHER_LEVELS = 15
"""Launches of a pooling that are not counted: copies back contain zeros, so that one level has all regions."""

SAVED = {"fcos_r50_fpn_1x": 590, "fcos_tricks_r50_fpn_1x": 590, "atss_r50_fpn_1x": 670, "atss_r50_fpn_dyhead_1x": 670}
"""Where the network alone takes more than half of the launches: how many launches the heads save."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if "retina" in name else pytest.mark.slow) for name in LAUNCHES]
)
def test_a_batch_waits_once_for_each_suppression(name: str) -> None:
    before, waits = LAUNCHES[name]
    poolings = POOLINGS.get(name, waits - 1)
    (counts,) = count_inference(name, "fp16", 8)
    assert counts.syncs.total() <= waits
    assert counts.copies_back.total() <= 1 + poolings
    assert not [place for place in counts.blocking_copies if "batched_heads" in place]
    assert not counts.mixed
    most = before - SAVED[name] if name in SAVED else before // 2
    assert counts.launches + poolings * OTHER_LEVELS <= most


@pytest.mark.parametrize(
    "name",
    [
        "retinanet_r50_fpn_1x",
        *[
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "faster_rcnn_r50_fpn_1x",
                "cascade_rcnn_r50_fpn_1x",
                "fcos_tricks_r50_fpn_1x",
                "atss_r50_fpn_1x",
            )
        ],
    ],
)
def test_batched_heads_get_the_classic_boxes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batched = []

    def speed_up(self: detectors.MmdetDetector, *_: object) -> bool:
        batched.append(batch_heads(self._model))
        return True

    monkeypatch.setattr(detectors.MmdetDetector, "_speed_up", speed_up)
    assert differences_from_frozen(load_zoo()[name], "mmdet3", tmp_path) == []
    assert batched == [True]
