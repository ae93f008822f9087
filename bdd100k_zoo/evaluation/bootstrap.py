"""Confidence intervals of the AP: a bootstrap over frames."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.child_processes import usable_cores
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.evaluation.matching import (
    ANY_SIZE,
    IGNORED,
    IOU_THRESHOLDS,
    RECALL_POINTS,
    TRUE_POSITIVE,
    ClassMatches,
    Matches,
    select_frames,
)
from bdd100k_zoo.evaluation.scores import OVERALL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from bdd100k_zoo.progress import Progress

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int16]
"""How often frames or detections count; 16 bits, so that more of them fit into the processor's cache."""
Samples = npt.NDArray[np.float64]
"""APs of one predictions file on resampled frames: [resamples, classes + 1], in percent, OVERALL last; NaN where a
class has no object in the frames."""
Key = TypeVar("Key")

MIN_FRAMES = MIN_OBJECTS = 30
"""With fewer, resampling cannot show how much an AP varies: there is no interval and no verdict."""
SEED = 0
TAILS = (2.5, 97.5)
"""Percentiles that a 95 % interval lies between."""

_RESAMPLES_AT_ONCE = 100
_WEIGHTS_AT_ONCE = 1 << 20
"""Weights of detections: few enough for the processor's cache, many enough that numpy's calls cost little."""
_MAX_THREADS = 4
_NO_SPREAD = 1e-9
"""Points of AP: smaller differences between resamples are rounding errors."""


class Support(NamedTuple):
    """The numbers of frames and objects that an AP is computed from."""

    frames: int
    """Of a class: the frames with an object of it."""
    objects: int
    """Labelled objects without crowds and ignored regions."""

    @property
    def enough(self) -> bool:
        """Whether there are enough for an interval."""
        return self.frames >= MIN_FRAMES and self.objects >= MIN_OBJECTS


class Interval(NamedTuple):
    """A 95 % interval, in percent."""

    low: float
    high: float


Intervals = Mapping[str, Interval | None]
"""Of the AP of each class and OVERALL; None if there are too few frames or objects."""


def support_of(matches: Matches, frames: Sequence[int]) -> dict[str, Support]:
    """Return the numbers of frames and objects in some of the frames, by class and OVERALL."""
    objects = np.stack([found.objects[ANY_SIZE][np.asarray(frames, np.int64)] for found in matches.classes])
    with_any, totals = np.count_nonzero(objects, axis=1).tolist(), objects.sum(axis=1).tolist()
    everything = Support(len(frames), sum(totals))
    return dict(zip((*CLASSES, OVERALL), (*map(Support, with_any, totals), everything), strict=True))


def intervals_of(samples: Samples | None, support: Mapping[str, Support]) -> dict[str, Interval | None]:
    """Return the pointwise interval of each class and of OVERALL; None if there are too few frames or objects."""
    if samples is None:
        return dict.fromkeys(support)
    columns = zip((*CLASSES, OVERALL), samples.T, strict=True)
    return {name: percentile_interval(values) if support[name].enough else None for name, values in columns}


def percentile_interval(values: Floats) -> Interval | None:
    """Return the 95 % interval of one number from its resamples; None if all of them are NaN."""
    known = values[~np.isnan(values)]
    return Interval(*np.percentile(known, TAILS).tolist()) if known.size else None


def simultaneous_intervals(values: Sequence[float], resampled: Floats) -> list[Interval]:
    """Return simultaneous intervals of several numbers: in 95 % of cases all of them hold.

    Each number's distance from its resampled value is measured in its standard deviations over the resamples. The 95th
    percentile of the largest distances, times a number's standard deviation, is the half width of its interval
    (Westfall and Young, Resampling-Based Multiple Testing, 1993: single-step maxT).

    Args:
        values: [n], as measured.
        resampled: [resamples, n]: the same numbers of each resample, all from the same draw of frames. A NaN is left
            out of the maximum and of the standard deviation. A number that is the same in all resamples has an
            interval of width 0 and is left out of every maximum.
    """
    measured, known = np.asarray(values, np.float64), np.ma.masked_invalid(resampled)
    spread = np.ma.filled(known.std(axis=0, ddof=1), 0)
    spread[spread < _NO_SPREAD] = 0
    distances = np.ma.abs(known - measured) / spread  # division by 0 masks
    width = np.percentile(np.ma.filled(distances.max(axis=1), 0), 95) * spread
    return [Interval(*ends) for ends in np.column_stack((measured - width, measured + width)).tolist()]


def bootstrap(matches: Matches, resamples: int, progress: Progress, seed: int = SEED) -> Samples:
    """Return the APs of all frames on resamples; see ``bootstrap_parts``."""
    return bootstrap_parts(matches, {"": range(len(matches.frames))}, resamples, progress, seed)[""]


