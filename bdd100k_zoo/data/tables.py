"""Labels and predictions of any format as columns: the form in which they are scored.

Formats, names and rules are those of ``scalabel`` 0.3.1 and ``bdd100k`` 1.0.1. Strict reading refuses what the official
evaluator accepts silently; lenient reading accepts it and reports it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import accumulate
from operator import attrgetter
from struct import Struct
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from msgspec import UnsetType

from bdd100k_zoo.data.coco import CocoLabels, CocoResult, read_coco
from bdd100k_zoo.data.coco_convert import labels_from_coco, read_coco_images, resolve_image_ids, results_from_coco
from bdd100k_zoo.data.formats import LABELS, detect_format
from bdd100k_zoo.data.scalabel import (
    CATEGORY_CODES,
    REGION_BIT,
    Bbox,
    FrameAttributes,
    FrameRows,
    Label,
    LabelFrame,
    are_normalised,
    is_crowd,
    to_bbox,
    to_frame_attributes,
)
from bdd100k_zoo.data.scalabel_reader import read_rows
from bdd100k_zoo.data.validation import (
    NO_BOX,
    NORMALISED,
    IssueSummary,
    ValidationIssues,
    merge_issue_summaries,
    printable,
    unlikely_boxes_error,
    wrong_file_error,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from bdd100k_zoo.errors import InputsError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BoxTable:
    """The boxes of a file: all frames in a row."""

    path: Path
    frames: tuple[str, ...]
    videos: tuple[str | None, ...]
    starts: Ints
    """[frames + 1]: the rows of frame i are ``starts[i]:starts[i + 1]``."""
    classes: npt.NDArray[np.uint8]
    """[n]: indices into ``CLASSES``."""
    boxes: Floats
    """[n, 4]: x, y, width and height in pixels; the width is x2 - x1 + 1, the height y2 - y1 + 1."""
    let_through: tuple[IssueSummary, ...] = ()
    """What was accepted leniently, and labels that are not scored."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LabelTable(BoxTable):
    """Labels of all frames; the frames are stable-sorted by name, as the official evaluator numbers them."""

    attributes: tuple[FrameAttributes | None, ...]
    """Weather, scene and time of day by frame."""
    crowd: npt.NDArray[np.bool_]
    """[n]: crowds and ignored regions."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PredictionTable(BoxTable):
    """Predictions of all frames, in the order of the file."""

    scores: Floats
    """[n]."""
    flat: bool = False
    """The file lists boxes, not frames, so that images without a box have no frame."""
    faults: Mapping[int, InputsError] = field(default_factory=dict)
    """By frame: a prediction on which the official evaluator fails if the frame is labelled."""


# Any format


def read_labels(path: Path, *, lenient: bool = False) -> LabelTable:
    """Read labels of any format; raises as ``read_coco_labels``, ``read_label_table`` and ``check_boxes``."""
    read = read_coco_labels if detect_format(path) == "COCO labels" else read_label_table
    table = read(path, lenient=lenient)
    return replace(table, let_through=table.let_through + check_boxes(table, lenient=lenient))


def read_predictions(path: Path, labels: LabelTable, *, lenient: bool = False) -> PredictionTable:
    """Read predictions of any format; COCO results name their images by ids of the labels, or by file names.

    Raises as ``read_coco_results``, ``read_prediction_table`` and ``check_boxes``.
    """
    if detect_format(path) == "COCO results":
        table = read_coco_results(path, labels.path, lenient=lenient)
    else:
        table = read_prediction_table(path, lenient=lenient)
    return replace(table, let_through=table.let_through + check_boxes(table, lenient=lenient))


def check_boxes(table: BoxTable, *, lenient: bool = False) -> tuple[IssueSummary, ...]:
    """Check that labels or predictions have boxes, and that these are in pixels.

    Returns:
        What is wrong, if it is accepted leniently.

    Raises:
        InputsError: there is no box, or all lie within 0 to 1; only if not ``lenient``.
    """
    if not len(table.boxes):
        kind, problem = "files without a box", NO_BOX
    elif are_normalised(table.boxes):
        kind, problem = "files whose boxes all lie within 0 to 1", NORMALISED
    else:
        return ()
    error = unlikely_boxes_error(table.path, problem)
    if not lenient:
        raise error
    return (IssueSummary(kind, 1, (str(error),)),)


# Scalabel's format


def read_label_table(path: Path, *, lenient: bool = False) -> LabelTable:
    """Read labels in Scalabel's format; labels without a box are counted, and not scored.

    Raises:
        StorageError: the file cannot be read.
        InputsError: it has another format, or holds what cannot be scored; unless ``lenient``, also what the official
            evaluator accepts silently: boxes with x2 < x1 or y2 < y1, corners that are not finite, labels that all have
            scores.
    """
    rows, let_through, _ = read_rows(path, scored=False, lenient=lenient)
    if not lenient and any(frame.codes for frame in rows) and not any(frame.unscored for frame in rows):
        raise wrong_file_error(path, LABELS, "predictions: every label has a score")
    if boxless := [frame for frame in rows if frame.boxless]:
        examples = tuple(f"{path}: frame {printable(frame.name)}: {frame.boxless}" for frame in boxless[:3])
        number = sum(frame.boxless for frame in boxless)
        let_through.append(IssueSummary("labels without a box, which are not scored", number, examples))
    rows.sort(key=attrgetter("name"))
    return _label_table(path, rows, _official_boxes(rows), merge_issue_summaries(let_through))


def read_prediction_table(path: Path, *, lenient: bool = False) -> PredictionTable:
    """Read predictions in Scalabel's format, or in an older one of BDD100K.

    Raises:
        StorageError: the file cannot be read.
        InputsError: it has another format, or holds what cannot be scored; unless ``lenient``, also what the official
            evaluator accepts silently: boxes of negative size (x2 < x1 - 1 or y2 < y1 - 1), corners and scores that are
            not finite, predictions without a box or without a score.
    """
    rows, let_through, is_flat = read_rows(path, scored=True, lenient=lenient)
    return PredictionTable(
        **_shared_columns(path, rows, _official_boxes(rows), merge_issue_summaries(let_through)),
        scores=_join([frame.scores for frame in rows]),
        flat=is_flat,
        faults={place: frame.fault for place, frame in enumerate(rows) if frame.fault},
    )


def _label_table(
    path: Path, rows: Sequence[FrameRows], boxes: Floats, let_through: tuple[IssueSummary, ...]
) -> LabelTable:
    marked = np.frombuffer(b"".join([frame.crowd for frame in rows]), np.bool_)
    return LabelTable(
        **_shared_columns(path, rows, boxes, let_through),
        attributes=tuple(frame.attributes for frame in rows),
        crowd=marked | (_codes(rows) >= REGION_BIT),
    )


def _shared_columns(
    path: Path, rows: Sequence[FrameRows], boxes: Floats, let_through: tuple[IssueSummary, ...]
) -> dict[str, Any]:
    """Return the fields of a ``BoxTable``."""
    return {
        "path": path,
        "frames": tuple(frame.name for frame in rows),
        "videos": tuple(frame.video for frame in rows),
        "starts": np.array([0, *accumulate(len(frame.codes) for frame in rows)], np.int64),
        "classes": _codes(rows) & ~np.uint8(REGION_BIT),
        "boxes": boxes,
        "let_through": let_through,
    }


def _codes(rows: Sequence[FrameRows]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join([frame.codes for frame in rows]), np.uint8)


def _join(parts: Iterable[bytes]) -> Floats:
    return np.frombuffer(bytearray().join(parts), np.float64)  # an array on a bytearray can be written to


def _official_boxes(rows: Sequence[FrameRows]) -> Floats:
    """Join the corners and convert them to x, y, width, height in the official evaluator's order of operations."""
    boxes = _join([frame.boxes for frame in rows]).reshape(-1, 4)
    with np.errstate(invalid="ignore", over="ignore"):
        boxes[:, 2:] -= boxes[:, :2]
        boxes[:, 2:] += 1
    return boxes


