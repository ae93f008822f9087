"""Calibration: by hand, and as hotcoco has it."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from cases import Case, crowded_case, frame, label

from bdd100k_zoo.evaluation.error_analysis import BINS, measure_calibration
from bdd100k_zoo.evaluation.matching import match_detections
from bdd100k_zoo.evaluation.pairing import pair_frames
from bdd100k_zoo.evaluation.scoring import build_evaluator

BOXES = [(100 * place, 0, 100 * place + 50, 50) for place in range(10)]


def case(right: int, score: float) -> Case:
    """Ten detections of one score, of which so many are right."""
    labels = [label("car", box) for box in BOXES[:right]]
    labels.append(label("car", (0, 600, 50, 650)))
    return Case([frame("a.jpg", *labels)], [frame("a.jpg", *(label("car", box, score=score) for box in BOXES))])


@pytest.mark.parametrize(("right", "score", "error"), [(7, 0.7, 0.0), (7, 0.95, 0.25), (0, 1.0, 1.0), (10, 0.0, 1.0)])
def test_the_error_is_the_distance_between_score_and_share_that_is_right(
    right: int, score: float, error: float
) -> None:
    calibration = measure_calibration(case(right, score).matches())
    assert calibration.error == pytest.approx(error)
    (full,) = (each for each in calibration.bins if each.detections)
    assert full == (full.low, full.high, 10, pytest.approx(score), pytest.approx(right / 10))
    assert full.low <= score <= full.high


def test_ten_bins_lie_side_by_side_and_empty_ones_have_no_precision() -> None:
    bins = measure_calibration(case(3, 0.55).matches()).bins
    assert len(bins) == BINS
    assert [each.low for each in bins[1:]] == [each.high for each in bins[:-1]]
    assert (bins[0].low, bins[-1].high) == (0, 1)
    assert [isnan(each.precision) for each in bins] == [each.detections == 0 for each in bins]


def test_detections_that_the_evaluation_ignores_are_left_out() -> None:
    labels = [label("car", BOXES[0]), label("car", (0, 500, 400, 700), attributes={"crowd": True})]
    found = [label("car", BOXES[0], score=0.9), label("car", (10, 510, 50, 550), score=0.9)]
    calibration = measure_calibration(Case([frame("a.jpg", *labels)], [frame("a.jpg", *found)]).matches())
    assert sum(each.detections for each in calibration.bins) == 1


def test_a_class_without_detections_has_no_error_and_strange_scores_fall_outermost() -> None:
    strange = Case([frame("a.jpg", label("car", BOXES[0]))], [frame("a.jpg", label("bus", BOXES[0], score=7))])
    calibration = measure_calibration(strange.matches())
    assert [isnan(error) for error in calibration.by_class] == [place != 4 for place in range(10)]
    assert calibration.bins[-1].detections == 1


@pytest.mark.parametrize("seed", range(4))
def test_bins_and_error_are_those_of_hotcoco(seed: int) -> None:
    paired = pair_frames(*crowded_case(seed).tables())
    run = build_evaluator(paired)
    run.evaluate()
    theirs = run.calibration(n_bins=BINS, iou_threshold=0.5)
    ours = measure_calibration(match_detections(paired))
    assert ours.error == pytest.approx(theirs["ece"])
    assert [each.detections for each in ours.bins] == [each["count"] for each in theirs["bins"]]
    for column, name in ((3, "avg_confidence"), (4, "avg_accuracy")):
        known = [(each[column], other[name]) for each, other in zip(ours.bins, theirs["bins"], strict=True) if each[2]]
        np.testing.assert_allclose(*zip(*known, strict=True))
