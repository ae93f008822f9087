"""How sure an AP is, and how it depends on the conditions of the frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.evaluation.accumulation import score_matches
from bdd100k_zoo.records.analyses import Interval
from bdd100k_zoo.records.matches import (
    ANY_SIZE,
    IGNORED,
    IOU_THRESHOLDS,
    RECALL_POINTS,
    TRUE_POSITIVE,
    ClassMatches,
    Matches,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bdd100k_zoo.progress import Progress, Task
    from bdd100k_zoo.records.scores import Scores
    from bdd100k_zoo.records.tables import LabelTable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]

_RESAMPLES_AT_ONCE = 20
_WEIGHTS_AT_ONCE = 1 << 18
"""Of detections: few enough to stay near the processor, many enough that calls cost little."""

Attribute = Literal["weather", "scene", "timeofday"]
ATTRIBUTES: tuple[Attribute, ...] = ("weather", "scene", "timeofday")
UNKNOWN = "unknown"
"""Stands for the frames of which the labels do not tell the attribute."""

SEED = 0
TAILS = (2.5, 97.5)
"""Percentiles that a 95 % interval lies between."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """APs of one predictions file on resampled frames."""

    ap: Floats
    """[resamples, classes + 1], in percent, OVERALL last; NaN where a class had no object among the frames."""

    def intervals(self) -> list[Interval | None]:
        """Give the interval of each class and of OVERALL; None for a class without objects."""
        return [_interval(column) for column in self.ap.T]

    def minus(self, other: Samples) -> Interval | None:
        """Give the interval of the difference of the overall APs on the same resampled frames."""
        return self.differences(other)[-1]

    def differences(self, other: Samples) -> list[Interval | None]:
        """Give the intervals of the differences of each class and of OVERALL, on the same resampled frames."""
        return Samples(self.ap - other.ap).intervals()


def _interval(values: Floats) -> Interval | None:
    known = values[~np.isnan(values)]
    return Interval(*np.percentile(known, TAILS).tolist()) if known.size else None


def bootstrap(matches: Matches, resamples: int, progress: Progress, seed: int = SEED) -> Samples:
    """Draw as many frames as there are, with replacement, again and again, and compute the APs of each draw.

    Two predictions files of the same labels get the same draws for the same seed, so that their differences are
    paired. Each AP is exactly that of a list in which a frame stands as often as it was drawn.
    """
    with progress.task("Resampling", resamples, "resamples") as task:
        return resample(matches, resamples, task, seed)


def resample(matches: Matches, resamples: int, task: Task, seed: int = SEED) -> Samples:
    """Do what ``bootstrap`` does, as a part of a task that is under way."""
    curves = [_Curves(found) for found in matches.classes]
    parts = []
    for weights in _draws(len(matches.frames), resamples, seed):
        parts.append(_average_precisions(curves, weights))
        task.advance(len(weights))
    return Samples(np.concatenate(parts))


def _draws(frames: int, resamples: int, seed: int) -> Iterator[Counts]:
    """Give how often each frame was drawn, [resamples at once, frames]."""
    generator = np.random.default_rng(seed)
    for done in range(0, resamples, _RESAMPLES_AT_ONCE):
        number = min(_RESAMPLES_AT_ONCE, resamples - done)
        drawn = [np.bincount(generator.integers(0, frames, frames), minlength=frames) for _ in range(number)]
        yield np.array(drawn, np.int32)


def _average_precisions(curves: Sequence[_Curves], weights: Counts) -> Floats:
    """[resamples, classes + 1], in percent."""
    by_class = np.stack([curve.average_precisions(weights) for curve in curves], axis=1)
    known = ~np.isnan(by_class)
    overall = [row[there].mean() if there.any() else np.nan for row, there in zip(by_class, known, strict=True)]
    return np.column_stack((by_class, overall)) * 100


class _Curves:
    """Precision and recall of one class at every threshold, prepared for many weightings of the frames.

    What was seen before a true positive is all that came before, less what is ignored at that threshold: so one
    cumulative sum over all detections serves every threshold, and the rest is work on true positives alone.
    """

    def __init__(self, found: ClassMatches) -> None:
        self._frames = found.frames
        self._objects = found.objects[ANY_SIZE]
        self._thresholds = [_positions(found.outcomes[ANY_SIZE, place]) for place in range(len(IOU_THRESHOLDS))]

    def average_precisions(self, weights: Counts) -> Floats:
        """Give the AP from 0 to 1 for each row of [resamples, frames]; NaN where there is no object to find."""
        totals = weights @ self._objects
        found = np.full(len(weights), np.nan)
        there = np.flatnonzero(totals)
        at_once = max(1, _WEIGHTS_AT_ONCE // max(len(self._frames), 1))
        for rows in (there[first : first + at_once] for first in range(0, len(there), at_once)):
            times = np.take(weights[rows], self._frames, axis=1)
            passed = np.cumsum(times, axis=1, dtype=np.int32)
            needed = _needed(totals[rows])
            found[rows] = np.mean([_mean_precisions(each, times, passed, needed) for each in self._thresholds], axis=0)
        return found


class _Positions(NamedTuple):
    hits: Ints
    """Places of true positives among the detections."""
    ignored: Ints
    """Places of detections that do not count."""
    ignored_before: Ints
    """[hits]: how many of those stand before."""


def _positions(outcomes: npt.NDArray[np.int8]) -> _Positions:
    hits, ignored = np.flatnonzero(outcomes == TRUE_POSITIVE), np.flatnonzero(outcomes == IGNORED)
    return _Positions(hits, ignored, np.searchsorted(ignored, hits))


def _needed(totals: Ints) -> Ints:
    """[resamples, recall points]: the fewest true positives whose share of all objects reaches each point."""
    wide = totals[:, None]
    needed = np.ceil(RECALL_POINTS * wide).astype(np.int64)
    needed -= (needed > 0) & ((needed - 1) / wide >= RECALL_POINTS)
    needed += needed / wide < RECALL_POINTS
    return needed


def _mean_precisions(positions: _Positions, times: Counts, passed: Counts, needed: Ints) -> Floats:
    """[resamples]: precision, averaged over the recall points."""
    hits, ignored, ignored_before = positions
    if not len(hits):
        return np.zeros(len(times))
    true = np.cumsum(np.take(times, hits, axis=1), axis=1, dtype=np.int32)
    seen = np.take(passed, hits, axis=1)
    if len(ignored):
        passed_ignored = np.cumsum(np.take(times, ignored, axis=1), axis=1, dtype=np.int32)
        seen -= np.pad(passed_ignored, ((0, 0), (1, 0)))[:, ignored_before]
    precision = true / (seen + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    places = _first_reaching(true, needed)
    reached = np.take_along_axis(envelope, np.minimum(places, len(hits) - 1), axis=1)
    means: Floats = np.where(places < len(hits), reached, 0.0).mean(axis=1)
    return means


def _first_reaching(true: Counts, needed: Ints) -> Ints:
    """Give, for each line, the first place in it that is no smaller than what is needed: one search for all lines."""
    stride = max(int(true.max()), int(needed.max())) + 1
    lines = np.arange(len(true))[:, None]
    keys = true + lines * stride
    places: Ints = np.searchsorted(keys.ravel(), needed + lines * stride) - lines * true.shape[1]
    return places


def score_frames(matches: Matches, frames: Sequence[int]) -> Scores:
    """Score some frames alone, as if labels and predictions held no others; ``frames`` are indices, in order.

    Where none of them has a prediction, a class counts as labelled that has an object to find.
    """
    return score_matches(select_frames(matches, frames))


def select_frames(matches: Matches, frames: Sequence[int]) -> Matches:
    """Give the matches of some frames alone; ``frames`` are indices, in order."""
    chosen = np.asarray(frames, np.int64)
    places = np.full(len(matches.frames), -1, np.int32)
    places[chosen] = np.arange(len(chosen), dtype=np.int32)
    classes = tuple(_select(found, chosen, places) for found in matches.classes)
    names = tuple(matches.frames[index] for index in chosen.tolist())
    return Matches(names, classes, sum(len(found.scores) for found in classes), matches.iou)


def _select(found: ClassMatches, chosen: Ints, places: npt.NDArray[np.int32]) -> ClassMatches:
    frames = places[found.frames]
    kept = np.flatnonzero(frames >= 0)
    objects = found.objects[:, chosen]
    return ClassMatches(
        scores=found.scores[kept],
        frames=frames[kept],
        ranks=found.ranks[kept],
        rows=found.rows[kept],
        outcomes=found.outcomes[:, :, kept],
        took=found.took[kept],
        objects=objects,
        labelled=bool(objects[ANY_SIZE].any()),
    )


def group_frames(labels: LabelTable, attribute: Attribute) -> dict[str, list[int]]:
    """Group the frames by an attribute, the most frequent value first; ``UNKNOWN`` where the labels do not tell it."""
    groups: dict[str, list[int]] = {}
    for index, attributes in enumerate(labels.attributes):
        value = getattr(attributes, attribute) if attributes else None
        groups.setdefault(value or UNKNOWN, []).append(index)
    return dict(sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])))
