"""Scores against frozen official ones, and special cases of the official rules computed by hand."""

from __future__ import annotations

import subprocess
import sys
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cases import Case, cases, crowded_case, frame, frozen_case, label, scene, score_with_hotcoco
from hypothesis import HealthCheck, assume, given, settings

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.tables import read_label_table, read_prediction_table
from bdd100k_zoo.errors import InputsError
from bdd100k_zoo.evaluation.matching import match_detections
from bdd100k_zoo.evaluation.pairing import pair_frames
from bdd100k_zoo.evaluation.scores import OFFICIAL_METRICS
from bdd100k_zoo.evaluation.scoring import score_matches, score_predictions

if TYPE_CHECKING:
    from bdd100k_zoo.data.validation import IssueSummary
    from bdd100k_zoo.evaluation.pairing import PairedFrames
    from bdd100k_zoo.evaluation.scores import Scores

COMMITTED = sorted((Path(__file__).parents[1] / "data/official").glob("*.json.gz"))
FUZZ_CASES = [f"case_{number}" for number in range(1000, 1024)]
FAR = label("bus", (500, 500, 540, 540))
"""A label of another class, so that there is always something to score."""


def check(case: Case, expected: bytes) -> None:
    assert case.scores(lenient=True).official_json() == expected


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_scores_equal_the_committed_official_ones_bit_for_bit(path: Path) -> None:
    check(*frozen_case(path))


@pytest.mark.parametrize("name", FUZZ_CASES)
def test_scores_equal_the_frozen_official_ones_bit_for_bit(shared: Path, name: str) -> None:
    check(*frozen_case(shared / f"official/fuzz/{name}.json.gz"))


def test_scalabels_own_test_case_is_scored_bit_for_bit_without_leniency(shared: Path) -> None:
    folder = shared / "official/scalabel_det"
    labels, predictions = read_label_table(folder / "labels.json"), read_prediction_table(folder / "predictions.json")
    assert score_predictions(labels, predictions).official_json() == (folder / "scores.json").read_bytes()


def score(labels: Any, predictions: Any, *, lenient: bool = False) -> Scores:
    return Case(labels, predictions).scores(lenient=lenient)


def of_class(scores: Scores, metric: str, name: str = "car") -> float:
    return scores[metric].by_class[CLASSES.index(name)]


def test_a_perfect_detection_scores_a_hundred_and_classes_without_labels_do_not_count() -> None:
    scores = score([frame("a", label("car"))], [frame("a", label("car", score=0.5))])
    assert of_class(scores, "AP") == pytest.approx(100, abs=1e-9)
    assert scores.ap == of_class(scores, "AP")
    assert of_class(scores, "AR1") == 100
    assert all(isnan(of_class(scores, metric, "bus")) for metric in OFFICIAL_METRICS)
    assert isnan(of_class(scores, "APs"))
    assert of_class(scores, "APm") == of_class(scores, "AP")


@pytest.mark.parametrize("predictions", [[frame("a")], [{"name": "a", "labels": None}], [{"name": "a"}]])
def test_an_empty_predictions_file_scores_0_for_every_class_with_any_label(predictions: Any) -> None:
    labels = [frame("a", label("car"), label("bus", attributes={"crowd": True}), label("trailer"))]
    scores = score(labels, predictions)
    for metric in OFFICIAL_METRICS:
        found = [name for name in CLASSES if of_class(scores, metric, name) == 0]
        assert found == ["car", "truck", "bus"]
        assert sum(map(isnan, scores[metric].by_class)) == 7
        assert scores[metric].overall == 0


def test_without_labels_all_scores_are_nan() -> None:
    for predictions in ([frame("a")], [frame("a", label(score=1))]):
        scores = score([frame("a")], predictions)
        assert all(
            isnan(value) for metric in OFFICIAL_METRICS for value in (*scores[metric].by_class, scores[metric].overall)
        )
    assert isnan(score([], []).ap)


def test_a_class_with_only_crowds_scores_nan_if_there_is_any_prediction() -> None:
    labels = [frame("a", label("car", attributes={"crowd": True}), FAR)]
    assert isnan(of_class(score(labels, [frame("a", label("car", score=0.5))]), "AP"))


def test_a_crowd_absorbs_any_number_of_detections_that_lie_mostly_inside_it() -> None:
    crowd = label("other vehicle", (0, 0, 400, 400))
    inside = [label(box=(10 * n, 10 * n, 10 * n + 40, 10 * n + 40), score=0.9) for n in range(5)]
    scores = score(
        [frame("a", crowd, label(box=(600, 0, 640, 40)))],
        [frame("a", *inside, label(box=(600, 0, 640, 40), score=0.1))],
    )
    assert of_class(scores, "AP") == pytest.approx(100, abs=1e-9)


def test_an_ignored_category_among_predictions_counts_as_its_class() -> None:
    scores = score([frame("a", label("car"))], [frame("a", label("other vehicle", score=0.5))])
    assert of_class(scores, "AP50") == pytest.approx(100, abs=1e-9)


