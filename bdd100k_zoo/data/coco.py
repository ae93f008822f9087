"""COCO files: their schema, and the rules by which the official evaluation makes COCO annotations of Scalabel labels.

Each format carries what the other cannot say, so that nothing is lost on the way there and back: a COCO annotation the
``scalabel`` original, a Scalabel frame or label the ``coco`` original. Originals are written only where the plain rules
of the conversion would not restore them, and used only where they agree with the fields beside them, so that a tool
that edits a file need not know them.

A box is [x1, y1, x2 - x1 + 1, y2 - y1 + 1] in float64; a crowd is told by the attributes ``crowd`` and ``ignored``, or
by a category that stands for a region to ignore.
"""

from __future__ import annotations

from collections import Counter
from math import isfinite
from struct import Struct
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES, IGNORED_CLASSES
from bdd100k_zoo.data.formats import PlainFrame, is_true, read_frames
from bdd100k_zoo.data.scalabel import (
    Box2D,
    ImageSize,
)
from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.files import check_frame_name, read_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bdd100k_zoo.data.formats import FrameFile

AnnotationFormat = Literal["scalabel", "coco"]
Decoded = TypeVar("Decoded")

SCALABEL = "labels or predictions in Scalabel's format"


class Bbox(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """COCO's box in pixels: left, top, width, height."""

    x: float
    y: float
    width: float
    height: float


class ScalabelOrigin(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a Scalabel label said that COCO's own fields do not."""

    id: str | int | float | UnsetType | None = UNSET
    category: str | UnsetType = UNSET
    """An alias, or a region to ignore."""
    box2d: Box2D | UnsetType = UNSET
    """Where the arithmetic of floats would not lead back to these corners."""


class CocoOrigin(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a COCO image or annotation said that Scalabel's own fields do not."""

    id: int | str | UnsetType = UNSET
    bbox: Bbox | UnsetType = UNSET
    """Where the arithmetic of floats would not lead back to these numbers."""


class ScalabelLabel(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One object, labelled or detected."""

    id: str | int | float | UnsetType | None = UNSET
    category: str | None = None
    score: float | str | None = None
    box2d: Box2D | None = None
    attributes: dict[str, Any] | None = None
    coco: CocoOrigin | None = None


class ScalabelFrame(PlainFrame, frozen=True, gc=False, omit_defaults=True):
    """One image."""

    given_name: str | int | float = msgspec.field(name="name")
    url: str | None = None
    videoName: str | None = None  # noqa: N815  (the format's spelling)
    timestamp: int | float | None = None
    frameIndex: int | None = None  # noqa: N815
    attributes: dict[str, Any] | None = None
    size: ImageSize | None = None
    coco: CocoOrigin | None = None
    given_labels: tuple[ScalabelLabel, ...] | UnsetType | None = msgspec.field(default=UNSET, name="labels")

    @property
    def name(self) -> str:
        """The frame's name as text."""
        return str(self.given_name)

    @property
    def labels(self) -> tuple[ScalabelLabel, ...]:
        """The frame's labels; none where the file has none or null."""
        return self.given_labels or ()


class CocoCategory(msgspec.Struct, frozen=True, gc=False):
    """One category of a labels file."""

    id: int
    name: str


class CocoImage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One image of a labels file."""

    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None
    url: str | None = None
    videoName: str | None = None  # noqa: N815
    timestamp: int | float | None = None
    frameIndex: int | None = None  # noqa: N815
    attributes: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The name of the frame that it is."""
        return self.file_name


class CocoAnnotation(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One labelled object."""

    image_id: int | str
    category_id: int
    id: int | str | None = None
    bbox: Bbox | None = None
    """None where the object is a segmentation alone."""
    area: float | None = None
    iscrowd: int | bool | UnsetType = UNSET
    attributes: dict[str, Any] | None = None
    scalabel: ScalabelOrigin | None = None


class CocoResult(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One detected object."""

    image_id: int | str
    category_id: int
    bbox: Bbox
    score: float
    attributes: dict[str, Any] | None = None
    scalabel: ScalabelOrigin | None = None
    file_name: str | None = None
    """Of the image, as ultralytics writes it."""


class CocoLabels(msgspec.Struct, frozen=True, gc=False):
    """A labels file; one of images alone, as test splits have, is one without annotations."""

    images: tuple[CocoImage, ...]
    categories: tuple[CocoCategory, ...]
    annotations: tuple[CocoAnnotation, ...] = ()
    info: Any = {}
    """pycocotools 2.0.9 and 2.0.10 read no results without it."""
    licenses: Any = ()


def decode_coco(path: Path, content: bytes, form: type[Decoded]) -> Decoded:
    """Decode JSON into typed records; raises RecordError naming the place, a truncated file with its length."""
    try:
        return msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"), type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        where = f" after byte {len(content):,}" if "truncated" in str(error) else ""
        raise RecordError(path, f"is not what it should be: {error}{where}") from error


def read_coco(path: Path, form: type[Decoded]) -> Decoded:
    """Read a COCO file as typed records; raises StorageError, RecordError."""
    return decode_coco(path, read_bytes(path), form)


def read_scalabel(path: Path) -> tuple[ScalabelFrame, ...]:
    """Read frames in any of the forms of ``formats``.

    Raises:
        StorageError: they cannot be read.
        InputsError: the file is in none of these forms.
        RecordError: a frame is not what it should be, and where.
    """
    frames: list[ScalabelFrame] = []
    for file in read_frames(path, ScalabelFrame, SCALABEL):
        frames += _convert_frames(file) if file.records is None else file.records
    return tuple(frames)


def _convert_frames(file: FrameFile[ScalabelFrame]) -> list[ScalabelFrame]:
    found = file.plain()
    for frame in found.frames:
        if isinstance(frame, dict) and frame.get("videoName") is not None:
            frame["videoName"] = str(frame["videoName"])
    try:
        return msgspec.convert(found.frames, list[ScalabelFrame], strict=False)
    except (msgspec.ValidationError, RecursionError) as error:
        raise RecordError(file.path, f"is not what it should be: {error}") from error


Named = TypeVar("Named", ScalabelFrame, CocoImage)

_STANDS_FOR = {**{name: name for name in CLASSES}, **CLASS_ALIASES, **IGNORED_CLASSES}
_bits = Struct("4d").pack


def class_of(category: str | None) -> str | None:
    """Give the class that a category's name stands for; None where the benchmark has none."""
    return _STANDS_FOR.get(category or "")


def category_ids(categories: Mapping[str, int]) -> dict[str, int]:
    """Give the category id for every name: the file's own names, then what they and their aliases stand for."""
    ids = {class_of(name) or name: number for name, number in categories.items() if name not in IGNORED_CLASSES}
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
    return is_true(found.get("crowd")) or is_true(found.get("ignored")) or category in IGNORED_CLASSES


def is_finite(bbox: Bbox) -> bool:
    """Whether sizes, right and bottom edge and area are numbers that JSON can hold."""
    return all(map(isfinite, (bbox.width * bbox.height, bbox.x + bbox.width, bbox.y + bbox.height)))


class FaultCollector:
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
        troubles = FaultCollector(path)
        for name, number in Counter(frame.name for frame in frames).items():
            if number > 1:
                troubles.add("names that stand more than once", name)
        troubles.tell()
    return by_name


def find_frame_key(keys: Mapping[str, Any], frame: ScalabelFrame) -> str:
    """Give the key of ``frame_keys`` under which a frame of another file is found."""
    return frame.name if frame.name in keys else f"{frame.videoName}/{frame.name}"
