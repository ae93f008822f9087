"""Predictions by frame as marks to draw; with labels, marked by how each box was matched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.drawing.boxes import BoxMark, MarkKind
from bdd100k_zoo.data.tables import read_labels, read_prediction_table, read_predictions
from bdd100k_zoo.errors import InvalidFileError
from bdd100k_zoo.evaluation.frame_matching import FOUND, IGNORE_REGION, build_match_outcomes, worst_frames
from bdd100k_zoo.evaluation.matching import FALSE_POSITIVE, TRUE_POSITIVE, match_detections
from bdd100k_zoo.evaluation.pairing import pair_frames, select_predicted_frames, unique_frame_names
from bdd100k_zoo.files import add_jpg_suffix, check_frame_name
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from bdd100k_zoo.data.tables import LabelTable, PredictionTable
    from bdd100k_zoo.evaluation.frame_matching import FrameAPLoss, FrameOutcomes, MatchOutcomes
    from bdd100k_zoo.evaluation.matching import Matches

_DETECTION_KINDS: dict[int, MarkKind] = {TRUE_POSITIVE: "true", FALSE_POSITIVE: "false"}

ALL_CLASSES = range(len(CLASSES))
"""Indices of all classes."""


def build_outcome_marks(
    outcomes: FrameOutcomes, min_score: float, classes: Collection[int] = ALL_CLASSES
) -> tuple[BoxMark, ...]:
    """Return the marks of a frame's detections with at least this score, and of all labelled objects, by outcome.

    Detections are matched in descending order of score, so those below ``min_score`` do not change the outcome of the
    others; an object that only one of them found counts as missed.
    """
    _, detections, objects = outcomes
    scores = detections.scores.tolist()
    marks = [
        BoxMark(box, category, score, _DETECTION_KINDS.get(outcome, "uncounted"))
        for box, category, score, outcome in _rows(
            detections.boxes, detections.classes, detections.scores, detections.outcomes
        )
        if score >= min_score
    ]
    for box, category, state, by in _rows(objects.boxes, objects.classes, objects.states, objects.found_by):
        is_found = state == FOUND and scores[by] >= min_score
        kind: MarkKind = "region" if state == IGNORE_REGION else "found" if is_found else "missed"
        marks.append(BoxMark(box, category, None, kind))
    return tuple(mark for mark in marks if mark.category in classes)


def _rows(boxes: npt.NDArray[np.float64], *columns: npt.NDArray[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield each box as left, top, right and bottom side, with its values of the columns, as Python numbers.

    Boxes are given as x, y, width and height.
    """
    corners = boxes.copy()
    corners[:, 2:] += corners[:, :2]
    yield from zip(map(tuple, corners.tolist()), *(column.tolist() for column in columns), strict=True)


class MatchedFrames(NamedTuple):
    """The frames that have both predictions and labels, and how their boxes were matched."""

    matches: Matches
    outcomes: MatchOutcomes
    places: dict[str, int]
    """Indices of the frames by their keys."""


class FramePredictions:
    """A predictions file, by frame. A frame's key is its name, preceded by its video where names are not unique."""

    def __init__(self, predictions: Path, labels: Path | None) -> None:
        """Read everything.

        Args:
            predictions: a predictions file, or the folder of a run.
            labels: labels to match the predictions with.

        Raises:
            InvalidFileError: a frame's name leads out of its folder, or two frames share a name.
            ZooError: a file cannot be read; see ``data.tables``.
        """
        self.path = predictions / PREDICTIONS_FILE if (predictions / PREDICTIONS_FILE).is_file() else predictions
        self._matched: MatchedFrames | None = None
        if labels is None:
            table = read_prediction_table(self.path)
            if table.flat:
                named = (name if PurePosixPath(name).suffix else f"{name}.jpg" for name in table.frames)
                table = replace(table, frames=tuple(named))
        else:
            label_table = read_labels(labels)
            table = read_predictions(self.path, label_table)
            if table.flat:
                table = replace(table, frames=add_jpg_suffix(table.frames, label_table.frames))
            self._matched = _match(select_predicted_frames(label_table, table), table)
        self._table = table
        self._places = {check_frame_name(key): place for place, key in enumerate(unique_frame_names(table))}
        if len(self._places) < len(table.frames):
            raise InvalidFileError(self.path, "has frames of the same name", "give each frame a name of its own")

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all frames, in the order of the file."""
        return tuple(self._places)

    def name_of(self, key: str) -> str:
        """Return a frame's name without its video."""
        return self._table.frames[self._places[key]]

    def iou_of(self, key: str) -> float | None:
        """Return the IoU threshold that a frame was matched at; None where it has no labels."""
        return self._matched.outcomes.iou if self._matched and key in self._matched.places else None

    def worst(self, classes: Collection[int]) -> dict[str, FrameAPLoss]:
        """Return all frames that cost any of the classes' AP, the worst first; none without labels."""
        if self._matched is None:
            return {}
        keys = tuple(self._matched.places)
        return {keys[loss.frame]: loss for loss in worst_frames(self._matched.matches, len(keys), classes)}

    def marks(self, key: str, min_score: float, classes: Collection[int]) -> tuple[BoxMark, ...]:
        """Return what to draw of a frame: its detections, matched with its labels where it has some."""
        if self._matched and key in self._matched.places:
            outcomes = self._matched.outcomes.of_frame(self._matched.places[key])
            return build_outcome_marks(outcomes, min_score, classes)
        table, place = self._table, self._places[key]
        rows = slice(*table.starts[place : place + 2].tolist())
        return tuple(
            BoxMark(box, category, score, "detection")
            for box, category, score in _rows(table.boxes[rows], table.classes[rows], table.scores[rows])
            if score >= min_score and category in classes
        )

    def count_detections(self, keys: Iterable[str], min_score: float, classes: Collection[int]) -> tuple[int, int]:
        """Count the detections of some frames and classes: those with at least this score, and the others."""
        table = self._table
        counted = np.zeros(len(table.frames), bool)
        counted[[self._places[key] for key in keys]] = True
        rows = np.repeat(counted, np.diff(table.starts)) & np.isin(table.classes, list(classes))
        drawn = int((table.scores[rows] >= min_score).sum())
        return drawn, int(rows.sum()) - drawn


def _match(labels: LabelTable, predictions: PredictionTable) -> MatchedFrames:
    paired = pair_frames(labels, predictions, lenient=True)  # lenient: frames without labels are allowed here
    matches = match_detections(paired)
    places = {key: place for place, key in enumerate(unique_frame_names(labels))}
    return MatchedFrames(matches, build_match_outcomes(paired, matches), places)
