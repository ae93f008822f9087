"""Bootstrap: resamples score exactly as repeated frames do; and intervals."""

from __future__ import annotations

import numpy as np
import pytest
from cases import Case, frame, label, match_predictions, repeated, scene, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from bdd100k_zoo.evaluation import bootstrap as analysis
from bdd100k_zoo.evaluation.analysis import group_frames
from bdd100k_zoo.evaluation.bootstrap import (
    bootstrap,
    bootstrap_parts,
    intervals_of,
    percentile_interval,
    simultaneous_intervals,
    support_of,
)
from bdd100k_zoo.evaluation.scoring import score_predictions
from bdd100k_zoo.progress import NO_PROGRESS


@pytest.mark.parametrize("seed", range(6))
def test_a_resample_scores_as_a_file_with_repeated_frames(seed):
    labels, predictions = scene(12, seed)
    found = match_predictions(*tables(labels, predictions))
    weights = np.bincount(np.random.default_rng(seed).integers(0, 12, 12), minlength=12)
    row = weights[None].astype(np.int16)
    (measured,) = analysis._with_overall([analysis._Curves(each).average_precisions(row) for each in found.classes])
    expected = score_predictions(*tables(repeated(labels, weights.tolist()), repeated(predictions, weights.tolist())))[
        "AP"
    ]
    np.testing.assert_allclose(measured, [*expected.by_class, expected.overall], rtol=1e-12, equal_nan=True)


