"""A zoo of four models with the demo's weights: good, with a wrong published AP, damaged, and on a dead host."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any

import yaml

from bdd100k_zoo.demo_run.steps import DATA, bundled_weights
from bdd100k_zoo.files import sha256_of
from bdd100k_zoo.registry import load_zoo

GOOD, WRONG_AP, DAMAGED, DEAD_HOST = "good_1x", "wrong_ap_1x", "damaged_1x", "dead_host_1x"
AP = 34.34
"""Of the demo's weights on the demo's frames, as the zoo file of the test publishes it."""


def closed_port() -> int:
    """Return a port of this machine on which nothing listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def write_four_models(folder: Path, ap: float = AP) -> Path:
    """Write the zoo file, its config and its weights; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    bundled = bundled_weights(load_zoo())
    digest = f"sha256:{sha256_of(bundled)}"
    for name in (GOOD, WRONG_AP):
        shutil.copy(bundled, folder / f"{name}_det_bdd100k.pth")
    content = bytearray(bundled.read_bytes())
    content[len(content) // 2] ^= 1
    (folder / f"{DAMAGED}_det_bdd100k.pth").write_bytes(content)
    dead = f"http://127.0.0.1:{closed_port()}/{DEAD_HOST}_det_bdd100k.pth"
    (folder / "demo.py").write_text("_base_ = ['bdd100k_zoo::demo_fcos_r18_fpn.py']\n")
    models = [
        _entry(GOOD, ap, f"{GOOD}_det_bdd100k.pth", digest),
        _entry(WRONG_AP, ap + 1.5, f"{WRONG_AP}_det_bdd100k.pth", digest),
        _entry(DAMAGED, ap, f"{DAMAGED}_det_bdd100k.pth", digest),
        _entry(DEAD_HOST, ap, dead, digest),
    ]
    file = folder / "four.yaml"
    file.write_text(yaml.safe_dump({"models": models}, sort_keys=False))
    return file


def _entry(name: str, ap: float, address: str, digest: str) -> dict[str, Any]:
    return {
        "name": name,
        "family": "fcos",
        "backbone": "R-18-FPN",
        "schedule": "1x",
        "config": "demo.py",
        "ap_val": round(ap, 2),
        "weights": {"address": address, "digest": digest},
    }


def write_data(root: Path) -> Path:
    """Write the demo's frames and labels as the root of a dataset."""
    for path in (*DATA.rglob("*.jpg"), *DATA.rglob("*.json")):
        target = root / path.relative_to(DATA)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return root


if __name__ == "__main__":
    import sys

    write_four_models(Path(sys.argv[1]))
    write_data(Path(sys.argv[1]) / "data")
