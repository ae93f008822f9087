"""Errors that cost AP, confusion of classes, and calibration of scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import nan
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.scalabel import FRAME_SIZE
from bdd100k_zoo.errors import MissingPackageError
from bdd100k_zoo.evaluation.matching import ANY_SIZE, AREAS, IGNORED, IOU_THRESHOLDS, TRUE_POSITIVE

if TYPE_CHECKING:
    from hotcoco import COCOeval

    from bdd100k_zoo.evaluation.matching import ClassMatches, Matches
    from bdd100k_zoo.evaluation.pairing import PairedFrames

ERROR_KINDS = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")
"""Those of TIDE: wrong class, bad localisation, both, duplicate, background, missed."""
IOU, BACKGROUND_IOU = 0.5, 0.1
"""IoU that a detection needs to find an object, and to be near one."""
MIN_SCORE = 0.3
"""Detections with lower scores are left out of the confusion matrix."""
BINS = 10
HOTCOCO_EXTRA = "report"
"""The extra that installs hotcoco, which computes the error breakdown and the confusion matrix."""

Floats = npt.NDArray[np.float64]

_LOWEST_IOU = 0
"""Index into ``IOU_THRESHOLDS``: 0.50."""


class ErrorBreakdown(msgspec.Struct, frozen=True):
    """How much AP50 each kind of error costs, as TIDE defines it (Bolya et al., ECCV 2020)."""

    lost: Mapping[str, float]
    """By kind of error: points of AP50 that would be gained without it, in percent. They do not add up."""
    counts: Mapping[str, int]
    ap50: float
    """In percent."""


class ConfusionMatrix(msgspec.Struct, frozen=True):
    """Counts of labelled against detected classes."""

    counts: tuple[tuple[int, ...], ...]
    """[classes + 1][classes + 1]: labelled as, detected as; the last row is background, the last column is missed."""
    min_score: float
    """Detections with lower scores are left out."""
    iou: float


class ScoreBin(NamedTuple):
    """Detections with scores between two bounds."""

    low: float
    high: float
    """Exclusive, except in the last bin."""
    detections: int
    score: float
    """Their mean score; NaN if there are none."""
    precision: float
    """Share of true positives among them, 0 to 1; NaN if there are none."""


class Calibration(msgspec.Struct, frozen=True):
    """Scores compared with the shares of true positives."""

    bins: tuple[ScoreBin, ...]
    """Of all classes together."""
    error: float
    """Expected calibration error of all classes together, 0 to 1; NaN without detections."""
    by_class: tuple[float, ...]
    """Expected calibration error of each class."""
    iou: float
    """IoU at which a detection is a true positive."""


def analyse_errors(
    paired: PairedFrames, matches: Matches
) -> tuple[ErrorBreakdown, ConfusionMatrix] | tuple[None, None]:
    """Return the error breakdown and the confusion matrix.

    Both are None if there are no predictions, or if scores are not finite: hotcoco cannot sort those.

    Raises:
        MissingPackageError: hotcoco is not installed.
    """
    if not len(paired.rows) or not np.isfinite(paired.scores).all():
        return None, None
    return compute_tide_errors(paired), build_confusion_matrix(paired, matches)


def compute_tide_errors(paired: PairedFrames) -> ErrorBreakdown:
    """Compute how much AP50 each kind of error costs; needs predictions with finite scores."""
    name, *bounds = AREAS[ANY_SIZE]
    run = build_evaluator(paired)
    run.params.iou_thrs = [IOU]  # only this one is used, and each takes time
    run.params.area_rng, run.params.area_rng_lbl = [bounds], [name]
    run.evaluate()
    found = run.tide_errors(pos_thr=IOU, bg_thr=BACKGROUND_IOU)
    lost = {kind: 100 * float(found["delta_ap"][kind]) for kind in ERROR_KINDS}
    counts = {kind: int(found["counts"][kind]) for kind in ERROR_KINDS}
    return ErrorBreakdown(lost, counts, 100 * float(found["ap_base"]))


def build_confusion_matrix(paired: PairedFrames, matches: Matches) -> ConfusionMatrix:
    """Count labelled against detected classes among detections of at least ``MIN_SCORE``; needs finite scores.

    Detections that the evaluation ignores, in a crowd or an ignored region of their class, are left out; hotcoco would
    count them as false positives.
    """
    ignored = [found.rows[found.outcomes[ANY_SIZE, _LOWEST_IOU] == IGNORED] for found in matches.classes]
    kept = ~np.isin(paired.rows, np.concatenate(ignored))
    counted = replace(
        paired,
        starts=np.append(0, np.cumsum(kept))[paired.starts],
        rows=paired.rows[kept],
        classes=paired.classes[kept],
        scores=paired.scores[kept],
        boxes=paired.boxes[kept],
    )
    found = build_evaluator(counted).confusion_matrix(iou_thr=IOU, min_score=MIN_SCORE)
    return ConfusionMatrix(tuple(map(tuple, found["matrix"].tolist())), MIN_SCORE, IOU)


def measure_calibration(matches: Matches) -> Calibration:
    """Compare scores with the share of true positives, in ten bins of equal width between 0 and 1.

    A detection is a true positive if it finds an object at IoU 0.5. Those that the evaluation ignores are left out, and
    scores outside 0 to 1 fall into the outermost bins. The expected calibration error (Naeini et al., AAAI 2015) is the
    mean distance between mean score and precision of the bins, each weighted by its number of detections.
    """
    tables = [_bin_sums(found) for found in matches.classes]
    total = np.sum(tables, axis=0)
    bins = (
        ScoreBin(place / BINS, (place + 1) / BINS, int(count), scores / (count or nan), right / (count or nan))
        for place, (count, scores, right) in enumerate(total.tolist())
    )
    error, *by_class = map(_expected_calibration_error, (total, *tables))
    return Calibration(tuple(bins), error, tuple(by_class), float(IOU_THRESHOLDS[_LOWEST_IOU]))


def _bin_sums(found: ClassMatches) -> Floats:
    """Return [bins, 3]: number of detections, sum of their scores, number of true positives."""
    outcomes = found.outcomes[ANY_SIZE, _LOWEST_IOU]
    counted = (outcomes != IGNORED) & np.isfinite(found.scores)
    scores, right = found.scores[counted], outcomes[counted] == TRUE_POSITIVE
    places = np.minimum((np.clip(scores, 0, 1) * BINS).astype(np.int64), BINS - 1)
    columns = (np.bincount(places, values, BINS) for values in (np.ones(len(scores)), scores, right))
    return np.stack(list(columns), axis=1)


def _expected_calibration_error(sums: Floats) -> float:
    """Return the sum over bins of |sum of scores - true positives|, divided by the number of detections."""
    total = sums[:, 0].sum()
    return float(np.abs(sums[:, 1] - sums[:, 2]).sum() / total) if total else nan


def check_hotcoco_installed() -> None:
    """Raise MissingPackageError if hotcoco cannot be imported."""
    try:
        import hotcoco  # noqa: F401  (imported only to see whether that works)
    except ImportError as error:
        raise MissingPackageError("hotcoco", HOTCOCO_EXTRA, str(error)) from error


def build_evaluator(paired: PairedFrames) -> COCOeval:
    """Return hotcoco's evaluator of labels and predictions, before it runs; it needs predictions with finite scores.

    Raises:
        MissingPackageError: hotcoco is not installed.
    """
    check_hotcoco_installed()
    from hotcoco import COCO, COCOeval

    labels = paired.labels
    size = {"width": FRAME_SIZE.width, "height": FRAME_SIZE.height, "file_name": ""}
    truth = COCO.from_arrays(
        [{"id": number, **size} for number in range(1, len(labels.frames) + 1)],
        [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)],
        np.repeat(np.arange(1, len(labels.starts)), np.diff(labels.starts)),
        labels.classes.astype(np.int64) + 1,
        labels.boxes,
        iscrowd=labels.crowd,
    )
    # hotcoco's columns: image id, x, y, width, height, score, category id.
    images = np.repeat(np.arange(1, len(paired.starts)), np.diff(paired.starts))
    results = np.column_stack((images, paired.boxes, paired.scores, paired.classes + 1.0))
    return COCOeval(truth, truth.load_res(results), "bbox")
