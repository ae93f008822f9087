"""Ground truth: label files in Scalabel's format, as BDD100K publishes them (``det_train.json``, ``det_val.json``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.records.box2d import Box2D
from bdd100k_zoo.records.coercion import is_true
from bdd100k_zoo.records.files import storage_errors
from bdd100k_zoo.records.names import check_frame_name

if TYPE_CHECKING:
    from pathlib import Path


class ImageSize(msgspec.Struct, frozen=True, gc=False):
    """Size of a frame in pixels."""

    width: int
    height: int


FRAME_SIZE = ImageSize(1280, 720)
"""The size of all frames of BDD100K."""


class Label(msgspec.Struct, frozen=True):
    """One labelled object."""

    given_id: str | int = msgspec.field(default="", name="id")
    category: str | None = None
    box2d: Box2D | None = None
    """None where the label is of another shape: a lane, an area."""
    attributes: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        """The label's id as text; empty where the file has none."""
        return str(self.given_id)

    @property
    def is_region(self) -> bool:
        """Whether its attributes mark a crowd or a region to ignore, and no single object."""
        attributes = self.attributes or {}
        return is_true(attributes.get("crowd")) or is_true(attributes.get("ignored"))


class LabelFrame(msgspec.Struct, frozen=True):
    """One labelled image."""

    given_name: str | int = msgspec.field(name="name")
    given_labels: tuple[Label, ...] | None = msgspec.field(default=None, name="labels")
    attributes: Mapping[str, Any] | None = None
    """Weather, scene, time of day."""
    given_size: ImageSize | None = msgspec.field(default=None, name="size")

    @property
    def name(self) -> str:
        """The frame's name as text."""
        return str(self.given_name)

    @property
    def labels(self) -> tuple[Label, ...]:
        """The frame's labels; none where the file has none or null."""
        return self.given_labels or ()

    @property
    def size(self) -> ImageSize:
        """The size that the file tells, else that of all frames of BDD100K."""
        return self.given_size or FRAME_SIZE


class _Dataset(msgspec.Struct, frozen=True):
    """The format's other outer form."""

    frames: tuple[LabelFrame, ...]


def read_labels(path: Path) -> tuple[LabelFrame, ...]:
    """Read a label file: a JSON list of frames, or an object with ``frames``. Fields that are not ours are passed over.

    Raises:
        StorageError: the file cannot be read.
        RecordError: it is not such a file.
        FrameNameError: a frame's name is no relative path inside a folder.
    """
    with storage_errors(path):
        content = path.read_bytes()
    try:
        document = msgspec.json.decode(content, type=tuple[LabelFrame, ...] | _Dataset)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(path, f"is not a label file in Scalabel's format: {error}") from error
    frames = document.frames if isinstance(document, _Dataset) else document
    for frame in frames:
        check_frame_name(frame.name)
    return frames
