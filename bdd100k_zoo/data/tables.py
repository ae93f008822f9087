"""Labels and predictions as columns, read straight from Scalabel's JSON; the form in which they are scored.

Formats, names and rules are those of ``scalabel`` 0.3.1 and ``bdd100k`` 1.0.1. Strict reading refuses what the official
tool hides; lenient reading lets the same through, and tells it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import accumulate, chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UnsetType

from bdd100k_zoo.data import scalabel
from bdd100k_zoo.data.coco import (
    Bbox,
    CocoLabels,
    CocoResult,
    FaultCollector,
    ScalabelFrame,
    ScalabelLabel,
    is_crowd,
    read_coco,
    to_bbox,
)
from bdd100k_zoo.data.coco_convert import labels_from_coco, read_coco_images, resolve_image_ids, results_from_coco
from bdd100k_zoo.data.formats import (
    LABELS,
    PREDICTIONS,
    PlainFrame,
    describe_format,
    detect_format,
    read_frames,
)
from bdd100k_zoo.data.scalabel import (
    BOX_SLACK,
    BOXLESS_CATEGORIES,
    CATEGORY_CODES,
    NO_BOX_MESSAGE,
    NORMALISED_MESSAGE,
    REGION_BIT,
    Box2D,
    FrameAttributes,
    LabelRows,
    PredictionRows,
)
from bdd100k_zoo.data.validation import (
    IssueSummary,
    ValidationIssue,
    ValidationIssues,
    merge_issue_summaries,
    printable,
)
from bdd100k_zoo.errors import RecordError, UnlikelyBoxesError, WrongFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from bdd100k_zoo.errors import BadLabelError

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
    """[n]: indices into ``CLASSES``."""
    crowd: npt.NDArray[np.bool_]
    """[n]: crowds and regions to ignore."""
    boxes: Floats
    """[n, 4]: x, y, width, height in pixels; width is x2 - x1 + 1, and height alike."""
    let_through: tuple[IssueSummary, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class PredictionTable:
    """Predictions of all frames, in the order of the file."""

    path: Path
    frames: tuple[str, ...]
    videos: tuple[str | None, ...]
    starts: Ints
    """[frames + 1]: the rows of frame i are ``starts[i]:starts[i + 1]``."""
    classes: npt.NDArray[np.uint8]
    """[n]: indices into ``CLASSES``."""
    scores: Floats
    """[n]."""
    boxes: Floats
    """[n, 4]: x, y, width, height in pixels; width is x2 - x1 + 1, and height alike."""
    let_through: tuple[IssueSummary, ...] = ()
    flat: bool = False
    """The file lists boxes, not frames: a frame that it lacks has no box."""
    faults: Mapping[int, BadLabelError] = field(default_factory=dict)
    """By frame: a prediction that stops the official tool where the frame is labelled."""


def read_label_table(path: Path, *, lenient: bool = False) -> LabelTable:
    """Read labels in any of the forms of ``formats``; labels without a box are counted, and not scored.

    Raises:
        StorageError: it cannot be read.
        InputsError: it is no such file, or holds what cannot be scored; unless ``lenient``, also what the official
            tool hides: boxes with x2 < x1 or y2 < y1, corners that are not finite, labels that all have scores.
    """
    rows: list[LabelRows] = []
    told: list[IssueSummary] = []
    for file in read_frames(path, _LabelFrame, LABELS):
        findings = ValidationIssues()
        decoded = _packed(file.records, slack=0)
        rows += scalabel.read_label_rows(file.path, file.plain().frames, findings) if decoded is None else decoded
        told += _told(findings, lenient)
    if not lenient and any(frame.codes for frame in rows) and not any(frame.unscored for frame in rows):
        raise WrongFileError(path, LABELS, "predictions: every label has a score")
    told += _without_box(path, rows)
    rows.sort(key=attrgetter("name"))
    codes = np.frombuffer(b"".join(frame.codes for frame in rows), np.uint8)
    marked = np.frombuffer(b"".join(frame.crowd for frame in rows), np.bool_)
    return LabelTable(
        path=path,
        frames=tuple(frame.name for frame in rows),
        videos=tuple(frame.video for frame in rows),
        attributes=tuple(frame.attributes for frame in rows),
        starts=_starts(rows),
        classes=codes & ~np.uint8(REGION_BIT),
        crowd=marked | (codes >= REGION_BIT),
        boxes=_boxes([frame.corners for frame in rows]),
        let_through=merge_issue_summaries(told),
    )


def read_prediction_table(path: Path, *, lenient: bool = False) -> PredictionTable:
    """Read predictions in any of the forms of ``formats``.

    Raises:
        StorageError: it cannot be read.
        InputsError: it is no such file, or holds what cannot be scored; unless ``lenient``, also what the official
            tool hides: boxes of negative size (x2 < x1 - 1 or y2 < y1 - 1), corners and scores that are not finite,
            predictions without a box or without a score.
    """
    rows: list[PredictionRows] = []
    told: list[IssueSummary] = []
    flat = False
    for file in read_frames(path, _PredictionFrame, PREDICTIONS):
        findings = ValidationIssues()
        decoded = _packed(file.records, slack=BOX_SLACK)
        if decoded is None:
            plain = file.plain()
            decoded = scalabel.read_prediction_rows(file.path, plain.frames, findings)
            flat |= plain.flat
        rows += decoded
        told += _told(findings, lenient)
    codes = np.frombuffer(b"".join(frame.codes for frame in rows), np.uint8)
    return PredictionTable(
        path=path,
        frames=tuple(frame.name for frame in rows),
        videos=tuple(frame.video for frame in rows),
        starts=_starts(rows),
        classes=codes & ~np.uint8(REGION_BIT),
        scores=_joined([frame.scores for frame in rows]),
        boxes=_boxes([frame.corners for frame in rows]),
        let_through=merge_issue_summaries(told),
        flat=flat,
        faults={place: frame.fault for place, frame in enumerate(rows) if frame.fault},
    )


def check_boxes(table: LabelTable | PredictionTable, *, lenient: bool = False) -> tuple[IssueSummary, ...]:
    """Check that labels or predictions have boxes, and that these are in pixels.

    Returns:
        What is wrong, where it is ``lenient``.

    Raises:
        UnlikelyBoxesError: there is no box, or all lie within 0 to 1; only if not ``lenient``.
    """
    if not len(table.boxes):
        kind, problem = "files without a box", NO_BOX_MESSAGE
    elif _are_normalised(table.boxes):
        kind, problem = "files whose boxes all lie within 0 to 1", NORMALISED_MESSAGE
    else:
        return ()
    error = UnlikelyBoxesError(table.path, problem)
    if not lenient:
        raise error
    return (IssueSummary(kind, 1, (str(error),)),)


def _are_normalised(boxes: Floats) -> bool:
    """Return whether all corners lie within 0 to 1; a width is x2 - x1 + 1, or of COCO's files x2 - x1."""
    if boxes[:, :2].max() > 1:
        return False
    with np.errstate(invalid="ignore"):
        low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    return bool(((low >= 0) & (low <= 1) & (high >= 0) & (high <= 2 + 1e-9)).all())


