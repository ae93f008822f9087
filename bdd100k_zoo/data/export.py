"""Conversions of one image's detections to other formats. Writers of whole files are in ``detections`` and ``convert``.

Boxes of ``Detections`` have exclusive x2 and y2. Each function states the convention of its format.
"""

from __future__ import annotations

import csv
from io import StringIO
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from bdd100k_zoo.data.detections import to_labels
from bdd100k_zoo.data.scalabel import LabelFrame
from bdd100k_zoo.errors import MissingPackageError
from bdd100k_zoo.files import check_frame_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt
    from supervision import Detections as SupervisionDetections

    from bdd100k_zoo.data.detections import Detections

CSV_COLUMNS = ("image", "class", "score", "x1", "y1", "x2", "y2")


def to_coco_results(detections: Detections, image_id: int | str) -> list[dict[str, Any]]:
    """Return COCO results, as pycocotools' ``loadRes`` reads them.

    ``bbox`` is [x, y, width, height] in pixels; ``category_id`` is the official one, the class index plus 1. Corners
    are widened to float64 first, and 1 is subtracted from x2 and y2 and added again as the official evaluation does it:
    scores are the same to the last bit.
    """
    corners = detections.boxes.astype(np.float64)
    sizes = (corners[:, 2:] - 1) - corners[:, :2] + 1
    rows = np.concatenate([corners[:, :2], sizes], axis=1).tolist()
    scores = detections.scores.astype(np.float64).tolist()
    return [
        {"image_id": image_id, "category_id": index + 1, "bbox": box, "score": score}
        for box, score, index in zip(rows, scores, detections.classes.tolist(), strict=True)
    ]


def to_scalabel_frame(detections: Detections, name: str, first_id: int = 1) -> dict[str, Any]:
    """Return a frame in Scalabel's format, as ``det.json`` has it: x2 and y2 are inclusive.

    Args:
        detections: of one image.
        name: the frame's name.
        first_id: labels are numbered from here.

    Raises:
        ZooError: the name is absolute or leaves its folder.
    """
    frame = LabelFrame(check_frame_name(name), given_labels=to_labels(detections, count(first_id)))
    converted: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(frame))
    return converted


def to_yolo_rows(detections: Detections, size: tuple[int, int], *, scores: bool = True) -> list[str]:
    """Return lines as Ultralytics writes them with ``save_txt``: class index, centre x and y, width, height, score.

    Args:
        detections: of one image.
        size: width and height of the image in pixels; all values are fractions of them. Boxes are clipped to it.
        scores: whether each line ends with the score (``save_conf``).
    """
    corners = detections.boxes.astype(np.float64)
    return format_yolo_rows(detections.classes.tolist(), corners, size, detections.scores if scores else None)


def format_yolo_rows(
    classes: Sequence[int],
    corners: npt.NDArray[np.float64],
    size: tuple[int, int],
    scores: npt.NDArray[np.floating] | None = None,
) -> list[str]:
    """Return the lines of ``to_yolo_rows`` for boxes that are not ``Detections``, such as labels.

    Boxes are clipped to the image: Ultralytics refuses a file with values above 1.

    Args:
        classes: [n], class indices.
        corners: [n, 4], x1, y1, x2, y2 in pixels, x2 and y2 exclusive.
        size: width and height of the image in pixels.
        scores: [n]; None for lines without a score.
    """
    limits = np.array([*size, *size], np.float64)
    corners = np.clip(corners, 0, limits)
    centres, sizes = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    values = np.concatenate([centres, sizes], axis=1) / limits
    if scores is not None:
        values = np.concatenate([values, scores[:, None]], axis=1)
    line = " ".join(["{}"] + ["{:.6g}"] * values.shape[1]).format
    return [line(index, *row) for index, row in zip(classes, values.tolist(), strict=True)]


def to_csv_rows(detections: Detections, name: str) -> list[tuple[str | float, ...]]:
    """Return one row of ``CSV_COLUMNS`` for each detection; corners are in pixels, x2 and y2 exclusive."""
    return [(name, each.name, each.score, *each.box) for each in detections]


def encode_csv(rows: Iterable[Iterable[object]]) -> bytes:
    """Encode rows as CSV in UTF-8, with line feeds; None becomes an empty field."""
    text = StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def to_supervision(detections: Detections) -> SupervisionDetections:
    """Return ``supervision.Detections`` with ``class_name`` in its data; raises MissingPackageError."""
    try:
        import supervision
    except ImportError as error:
        raise MissingPackageError("supervision", "", str(error)) from error
    return supervision.Detections(
        xyxy=detections.boxes.copy(),
        confidence=detections.scores.copy(),
        class_id=detections.classes.copy(),
        data={"class_name": np.array(detections.names, dtype=str)},
    )
