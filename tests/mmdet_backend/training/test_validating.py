from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.boxes import Detections
from bdd100k_zoo.evaluation.bdd100k import score
from bdd100k_zoo.mmdet_backend.training.validating import table_of
from bdd100k_zoo.records.predictions import PredictedFrame, to_labels
from bdd100k_zoo.records.tables import read_label_table, read_prediction_table

if TYPE_CHECKING:
    from pathlib import Path


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_a_table_in_memory_is_the_one_that_a_predictions_file_is_read_as(
    tmp_path_factory: object, seed: int, frames: int
) -> None:
    folder: Path = tmp_path_factory.mktemp("x")  # type: ignore[attr-defined]
    random = np.random.default_rng(seed)
    found = [detections(random) for _ in range(frames)]
    names = [f"{place}.jpg" for place in range(frames)]
    ids = count(1)
    written = [PredictedFrame(name, to_labels(each, ids)) for name, each in zip(names, found, strict=True)]
    path = folder / "det.json"
    path.write_bytes(msgspec.json.encode(written))
    expected = read_prediction_table(path)
    rows = np.concatenate([columns(place, each) for place, each in enumerate(found)])
    table = table_of(rows, names, path)
    assert table.frames == expected.frames
    for field in ("starts", "classes", "scores", "boxes"):
        np.testing.assert_array_equal(getattr(table, field), getattr(expected, field))
    assert score_of(folder, names, table) == score_of(folder, names, expected)


def detections(random: np.random.Generator) -> Detections:
    number = int(random.integers(0, 6))
    corners = random.uniform(0, 600, (number, 2, 2)).astype(np.float32)
    boxes = np.concatenate((corners.min(1), corners.max(1)), 1)
    return Detections(boxes, random.random(number, np.float32), random.integers(0, 10, number))


def columns(place: int, found: Detections) -> np.ndarray:
    number = np.full(len(found.scores), place)
    return np.column_stack((number, found.classes, found.scores, found.boxes)).astype(np.float64)


def score_of(folder: Path, names: list[str], table: object) -> bytes:
    box = {"x1": 10, "y1": 10, "x2": 400, "y2": 400}
    labels = [{"name": name, "labels": [{"id": "1", "category": "car", "box2d": box}]} for name in names]
    path = folder / "labels.json"
    path.write_bytes(msgspec.json.encode(labels))
    return score(read_label_table(path), table).official_json()  # type: ignore[arg-type]
