"""A dataset of a few drawn frames, and models of the zoo made so small that a step takes milliseconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from bdd100k_zoo.data.classes import CLASSES

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "fcos_r50_fpn_3x"
"""Flips, and scales drawn at random."""
SMALL: dict[str, Any] = {
    "train_dataloader.dataset.pipeline.2.scales": [(96, 54), (128, 72), (160, 90)],
    "test_dataloader.dataset.pipeline.1.scale": (128, 72),
    "model.backbone.depth": 18,
    "model.backbone.base_channels": 8,
    "model.backbone.stem_channels": 8,
    "model.backbone.init_cfg": None,
    "model.backbone.norm_eval": False,
    "model.backbone.frozen_stages": -1,
    "model.backbone.norm_cfg.requires_grad": True,
    "model.neck.in_channels": [8, 16, 32, 64],
    "model.neck.out_channels": 16,
    "model.bbox_head.in_channels": 16,
    "model.bbox_head.feat_channels": 16,
    "model.bbox_head.stacked_convs": 1,
    "model.bbox_head.norm_cfg": {"type": "GN", "num_groups": 4, "requires_grad": True},
    "model.test_cfg.score_thr": 0.0,
}
COLOURS = ((40, 40, 220), (220, 80, 40), (60, 200, 60))


def make_root(root: Path, train: int = 8, val: int = 3, kinds: int = 100) -> Path:
    """Write a dataset of small frames, laid out as BDD100K is; ``kinds`` of them differ."""
    for split, number in (("train", train), ("val", val)):
        images = root / "images" / "100k" / split
        images.mkdir(parents=True)
        frames = [_frame(images, f"{split}{place}.jpg", place % kinds) for place in range(number)]
        labels = root / "labels" / "det_20" / f"det_{split}.json"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text(json.dumps(frames))
    return root


def _frame(folder: Path, name: str, kind: int) -> dict[str, Any]:
    random = np.random.default_rng(kind)
    image = cv2.blur(random.integers(60, 140, (180, 320, 3), np.uint8), (5, 5))
    labels = []
    for number, colour in enumerate(COLOURS):
        x, y, width, height = (int(each) for each in random.integers((0, 0, 30, 30), (220, 90, 100, 90)))
        image[y : y + height, x : x + width] = colour
        box = {"x1": x, "y1": y, "x2": x + width - 1, "y2": y + height - 1}
        labels.append({"id": str(number), "category": CLASSES[number * 2], "box2d": box})
    cv2.imwrite(str(folder / name), image)
    return {"name": name, "labels": labels, "size": {"width": 320, "height": 180}}


def options(**more: Any) -> list[str]:
    """Write the small model's settings for a command line."""
    settings = SMALL | {key.replace("__", "."): value for key, value in more.items()}
    return ["--cfg-options", *(f"{key}={_text(value)}" for key, value in settings.items())]


def _text(value: Any) -> str:
    return str(value).replace(" ", "")


def command(root: Path, out: Path, *more: str, model: str = MODEL) -> list[str]:
    """Return the command that trains the small model."""
    words = ["train", model, "--data", str(root), "--out", str(out), "--device", "cpu", *more, *options()]
    return [sys.executable, "-m", "bdd100k_zoo", *words]


def environment(**more: str) -> dict[str, str]:
    """One thread a process: equal numbers of threads give equal results."""
    return os.environ | {"OMP_NUM_THREADS": "1"} | more


def start(words: list[str], **more: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(words, env=environment(**more), stdout=pipe, stderr=pipe, text=True)


def finished(process: subprocess.Popen[str], status: int = 0) -> tuple[str, str]:
    """Wait for a process, and give what it wrote."""
    out, err = process.communicate(timeout=500)
    assert process.returncode == status, err
    return out, err


def steps(folder: Path) -> list[dict[str, Any]]:
    """Read a training's metrics, but for the time that they took."""
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
