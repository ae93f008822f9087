"""Scalabel's frames: labels and predictions read value by value, with every fault named.

Where the typed reader (``tables``) fails or doubts, this one says why, or reads on.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES, IGNORED_CLASSES
from bdd100k_zoo.data.formats import (
    CORNERS,
    LABELS,
    PREDICTIONS,
    PlainFrame,
    is_true,
    read_frames,
    to_mapping,
    to_number,
)
from bdd100k_zoo.data.validation import ValidationIssue, ValidationIssues, printable
from bdd100k_zoo.errors import BadFrameError, BadLabelError, UnlikelyBoxesError, WrongFileError
from bdd100k_zoo.files import check_frame_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt


class Box2D(msgspec.Struct, frozen=True, gc=False):
    """Corners in pixels; x2 and y2 belong to the box (the format's convention)."""

    x1: float
    y1: float
    x2: float
    y2: float


BOX_SLACK = 1.0
"""How far x2 may lie below x1 in a prediction: it is the detector's border minus 1, and a box may be thin."""

REGION_BIT = 0x80
"""Added to the class index of a category that is a region to ignore."""

CATEGORY_CODES: Mapping[str, int] = MappingProxyType(
    {name: index for index, name in enumerate(CLASSES)}
    | {alias: CLASSES.index(name) for alias, name in CLASS_ALIASES.items()}
    | {region: CLASSES.index(name) | REGION_BIT for region, name in IGNORED_CLASSES.items()}
)
"""Every category that files may use: the class index, regions marked by ``REGION``."""

BOXLESS_CATEGORIES = (
    *("lane", "drivable area", "area/alternative", "area/drivable", "area/unknown", "lane/crosswalk"),
    *("lane/double other", "lane/double white", "lane/double yellow", "lane/road curb"),
    *("lane/single other", "lane/single white", "lane/single yellow"),
)
"""Categories of BDD100K's labels of 2018 that have no box and are not scored."""


class FrameAttributes(msgspec.Struct, frozen=True, gc=False):
    """The conditions that BDD100K tells of a frame."""

    weather: str | None = None
    scene: str | None = None
    timeofday: str | None = None


class LabelRows(NamedTuple):
    """Labels of one frame that have a box."""

    name: str
    video: str | None
    attributes: FrameAttributes | None
    codes: bytes
    """Category codes."""
    crowd: bytes
    """1 where an attribute marks a crowd or a region to ignore."""
    corners: npt.NDArray[np.float64]
    """[4n]: x1, y1, x2, y2 of one label after the other."""
    unscored: bool
    """Whether a label has no score, as is right for labels."""
    boxless: int
    """Labels without a box: lanes, areas."""


class PredictionRows(NamedTuple):
    """Predictions of one frame that have a box."""

    name: str
    video: str | None
    codes: bytes
    scores: npt.NDArray[np.float64]
    corners: npt.NDArray[np.float64]
    """[4n]: x1, y1, x2, y2 of one prediction after the other."""
    fault: BadLabelError | None = None
    """A prediction without a score, which the official tool refuses where the frame is labelled."""


class ImageSize(msgspec.Struct, frozen=True, gc=False):
    """Size of a frame in pixels."""

    width: int
    height: int


FRAME_SIZE = ImageSize(1280, 720)
"""The size of all frames of BDD100K."""


class Label(msgspec.Struct, frozen=True):
    """One labelled object."""

    given_id: str | int = msgspec.field(default="", name="id")
    category: str | None = None
    box2d: Box2D | None = None
    """None where the label is of another shape: a lane, an area."""
    attributes: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        """The label's id as text; empty where the file has none."""
        return str(self.given_id)

    @property
    def is_region(self) -> bool:
        """Whether its attributes mark a crowd or a region to ignore, and no single object."""
        attributes = self.attributes or {}
        return is_true(attributes.get("crowd")) or is_true(attributes.get("ignored"))


class LabelFrame(PlainFrame, frozen=True):
    """One labelled image."""

    given_name: str | int = msgspec.field(name="name")
    given_labels: tuple[Label, ...] | None = msgspec.field(default=None, name="labels")
    attributes: Mapping[str, Any] | None = None
    """Weather, scene, time of day."""
    given_size: ImageSize | None = msgspec.field(default=None, name="size")

    @property
    def name(self) -> str:
        """The frame's name as text."""
        return str(self.given_name)

    @property
    def labels(self) -> tuple[Label, ...]:
        """The frame's labels; none where the file has none or null."""
        return self.given_labels or ()

    @property
    def size(self) -> ImageSize:
        """The size that the file tells, else that of all frames of BDD100K."""
        return self.given_size or FRAME_SIZE


def read_labels(path: Path) -> tuple[LabelFrame, ...]:
    """Read labels in any of the forms of ``formats``; fields that are not ours are ignored.

    Raises:
        StorageError: they cannot be read.
        InputsError: the file is of another kind, or a label is not what it should be.
        UnlikelyBoxesError: all boxes lie within 0 to 1.
        FrameNameError: a frame's name is no relative path inside a folder.
    """
    frames: list[LabelFrame] = []
    for file in read_frames(path, LabelFrame, LABELS):
        if file.records is not None:
            frames += file.records
            continue
        frames += read_label_frames(file.path, file.plain().frames)
    for frame in frames:
        check_frame_name(frame.name)
    if are_normalised(label.box2d for frame in frames for label in frame.labels if label.box2d):
        raise UnlikelyBoxesError(path, NORMALISED_MESSAGE)
    return tuple(frames)


def are_normalised(boxes: Iterable[Box2D]) -> bool:
    """Return whether there are boxes, and all of them lie within 0 to 1; stops at the first that does not."""
    number = 0
    for number, box in enumerate(boxes, 1):  # noqa: B007
        if not (0 <= box.x1 <= 1 and 0 <= box.y1 <= 1 and 0 <= box.x2 <= 1 and 0 <= box.y2 <= 1):
            return False
    return number > 0


NORMALISED_MESSAGE = (
    "all boxes lie within 0 to 1: expected pixels, so multiply them by the width and height of the images"
)
NO_BOX_MESSAGE = "holds no box"


def read_label_rows(path: Path, frames: Sequence[Any], findings: ValidationIssues) -> list[LabelRows]:
    """Read labels from plain documents; raises InputsError where the official tool would stop as well."""
    return [_label_rows(frame, findings) for frame in _frames(path, frames)]


def read_prediction_rows(path: Path, documents: Sequence[Any], findings: ValidationIssues) -> list[PredictionRows]:
    """Read predictions from plain documents; raises InputsError where the official tool would stop as well."""
    frames = list(_frames(path, documents))
    scores = [label.fields.get("score") for frame in frames for label in frame.labels() if label.fields.get("box2d")]
    if scores and all(score is None for score in scores):
        raise WrongFileError(path, PREDICTIONS, "labels: none of them has a score")
    return [_prediction_rows(frame, findings) for frame in frames]


def read_label_frames(path: Path, frames: Sequence[Any]) -> list[LabelFrame]:
    """Read labels from plain documents as records; raises InputsError."""
    return [
        LabelFrame(
            frame.given_name,
            tuple(map(_label_record, frame.labels())),
            to_mapping(frame.fields.get("attributes")),
            frame.size(),
        )
        for frame in _frames(path, frames)
    ]


class _CheckedLabel:
    """One label of a document, and where it stands."""

    def __init__(self, frame: _Frame, place: int, fields: Any) -> None:
        self.frame = frame
        self.name = f"no. {place}"
        given = to_mapping(fields)
        if given is None:
            raise self.error("is no JSON object")
        self.fields: Mapping[str, Any] = given
        if "id" not in given:
            raise self.error("has no id")
        self.name = f"{printable(given['id'])} (no. {place})"

    def error(self, problem: str) -> BadLabelError:
        return BadLabelError(self.frame.path, self.frame.name, self.name, problem)

    def finding(self, kind: str, problem: str) -> ValidationIssue:
        return ValidationIssue(kind, self.frame.path, self.frame.name, self.name, problem)

    def code(self) -> int:
        category = self.fields.get("category")
        code = CATEGORY_CODES.get(category) if isinstance(category, str) else None
        if code is None:
            known = ", ".join((*CLASSES, *CLASS_ALIASES, *IGNORED_CLASSES))
            raise self.error(f"unknown category {printable(category)!r}; known are {known}")
        return code

    def corners(self, findings: ValidationIssues, slack: float = 0) -> list[float] | None:
        box = self.fields.get("box2d")
        if box is None:
            return None
        box = to_mapping(box)
        if box is None:
            raise self.error("box2d is no JSON object")
        corners = [self._corner(box, name, findings) for name in CORNERS]
        for axis, low, high in (("x", corners[0], corners[2]), ("y", corners[1], corners[3])):
            if high < low - slack:
                less = f" - {slack:g}" if slack else ""
                told = f"{axis}2 {printable(box[axis + '2'])} < {axis}1 {printable(box[axis + '1'])}{less}"
                findings.add(self.finding(f"boxes with {axis}2 < {axis}1{less}", told))
        return corners

    def _corner(self, box: Mapping[str, Any], name: str, findings: ValidationIssues) -> float:
        value = to_number(box.get(name))
        problem = f"box2d.{name} is no finite number: {printable(box.get(name, 'missing'))}"
        if value is None:
            raise self.error(problem)
        if not isfinite(value):
            findings.add(self.finding("corners that are not finite", problem))
        return value

    def score(self, findings: ValidationIssues) -> float | None:
        given = self.fields.get("score")
        if given is None:
            findings.add(self.finding("predictions without a score", "has no score"))
            return None
        value = to_number(given)
        if value is None:
            raise self.error(f"the score is no number: {printable(given)}")
        if not isfinite(value):
            findings.add(self.finding("scores that are not finite", f"the score is not finite: {value}"))
        return value

    def crowd(self) -> bool:
        attributes = self.fields.get("attributes")
        if attributes is None:
            return False
        attributes = to_mapping(attributes)
        if attributes is None:
            raise self.error("attributes is no JSON object")
        marks = [attributes[name] for name in ("crowd", "ignored") if name in attributes]
        if any(not isinstance(mark, (bool, int, float, str)) for mark in marks):
            raise self.error("the attribute crowd or ignored is no plain value")
        return any(is_true(mark) for mark in marks)


class _Frame:
    """One frame of a document."""

    def __init__(self, path: Path, place: int, fields: Any) -> None:
        self.path = path
        if not isinstance(fields, dict) or "name" not in fields:
            raise BadFrameError(path, f"no. {place}", "has no name")
        self.fields: Mapping[str, Any] = fields
        self.given_name = str(fields["name"])
        self.name = printable(self.given_name)
        given_video = fields.get("videoName")
        self.video = None if given_video is None else str(given_video)

    def labels(self) -> Iterator[_CheckedLabel]:
        labels = self.fields.get("labels")
        if labels is None:
            return iter(())
        if not isinstance(labels, list):
            raise BadFrameError(self.path, self.name, "labels is no JSON list")
        return (_CheckedLabel(self, place, fields) for place, fields in enumerate(labels, start=1))

    def size(self) -> ImageSize | None:
        given = self.fields.get("size")
        if given is None:
            return None
        sides = [to_number(given.get(name)) if isinstance(given, dict) else None for name in ("width", "height")]
        if any(side is None or not isfinite(side) for side in sides):
            raise BadFrameError(self.path, self.name, f"size is not a width and a height: {printable(given)}")
        return ImageSize(*(int(side or 0) for side in sides))

    def attributes(self) -> FrameAttributes | None:
        given = self.fields.get("attributes")
        if not isinstance(given, dict):
            return None
        texts = {name: given.get(name) for name in FrameAttributes.__struct_fields__}
        return FrameAttributes(**{name: None if text is None else str(text) for name, text in texts.items()})


def _frames(path: Path, frames: Sequence[Any]) -> Iterator[_Frame]:
    return (_Frame(path, place, fields) for place, fields in enumerate(frames, start=1))


def _label_rows(frame: _Frame, findings: ValidationIssues) -> LabelRows:
    import numpy as np  # training reads labels without it

    codes, crowd, corners, unscored, boxless = bytearray(), bytearray(), list[float](), False, 0
    for label in frame.labels():
        box, is_crowd = label.corners(findings), label.crowd()
        unscored |= label.fields.get("score") is None
        if box is None:
            boxless += 1
            continue
        codes.append(label.code())
        crowd.append(is_crowd)
        corners += box
    numbers = np.array(corners, np.float64)
    name, video, attributes = frame.given_name, frame.video, frame.attributes()
    return LabelRows(name, video, attributes, bytes(codes), bytes(crowd), numbers, unscored, boxless)


def _prediction_rows(frame: _Frame, findings: ValidationIssues) -> PredictionRows:
    import numpy as np

    codes, scores, corners, fault = bytearray(), list[float](), list[float](), None
    for label in frame.labels():
        code, box = label.code(), label.corners(findings, slack=BOX_SLACK)
        if box is None:
            findings.add(label.finding("predictions without a box", "has no box2d"))
            continue
        score = label.score(findings)
        if score is None:
            fault = fault or label.error("has no score")
            continue
        codes.append(code)
        scores.append(score)
        corners += box
    numbers = np.array(scores, np.float64), np.array(corners, np.float64)
    return PredictionRows(frame.given_name, frame.video, bytes(codes), *numbers, fault)


def _label_record(label: _CheckedLabel) -> Label:
    odd = ValidationIssues()
    corners = label.corners(odd)
    if corners and not all(map(isfinite, corners)):
        odd.refuse()
    return Label(
        str(label.fields["id"]),
        None if label.fields.get("category") is None else str(label.fields["category"]),
        Box2D(*corners) if corners else None,
        to_mapping(label.fields.get("attributes")),
    )
