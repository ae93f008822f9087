"""How sure an AP is, and how it depends on the conditions of the frames."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.evaluation.analysis_types import Interval, Support
from bdd100k_zoo.evaluation.matching import (
    ANY_SIZE,
    IGNORED,
    IOU_THRESHOLDS,
    RECALL_POINTS,
    TRUE_POSITIVE,
    ClassMatches,
    Matches,
)
from bdd100k_zoo.evaluation.scores import OVERALL
from bdd100k_zoo.evaluation.scoring import score_matches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from bdd100k_zoo.data.tables import LabelTable
    from bdd100k_zoo.evaluation.scores import Scores
    from bdd100k_zoo.progress import Progress

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int16]
"""How often frames or detections count: small numbers, of which more fit into the processor's cache."""
Totals = npt.NDArray[np.int32]
Samples = npt.NDArray[np.float64]
"""APs of one predictions file on resampled frames: [resamples, classes + 1], in percent, OVERALL last; NaN where a
class had no object among the frames."""
Key = TypeVar("Key")

_RESAMPLES_AT_ONCE = 100
_WEIGHTS_AT_ONCE = 1 << 20
"""Of detections: few enough to stay near the processor, many enough that calls cost little."""
_MOST_THREADS = 4

Attribute = Literal["weather", "scene", "timeofday"]
ATTRIBUTES: tuple[Attribute, ...] = ("weather", "scene", "timeofday")
UNKNOWN = "unknown"
"""Stands for the frames of which the labels do not tell the attribute."""

SEED = 0
TAILS = (2.5, 97.5)
"""Percentiles that a 95 % interval lies between."""
_NO_SPREAD = 1e-9
"""Points of AP: resamples that differ by less differ by rounding."""


def intervals_of(samples: Samples | None, support: Mapping[str, Support]) -> dict[str, Interval | None]:
    """Return the interval of each class and of OVERALL, each on its own; None where there is not enough for one."""
    if samples is None:
        return dict.fromkeys(support)
    columns = zip((*CLASSES, OVERALL), samples.T, strict=True)
    return {name: percentile_interval(values) if support[name].enough else None for name, values in columns}


def percentile_interval(values: Floats) -> Interval | None:
    """Return the 95 % interval of one number from its resamples; None where none of them is known."""
    known = values[~np.isnan(values)]
    return Interval(*np.percentile(known, TAILS).tolist()) if known.size else None


def simultaneous_intervals(values: Sequence[float], resampled: Floats) -> list[Interval]:
    """Return intervals of several numbers that all hold together in 95 % of cases.

    Each resample gives the largest of the numbers' distances from their resampled values, in standard deviations of
    each number over the resamples. The 95th percentile of these maxima, times a number's standard deviation, is the
    half width of its interval (Westfall and Young, Resampling-Based Multiple Testing, 1993: single-step maxT).

    Args:
        values: [n], as measured.
        resampled: [resamples, n]: the same of each resample, all from the same draw of frames. A number that is NaN in
            a resample has no part in the maximum of that one, nor that resample in its standard deviation. A number
            that is the same in all resamples has an interval of no width, and no part in any maximum.
    """
    measured, known = np.asarray(values, np.float64), ~np.isnan(resampled)
    number = known.sum(axis=0)
    means = np.where(known, resampled, 0).sum(axis=0) / np.maximum(number, 1)
    squares = np.where(known, resampled - means, 0) ** 2
    spread = np.sqrt(squares.sum(axis=0) / np.maximum(number - 1, 1))
    spread[spread < _NO_SPREAD] = 0
    moving = known & (spread > 0)
    distances = np.divide(np.abs(resampled - measured), spread, out=np.zeros_like(resampled), where=moving)
    width = np.percentile(distances.max(axis=1, initial=0), 95) * spread
    return [Interval(*ends) for ends in np.column_stack((measured - width, measured + width)).tolist()]


def bootstrap(matches: Matches, resamples: int, progress: Progress, seed: int = SEED) -> Samples:
    """Return the APs of all frames on resamples, see ``bootstrap_parts``."""
    return bootstrap_parts(matches, {"": range(len(matches.frames))}, resamples, progress, seed)[""]


def bootstrap_parts(
    matches: Matches, parts: Mapping[Key, Sequence[int]], resamples: int, progress: Progress, seed: int = SEED
) -> dict[Key, Samples]:
    """Draw as many frames as there are, with replacement, again and again, and compute the APs of each draw.

    All parts see the same draws of all frames: resample i of a part are those of its frames that draw i of all frames
    holds, as often as it holds them. Two predictions files of the same labels get the same draws for the same seed. So
    the resamples of all parts and files belong together, and their differences are paired. Each AP is exactly that of a
    list in which a frame stands as often as it was drawn.

    Args:
        matches: those of all frames.
        parts: indices of the frames of each part, in order.
        resamples: how many draws.
        progress: reports how many resamples are done.
        seed: of the draws.
    """
    prepared = {key: _Part(matches, frames) for key, frames in parts.items()}
    found: dict[Key, list[Floats]] = {key: [] for key in parts}
    threads = ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS))  # numpy leaves Python to others as it works
    with progress.task("Resampling", resamples, "resamples") as task:
        try:
            for weights in _draws(len(matches.frames), resamples, seed):
                pending = {key: part.submit(weights, threads) for key, part in prepared.items()}
                for key, by_class in pending.items():
                    found[key].append(_with_overall([each.result() for each in by_class]))
                task.advance(len(weights))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
    return {key: np.concatenate(each) for key, each in found.items()}


