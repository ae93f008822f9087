"""Everything that a report tells about one predictions file, computed from its matches."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.evaluation.accumulation import accumulate
from bdd100k_zoo.evaluation.analysis import (
    ATTRIBUTES,
    UNKNOWN,
    Samples,
    group_frames,
    resample,
    score_frames,
    select_frames,
)
from bdd100k_zoo.evaluation.breakdown import can_break_down, confusion_of, errors_of
from bdd100k_zoo.evaluation.calibration import calibrate
from bdd100k_zoo.evaluation.summary import score_nothing, summarise
from bdd100k_zoo.records.analyses import Analysis, ClassCounts, Condition, Curves, Difference
from bdd100k_zoo.records.matches import ANY_SIZE, IOU_THRESHOLDS
from bdd100k_zoo.records.scores import OVERALL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bdd100k_zoo.evaluation.pairing import Paired
    from bdd100k_zoo.progress import Progress, Task
    from bdd100k_zoo.records.analyses import Confusion, Errors, Interval, Intervals
    from bdd100k_zoo.records.matches import Matches
    from bdd100k_zoo.records.scores import Scores
    from bdd100k_zoo.records.tables import LabelTable

CURVE_IOUS = (0, 5, 8)
"""Places in ``IOU_THRESHOLDS`` of those that curves are shown at: 0.50, 0.75 and 0.90."""


MOST_VALUES = 12
"""Of one attribute; frames with rarer ones are taken together."""
RARE = "all others"
MOST_THREADS = 4
"""Each holds its part of the matches."""
EVERYTHING = ("", OVERALL)

Key = tuple[str, str]
"""An attribute and its value, or EVERYTHING."""


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """What is known of one predictions file, and its resamples, which comparisons need."""

    analysis: Analysis
    samples: Mapping[Key, Samples]
    """Of all frames and of each condition; empty where no intervals were asked for."""


def look_over(paired: Paired, matches: Matches, resamples: int, progress: Progress) -> Overview:
    """Compute everything about one predictions file.

    Args:
        paired: labels and predictions.
        matches: of the same.
        resamples: for intervals; 0 for none.
        progress: where to tell how far it is.
    """
    with ThreadPoolExecutor(1) as beside:  # hotcoco leaves Python to others while it works
        broken_down = beside.submit(_break_down, paired, matches)
        groups = _groups(paired.labels)
        samples = _resample(matches, groups, resamples, progress) if resamples else {}
        intervals = {key: _by_name(each) for key, each in samples.items()}
        scores, curves = _score(matches)
        conditions = (
            Condition(*key, len(frames), score_frames(matches, frames), intervals.get(key, {}))
            for key, frames in groups.items()
        )
        analysis = Analysis(
            scores=scores,
            frames=len(matches.frames),
            counts=tuple(ClassCounts(int(each.objects[ANY_SIZE].sum()), len(each.scores)) for each in matches.classes),
            intervals=intervals.get(EVERYTHING, {}),
            curves=curves,
            conditions=tuple(conditions),
            calibration=calibrate(matches),
            errors=broken_down.result()[0],
            confusion=broken_down.result()[1],
        )
    return Overview(analysis, samples)


def _break_down(paired: Paired, matches: Matches) -> tuple[Errors | None, Confusion | None]:
    if not can_break_down(paired):
        return None, None
    return errors_of(paired), confusion_of(paired, matches)


def compare(first: Overview, other: Overview) -> tuple[Difference, ...]:
    """Tell by how much the first is better than the other: by class, overall, and by condition.

    Both must be of the same labels. Intervals are of the differences on the same resampled frames, and are told where
    both have resamples.
    """
    return (*_by_class(first, other), *_by_condition(first, other))


def _groups(labels: LabelTable) -> dict[Key, list[int]]:
    """Group the frames by each attribute that the labels tell."""
    groups: dict[Key, list[int]] = {}
    for attribute in ATTRIBUTES:
        by_value = group_frames(labels, attribute)
        if set(by_value) == {UNKNOWN}:
            continue
        for place, (value, frames) in enumerate(by_value.items()):
            groups.setdefault((attribute, value if place < MOST_VALUES else RARE), []).extend(frames)
    return {key: sorted(frames) for key, frames in groups.items()}


def _resample(
    matches: Matches, groups: Mapping[Key, list[int]], resamples: int, progress: Progress
) -> dict[Key, Samples]:
    """Resample all frames and each group, several groups at once: numpy leaves threads alone for most of the time."""
    parts: dict[Key, Sequence[int]] = {EVERYTHING: range(len(matches.frames)), **groups}
    threads = ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS))
    with progress.task("Resampling", resamples * len(parts), "resamples") as task:
        try:
            pending = {
                key: threads.submit(_resample_part, matches, part, resamples, task) for key, part in parts.items()
            }
            return {key: each.result() for key, each in pending.items()}
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _resample_part(matches: Matches, frames: Sequence[int], resamples: int, task: Task) -> Samples:
    return resample(select_frames(matches, frames), resamples, task)


def _by_name(samples: Samples) -> Intervals:
    return dict(zip((*CLASSES, OVERALL), samples.intervals(), strict=True))


def _score(matches: Matches) -> tuple[Scores, Curves]:
    precision, recall = accumulate(matches)
    if matches.predictions:
        scores = summarise(precision, recall)
    else:
        scores = score_nothing([each.labelled for each in matches.classes])
    shown = precision[list(CURVE_IOUS), :, :, ANY_SIZE]
    ious = tuple(IOU_THRESHOLDS[list(CURVE_IOUS)].round(2).tolist())
    return scores, Curves(ious, tuple(tuple(map(_curve, by_class.T)) for by_class in shown))


def _curve(precision: npt.NDArray[np.float64]) -> tuple[float, ...] | None:
    return None if precision[0] < 0 else tuple(precision.tolist())


def _by_class(first: Overview, other: Overview) -> Iterator[Difference]:
    mine, theirs = (each.analysis.scores["AP"] for each in (first, other))
    points = np.subtract((*mine.by_class, mine.overall), (*theirs.by_class, theirs.overall)).tolist()
    intervals = _differences(first, other, EVERYTHING)
    for place, name in enumerate((*CLASSES, OVERALL)):
        yield Difference("class", name, points[place], intervals[place])


def _by_condition(first: Overview, other: Overview) -> Iterator[Difference]:
    for mine, theirs in zip(first.analysis.conditions, other.analysis.conditions, strict=True):
        interval = _differences(first, other, (mine.attribute, mine.value))[-1]
        yield Difference(mine.attribute, mine.value, mine.scores.ap - theirs.scores.ap, interval)


def _differences(first: Overview, other: Overview, key: Key) -> list[Interval | None]:
    if key not in first.samples or key not in other.samples:
        return [None] * (len(CLASSES) + 1)
    return first.samples[key].differences(other.samples[key])
