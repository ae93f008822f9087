"""COCO's format: the schema of its files, their reader, and the equivalence of its boxes and categories to Scalabel's.

So that a conversion is lossless, each format carries what the other cannot express: a COCO annotation its ``scalabel``
origin, a Scalabel frame or label its ``coco`` origin. Origins are written only if the plain rules of the conversion
would not restore the original. They are used only if they agree with the fields beside them, so that tools which edit
a file need not know them.

A box [x1, y1, x2, y2] corresponds to [x1, y1, x2 - x1 + 1, y2 - y1 + 1], in float64.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections import Counter
from math import isfinite
from struct import Struct
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES, IGNORED_CLASSES
from bdd100k_zoo.data.scalabel import Bbox, Box2D, LabelFrame, to_bbox
from bdd100k_zoo.data.validation import ValidationIssues
from bdd100k_zoo.errors import InvalidFileError
from bdd100k_zoo.files import check_frame_name, read_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class ScalabelOrigin(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Fields of a Scalabel label that COCO's own fields cannot express."""

    id: str | int | float | UnsetType | None = UNSET
    category: str | UnsetType = UNSET
    """An alias, or an ignored region."""
    box2d: Box2D | UnsetType = UNSET
    """Set if float arithmetic on the bbox does not give these corners."""


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
    videoName: str | None = None  # noqa: N815  (Scalabel's spelling)
    timestamp: int | float | None = None
    frameIndex: int | None = None  # noqa: N815
    attributes: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The name of the corresponding frame."""
        return self.file_name


class CocoAnnotation(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One labelled object."""

    image_id: int | str
    category_id: int
    id: int | str | None = None
    bbox: Bbox | None = None
    """None if the object has only a segmentation."""
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
    """A labels file; test splits have images without annotations."""

    images: tuple[CocoImage, ...]
    categories: tuple[CocoCategory, ...]
    annotations: tuple[CocoAnnotation, ...] = ()
    info: Any = {}
    """pycocotools 2.0.9 and 2.0.10 read no results without it."""
    licenses: Any = ()


CocoType = TypeVar("CocoType")


def read_coco(path: Path, file_type: type[CocoType]) -> CocoType:
    """Read a COCO file, ``CocoLabels`` or ``list[CocoResult]``.

    Raises:
        StorageError: the file cannot be read.
        InvalidFileError: it is invalid; the message names the place, for a truncated file its length.
    """
    content = read_bytes(path)
    try:
        return msgspec.json.decode(content.removeprefix(BOM_UTF8), type=file_type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        where = f" after byte {len(content):,}" if "truncated" in str(error) else ""
        raise InvalidFileError(path, f"does not have the expected structure: {error}{where}") from error


# Categories

CLASS_OF_CATEGORY = {**{name: name for name in CLASSES}, **CLASS_ALIASES, **IGNORED_CLASSES}


def class_of(category: str | None) -> str | None:
    """Return the class of a category; None if the benchmark has no such category."""
    return CLASS_OF_CATEGORY.get(category or "")


# Boxes

_pack = Struct("4d").pack


def _is_identical(one: Box2D | Bbox, other: Box2D | Bbox) -> bool:
    """Compare to the bit: -0.0 is not 0.0."""
    return _pack(*msgspec.structs.astuple(one)) == _pack(*msgspec.structs.astuple(other))


def to_corners(bbox: Bbox) -> Box2D:
    """Convert left, top, width and height to corners, x2 and y2 inclusive."""
    return Box2D(bbox.x, bbox.y, bbox.x + bbox.width - 1, bbox.y + bbox.height - 1)


def box_to_coco(box: Box2D, original: Bbox | UnsetType) -> tuple[Bbox, Box2D | UnsetType]:
    """Return the bbox of corners, and the corners too if float arithmetic on the bbox does not restore them.

    ``original`` is the bbox that the corners came from; it is used if they still are its corners.
    """
    if not isinstance(original, UnsetType) and _is_identical(to_corners(original), box):
        return original, UNSET
    bbox = to_bbox(box)
    return bbox, UNSET if _is_identical(to_corners(bbox), box) else box


def box_to_scalabel(bbox: Bbox, original: Box2D | UnsetType) -> tuple[Box2D, Bbox | UnsetType]:
    """Return the corners of a bbox, and the bbox too if float arithmetic on the corners does not restore it."""
    if not isinstance(original, UnsetType) and _is_identical(to_bbox(original), bbox):
        return original, UNSET
    box = to_corners(bbox)
    return box, UNSET if _is_identical(to_bbox(box), bbox) else bbox


def is_finite(bbox: Bbox) -> bool:
    """Return whether width, height, right and bottom edge and area are numbers that JSON can represent."""
    return all(map(isfinite, (bbox.width * bbox.height, bbox.x + bbox.width, bbox.y + bbox.height)))


# Frames and images

Named = TypeVar("Named", LabelFrame, CocoImage)


def frame_keys(path: Path, frames: Sequence[Named]) -> dict[str, Named]:
    """Return frames or images by name; by ``videoName/name`` if names repeat and all of them have a video.

    Raises:
        InvalidFileError: a name is ambiguous, or no relative path inside a folder.
    """
    by_name = {check_frame_name(frame.name): frame for frame in frames}
    if len(by_name) == len(frames):
        return by_name
    if all(frame.videoName for frame in frames):
        by_name = {f"{frame.videoName}/{frame.name}": frame for frame in frames}
    if len(by_name) < len(frames):
        issues = ValidationIssues()
        for name, number in Counter(frame.name for frame in frames).items():
            if number > 1:
                issues.add("names that appear more than once", name)
        issues.raise_all(path)
    return by_name
