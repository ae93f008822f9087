"""The careful path of reading Scalabel frames: value by value from plain documents.

It accepts what the official tool accepts, counts what that tool accepts although it is an error, and names every fault
by file, frame and label. ``scalabel_reader`` uses it for the files that the fast path does not decode.
"""

from __future__ import annotations

from array import array
from math import isfinite
from typing import TYPE_CHECKING, Any

from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES, IGNORED_CLASSES
from bdd100k_zoo.data.formats import CORNERS, PREDICTIONS, is_true, to_mapping, to_number
from bdd100k_zoo.data.scalabel import (
    CATEGORY_CODES,
    Box2D,
    FrameAttributes,
    FrameRows,
    ImageSize,
    Label,
    LabelFrame,
)
from bdd100k_zoo.data.validation import ValidationIssues, printable
from bdd100k_zoo.errors import BadFrameError, BadLabelError, InputsError, WrongFileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

BOX_SLACK = 1.0
"""How far x2 may be below x1 in a prediction: x2 is the detector's exclusive corner minus 1, and a box may be thin."""


def check_label_rows(path: Path, documents: Sequence[Any], issues: ValidationIssues) -> list[FrameRows]:
    """Return labels as columns; raises InputsError where the official tool fails as well."""
    return [_label_rows(frame, issues) for frame in _frames(path, documents)]


def check_prediction_rows(path: Path, documents: Sequence[Any], issues: ValidationIssues) -> list[FrameRows]:
    """Return predictions as columns; raises InputsError where the official tool fails as well."""
    frames = list(_frames(path, documents))
    scores = [label.fields.get("score") for frame in frames for label in frame.labels() if label.fields.get("box2d")]
    if scores and all(score is None for score in scores):
        raise WrongFileError(path, PREDICTIONS, "labels: none of them has a score")
    return [_prediction_rows(frame, issues) for frame in frames]


def check_label_frames(path: Path, documents: Sequence[Any]) -> list[LabelFrame]:
    """Return labels as records, without what training does not need; raises InputsError."""
    return [
        LabelFrame(
            frame.given_name,
            attributes=to_mapping(frame.fields.get("attributes")),
            given_size=frame.size(),
            given_labels=tuple(map(_label_record, frame.labels())),
        )
        for frame in _frames(path, documents)
    ]


def _frames(path: Path, documents: Sequence[Any]) -> Iterator[_Frame]:
    return (_Frame(path, number, fields) for number, fields in enumerate(documents, start=1))


def _label_rows(frame: _Frame, issues: ValidationIssues) -> FrameRows:
    codes, crowd, corners, unscored, boxless = bytearray(), bytearray(), array("d"), False, 0
    for label in frame.labels():
        box, is_crowd = label.corners(issues), label.is_marked()
        unscored |= label.fields.get("score") is None
        if box is None:
            boxless += 1
            continue
        codes.append(label.code())
        crowd.append(is_crowd)
        corners.extend(box)
    return FrameRows(
        frame.given_name,
        frame.video,
        frame.attributes(),
        codes=bytes(codes),
        crowd=bytes(crowd),
        scores=b"",
        boxes=corners.tobytes(),
        unscored=unscored,
        boxless=boxless,
    )


def _prediction_rows(frame: _Frame, issues: ValidationIssues) -> FrameRows:
    codes, scores, corners, fault = bytearray(), array("d"), array("d"), None
    for label in frame.labels():
        code, box = label.code(), label.corners(issues, slack=BOX_SLACK)
        if box is None:
            issues.add("predictions without a box", label.error("has no box2d"))
            continue
        score = label.score(issues)
        if score is None:
            fault = fault or label.error("has no score")
            continue
        codes.append(code)
        scores.append(score)
        corners.extend(box)
    return FrameRows(
        frame.given_name,
        frame.video,
        attributes=None,
        codes=bytes(codes),
        crowd=bytes(len(codes)),
        scores=scores.tobytes(),
        boxes=corners.tobytes(),
        unscored=False,
        boxless=0,
        fault=fault,
    )


