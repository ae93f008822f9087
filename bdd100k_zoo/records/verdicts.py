"""What became of each detection and of each labelled object, and which frames cost the most AP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FOUND, MISSED, REGION = 1, 0, -1
"""States of a labelled object. A region (crowd, ignored area) is nothing to find, and detections in it do not count."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class JudgedDetections:
    """Detections of one frame or of all; by frame, then in the order of their file."""

    classes: npt.NDArray[np.uint8]
    """[n]: indices into ``categories.CLASSES``."""
    scores: Floats
    """[n]."""
    boxes: Floats
    """[n, 4]: x, y, width, height in pixels."""
    outcomes: npt.NDArray[np.int8]
    """[n]: ``matches.TRUE_POSITIVE``, ``FALSE_POSITIVE`` or ``IGNORED``: it took a region, or is not among the 100 best
    of its class in the frame."""
    took: Ints
    """[n]: the place among the objects (of the same frame, or of all) of the one that it took; -1 for none."""

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True, slots=True, eq=False)
class JudgedObjects:
    """Labelled objects of one frame or of all; by frame, then in the order of their file."""

    classes: npt.NDArray[np.uint8]
    """[n]: indices into ``categories.CLASSES``."""
    boxes: Floats
    """[n, 4]: x, y, width, height in pixels."""
    states: npt.NDArray[np.int8]
    """[n]: FOUND, MISSED or REGION."""
    found_by: Ints
    """[n]: the place among the detections (of the same frame, or of all) of the one that found it; -1 for none."""

    def __len__(self) -> int:
        return len(self.classes)


class FrameVerdicts(NamedTuple):
    """Verdicts of one frame."""

    name: str
    detections: JudgedDetections
    objects: JudgedObjects


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """Verdicts of all frames at one IoU threshold, exactly those of the evaluation."""

    frames: tuple[str, ...]
    """In the official order."""
    iou: float
    """The threshold, from 0.5 to 0.95."""
    detections: JudgedDetections
    detection_starts: Ints
    """[frames + 1]: the detections of frame i are ``detection_starts[i]:detection_starts[i + 1]``."""
    objects: JudgedObjects
    object_starts: Ints
    """[frames + 1], likewise."""

    def of_frame(self, index: int) -> FrameVerdicts:
        """Give the verdicts of one frame; ``took`` and ``found_by`` count from its first object or detection."""
        first, last = self.detection_starts[index : index + 2].tolist()
        first_object, last_object = self.object_starts[index : index + 2].tolist()
        found, objects = self.detections, self.objects
        return FrameVerdicts(
            self.frames[index],
            JudgedDetections(
                found.classes[first:last],
                found.scores[first:last],
                found.boxes[first:last],
                found.outcomes[first:last],
                _counted_from(first_object, found.took[first:last]),
            ),
            JudgedObjects(
                objects.classes[first_object:last_object],
                objects.boxes[first_object:last_object],
                objects.states[first_object:last_object],
                _counted_from(first, objects.found_by[first_object:last_object]),
            ),
        )


def _counted_from(first: int, places: Ints) -> Ints:
    return np.where(places < 0, -1, places - first)


class FrameLoss(NamedTuple):
    """One frame's share in what the AP lacks to 100; over all frames these add up to exactly that."""

    frame: int
    """Index into the frames in the official order."""
    name: str
    lost: float
    """Points of AP: ``to_false`` and ``to_missed`` together."""
    to_false: float
    """Points that false positives take, at all IoU thresholds."""
    to_missed: float
    """Points that objects take which no detection finds, at all IoU thresholds."""
