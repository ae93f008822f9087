"""The official BDD100K detection scores: 132 numbers, bit for bit.

Rules of ``bdd100k`` 1.0.1 and ``scalabel`` 0.3.1 (``eval/detect.py``): those of COCO on box sizes of their own. The
tests compare every number with the official packages and with hotcoco.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.evaluation.matching import (
    AREAS,
    IGNORED,
    IOU_THRESHOLDS,
    MAX_DETECTIONS,
    RECALL_POINTS,
    TRUE_POSITIVE,
    ClassMatches,
    Matches,
    match_detections,
)
from bdd100k_zoo.evaluation.pairing import pair_frames
from bdd100k_zoo.evaluation.scores import METRICS, MetricScores, Scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.data.tables import LabelTable, PredictionTable

Floats = npt.NDArray[np.float64]

_ALL, _SMALL, _MEDIUM, _LARGE = range(4)


def score_predictions(labels: LabelTable, predictions: PredictionTable, *, lenient: bool = False) -> Scores:
    """Score predictions as the official command does.

    Raises:
        BadFrameError: a frame appears twice; only if not ``lenient``.
        FramesDifferError: frames are missing from the predictions or from the labels; only if not ``lenient``.
    """
    return score_matches(match_detections(pair_frames(labels, predictions, lenient=lenient)))


def score_matches(matches: Matches) -> Scores:
    """Score the matches of all frames."""
    return score_accumulated(matches, *accumulate(matches))


def score_accumulated(matches: Matches, precision: Floats, recall: Floats) -> Scores:
    """Score matches from what ``accumulate`` returned for them."""
    if not matches.predictions:
        return score_without_predictions([each.labelled for each in matches.classes])
    return summarise_scores(precision, recall)


def accumulate(matches: Matches) -> tuple[Floats, Floats]:
    """Accumulate as ``COCOeval.accumulate`` of pycocotools does.

    Returns:
        precision: [thresholds, recall points, classes, areas], at 100 detections; -1 where there is no object.
        recall: [thresholds, classes, areas, numbers of detections]; -1 likewise.
    """
    shape = len(IOU_THRESHOLDS), len(CLASSES), len(AREAS)
    precision = np.full((shape[0], len(RECALL_POINTS), *shape[1:]), -1.0)
    recall = np.full((*shape, len(MAX_DETECTIONS)), -1.0)
    for index, found in enumerate(matches.classes):
        totals = found.objects.sum(axis=1)
        for area in np.flatnonzero(totals):
            for threshold in range(len(IOU_THRESHOLDS)):
                curve, recalls = _curve(found, found.outcomes[area, threshold], int(totals[area]))
                precision[threshold, :, index, area] = curve
                recall[threshold, index, area] = recalls
    return precision, recall


def _curve(found: ClassMatches, outcomes: npt.NDArray[np.int8], total: int) -> tuple[Floats, list[float]]:
    """Return the precision at each recall point, and the recall at each number of detections.

    Precision falls from one true positive to the next, so its envelope is computed at true positives alone.
    """
    hits = np.flatnonzero(outcomes == TRUE_POSITIVE)
    seen = np.cumsum(outcomes != IGNORED, dtype=np.int64)[hits]
    true = np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate((true / (seen + np.spacing(1)))[::-1])[::-1]
    places = np.searchsorted(true / total, RECALL_POINTS, side="left")
    curve = np.append(envelope, 0.0)[places]
    return curve, [np.count_nonzero(found.ranks[hits] < limit) / total for limit in MAX_DETECTIONS]


def summarise_scores(precision: Floats, recall: Floats) -> Scores:
    """Average precision and recall to the 12 metrics.

    Args:
        precision: [thresholds, recall points, classes, areas], at 100 detections; -1 where there is no object.
        recall: [thresholds, classes, areas, numbers of detections]; -1 likewise.
    """
    cuts = (
        precision[:, :, :, _ALL],
        precision[:1, :, :, _ALL],
        precision[5:6, :, :, _ALL],
        *(precision[:, :, :, area] for area in (_SMALL, _MEDIUM, _LARGE)),
        *(recall[:, :, _ALL, limit] for limit in range(3)),
        *(recall[:, :, area, 2] for area in (_SMALL, _MEDIUM, _LARGE)),
    )
    return Scores(
        {
            metric: MetricScores(tuple(_mean(cut[..., index]) for index in range(len(CLASSES))), _mean(cut))
            for metric, cut in zip(METRICS, cuts, strict=True)
        }
    )


def _mean(values: Floats) -> float:
    """Return the mean in percent over all but -1, in the order in which numpy sums these arrays: it is official."""
    computed = values[values > -1]
    return float(np.mean(computed) * 100) if computed.size else float("nan")


def score_without_predictions(labelled: Sequence[bool]) -> Scores:
    """Score no predictions at all: 0 for each class with any label, crowds and empty areas included, else NaN."""
    by_class = tuple(0.0 if has_labels else float("nan") for has_labels in labelled)
    overall = 0.0 if any(labelled) else float("nan")
    return Scores(dict.fromkeys(METRICS, MetricScores(by_class, overall)))
