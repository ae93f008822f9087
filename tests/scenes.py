"""Simple synthetic street scenes with labels, and predictions by two made-up detectors: inputs for reports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.prediction.run import RunCounts, RunRecord, RunSeconds, WeightsUsed, parse_run, write_run

if TYPE_CHECKING:
    from pathlib import Path

WEATHER, SCENES, TIMES = ("clear", "rainy", "overcast"), ("city street", "highway"), ("daytime", "night", "dawn/dusk")
SHARES = (0.12, 0.02, 0.5, 0.05, 0.03, 0.005, 0.015, 0.02, 0.12, 0.12)
"""Of the classes among the objects."""
SIDES = {"traffic light": (16, 34), "traffic sign": (26, 26), "pedestrian": (26, 64), "rider": (34, 64)}
"""Width and height at twice the usual distance; of other classes 80 by 50."""
SKIES = {"daytime": (158, 190, 222), "night": (22, 26, 44), "dawn/dusk": (214, 160, 130)}


class Inputs(NamedTuple):
    """What a report is made of."""

    labels: Path
    runs: tuple[Path, Path]
    """Folders; the first run is the better one."""
    images: Path
    frames: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        """Those that the command needs."""
        return [*map(str, self.runs), "--labels", str(self.labels)]


def make_inputs(
    folder: Path, frames: int = 12, images: int = 6, seed: int = 1, names: list[str] | None = None
) -> Inputs:
    """Write labels, two runs and some images; ``names`` are those of the first frames."""
    rng = np.random.default_rng(seed)
    labels = [_labelled_frame(rng, place) for place in range(frames)]
    for frame, name in zip(labels, names or (), strict=False):
        frame["name"] = name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "det_val.json").write_text(json.dumps(labels))
    (folder / "frames").mkdir()
    for frame in labels[-images:] if images else ():
        draw_frame(frame).save(folder / "frames" / frame["name"], quality=90)
    models = (("faster_rcnn_r50_fpn_1x", 0.045, 4.6), ("retinanet_r50_fpn_1x", 0.055, 3.1))
    runs = tuple(_run(folder / model, labels, rng, shake, speed) for model, shake, speed in models)
    return Inputs(folder / "det_val.json", runs, folder / "frames", tuple(frame["name"] for frame in labels))


def _labelled_frame(rng: np.random.Generator, place: int) -> dict[str, Any]:
    objects = [_object(rng, str(number)) for number in range(int(rng.integers(6, 20)))]
    attributes = {
        "weather": WEATHER[place % 3],
        "scene": SCENES[place % 2],
        "timeofday": TIMES[int(rng.choice(3, p=(0.6, 0.3, 0.1)))],
    }
    return {"name": f"{rng.integers(1 << 32):08x}-{place:05}.jpg", "attributes": attributes, "labels": objects}


def _object(rng: np.random.Generator, number: str) -> dict[str, Any]:
    category = str(rng.choice(CLASSES, p=SHARES))
    scale = float(np.exp(rng.normal(0, 0.5)))
    width, height = (side * scale for side in SIDES.get(category, (80, 50)))
    x = rng.uniform(0, max(1280 - width, 1))
    is_high = category in ("traffic light", "traffic sign")
    bottom = rng.uniform(120, 330) if is_high else np.clip(330 + 130 * scale + rng.normal(0, 25), 350, 700)
    box = {"x1": x, "y1": max(bottom - height, 0), "x2": min(x + width, 1279), "y2": bottom}
    return {"id": number, "category": category, "box2d": {name: float(side) for name, side in box.items()}}


def _run(folder: Path, labels: list[dict[str, Any]], rng: np.random.Generator, shake: float, speed: float) -> Path:
    folder.mkdir()
    frames = [{"name": frame["name"], "labels": _detections(rng, frame["labels"], shake)} for frame in labels]
    (folder / "det.json").write_text(json.dumps(frames))
    write_run(folder, record(folder.name, len(frames), speed))
    return folder


def _detections(rng: np.random.Generator, objects: list[dict[str, Any]], shake: float) -> list[dict[str, Any]]:
    found = []
    for each in objects:
        box = each["box2d"]
        size = box["x2"] - box["x1"], box["y2"] - box["y1"]
        times = int(rng.choice(3, p=(0.35, 0.56, 0.09)))
        for _ in range(times if size[0] > 12 else times // 2):
            moves = rng.normal(0, shake, 4) * (*size, *size)
            corners = {name: box[name] + move for name, move in zip(("x1", "y1", "x2", "y2"), moves, strict=True)}
            corners["x2"] = max(corners["x2"], corners["x1"])
            corners["y2"] = max(corners["y2"], corners["y1"])
            category = each["category"] if rng.random() > 0.04 else str(rng.choice(CLASSES))
            found.append({"category": category, "score": float(rng.beta(5, 2)), "box2d": corners})
    found += [_false(rng) for _ in range(int(rng.integers(0, 12)))]
    return [{"id": str(number), **each} for number, each in enumerate(found)]


def _false(rng: np.random.Generator) -> dict[str, Any]:
    each = _object(rng, "0")
    return {"category": each["category"], "score": float(rng.beta(1.2, 5)), "box2d": each["box2d"]}


def record(model: str, images: int, images_per_second: float = 2.0, **changes: Any) -> RunRecord:
    """Make up what made a predictions file."""
    weights = WeightsUsed(
        path=f"/cache/det/weights/{model}_det_bdd100k.pth",
        size=167_000_000,
        md5="0123456789abcdef" * 2,
        sha256="0123456789abcdef" * 4,
        verified=True,
        verified_by="zoo file",
        unverified_because=None,
        address=f"https://dl.cv.ethz.ch/bdd100k/det/models/{model}_det_bdd100k.pth",
    )
    facts: dict[str, Any] = {
        "model": model,
        "config": f"{model}_det_bdd100k.py",
        "config_sha256": "fedcba9876543210" * 4,
        "cfg_options": {},
        "weights": weights,
        "backend": "mmdet3",
        "device": "cuda:0",
        "device_name": "made-up device",
        "precision": "fp32",
        "ops": "torchvision",
        "versions": {"python": "3.11.9", "torch": "2.9.0", "mmdet": "3.3.0"},
        "split": "val",
        "image_roots": ("images",),
        "counts": RunCounts(images=images, unreadable=0, detections=100 * images),
        "seconds": RunSeconds(load=2.0, decode=1.0, detect=images / images_per_second, write=0.1, total=3.0),
        "unreadable": (),
        "started": "2026-11-01T10:00:00+00:00",
        "batch_size": 8,
    }
    return parse_run(facts | changes)


def draw_frame(frame: dict[str, Any]) -> Image.Image:
    """Draw a street, and what is labelled on it."""
    sky = SKIES[frame["attributes"]["timeofday"]]
    picture = Image.new("RGB", (1280, 720), sky)
    pen = ImageDraw.Draw(picture)
    for place in range(9):
        top = 120 + 30 * (place * 5 % 7)
        pen.rectangle((150 * place - 20, top, 150 * place + 110, 340), fill=_dimmed((118, 108, 102), sky, place))
    pen.rectangle((0, 335, 1280, 720), fill=_dimmed((92, 104, 82), sky))
    pen.polygon([(590, 335), (690, 335), (1330, 720), (-50, 720)], fill=_dimmed((74, 75, 80), sky))
    for top in (350, 400, 480, 600):
        pen.polygon([(636, top), (644, top), (647, top + top // 8), (633, top + top // 8)], fill=(226, 226, 214))
    for place, each in enumerate(sorted(frame["labels"], key=lambda label: label["box2d"]["y2"])):
        _draw_object(pen, each["category"], tuple(each["box2d"].values()), place)
    return picture


def _dimmed(colour: tuple[int, int, int], sky: tuple[int, int, int], place: int = 0) -> tuple[int, int, int]:
    share = 0.35 + 0.65 * max(sky) / 255 - 0.02 * (place % 3)
    red, green, blue = (int(channel * share) for channel in colour)
    return red, green, blue


PAINTS = ((152, 38, 44), (40, 72, 140), (214, 214, 218), (36, 38, 42), (96, 112, 90), (190, 150, 60))


def _draw_object(pen: ImageDraw.ImageDraw, category: str, box: tuple[float, ...], place: int) -> None:
    x1, y1, x2, y2 = box
    width, height, paint = x2 - x1, y2 - y1, PAINTS[place % len(PAINTS)]
    if category == "traffic light":
        pen.rectangle(box, fill=(22, 22, 24))
        for row, lamp in enumerate(((225, 50, 40), (70, 60, 20), (20, 60, 30))):
            top = y1 + height * (0.06 + 0.31 * row)
            pen.ellipse((x1 + width * 0.2, top, x2 - width * 0.2, top + height * 0.26), fill=lamp)
    elif category == "traffic sign":
        pen.polygon(
            [(x1, (y1 + y2) / 2), ((x1 + x2) / 2, y1), (x2, (y1 + y2) / 2), ((x1 + x2) / 2, y2)], fill=(240, 200, 40)
        )
    elif category in ("pedestrian", "rider", "motorcycle", "bicycle"):
        pen.ellipse((x1 + width * 0.3, y1, x2 - width * 0.3, y1 + height * 0.2), fill=(205, 160, 130))
        pen.rectangle((x1 + width * 0.15, y1 + height * 0.2, x2 - width * 0.15, y1 + height * 0.62), fill=paint)
        pen.rectangle((x1 + width * 0.25, y1 + height * 0.6, x2 - width * 0.25, y2), fill=(38, 40, 54))
    else:
        pen.rectangle((x1, y1 + height * 0.42, x2, y2 - height * 0.12), fill=paint)
        pen.rectangle((x1 + width * 0.14, y1, x2 - width * 0.14, y1 + height * 0.45), fill=paint)
        pen.rectangle((x1 + width * 0.2, y1 + height * 0.08, x2 - width * 0.2, y1 + height * 0.4), fill=(52, 66, 80))
        for left in (x1 + width * 0.08, x2 - width * 0.3):
            pen.ellipse((left, y2 - height * 0.3, left + width * 0.22, y2), fill=(16, 16, 18))
