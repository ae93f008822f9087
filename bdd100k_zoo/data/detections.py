"""The detections of one image, and the writer of predictions files."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.scalabel import Box2D, Label, LabelFrame
from bdd100k_zoo.errors import InvalidFileError
from bdd100k_zoo.files import check_frame_name, storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Detections:
    """Detections of one image, in pixel coordinates of the image after any EXIF rotation."""

    boxes: npt.NDArray[np.float32]
    """[n, 4]: x1, y1, x2, y2 of the corners, in pixels; x2 and y2 are exclusive."""
    scores: npt.NDArray[np.float32]
    """[n]: confidence from 0 to 1."""
    classes: npt.NDArray[np.int64]
    """[n]: indices into ``CLASSES``."""

    def __post_init__(self) -> None:
        """Check shapes and types, since a mix-up would go unnoticed everywhere else."""
        _expect("boxes", self.boxes, np.float32, (len(self.boxes), 4))
        _expect("scores", self.scores, np.float32, (len(self.boxes),))
        _expect("classes", self.classes, np.int64, (len(self.boxes),))
        if len(self) and not 0 <= self.classes.min() <= self.classes.max() < len(CLASSES):
            raise ValueError(f"classes: expected indices from 0 to {len(CLASSES) - 1}")

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def empty(cls) -> Detections:
        """Return no detections."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def _expect(name: str, array: npt.NDArray[np.generic], dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        expected = f"{np.dtype(dtype)} {list(shape)}"
        raise ValueError(f"{name}: expected {expected}, found {array.dtype} {list(array.shape)}")


def to_labels(detections: Detections, ids: Iterator[int]) -> tuple[Label, ...]:
    """Convert detections to labels, sorted by class, then by descending score; equal scores keep their order.

    Corners and scores are widened to float64 first; then 1 is subtracted from x2 and y2, as the format defines them.
    """
    order = np.lexsort((-detections.scores, detections.classes))
    corners = detections.boxes[order].astype(np.float64) - (0.0, 0.0, 1.0, 1.0)
    scores = detections.scores[order].astype(np.float64).tolist()
    classes = detections.classes[order].tolist()
    return tuple(
        Label(str(next(ids)), CLASSES[index], score, Box2D(*box))
        for index, score, box in zip(classes, scores, corners.tolist(), strict=True)
    )


class PredictionsWriter:
    """Writes frames to a predictions file, one a line, in constant memory.

    Frames must come sorted by name. The file gets its final name in ``finish``; until then it is ``.NAME.partial``
    beside it, which the next writer of that name overwrites.
    """

    def __init__(self, path: Path) -> None:
        """Open the partial file beside ``path``; raises StorageError."""
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
            InvalidFileError: the name is no relative path inside a folder, or a corner or score is not finite, which
                JSON cannot represent.
            ValueError: frames are out of order.
        """
        check_frame_name(name)
        if self.frames and not self._last < name:
            raise ValueError(f"frames must come sorted by name: {name!r} after {self._last!r}")
        if not (np.isfinite(detections.boxes).all() and np.isfinite(detections.scores).all()):
            problem = f"{name}: the detector returned a corner or score that is not finite"
            raise InvalidFileError(self.path, problem, "check the weights and --cfg-options; try --precision fp32")
        labels = to_labels(detections, self._ids)
        line = self._encode(LabelFrame(name, given_labels=labels))
        with storage_errors(self.path):
            self._file.write((b",\n" if self.frames else b"[\n") + line)
        self._last = name
        self.frames += 1
        self.labels += len(labels)

    def finish(self) -> None:
        """Complete the file and rename it; raises StorageError."""
        with storage_errors(self.path):
            self._file.write(b"\n]\n" if self.frames else b"[]\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._partial.replace(self.path)

    def abandon(self) -> None:
        """Delete the partial file."""
        with suppress(OSError):  # closing writes the buffer, for which the disk may have no room
            self._file.close()
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)