def _without_box(path: Path, rows: Sequence[LabelRows]) -> Iterable[IssueSummary]:
    frames = [frame for frame in rows if frame.boxless]
    if frames:
        examples = tuple(f"{path}: frame {printable(frame.name)}: {frame.boxless}" for frame in frames[:3])
        yield IssueSummary("labels without a box, which are not scored", sum(f.boxless for f in frames), examples)


def _told(findings: ValidationIssues, lenient: bool) -> tuple[IssueSummary, ...]:
    if not lenient:
        findings.refuse()
    return findings.summary()


def _starts(rows: Sequence[LabelRows] | Sequence[PredictionRows]) -> Ints:
    return np.array([0, *accumulate(len(frame.codes) for frame in rows)], np.int64)


def _joined(arrays: list[Floats]) -> Floats:
    return np.concatenate(arrays) if arrays else np.zeros(0)


def _boxes(corners: list[Floats]) -> Floats:
    """Corners by frame, joined and made x, y, width, height in the official tool's order of operations."""
    boxes = _joined(corners).reshape(-1, 4)
    with np.errstate(invalid="ignore", over="ignore"):
        boxes[:, 2:] -= boxes[:, :2]
        boxes[:, 2:] += 1
    return boxes


if TYPE_CHECKING:
    Category = str
    LabelCategory = str
