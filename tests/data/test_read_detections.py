"""Predictions files read back as detections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bdd100k_zoo.data.detections import Detections, PredictionsWriter, read_detections
from bdd100k_zoo.errors import InputsError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_predictions_file_reads_back_to_the_last_bit(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    boxes = random.uniform(0, 1280, (40, 4)).astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    written = Detections(boxes, random.uniform(0, 1, 40).astype(np.float32), np.sort(random.integers(0, 10, 40)))
    order = np.lexsort((-written.scores, written.classes))
    writer = PredictionsWriter(tmp_path / "det.json")
    writer.write("a.jpg", written)
    writer.write("b.jpg", Detections.empty())
    writer.finish()
    assert list(read_detections(tmp_path / "det.json")) == [("a.jpg", written[order]), ("b.jpg", Detections.empty())]


def test_what_is_no_predictions_file_is_an_error(tmp_path: Path) -> None:
    label = {"category": "car", "box2d": {"x1": 0, "y1": 0, "x2": 9, "y2": 9}}
    (tmp_path / "det.json").write_text(json.dumps([{"name": "a.jpg", "labels": [{"id": "1", **label}]}]))
    with pytest.raises(InputsError):
        list(read_detections(tmp_path / "det.json"))
