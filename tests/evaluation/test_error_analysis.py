"""Kinds of error and confusions, each on the least case that has it."""

from __future__ import annotations

import numpy as np
import pytest
from cases import Case, crowded_case, frame, label

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.evaluation.error_analysis import (
    ERROR_KINDS,
    MIN_SCORE,
    build_confusion_matrix,
    can_analyse_errors,
    compute_tide_errors,
)
from bdd100k_zoo.evaluation.matching import match_detections
from bdd100k_zoo.evaluation.pairing import PairedFrames, pair_frames
from bdd100k_zoo.evaluation.scoring import build_evaluator, score_paired

HERE, HALF, AWAY, CROWD = (100, 100, 199, 199), (100, 100, 199, 139), (500, 500, 599, 599), (400, 400, 600, 600)
CAR, BUS = CLASSES.index("car"), CLASSES.index("bus")
NOTHING = len(CLASSES)


def paired(labels: list, predictions: list) -> PairedFrames:
    return pair_frames(*Case([frame("a.jpg", *labels)], [frame("a.jpg", *predictions)]).tables())


def confusions(labels: list, predictions: list) -> dict[tuple[int, int], int]:
    """What is labelled as, what it is detected as, how often."""
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
def test_each_kind_of_error_is_counted_as_what_it_is(kind: str, predictions: list) -> None:
    far_off = label("car", (900, 100, 950, 150))
    hit = label("car", (900, 100, 950, 150), score=0.5)
    errors = compute_tide_errors(paired([label("car", HERE), far_off], [*predictions, hit]))
    assert errors.counts[kind] == 1
    assert set(errors.counts) == set(errors.lost) == set(ERROR_KINDS)


def test_an_error_costs_what_mending_it_would_win() -> None:
    labels = [label("car", HERE), label("car", AWAY)]
    errors = compute_tide_errors(paired(labels, [label("car", HERE, score=0.9)]))
    assert errors.lost["Miss"] == pytest.approx(100 - errors.ap50)
    assert {kind: lost for kind, lost in errors.lost.items() if lost and kind != "Miss"} == {}
    false = compute_tide_errors(
        paired([label("car", HERE)], [label("car", HERE, score=0.8), label("car", AWAY, score=0.9)])
    )
    assert false.lost["Bkg"] == pytest.approx(50)


@pytest.mark.parametrize("seed", range(3))
def test_the_ap_that_errors_are_measured_from_is_the_official_one(seed: int) -> None:
    found = pair_frames(*crowded_case(seed).tables())
    assert compute_tide_errors(found).ap50 == pytest.approx(score_paired(found)["AP50"].overall)


@pytest.mark.parametrize("seed", range(3))
def test_errors_are_those_of_hotcoco(seed: int) -> None:
    found = pair_frames(*crowded_case(seed).tables())
    run = build_evaluator(found)
    run.evaluate()
    theirs = run.tide_errors(pos_thr=0.5, bg_thr=0.1)
    ours = compute_tide_errors(found)
    assert dict(ours.counts) == {kind: theirs["counts"][kind] for kind in ERROR_KINDS}
    assert dict(ours.lost) == {kind: 100 * theirs["delta_ap"][kind] for kind in ERROR_KINDS}


def test_confusions_tell_labelled_from_detected() -> None:
    assert confusions([label("car", HERE)], [label("car", HERE, score=0.9)]) == {(CAR, CAR): 1}
    assert confusions([label("car", HERE)], [label("bus", HERE, score=0.9)]) == {(CAR, BUS): 1}
    assert confusions([label("car", HERE)], []) == {(CAR, NOTHING): 1}
    assert confusions([label("car", HERE)], [label("car", AWAY, score=0.9)]) == {(CAR, NOTHING): 1, (NOTHING, CAR): 1}


def test_detections_of_low_score_do_not_confuse() -> None:
    assert confusions([label("car", HERE)], [label("bus", HERE, score=MIN_SCORE / 2)]) == {(CAR, NOTHING): 1}


@pytest.mark.parametrize("region", [label("car", CROWD, attributes={"crowd": True}), label("other vehicle", CROWD)])
def test_what_the_evaluation_ignores_is_no_confusion(region: dict) -> None:
    inside = label("car", (420, 420, 460, 460), score=0.8)
    hit = label("car", HERE, score=0.9)
    assert confusions([label("car", HERE), region], [hit, inside]) == {(CAR, CAR): 1}
    assert confusions([label("car", HERE), region], [inside]) == {(CAR, NOTHING): 1}


def test_without_predictions_or_an_order_of_scores_there_is_nothing_to_break_down() -> None:
    assert not can_analyse_errors(paired([label("car", HERE)], []))
    strange = Case([frame("a.jpg", label("car", HERE))], [frame("a.jpg", label("car", HERE, score=float("nan")))])
    assert not can_analyse_errors(pair_frames(*strange.tables(lenient=True), lenient=True))
