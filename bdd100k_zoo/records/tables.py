"""Labels and predictions as columns, read straight from Scalabel's JSON; the form in which they are scored.

Formats, names and rules are those of ``scalabel`` 0.3.1 and ``bdd100k`` 1.0.1. Strict reading refuses what the official
tool hides; lenient reading lets the same through, and tells it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import msgspec
import numpy as np
import numpy.typing as npt

from bdd100k_zoo.errors import WrongFileError
from bdd100k_zoo.records import careful
from bdd100k_zoo.records.box2d import Box2D
from bdd100k_zoo.records.findings import Findings, LetThrough, merged
from bdd100k_zoo.records.rows import CATEGORY_CODES, REGION, THIN, FrameAttributes, LabelRows, PredictionRows
from bdd100k_zoo.records.sources import LABELS, json_files, read_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class LabelTable:
    """Labels of all frames; the frames stable-sorted by name, as the official tool numbers them."""

    path: Path
    frames: tuple[str, ...]
    videos: tuple[str | None, ...]
    attributes: tuple[FrameAttributes | None, ...]
    """Weather, scene and time of day by frame."""
    starts: Ints
    """[frames + 1]: the rows of frame i are ``starts[i]:starts[i + 1]``."""
    classes: npt.NDArray[np.uint8]
    """[n]: indices into ``categories.CLASSES``."""
    crowd: npt.NDArray[np.bool_]
    """[n]: crowds and regions to ignore."""
    boxes: Floats
    """[n, 4]: x, y, width, height in pixels; width is x2 - x1 + 1, and height alike."""
    let_through: tuple[LetThrough, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class PredictionTable:
    """Predictions of all frames, in the order of the file."""

    path: Path
    frames: tuple[str, ...]
    videos: tuple[str | None, ...]
    starts: Ints
    """[frames + 1]: the rows of frame i are ``starts[i]:starts[i + 1]``."""
    classes: npt.NDArray[np.uint8]
    """[n]: indices into ``categories.CLASSES``."""
    scores: Floats
    """[n]."""
    boxes: Floats
    """[n, 4]: x, y, width, height in pixels; width is x2 - x1 + 1, and height alike."""
    let_through: tuple[LetThrough, ...] = ()


def read_label_table(path: Path, *, lenient: bool = False) -> LabelTable:
    """Read labels: a JSON file or a folder of them, each a list of frames or an object with ``frames``.

    Raises:
        StorageError: it cannot be read.
        InputsError: it is no such file, or holds what cannot be scored; unless ``lenient``, also what the official
            tool hides: boxes with x2 < x1 or y2 < y1, labels that all have scores.
    """
    rows, let_through = _read(path, _label_rows, lenient)
    if not lenient and any(frame.codes for frame in rows) and not any(frame.unscored for frame in rows):
        raise WrongFileError(path, LABELS, "predictions: every label has a score")
    rows.sort(key=attrgetter("name"))
    codes = np.frombuffer(b"".join(frame.codes for frame in rows), np.uint8)
    marked = np.frombuffer(b"".join(frame.crowd for frame in rows), np.bool_)
    return LabelTable(
        path=path,
        frames=tuple(frame.name for frame in rows),
        videos=tuple(frame.video for frame in rows),
        attributes=tuple(frame.attributes for frame in rows),
        starts=_starts(rows),
        classes=codes & ~np.uint8(REGION),
        crowd=marked | (codes >= REGION),
        boxes=_boxes([frame.corners for frame in rows]),
        let_through=let_through,
    )


def read_prediction_table(path: Path, *, lenient: bool = False) -> PredictionTable:
    """Read predictions: a JSON file or a folder of them, each a list of frames or an object with ``frames``.

    Raises:
        StorageError: it cannot be read.
        InputsError: it is no such file, or holds what cannot be scored; unless ``lenient``, also what the official
            tool hides: boxes of negative size (x2 < x1 - 1 or y2 < y1 - 1), scores that are not finite, predictions
            without a box.
    """
    rows, let_through = _read(path, _prediction_rows, lenient)
    codes = np.frombuffer(b"".join(frame.codes for frame in rows), np.uint8)
    return PredictionTable(
        path=path,
        frames=tuple(frame.name for frame in rows),
        videos=tuple(frame.video for frame in rows),
        starts=_starts(rows),
        classes=codes & ~np.uint8(REGION),
        scores=_joined([frame.scores for frame in rows]),
        boxes=_boxes([frame.corners for frame in rows]),
        let_through=let_through,
    )


Rows = TypeVar("Rows", LabelRows, PredictionRows)


def _read(
    path: Path, read_file: Callable[[Path, Findings], list[Rows]], lenient: bool
) -> tuple[list[Rows], tuple[LetThrough, ...]]:
    rows: list[Rows] = []
    told: list[LetThrough] = []
    for file in json_files(path):
        findings = Findings()
        rows += read_file(file, findings)
        if not lenient:
            findings.refuse()
        told += findings.summary()
    return rows, merged(told)


def _label_rows(path: Path, findings: Findings) -> list[LabelRows]:
    content = read_bytes(path)
    rows = _decode_labels(content)
    return careful.read_label_rows(path, content, findings) if rows is None else rows


def _prediction_rows(path: Path, findings: Findings) -> list[PredictionRows]:
    content = read_bytes(path)
    rows = _decode_predictions(content)
    return careful.read_prediction_rows(path, content, findings) if rows is None else rows


def _starts(rows: Sequence[LabelRows] | Sequence[PredictionRows]) -> Ints:
    return np.array([0, *accumulate(len(frame.codes) for frame in rows)], np.int64)


def _joined(arrays: list[Floats]) -> Floats:
    return np.concatenate(arrays) if arrays else np.zeros(0)


def _boxes(corners: list[Floats]) -> Floats:
    """Corners by frame, joined and made x, y, width, height in the official tool's order of operations."""
    boxes = _joined(corners).reshape(-1, 4)
    boxes[:, 2:] -= boxes[:, :2]
    boxes[:, 2:] += 1
    return boxes


