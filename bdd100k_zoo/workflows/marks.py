"""Predictions and verdicts → marks to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.records.matches import FALSE_POSITIVE, TRUE_POSITIVE
from bdd100k_zoo.records.verdicts import FOUND, REGION
from bdd100k_zoo.rendering.pictures import Kind, Mark

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import numpy as np
    import numpy.typing as npt

    from bdd100k_zoo.records.tables import PredictionTable
    from bdd100k_zoo.records.verdicts import FrameVerdicts

_DETECTION_KINDS: dict[int, Kind] = {TRUE_POSITIVE: "true", FALSE_POSITIVE: "false"}

EVERY = range(len(CLASSES))
"""All classes, by their indices."""


def marks_of_predictions(
    table: PredictionTable, frame: int, min_score: float, classes: Collection[int] = EVERY
) -> tuple[Mark, ...]:
    """Mark the detections of a frame that have the score and one of the classes."""
    rows = slice(*table.starts[frame : frame + 2].tolist())
    found = zip(_corners(table.boxes[rows]), table.classes[rows].tolist(), table.scores[rows].tolist(), strict=True)
    return tuple(
        Mark(box, category, score, "detection")
        for box, category, score in found
        if score >= min_score and category in classes
    )


def marks_of_verdicts(verdicts: FrameVerdicts, min_score: float, classes: Collection[int] = EVERY) -> tuple[Mark, ...]:
    """Mark the detections of a frame that have the score, and all labelled objects, as what they were judged to be.

    Detections are matched in the order of their scores. So what those of the score come to would be the same without
    the others, and an object that one of the others found is missed.
    """
    _, detections, objects = verdicts
    scores = detections.scores.tolist()
    found = zip(
        _corners(detections.boxes), detections.classes.tolist(), scores, detections.outcomes.tolist(), strict=True
    )
    marks = [
        Mark(box, category, score, _DETECTION_KINDS.get(outcome, "uncounted"))
        for box, category, score, outcome in found
        if score >= min_score
    ]
    labelled = zip(
        _corners(objects.boxes),
        objects.classes.tolist(),
        objects.states.tolist(),
        objects.found_by.tolist(),
        strict=True,
    )
    for box, category, state, by in labelled:
        is_found = state == FOUND and scores[by] >= min_score
        kind: Kind = "region" if state == REGION else "found" if is_found else "missed"
        marks.append(Mark(box, category, None, kind))
    return tuple(mark for mark in marks if mark.category in classes)


def _corners(boxes: npt.NDArray[np.float64]) -> Iterable[tuple[float, float, float, float]]:
    """Give left, top, right and bottom side of boxes that are x, y, width and height."""
    corners = boxes.copy()
    corners[:, 2:] += corners[:, :2]
    return map(tuple, corners.tolist())