# COCO's format


def read_coco_labels(path: Path, *, lenient: bool = False) -> LabelTable:
    """Read COCO labels as the table that Scalabel's labels give; the boxes are the file's, to the bit.

    Raises:
        StorageError: the file cannot be read.
        InvalidFileError: its ids and names are inconsistent, or it has categories that the benchmark lacks, or an
            image's name is no relative path inside a folder; unless ``lenient``, also boxes of negative size.
    """
    rows, boxes = _coco_rows(path, labels_from_coco(path, read_coco(path, CocoLabels)), lenient=lenient)
    return _label_table(path, rows, boxes, ())


def read_coco_results(path: Path, labels: Path, *, lenient: bool = False) -> PredictionTable:
    """Read COCO results as the table that Scalabel's predictions give, with a frame for every image of the labels.

    Args:
        path: the results.
        labels: COCO labels, or Scalabel's, whose frames then have the ids that a conversion gives them.
        lenient: accept boxes of negative size, as the official evaluator does.

    Raises:
        StorageError: a file cannot be read.
        InvalidFileError: a file is invalid, or the results have images or categories that the labels or the benchmark
            lack, or an image's name is no relative path inside a folder; unless ``lenient``, also boxes of negative
            size.
    """
    dataset = read_coco_images(labels)
    results, let_through = resolve_image_ids(path, read_coco(path, list[CocoResult]), dataset, labels)
    frames = results_from_coco(path, results, dataset, labels)
    rows, boxes = _coco_rows(path, frames, lenient=lenient)
    empty = ValidationIssues()
    for frame in frames:
        if not frame.labels:
            empty.add("frames without predictions", f"{path}: frame {printable(frame.name)}: missing, but in {labels}")
    return PredictionTable(
        **_shared_columns(path, rows, boxes, let_through + empty.summarise()),
        scores=_join([frame.scores for frame in rows]),
    )


