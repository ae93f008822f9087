"""Labels and predictions in any format, Scalabel's, BDD100K's older ones or COCO's, as tables that can be scored."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import UnsetType

from bdd100k_zoo.data.coco import (
    Bbox,
    CocoLabels,
    CocoResult,
    FaultCollector,
    ScalabelFrame,
    ScalabelLabel,
    is_crowd,
    read_coco,
    read_scalabel,
    to_bbox,
)
from bdd100k_zoo.data.coco_convert import images_to_coco, labels_from_coco, resolve_image_ids, results_from_coco
from bdd100k_zoo.data.formats import FileFormat, detect_format
from bdd100k_zoo.data.scalabel import CATEGORY_CODES, REGION_BIT, FrameAttributes
from bdd100k_zoo.data.tables import LabelTable, PredictionTable, check_boxes, read_label_table, read_prediction_table
from bdd100k_zoo.data.validation import ValidationIssue, ValidationIssues, printable
from bdd100k_zoo.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


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


def read_coco_images(path: Path) -> CocoLabels:
    """Read COCO labels, or the images and categories that Scalabel labels would have in COCO's format.

    Raises:
        StorageError: the file cannot be read.
        RecordError: it is neither.
    """
    shape = detect_format(path)
    if shape in ("Scalabel frames", None):
        return images_to_coco(path, read_scalabel(path))
    if shape != "COCO labels":
        raise RecordError(path, f"expected labels, found {shape}")
    return read_coco(path, CocoLabels)


def describe_format(shape: FileFormat | None) -> str:
    """Name what a file holds."""
    return shape or "an empty list"


def encode_lines(items: Iterable[msgspec.Struct]) -> bytes:
    """Write a JSON list, an item a line."""
    lines = b",\n".join(map(msgspec.json.Encoder().encode, items))
    return b"[\n" + lines + b"\n]\n" if lines else b"[]\n"


def read_labels(path: Path, *, lenient: bool = False) -> LabelTable:
    """Read labels in any format; errors as those of ``records.tables``, its ``check_boxes`` included."""
    read = read_coco_labels if detect_format(path) == "COCO labels" else read_label_table
    table = read(path, lenient=lenient)
    return replace(table, let_through=table.let_through + check_boxes(table, lenient=lenient))


def read_predictions(path: Path, labels: LabelTable, *, lenient: bool = False) -> PredictionTable:
    """Read predictions in any format; COCO results name their images by the ids of the labels, or by file names.

    Errors as those of ``records.tables``, its ``check_boxes`` included.
    """
    if detect_format(path) == "COCO results":
        table = read_coco_results(path, labels.path, lenient=lenient)
    else:
        table = read_prediction_table(path, lenient=lenient)
    return replace(table, let_through=table.let_through + check_boxes(table, lenient=lenient))