else:
    Category = Literal[tuple(CATEGORY_CODES)]
    LabelCategory = Literal[(*CATEGORY_CODES, *BOXLESS_CATEGORIES)]

_category, _score, _box = attrgetter("category"), attrgetter("score"), attrgetter("box2d")
_corners = attrgetter("x1", "y1", "x2", "y2")
_code = dict(CATEGORY_CODES).__getitem__


class _Marks(msgspec.Struct, frozen=True, gc=False):
    crowd: bool = False
    ignored: bool = False


class _Label(msgspec.Struct, frozen=True, gc=False):
    id: msgspec.Raw
    category: LabelCategory
    box2d: Box2D | None = None
    attributes: _Marks | None = None
    score: float | None = None


class _Prediction(msgspec.Struct, frozen=True, gc=False):
    id: msgspec.Raw
    category: Category
    score: float
    box2d: Box2D


class _LabelFrame(PlainFrame, frozen=True, gc=False):
    """Decoded; its labels give way to rows at once, so that memory never holds them all."""

    name: str | int
    labels: list[_Label] | None = None
    videoName: str | int | None = None  # noqa: N815  (the format's spelling)
    attributes: FrameAttributes | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "labels", _pack_labels(self, self.labels or []))


class _PredictionFrame(PlainFrame, frozen=True, gc=False):
    """Decoded; its labels give way to rows at once, so that memory never holds them all."""

    name: str | int
    labels: list[_Prediction] | None = None
    videoName: str | int | None = None  # noqa: N815

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "labels", _pack_predictions(self, self.labels or []))


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
        len(labels) - len(boxed),
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


def _packed(records: Sequence[_LabelFrame] | Sequence[_PredictionFrame] | None, slack: float) -> list[Any] | None:
    """Return the rows of decoded frames; None where a box is odd: x2 < x1 - slack, or y2 alike."""
    if records is None:
        return None
    rows: list[Any] = [frame.labels for frame in records]
    boxes = _joined([frame.corners for frame in rows]).reshape(-1, 4)
    return rows if (boxes[:, 2:] >= boxes[:, :2] - slack).all() else None


# Any format


def read_coco_labels(path: Path, *, lenient: bool = False) -> LabelTable:
    """Read COCO labels as the table that Scalabel's labels give; the boxes are the file's, to the bit.

    Raises:
        StorageError: the file cannot be read.
        RecordError: it is no labels file of COCO's, its ids and names do not fit together, or it has categories that
            the benchmark lacks; unless ``lenient``, also boxes of negative size.
        FrameNameError: an image's name is no relative path inside a folder.
    """
    shape = detect_format(path)
    if shape != "COCO labels":
        raise RecordError(path, f"expected COCO labels, found {describe_format(shape)}")
    frames = labels_from_coco(path, read_coco(path, CocoLabels))
    columns = _columns(path, frames, lenient=lenient)
    labels = (label for frame in frames for label in frame.labels if label.box2d)
    return LabelTable(
        path=path,
        attributes=tuple(_conditions(frame.attributes) for frame in frames),
        crowd=np.array([is_crowd(label.category, label.attributes) for label in labels], np.bool_),
        **columns,
    )


