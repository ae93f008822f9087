"""Which errors cost the AP, which classes are confused, and how well scores are calibrated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.evaluation.analysis_types import Calibration, Confusion, ErrorBreakdown, ScoreBin
from bdd100k_zoo.evaluation.matching import ANY_SIZE, AREAS, IGNORED, IOU_THRESHOLDS, TRUE_POSITIVE
from bdd100k_zoo.evaluation.scoring import build_evaluator

if TYPE_CHECKING:
    from bdd100k_zoo.evaluation.matching import ClassMatches, Matches
    from bdd100k_zoo.evaluation.pairing import PairedFrames

ERROR_KINDS = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")
"""TIDE's: wrong class, badly placed, both, found twice, background, missed."""
IOU, BACKGROUND_IOU = 0.5, 0.1
"""What a detection needs to find an object, and to be near one."""
MIN_SCORE = 0.3
_LOWEST_IOU = 0


def can_analyse_errors(paired: PairedFrames) -> bool:
    """Tell whether errors can be told apart: there are predictions, and their scores have an order."""
    return bool(len(paired.rows)) and bool(np.isfinite(paired.scores).all())


def compute_tide_errors(paired: PairedFrames) -> ErrorBreakdown:
    """Tell what each kind of error costs in AP50; see ``can_break_down``."""
    name, *bounds = AREAS[ANY_SIZE]
    run = build_evaluator(paired)
    run.params.iou_thrs = [IOU]  # no other is asked for, and each costs time
    run.params.area_rng, run.params.area_rng_lbl = [bounds], [name]
    run.evaluate()
    found = run.tide_errors(pos_thr=IOU, bg_thr=BACKGROUND_IOU)
    lost = {kind: 100 * float(found["delta_ap"][kind]) for kind in ERROR_KINDS}
    counts = {kind: int(found["counts"][kind]) for kind in ERROR_KINDS}
    return ErrorBreakdown(lost, counts, 100 * float(found["ap_base"]))


def build_confusion_matrix(paired: PairedFrames, matches: Matches, min_score: float = MIN_SCORE) -> Confusion:
    """Count which class is taken for which among detections of at least ``min_score``; see ``can_break_down``.

    Detections that the evaluation ignores, since they are in a crowd or a region of their class, are left out; hotcoco
    would count them as detections of nothing.
    """
    found = build_evaluator(_counted(paired, matches)).confusion_matrix(iou_thr=IOU, min_score=min_score)
    return Confusion(tuple(map(tuple, found["matrix"].tolist())), min_score, IOU)


def _counted(paired: PairedFrames, matches: Matches) -> PairedFrames:
    ignored = [found.rows[found.outcomes[ANY_SIZE, _LOWEST_IOU] == IGNORED] for found in matches.classes]
    kept = ~np.isin(paired.rows, np.concatenate(ignored))
    before = np.concatenate((np.zeros(1, np.int64), np.cumsum(kept, dtype=np.int64)))
    return replace(
        paired,
        starts=before[paired.starts],
        rows=paired.rows[kept],
        classes=paired.classes[kept],
        scores=paired.scores[kept],
        boxes=paired.boxes[kept],
    )


Floats = npt.NDArray[np.float64]

BINS = 10
_LOWEST_IOU_calibration = 0


def measure_calibration(matches: Matches) -> Calibration:
    """Compare scores with the share of detections that are right, in ten bins of equal width between 0 and 1.

    A detection is right that finds an object at IoU 0.5; those that the evaluation ignores are left out, and scores
    outside 0 to 1 fall into the outermost bins. The expected calibration error (Naeini and others, AAAI 2015) is the
    mean distance between mean score and precision of the bins, each weighted by its number of detections.
    """
    tables = [_table(found) for found in matches.classes]
    together = np.sum(tables, axis=0)
    edges = [place / BINS for place in range(BINS + 1)]
    bins = (
        ScoreBin(low, high, int(count), _share(scores, count), _share(right, count))
        for low, high, (count, scores, right) in zip(edges[:-1], edges[1:], together.tolist(), strict=True)
    )
    return Calibration(
        tuple(bins), _error(together), tuple(map(_error, tables)), float(IOU_THRESHOLDS[_LOWEST_IOU_calibration])
    )


def _table(found: ClassMatches) -> Floats:
    """[bins, 3]: how many detections, the sum of their scores, how many are right."""
    outcomes = found.outcomes[ANY_SIZE, _LOWEST_IOU_calibration]
    counted = (outcomes != IGNORED) & np.isfinite(found.scores)
    scores, right = found.scores[counted], outcomes[counted] == TRUE_POSITIVE
    places = np.minimum((np.clip(scores, 0, 1) * BINS).astype(np.int64), BINS - 1)
    columns = (np.bincount(places, values, BINS) for values in (np.ones(len(scores)), scores, right))
    return np.stack(list(columns), axis=1)


def _error(table: Floats) -> float:
    """Give the expected calibration error: sum over bins of |sum of scores - number right|, over all detections."""
    total = table[:, 0].sum()
    return float(np.abs(table[:, 1] - table[:, 2]).sum() / total) if total else float("nan")


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
