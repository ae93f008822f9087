"""Comparison of two lists of boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.fidelity.comparison import compare
from tools.fidelity.results import Rows, in_order

BOXES = np.array(
    [
        [0, 0, 50, 50, 0.9, 1],
        [5, 0, 55, 50, 0.8, 1],
        [100, 100, 300, 150, 0.7, 1],
        [0, 0, 50, 50, 0.9, 2],
        [400, 0, 450, 90, 0.3, 2],
    ],
    np.float32,
)


def changed(place: int, **values: float) -> Rows:
    """The boxes, one of them changed, in order."""
    names = ("x1", "y1", "x2", "y2", "score", "category")
    boxes = BOXES.copy()
    for name, value in values.items():
        boxes[place, names.index(name)] = value
    return in_order(boxes)


def test_equal_lists_are_the_same_with_no_difference() -> None:
    result = compare(BOXES, BOXES.copy())
    assert (result.expected, result.found, result.same) == (5, 5, 5)
    assert (result.moved, result.swapped, result.failures) == ((), (), ())
    assert (result.score, result.corner) == (0, 0)


def test_differences_within_the_tolerances_are_measured() -> None:
    result = compare(BOXES, changed(4, x1=400.0078125, score=0.30005))
    assert result.same == 5
    assert result.corner == 0.0078125
    assert result.score == pytest.approx(5e-5, rel=1e-3)


@pytest.mark.parametrize("values", [{"x2": 300.02}, {"y1": 99.98}, {"score": 0.7002}, {"category": 3}])
def test_a_box_beyond_a_tolerance_is_lost_and_additional(values: dict[str, float]) -> None:
    result = compare(BOXES, changed(2, **values))
    assert result.same == 4
    assert [text.split()[0] for text in result.failures] == ["lost", "additional"]


def test_a_missing_box_and_one_too_many_fail() -> None:
    assert [text.split()[0] for text in compare(BOXES, BOXES[1:]).failures] == ["lost"]
    assert [text.split()[0] for text in compare(BOXES[1:], BOXES).failures] == ["additional"]
    assert len(compare(BOXES, BOXES[:0]).failures) == 5
    assert compare(BOXES[:0], BOXES[:0]).same == 0


def test_boxes_that_changed_places_are_moved_if_their_scores_tie() -> None:
    tied = changed(1, score=0.9 - 1e-7)
    other = tied.copy()
    other[[0, 1]] = other[[1, 0]]
    result = compare(tied, other)
    assert (result.same, len(result.moved), result.failures) == (3, 2, ())


def test_boxes_that_changed_places_fail_if_their_scores_do_not_tie() -> None:
    apart = changed(1, score=0.9 - 5e-5)
    other = apart.copy()
    other[[0, 1]] = other[[1, 0]]
    result = compare(apart, other)
    assert (result.same, result.moved, len(result.failures)) == (3, (), 2)


def test_a_box_of_equal_score_replaces_one_that_it_overlaps() -> None:
    result = compare(BOXES, changed(2, x1=110))
    assert (result.same, len(result.swapped), result.failures) == (4, 1, ())


@pytest.mark.parametrize("values", [{"x1": 110, "score": 0.70002}, {"x1": 210}, {"x1": 110, "category": 2}])
def test_boxes_of_another_score_place_or_class_do_not_replace_one(values: dict[str, float]) -> None:
    result = compare(BOXES, changed(2, **values))
    assert (len(result.swapped), len(result.failures)) == (0, 2)


def test_one_box_replaces_only_one_other() -> None:
    twice = in_order(np.concatenate([BOXES, BOXES[2:3] + np.float32([1, 0, 0, 0, 0, 0])]))
    result = compare(twice, changed(2, x1=110))
    assert (len(result.swapped), len(result.failures)) == (1, 1)


def test_many_replacements_fail() -> None:
    boxes = in_order(np.array([[0, 100 * place, 50, 100 * place + 50, 0.5, 1] for place in range(3)], np.float32))
    shifted = boxes + np.float32([2, 0, 2, 0, 0, 0])
    assert len(compare(boxes[:2], shifted[:2]).swapped) == 2
    assert len(compare(boxes, shifted).failures) == 6


def test_a_box_with_nan_is_never_the_same() -> None:
    result = compare(BOXES, changed(4, x1=np.nan))
    assert result.same == 4
    assert len(result.failures) == 2


@given(
    st.lists(st.tuples(*[st.integers(0, 3)] * 4), max_size=12),
    st.lists(st.tuples(*[st.integers(0, 3)] * 4), max_size=12),
)
def test_every_box_is_accounted_for_once(one: list[tuple[int, ...]], other: list[tuple[int, ...]]) -> None:
    expected, found = (_rows(each) for each in (one, other))
    result = compare(expected, found)
    paired = result.same + len(result.moved) + sum(text.startswith("class") for text in result.failures)
    lost = sum(text.startswith("lost") for text in result.failures)
    additional = sum(text.startswith("additional") for text in result.failures)
    assert paired + len(result.swapped) + lost == len(expected)
    assert paired + len(result.swapped) + additional == len(found)
    assert compare(expected, expected).same == len(expected)


def _rows(boxes: list[tuple[int, ...]]) -> Rows:
    """Boxes that coincide often, whose scores tie, differ little or differ."""
    scores = np.array([0.5, 0.5 + 1e-6, 0.5 + 5e-5, 0.6], np.float32)
    rows = [(10 * x, 0, 10 * x + 20, 20 + y, scores[score], category) for x, y, score, category in boxes]
    return in_order(np.array(rows, np.float32).reshape(-1, 6))
