"""Everything that a report shows of one predictions file, and of two of them compared."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from bdd100k_zoo.evaluation.bootstrap import (
    Interval,
    Intervals,
    Samples,
    Support,
    bootstrap_parts,
    intervals_of,
    percentile_interval,
    simultaneous_intervals,
    support_of,
)
from bdd100k_zoo.evaluation.conditions import (
    ALL_FRAMES,
    ConditionKey,
    ConditionScores,
    group_by_conditions,
    score_conditions,
)
from bdd100k_zoo.evaluation.error_analysis import (
    Calibration,
    ConfusionMatrix,
    ErrorBreakdown,
    analyse_errors,
    measure_calibration,
)
from bdd100k_zoo.evaluation.matching import ANY_SIZE, IOU_THRESHOLDS
from bdd100k_zoo.evaluation.scores import OVERALL, Scores
from bdd100k_zoo.evaluation.scoring import accumulate, score_accumulated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bdd100k_zoo.evaluation.matching import Matches
    from bdd100k_zoo.evaluation.pairing import PairedFrames
    from bdd100k_zoo.progress import Progress

CURVE_IOUS = (0, 5, 8)
"""Indices into ``IOU_THRESHOLDS`` of those whose curves are shown: 0.50, 0.75 and 0.90."""

Floats = npt.NDArray[np.float64]


class Curves(msgspec.Struct, frozen=True):
    """Precision at 101 points of recall, 0 to 1, as the official AP averages it."""

    ious: tuple[float, ...]
    precision: tuple[tuple[tuple[float, ...] | None, ...], ...]
    """[ious][classes][101], 0 to 1; None for a class without objects."""


class Analysis(msgspec.Struct, frozen=True):
    """All that is known of one predictions file, as plain numbers."""

    scores: Scores
    support: Mapping[str, Support]
    """Of each class and OVERALL."""
    objects_by_size: tuple[tuple[int, ...], ...]
    """[classes][small, medium, large]."""
    detections: tuple[int, ...]
    """By class: the 100 best of each frame."""
    intervals: Intervals
    """Empty where none were asked for."""
    curves: Curves
    conditions: tuple[ConditionScores, ...]
    calibration: Calibration
    errors: ErrorBreakdown | None
    """None where scores are not finite, or there are no predictions."""
    confusion: ConfusionMatrix | None
    """None likewise."""


class APDifference(NamedTuple):
    """By how much one predictions file is better than another, overall, for a class or under a condition."""

    where: str
    """``class``, or an attribute of the frames."""
    name: str
    """The class, OVERALL, or the attribute's value."""
    points: float
    """First minus second in AP, in percent."""
    support: Support
    interval: Interval | None
    """Of that difference, on the same resampled frames; None where none was asked for or there is not enough for one.
    That of OVERALL holds on its own; all others are simultaneous, see ``bootstrap.simultaneous_intervals``."""

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval is not None and (self.interval.low > 0 or self.interval.high < 0)


@dataclass(frozen=True, slots=True, eq=False)
class RunAnalysis:
    """What is known of one predictions file, and its resamples, which comparisons need."""

    analysis: Analysis
    samples: Mapping[ConditionKey, Samples]
    """Of all frames and of each condition, all from the same draws. Conditions with too few frames or objects for an
    interval are missing; empty where no intervals were asked for."""


def analyse_run(paired: PairedFrames, matches: Matches, resamples: int, progress: Progress) -> RunAnalysis:
    """Compute everything about one predictions file.

    Args:
        paired: labels and predictions.
        matches: of the same.
        resamples: for intervals; 0 for none.
        progress: where to report progress.
    """
    with ThreadPoolExecutor(1) as background:  # hotcoco releases the GIL while it works
        pending = background.submit(analyse_errors, paired, matches)
        groups = group_by_conditions(paired.labels)
        by_class = support_of(matches, groups[ALL_FRAMES])
        support = {key: support_of(matches, frames)[OVERALL] for key, frames in groups.items()}
        enough = {key: frames for key, frames in groups.items() if support[key].enough}
        samples = bootstrap_parts(matches, enough, resamples, progress) if resamples and enough else {}
        precision, recall = accumulate(matches)
        conditions = score_conditions(matches, groups, support, samples)
        calibration = measure_calibration(matches)
        errors, confusion = pending.result()
    analysis = Analysis(
        scores=score_accumulated(matches, precision, recall),
        support=by_class,
        objects_by_size=tuple(tuple(each.objects[ANY_SIZE + 1 :].sum(axis=1).tolist()) for each in matches.classes),
        detections=tuple(len(each.scores) for each in matches.classes),
        intervals=intervals_of(samples.get(ALL_FRAMES), by_class) if resamples else {},
        curves=_curves(precision),
        conditions=conditions,
        calibration=calibration,
        errors=errors,
        confusion=confusion,
    )
    return RunAnalysis(analysis, samples)


def _curves(precision: Floats) -> Curves:
    """Return the curves at ``CURVE_IOUS`` from [thresholds, recall points, classes, areas]."""
    chosen = list(CURVE_IOUS)
    return Curves(
        tuple(IOU_THRESHOLDS[chosen].round(2).tolist()),
        tuple(
            tuple(None if curve[0] < 0 else tuple(curve.tolist()) for curve in by_class.T)
            for by_class in precision[chosen, :, :, ANY_SIZE]
        ),
    )


def compare_runs(first: RunAnalysis, second: RunAnalysis) -> tuple[APDifference, ...]:
    """Return by how much the first is better than the second: by class, overall, and by condition.

    Both must be of the same labels. Where both have resamples, OVERALL has an interval of its own, and all classes and
    conditions with enough frames and objects have simultaneous intervals: they are one family, that of these two files.
    """
    found = [*_class_differences(first, second), *_condition_differences(first, second)]
    differences = [each for each, _ in found]
    family = {place: resampled for place, (_, resampled) in enumerate(found) if resampled is not None}
    if family:
        points = [differences[place].points for place in family]
        joint = simultaneous_intervals(points, np.column_stack(list(family.values())))
        for place, interval in zip(family, joint, strict=True):
            differences[place] = differences[place]._replace(interval=interval)
    return tuple(differences)


def _class_differences(first: RunAnalysis, second: RunAnalysis) -> Iterator[tuple[APDifference, Floats | None]]:
    """Yield each difference and its resamples; None for those that get no simultaneous interval."""
    mine, other = (each.analysis.scores["AP"] for each in (first, second))
    points = np.subtract((*mine.by_class, mine.overall), (*other.by_class, other.overall)).tolist()
    resampled = _resampled_differences(first, second, ALL_FRAMES)
    for place, (name, support) in enumerate(first.analysis.support.items()):
        values = None if resampled is None or not support.enough else resampled[:, place]
        if name == OVERALL:
            interval = None if values is None else percentile_interval(values)
            yield APDifference("class", name, points[place], support, interval), None
        else:
            yield APDifference("class", name, points[place], support, None), values


def _condition_differences(first: RunAnalysis, second: RunAnalysis) -> Iterator[tuple[APDifference, Floats | None]]:
    for mine, other in zip(first.analysis.conditions, second.analysis.conditions, strict=True):
        resampled = _resampled_differences(first, second, (mine.attribute, mine.value))
        points = mine.scores.ap - other.scores.ap
        difference = APDifference(mine.attribute, mine.value, points, mine.support, None)
        yield difference, None if resampled is None else resampled[:, -1]


def _resampled_differences(first: RunAnalysis, second: RunAnalysis, key: ConditionKey) -> Samples | None:
    return first.samples[key] - second.samples[key] if key in first.samples and key in second.samples else None
