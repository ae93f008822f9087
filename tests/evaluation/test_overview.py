"""What a report tells: the official scores, and parts that agree with them and with one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cases import Case, cases, frame, frozen_case, label
from hypothesis import given, settings
from test_analysis import scene, tables

from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.evaluation.analysis import bootstrap
from bdd100k_zoo.evaluation.bdd100k import score_paired
from bdd100k_zoo.evaluation.matching import match
from bdd100k_zoo.evaluation.overview import EVERYTHING, MOST_VALUES, RARE, Overview, compare, look_over
from bdd100k_zoo.evaluation.pairing import pair
from bdd100k_zoo.progress import SILENT
from bdd100k_zoo.records.scores import OVERALL

OFFICIAL = sorted((Path(__file__).resolve().parents[1] / "data" / "official").glob("*.json.gz"))


def overview(label_table, prediction_table, resamples: int = 0, *, lenient: bool = False) -> Overview:
    paired = pair(label_table, prediction_table, lenient=lenient)
    return look_over(paired, match(paired), resamples, SILENT)


@pytest.mark.parametrize("path", OFFICIAL, ids=lambda path: path.stem)
def test_scores_are_the_official_ones_to_the_last_bit(path: Path):
    case, official = frozen_case(path)
    assert overview(*case.tables(lenient=True), lenient=True).analysis.scores.official_json() == official


@settings(deadline=None, max_examples=60)
@given(cases())
def test_scores_of_anything_are_those_of_the_evaluation(case: Case):
    label_table, prediction_table = case.tables(lenient=True)
    expected = score_paired(pair(label_table, prediction_table, lenient=True))
    found = overview(label_table, prediction_table, lenient=True)
    assert found.analysis.scores.official_json() == expected.official_json()


def test_the_mean_of_a_curve_is_the_ap_at_its_iou():
    analysis = overview(*tables(*scene(20, seed=1))).analysis
    assert analysis.curves.ious == (0.5, 0.75, 0.9)
    for metric, curves in zip(("AP50", "AP75"), analysis.curves.precision, strict=False):
        for ap, curve in zip(analysis.scores[metric].by_class, curves, strict=True):
            assert (curve is None) == np.isnan(ap)
            assert curve is None or 100 * np.mean(curve) == pytest.approx(ap)


def test_counts_are_of_objects_to_find_and_of_detections():
    labels = [frame("a", label("car"), label("car", attributes={"crowd": True}), label("trailer"), label("bus"))]
    found = [frame("a", label("car", score=0.5), label("train", score=0.4))]
    counts = dict(zip(CLASSES, overview(*Case(labels, found).tables()).analysis.counts, strict=True))
    seen = {name: tuple(each) for name, each in counts.items() if any(each)}
    assert seen == {"car": (1, 1), "bus": (1, 0), "train": (0, 1)}


def test_conditions_part_the_frames_and_attributes_that_the_labels_do_not_tell_are_left_out():
    labels, predictions = scene(15, seed=2)
    analysis = overview(*tables(labels, predictions)).analysis
    assert {each.attribute for each in analysis.conditions} == {"weather"}
    assert sum(each.frames for each in analysis.conditions) == 15
    for each in analysis.conditions:
        chosen = [place for place in range(15) if labels[place]["attributes"]["weather"] == each.value]
        alone = overview(*tables([labels[place] for place in chosen], [predictions[place] for place in chosen]))
        assert each.scores.official_json() == alone.analysis.scores.official_json()


def test_rare_values_are_taken_together():
    labels, predictions = scene(3 * MOST_VALUES, seed=3)
    for place, each in enumerate(labels):
        each["attributes"] = {"scene": f"scene {max(place - MOST_VALUES, 0):02}"}
    conditions = overview(*tables(labels, predictions)).analysis.conditions
    assert len(conditions) == MOST_VALUES + 1
    assert (conditions[0].frames, conditions[-1].value) == (MOST_VALUES + 1, RARE)
    assert sum(each.frames for each in conditions) == len(labels)


def test_intervals_are_those_of_the_bootstrap_whatever_runs_beside_it():
    label_table, prediction_table = tables(*scene(20, seed=4))
    found = overview(label_table, prediction_table, resamples=30)
    expected = bootstrap(match(pair(label_table, prediction_table)), 30, SILENT)
    np.testing.assert_array_equal(found.samples[EVERYTHING].ap, expected.ap)
    assert found.analysis.intervals == dict(zip((*CLASSES, OVERALL), expected.intervals(), strict=True))
    assert all(each.intervals[OVERALL] for each in found.analysis.conditions)


def test_a_file_is_compared_with_a_worse_one_class_by_class_and_condition_by_condition():
    labels, predictions = scene(40, seed=5)
    worse = [{**each, "labels": each["labels"][: len(each["labels"]) // 3]} for each in predictions]
    good, bad = (overview(*tables(labels, each), resamples=50) for each in (predictions, worse))
    differences = {(each.where, each.name): each for each in compare(good, bad)}
    assert len(differences) == len(CLASSES) + 1 + 3
    overall = differences["class", OVERALL]
    assert overall.points == good.analysis.scores.ap - bad.analysis.scores.ap
    assert overall.interval == good.samples[EVERYTHING].minus(bad.samples[EVERYTHING])
    assert overall.beyond_chance
    assert differences["weather", "rainy"].beyond_chance
    assert np.isnan(differences["class", "train"].points)
    assert not differences["class", "train"].beyond_chance
    assert {each.points for each in compare(good, good) if each.points == each.points} == {0.0}


def test_without_resamples_a_difference_has_no_interval():
    found = overview(*tables(*scene(6, seed=6)))
    assert {each.interval for each in compare(found, found)} == {None}


def test_no_predictions_at_all_score_nothing_and_break_nothing():
    labels, predictions = scene(6, seed=7)
    analysis = overview(*tables(labels, [{**each, "labels": []} for each in predictions]), resamples=10).analysis
    assert analysis.scores.ap == 0
    assert (analysis.errors, analysis.confusion) == (None, None)
    assert np.isnan(analysis.calibration.error)
