"""Detections: shapes and types are checked where they are made."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from bdd100k_zoo.data.detections import Detections


def arrays(number: int = 2) -> dict[str, Any]:
    return {
        "boxes": np.arange(4 * number, dtype=np.float32).reshape(number, 4),
        "scores": np.linspace(0, 1, number, dtype=np.float32),
        "classes": np.zeros(number, np.int64),
    }


@pytest.mark.parametrize("number", [0, 1, 3])
def test_its_length_is_the_number_of_boxes(number: int) -> None:
    assert len(Detections(**arrays(number))) == number


def test_empty_detections_have_the_right_shapes() -> None:
    empty = Detections.empty()
    assert len(empty) == 0
    assert (empty.boxes.shape, empty.scores.shape, empty.classes.shape) == ((0, 4), (0,), (0,))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("boxes", np.zeros((2, 4))),
        ("boxes", np.zeros((2, 5), np.float32)),
        ("boxes", np.zeros(8, np.float32)),
        ("scores", np.zeros(2)),
        ("scores", np.zeros(3, np.float32)),
        ("scores", np.zeros((2, 1), np.float32)),
        ("classes", np.zeros(2, np.int32)),
        ("classes", np.zeros(2, np.float32)),
        ("classes", np.zeros(1, np.int64)),
    ],
)
def test_an_array_of_another_shape_or_type_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected .*, found {value.dtype} "):
        Detections(**(arrays() | {name: value}))


def test_boxes_of_another_number_than_scores_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^scores: expected float32 \[3\], found float32 \[2\]"):
        Detections(**(arrays() | {"boxes": np.zeros((3, 4), np.float32)}))


def test_detections_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Detections.empty().boxes = np.zeros((1, 4), np.float32)  # type: ignore[misc]


@pytest.mark.parametrize("index", [-1, 10])
def test_class_indices_are_those_of_the_ten_classes(index: int) -> None:
    with pytest.raises(ValueError, match="indices from 0 to 9"):
        Detections(np.zeros((1, 4), np.float32), np.zeros(1, np.float32), np.array([index], np.int64))
