"""Whether the scores of detections tell how many of them are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.records.analyses import Calibration, ScoreBin
from bdd100k_zoo.records.matches import ANY_SIZE, IGNORED, IOU_THRESHOLDS, TRUE_POSITIVE

if TYPE_CHECKING:
    from bdd100k_zoo.records.matches import ClassMatches, Matches

Floats = npt.NDArray[np.float64]

BINS = 10
_LOWEST_IOU = 0


def calibrate(matches: Matches) -> Calibration:
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
    return Calibration(tuple(bins), _error(together), tuple(map(_error, tables)), float(IOU_THRESHOLDS[_LOWEST_IOU]))


def _table(found: ClassMatches) -> Floats:
    """[bins, 3]: how many detections, the sum of their scores, how many are right."""
    outcomes = found.outcomes[ANY_SIZE, _LOWEST_IOU]
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
