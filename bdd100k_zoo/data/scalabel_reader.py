"""Reading files of Scalabel frames, for all commands.

A file, or each ``*.json`` file of a folder, is decoded in one go into typed records: the fast path. If that fails,
because of another form or of a fault, it is decoded into plain documents, converted to the current form (``formats``)
and read frame by frame or value by value (``scalabel_checks``): the careful path, which names the fault if it is one.
Five functions read for the commands:

- ``read_rows``: the boxes of labels or predictions as columns, for scoring, reports and pictures;
- ``stream_rows``: the same of a predictions file that this package wrote, in constant memory, for export;
- ``read_frames``: labels or predictions as records with all their fields, for conversion;
- ``read_label_frames``: the same of labels, for training;
- ``read_loose_frames``: predictions whose values are not checked, for submission, which reports every fault itself.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from math import isfinite
from struct import Struct
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Raw

from bdd100k_zoo.data.formats import (
    CORNERS,
    FRAMES,
    LABELS,
    PREDICTIONS,
    FrameDocuments,
    decode_json,
    json_files,
    to_frames,
)
from bdd100k_zoo.data.scalabel import (
    BOXLESS_CATEGORIES,
    CATEGORY_CODES,
    Box2D,
    FrameAttributes,
    FrameRows,
    LabelFrame,
    LooseFrame,
    PlainFrame,
    are_normalised,
    to_bbox,
)
from bdd100k_zoo.data.scalabel_checks import BOX_SLACK, check_rows
from bdd100k_zoo.data.validation import (
    NORMALISED,
    ValidationIssues,
    frame_error,
    label_error,
    printable,
    unlikely_boxes_error,
)
from bdd100k_zoo.errors import InvalidFileError
from bdd100k_zoo.files import check_frame_name, read_bytes, storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bdd100k_zoo.data.validation import IssueSummary

FrameType = TypeVar("FrameType")


class ScalabelDataset(msgspec.Struct, Generic[FrameType], gc=False):
    """The outer form that Scalabel itself writes; a bare list of frames is the other one."""

    frames: list[FrameType]


@dataclass(frozen=True, slots=True)
class FrameFile(Generic[FrameType]):
    """One decoded file of frames."""

    path: Path
    content: bytes
    expected: str
    records: list[FrameType] | None
    """Its frames; None if the file is in another form, or if not all frames are valid."""

    def to_documents(self) -> FrameDocuments:
        """Return its frames as plain documents, whatever its form; raises InputsError."""
        return to_frames(self.path, decode_json(self.path, self.content, self.expected), self.expected)


def decode_files(path: Path, frame_type: type[FrameType], expected: str) -> Iterator[FrameFile[FrameType]]:
    """Decode a file of frames, or the files of a folder, one after the other.

    Args:
        path: a JSON file in any form that ``formats`` lists, or a folder of such files.
        frame_type: the type of a frame, a ``PlainFrame``.
        expected: what to call the expected format in errors.

    Raises:
        StorageError: a file cannot be read.
        InputsError: the folder holds no such file.
    """
    decoder = msgspec.json.Decoder(list[frame_type] | ScalabelDataset[frame_type])  # type: ignore[valid-type]
    for file in json_files(path):
        content = read_bytes(file)
        try:
            document = decoder.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):  # KeyError: see _pack
            records = None
        else:
            records = document.frames if isinstance(document, ScalabelDataset) else document
        yield FrameFile(file, content, expected, records)


# Records


def read_label_frames(path: Path) -> tuple[LabelFrame, ...]:
    """Read labels for training.

    Raises:
        StorageError: they cannot be read.
        InputsError: the file has another format, a frame or label is invalid, or all boxes lie within 0 to 1.
        InvalidFileError: a frame's name is no relative path inside a folder.
    """
    frames = read_frames(path, LABELS)
    for frame in frames:
        check_frame_name(frame.name)
    boxes = (label.box2d for frame in frames for label in frame.labels if label.box2d)
    if are_normalised(msgspec.structs.astuple(to_bbox(box)) for box in boxes):
        raise unlikely_boxes_error(path, NORMALISED)
    return frames


def read_frames(path: Path, expected: str = FRAMES) -> tuple[LabelFrame, ...]:
    """Read labels or predictions with all their fields; ``expected`` is what to call them in errors.

    Raises:
        StorageError: they cannot be read.
        InputsError: the file has another format, or a frame or label is invalid.
    """
    frames: list[LabelFrame] = []
    for file in decode_files(path, LabelFrame, expected):
        if file.records is None:
            documents = file.to_documents().frames
            frames += [_convert_document(file.path, number, each) for number, each in enumerate(documents, 1)]
        else:
            frames += file.records
    return tuple(frames)


def _convert_document(path: Path, number: int, document: Any) -> LabelFrame:
    """Convert a plain document without loss: values keep their types, unlike in ``check_rows``."""
    name = f"no. {number}"
    if isinstance(document, dict):
        name = printable(document.get("name", name))
        if document.get("videoName") is not None:
            document["videoName"] = str(document["videoName"])
    try:
        frame = msgspec.convert(document, LabelFrame, strict=False)
    except (msgspec.ValidationError, RecursionError) as error:
        raise frame_error(path, name, str(error)) from error
    for place, label in enumerate(frame.labels, 1):
        for corner in CORNERS:
            if label.box2d and not isfinite(getattr(label.box2d, corner)):
                raise label_error(path, name, f"no. {place}", f"box2d.{corner} is not a finite number")
    return frame


# Predictions whose values are not checked


class _NamedFrame(PlainFrame, frozen=True):
    """The only field that is checked when the file is first read."""

    name: str | int | float


def read_loose_frames(path: Path) -> FrameDocuments:
    """Read a predictions file, or a folder of such files, without decoding the frames.

    ``decode_loose_frame`` decodes them one by one, so that memory holds the labels of one frame only.

    Raises:
        StorageError: the file cannot be read.
        InputsError: it holds no frames.
    """
    frames: list[Any] = []
    is_flat = False
    for file in decode_files(path, _NamedFrame, PREDICTIONS):
        if file.records is None:
            documents = file.to_documents()
            frames += documents.frames
            is_flat |= documents.flat
        else:
            document = msgspec.json.decode(file.content, type=list[Raw] | ScalabelDataset[Raw])
            frames += document.frames if isinstance(document, ScalabelDataset) else document
    return FrameDocuments(frames, is_flat)


def decode_loose_frame(frame: Raw | Any) -> LooseFrame | str:
    """Return one of these frames, decoded; if it is invalid, the reason."""
    try:
        if isinstance(frame, Raw):
            return msgspec.json.decode(frame, type=LooseFrame)
        return msgspec.convert(frame, LooseFrame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return str(error)


# Columns


def read_rows(path: Path, *, scored: bool, lenient: bool) -> tuple[list[FrameRows], list[IssueSummary], bool]:
    """Read the boxes of labels, or of predictions, which are ``scored``.

    Returns:
        The boxes by frame, what was accepted leniently, and whether a file lists boxes, not frames, so that images
        without a box have no frame.

    Raises:
        StorageError: the file cannot be read.
        InputsError: it has another format or holds what cannot be scored; unless ``lenient``, also what the official
            evaluator accepts silently.
    """
    rows: list[FrameRows] = []
    let_through: list[IssueSummary] = []
    is_flat = False
    for file in decode_files(path, _FastFrame, PREDICTIONS if scored else LABELS):
        issues = ValidationIssues()
        found = _fast_rows(file.records, scored=scored)
        if found is None:
            documents = file.to_documents()
            found = check_rows(file.path, documents.frames, issues, scored=scored)
            is_flat |= documents.flat
        if not lenient:
            issues.raise_first()
        rows += found
        let_through += issues.summarise()
    return rows, let_through, is_flat


def stream_rows(path: Path) -> Iterator[FrameRows]:
    """Yield the boxes of a predictions file that ``PredictionsWriter`` wrote: one frame a line, in constant memory.

    Raises:
        StorageError: the file cannot be read.
        InvalidFileError: it is not in that form, or ends early.
    """
    hint = "`bdd100k-zoo predict --fresh` writes it anew; `bdd100k-zoo convert` reads other forms"
    decode = msgspec.json.Decoder(_FastFrame).decode
    is_first, is_whole = True, False
    with storage_errors(path), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if is_first and line in (b"[\n", b"[]\n"):
                is_first, is_whole = False, line == b"[]\n"
                continue
            if line == b"]\n":
                is_whole = True
                continue
            try:
                row: Any = decode(line.rstrip(b",\n")).labels
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError) as error:
                problem = f"line {number} is no frame of a run's predictions: {error}"
                raise InvalidFileError(path, problem, hint) from error
            if is_first or is_whole or row.unscored or row.boxless:
                raise InvalidFileError(path, f"line {number} is not as `predict` writes it", hint)
            yield row
    if not is_whole:
        raise InvalidFileError(path, "ends before its last line: it was not written completely", hint)


if TYPE_CHECKING:
    Category = str
else:
    Category = Literal[(*CATEGORY_CODES, *BOXLESS_CATEGORIES)]


class _Marks(msgspec.Struct, frozen=True, gc=False):
    crowd: bool = False
    ignored: bool = False


class _FastLabel(msgspec.Struct, frozen=True, gc=False):
    id: Raw
    category: Category
    box2d: Box2D | None = None
    attributes: _Marks | None = None
    score: float | None = None


class _FastFrame(PlainFrame, frozen=True, gc=False):
    """A frame whose labels are replaced by rows as soon as it is decoded, so that memory never holds all labels."""

    name: str | int
    labels: list[_FastLabel] | None = None
    videoName: str | int | None = None  # noqa: N815  (the format's spelling)
    attributes: FrameAttributes | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "labels", _pack(self, self.labels or []))


_pack_corners = Struct("4d").pack


def _pack(frame: _FastFrame, labels: list[_FastLabel]) -> FrameRows:
    """Pack the labels of a frame into columns; raises KeyError for a box of a category that has none."""
    boxed = [label for label in labels if label.box2d is not None]
    boxes = [label.box2d for label in boxed if label.box2d is not None]
    scores = [label.score for label in labels]
    is_unscored = None in scores
    return FrameRows(
        str(frame.name),
        None if frame.videoName is None else str(frame.videoName),
        frame.attributes,
        codes=bytes([CATEGORY_CODES[label.category] for label in boxed]),
        crowd=bytes([(marks := label.attributes) is not None and (marks.crowd or marks.ignored) for label in boxed]),
        scores=b"" if is_unscored else array("d", scores).tobytes(),  # type: ignore[type-var]  # there is no None
        boxes=b"".join([_pack_corners(box.x1, box.y1, box.x2, box.y2) for box in boxes]),
        unscored=is_unscored,
        boxless=len(labels) - len(boxed),
    )


def _fast_rows(records: Sequence[_FastFrame] | None, *, scored: bool) -> list[FrameRows] | None:
    """Return the rows of decoded frames; None if one has an issue, which the careful path names."""
    if records is None:
        return None
    import numpy as np  # training reads labels without it

    rows: list[Any] = [frame.labels for frame in records]
    if scored and any(frame.unscored or frame.boxless for frame in rows):
        return None
    boxes = np.frombuffer(b"".join([frame.boxes for frame in rows])).reshape(-1, 4)
    slack = BOX_SLACK if scored else 0
    return rows if (boxes[:, 2:] >= boxes[:, :2] - slack).all() else None
