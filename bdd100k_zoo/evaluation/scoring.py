"""The official BDD100K detection scores: 132 numbers, bit for bit.

Rules of ``bdd100k`` 1.0.1 and ``scalabel`` 0.3.1 (``eval/detect.py``): those of COCO on a geometry of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from hotcoco import COCO, COCOeval

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
from bdd100k_zoo.evaluation.pairing import PairedFrames, pair_frames
from bdd100k_zoo.evaluation.scores import METRICS, MetricScores, Scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.data.tables import LabelTable, PredictionTable
    from bdd100k_zoo.data.validation import IssueSummary

Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.int64]

_ALL, _SMALL, _MEDIUM, _LARGE = range(4)


def score_matches(matches: Matches) -> Scores:
    """Score all frames, each counted once: the same bits as ``bdd100k.score``."""
    if not matches.predictions:
        return score_without_predictions([each.labelled for each in matches.classes])
    return summarise_scores(*accumulate(matches))


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


_WIDTH, _HEIGHT = 1280, 720
LARGEST_FOR_HOTCOCO = 1e70
"""Of sides and scores: the areas of larger boxes may overflow."""


def score_predictions(labels: LabelTable, predictions: PredictionTable, *, lenient: bool = False) -> Scores:
    """Score predictions as the official command does.

    Raises:
        BadFrameError: a frame stands twice; only if not ``lenient``.
        FramesDifferError: frames are missing from the predictions or from the labels; only if not ``lenient``.
    """
    return score_paired(pair_frames(labels, predictions, lenient=lenient))


def match_predictions(labels: LabelTable, predictions: PredictionTable, *, lenient: bool = False) -> Matches:
    """Match predictions with labels, frame by frame; errors as those of ``score``."""
    return match_detections(pair_frames(labels, predictions, lenient=lenient))


def list_accepted_issues(labels: LabelTable, predictions: PredictionTable) -> tuple[IssueSummary, ...]:
    """Tell what a lenient evaluation of these accepts."""
    return pair_frames(labels, predictions, lenient=True).let_through


def score_paired(paired: PairedFrames) -> Scores:
    """Score what is already paired."""
    if not len(paired.rows):
        present = np.bincount(paired.labels.classes, minlength=len(CLASSES)) > 0
        return score_without_predictions(present.tolist())
    # hotcoco orders neither such scores nor overlaps that are no numbers as numpy, and the official tool, do.
    numbers = paired.scores, paired.boxes, paired.labels.boxes
    if not all((np.abs(each) <= LARGEST_FOR_HOTCOCO).all() for each in numbers):
        return score_matches(match_detections(paired))
    return _score_with_hotcoco(paired)


def build_evaluator(paired: PairedFrames) -> COCOeval:
    """Give hotcoco's evaluator of what is paired, not run yet; it needs predictions with finite scores."""
    truth = _ground_truth(paired)
    return COCOeval(truth, truth.load_res(_results(paired)), "bbox")


def _score_with_hotcoco(paired: PairedFrames) -> Scores:
    run = build_evaluator(paired)
    run.evaluate()
    run.accumulate()
    found = run.eval
    assert found is not None  # noqa: S101  (accumulate has just filled it)
    return summarise_scores(found["precision"][..., 2], found["recall"])


def _ground_truth(paired: PairedFrames) -> COCO:
    labels = paired.labels
    size = {"width": _WIDTH, "height": _HEIGHT, "file_name": ""}
    return COCO.from_arrays(
        [{"id": number, **size} for number in range(1, len(labels.frames) + 1)],
        [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)],
        _image_ids(labels.starts),
        labels.classes.astype(np.int64) + 1,
        labels.boxes,
        iscrowd=labels.crowd,
    )


def _results(paired: PairedFrames) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """[n, 7]: image id, x, y, width, height, score, category id."""
    results = np.empty((len(paired.rows), 7))
    results[:, 0] = _image_ids(paired.starts)
    results[:, 1:5] = paired.boxes
    results[:, 5] = paired.scores
    results[:, 6] = paired.classes
    results[:, 6] += 1
    return results


def _image_ids(starts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.repeat(np.arange(1, len(starts)), np.diff(starts))


def summarise_scores(precision: Floats, recall: Floats) -> Scores:
    """Average what there is.

    Args:
        precision: [thresholds, recall points, classes, areas], at 100 detections; -1 where there is nothing to find.
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
    return Scores({metric: _averages(cut) for metric, cut in zip(METRICS, cuts, strict=True)})


def score_without_predictions(labelled: Sequence[bool]) -> Scores:
    """Score no predictions at all: 0 for each class with any label, crowds and empty areas included, else NaN."""
    by_class = tuple(0.0 if has_labels else float("nan") for has_labels in labelled)
    overall = 0.0 if any(labelled) else float("nan")
    return Scores(dict.fromkeys(METRICS, MetricScores(by_class, overall)))


def _averages(values: Floats) -> MetricScores:
    by_class = tuple(_average(values[..., index]) for index in range(len(CLASSES)))
    return MetricScores(by_class, _average(values))


def _average(values: Floats) -> float:
    """Mean, in percent, over all that is computed, summed as numpy sums a line of numbers."""
    computed = values[values > -1]
    return float(np.mean(computed) * 100) if computed.size else float("nan")
