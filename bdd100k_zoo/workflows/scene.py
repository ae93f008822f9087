"""Predictions by frame, with verdicts on them where there are labels: what there is to draw, and what is worth it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.evaluation.matching import match
from bdd100k_zoo.evaluation.pairing import keys_of, only_predicted, pair
from bdd100k_zoo.evaluation.verdicts import verdicts_of, worst_frames
from bdd100k_zoo.records.findings import shown
from bdd100k_zoo.records.names import check_frame_name, with_suffix
from bdd100k_zoo.records.run import PREDICTIONS
from bdd100k_zoo.records.tables import read_prediction_table
from bdd100k_zoo.workflows.inputs import read_labels, read_predictions
from bdd100k_zoo.workflows.marks import marks_of_predictions, marks_of_verdicts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from bdd100k_zoo.records.matches import Matches
    from bdd100k_zoo.records.tables import LabelTable, PredictionTable
    from bdd100k_zoo.records.verdicts import FrameLoss, Verdicts
    from bdd100k_zoo.rendering.pictures import Mark


class Judged(NamedTuple):
    """Verdicts on the frames that are both predicted and labelled."""

    matches: Matches
    verdicts: Verdicts
    places: Mapping[str, int]
    """Frames by their keys."""


class Scene:
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
        self.path = predictions / PREDICTIONS if (predictions / PREDICTIONS).is_file() else predictions
        self._judged: Judged | None = None
        if labels is None:
            self._table = read_prediction_table(self.path)
            if self._table.flat:
                named = (name if PurePosixPath(name).suffix else f"{name}.jpg" for name in self._table.frames)
                self._table = replace(self._table, frames=tuple(named))
        else:
            table = read_labels(labels)
            self._table = read_predictions(self.path, table)
            if self._table.flat:
                self._table = replace(self._table, frames=with_suffix(self._table.frames, table.frames))
            self._judged = _judge(only_predicted(table, self._table), self._table)
        self._places = {check_frame_name(key): place for place, key in enumerate(keys_of(self._table))}
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
                raise RecordError(self.path, f"holds no frame {shown(key)}")

    def iou_of(self, key: str) -> float | None:
        """Give the IoU threshold that a frame was judged at; None where it has no labels."""
        return self._judged.verdicts.iou if self._judged and key in self._judged.places else None

    def worst(self, classes: Collection[int]) -> dict[str, FrameLoss]:
        """Give all frames that cost any of the classes' AP, the worst first; none without labels."""
        if self._judged is None:
            return {}
        keys = tuple(self._judged.places)
        losses = worst_frames(self._judged.matches, len(keys), classes)
        return {keys[loss.frame]: loss for loss in losses}

    def marks(self, key: str, min_score: float, classes: Collection[int]) -> tuple[Mark, ...]:
        """Give what is to be drawn of a frame; see ``workflows.marks``."""
        if self._judged and key in self._judged.places:
            verdicts = self._judged.verdicts.of_frame(self._judged.places[key])
            return marks_of_verdicts(verdicts, min_score, classes)
        return marks_of_predictions(self._table, self._places[key], min_score, classes)

    def detections(self, key: str, classes: Collection[int]) -> int:
        """Count a frame's detections of some classes, whatever their scores."""
        first, last = self._table.starts[self._places[key] :][:2].tolist()
        return sum(category in classes for category in self._table.classes[first:last].tolist())


def _judge(labels: LabelTable, predictions: PredictionTable) -> Judged:
    paired = pair(labels, predictions, lenient=True)  # frames without labels are no mistake here
    matches = match(paired)
    places = {key: place for place, key in enumerate(keys_of(labels))}
    return Judged(matches, verdicts_of(paired, matches), places)