def _label_record(label: _Label) -> Label:
    issues = ValidationIssues()
    corners = label.corners(issues)
    if corners and not all(map(isfinite, corners)):
        issues.raise_first()
    category = label.fields.get("category")
    return Label(
        str(label.fields["id"]),
        category=None if category is None else str(category),
        box2d=Box2D(*corners) if corners else None,
        attributes=to_mapping(label.fields.get("attributes")),
    )


class _Frame:
    """One frame of a document."""

    def __init__(self, path: Path, number: int, fields: Any) -> None:
        self.path = path
        if not isinstance(fields, dict) or "name" not in fields:
            raise BadFrameError(path, f"no. {number}", "has no name")
        self.fields: Mapping[str, Any] = fields
        self.given_name = str(fields["name"])
        self.name = printable(self.given_name)
        video = fields.get("videoName")
        self.video = None if video is None else str(video)

    def labels(self) -> Iterator[_Label]:
        labels = self.fields.get("labels")
        if labels is None:
            return iter(())
        if not isinstance(labels, list):
            raise BadFrameError(self.path, self.name, "labels is no JSON list")
        return (_Label(self, number, fields) for number, fields in enumerate(labels, start=1))

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


class _Label:
    """One label of a document, and its place."""

    def __init__(self, frame: _Frame, number: int, fields: Any) -> None:
        self.frame = frame
        self.name = f"no. {number}"
        given = to_mapping(fields)
        if given is None:
            raise self.error("is no JSON object")
        self.fields: Mapping[str, Any] = given
        if "id" not in given:
            raise self.error("has no id")
        self.name = f"{printable(given['id'])} (no. {number})"

    def error(self, problem: str) -> InputsError:
        return BadLabelError(self.frame.path, self.frame.name, self.name, problem)

    def code(self) -> int:
        category = self.fields.get("category")
        code = CATEGORY_CODES.get(category) if isinstance(category, str) else None
        if code is None:
            known = ", ".join((*CLASSES, *CLASS_ALIASES, *IGNORED_CLASSES))
            raise self.error(f"unknown category {printable(category)!r}; known are {known}")
        return code

    def corners(self, issues: ValidationIssues, slack: float = 0) -> list[float] | None:
        """Return x1, y1, x2, y2; None without a box. x2 < x1 - slack and numbers that are not finite are issues."""
        given = self.fields.get("box2d")
        if given is None:
            return None
        box = to_mapping(given)
        if box is None:
            raise self.error("box2d is no JSON object")
        corners = [self._corner(box, name, issues) for name in CORNERS]
        for axis, low, high in (("x", corners[0], corners[2]), ("y", corners[1], corners[3])):
            if high < low - slack:
                less = f" - {slack:g}" if slack else ""
                problem = f"{axis}2 {printable(box[axis + '2'])} < {axis}1 {printable(box[axis + '1'])}{less}"
                issues.add(f"boxes with {axis}2 < {axis}1{less}", self.error(problem))
        return corners

    def _corner(self, box: Mapping[str, Any], name: str, issues: ValidationIssues) -> float:
        value = to_number(box.get(name))
        if value is None or not isfinite(value):
            error = self.error(f"box2d.{name} is no finite number: {printable(box.get(name, 'missing'))}")
            if value is None:
                raise error
            issues.add("corners that are not finite", error)
        return value

    def score(self, issues: ValidationIssues) -> float | None:
        given = self.fields.get("score")
        if given is None:
            issues.add("predictions without a score", self.error("has no score"))
            return None
        value = to_number(given)
        if value is None:
            raise self.error(f"the score is no number: {printable(given)}")
        if not isfinite(value):
            issues.add("scores that are not finite", self.error(f"the score is not finite: {value}"))
        return value

    def is_marked(self) -> bool:
        """Return whether an attribute marks a crowd or an ignored region."""
        given = self.fields.get("attributes")
        if given is None:
            return False
        attributes = to_mapping(given)
        if attributes is None:
            raise self.error("attributes is no JSON object")
        marks = [attributes[name] for name in ("crowd", "ignored") if name in attributes]
        if any(not isinstance(mark, (bool, int, float, str)) for mark in marks):
            raise self.error("the attribute crowd or ignored is no plain value")
        return any(map(is_true, marks))
