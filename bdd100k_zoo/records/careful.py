"""Reading labels and predictions value by value: slow, takes all that the official tool takes, names what is wrong.

Where the typed reader (``records.tables``) fails or doubts, this one says why, or reads on.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from bdd100k_zoo.categories import ALIASES, CLASSES, IGNORED
from bdd100k_zoo.errors import BadFrameError, BadLabelError, WrongFileError
from bdd100k_zoo.records.box2d import Box2D
from bdd100k_zoo.records.coercion import is_true, to_mapping, to_number
from bdd100k_zoo.records.findings import Finding, Findings, shown
from bdd100k_zoo.records.labels import ImageSize, Label, LabelFrame
from bdd100k_zoo.records.rows import CATEGORY_CODES, THIN, FrameAttributes, LabelRows, PredictionRows
from bdd100k_zoo.records.sources import CORNERS, PREDICTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


def read_label_rows(path: Path, frames: Sequence[Any], findings: Findings) -> list[LabelRows]:
    """Read labels from plain documents; raises InputsError where the official tool would stop as well."""
    return [_label_rows(frame, findings) for frame in _frames(path, frames)]


def read_prediction_rows(path: Path, documents: Sequence[Any], findings: Findings) -> list[PredictionRows]:
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


class _Label:
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
        self.name = f"{shown(given['id'])} (no. {place})"

    def error(self, problem: str) -> BadLabelError:
        return BadLabelError(self.frame.path, self.frame.name, self.name, problem)

    def finding(self, kind: str, problem: str) -> Finding:
        return Finding(kind, self.frame.path, self.frame.name, self.name, problem)

    def code(self) -> int:
        category = self.fields.get("category")
        code = CATEGORY_CODES.get(category) if isinstance(category, str) else None
        if code is None:
            known = ", ".join((*CLASSES, *ALIASES, *IGNORED))
            raise self.error(f"unknown category {shown(category)!r}; known are {known}")
        return code

    def corners(self, findings: Findings, slack: float = 0) -> list[float] | None:
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
                told = f"{axis}2 {shown(box[axis + '2'])} < {axis}1 {shown(box[axis + '1'])}{less}"
                findings.add(self.finding(f"boxes with {axis}2 < {axis}1{less}", told))
        return corners

    def _corner(self, box: Mapping[str, Any], name: str, findings: Findings) -> float:
        value = to_number(box.get(name))
        problem = f"box2d.{name} is no finite number: {shown(box.get(name, 'missing'))}"
        if value is None:
            raise self.error(problem)
        if not isfinite(value):
            findings.add(self.finding("corners that are not finite", problem))
        return value

    def score(self, findings: Findings) -> float | None:
        given = self.fields.get("score")
        if given is None:
            findings.add(self.finding("predictions without a score", "has no score"))
            return None
        value = to_number(given)
        if value is None:
            raise self.error(f"the score is no number: {shown(given)}")
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
        self.name = shown(self.given_name)
        given_video = fields.get("videoName")
        self.video = None if given_video is None else str(given_video)

    def labels(self) -> Iterator[_Label]:
        labels = self.fields.get("labels")
        if labels is None:
            return iter(())
        if not isinstance(labels, list):
            raise BadFrameError(self.path, self.name, "labels is no JSON list")
        return (_Label(self, place, fields) for place, fields in enumerate(labels, start=1))

    def size(self) -> ImageSize | None:
        given = self.fields.get("size")
        if given is None:
            return None
        sides = [to_number(given.get(name)) if isinstance(given, dict) else None for name in ("width", "height")]
        if any(side is None or not isfinite(side) for side in sides):
            raise BadFrameError(self.path, self.name, f"size is not a width and a height: {shown(given)}")
        return ImageSize(*(int(side or 0) for side in sides))

    def attributes(self) -> FrameAttributes | None:
        given = self.fields.get("attributes")
        if not isinstance(given, dict):
            return None
        texts = {name: given.get(name) for name in FrameAttributes.__struct_fields__}
        return FrameAttributes(**{name: None if text is None else str(text) for name, text in texts.items()})


def _frames(path: Path, frames: Sequence[Any]) -> Iterator[_Frame]:
    return (_Frame(path, place, fields) for place, fields in enumerate(frames, start=1))


def _label_rows(frame: _Frame, findings: Findings) -> LabelRows:
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


def _prediction_rows(frame: _Frame, findings: Findings) -> PredictionRows:
    codes, scores, corners, fault = bytearray(), list[float](), list[float](), None
    for label in frame.labels():
        code, box = label.code(), label.corners(findings, slack=THIN)
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


def _label_record(label: _Label) -> Label:
    odd = Findings()
    corners = label.corners(odd)
    if corners and not all(map(isfinite, corners)):
        odd.refuse()
    return Label(
        str(label.fields["id"]),
        None if label.fields.get("category") is None else str(label.fields["category"]),
        Box2D(*corners) if corners else None,
        to_mapping(label.fields.get("attributes")),
    )
