"""Predictions files read back as detections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.data.detections import Detections, PredictionsWriter, read_detections, stream_detections
from bdd100k_zoo.errors import InputsError, InvalidFileError

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
    expected = [("a.jpg", written[order]), ("b.jpg", Detections.empty())]
    assert list(read_detections(tmp_path / "det.json")) == expected
    assert list(read_detections(str(tmp_path / "det.json"))) == expected


@given(
    st.tuples(*[st.floats(0, 1280, width=32)] * 2),
    st.tuples(*[st.floats(2**-7, 1280, width=32)] * 2),
    st.floats(0, 1, width=32),
)
def test_any_corner_and_score_reads_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, start: tuple[float, float], size: tuple[float, float], score: float
) -> None:
    corners = np.array([[*start, start[0] + size[0], start[1] + size[1]]], np.float32)
    written = Detections(corners, np.array([score], np.float32), np.array([4]))
    writer = PredictionsWriter(tmp_path_factory.mktemp("run") / "det.json")
    writer.write("a.jpg", written)
    writer.finish()
    assert list(read_detections(writer.path)) == [("a.jpg", written)]


@pytest.mark.parametrize("category", ["car", "van", "other vehicle"])
def test_categories_count_as_in_the_official_evaluation(category: str, tmp_path: Path) -> None:
    label = {"id": "1", "category": category, "score": 0.5, "box2d": {"x1": 1, "y1": 2, "x2": 3, "y2": 4}}
    (tmp_path / "det.json").write_text(json.dumps([{"name": "a.jpg", "labels": [label]}]))
    ((_, found),) = read_detections(tmp_path / "det.json")
    assert list(found) == [((1, 2, 4, 5), 0.5, "car")]


def test_what_is_no_predictions_file_is_an_error(tmp_path: Path) -> None:
    label = {"category": "car", "box2d": {"x1": 0, "y1": 0, "x2": 9, "y2": 9}}
    (tmp_path / "det.json").write_text(json.dumps([{"name": "a.jpg", "labels": [{"id": "1", **label}]}]))
    with pytest.raises(InputsError):
        list(read_detections(tmp_path / "det.json"))


def test_a_stream_of_what_was_written_is_what_a_reader_finds(tmp_path: Path) -> None:
    random, writer = np.random.default_rng(4), PredictionsWriter(tmp_path / "det.json")
    for number, boxes in enumerate((3, 0, 5)):
        corners = np.sort(random.uniform(0, 1280, (boxes, 4)).astype(np.float32))
        writer.write(f"{number}.jpg", Detections(corners, np.zeros(boxes, np.float32), np.arange(boxes)))
    writer.finish()
    assert list(stream_detections(writer.path)) == list(read_detections(writer.path))
    writer = PredictionsWriter(tmp_path / "empty.json")
    writer.finish()
    assert list(stream_detections(writer.path)) == []


LINE = '{"name":"a.jpg","labels":[{"id":"1","category":"car","score":0.5,"box2d":{"x1":1,"y1":2,"x2":3,"y2":4}}]}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ends before"),
        ("[\n", "ends before"),
        (f"[\n{LINE},\n", "ends before"),
        (f"[\n{LINE},\n{LINE[:40]}", "line 3 is no frame"),
        (f"[{LINE}]\n", "line 1 is no frame"),
        (f"{LINE}\n{LINE}\n", "line 1 is not as"),
        (f"[\n{LINE}\n]\n{LINE}\n", "line 4 is not as"),
        (f"[\n{LINE.replace('0.5', 'null')}\n]\n", "line 2 is not as"),
        (f"[\n{LINE.replace('car', 'lane')}\n]\n", "line 2 is no frame"),
        ("[\n\n]\n", "line 2 is no frame"),
    ],
)
def test_a_stream_of_anything_else_is_an_error(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "det.json").write_text(text)
    with pytest.raises(InvalidFileError, match=message) as caught:
        list(stream_detections(tmp_path / "det.json"))
    assert "--fresh" in caught.value.hint