def bootstrap_parts(
    matches: Matches, parts: Mapping[Key, Sequence[int]], resamples: int, progress: Progress, seed: int = SEED
) -> dict[Key, Samples]:
    """Return the APs of resamples: each draws as many frames as there are, with replacement.

    All parts share the draws: resample i of a part consists of the frames of draw i that belong to the part. Two
    predictions files with the same labels and seed get the same draws, so the differences between parts and between
    files are paired. Each AP is exactly that of a file in which every frame is repeated as often as it was drawn.

    Args:
        matches: those of all frames.
        parts: indices of the frames of each part, in order.
        resamples: number of draws.
        progress: reports how many resamples are done.
        seed: random seed of the draws.
    """
    prepared = {
        key: (np.asarray(frames, np.int64), [_Curves(found) for found in select_frames(matches, frames).classes])
        for key, frames in parts.items()
    }
    found: dict[Key, list[Floats]] = {key: [] for key in parts}
    threads = ThreadPoolExecutor(min(usable_cores(), _MAX_THREADS))  # numpy releases the GIL as it works
    with progress.task("Resampling", resamples, "resamples") as task:
        try:
            for weights in _draws(len(matches.frames), resamples, seed):
                pending: dict[Key, list[Future[Floats]]] = {}
                for key, (frames, by_class) in prepared.items():
                    mine = weights[:, frames]
                    pending[key] = [threads.submit(curves.average_precisions, mine) for curves in by_class]
                for key, results in pending.items():
                    found[key].append(_with_overall([each.result() for each in results]))
                task.advance(len(weights))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
    return {key: np.concatenate(each) for key, each in found.items()}


def _draws(frames: int, resamples: int, seed: int) -> Iterator[Counts]:
    """Yield how often each frame is drawn, [resamples at once, frames]."""
    generator = np.random.default_rng(seed)
    for done in range(0, resamples, _RESAMPLES_AT_ONCE):
        number = min(_RESAMPLES_AT_ONCE, resamples - done)
        drawn = [np.bincount(generator.integers(0, frames, frames), minlength=frames) for _ in range(number)]
        yield np.array(drawn, np.int16)


def _with_overall(by_class: Sequence[Floats]) -> Floats:
    """Return [resamples, classes + 1], in percent."""
    values = np.stack(by_class, axis=1)
    known = ~np.isnan(values)
    overall = [row[there].mean() if there.any() else np.nan for row, there in zip(values, known, strict=True)]
    return np.column_stack((values, overall)) * 100


class _Curves:
    """Precision and recall of one class at every threshold, prepared for many weightings of the frames.

    The detections that count before a true positive are all detections before it, minus those ignored at that
    threshold. So one cumulative sum over all detections serves every threshold, and the rest is computed at true
    positives alone. Precision rises along consecutive true positives, whatever their weights, so the envelope of the
    curve needs only the last of each such sequence.
    """

    def __init__(self, found: ClassMatches) -> None:
        self._frames = found.frames
        self._objects = found.objects[ANY_SIZE]
        self._thresholds = [_positions(found.outcomes[ANY_SIZE, place]) for place in range(len(IOU_THRESHOLDS))]

    def average_precisions(self, weights: Counts) -> Floats:
        """Return the AP from 0 to 1 for each row of [resamples, frames]; NaN if there is no object."""
        totals = weights @ self._objects
        found = np.full(len(weights), np.nan)
        with_objects = np.flatnonzero(totals)
        at_once = max(1, _WEIGHTS_AT_ONCE // max(len(self._frames), 1))
        for first in range(0, len(with_objects), at_once):
            rows = with_objects[first : first + at_once]
            times = np.take(weights[rows], self._frames, axis=1)
            passed = np.cumsum(times, axis=1, dtype=np.int32)
            needed = _needed(totals[rows])
            found[rows] = np.mean([_mean_precisions(each, times, passed, needed) for each in self._thresholds], axis=0)
        return found


def _positions(outcomes: npt.NDArray[np.int8]) -> tuple[Ints, Ints, Ints, Ints]:
    """Locate the true positives and the ignored ones among the detections of a class at one threshold.

    Returns:
        hits: indices of true positives.
        last: indices of the hits that are the last of consecutive ones; ignored detections do not interrupt them.
        ignored: indices of ignored detections.
        ignored_before: [last]: how many ignored detections come before each.
    """
    counted, ignored = np.flatnonzero(outcomes != IGNORED), np.flatnonzero(outcomes == IGNORED)
    hit = outcomes[counted] == TRUE_POSITIVE
    hits = counted[hit]
    last = np.flatnonzero(~np.append(hit, False)[1:][hit])
    return hits, last, ignored, np.searchsorted(ignored, hits[last])


def _needed(totals: Ints) -> Ints:
    """Return the smallest number of true positives that reaches each recall point, [resamples, recall points]."""
    wide = totals[:, None]
    # The official evaluation compares quotients, so the product is corrected by one where it rounds.
    needed = np.ceil(RECALL_POINTS * wide).astype(np.int64)
    needed -= (needed > 0) & ((needed - 1) / wide >= RECALL_POINTS)
    needed += needed / wide < RECALL_POINTS
    return needed


def _mean_precisions(positions: tuple[Ints, ...], times: Counts, passed: npt.NDArray[np.int32], needed: Ints) -> Floats:
    """Return the mean precision over the recall points, [resamples]."""
    hits, last, ignored, ignored_before = positions
    rows = np.arange(len(times))[:, None]
    if not len(hits):
        return np.zeros(len(times))
    # True positives are summed over all rows as if they were one, so that one search serves all rows.
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
    precision = np.zeros((len(times), len(last) + 1))  # the last one is for points that are never reached
    np.divide(true, seen + np.spacing(1), out=precision[:, :-1])
    firsts = np.clip(places, 0, len(last)) + rows * precision.shape[1]
    best = np.maximum.reduceat(precision.ravel(), firsts.ravel()).reshape(needed.shape)  # up to the next point
    means: Floats = np.maximum.accumulate(best[:, ::-1], axis=1).mean(axis=1)
    return means
