"""Analyses: the official scores, and parts that agree with them and with one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cases import Case, cases, frame, frozen_case, label, scene, shaky, tables
from hypothesis import given, settings

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.evaluation.analysis import (
    ALL_FRAMES,
    MAX_ATTRIBUTE_VALUES,
    RARE,
    RunAnalysis,
    analyse_run,
    compare_runs,
)
from bdd100k_zoo.evaluation.bootstrap import MIN_FRAMES, Support, bootstrap, intervals_of, percentile_interval
from bdd100k_zoo.evaluation.matching import match_detections
from bdd100k_zoo.evaluation.pairing import pair_frames
from bdd100k_zoo.evaluation.scores import OVERALL
from bdd100k_zoo.evaluation.scoring import score_predictions
from bdd100k_zoo.progress import NO_PROGRESS

OFFICIAL = sorted((Path(__file__).resolve().parents[1] / "data" / "official").glob("*.json.gz"))


def analyse(label_table, prediction_table, resamples: int = 0, *, lenient: bool = False) -> RunAnalysis:
    paired = pair_frames(label_table, prediction_table, lenient=lenient)
    return analyse_run(paired, match_detections(paired), resamples, NO_PROGRESS)


@pytest.mark.parametrize("path", OFFICIAL, ids=lambda path: path.stem)
def test_scores_equal_the_official_ones_to_the_last_bit(path: Path):
    case, official = frozen_case(path)
    assert analyse(*case.tables(lenient=True), lenient=True).analysis.scores.official_json() == official


@settings(deadline=None, max_examples=60)
@given(cases())
def test_scores_of_any_case_equal_those_of_the_evaluation(case: Case):
    label_table, prediction_table = case.tables(lenient=True)
    expected = score_predictions(label_table, prediction_table, lenient=True)
    found = analyse(label_table, prediction_table, lenient=True)
    assert found.analysis.scores.official_json() == expected.official_json()


def test_the_mean_of_a_curve_is_the_ap_at_its_iou():
    analysis = analyse(*tables(*scene(20, seed=1))).analysis
    assert analysis.curves.ious == (0.5, 0.75, 0.9)
    for metric, curves in zip(("AP50", "AP75"), analysis.curves.precision, strict=False):
        for ap, curve in zip(analysis.scores[metric].by_class, curves, strict=True):
            assert (curve is None) == np.isnan(ap)
            assert curve is None or 100 * np.mean(curve) == pytest.approx(ap)


def test_objects_frames_and_detections_are_counted_by_class():
    labels = [
        frame("a", label("car"), label("car", attributes={"crowd": True}), label("trailer"), label("bus")),
        frame("b", label("car"), label("car")),
        frame("c"),
    ]
    found = [frame("a", label("car", score=0.5), label("train", score=0.4)), frame("b"), frame("c")]
    analysis = analyse(*Case(labels, found).tables()).analysis
    assert {name: each for name, each in analysis.support.items() if any(each)} == {
        "car": Support(frames=2, objects=3),
        "bus": Support(frames=1, objects=1),
        OVERALL: Support(frames=3, objects=4),
    }
    assert {sum(sizes) for sizes in analysis.objects_by_size} == {0, 1, 3}
    assert analysis.objects_by_size[CLASSES.index("car")] == (0, 3, 0)
    detections = dict(zip(CLASSES, analysis.detections, strict=True))
    assert {name: number for name, number in detections.items() if number} == {"car": 1, "train": 1}


def test_conditions_partition_the_frames_and_missing_attributes_are_left_out():
    labels, predictions = scene(15, seed=2)
    analysis = analyse(*tables(labels, predictions)).analysis
    assert {each.attribute for each in analysis.conditions} == {"weather"}
    assert sum(each.support.frames for each in analysis.conditions) == 15
    assert sum(each.support.objects for each in analysis.conditions) == analysis.support[OVERALL].objects
    for each in analysis.conditions:
        chosen = [place for place in range(15) if labels[place]["attributes"]["weather"] == each.value]
        alone = analyse(*tables([labels[place] for place in chosen], [predictions[place] for place in chosen]))
        assert each.scores.official_json() == alone.analysis.scores.official_json()


def test_rare_values_are_grouped():
    labels, predictions = scene(3 * MAX_ATTRIBUTE_VALUES, seed=3)
    for place, each in enumerate(labels):
        each["attributes"] = {"scene": f"scene {max(place - MAX_ATTRIBUTE_VALUES, 0):02}"}
    conditions = analyse(*tables(labels, predictions)).analysis.conditions
    assert len(conditions) == MAX_ATTRIBUTE_VALUES + 1
    assert (conditions[0].support.frames, conditions[-1].value) == (MAX_ATTRIBUTE_VALUES + 1, RARE)
    assert sum(each.support.frames for each in conditions) == len(labels)


def test_intervals_equal_those_of_the_bootstrap():
    label_table, prediction_table = tables(*scene(3 * MIN_FRAMES, seed=4))
    found = analyse(label_table, prediction_table, resamples=30)
    expected = bootstrap(match_detections(pair_frames(label_table, prediction_table)), 30, NO_PROGRESS)
    np.testing.assert_array_equal(found.samples[ALL_FRAMES], expected)
    assert found.analysis.intervals == intervals_of(expected, found.analysis.support)
    assert found.analysis.intervals[OVERALL]
    assert [each.support.frames for each in found.analysis.conditions] == [MIN_FRAMES] * 3
    assert all(each.interval for each in found.analysis.conditions)


def test_too_few_frames_or_objects_get_neither_an_interval_nor_a_verdict():
    """One foggy frame, 29 rainy ones, and a class with 29 frames."""
    labels, predictions = scene(60, seed=8)
    for place, each in enumerate(labels):
        each["attributes"] = {"weather": "foggy" if place == 7 else "rainy" if place < 30 else "clear"}
        rare = [one for one in each["labels"] if one["category"] == CLASSES[0]]
        each["labels"] = [one for one in each["labels"] if one not in rare or place < 29]
    worse = [{**each, "labels": []} for each in predictions]
    good, bad = (analyse(*tables(labels, each), resamples=50) for each in (predictions, worse))
    differences = {each.name: each for each in compare_runs(good, bad)}
    support = {name: tuple(each.support) for name, each in differences.items()}
    assert (support["foggy"][0], support["rainy"][0], support["clear"][0]) == (1, 29, 30)
    assert support[CLASSES[0]][0] < 30 <= support[CLASSES[0]][1]
    assert {name for name, each in differences.items() if each.interval} == {*CLASSES[1:4], "clear", OVERALL}
    assert {name for name, each in differences.items() if each.beyond_chance} == {*CLASSES[1:4], "clear", OVERALL}
    assert differences["foggy"].points > 0
    assert {each.value for each in good.analysis.conditions if each.interval} == {"clear"}
    assert {name for name, each in good.analysis.intervals.items() if each} == {*CLASSES[1:4], OVERALL}
    few = analyse(*tables(labels[:29], predictions[:29]), resamples=50)
    assert (set(few.analysis.intervals.values()), few.samples) == ({None}, {})
    assert {each.interval for each in compare_runs(few, few)} == {None}


def test_a_file_is_compared_with_a_worse_one_by_class_and_condition():
    labels, predictions = scene(120, seed=5)
    worse = [{**each, "labels": each["labels"][: len(each["labels"]) // 3]} for each in predictions]
    good, bad = (analyse(*tables(labels, each), resamples=50) for each in (predictions, worse))
    differences = {(each.where, each.name): each for each in compare_runs(good, bad)}
    assert len(differences) == len(CLASSES) + 1 + 3
    overall = differences["class", OVERALL]
    assert overall.points == good.analysis.scores.ap - bad.analysis.scores.ap
    assert overall.interval == percentile_interval((good.samples[ALL_FRAMES] - bad.samples[ALL_FRAMES])[:, -1])
    assert overall.beyond_chance
    assert differences["weather", "rainy"].beyond_chance
    assert np.isnan(differences["class", "train"].points)
    assert not differences["class", "train"].beyond_chance
    assert {each.points for each in compare_runs(good, good) if each.points == each.points} == {0.0}
    assert {each.interval for each in compare_runs(good, good) if each.interval} == {(0.0, 0.0)}
    assert not any(each.beyond_chance for each in compare_runs(good, good))


def test_classes_and_conditions_of_two_files_are_one_family():
    """All simultaneous intervals are wider than pointwise ones by one factor; OVERALL keeps its pointwise interval."""
    labels, predictions = scene(120, seed=6)
    worse = [{**each, "labels": each["labels"][:-1]} for each in predictions]
    first, other = (analyse(*tables(labels, each), resamples=200) for each in (predictions, worse))
    factors = {}
    for each in compare_runs(first, other):
        key = ALL_FRAMES if each.where == "class" else (each.where, each.name)
        place = (*CLASSES, OVERALL).index(each.name) if each.where == "class" else -1
        resampled = (first.samples[key] - other.samples[key])[:, place]
        if each.name == OVERALL:
            assert each.interval == percentile_interval(resampled)
        elif each.interval:
            assert (each.interval.low + each.interval.high) / 2 == pytest.approx(each.points)
            factors[each.name] = (each.interval.high - each.points) / np.std(resampled, ddof=1)
    assert set(factors) == {*CLASSES[:4], "clear", "rainy", "snowy"}
    (factor,) = {round(each, 9) for each in factors.values()}
    assert 2.2 < factor < 3


@pytest.mark.slow
def test_two_equally_good_detectors_rarely_differ_beyond_chance():
    """Predictions of one random process, with frames swapped between two files at random, do not differ in truth.

    With pointwise intervals, one of the 4 classes and 3 conditions would differ in about every fourth case.
    """
    rng = np.random.default_rng(7)
    labels, _ = scene(120, seed=7)
    together = alone = 0
    cases = 25
    for _ in range(cases):
        drawn = [
            [{**each, "labels": [one for truth in each["labels"] for one in shaky(truth, rng)]} for each in labels]
            for _ in range(2)
        ]
        swapped = [pair_[:: rng.choice((-1, 1))] for pair_ in zip(*drawn, strict=True)]
        mine, theirs = (analyse(*tables(labels, list(side)), resamples=100) for side in zip(*swapped, strict=True))
        found = [each for each in compare_runs(mine, theirs) if each.interval and each.name != OVERALL]
        assert len(found) == 7
        together += any(each.beyond_chance for each in found)
        by_class = (mine.samples[ALL_FRAMES] - theirs.samples[ALL_FRAMES])[:, :4].T
        by_condition = [(mine.samples[key] - theirs.samples[key])[:, -1] for key in mine.samples if key != ALL_FRAMES]
        each_alone = [percentile_interval(values) for values in (*by_class, *by_condition)]
        alone += any(each.low > 0 or each.high < 0 for each in each_alone if each)
    assert together / cases <= 0.12
    assert alone / cases >= 0.2


def test_without_resamples_a_difference_has_no_interval():
    found = analyse(*tables(*scene(6, seed=6)))
    assert {each.interval for each in compare_runs(found, found)} == {None}


def test_an_analysis_without_predictions_scores_0():
    labels, predictions = scene(6, seed=7)
    analysis = analyse(*tables(labels, [{**each, "labels": []} for each in predictions]), resamples=10).analysis
    assert analysis.scores.ap == 0
    assert (analysis.errors, analysis.confusion) == (None, None)
    assert np.isnan(analysis.calibration.error)
