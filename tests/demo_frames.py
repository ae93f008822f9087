"""A dataset of the first frames that the package ships, laid out as BDD100K is."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from bdd100k_zoo.demo_run.steps import DATA

if TYPE_CHECKING:
    from pathlib import Path


def write_demo_frames(root: Path, *, train: int, val: int) -> Path:
    for split, number in (("train", train), ("val", val)):
        labels = root / "labels" / "det_20" / f"det_{split}.json"
        frames = json.loads((DATA / labels.relative_to(root)).read_text())[:number]
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text(json.dumps(frames))
        images = root / "images" / "100k" / split
        images.mkdir(parents=True)
        for frame in frames:
            shutil.copy(DATA / images.relative_to(root) / frame["name"], images)
    return root