@pytest.mark.parametrize(("alias", "name"), [("bike", "bicycle"), ("person", "pedestrian"), ("motor", "motorcycle")])
def test_aliases_are_their_classes_in_labels_and_predictions(alias: str, name: str) -> None:
    scores = score(
        [frame("a", label(alias)), frame("b", label(name))],
        [frame("a", label(name, score=1)), frame("b", label(alias, score=1))],
    )
    assert of_class(scores, "AP50", name) == pytest.approx(100, abs=1e-9)


def test_objects_outside_an_area_are_neither_found_nor_missed_there() -> None:
    large, small = label(box=(0, 0, 200, 200)), label(box=(300, 300, 310, 310))
    found = [label(box=(0, 0, 200, 200), score=0.9), label(box=(600, 600, 609, 609), score=0.8)]
    scores = score([frame("a", large, small)], [frame("a", *found)])
    assert of_class(scores, "APl") == pytest.approx(100, abs=1e-9)
    assert of_class(scores, "APs") == 0
    assert isnan(of_class(scores, "APm"))


def test_the_bounds_of_areas_are_inclusive_and_sizes_include_the_last_pixel() -> None:
    scores = score([frame("a", label(box=(0, 0, 31, 31)))], [frame("a", label(box=(0, 0, 31, 31), score=0.5))])
    assert of_class(scores, "ARs") == of_class(scores, "ARm") == 100
    assert isnan(of_class(scores, "ARl"))


def test_of_more_than_a_hundred_detections_the_best_hundred_count() -> None:
    wrong = [label(box=(600, 600, 640, 640), score=0.9)] * 100
    scores = score([frame("a", label())], [frame("a", *wrong, label(score=0.1))])
    assert of_class(scores, "AR100") == 0
    assert of_class(score([frame("a", label())], [frame("a", *wrong[1:], label(score=0.1))]), "AR100") == 100


def test_recall_counts_the_best_detections_of_each_image() -> None:
    labels = [frame("a", label(), label(box=(100, 100, 140, 140)))]
    found = [frame("a", label(score=0.5), label(box=(100, 100, 140, 140), score=0.4))]
    scores = score(labels, found)
    assert (of_class(scores, "AR1"), of_class(scores, "AR10")) == (50, 100)


@pytest.mark.parametrize(("first", "ap"), [(True, 100.0), (False, 50.0)])
def test_equal_scores_keep_the_order_of_the_file(first: bool, ap: float) -> None:
    right, wrong = label(score=0.5), label(box=(600, 600, 640, 640), score=0.5)
    found = [right, wrong] if first else [wrong, right]
    assert of_class(score([frame("a", label())], [frame("a", *found)]), "AP50") == pytest.approx(ap, abs=1e-9)


def test_equal_scores_in_different_frames_are_ordered_by_frame_name() -> None:
    labels = [frame("b", label()), frame("a", FAR)]
    found = [frame("b", label(score=0.5)), frame("a", label(score=0.5))]
    assert of_class(score(labels, found), "AP50") == pytest.approx(50, abs=1e-9)


def test_of_equally_overlapping_objects_the_last_of_the_file_is_taken() -> None:
    left, right = label(box=(0, 0, 39, 39)), label(box=(10, 0, 49, 39))
    between = label(box=(5, 0, 44, 39), score=0.9)  # overlaps both by 35/45: six thresholds
    exact = label(box=(0, 0, 39, 39), score=0.8)  # leaves the right one alone above 30/50
    found = [frame("a", between, exact)]
    assert of_class(score([frame("a", left, right)], found), "AR100") == pytest.approx(100 * (6 + 10) / 20)
    assert of_class(score([frame("a", right, left)], found), "AR100") < 75


@pytest.mark.parametrize("box", [(5, 5, 5, 5), (5, 5, 5, 40), (5.25, 5, 5.5, 5.5)])
def test_boxes_with_equal_corners_are_a_pixel_wide(box: tuple[float, ...]) -> None:
    scores = score([frame("a", label(box=box))], [frame("a", label(box=box, score=0.5))])
    assert of_class(scores, "AR1") == 100


def test_inverted_boxes_are_scored_when_lenient() -> None:
    inverted = (60, 60, 20, 20)
    labels, found = [frame("a", label(box=inverted), FAR)], [frame("a", label(box=inverted, score=0.5))]
    assert of_class(score(labels, found, lenient=True), "AR100") == 0


@pytest.mark.parametrize("lenient", [False, True])
def test_videos_distinguish_frames_of_one_name(lenient: bool) -> None:
    here, there = label(), label(box=(300, 300, 340, 340))
    labels = [frame("a", here, videoName="v"), frame("a", there, videoName="w")]
    found = [frame("a", there | {"score": 0.5}, videoName="w"), frame("a", here | {"score": 0.6}, videoName="v")]
    assert of_class(score(labels, found, lenient=lenient), "AP50") == pytest.approx(100, abs=1e-9)


def test_videos_are_ignored_if_names_are_unique() -> None:
    labels, found = [frame("a", label(), videoName="v")], [frame("a", label(score=0.5))]
    assert of_class(score(labels, found), "AP50") == pytest.approx(100, abs=1e-9)


