"""Which detections found which kind of object: all that scores, intervals and analyses are computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IOU_THRESHOLDS: npt.NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
RECALL_POINTS: npt.NDArray[np.float64] = np.linspace(0.0, 1.0, 101)
AREAS: tuple[tuple[str, float, float], ...] = (
    ("all", 0.0, 1e5**2),
    ("small", 0.0, 32.0**2),
    ("medium", 32.0**2, 96.0**2),
    ("large", 96.0**2, 1e5**2),
)
"""Names and bounds in square pixels, both inclusive."""
ANY_SIZE = 0
"""The area, by its place in ``AREAS``, that holds all others."""
MAX_DETECTIONS = (1, 10, 100)
"""Per image and class."""

TRUE_POSITIVE, FALSE_POSITIVE, IGNORED = 1, 0, -1


@dataclass(frozen=True, slots=True, eq=False)
class ClassMatches:
    """Detections of one class, the 100 best of each frame; by descending score, ties in the official order."""

    scores: npt.NDArray[np.float64]
    """[n]."""
    frames: npt.NDArray[np.int32]
    """[n]: indices into ``Matches.frames``."""
    ranks: npt.NDArray[np.uint8]
    """[n]: how many detections of this class in the same frame are better, 0 to 99."""
    rows: npt.NDArray[np.int64]
    """[n]: rows of the table of predictions."""
    outcomes: npt.NDArray[np.int8]
    """[areas, thresholds, n]: TRUE_POSITIVE, FALSE_POSITIVE or IGNORED."""
    took: npt.NDArray[np.int64]
    """[n]: the row in the table of labels of the object of any size that each took at ``Matches.iou``; -1 for none."""
    objects: npt.NDArray[np.int32]
    """[areas, frames]: labelled objects to be found."""
    labelled: bool
    """Whether the class has any label, crowds and regions included."""


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """All matches of one predictions file."""

    frames: tuple[str, ...]
    """In the official order."""
    classes: tuple[ClassMatches, ...]
    """In the order of ``categories.CLASSES``."""
    predictions: int
    """How many predictions count at all: the official tool scores none of them by a rule of its own."""
    iou: float
    """The one of ``IOU_THRESHOLDS`` that ``ClassMatches.took`` is of."""
