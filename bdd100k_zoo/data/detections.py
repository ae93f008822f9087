"""The detections of one image, and the reader and the writer of predictions files."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import msgspec
import numpy as np
import numpy.typing as npt

from bdd100k_zoo.data.classes import CLASSES, class_indices
from bdd100k_zoo.data.scalabel import REGION_BIT, Box2D, Label, LabelFrame
from bdd100k_zoo.data.scalabel_reader import read_rows, stream_rows
from bdd100k_zoo.errors import InvalidFileError
from bdd100k_zoo.files import check_frame_name, storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from PIL.Image import Image

    from bdd100k_zoo.data.pixels import Channels, ImageInput
    from bdd100k_zoo.data.scalabel import FrameRows


class Detection(NamedTuple):
    """One object in an image."""

    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels; x2 and y2 are exclusive."""
    score: float
    """Confidence from 0 to 1."""
    name: str
    """The class, one of ``CLASSES``."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Detections:
    """Detections of one image, in pixel coordinates of the image after any EXIF rotation.

    Iteration and ``detections[i]`` give single detections; a slice, a mask or an array of indices gives ``Detections``.
    Conversions to other formats are in ``bdd100k_zoo.data.export``; ``read_detections`` reads them from ``det.json``.
    """

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

    @classmethod
    def empty(cls) -> Detections:
        """Return no detections."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    @property
    def names(self) -> list[str]:
        """The class of each detection."""
        return [CLASSES[index] for index in self.classes.tolist()]

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detection]:
        rows = zip(self.boxes.tolist(), self.scores.tolist(), self.names, strict=True)
        return (Detection(tuple(box), score, name) for box, score, name in rows)

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> Detection: ...
    @overload
    def __getitem__(self, index: slice | Sequence[bool] | Sequence[int] | npt.NDArray[Any]) -> Detections: ...
    def __getitem__(self, index: Any) -> Any:
        """Return one detection for a number, ``Detections`` for a slice, a mask [n] or indices."""
        if isinstance(index, slice):
            return Detections(self.boxes[index], self.scores[index], self.classes[index])
        if np.ndim(index):
            chosen = np.asarray(index, None if len(index) else np.intp)
            return Detections(self.boxes[chosen], self.scores[chosen], self.classes[chosen])
        return Detection(tuple(self.boxes[index].tolist()), self.scores[index].item(), CLASSES[self.classes[index]])

    def filter(self, *, min_score: float | None = None, classes: Iterable[str | int] | None = None) -> Detections:
        """Return the detections with at least this score and of these classes.

        Args:
            min_score: from 0 to 1; None for any.
            classes: names or indices; None for all.

        Raises:
            ZooError: there is no such class.
        """
        keep = np.ones(len(self), bool)
        if min_score is not None:
            keep &= self.scores >= min_score
        if classes is not None:
            keep &= np.isin(self.classes, class_indices(classes))
        return self[keep]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return one mapping per detection: ``class``, ``score`` and ``box`` [x1, y1, x2, y2], as Python values."""
        return [{"class": each.name, "score": each.score, "box": list(each.box)} for each in self]

    def draw(self, image: ImageInput, channels: Channels = "bgr") -> Image:
        """Return a copy of the image with the boxes drawn into it: a ``PIL.Image.Image`` in RGB.

        Args:
            image: the image that they were found in, in any form that a detector takes; see ``pixels.to_bgr``.
            channels: the order of an array's channels, ``bgr`` or ``rgb``.
        """
        from bdd100k_zoo.data.drawing.boxes import BoxMark, draw_boxes
        from bdd100k_zoo.data.pixels import to_pil

        rows = zip(self.boxes.tolist(), self.classes.tolist(), self.scores.tolist(), strict=True)
        marks = [BoxMark(tuple(box), index, score, "detection") for box, index, score in rows]
        return draw_boxes(to_pil(image, channels), marks)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in ("boxes", "scores", "classes"))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        counts = Counter(self.names)
        listed = ", ".join(f"{counts[name]} {name}" for name in CLASSES if name in counts)
        return f"Detections({len(self)}{listed and f': {listed}'})"

    def _repr_html_(self) -> str:
        """Return a table for notebooks, with the highest scores first."""
        cells = ("".join(f"<td>{cell}</td>" for cell in _format_row(each)) for each in sorted(self, key=_by_score))
        head = "".join(f"<th>{name}</th>" for name in ("class", "score", "x1", "y1", "x2", "y2"))
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _by_score(detection: Detection) -> float:
    return -detection.score


def _format_row(detection: Detection) -> tuple[str, ...]:
    return (detection.name, f"{detection.score:.3f}", *(f"{side:.1f}" for side in detection.box))


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


def read_detections(path: Path | str) -> Iterator[tuple[str, Detections]]:
    """Yield the name and the detections of each frame of a predictions file, the reverse of ``PredictionsWriter``.

    They come in the order of the file: by class, then by descending score. Corners and scores are those of the
    detector, in float32: 1 is added to the x2 and y2 of the file. Categories count as in the official evaluation:
    ``other vehicle`` as car.

    Args:
        path: ``det.json`` of a run, or another file or folder of frames that ``eval`` reads. COCO results have no
            names of images; ``convert`` adds them.

    Raises:
        StorageError: the file cannot be read.
        InputsError: it is no predictions file, or an entry is invalid.
    """
    rows, *_ = read_rows(Path(path), scored=True, lenient=True)
    yield from map(_to_detections, rows)


def stream_detections(path: Path) -> Iterator[tuple[str, Detections]]:
    """Yield what ``read_detections`` does from a file that ``PredictionsWriter`` wrote, in constant memory.

    Raises:
        StorageError: the file cannot be read.
        InvalidFileError: it does not have one frame a line, ends early, or holds what is no detection.
    """
    yield from map(_to_detections, stream_rows(path))


def _to_detections(row: FrameRows) -> tuple[str, Detections]:
    if row.fault:
        raise row.fault
    boxes = np.frombuffer(row.boxes).reshape(-1, 4) + np.array([0.0, 0.0, 1.0, 1.0])
    classes = np.frombuffer(row.codes, np.uint8) & ~np.uint8(REGION_BIT)
    scores = np.frombuffer(row.scores).astype(np.float32)
    return row.name, Detections(boxes.astype(np.float32), scores, classes.astype(np.int64))


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
