"""The official BDD100K detection scores, computed by hotcoco: the same 132 numbers, bit for bit.

Rules of ``bdd100k`` 1.0.1 and ``scalabel`` 0.3.1 (``eval/detect.py``): those of COCO on a geometry of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hotcoco import COCO, COCOeval

from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.evaluation.accumulation import score_matches
from bdd100k_zoo.evaluation.matching import match
from bdd100k_zoo.evaluation.pairing import Paired, pair
from bdd100k_zoo.evaluation.summary import score_nothing, summarise

if TYPE_CHECKING:
    from bdd100k_zoo.records.findings import LetThrough
    from bdd100k_zoo.records.matches import Matches
    from bdd100k_zoo.records.scores import Scores
    from bdd100k_zoo.records.tables import LabelTable, PredictionTable

_WIDTH, _HEIGHT = 1280, 720
LARGEST_FOR_HOTCOCO = 1e70
"""Of sides and scores: the areas of larger boxes may overflow."""


def score(labels: LabelTable, predictions: PredictionTable, *, lenient: bool = False) -> Scores:
    """Score predictions as the official command does.

    Raises:
        BadFrameError: a frame stands twice; only if not ``lenient``.
        FramesDifferError: frames are missing from the predictions or from the labels; only if not ``lenient``.
    """
    return score_paired(pair(labels, predictions, lenient=lenient))


def matches(labels: LabelTable, predictions: PredictionTable, *, lenient: bool = False) -> Matches:
    """Match predictions with labels, frame by frame; errors as those of ``score``."""
    return match(pair(labels, predictions, lenient=lenient))


def let_through(labels: LabelTable, predictions: PredictionTable) -> tuple[LetThrough, ...]:
    """Tell what a lenient evaluation of these accepts."""
    return pair(labels, predictions, lenient=True).let_through


def score_paired(paired: Paired) -> Scores:
    """Score what is already paired."""
    if not len(paired.rows):
        present = np.bincount(paired.labels.classes, minlength=len(CLASSES)) > 0
        return score_nothing(present.tolist())
    # hotcoco orders neither such scores nor overlaps that are no numbers as numpy, and the official tool, do.
    numbers = paired.scores, paired.boxes, paired.labels.boxes
    if not all((np.abs(each) <= LARGEST_FOR_HOTCOCO).all() for each in numbers):
        return score_matches(match(paired))
    return _score_with_hotcoco(paired)


def evaluator(paired: Paired) -> COCOeval:
    """Give hotcoco's evaluator of what is paired, not run yet; it needs predictions with finite scores."""
    truth = _ground_truth(paired)
    return COCOeval(truth, truth.load_res(_results(paired)), "bbox")


def _score_with_hotcoco(paired: Paired) -> Scores:
    run = evaluator(paired)
    run.evaluate()
    run.accumulate()
    found = run.eval
    assert found is not None  # noqa: S101  (accumulate has just filled it)
    return summarise(found["precision"][..., 2], found["recall"])


def _ground_truth(paired: Paired) -> COCO:
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


def _results(paired: Paired) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
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
