"""Reading labels and predictions value by value: slow, takes all that the official tool takes, names what is wrong.

Where the typed reader (``records.tables``) fails or doubts, this one says why, or reads on.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from bdd100k_zoo.categories import ALIASES, CLASSES, IGNORED
from bdd100k_zoo.errors import BadFrameError, BadLabelError, WrongFileError
from bdd100k_zoo.records.coercion import is_true, to_number
from bdd100k_zoo.records.findings import Finding, Findings, shown
from bdd100k_zoo.records.rows import CATEGORY_CODES, THIN, FrameAttributes, LabelRows, PredictionRows
from bdd100k_zoo.records.sources import LABELS, PREDICTIONS, decode_document, frames_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_CORNERS = ("x1", "y1", "x2", "y2")


def read_label_rows(path: Path, content: bytes, findings: Findings) -> list[LabelRows]:
    """Read a labels file; raises InputsError where the official tool would stop as well."""
    return [_label_rows(frame, findings) for frame in _frames(path, content, LABELS)]


def read_prediction_rows(path: Path, content: bytes, findings: Findings) -> list[PredictionRows]:
    """Read a predictions file; raises InputsError where the official tool would stop as well."""
    frames = list(_frames(path, content, PREDICTIONS))
    labels = [label for frame in frames for label in frame.labels()]
    if labels and all(label.fields.get("score") is None for label in labels):
        raise WrongFileError(path, PREDICTIONS, "labels: none of them has a score")
    return [_prediction_rows(frame, findings) for frame in frames]


class _Label:
    """One label of a document, and where it stands."""

    def __init__(self, frame: _Frame, place: int, fields: Any) -> None:
        self.frame = frame
        self.name = f"no. {place}"
        if not isinstance(fields, dict):
            raise self.error("is no JSON object")
        self.fields: Mapping[str, Any] = fields
        if "id" not in fields:
            raise self.error("has no id")
        self.name = f"{shown(fields['id'])} (no. {place})"

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
        if not isinstance(box, dict):
            raise self.error("box2d is no JSON object")
        corners = [self._corner(box, name) for name in _CORNERS]
        for axis, low, high in (("x", corners[0], corners[2]), ("y", corners[1], corners[3])):
            if high < low - slack:
                less = f" - {slack:g}" if slack else ""
                told = f"{axis}2 {shown(box[axis + '2'])} < {axis}1 {shown(box[axis + '1'])}{less}"
                findings.add(self.finding(f"boxes with {axis}2 < {axis}1{less}", told))
        return corners

    def _corner(self, box: Mapping[str, Any], name: str) -> float:
        value = to_number(box.get(name))
        if value is None or not isfinite(value):
            raise self.error(f"box2d.{name} is no finite number: {shown(box.get(name, 'missing'))}")
        return value

    def score(self, findings: Findings) -> float:
        given = self.fields.get("score")
        value = to_number(given)
        if value is None:
            raise self.error("has no score" if given is None else f"the score is no number: {shown(given)}")
        if not isfinite(value):
            findings.add(self.finding("scores that are not finite", f"the score is not finite: {value}"))
        return value

    def crowd(self) -> bool:
        attributes = self.fields.get("attributes")
        if attributes is None:
            return False
        if not isinstance(attributes, dict):
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

    def attributes(self) -> FrameAttributes | None:
        given = self.fields.get("attributes")
        if not isinstance(given, dict):
            return None
        texts = {name: given.get(name) for name in FrameAttributes.__struct_fields__}
        return FrameAttributes(**{name: None if text is None else str(text) for name, text in texts.items()})


def _frames(path: Path, content: bytes, expected: str) -> Iterator[_Frame]:
    frames = frames_of(path, decode_document(path, content, expected), expected)
    return (_Frame(path, place, fields) for place, fields in enumerate(frames, start=1))


def _label_rows(frame: _Frame, findings: Findings) -> LabelRows:
    codes, crowd, corners, unscored = bytearray(), bytearray(), list[float](), False
    for label in frame.labels():
        code, box, is_crowd = label.code(), label.corners(findings), label.crowd()
        unscored |= label.fields.get("score") is None
        if box is not None:
            codes.append(code)
            crowd.append(is_crowd)
            corners += box
    numbers = np.array(corners, np.float64)
    name, video, attributes = frame.given_name, frame.video, frame.attributes()
    return LabelRows(name, video, attributes, bytes(codes), bytes(crowd), numbers, unscored)


def _prediction_rows(frame: _Frame, findings: Findings) -> PredictionRows:
    codes, scores, corners = bytearray(), list[float](), list[float]()
    for label in frame.labels():
        code, box = label.code(), label.corners(findings, slack=THIN)
        if box is None:
            findings.add(label.finding("predictions without a box", "has no box2d"))
            continue
        codes.append(code)
        scores.append(label.score(findings))
        corners += box
    numbers = np.array(scores, np.float64), np.array(corners, np.float64)
    return PredictionRows(frame.given_name, frame.video, bytes(codes), *numbers)
