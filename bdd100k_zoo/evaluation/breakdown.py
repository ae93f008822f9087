"""Which errors cost the AP, and which class is taken for which, computed by hotcoco."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bdd100k_zoo.evaluation.bdd100k import evaluator
from bdd100k_zoo.records.analyses import Confusion, Errors
from bdd100k_zoo.records.matches import ANY_SIZE, AREAS, IGNORED

if TYPE_CHECKING:
    from bdd100k_zoo.evaluation.pairing import Paired
    from bdd100k_zoo.records.matches import Matches

KINDS = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")
"""TIDE's: wrong class, badly placed, both, found twice, background, missed."""
IOU, BACKGROUND_IOU = 0.5, 0.1
"""What a detection needs to find an object, and to be near one."""
MIN_SCORE = 0.3
_LOWEST_IOU = 0


def can_break_down(paired: Paired) -> bool:
    """Tell whether errors can be told apart: there are predictions, and their scores have an order."""
    return bool(len(paired.rows)) and bool(np.isfinite(paired.scores).all())


def errors_of(paired: Paired) -> Errors:
    """Tell what each kind of error costs in AP50; see ``can_break_down``."""
    name, *bounds = AREAS[ANY_SIZE]
    run = evaluator(paired)
    run.params.iou_thrs = [IOU]  # no other is asked for, and each costs time
    run.params.area_rng, run.params.area_rng_lbl = [bounds], [name]
    run.evaluate()
    found = run.tide_errors(pos_thr=IOU, bg_thr=BACKGROUND_IOU)
    lost = {kind: 100 * float(found["delta_ap"][kind]) for kind in KINDS}
    counts = {kind: int(found["counts"][kind]) for kind in KINDS}
    return Errors(lost, counts, 100 * float(found["ap_base"]))


def confusion_of(paired: Paired, matches: Matches, min_score: float = MIN_SCORE) -> Confusion:
    """Count which class is taken for which among detections of at least ``min_score``; see ``can_break_down``.

    Detections that the evaluation ignores, since they are in a crowd or a region of their class, are left out; hotcoco
    would count them as detections of nothing.
    """
    found = evaluator(_counted(paired, matches)).confusion_matrix(iou_thr=IOU, min_score=min_score)
    return Confusion(tuple(map(tuple, found["matrix"].tolist())), min_score, IOU)


def _counted(paired: Paired, matches: Matches) -> Paired:
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
