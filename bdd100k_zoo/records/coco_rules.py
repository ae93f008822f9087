"""The rules by which the official evaluation (``scalabel`` 0.3.1) makes a COCO annotation of a Scalabel label.

A box is [x1, y1, x2 - x1 + 1, y2 - y1 + 1] in float64; a crowd is told by the attributes ``crowd`` and ``ignored``, or
by a category that stands for a region to ignore.
"""

from __future__ import annotations

from collections import Counter
from math import isfinite
from struct import Struct
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import UNSET, UnsetType

from bdd100k_zoo.categories import ALIASES, CLASSES, IGNORED
from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.records.box2d import Box2D
from bdd100k_zoo.records.coco_schema import Bbox, CocoImage, ScalabelFrame
from bdd100k_zoo.records.coercion import is_true
from bdd100k_zoo.records.names import check_frame_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Named = TypeVar("Named", ScalabelFrame, CocoImage)

_STANDS_FOR = {**{name: name for name in CLASSES}, **ALIASES, **IGNORED}
_bits = Struct("4d").pack


def class_of(category: str | None) -> str | None:
    """Give the class that a category's name stands for; None where the benchmark has none."""
    return _STANDS_FOR.get(category or "")


def category_ids(categories: Mapping[str, int]) -> dict[str, int]:
    """Give the category id for every name: the file's own names, then what they and their aliases stand for."""
    ids = {class_of(name) or name: number for name, number in categories.items() if name not in IGNORED}
    ids.update(categories)
    return {other: ids[name] for other, name in _STANDS_FOR.items() if name in ids} | ids


def to_bbox(box: Box2D) -> Bbox:
    """Box2D → left, top and the official sizes."""
    return Bbox(box.x1, box.y1, box.x2 - box.x1 + 1, box.y2 - box.y1 + 1)


def to_corners(bbox: Bbox) -> Box2D:
    """Left, top and sizes → corners, x2 and y2 belonging to the box."""
    return Box2D(bbox.x, bbox.y, bbox.x + bbox.width - 1, bbox.y + bbox.height - 1)


def _same_corners(one: Box2D, other: Box2D) -> bool:
    """To the bit: -0.0 is not 0.0."""
    return _bits(one.x1, one.y1, one.x2, one.y2) == _bits(other.x1, other.y1, other.x2, other.y2)


def _same_bbox(one: Bbox, other: Bbox) -> bool:
    return _bits(one.x, one.y, one.width, one.height) == _bits(other.x, other.y, other.width, other.height)


def box_to_coco(box: Box2D, kept: Bbox | UnsetType) -> tuple[Bbox, Box2D | UnsetType]:
    """Give the bbox of corners, and the corners too where the bbox alone does not lead back to them.

    ``kept`` is the bbox that the corners came from, used where they still are its corners.
    """
    if not isinstance(kept, UnsetType) and _same_corners(to_corners(kept), box):
        return kept, UNSET
    bbox = to_bbox(box)
    return bbox, UNSET if _same_corners(to_corners(bbox), box) else box


def box_to_scalabel(bbox: Bbox, kept: Box2D | UnsetType) -> tuple[Box2D, Bbox | UnsetType]:
    """Give the corners of a bbox, and the bbox too where the corners alone do not lead back to it."""
    if not isinstance(kept, UnsetType) and _same_bbox(to_bbox(kept), bbox):
        return kept, UNSET
    box = to_corners(bbox)
    return box, UNSET if _same_bbox(to_bbox(box), bbox) else bbox


def is_crowd(category: str | None, attributes: Mapping[str, Any] | None) -> bool:
    """Whether a label is a crowd box in the evaluation: by its attributes, or by its category."""
    found = attributes or {}
    return is_true(found.get("crowd")) or is_true(found.get("ignored")) or category in IGNORED


def is_finite(bbox: Bbox) -> bool:
    """Whether sizes, right and bottom edge and area are numbers that JSON can hold."""
    return all(map(isfinite, (bbox.width * bbox.height, bbox.x + bbox.width, bbox.y + bbox.height)))


class Troubles:
    """Faults of one file, counted by kind, told in one error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._counts: Counter[str] = Counter()
        self._first: dict[str, list[str]] = {}

    def add(self, kind: str, place: str) -> None:
        """Note a fault."""
        self._counts[kind] += 1
        if self._counts[kind] <= 3:
            self._first.setdefault(kind, []).append(place)

    def tell(self) -> None:
        """Raise what was noted as one RecordError, each kind with its first three places; nothing where all is well."""
        if self._counts:
            raise RecordError(self.path, "; ".join(map(self._told, self._counts)))

    def _told(self, kind: str) -> str:
        more = ", …" if self._counts[kind] > len(self._first[kind]) else ""
        return f"{self._counts[kind]:,} {kind}: {', '.join(self._first[kind])}{more}"


def frame_keys(path: Path, frames: Sequence[Named]) -> dict[str, Named]:
    """Give frames or images by name; by ``videoName/name`` where names repeat and every one has a video.

    Raises:
        RecordError: a name stands for more than one.
        FrameNameError: a name is no relative path inside a folder.
    """
    by_name = {check_frame_name(frame.name): frame for frame in frames}
    if len(by_name) == len(frames):
        return by_name
    if all(frame.videoName for frame in frames):
        by_name = {f"{frame.videoName}/{frame.name}": frame for frame in frames}
    if len(by_name) < len(frames):
        troubles = Troubles(path)
        for name, number in Counter(frame.name for frame in frames).items():
            if number > 1:
                troubles.add("names that stand more than once", name)
        troubles.tell()
    return by_name


def key_in(keys: Mapping[str, Any], frame: ScalabelFrame) -> str:
    """Give the key of ``frame_keys`` under which a frame of another file is found."""
    return frame.name if frame.name in keys else f"{frame.videoName}/{frame.name}"
