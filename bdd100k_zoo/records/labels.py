"""Ground truth: label files in Scalabel's format, as BDD100K publishes them (``det_train.json``, ``det_val.json``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from bdd100k_zoo.errors import UnlikelyBoxesError
from bdd100k_zoo.records.box2d import Box2D
from bdd100k_zoo.records.coercion import is_true
from bdd100k_zoo.records.names import check_frame_name
from bdd100k_zoo.records.sources import LABELS, PlainFrame, read_frames

if TYPE_CHECKING:
    from collections.abc import Iterable
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


class LabelFrame(PlainFrame, frozen=True):
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


def read_labels(path: Path) -> tuple[LabelFrame, ...]:
    """Read labels in any of the forms of ``records.sources``; fields that are not ours are ignored.

    Raises:
        StorageError: they cannot be read.
        InputsError: the file is of another kind, or a label is not what it should be.
        UnlikelyBoxesError: all boxes lie within 0 to 1.
        FrameNameError: a frame's name is no relative path inside a folder.
    """
    frames: list[LabelFrame] = []
    for file in read_frames(path, LabelFrame, LABELS):
        if file.records is not None:
            frames += file.records
            continue
        from bdd100k_zoo.records import careful  # it needs numpy, which a standard file does not

        frames += careful.read_label_frames(file.path, file.plain().frames)
    for frame in frames:
        check_frame_name(frame.name)
    if are_normalised(label.box2d for frame in frames for label in frame.labels if label.box2d):
        raise UnlikelyBoxesError(path, NORMALISED)
    return tuple(frames)


def are_normalised(boxes: Iterable[Box2D]) -> bool:
    """Return whether there are boxes, and all of them lie within 0 to 1; stops at the first that does not."""
    number = 0
    for number, box in enumerate(boxes, 1):  # noqa: B007
        if not (0 <= box.x1 <= 1 and 0 <= box.y1 <= 1 and 0 <= box.x2 <= 1 and 0 <= box.y2 <= 1):
            return False
    return number > 0


NORMALISED = "all boxes lie within 0 to 1: expected pixels, so multiply them by the width and height of the images"
NO_BOX = "holds no box"
