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


CLOSE = b"\n]\n"
"""Ends the list after every frame, to be overwritten by the next: a process that is killed leaves a whole list."""


class PredictionsWriter:
    """Streams frames to disk, one line each, so that memory does not grow with their number.

    Frames must come sorted by name. The file stands under its final name only when ``finish`` was called; ``abandon``
    keeps what there is as ``NAME.partial.json``, a whole JSON list.
    """

    def __init__(self, path: Path) -> None:
        """Open the file beside ``path``; raises StorageError."""
        self.path = path
        self.partial = path.with_name(f"{path.stem}.partial{path.suffix}")
        self.frames = 0
        self.labels = 0
        self._ids = count(1)
        self._encode = msgspec.json.Encoder().encode
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # No buffer: a frame counts as written when the disk has room for the whole of it.
            self._file = self.partial.open("wb", buffering=0)
        self._end = 0
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
        line = (b",\n" if self.frames else b"[\n") + line
        with storage_errors(self.path):
            self._put(line + CLOSE)
        self._end += len(line)
        self._last = name
        self.frames += 1
        self.labels += len(labels)

    def finish(self) -> None:
        """Complete the file and move it to its final name; raises StorageError."""
        with storage_errors(self.path):
            self._complete()
            self.partial.replace(self.path)

    def abandon(self) -> Path | None:
        """Close what there is; gives the partial file, or None where nothing was or could be kept of it."""
        try:
            self._complete()
            if self.frames:
                return self.partial
        except OSError:  # a disk so broken that not even a frame which was on it can be closed off
            self._file.close()
        with suppress(OSError):
            self.partial.unlink(missing_ok=True)
        return None

    def _put(self, data: bytes) -> None:
        """Write after the last whole frame."""
        self._file.seek(self._end)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _complete(self) -> None:
        """End the list after the last whole frame: that takes no more room than the file had before."""
        if self._file.closed:
            return
        end = CLOSE if self.frames else b"[]\n"
        self._put(end)
        self._file.truncate(self._end + len(end))
        os.fsync(self._file.fileno())
        self._file.close()
