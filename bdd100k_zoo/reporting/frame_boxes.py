"""Predictions by frame, with verdicts where there are labels, as marks to draw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.tables import read_labels, read_prediction_table, read_predictions
from bdd100k_zoo.data.validation import printable
from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.evaluation.frame_matching import FOUND, IGNORE_REGION, build_match_outcomes, worst_frames
from bdd100k_zoo.evaluation.matching import FALSE_POSITIVE, TRUE_POSITIVE, match_detections
from bdd100k_zoo.evaluation.pairing import pair_frames, select_predicted_frames, unique_frame_names
from bdd100k_zoo.files import add_jpg_suffix, check_frame_name
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE
from bdd100k_zoo.reporting.pictures import BoxMark, MarkKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from bdd100k_zoo.data.tables import LabelTable, PredictionTable
    from bdd100k_zoo.evaluation.frame_matching import FrameAPLoss, FrameOutcomes, MatchOutcomes
    from bdd100k_zoo.evaluation.matching import Matches

_DETECTION_KINDS: dict[int, MarkKind] = {TRUE_POSITIVE: "true", FALSE_POSITIVE: "false"}

ALL_CLASSES = range(len(CLASSES))
"""All classes, by their indices."""


def build_prediction_marks(
    table: PredictionTable, frame: int, min_score: float, classes: Collection[int] = ALL_CLASSES
) -> tuple[BoxMark, ...]:
    """Mark the detections of a frame that have the score and one of the classes."""
    rows = slice(*table.starts[frame : frame + 2].tolist())
    found = zip(_corners(table.boxes[rows]), table.classes[rows].tolist(), table.scores[rows].tolist(), strict=True)
    return tuple(
        BoxMark(box, category, score, "detection")
        for box, category, score in found
        if score >= min_score and category in classes
    )


def build_verdict_marks(
    verdicts: FrameOutcomes, min_score: float, classes: Collection[int] = ALL_CLASSES
) -> tuple[BoxMark, ...]:
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
        BoxMark(box, category, score, _DETECTION_KINDS.get(outcome, "uncounted"))
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
        kind: MarkKind = "region" if state == IGNORE_REGION else "found" if is_found else "missed"
        marks.append(BoxMark(box, category, None, kind))
    return tuple(mark for mark in marks if mark.category in classes)


def _corners(boxes: npt.NDArray[np.float64]) -> Iterable[tuple[float, float, float, float]]:
    """Give left, top, right and bottom side of boxes that are x, y, width and height."""
    corners = boxes.copy()
    corners[:, 2:] += corners[:, :2]
    return map(tuple, corners.tolist())


class JudgedFrames(NamedTuple):
    """Verdicts on the frames that are both predicted and labelled."""

    matches: Matches
    verdicts: MatchOutcomes
    places: Mapping[str, int]
    """Frames by their keys."""


class FramePredictions:
    """A predictions file, by frame. A frame's key is its name, with its video before it where names are not unique."""

    def __init__(self, predictions: Path, labels: Path | None) -> None:
        """Read everything.

        Args:
            predictions: a predictions file, or the folder of a run.
            labels: what to judge them by.

        Raises:
            FrameNameError: a name leads out of its folder.
            ZooError: a file cannot be read; see ``records.tables``.
        """
        self.path = predictions / PREDICTIONS_FILE if (predictions / PREDICTIONS_FILE).is_file() else predictions
        self._judged: JudgedFrames | None = None
        if labels is None:
            self._table = read_prediction_table(self.path)
            if self._table.flat:
                named = (name if PurePosixPath(name).suffix else f"{name}.jpg" for name in self._table.frames)
                self._table = replace(self._table, frames=tuple(named))
        else:
            table = read_labels(labels)
            self._table = read_predictions(self.path, table)
            if self._table.flat:
                self._table = replace(self._table, frames=add_jpg_suffix(self._table.frames, table.frames))
            self._judged = _judge(select_predicted_frames(table, self._table), self._table)
        self._places = {check_frame_name(key): place for place, key in enumerate(unique_frame_names(self._table))}
        if len(self._places) < len(self._table.frames):
            raise RecordError(self.path, "has frames of the same name")

    @property
    def keys(self) -> tuple[str, ...]:
        """All frames of the predictions, in their order."""
        return tuple(self._places)

    def name_of(self, key: str) -> str:
        """Give a frame's name without its video."""
        return self._table.frames[self._places[key]]

    def check(self, keys: Sequence[str]) -> None:
        """Raise RecordError where a frame is not among the predictions."""
        for key in keys:
            if key not in self._places:
                raise RecordError(self.path, f"holds no frame {printable(key)}")

    def iou_of(self, key: str) -> float | None:
        """Give the IoU threshold that a frame was judged at; None where it has no labels."""
        return self._judged.verdicts.iou if self._judged and key in self._judged.places else None

    def worst(self, classes: Collection[int]) -> dict[str, FrameAPLoss]:
        """Give all frames that cost any of the classes' AP, the worst first; none without labels."""
        if self._judged is None:
            return {}
        keys = tuple(self._judged.places)
        losses = worst_frames(self._judged.matches, len(keys), classes)
        return {keys[loss.frame]: loss for loss in losses}

    def marks(self, key: str, min_score: float, classes: Collection[int]) -> tuple[BoxMark, ...]:
        """Give what is to be drawn of a frame; see ``workflows.marks``."""
        if self._judged and key in self._judged.places:
            verdicts = self._judged.verdicts.of_frame(self._judged.places[key])
            return build_verdict_marks(verdicts, min_score, classes)
        return build_prediction_marks(self._table, self._places[key], min_score, classes)

    def detections(self, key: str, classes: Collection[int]) -> int:
        """Count a frame's detections of some classes, whatever their scores."""
        first, last = self._table.starts[self._places[key] :][:2].tolist()
        return sum(category in classes for category in self._table.classes[first:last].tolist())


def _judge(labels: LabelTable, predictions: PredictionTable) -> JudgedFrames:
    paired = pair_frames(labels, predictions, lenient=True)  # frames without labels are no mistake here
    matches = match_detections(paired)
    places = {key: place for place, key in enumerate(unique_frame_names(labels))}
    return JudgedFrames(matches, build_match_outcomes(paired, matches), places)
