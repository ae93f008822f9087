"""From matches to precision and recall; by frames that may count several times, as in a bootstrap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.evaluation.summary import score_nothing, summarise
from bdd100k_zoo.records.matches import (
    AREAS,
    IGNORED,
    IOU_THRESHOLDS,
    MAX_DETECTIONS,
    RECALL_POINTS,
    TRUE_POSITIVE,
    ClassMatches,
    Matches,
)

if TYPE_CHECKING:
    from bdd100k_zoo.records.scores import Scores

Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.int64]


def score_matches(matches: Matches) -> Scores:
    """Score all frames, each counted once: the same bits as ``bdd100k.score``."""
    if not matches.predictions:
        return score_nothing([each.labelled for each in matches.classes])
    return summarise(*accumulate(matches))


def accumulate(matches: Matches, weights: Weights | None = None) -> tuple[Floats, Floats]:
    """Accumulate as ``COCOeval.accumulate`` of pycocotools does on a list in which frame i stands ``weights[i]`` times.

    Args:
        matches: those of all frames.
        weights: [frames] of integers; None counts each frame once.

    Returns:
        precision: [thresholds, recall points, classes, areas], at 100 detections; -1 where there is nothing to find.
        recall: [thresholds, classes, areas, numbers of detections]; -1 likewise.
    """
    shape = len(IOU_THRESHOLDS), len(CLASSES), len(AREAS)
    precision = np.full((shape[0], len(RECALL_POINTS), *shape[1:]), -1.0)
    recall = np.full((*shape, len(MAX_DETECTIONS)), -1.0)
    for index, found in enumerate(matches.classes):
        totals = found.objects.sum(axis=1) if weights is None else found.objects @ weights
        times = None if weights is None else weights[found.frames]
        for area in np.flatnonzero(totals):
            for threshold in range(len(IOU_THRESHOLDS)):
                outcomes = found.outcomes[area, threshold]
                curve, found_at = _curve(found, outcomes, int(totals[area]), times)
                precision[threshold, :, index, area] = curve
                recall[threshold, index, area] = found_at
    return precision, recall


def _curve(
    found: ClassMatches, outcomes: npt.NDArray[np.int8], total: int, times: Weights | None
) -> tuple[Floats, Floats]:
    """Give the precision at each recall point, and the recall at each number of detections.

    Precision falls from one true positive to the next, so that its envelope is made at true positives alone.
    """
    hits = np.flatnonzero(outcomes == TRUE_POSITIVE)
    counted = outcomes != IGNORED
    seen = np.cumsum(counted if times is None else counted * times, dtype=np.int64)[hits]
    gains = np.ones(len(hits), np.int64) if times is None else times[hits]
    true = np.cumsum(gains)
    envelope = np.maximum.accumulate((true / (seen + np.spacing(1)))[::-1])[::-1]
    places = np.searchsorted(true / total, RECALL_POINTS, side="left")
    curve = np.append(envelope, 0.0)[places]
    found_at = [gains[found.ranks[hits] < limit].sum() / total for limit in MAX_DETECTIONS]
    return curve, np.array(found_at)