def read_coco_results(path: Path, labels: Path, *, lenient: bool = False) -> PredictionTable:
    """Read COCO results as the table that Scalabel's predictions give, a frame for every image of the labels.

    Args:
        path: the results.
        labels: COCO labels, or Scalabel's, whose frames then have the ids that a conversion gives them.
        lenient: let boxes of negative size pass, as the official tool does.

    Raises:
        StorageError: a file cannot be read.
        RecordError: a file is not what it should be, or the results name images or categories that the labels or the
            benchmark lack; unless ``lenient``, also boxes of negative size.
        FrameNameError: an image's name is no relative path inside a folder.
    """
    shape = detect_format(path)
    if shape not in ("COCO results", None):
        raise RecordError(path, f"expected COCO results, found {describe_format(shape)}")
    dataset = read_coco_images(labels)
    results, told_of_ids = resolve_image_ids(path, read_coco(path, list[CocoResult]), dataset, labels)
    frames = results_from_coco(path, results, dataset, labels)
    columns = _columns(path, frames, lenient=lenient)
    scores = np.array([label.score for frame in frames for label in frame.labels], np.float64)
    empty = ValidationIssues()
    for frame in frames:
        if not frame.labels:
            empty.add(
                ValidationIssue(
                    "frames without predictions", path, printable(frame.name), "", f"missing, but in {labels}"
                )
            )
    return PredictionTable(path=path, scores=scores, let_through=told_of_ids + empty.summary(), **columns)


def _columns(path: Path, frames: Sequence[ScalabelFrame], *, lenient: bool) -> dict[str, Any]:
    """Give the columns that both tables have, of labels with a box."""
    troubles = FaultCollector(path)
    boxed = [[label for label in frame.labels if label.box2d] for frame in frames]
    boxes = [_bbox(label) for labels in boxed for label in labels]
    for frame, labels in zip(frames, boxed, strict=True):
        for label in labels:
            if label.category not in CATEGORY_CODES:
                troubles.add("labels of unknown categories", f"{frame.name}: label {label.id}: {label.category}")
            if not lenient and min(_bbox(label).width, _bbox(label).height) < 0:
                troubles.add("boxes of negative size", f"{frame.name}: label {label.id}")
    troubles.tell()
    codes = [CATEGORY_CODES[label.category or ""] & ~REGION_BIT for labels in boxed for label in labels]
    sides = np.array([(box.x, box.y, box.width, box.height) for box in boxes], np.float64)
    return {
        "frames": tuple(frame.name for frame in frames),
        "videos": tuple(frame.videoName for frame in frames),
        "starts": np.array([0, *accumulate(map(len, boxed))], np.int64),
        "classes": np.array(codes, np.uint8),
        "boxes": sides.reshape(-1, 4),
    }


def _bbox(label: ScalabelLabel) -> Bbox:
    """Give the very numbers of the COCO file."""
    if label.coco and not isinstance(label.coco.bbox, UnsetType):
        return label.coco.bbox
    return to_bbox(label.box2d) if label.box2d else Bbox(0, 0, 0, 0)


def _conditions(attributes: Mapping[str, Any] | None) -> FrameAttributes | None:
    if attributes is None:
        return None
    values = {name: attributes.get(name) for name in FrameAttributes.__struct_fields__}
    return FrameAttributes(**{name: value for name, value in values.items() if isinstance(value, str)})


def read_labels(path: Path, *, lenient: bool = False) -> LabelTable:
    """Read labels in any format; errors as those of ``tables``, its ``check_boxes`` included."""
    read = read_coco_labels if detect_format(path) == "COCO labels" else read_label_table
    table = read(path, lenient=lenient)
    return replace(table, let_through=table.let_through + check_boxes(table, lenient=lenient))


def read_predictions(path: Path, labels: LabelTable, *, lenient: bool = False) -> PredictionTable:
    """Read predictions in any format; COCO results name their images by the ids of the labels, or by file names.

    Errors as those of ``tables``, its ``check_boxes`` included.
    """
    if detect_format(path) == "COCO results":
        table = read_coco_results(path, labels.path, lenient=lenient)
    else:
        table = read_prediction_table(path, lenient=lenient)
    return replace(table, let_through=table.let_through + check_boxes(table, lenient=lenient))
