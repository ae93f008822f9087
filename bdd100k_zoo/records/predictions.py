"""The predictions file: Scalabel frames, as ``scalabel.label.io.load`` and the evaluation server read them."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.records.box2d import Box2D
from bdd100k_zoo.records.files import storage_errors
from bdd100k_zoo.records.names import check_frame_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bdd100k_zoo.boxes import Detections


class PredictedLabel(msgspec.Struct, frozen=True):
    """One detected object."""

    id: str
    category: str
    score: float
    box2d: Box2D


class PredictedFrame(msgspec.Struct, frozen=True):
    """The detections of one image."""

    name: str
    labels: tuple[PredictedLabel, ...]


def to_labels(detections: Detections, ids: Iterator[int]) -> tuple[PredictedLabel, ...]:
    """Turn detections into labels: in class order, then by descending score; equal scores keep their order.

    Corners and scores are widened to float64 first, and the format's x2, y2 are the detector's corners minus 1.
    """
    order = np.lexsort((-detections.scores, detections.classes))
    corners = detections.boxes[order].astype(np.float64) - (0.0, 0.0, 1.0, 1.0)
    scores = detections.scores[order].astype(np.float64).tolist()
    classes = detections.classes[order].tolist()
    return tuple(
        PredictedLabel(str(next(ids)), CLASSES[index], score, Box2D(*box))
        for index, score, box in zip(classes, scores, corners.tolist(), strict=True)
    )


class PredictionsWriter:
    """Streams frames to disk, one line each, so that memory does not grow with their number.

    Frames must come sorted by name. The file stands under its final name only when ``finish`` was called; until then it
    is ``.NAME.partial`` beside it, which the next writer of that name starts over.
    """

    def __init__(self, path: Path) -> None:
        """Open the file beside ``path``; raises StorageError."""
        self.path = path
        self.frames = 0
        self.labels = 0
        self._partial = path.with_name(f".{path.name}.partial")
        self._ids = count(1)
        self._encode = msgspec.json.Encoder().encode
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.unlink(missing_ok=True)
            self._file = self._partial.open("xb")
        self._last = ""

    def write(self, name: str, detections: Detections) -> None:
        """Append one frame.

        Raises:
            StorageError: the disk is full.
            FrameNameError: the name is no relative path inside a folder.
            RecordError: a corner or score is not finite; JSON has no such number.
            ValueError: frames are out of order.
        """
        if self.frames and not self._last < check_frame_name(name):
            raise ValueError(f"frames must come sorted by name: {name!r} after {self._last!r}")
        if not (np.isfinite(detections.boxes).all() and np.isfinite(detections.scores).all()):
            raise RecordError(self.path, f"{name}: the detector gave a corner or score that is no finite number")
        labels = to_labels(detections, self._ids)
        line = self._encode(PredictedFrame(check_frame_name(name), labels))
        with storage_errors(self.path):
            self._file.write((b",\n" if self.frames else b"[\n") + line)
        self._last = name
        self.frames += 1
        self.labels += len(labels)

    def finish(self) -> None:
        """Complete the file and move it to its final name; raises StorageError."""
        with storage_errors(self.path):
            self._file.write(b"\n]\n" if self.frames else b"[]\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._partial.replace(self.path)

    def abandon(self) -> None:
        """Leave nothing of what was written."""
        with suppress(OSError):  # of what stands in the buffer and has no room on the disk
            self._file.close()
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)