def _coco_rows(path: Path, frames: Sequence[LabelFrame], *, lenient: bool) -> tuple[list[FrameRows], Floats]:
    """Return the columns and boxes of frames that were converted from COCO."""
    issues = ValidationIssues()
    rows: list[FrameRows] = []
    for frame in frames:
        labels = [label for label in frame.labels if label.box2d]
        bboxes = list(map(_bbox_of, labels))
        for label, bbox in zip(labels, bboxes, strict=True):
            if label.category not in CATEGORY_CODES:
                issues.add("labels of unknown categories", f"{frame.name}: label {label.id}: {label.category}")
            if not lenient and min(bbox.width, bbox.height) < 0:
                issues.add("boxes of negative size", f"{frame.name}: label {label.id}")
        row = FrameRows(
            frame.name,
            frame.videoName,
            to_frame_attributes(frame.attributes),
            codes=bytes([CATEGORY_CODES.get(label.category or "", 0) for label in labels]),
            crowd=bytes([is_crowd(label.category, label.attributes) for label in labels]),
            scores=np.array([label.score for label in labels], np.float64).tobytes(),  # NaN for labels
            boxes=b"".join([_pack_box(bbox.x, bbox.y, bbox.width, bbox.height) for bbox in bboxes]),
            unscored=False,
            boxless=len(frame.labels) - len(labels),
        )
        rows.append(row)
    issues.raise_all(path)
    return rows, _join([row.boxes for row in rows]).reshape(-1, 4)


_pack_box = Struct("4d").pack


def _bbox_of(label: Label) -> Bbox:
    """Return the box of a label as the COCO file has it, to the bit."""
    if label.coco and not isinstance(label.coco.bbox, UnsetType):
        return label.coco.bbox
    return to_bbox(label.box2d) if label.box2d else Bbox(0, 0, 0, 0)