def test_of_duplicate_frames_the_last_wins_when_lenient() -> None:
    found = [frame("a", label(box=(600, 0, 640, 40), score=0.9)), frame("a", label(score=0.5))]
    scores = score([frame("a", label())], found, lenient=True)
    assert of_class(scores, "AP50") == pytest.approx(100, abs=1e-9)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "-inf"])
def test_scores_that_are_not_finite_are_sorted_as_numpy_does_when_lenient(value: Any) -> None:
    case = Case([frame("a", label())], [frame("a", label(score=value), label(box=(600, 0, 640, 40), score=0.5))])
    best = 100 if value == float("inf") else 50
    assert of_class(case.scores(lenient=True), "AP50") == pytest.approx(best, abs=1e-9)


def check_against_hotcoco(paired: PairedFrames) -> None:
    assert score_matches(match_detections(paired)).official_json() == score_with_hotcoco(paired).official_json()


@given(case=cases(finite=True))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_scores_equal_those_of_hotcoco_on_any_finite_case(case: Case) -> None:
    paired = pair_frames(*case.tables(lenient=True), lenient=True)
    assume(len(paired.rows))  # hotcoco lacks the official rule for no predictions at all
    check_against_hotcoco(paired)


@given(case=cases(sound=True))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_strict_scores_equal_those_of_hotcoco_on_valid_cases(case: Case) -> None:
    try:
        paired = pair_frames(*case.tables())
    except InputsError:
        assume(False)
    assume(len(paired.rows))
    check_against_hotcoco(paired)


@pytest.mark.parametrize("seed", [7, *range(20, 24)])
def test_scores_equal_those_of_hotcoco_on_crowded_frames(seed: int) -> None:
    check_against_hotcoco(pair_frames(*crowded_case(seed).tables()))


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_those_of_hotcoco_on_scenes_with_crowds(seed: int) -> None:
    check_against_hotcoco(pair_frames(*Case(*scene(60, seed)).tables()))


def test_scoring_needs_no_hotcoco() -> None:
    code = (
        "import sys; sys.modules['hotcoco'] = None\n"
        "import bdd100k_zoo.evaluation.evaluate, bdd100k_zoo.evaluation.analysis\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_and_unknown_frames_are_an_error_that_names_them() -> None:
    case = Case([frame("a", label()), frame("b")], [frame("b"), frame("zz")])
    with pytest.raises(InputsError) as caught:
        case.scores()
    assert "1 frames missing: a; 1 frames not in the labels: zz" in str(caught.value)
    assert str(caught.value).count(".json") == 2


@pytest.mark.parametrize("doubled", ["labels", "predictions"])
def test_frames_that_appear_twice_are_an_error_naming_file_and_frame(doubled: str) -> None:
    once, twice = [frame("a", label(score=None))], [frame("a"), frame("a")]
    case = Case(twice, [frame("a")]) if doubled == "labels" else Case(once, twice)
    with pytest.raises(InputsError) as caught:
        case.scores()
    assert f"{doubled}.json: frame a: appears 2 times" in str(caught.value)


def accepted(case: Case) -> tuple[IssueSummary, ...]:
    return pair_frames(*case.tables(lenient=True), lenient=True).let_through


def test_accepted_issues_are_reported_with_counts_and_examples() -> None:
    labels = [frame(name, label()) for name in "abcde"]
    wrong = label(box=(9, 9, 1, 1), score=float("nan"), id=7)
    found = [frame("a", wrong, label(box=None, score=0.5)), frame("a", wrong, wrong), frame("zz")]
    reported = {each.kind: each for each in accepted(Case(labels, found))}
    assert {kind: each.count for kind, each in reported.items()} == {
        "boxes with x2 < x1 - 1": 3,
        "boxes with y2 < y1 - 1": 3,
        "scores that are not finite": 3,
        "predictions without a box": 1,
        "frames more than once": 1,
        "frames without predictions": 4,
        "frames without labels": 1,
    }
    assert len(reported["frames without predictions"].examples) == 3
    (first, *_) = reported["scores that are not finite"].examples
    assert all(part in first for part in ("predictions.json", "frame a", "label 7 (no. 1)", "nan"))


def test_a_valid_case_has_no_issues() -> None:
    case = Case([frame("a", label())], [frame("a", label(score=0.5))])
    assert accepted(case) == ()
    with pytest.raises(InputsError):
        Case([frame("a", label())], []).scores()


@given(case=cases(sound=True))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_flat_predictions_score_as_frames_do(case: Case) -> None:
    names = [str(each["name"]) for each in case.predictions]
    assume(len(set(names)) == len(names))
    flat = [
        {
            **{name: each[name] for name in ("name", "videoName") if name in each},
            "category": found["category"],
            "bbox": [found["box2d"][corner] for corner in ("x1", "y1", "x2", "y2")],
            "score": found["score"],
        }
        for each in case.predictions
        for found in each["labels"] or ()
    ]
    assume(flat)
    assert Case(case.labels, flat).scores().official_json() == case.scores().official_json()
