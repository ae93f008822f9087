"""Kinds of error and confusions on minimal cases; calibration by hand, and compared with hotcoco."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from cases import Case, crowded_case, frame, label

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.evaluation.error_analysis import (
    BINS,
    ERROR_KINDS,
    MIN_SCORE,
    analyse_errors,
    build_confusion_matrix,
    build_evaluator,
    compute_tide_errors,
    measure_calibration,
)
from bdd100k_zoo.evaluation.matching import match_detections
from bdd100k_zoo.evaluation.pairing import PairedFrames, pair_frames
from bdd100k_zoo.evaluation.scoring import score_matches

HERE, HALF, AWAY, CROWD = (100, 100, 199, 199), (100, 100, 199, 139), (500, 500, 599, 599), (400, 400, 600, 600)
CAR, BUS = CLASSES.index("car"), CLASSES.index("bus")
NOTHING = len(CLASSES)


def paired(labels: list, predictions: list) -> PairedFrames:
    return pair_frames(*Case([frame("a.jpg", *labels)], [frame("a.jpg", *predictions)]).tables())


def confusions(labels: list, predictions: list) -> dict[tuple[int, int], int]:
    """Return the counts by labelled class and detected class."""
    found = paired(labels, predictions)
    counts = np.array(build_confusion_matrix(found, match_detections(found)).counts)
    return {(row, column): int(counts[row, column]) for row, column in np.argwhere(counts).tolist()}


@pytest.mark.parametrize(
    ("kind", "predictions"),
    [
        ("Cls", [label("bus", HERE, score=0.9)]),
        ("Loc", [label("car", HALF, score=0.9)]),
        ("Both", [label("bus", HALF, score=0.9)]),
        ("Dupe", [label("car", HERE, score=0.9), label("car", HERE, score=0.8)]),
        ("Bkg", [label("car", HERE, score=0.9), label("car", AWAY, score=0.8)]),
        ("Miss", []),
    ],
)
def test_each_kind_of_error_is_counted(kind: str, predictions: list) -> None:
    far_off = label("car", (900, 100, 950, 150))
    hit = label("car", (900, 100, 950, 150), score=0.5)
    errors = compute_tide_errors(paired([label("car", HERE), far_off], [*predictions, hit]))
    assert errors.counts[kind] == 1
    assert set(errors.counts) == set(errors.lost) == set(ERROR_KINDS)


def test_an_error_costs_the_ap_that_its_correction_gains() -> None:
    labels = [label("car", HERE), label("car", AWAY)]
    errors = compute_tide_errors(paired(labels, [label("car", HERE, score=0.9)]))
    assert errors.lost["Miss"] == pytest.approx(100 - errors.ap50)
    assert {kind: lost for kind, lost in errors.lost.items() if lost and kind != "Miss"} == {}
    false = compute_tide_errors(
        paired([label("car", HERE)], [label("car", HERE, score=0.8), label("car", AWAY, score=0.9)])
    )
    assert false.lost["Bkg"] == pytest.approx(50)


@pytest.mark.parametrize("seed", range(3))
def test_the_base_ap_of_errors_is_the_official_one(seed: int) -> None:
    found = pair_frames(*crowded_case(seed).tables())
    assert compute_tide_errors(found).ap50 == pytest.approx(score_matches(match_detections(found))["AP50"].overall)


@pytest.mark.parametrize("seed", range(3))
def test_errors_equal_those_of_hotcoco(seed: int) -> None:
    found = pair_frames(*crowded_case(seed).tables())
    run = build_evaluator(found)
    run.evaluate()
    theirs = run.tide_errors(pos_thr=0.5, bg_thr=0.1)
    ours = compute_tide_errors(found)
    assert dict(ours.counts) == {kind: theirs["counts"][kind] for kind in ERROR_KINDS}
    assert dict(ours.lost) == {kind: 100 * theirs["delta_ap"][kind] for kind in ERROR_KINDS}


def test_confusions_count_labelled_against_detected() -> None:
    assert confusions([label("car", HERE)], [label("car", HERE, score=0.9)]) == {(CAR, CAR): 1}
    assert confusions([label("car", HERE)], [label("bus", HERE, score=0.9)]) == {(CAR, BUS): 1}
    assert confusions([label("car", HERE)], []) == {(CAR, NOTHING): 1}
    assert confusions([label("car", HERE)], [label("car", AWAY, score=0.9)]) == {(CAR, NOTHING): 1, (NOTHING, CAR): 1}


def test_detections_with_low_scores_are_left_out_of_confusions() -> None:
    assert confusions([label("car", HERE)], [label("bus", HERE, score=MIN_SCORE / 2)]) == {(CAR, NOTHING): 1}


@pytest.mark.parametrize("region", [label("car", CROWD, attributes={"crowd": True}), label("other vehicle", CROWD)])
def test_ignored_detections_are_left_out_of_confusions(region: dict) -> None:
    inside = label("car", (420, 420, 460, 460), score=0.8)
    hit = label("car", HERE, score=0.9)
    assert confusions([label("car", HERE), region], [hit, inside]) == {(CAR, CAR): 1}
    assert confusions([label("car", HERE), region], [inside]) == {(CAR, NOTHING): 1}


def test_there_is_no_error_breakdown_without_predictions_or_finite_scores() -> None:
    strange = Case([frame("a.jpg", label("car", HERE))], [frame("a.jpg", label("car", HERE, score=float("nan")))])
    for found in (paired([label("car", HERE)], []), pair_frames(*strange.tables(lenient=True), lenient=True)):
        assert analyse_errors(found, match_detections(found)) == (None, None)


# Calibration

BOXES = [(100 * place, 0, 100 * place + 50, 50) for place in range(10)]


def calibration_case(right: int, score: float) -> Case:
    """Return a case of ten detections with one score, of which ``right`` are true positives."""
    labels = [label("car", box) for box in BOXES[:right]]
    labels.append(label("car", (0, 600, 50, 650)))
    return Case([frame("a.jpg", *labels)], [frame("a.jpg", *(label("car", box, score=score) for box in BOXES))])


@pytest.mark.parametrize(("right", "score", "error"), [(7, 0.7, 0.0), (7, 0.95, 0.25), (0, 1.0, 1.0), (10, 0.0, 1.0)])
def test_the_calibration_error_is_the_distance_between_score_and_precision(
    right: int, score: float, error: float
) -> None:
    calibration = measure_calibration(calibration_case(right, score).matches())
    assert calibration.error == pytest.approx(error)
    (full,) = (each for each in calibration.bins if each.detections)
    assert full == (full.low, full.high, 10, pytest.approx(score), pytest.approx(right / 10))
    assert full.low <= score <= full.high


def test_ten_bins_are_adjacent_and_empty_ones_have_no_precision() -> None:
    bins = measure_calibration(calibration_case(3, 0.55).matches()).bins
    assert len(bins) == BINS
    assert [each.low for each in bins[1:]] == [each.high for each in bins[:-1]]
    assert (bins[0].low, bins[-1].high) == (0, 1)
    assert [isnan(each.precision) for each in bins] == [each.detections == 0 for each in bins]


def test_ignored_detections_are_left_out_of_the_calibration() -> None:
    labels = [label("car", BOXES[0]), label("car", (0, 500, 400, 700), attributes={"crowd": True})]
    found = [label("car", BOXES[0], score=0.9), label("car", (10, 510, 50, 550), score=0.9)]
    calibration = measure_calibration(Case([frame("a.jpg", *labels)], [frame("a.jpg", *found)]).matches())
    assert sum(each.detections for each in calibration.bins) == 1


def test_a_class_without_detections_has_no_error_and_large_scores_are_in_the_last_bin() -> None:
    strange = Case([frame("a.jpg", label("car", BOXES[0]))], [frame("a.jpg", label("bus", BOXES[0], score=7))])
    calibration = measure_calibration(strange.matches())
    assert [isnan(error) for error in calibration.by_class] == [place != 4 for place in range(10)]
    assert calibration.bins[-1].detections == 1


@pytest.mark.parametrize("seed", range(4))
def test_bins_and_error_equal_those_of_hotcoco(seed: int) -> None:
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