if TYPE_CHECKING:
    Category = str
else:
    Category = Literal[tuple(CATEGORY_CODES)]

_category, _score, _box = attrgetter("category"), attrgetter("score"), attrgetter("box2d")
_corners = attrgetter("x1", "y1", "x2", "y2")
_code = dict(CATEGORY_CODES).__getitem__


class _Marks(msgspec.Struct, frozen=True, gc=False):
    crowd: bool = False
    ignored: bool = False


class _Label(msgspec.Struct, frozen=True, gc=False):
    id: msgspec.Raw
    category: Category
    box2d: Box2D | None = None
    attributes: _Marks | None = None
    score: float | None = None


class _Prediction(msgspec.Struct, frozen=True, gc=False):
    id: msgspec.Raw
    category: Category
    score: float
    box2d: Box2D


class _LabelFrame(msgspec.Struct, gc=False):
    """Decoded; its labels give way to rows at once, so that memory never holds them all."""

    name: str | int
    labels: list[_Label] | None = None
    videoName: str | int | None = None  # noqa: N815  (the format's spelling)
    attributes: FrameAttributes | None = None

    def __post_init__(self) -> None:
        self.labels = cast("Any", _pack_labels(self, self.labels or []))


class _PredictionFrame(msgspec.Struct, gc=False):
    """Decoded; its labels give way to rows at once, so that memory never holds them all."""

    name: str | int
    labels: list[_Prediction] | None = None
    videoName: str | int | None = None  # noqa: N815

    def __post_init__(self) -> None:
        self.labels = cast("Any", _pack_predictions(self, self.labels or []))


def _pack_labels(frame: _LabelFrame, labels: list[_Label]) -> LabelRows:
    boxed = [label for label in labels if label.box2d is not None]
    marks = [label.attributes for label in boxed]
    return LabelRows(
        str(frame.name),
        _text(frame.videoName),
        frame.attributes,
        bytes(map(_code, map(_category, boxed))),
        bytes([mark is not None and (mark.crowd or mark.ignored) for mark in marks]),
        _pack_boxes(boxed),
        any(label.score is None for label in labels),
    )


def _pack_predictions(frame: _PredictionFrame, labels: list[_Prediction]) -> PredictionRows:
    return PredictionRows(
        str(frame.name),
        _text(frame.videoName),
        bytes(map(_code, map(_category, labels))),
        np.fromiter(map(_score, labels), np.float64, len(labels)),
        _pack_boxes(labels),
    )


def _pack_boxes(labels: Sequence[_Label] | Sequence[_Prediction]) -> Floats:
    return np.fromiter(chain.from_iterable(map(_corners, map(_box, labels))), np.float64, 4 * len(labels))


def _text(name: str | int | None) -> str | None:
    return None if name is None else str(name)


class _Labels(msgspec.Struct, gc=False):
    frames: list[_LabelFrame]


class _Predictions(msgspec.Struct, gc=False):
    frames: list[_PredictionFrame]


_decode_label_frames = msgspec.json.Decoder(list[_LabelFrame] | _Labels).decode
_decode_prediction_frames = msgspec.json.Decoder(list[_PredictionFrame] | _Predictions).decode


def _decode_labels(content: bytes) -> list[LabelRows] | None:
    """Decode a labels file; None where anything is odd."""
    try:
        document = _decode_label_frames(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    frames = document.frames if isinstance(document, _Labels) else document
    rows = [cast("LabelRows", frame.labels) for frame in frames]
    return rows if _sound((frame.corners for frame in rows), slack=0) else None


def _decode_predictions(content: bytes) -> list[PredictionRows] | None:
    """Decode a predictions file; None where anything is odd."""
    try:
        document = _decode_prediction_frames(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    frames = document.frames if isinstance(document, _Predictions) else document
    rows = [cast("PredictionRows", frame.labels) for frame in frames]
    return rows if _sound((frame.corners for frame in rows), slack=THIN) else None


def _sound(corners: Iterable[Floats], slack: float) -> bool:
    """Whether all boxes have x2 >= x1 - slack and y2 alike; JSON numbers are finite."""
    boxes = _joined(list(corners)).reshape(-1, 4)
    return bool((boxes[:, 2:] >= boxes[:, :2] - slack).all())
