"""From precision and recall to the 132 numbers, in the official order of summation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.records.scores import METRICS, MetricScores, Scores

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = npt.NDArray[np.float64]

_ALL, _SMALL, _MEDIUM, _LARGE = range(4)


def summarise(precision: Floats, recall: Floats) -> Scores:
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


def score_nothing(labelled: Sequence[bool]) -> Scores:
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