def _draws(frames: int, resamples: int, seed: int) -> Iterator[Counts]:
    """Yield how often each frame was drawn, [resamples at once, frames]."""
    generator = np.random.default_rng(seed)
    for done in range(0, resamples, _RESAMPLES_AT_ONCE):
        number = min(_RESAMPLES_AT_ONCE, resamples - done)
        drawn = [np.bincount(generator.integers(0, frames, frames), minlength=frames) for _ in range(number)]
        yield np.array(drawn, np.int16)


class _Part:
    """Some of the frames, prepared for many weightings of all frames."""

    def __init__(self, matches: Matches, frames: Sequence[int]) -> None:
        self._frames = np.asarray(frames, np.int64)
        self._curves = [_Curves(found) for found in select_frames(matches, frames).classes]

    def submit(self, weights: Counts, threads: ThreadPoolExecutor) -> list[Future[Floats]]:
        """Start to compute the APs of each class, 0 to 1, for each row of [resamples, all frames]."""
        mine = weights[:, self._frames]
        return [threads.submit(curves.average_precisions, mine) for curves in self._curves]


def _with_overall(by_class: Sequence[Floats]) -> Floats:
    """Return [resamples, classes + 1], in percent."""
    values = np.stack(by_class, axis=1)
    known = ~np.isnan(values)
    overall = [row[there].mean() if there.any() else np.nan for row, there in zip(values, known, strict=True)]
    return np.column_stack((values, overall)) * 100


class _Curves:
    """Precision and recall of one class at every threshold, prepared for many weightings of the frames.

    What was seen before a true positive is all that came before, less what is ignored at that threshold: so one
    cumulative sum over all detections serves every threshold, and the rest is work on true positives alone. Precision
    rises along true positives that follow one another, however often each counts: the last of them is the only one that
    the envelope of the curve can be at.
    """

    def __init__(self, found: ClassMatches) -> None:
        self._frames = found.frames
        self._objects = found.objects[ANY_SIZE]
        self._thresholds = [_positions(found.outcomes[ANY_SIZE, place]) for place in range(len(IOU_THRESHOLDS))]

    def average_precisions(self, weights: Counts) -> Floats:
        """Return the AP from 0 to 1 for each row of [resamples, frames]; NaN where there is no object to find."""
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
    last: Ints
    """Which of the hits are the last of those that follow one another, ignored detections between them aside."""
    ignored: Ints
    """Places of detections that do not count."""
    ignored_before: Ints
    """[last]: how many of those stand before."""


def _positions(outcomes: npt.NDArray[np.int8]) -> _Positions:
    counted, ignored = np.flatnonzero(outcomes != IGNORED), np.flatnonzero(outcomes == IGNORED)
    hit = outcomes[counted] == TRUE_POSITIVE
    hits = counted[hit]
    last = np.flatnonzero(~np.append(hit, False)[1:][hit])
    return _Positions(hits, last, ignored, np.searchsorted(ignored, hits[last]))


def _needed(totals: Ints) -> Ints:
    """Return the fewest true positives whose share of all objects reaches each point, [resamples, recall points]."""
    wide = totals[:, None]
    needed = np.ceil(RECALL_POINTS * wide).astype(np.int64)
    needed -= (needed > 0) & ((needed - 1) / wide >= RECALL_POINTS)
    needed += needed / wide < RECALL_POINTS
    return needed


def _mean_precisions(positions: _Positions, times: Counts, passed: Totals, needed: Ints) -> Floats:
    """Return the precision, averaged over the recall points, [resamples]."""
    hits, last, ignored, ignored_before = positions
    rows = np.arange(len(times))[:, None]
    if not len(hits):
        return np.zeros(len(times))
    # true positives, summed up over all rows as if they were one: so that one search serves all of them
    summed = np.cumsum(np.take(times, hits, axis=1), dtype=np.int32).reshape(len(times), len(hits))
    true = np.take(summed, last, axis=1)
    earlier_rows = np.append(np.int32(0), summed[:-1, -1])[:, None]
    places = np.searchsorted(true.ravel(), (needed + earlier_rows).astype(np.int32)) - rows * len(last)
    true -= earlier_rows
    seen = np.take(passed, hits[last], axis=1)
    if len(ignored):
        passed_ignored = np.zeros((len(times), len(ignored) + 1), np.int32)
        np.cumsum(np.take(times, ignored, axis=1), axis=1, dtype=np.int32, out=passed_ignored[:, 1:])
        seen -= np.take(passed_ignored, ignored_before, axis=1)
    precision = np.zeros((len(times), len(last) + 1))  # the last is of points that are never reached
    np.divide(true, seen + np.spacing(1), out=precision[:, :-1])
    firsts = np.clip(places, 0, len(last)) + rows * precision.shape[1]
    best = np.maximum.reduceat(precision.ravel(), firsts.ravel()).reshape(needed.shape)  # up to the next point
    means: Floats = np.maximum.accumulate(best[:, ::-1], axis=1).mean(axis=1)
    return means


def support_of(matches: Matches, frames: Sequence[int]) -> dict[str, Support]:
    """Return how much some of the frames hold of each class, and OVERALL."""
    objects = np.stack([found.objects[ANY_SIZE][np.asarray(frames, np.int64)] for found in matches.classes])
    with_any, totals = np.count_nonzero(objects, axis=1).tolist(), objects.sum(axis=1).tolist()
    everything = Support(len(frames), sum(totals))
    return dict(zip((*CLASSES, OVERALL), (*map(Support, with_any, totals), everything), strict=True))


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
