"""Detections in other formats: the conventions of each, and the official numbers to the last bit."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.data.detections import Detections, PredictionsWriter
from bdd100k_zoo.data.export import (
    CSV_COLUMNS,
    to_coco_results,
    to_csv_rows,
    to_scalabel_frame,
    to_supervision,
    to_yolo_rows,
)
from bdd100k_zoo.errors import MissingPackageError, ZooError

if TYPE_CHECKING:
    from pathlib import Path

FOUND = Detections(
    np.array([[10, 20, 30, 60], [0.5, 0.25, 100, 50]], np.float32),
    np.array([0.5, 0.75], np.float32),
    np.array([2, 0]),
)


def test_coco_results_have_widths_and_official_category_ids() -> None:
    assert to_coco_results(FOUND, 7) == [
        {"image_id": 7, "category_id": 3, "bbox": [10.0, 20.0, 20.0, 40.0], "score": 0.5},
        {"image_id": 7, "category_id": 1, "bbox": [0.5, 0.25, 99.5, 49.75], "score": 0.75},
    ]


@given(st.lists(st.floats(0, 2000, width=32), min_size=4, max_size=4), st.floats(0, 1, width=32))
def test_coco_boxes_are_bit_for_bit_what_the_official_tool_makes_of_the_predictions_file(
    corners: list[float], score: float
) -> None:
    found = Detections(np.array([corners], np.float32), np.array([score], np.float32), np.array([2]))
    (label,) = to_scalabel_frame(found, "a.jpg")["labels"]
    box = label["box2d"]
    expected = [box["x1"], box["y1"], box["x2"] - box["x1"] + 1, box["y2"] - box["y1"] + 1]
    (result,) = to_coco_results(found, 1)
    assert result["bbox"] == expected
    assert result["score"] == label["score"]


def test_a_scalabel_frame_is_that_of_the_predictions_file(tmp_path: Path) -> None:
    writer = PredictionsWriter(tmp_path / "det.json")
    writer.write("a.jpg", FOUND)
    writer.finish()
    assert [to_scalabel_frame(FOUND, "a.jpg")] == json.loads((tmp_path / "det.json").read_bytes())
    assert to_scalabel_frame(FOUND, "a.jpg", first_id=5)["labels"][0]["id"] == "5"


def test_a_frame_name_outside_its_folder_is_an_error() -> None:
    with pytest.raises(ZooError):
        to_scalabel_frame(FOUND, "../a.jpg")


def test_yolo_rows_are_fractions_of_the_image() -> None:
    assert to_yolo_rows(FOUND, (200, 100)) == ["2 0.1 0.4 0.1 0.4 0.5", "0 0.25125 0.25125 0.4975 0.4975 0.75"]
    assert to_yolo_rows(FOUND, (200, 100), scores=False) == ["2 0.1 0.4 0.1 0.4", "0 0.25125 0.25125 0.4975 0.4975"]


def test_yolo_rows_are_clipped_to_the_image() -> None:
    found = Detections(np.array([[-10, 20, 200.001, 60]], np.float32), np.array([0.5], np.float32), np.array([2]))
    assert to_yolo_rows(found, (200, 100)) == ["2 0.5 0.4 1 0.4 0.5"]


def test_csv_rows_have_the_documented_columns() -> None:
    assert len(CSV_COLUMNS) == 7
    assert to_csv_rows(FOUND, "a.jpg") == [
        ("a.jpg", "car", 0.5, 10.0, 20.0, 30.0, 60.0),
        ("a.jpg", "pedestrian", 0.75, 0.5, 0.25, 100.0, 50.0),
    ]


@pytest.mark.parametrize("convert", [lambda d: to_coco_results(d, 1), lambda d: to_yolo_rows(d, (2, 2))])
def test_no_detections_give_no_rows(convert) -> None:  # type: ignore[no-untyped-def]
    assert convert(Detections.empty()) == []


def test_without_supervision_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingPackageError, match="supervision is needed") as caught:
        to_supervision(FOUND)
    assert caught.value.hint == "install it with `pip install supervision`"
