"""Scores by condition, and everything that a report shows of one predictions file and of two compared."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

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
from bdd100k_zoo.evaluation.error_analysis import (
    Calibration,
    ConfusionMatrix,
    ErrorBreakdown,
    analyse_errors,
    measure_calibration,
)
from bdd100k_zoo.evaluation.matching import ANY_SIZE, IOU_THRESHOLDS, select_frames
from bdd100k_zoo.evaluation.scores import OVERALL, Scores
from bdd100k_zoo.evaluation.scoring import accumulate, score_accumulated, score_matches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bdd100k_zoo.data.tables import LabelTable
    from bdd100k_zoo.evaluation.matching import Matches
    from bdd100k_zoo.evaluation.pairing import PairedFrames
    from bdd100k_zoo.progress import Progress

Floats = npt.NDArray[np.float64]

CURVE_IOUS = (0, 5, 8)
"""Indices into ``IOU_THRESHOLDS`` of those whose curves are shown: 0.50, 0.75 and 0.90."""


Attribute = Literal["weather", "scene", "timeofday"]
UNKNOWN = "unknown"
"""Value of frames whose labels lack the attribute."""
MAX_ATTRIBUTE_VALUES = 12
"""Of one attribute; frames with rarer values form one group, ``RARE``."""
RARE = "all others"

ConditionKey = tuple[str, str]
"""An attribute and its value, or ALL_FRAMES."""
ALL_FRAMES: ConditionKey = ("", OVERALL)


class Curves(msgspec.Struct, frozen=True):
    """Precision at 101 points of recall, 0 to 1, as the official AP averages it."""

    ious: tuple[float, ...]
    precision: tuple[tuple[tuple[float, ...] | None, ...], ...]
    """[ious][classes][101], 0 to 1; None for a class without objects."""


class ConditionScores(msgspec.Struct, frozen=True):
    """The frames that have one value of an attribute, scored as if there were no others."""

    attribute: str
    value: str
    support: Support
    scores: Scores
    interval: Interval | None
    """Of the overall AP; None if none was requested, or if there are too few frames or objects for one."""


class Analysis(msgspec.Struct, frozen=True):
    """The analysis of one predictions file, as plain numbers."""

    scores: Scores
    support: Mapping[str, Support]
    """Of each class and OVERALL."""
    objects_by_size: tuple[tuple[int, ...], ...]
    """[classes][small, medium, large]."""
    detections: tuple[int, ...]
    """By class: the 100 best of each frame."""
    intervals: Intervals
    """Empty if none were requested."""
    curves: Curves
    conditions: tuple[ConditionScores, ...]
    calibration: Calibration
    errors: ErrorBreakdown | None
    """None, like ``confusion``, if scores are not finite or there are no predictions."""
    confusion: ConfusionMatrix | None


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
    """Of that difference, on the same resampled frames; None if none was requested, or if there are too few frames or
    objects. That of OVERALL is pointwise; all others are simultaneous, see ``bootstrap.simultaneous_intervals``."""

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval is not None and (self.interval.low > 0 or self.interval.high < 0)


class RunAnalysis(NamedTuple):
    """The analysis of one predictions file, with the resamples that comparisons need."""

    analysis: Analysis
    samples: Mapping[ConditionKey, Samples]
    """Of all frames and of each condition with enough frames and objects for an interval, all from the same draws;
    empty if no intervals were requested."""


def analyse_run(paired: PairedFrames, matches: Matches, resamples: int, progress: Progress) -> RunAnalysis:
    """Analyse one predictions file.

    Args:
        paired: labels and predictions.
        matches: of the same.
        resamples: for intervals; 0 for none.
        progress: where to report progress.
    """
    with ThreadPoolExecutor(1) as background:  # hotcoco releases the GIL while it works
        pending = background.submit(analyse_errors, paired, matches)
        groups = group_by_conditions(paired.labels)
        enough = {key: frames for key, frames in groups.items() if support_of(matches, frames)[OVERALL].enough}
        samples = bootstrap_parts(matches, enough, resamples, progress) if resamples and enough else {}
        precision, recall = accumulate(matches)
        conditions = score_conditions(matches, groups, samples)
        calibration = measure_calibration(matches)
        errors, confusion = pending.result()
    support = support_of(matches, groups[ALL_FRAMES])
    analysis = Analysis(
        scores=score_accumulated(matches, precision, recall),
        support=support,
        objects_by_size=tuple(tuple(each.objects[ANY_SIZE + 1 :].sum(axis=1).tolist()) for each in matches.classes),
        detections=tuple(len(each.scores) for each in matches.classes),
        intervals=intervals_of(samples.get(ALL_FRAMES), support) if resamples else {},
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


def group_frames(labels: LabelTable, attribute: str) -> dict[ConditionKey, list[int]]:
    """Group the frames by an attribute, the most frequent value first; ``UNKNOWN`` where the labels lack it."""
    groups: dict[ConditionKey, list[int]] = {}
    for index, attributes in enumerate(labels.attributes):
        value = getattr(attributes, attribute) if attributes else None
        groups.setdefault((attribute, value or UNKNOWN), []).append(index)
    return dict(sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])))


def group_by_conditions(labels: LabelTable) -> dict[ConditionKey, Sequence[int]]:
    """Group the frames by each attribute that the labels have; ALL_FRAMES comes first."""
    groups: dict[ConditionKey, list[int]] = {}
    for attribute in get_args(Attribute):
        by_value = group_frames(labels, attribute)
        if set(by_value) == {(attribute, UNKNOWN)}:
            continue
        for place, (key, frames) in enumerate(by_value.items()):
            groups.setdefault(key if place < MAX_ATTRIBUTE_VALUES else (attribute, RARE), []).extend(frames)
    return {ALL_FRAMES: range(len(labels.frames)), **{key: sorted(frames) for key, frames in groups.items()}}


def score_frames(matches: Matches, frames: Sequence[int]) -> Scores:
    """Score some frames as if labels and predictions held no others; ``frames`` are indices, in order.

    If none of them has a prediction, a class counts as labelled if it has an object that is not ignored.
    """
    return score_matches(select_frames(matches, frames))


def score_conditions(
    matches: Matches, groups: Mapping[ConditionKey, Sequence[int]], samples: Mapping[ConditionKey, Samples]
) -> tuple[ConditionScores, ...]:
    """Score the frames of each condition.

    Args:
        matches: those of all frames.
        groups: indices of frames, as returned by ``group_by_conditions``.
        samples: APs on resampled frames, for the groups that get an interval.
    """
    return tuple(
        ConditionScores(
            *key,
            support=support_of(matches, frames)[OVERALL],
            scores=score_frames(matches, frames),
            interval=percentile_interval(samples[key][:, -1]) if key in samples else None,
        )
        for key, frames in groups.items()
        if key != ALL_FRAMES
    )


def compare_runs(first: RunAnalysis, second: RunAnalysis) -> tuple[APDifference, ...]:
    """Return by how much the first is better than the second: by class, overall, and by condition.

    Both must be of the same labels. If both have resamples, OVERALL has a pointwise interval, and all classes and
    conditions with enough frames and objects have simultaneous ones: they are one family, that of these two files.
    """
    found = list(_differences(first, second))
    family: dict[int, Floats] = {}
    intervals: dict[int, Interval | None] = {}
    for place, (difference, resampled) in enumerate(found):
        if resampled is not None and difference.name == OVERALL:
            intervals[place] = percentile_interval(resampled)
        elif resampled is not None:
            family[place] = resampled
    if family:
        points = [found[place][0].points for place in family]
        joint = simultaneous_intervals(points, np.column_stack(list(family.values())))
        intervals |= dict(zip(family, joint, strict=True))
    return tuple(difference._replace(interval=intervals.get(place)) for place, (difference, _) in enumerate(found))


def _differences(first: RunAnalysis, second: RunAnalysis) -> Iterator[tuple[APDifference, Floats | None]]:
    """Yield each difference without its interval, and its resamples; None if they are too few for an interval."""
    samples = {key: mine - second.samples[key] for key, mine in first.samples.items() if key in second.samples}
    ap, other_ap = (each.analysis.scores["AP"] for each in (first, second))
    points = np.subtract((*ap.by_class, ap.overall), (*other_ap.by_class, other_ap.overall)).tolist()
    for place, (name, support) in enumerate(first.analysis.support.items()):
        values = samples[ALL_FRAMES][:, place] if ALL_FRAMES in samples and support.enough else None
        yield APDifference("class", name, points[place], support, None), values
    for mine, other in zip(first.analysis.conditions, second.analysis.conditions, strict=True):
        key = mine.attribute, mine.value
        values = samples[key][:, -1] if key in samples else None
        yield APDifference(*key, mine.scores.ap - other.scores.ap, mine.support, None), values
