"""supervision takes our detections, keeps every value, and draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bdd100k_zoo.data.detections import Detections, read_detections
from bdd100k_zoo.data.export import to_supervision

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_every_value_survives_the_round_trip(demo: Path, need: Callable[..., None]) -> None:
    need("supervision")
    for _, found in read_detections(demo / "demo/run/det.json"):
        converted = to_supervision(found)
        assert converted.confidence is not None
        assert converted.class_id is not None
        assert Detections(converted.xyxy, converted.confidence, converted.class_id) == found
        assert converted["class_name"].tolist() == found.names


def test_its_filters_are_ours(demo: Path, need: Callable[..., None]) -> None:
    need("supervision")
    _, found = next(read_detections(demo / "demo/run/det.json"))
    converted = to_supervision(found)
    chosen = converted[(converted["class_name"] == "car") & (converted.confidence >= np.float32(0.3))]
    assert len(chosen) > 0
    assert chosen == to_supervision(found.filter(min_score=0.3, classes=["car"]))


def test_changing_the_copy_leaves_ours_alone(demo: Path, need: Callable[..., None]) -> None:
    need("supervision")
    _, found = next(read_detections(demo / "demo/run/det.json"))
    before = found.boxes.copy()
    to_supervision(found).xyxy += 1
    assert (found.boxes == before).all()


def test_no_detections_are_supervisions_empty_ones(need: Callable[..., None]) -> None:
    need("supervision")
    assert to_supervision(Detections.empty()).is_empty()


def test_its_annotators_draw_them(demo: Path, need: Callable[..., None]) -> None:
    need("supervision")
    import supervision

    name, found = next(read_detections(demo / "demo/run/det.json"))
    boxes = to_supervision(found.filter(min_score=0.5))
    image = Image.open(demo / "demo/data/images/100k/val" / name)
    picture = supervision.BoxAnnotator().annotate(image.copy(), boxes)
    changed = (np.asarray(picture) != np.asarray(image)).any(axis=2)
    x1, y1, x2, y2 = boxes.xyxy[0].astype(int).tolist()
    assert changed[y1 : y2 + 1, x1 : x2 + 1].any()
    assert changed.mean() < 0.2
