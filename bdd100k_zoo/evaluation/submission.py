"""What the evaluation server takes: checks of a predictions file frame by frame, and the labels as they are handed in.

Rules: a category is one of the ten classes; a score is from 0 to 1; a box has four finite corners, x2 and y2 belonging
to it, so that its sizes are x2 - x1 + 1 and y2 - y1 + 1, and lies in its image.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES, IGNORED_CLASSES
from bdd100k_zoo.data.detections import PredictedLabel
from bdd100k_zoo.data.formats import PREDICTIONS, PlainFrame, ScalabelDataset, detect_format, read_frames, to_number
from bdd100k_zoo.data.scalabel import Box2D
from bdd100k_zoo.errors import SubmissionProblem, WrongFileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bdd100k_zoo.data.scalabel import ImageSize

NumberOrText = float | str | None
"""Numbers may be written as text; what is no number at all is a problem of its label, not of the file."""

TOLERANCE = 1.0
"""Pixels by which a box may reach beyond its image: rounding of detectors, not a mistake."""

MISSING_FRAMES = "images without a frame"
EXTRA_FRAMES = "frames without an image"
DUPLICATE_FRAMES = "frames that stand more than once"
MALFORMED_FRAMES = "frames that are not in the format"
UNKNOWN_CATEGORIES = "labels of unknown categories"
REGION_CATEGORIES = "labels of categories that are regions to ignore, not classes"
INVALID_SCORES = "scores that are no number from 0 to 1"
INVALID_BOXES = "boxes without four finite corners"
SWAPPED_EDGES = "boxes whose right edge is left of the left one, or whose bottom is above the top"
BOXES_OUTSIDE_IMAGE = "boxes outside the image"
FILES_WITHOUT_BOXES = "files without a box"
NORMALISED_FILES = "files whose boxes all lie within 0 to 1, not in pixels"


class SubmittedBox(msgspec.Struct, gc=False):
    """Corners in pixels; x2 and y2 belong to the box."""

    x1: NumberOrText = None
    y1: NumberOrText = None
    x2: NumberOrText = None
    y2: NumberOrText = None


class SubmittedLabel(msgspec.Struct, gc=False):
    """One detected object, as the file has it."""

    id: str | int | float | None = None
    category: str | None = None
    score: NumberOrText = None
    box2d: SubmittedBox | None = None


class SubmittedFrame(msgspec.Struct, gc=False):
    """One image's detections."""

    name: str | int | float
    labels: tuple[SubmittedLabel, ...] | None = None


class _NamedFrame(PlainFrame, frozen=True):
    """What tells that a frame is in Scalabel's form."""

    name: str | int | float


Fault = tuple[str, str]
"""A kind of problem, and its detail."""


@dataclass(frozen=True, slots=True)
class SubmittedFrames:
    """The frames of a predictions file, each decoded when it is asked for, so that each fault is reported."""

    frames: Sequence[Raw | Any]
    flat: bool = False
    """They were listed box by box, so that images without a box are not listed."""


def read_submission(path: Path) -> SubmittedFrames:
    """Read a predictions file in any of the forms of ``records.sources``, or a folder of such files.

    A file in Scalabel's own form stays undecoded, so that memory holds the records of one frame at a time.

    Raises:
        StorageError: the file cannot be read.
        InputsError: it holds no frames.
    """
    if detect_format(path, PREDICTIONS) not in ("Scalabel frames", None):
        raise WrongFileError(path, PREDICTIONS, f"{detect_format(path)}; `convert` makes predictions of COCO results")
    frames: list[Raw | Any] = []
    flat = False
    for file in read_frames(path, _NamedFrame, PREDICTIONS):
        if file.records is None:
            plain = file.plain()
            frames += plain.frames
            flat |= plain.flat
        else:
            document = msgspec.json.decode(file.content, type=list[Raw] | ScalabelDataset[Raw])
            frames += document.frames if isinstance(document, ScalabelDataset) else document
    return SubmittedFrames(frames, flat)


def decode_frame(frame: Raw | Any, number: int) -> SubmittedFrame | SubmissionProblem:
    """Decode the frame that stands at a place in the file, counted from 1."""
    try:
        if isinstance(frame, Raw):
            return msgspec.json.decode(frame, type=SubmittedFrame)
        return msgspec.convert(frame, SubmittedFrame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return SubmissionProblem(MALFORMED_FRAMES, f"frame {number}", detail=str(error))


def parse_finite(value: NumberOrText) -> float | None:
    """Give a finite number, also where it was written as text; None for anything else."""
    number = to_number(value)
    return number if number is not None and isfinite(number) else None


def corners_of(label: SubmittedLabel) -> tuple[float, float, float, float] | None:
    """Give x1, y1, x2, y2; None where they are not four finite numbers."""
    box = label.box2d or SubmittedBox()
    x1, y1, x2, y2 = map(parse_finite, (box.x1, box.y1, box.x2, box.y2))
    if x1 is None or y1 is None or x2 is None or y2 is None:
        return None
    return x1, y1, x2, y2


def find_label_faults(label: SubmittedLabel, size: ImageSize, *, clip: bool) -> Iterator[Fault]:
    """Say what is wrong with a label; with ``clip``, only a box wholly outside its image is outside."""
    if label.category not in CLASSES and label.category not in CLASS_ALIASES:
        yield REGION_CATEGORIES if label.category in IGNORED_CLASSES else UNKNOWN_CATEGORIES, str(label.category)
    score = parse_finite(label.score)
    if score is None or not 0 <= score <= 1:
        yield INVALID_SCORES, str(label.score)
    corners = corners_of(label)
    if corners is None:
        yield INVALID_BOXES, _told_box(label.box2d)
    else:
        yield from _faults_of_box(*corners, size, clip=clip)


def _told_box(box: SubmittedBox | None) -> str:
    if box is None:
        return "no box2d"
    return ", ".join(f"{name} {getattr(box, name)}" for name in box.__struct_fields__)


def _faults_of_box(x1: float, y1: float, x2: float, y2: float, size: ImageSize, *, clip: bool) -> Iterator[Fault]:
    width, height = size.width, size.height
    if x2 - x1 + 1 < 0 or y2 - y1 + 1 < 0:
        yield SWAPPED_EDGES, f"x {x1} to {x2}, y {y1} to {y2}"
        return
    if clip:
        outside = x1 >= width or y1 >= height or x2 <= -1 or y2 <= -1
    else:
        beyond = max(-x1, -y1, x2 + 1 - width, y2 + 1 - height)
        outside = beyond > TOLERANCE
    if outside:
        yield BOXES_OUTSIDE_IMAGE, f"x {x1} to {x2}, y {y1} to {y2}; the image is {width}×{height}"


def final_label(label: SubmittedLabel, number: int, size: ImageSize | None) -> PredictedLabel:
    """Give a label without faults as it is handed in: numbers to the bit, clipped to ``size`` where one is given."""
    x1, y1, x2, y2 = corners_of(label) or (0.0, 0.0, 0.0, 0.0)
    if size:
        x1, y1 = max(x1, 0.0), max(y1, 0.0)
        x2, y2 = min(x2, float(size.width - 1)), min(y2, float(size.height - 1))
    category = label.category or ""
    score = parse_finite(label.score) or 0.0
    return PredictedLabel(str(number), CLASS_ALIASES.get(category, category), score, Box2D(x1, y1, x2, y2))


def was_clipped(label: SubmittedLabel, final: PredictedLabel) -> bool:
    """Whether a label's box was changed."""
    box = final.box2d
    return corners_of(label) != (box.x1, box.y1, box.x2, box.y2)
