"""The careful path of reading Scalabel frames: value by value from plain documents.

It accepts what the official evaluator accepts, counts what that evaluator accepts although it is an error, and names
every fault by file, frame and label. ``scalabel_reader`` uses it for files that the fast path does not decode.
"""

from __future__ import annotations

from array import array
from math import isfinite
from typing import TYPE_CHECKING, Any

from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES, IGNORED_CLASSES
from bdd100k_zoo.data.formats import CORNERS, PREDICTIONS, is_true, to_mapping, to_number
from bdd100k_zoo.data.scalabel import CATEGORY_CODES, FrameRows, to_frame_attributes
from bdd100k_zoo.data.validation import ValidationIssues, frame_error, label_error, printable, wrong_file_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from bdd100k_zoo.errors import InputsError

BOX_SLACK = 1.0
"""How far x2 may be below x1 in a prediction: x2 is the detector's exclusive corner minus 1, and a box may be thin."""


def check_rows(path: Path, documents: Sequence[Any], issues: ValidationIssues, *, scored: bool) -> list[FrameRows]:
    """Return labels, or predictions, which are ``scored``, as columns.

    Raises:
        InputsError: the official evaluator fails on it as well.
    """
    if scored:
        labels = [label for frame in _objects(documents) for label in _objects(frame.get("labels"))]
        boxed = [label for label in labels if label.get("box2d")]
        if boxed and all(label.get("score") is None for label in boxed):
            raise wrong_file_error(path, PREDICTIONS, "labels: none of them has a score")
    return [_Frame(path, number, fields).rows(issues, scored=scored) for number, fields in enumerate(documents, 1)]


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, (list, tuple)) else []


class _Frame:
    """One frame of a document."""

    def __init__(self, path: Path, number: int, fields: Any) -> None:
        if not isinstance(fields, dict) or "name" not in fields:
            raise frame_error(path, f"no. {number}", "has no name")
        self.path = path
        self.fields: Mapping[str, Any] = fields
        self.name = str(fields["name"])

    def labels(self) -> Iterator[_Label]:
        labels = self.fields.get("labels")
        if labels is not None and not isinstance(labels, list):
            raise frame_error(self.path, printable(self.name), "labels is not a JSON list")
        return (_Label(self, number, fields) for number, fields in enumerate(labels or (), 1))

    def rows(self, issues: ValidationIssues, *, scored: bool) -> FrameRows:
        codes, crowd, scores, corners = bytearray(), bytearray(), array("d"), array("d")
        unscored, boxless, fault = False, 0, None
        for label in self.labels():
            has_box = label.fields.get("box2d") is not None
            code = label.code() if scored or has_box else 0
            box = label.corners(issues, slack=BOX_SLACK if scored else 0)
            is_crowd = not scored and label.is_marked()
            unscored |= label.fields.get("score") is None
            if box is None:
                boxless += 1
                if scored:
                    issues.add("predictions without a box", label.error("has no box2d"))
                continue
            if scored:
                score = label.score(issues)
                if score is None:
                    fault = fault or label.error("has no score")
                    continue
                scores.append(score)
            codes.append(code)
            crowd.append(is_crowd)
            corners.extend(box)
        video, attributes = self.fields.get("videoName"), self.fields.get("attributes")
        return FrameRows(
            self.name,
            None if video is None else str(video),
            to_frame_attributes(attributes),
            codes=bytes(codes),
            crowd=bytes(crowd),
            scores=scores.tobytes(),
            boxes=corners.tobytes(),
            unscored=unscored,
            boxless=boxless,
            fault=fault,
        )


class _Label:
    """One label of a document, and its place."""

    def __init__(self, frame: _Frame, number: int, fields: Any) -> None:
        self.frame = frame
        self.name = f"no. {number}"
        given = to_mapping(fields)
        if given is None:
            raise self.error("is not a JSON object")
        self.fields: Mapping[str, Any] = given
        if "id" not in given:
            raise self.error("has no id")
        self.name = f"{printable(given['id'])} (no. {number})"

    def error(self, problem: str) -> InputsError:
        return label_error(self.frame.path, printable(self.frame.name), self.name, problem)

    def code(self) -> int:
        category = self.fields.get("category")
        code = CATEGORY_CODES.get(category) if isinstance(category, str) else None
        if code is None:
            known = ", ".join((*CLASSES, *CLASS_ALIASES, *IGNORED_CLASSES))
            raise self.error(f"unknown category {printable(category)!r}; known are {known}")
        return code

    def corners(self, issues: ValidationIssues, slack: float) -> list[float] | None:
        """Return x1, y1, x2, y2; None without a box. x2 < x1 - slack and numbers that are not finite are issues."""
        given = self.fields.get("box2d")
        if given is None:
            return None
        box = to_mapping(given)
        if box is None:
            raise self.error("box2d is not a JSON object")
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
            error = self.error(f"box2d.{name} is not a finite number: {printable(box.get(name, 'missing'))}")
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
            raise self.error(f"the score is not a number: {printable(given)}")
        if not isfinite(value):
            issues.add("scores that are not finite", self.error(f"the score is not finite: {value}"))
        return value

    def is_marked(self) -> bool:
        """Return whether an attribute marks a crowd or an ignored region."""
        given = self.fields.get("attributes")
        attributes = {} if given is None else to_mapping(given)
        if attributes is None:
            raise self.error("attributes is not a JSON object")
        marks = [attributes[name] for name in ("crowd", "ignored") if name in attributes]
        if any(not isinstance(mark, (bool, int, float, str)) for mark in marks):
            raise self.error("the attribute crowd or ignored is not a plain value")
        return any(map(is_true, marks))
