"""Everything that a report tells about one predictions file, computed from its matches."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.evaluation.analysis_types import Analysis, APDifference, ConditionScores, Curves
from bdd100k_zoo.evaluation.bootstrap import (
    ATTRIBUTES,
    UNKNOWN,
    Samples,
    bootstrap_parts,
    group_frames,
    intervals_of,
    percentile_interval,
    score_frames,
    simultaneous_intervals,
    support_of,
)
from bdd100k_zoo.evaluation.error_analysis import (
    build_confusion_matrix,
    can_analyse_errors,
    compute_tide_errors,
    measure_calibration,
)
from bdd100k_zoo.evaluation.matching import ANY_SIZE, IOU_THRESHOLDS
from bdd100k_zoo.evaluation.scores import OVERALL
from bdd100k_zoo.evaluation.scoring import accumulate, score_without_predictions, summarise_scores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bdd100k_zoo.data.tables import LabelTable
    from bdd100k_zoo.evaluation.analysis_types import Confusion, ErrorBreakdown
    from bdd100k_zoo.evaluation.matching import Matches
    from bdd100k_zoo.evaluation.pairing import PairedFrames
    from bdd100k_zoo.evaluation.scores import Scores
    from bdd100k_zoo.progress import Progress

CURVE_IOUS = (0, 5, 8)
"""Places in ``IOU_THRESHOLDS`` of those that curves are shown at: 0.50, 0.75 and 0.90."""


MAX_ATTRIBUTE_VALUES = 12
"""Of one attribute; frames with rarer ones are taken together."""
RARE = "all others"
EVERYTHING = ("", OVERALL)

Floats = npt.NDArray[np.float64]
ConditionKey = tuple[str, str]
"""An attribute and its value, or EVERYTHING."""


@dataclass(frozen=True, slots=True, eq=False)
class RunAnalysis:
    """What is known of one predictions file, and its resamples, which comparisons need."""

    analysis: Analysis
    samples: Mapping[ConditionKey, Samples]
    """Of all frames and of each condition, all from the same draws; none of those where there is not enough for an
    interval, and empty where no intervals were asked for."""


def analyse_run(paired: PairedFrames, matches: Matches, resamples: int, progress: Progress) -> RunAnalysis:
    """Compute everything about one predictions file.

    Args:
        paired: labels and predictions.
        matches: of the same.
        resamples: for intervals; 0 for none.
        progress: where to tell how far it is.
    """
    with ThreadPoolExecutor(1) as beside:  # hotcoco leaves Python to others while it works
        broken_down = beside.submit(_break_down, paired, matches)
        groups: dict[ConditionKey, Sequence[int]] = {EVERYTHING: range(len(matches.frames)), **_groups(paired.labels)}
        support = {key: support_of(matches, frames) for key, frames in groups.items()}
        enough = {key: frames for key, frames in groups.items() if support[key][OVERALL].enough}
        samples = bootstrap_parts(matches, enough, resamples, progress) if resamples and enough else {}
        scores, curves = _score(matches)
        conditions = (
            ConditionScores(
                *key,
                support[key][OVERALL],
                score_frames(matches, frames),
                percentile_interval(samples[key][:, -1]) if key in samples else None,
            )
            for key, frames in groups.items()
            if key != EVERYTHING
        )
        analysis = Analysis(
            scores=scores,
            support=support[EVERYTHING],
            objects_by_size=tuple(tuple(each.objects[ANY_SIZE + 1 :].sum(axis=1).tolist()) for each in matches.classes),
            detections=tuple(len(each.scores) for each in matches.classes),
            intervals=intervals_of(samples.get(EVERYTHING), support[EVERYTHING]) if resamples else {},
            curves=curves,
            conditions=tuple(conditions),
            calibration=measure_calibration(matches),
            errors=broken_down.result()[0],
            confusion=broken_down.result()[1],
        )
    return RunAnalysis(analysis, samples)


def _break_down(paired: PairedFrames, matches: Matches) -> tuple[ErrorBreakdown | None, Confusion | None]:
    if not can_analyse_errors(paired):
        return None, None
    return compute_tide_errors(paired), build_confusion_matrix(paired, matches)


def compare_runs(first: RunAnalysis, other: RunAnalysis) -> tuple[APDifference, ...]:
    """Return by how much the first is better than the other: by class, overall, and by condition.

    Both must be of the same labels. Where both have resamples, OVERALL has an interval of its own, and all classes and
    conditions that have enough frames and objects have simultaneous intervals: they are one family, of these two files.
    """
    found = [*_by_class(first, other), *_by_condition(first, other)]
    differences = [each for each, _ in found]
    family = {place: resampled for place, (_, resampled) in enumerate(found) if resampled is not None}
    if family:
        points = [differences[place].points for place in family]
        joint = simultaneous_intervals(points, np.column_stack(list(family.values())))
        for place, interval in zip(family, joint, strict=True):
            differences[place] = differences[place]._replace(interval=interval)
    return tuple(differences)


def _groups(labels: LabelTable) -> dict[ConditionKey, list[int]]:
    """Group the frames by each attribute that the labels tell."""
    groups: dict[ConditionKey, list[int]] = {}
    for attribute in ATTRIBUTES:
        by_value = group_frames(labels, attribute)
        if set(by_value) == {UNKNOWN}:
            continue
        for place, (value, frames) in enumerate(by_value.items()):
            groups.setdefault((attribute, value if place < MAX_ATTRIBUTE_VALUES else RARE), []).extend(frames)
    return {key: sorted(frames) for key, frames in groups.items()}


def _score(matches: Matches) -> tuple[Scores, Curves]:
    precision, recall = accumulate(matches)
    if matches.predictions:
        scores = summarise_scores(precision, recall)
    else:
        scores = score_without_predictions([each.labelled for each in matches.classes])
    shown = precision[list(CURVE_IOUS), :, :, ANY_SIZE]
    ious = tuple(IOU_THRESHOLDS[list(CURVE_IOUS)].round(2).tolist())
    return scores, Curves(ious, tuple(tuple(map(_curve, by_class.T)) for by_class in shown))


def _curve(precision: Floats) -> tuple[float, ...] | None:
    return None if precision[0] < 0 else tuple(precision.tolist())


def _by_class(first: RunAnalysis, other: RunAnalysis) -> Iterator[tuple[APDifference, Floats | None]]:
    """Yield each difference and its resamples; None where there is no place for it among simultaneous intervals."""
    mine, theirs = (each.analysis.scores["AP"] for each in (first, other))
    points = np.subtract((*mine.by_class, mine.overall), (*theirs.by_class, theirs.overall)).tolist()
    resampled = _resampled(first, other, EVERYTHING)
    for place, (name, support) in enumerate(first.analysis.support.items()):
        values = None if resampled is None or not support.enough else resampled[:, place]
        if name == OVERALL:
            interval = None if values is None else percentile_interval(values)
            yield APDifference("class", name, points[place], support, interval), None
        else:
            yield APDifference("class", name, points[place], support, None), values


def _by_condition(first: RunAnalysis, other: RunAnalysis) -> Iterator[tuple[APDifference, Floats | None]]:
    for mine, theirs in zip(first.analysis.conditions, other.analysis.conditions, strict=True):
        resampled = _resampled(first, other, (mine.attribute, mine.value))
        points = mine.scores.ap - theirs.scores.ap
        difference = APDifference(mine.attribute, mine.value, points, mine.support, None)
        yield difference, None if resampled is None else resampled[:, -1]


def _resampled(first: RunAnalysis, other: RunAnalysis, key: ConditionKey) -> Samples | None:
    return first.samples[key] - other.samples[key] if key in first.samples and key in other.samples else None
