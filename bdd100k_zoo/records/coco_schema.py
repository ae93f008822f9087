"""The files that ``convert`` exchanges, as they stand on disk: COCO's and Scalabel's, with every field that is kept.

Each format carries what the other cannot say, so that nothing is lost on the way there and back: a COCO annotation the
``scalabel`` original, a Scalabel frame or label the ``coco`` original. Originals are written only where the plain rules
of the conversion would not restore them, and used only where they agree with the fields beside them, so that a tool
that edits a file need not know them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.records.box2d import Box2D
from bdd100k_zoo.records.files import storage_errors
from bdd100k_zoo.records.labels import ImageSize

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

Format = Literal["scalabel", "coco"]
Shape = Literal["Scalabel frames", "COCO labels", "COCO results"]
Decoded = TypeVar("Decoded")

BLANK = b"\xef\xbb\xbf \t\r\n"
"""What may stand before a JSON document: the mark of UTF-8 that some editors write, and white space."""


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


class ScalabelFrame(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
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


class CocoLabels(msgspec.Struct, frozen=True, gc=False):
    """A labels file; one of images alone, as test splits have, is one without annotations."""

    images: tuple[CocoImage, ...]
    categories: tuple[CocoCategory, ...]
    annotations: tuple[CocoAnnotation, ...] = ()


class _Dataset(msgspec.Struct, gc=False):
    """The outer form of Scalabel's own writer."""

    frames: tuple[ScalabelFrame, ...]


def read_content(path: Path) -> bytes:
    """Read a file; raises StorageError, and RecordError where it is empty."""
    with storage_errors(path):
        content = path.read_bytes()
    if not content.strip():
        raise RecordError(path, "is empty")
    return content


def recognise(path: Path, content: bytes) -> Shape | None:
    """Say what a JSON file holds, by its outermost names; None for an empty list, which may be anything.

    Raises:
        RecordError: it is neither Scalabel's nor COCO's, and what it is instead.
    """
    start = content.lstrip(BLANK)
    if start.startswith(b"{"):
        return _recognise_object(path, decode(path, content, dict[str, Raw]).keys())
    if not start.startswith(b"["):
        raise RecordError(path, "is no JSON list or object, so neither Scalabel's nor COCO's")
    try:
        names = msgspec.json.decode(_first_element(start), type=dict[str, Raw]).keys()
    except (msgspec.DecodeError, UnicodeDecodeError):
        if decode(path, content, list[Raw]):
            raise RecordError(path, "is a list, but not of frames or results") from None
        return None
    return _recognise_element(path, names)


def _recognise_object(path: Path, names: Collection[str]) -> Shape:
    if "frames" in names:
        return "Scalabel frames"
    if {"images", "categories"} <= set(names):
        return "COCO labels"
    raise RecordError(path, f"is an object of {_listed(names)}: neither Scalabel's `frames` nor COCO's `images`")


def _recognise_element(path: Path, names: Collection[str]) -> Shape:
    if "image_id" in names:
        return "COCO results"
    if "name" in names:
        return "Scalabel frames"
    raise RecordError(path, f"is a list of {_listed(names)}: neither Scalabel's frames nor COCO's results")


def _listed(names: Collection[str], limit: int = 5) -> str:
    shown = ", ".join(f"`{name}`" for name in list(names)[:limit])
    return shown + (", …" if len(names) > limit else "") if shown else "nothing"


_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)


def _first_element(content: bytes) -> bytes:
    """Cut out the first object or list of a list, without decoding the rest; empty where there is no whole one."""
    depth, start = 0, 0
    for token in _TOKEN.finditer(content):
        if token[0] in (b"{", b"["):
            depth += 1
            start = token.start() if depth == 2 else start
        elif token[0] in (b"}", b"]"):
            depth -= 1
            if depth <= 1:
                return content[start : token.end()] if depth else b""
    return b""


def decode(path: Path, content: bytes, form: type[Decoded]) -> Decoded:
    """Decode JSON into typed records; raises RecordError naming the place, a truncated file with its length."""
    try:
        return msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"), type=form)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        where = f" after byte {len(content):,}" if "truncated" in str(error) else ""
        raise RecordError(path, f"is not what it should be: {error}{where}") from error


def decode_scalabel(path: Path, content: bytes) -> tuple[ScalabelFrame, ...]:
    """Decode a list of frames, or an object with ``frames``; raises RecordError."""
    if content.lstrip(BLANK).startswith(b"{"):
        return decode(path, content, _Dataset).frames
    return decode(path, content, tuple[ScalabelFrame, ...])
