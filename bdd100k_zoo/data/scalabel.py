"""Scalabel's format of labels and predictions: the schema of a frame, and its columns for scoring.

Names and rules are those of ``scalabel`` 0.3.1 and ``bdd100k`` 1.0.1. ``scalabel_reader`` reads files of this format.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES, IGNORED_CLASSES
from bdd100k_zoo.data.formats import is_true

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bdd100k_zoo.errors import InputsError


class Box2D(msgspec.Struct, frozen=True, gc=False):
    """Corners in pixels; x2 and y2 are inclusive, so that the width is x2 - x1 + 1."""

    x1: float
    y1: float
    x2: float
    y2: float


class Bbox(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """The same box as COCO has it, in pixels: left, top, width, height."""

    x: float
    y: float
    width: float
    height: float


class ImageSize(msgspec.Struct, frozen=True, gc=False):
    """Size of a frame in pixels."""

    width: int
    height: int


FRAME_SIZE = ImageSize(1280, 720)
"""The size of all frames of BDD100K."""


class FrameAttributes(msgspec.Struct, frozen=True, gc=False):
    """The attributes that BDD100K has for a frame."""

    weather: str | None = None
    scene: str | None = None
    timeofday: str | None = None


def to_frame_attributes(attributes: object) -> FrameAttributes | None:
    """Return the attributes of BDD100K among all attributes of a frame, as text; None if it has none."""
    if not isinstance(attributes, dict):
        return None
    texts = {name: attributes.get(name) for name in FrameAttributes.__struct_fields__}
    return FrameAttributes(**{name: None if text is None else str(text) for name, text in texts.items()})


class CocoOrigin(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Fields of a COCO image or annotation that a frame or label cannot express; written by ``convert``."""

    id: int | str | UnsetType = UNSET
    bbox: Bbox | UnsetType = UNSET
    """Set if float arithmetic on the corners does not give these numbers."""


class Label(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One object, labelled or detected."""

    given_id: str | int | float | UnsetType | None = msgspec.field(default=UNSET, name="id")
    category: str | None = None
    score: float | str | None = None
    """None for labels; may be a number written as text."""
    box2d: Box2D | None = None
    """None for other shapes: lanes, areas."""
    attributes: dict[str, Any] | None = None
    coco: CocoOrigin | None = None

    @property
    def id(self) -> str:
        """The label's id as text; empty if the file has none."""
        return "" if isinstance(self.given_id, UnsetType) else str(self.given_id)


class PlainFrame(msgspec.Struct, kw_only=True, frozen=True, gc=False, omit_defaults=True):
    """Base of the records of a frame; older forms of the format have these fields in a frame and fail to decode."""

    bbox: None = None
    box2d: None = None
    frames: None = None
    objects: None = None


class LabelFrame(PlainFrame, frozen=True, gc=False, omit_defaults=True):
    """One image with its labels or detections."""

    given_name: str | int | float = msgspec.field(name="name")
    url: str | None = None
    videoName: str | None = None  # noqa: N815  (the format's spelling)
    timestamp: int | float | None = None
    frameIndex: int | None = None  # noqa: N815
    attributes: dict[str, Any] | None = None
    """Weather, scene, time of day."""
    given_size: ImageSize | None = msgspec.field(default=None, name="size")
    coco: CocoOrigin | None = None
    given_labels: tuple[Label, ...] | UnsetType | None = msgspec.field(default=UNSET, name="labels")

    @property
    def name(self) -> str:
        """The frame's name as text."""
        return str(self.given_name)

    @property
    def size(self) -> ImageSize:
        """The frame's size; FRAME_SIZE if the file has none."""
        return self.given_size or FRAME_SIZE

    @property
    def labels(self) -> tuple[Label, ...]:
        """The frame's labels; empty if the file has none or null."""
        return self.given_labels or ()


NumberOrText = float | str | None


class LooseBox(msgspec.Struct, gc=False):
    """A box whose corners may be missing or written as text."""

    x1: NumberOrText = None
    y1: NumberOrText = None
    x2: NumberOrText = None
    y2: NumberOrText = None


class LooseLabel(msgspec.Struct, gc=False):
    """A label whose numbers may be written as text, or be text that is no number."""

    id: str | int | float | None = None
    category: str | None = None
    score: NumberOrText = None
    box2d: LooseBox | None = None


class LooseFrame(msgspec.Struct, gc=False):
    """A frame of such labels."""

    name: str | int | float
    labels: tuple[LooseLabel, ...] | None = None


REGION_BIT = 0x80
"""Added to the class index of a category of ignored regions."""

CATEGORY_CODES: Mapping[str, int] = MappingProxyType(
    {name: index for index, name in enumerate(CLASSES)}
    | {alias: CLASSES.index(name) for alias, name in CLASS_ALIASES.items()}
    | {region: CLASSES.index(name) | REGION_BIT for region, name in IGNORED_CLASSES.items()}
)
"""Code by category, for all categories that a box may have: the class index, with REGION_BIT for ignored regions."""

BOXLESS_CATEGORIES = (
    *("lane", "drivable area", "area/alternative", "area/drivable", "area/unknown", "lane/crosswalk"),
    *("lane/double other", "lane/double white", "lane/double yellow", "lane/road curb"),
    *("lane/single other", "lane/single white", "lane/single yellow"),
)
"""Categories of BDD100K's labels of 2018 that have no box and are not scored."""


class FrameRows(NamedTuple):
    """The boxes of one frame as columns, each packed into bytes."""

    name: str
    video: str | None
    attributes: FrameAttributes | None
    codes: bytes
    """uint8 [n]: category codes."""
    crowd: bytes
    """bool [n]: an attribute marks a crowd or an ignored region; not meaningful for predictions."""
    scores: bytes
    """float64 [n]; for labels empty or not meaningful."""
    boxes: bytes
    """float64 [n, 4]: x1, y1, x2, y2; of COCO files x, y, width, height."""
    unscored: bool
    """Whether a label has no score, as is right for labels."""
    boxless: int
    """Number of labels without a box: lanes, areas."""
    fault: InputsError | None = None
    """A prediction without a score, on which the official evaluator fails if the frame is labelled."""


def is_crowd(category: str | None, attributes: Mapping[str, Any] | None) -> bool:
    """Return whether a label is a crowd box in the evaluation: by its attributes, or by its category."""
    if category in IGNORED_CLASSES or not attributes:
        return category in IGNORED_CLASSES
    return is_true(attributes.get("crowd", False)) or is_true(attributes.get("ignored", False))


def to_bbox(box: Box2D) -> Bbox:
    """Convert corners to left, top, width and height, as the official evaluation computes them."""
    return Bbox(box.x1, box.y1, box.x2 - box.x1 + 1, box.y2 - box.y1 + 1)


def are_normalised(boxes: Iterable[Iterable[float]]) -> bool:
    """Return whether there are boxes, and all lie within 0 to 1, not in pixels; stops at the first that does not.

    Args:
        boxes: x, y, width and height of each. A width may be x2 - x1 + 1 or, in COCO files of other tools, x2 - x1, so
            that a right edge of up to 2 counts as within 1. 1e-9 allows for rounding.
    """
    is_empty = True
    for x, y, width, height in boxes:
        if not (0 <= x <= 1 and 0 <= y <= 1 and 0 <= x + width <= 2 + 1e-9 and 0 <= y + height <= 2 + 1e-9):
            return False
        is_empty = False
    return not is_empty
