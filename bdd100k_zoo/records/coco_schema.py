"""The files that ``convert`` exchanges, as they stand on disk: COCO's and Scalabel's, with every field that is kept.

Each format carries what the other cannot say, so that nothing is lost on the way there and back: a COCO annotation the
``scalabel`` original, a Scalabel frame or label the ``coco`` original. Originals are written only where the plain rules
of the conversion would not restore them, and used only where they agree with the fields beside them, so that a tool
that edits a file need not know them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.records.box2d import Box2D
from bdd100k_zoo.records.labels import ImageSize  # noqa: TC001  (msgspec reads the annotations)
from bdd100k_zoo.records.sources import PlainFrame, read_bytes, read_frames

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.records.sources import FrameFile

Format = Literal["scalabel", "coco"]
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


def decode(path: Path, content: bytes, form: type[Decoded]) -> Decoded:
    """Decode JSON into typed records; raises RecordError naming the place, a truncated file with its length."""
    try:
        return msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"), type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        where = f" after byte {len(content):,}" if "truncated" in str(error) else ""
        raise RecordError(path, f"is not what it should be: {error}{where}") from error


def read_coco(path: Path, form: type[Decoded]) -> Decoded:
    """Read a COCO file as typed records; raises StorageError, RecordError."""
    return decode(path, read_bytes(path), form)


def read_scalabel(path: Path) -> tuple[ScalabelFrame, ...]:
    """Read frames in any of the forms of ``records.sources``.

    Raises:
        StorageError: they cannot be read.
        InputsError: the file is in none of these forms.
        RecordError: a frame is not what it should be, and where.
    """
    frames: list[ScalabelFrame] = []
    for file in read_frames(path, ScalabelFrame, SCALABEL):
        frames += _converted(file) if file.records is None else file.records
    return tuple(frames)


def _converted(file: FrameFile[ScalabelFrame]) -> list[ScalabelFrame]:
    found = file.plain()
    for frame in found.frames:
        if isinstance(frame, dict) and frame.get("videoName") is not None:
            frame["videoName"] = str(frame["videoName"])
    try:
        return msgspec.convert(found.frames, list[ScalabelFrame], strict=False)
    except (msgspec.ValidationError, RecursionError) as error:
        raise RecordError(file.path, f"is not what it should be: {error}") from error