def test_the_same_seed_gives_the_same_draws_and_another_does_not():
    found = match_predictions(*tables(*scene(20, seed=5)))
    first, again, other = (bootstrap(found, 30, NO_PROGRESS, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other, equal_nan=True)


def test_an_interval_lies_around_its_score_and_shrinks_with_more_frames():
    def width(frames: int) -> float:
        label_table, prediction_table = tables(*scene(frames, seed=6))
        interval = percentile_interval(
            bootstrap(match_predictions(label_table, prediction_table), 100, NO_PROGRESS)[:, -1]
        )
        assert interval is not None
        assert interval.low < score_predictions(label_table, prediction_table).ap < interval.high
        return interval.high - interval.low

    assert width(160) < width(20)


def test_a_file_does_not_differ_from_itself_and_differs_from_a_worse_one():
    labels, predictions = scene(40, seed=7)
    worse = [{**frame, "labels": frame["labels"][: len(frame["labels"]) // 3]} for frame in predictions]
    good, bad = (bootstrap(match_predictions(*tables(labels, each)), 100, NO_PROGRESS) for each in (predictions, worse))
    nothing, much = (percentile_interval((good - each)[:, -1]) for each in (good, bad))
    assert nothing == (0.0, 0.0)
    assert much is not None
    assert much.low > 0


def test_intervals_are_of_classes_with_enough_frames_and_objects():
    """30 objects in 30 frames are enough; 29 of either are too few."""
    labels = [frame(f"{place:02}", *[label("car")] * 2) for place in range(40)]
    for place in range(30):
        labels[place]["labels"].append(label("bus"))
    for place in range(29):
        labels[place]["labels"] += [label("truck")] * 2
    labels[0]["labels"] += [label("rider", attributes={"crowd": True})] * 40
    found = match_predictions(*Case(labels, [frame(each["name"], label("car", score=0.5)) for each in labels]).tables())
    support = support_of(found, range(40))
    assert [support[name] for name in ("car", "bus", "truck", "rider")] == [(40, 80), (30, 30), (29, 58), (0, 0)]
    assert support["OVERALL"] == (40, 168)
    intervals = intervals_of(bootstrap(found, 20, NO_PROGRESS), support)
    assert {name for name, interval in intervals.items() if interval} == {"car", "bus", "OVERALL"}
    assert not support_of(found, range(29))["OVERALL"].enough
    assert support_of(found, range(30))["OVERALL"].enough
    assert set(intervals_of(None, support).values()) == {None}


def test_a_number_that_is_nan_in_all_resamples_has_no_interval():
    assert percentile_interval(np.full(3, np.nan)) is None
    assert percentile_interval(np.array([1.0, np.nan, 1.0])) == (1, 1)


def test_parts_share_the_draws_of_all_frames():
    """Resample i of a part scores the frames of the part as often as they are in draw i of all frames."""
    labels, predictions = scene(12, seed=9)
    label_table, prediction_table = tables(labels, predictions)
    found = match_predictions(label_table, prediction_table)
    parts = group_frames(label_table, "weather")
    samples = bootstrap_parts(found, parts, 3, NO_PROGRESS, seed=5)
    draws = np.concatenate(list(analysis._draws(12, 3, 5)))
    for value, frames in parts.items():
        for weights, measured in zip(draws[:, frames].tolist(), samples[value], strict=True):
            mine = [repeated([each[place] for place in frames], weights) for each in (labels, predictions)]
            expected = score_predictions(*tables(*mine))["AP"] if any(weights) else None
            if expected:
                np.testing.assert_allclose(measured, [*expected.by_class, expected.overall], rtol=1e-12, equal_nan=True)
            else:
                assert np.isnan(measured).all()


def reference_intervals(values: np.ndarray, resampled: np.ndarray) -> list[tuple[float, float]]:
    """Return the intervals of Westfall and Young's single-step maxT, computed number by number."""
    spread = [float(np.nanstd(column, ddof=1)) for column in resampled.T]
    largest = []
    for row in resampled:
        distances = [
            abs(each - value) / sigma
            for each, value, sigma in zip(row, values, spread, strict=True)
            if sigma > 0 and not np.isnan(each)
        ]
        largest.append(max(distances, default=0.0))
    critical = float(np.percentile(largest, 95))
    return [(value - critical * sigma, value + critical * sigma) for value, sigma in zip(values, spread, strict=True)]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 6), st.booleans(), st.booleans())
def test_simultaneous_intervals_are_those_of_a_plain_reference(seed, resamples, numbers, constant, unknown):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 3, numbers)
    resampled = values + rng.normal(0, rng.uniform(0.1, 5, numbers), (resamples, numbers))
    if constant:
        resampled[:, 0] = values[0]
    if unknown and resamples > 3:
        resampled[rng.integers(0, resamples), -1] = np.nan
    found = simultaneous_intervals(values, resampled)
    np.testing.assert_allclose(found, reference_intervals(values, resampled), rtol=1e-9, atol=1e-12)
    if constant:
        assert found[0] == (values[0], values[0])


def test_one_number_alone_has_an_interval_about_as_wide_as_the_usual_one():
    resampled = np.random.default_rng(0).normal(2, 1, (20_000, 1))
    ((low, high),) = simultaneous_intervals([2.0], resampled)
    assert (low, high) == pytest.approx((2 - 1.96, 2 + 1.96), abs=0.05)


def test_rounding_errors_are_not_spread():
    """Numbers that differ only in the last bit do not widen the other intervals and have an interval of width 0."""
    rng = np.random.default_rng(1)
    resampled = np.column_stack((rng.normal(0, 1, 500), 50 + 1e-14 * rng.integers(0, 2, 500)))
    (alone,) = simultaneous_intervals([0.0], resampled[:, :1])
    first, second = simultaneous_intervals([0.0, 50.0], resampled)
    assert first == pytest.approx(alone)
    assert second == (50, 50)


def test_all_intervals_hold_the_truth_together_in_95_of_100_cases():
    """Means of correlated numbers with known truth; pointwise intervals fail in more than one of 4 cases."""
    rng = np.random.default_rng(2)
    truth = np.linspace(-2, 2, 12)
    mixing = rng.normal(0, 1, (12, 12)) * 0.3 + np.eye(12)
    together = alone = 0
    cases = 400
    for _ in range(cases):
        data = truth + rng.standard_normal((200, 12)) @ mixing
        resampled = rng.multinomial(200, np.full(200, 1 / 200), 300) @ data / 200
        found = simultaneous_intervals(data.mean(axis=0), resampled)
        together += all(low <= value <= high for value, (low, high) in zip(truth, found, strict=True))
        each = [percentile_interval(column) for column in resampled.T]
        alone += all(low <= value <= high for value, (low, high) in zip(truth, each, strict=True))
    assert 0.92 <= together / cases <= 0.98
    assert alone / cases < 0.75
