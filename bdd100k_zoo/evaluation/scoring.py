"""The official BDD100K detection scores: 132 numbers, equal to the last bit.

The rules are those of ``bdd100k`` 1.0.1 and ``scalabel`` 0.3.1 (``eval/detect.py``): COCO's, with their own bounds of
box sizes. The tests compare every number with the official packages and with hotcoco.
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
from bdd100k_zoo.evaluation.scores import METRICS, Metric, MetricScores, Scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.data.tables import LabelTable, PredictionTable

Floats = npt.NDArray[np.float64]


def score_predictions(labels: LabelTable, predictions: PredictionTable, *, lenient: bool = False) -> Scores:
    """Score predictions as the official command does; raises InputsError as ``pair_frames`` does."""
    return score_matches(match_detections(pair_frames(labels, predictions, lenient=lenient)))


def score_matches(matches: Matches) -> Scores:
    """Score the matches of all frames."""
    return score_accumulated(matches, *accumulate(matches))


def score_accumulated(matches: Matches, precision: Floats, recall: Floats) -> Scores:
    """Score matches, given what ``accumulate`` returns for them."""
    if not matches.predictions:
        return score_without_predictions([each.labelled for each in matches.classes])
    return summarise_scores(precision, recall)


def accumulate(matches: Matches) -> tuple[Floats, Floats]:
    """Accumulate as ``COCOeval.accumulate`` of pycocotools does.

    Returns:
        precision: [thresholds, recall points, classes, areas], at 100 detections; -1 where there is no object.
        recall: [thresholds, classes, areas, numbers of detections]; -1 where there is no object.
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

    Between two true positives precision only falls, so its envelope is computed at true positives alone.
    """
    hits = np.flatnonzero(outcomes == TRUE_POSITIVE)
    seen = np.cumsum(outcomes != IGNORED, dtype=np.int64)[hits]
    true = np.arange(1, len(hits) + 1)
    # pycocotools adds np.spacing(1) to the denominator; without it the last bits differ.
    envelope = np.maximum.accumulate((true / (seen + np.spacing(1)))[::-1])[::-1]
    places = np.searchsorted(true / total, RECALL_POINTS, side="left")
    curve = np.append(envelope, 0.0)[places]
    return curve, [np.count_nonzero(found.ranks[hits] < limit) / total for limit in MAX_DETECTIONS]


def summarise_scores(precision: Floats, recall: Floats) -> Scores:
    """Average precision and recall, as ``accumulate`` returns them, to all metrics."""
    cuts = {metric.name: _select(metric, precision, recall) for metric in METRICS}
    return Scores(
        {
            name: MetricScores(tuple(_mean(cut[..., index]) for index in range(len(CLASSES))), _mean(cut))
            for name, cut in cuts.items()
        }
    )


def _select(metric: Metric, precision: Floats, recall: Floats) -> Floats:
    """Return the values that a metric averages: [thresholds, recall points, classes] or [thresholds, classes]."""
    thresholds = slice(None)
    if metric.iou is not None:
        place = IOU_THRESHOLDS.round(2).tolist().index(metric.iou)
        thresholds = slice(place, place + 1)
    area = [name for name, *_ in AREAS].index(metric.area)
    if metric.averages == "precision":
        return precision[thresholds, :, :, area]
    return recall[thresholds, :, area, MAX_DETECTIONS.index(metric.detections)]


def _mean(values: Floats) -> float:
    """Return the mean in percent over all values but -1.

    The order in which numpy sums depends on the shape and layout of the array; this one gives the official bits.
    """
    computed = values[values > -1]
    return float(np.mean(computed) * 100) if computed.size else float("nan")


def score_without_predictions(labelled: Sequence[bool]) -> Scores:
    """Score a file without any prediction: 0 for each class with a label (crowds included, in every area), else NaN."""
    by_class = tuple(0.0 if has_labels else float("nan") for has_labels in labelled)
    overall = 0.0 if any(labelled) else float("nan")
    return Scores({metric.name: MetricScores(by_class, overall) for metric in METRICS})
