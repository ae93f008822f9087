"""The width and height of frames, from the headers of their images where those suffice."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from bdd100k_zoo.data.image_files import read_image
from bdd100k_zoo.data.images import FrameReader
from bdd100k_zoo.data.scalabel import FRAME_SIZE, ImageSize
from bdd100k_zoo.errors import ImagesError
from bdd100k_zoo.files import read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bdd100k_zoo.data.images import Frame

BDD100K_NAME = re.compile(r"(.*/)?[0-9a-f]{8}-[0-9a-f]{8}(-[0-9]{7})?(\.jpg)?")
"""Names of BDD100K's images, and of the frames of its videos."""
EXIF_ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)
"""Orientations by which an image is turned by a quarter, so that width and height are exchanged."""


def size_by_name(name: str) -> ImageSize | None:
    """Return 1280×720 for a frame with a name of BDD100K; None for any other."""
    return FRAME_SIZE if BDD100K_NAME.fullmatch(name) else None


def read_image_size(path: Path) -> ImageSize:
    """Return the size that ``images.read_image`` gives an image: after rotation by its EXIF orientation.

    Headers of JPEG and PNG files are enough. Other files, and PNG files with EXIF data, are decoded.

    Raises:
        UnreadableImageError: the file is missing or is not an image.
    """
    size = _size_in_header(path)
    if size is None:
        height, width, _ = read_image(path).shape
        size = ImageSize(width, height)
    return size


def _size_in_header(path: Path) -> ImageSize | None:
    """Return the size of a JPEG or PNG; None where its header does not suffice or cannot be read."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                kind, (width, height), content = image.format, image.size, image.info.get("exif")
                exif = Image.Exif()  # image.getexif() would also follow XMP, which OpenCV ignores
                if content:
                    exif.load(content)
                orientation = exif.get(EXIF_ORIENTATION)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    if kind == "PNG":
        # A PNG may have its EXIF data behind its pixels.
        return None if b"eXIf" in read_bytes(path) else ImageSize(width, height)
    if kind not in ("JPEG", "MPO"):
        return None
    return ImageSize(height, width) if orientation in TURNED else ImageSize(width, height)


class FrameSizes:
    """The sizes of frames by name, read from their images when they are asked for.

    All frames of a video are taken to have the size of the first one that is asked for.
    """

    def __init__(self, frames: Iterable[Frame]) -> None:
        """Look up no size yet; ``frames`` are those that ``find_images`` returns."""
        self._frames = {frame.name: frame for frame in frames}
        self._videos: dict[Path, ImageSize] = {}

    def __getitem__(self, name: str) -> ImageSize:
        """Return the size of a frame.

        Raises:
            ImagesError: the frame is not among the images.
            UnreadableImageError, MissingPackageError: its image or video cannot be read.
        """
        frame = self._frames.get(name)
        if frame is None:
            problem = f"frame {name!r} is not among the images, and its size is needed"
            raise ImagesError(problem, "give the images that the predictions or labels are of: --images PATH")
        if frame.index is None:
            return read_image_size(frame.path)
        if frame.path not in self._videos:
            with FrameReader() as reader:
                height, width, _ = reader.read(frame).shape
            self._videos[frame.path] = ImageSize(width, height)
        return self._videos[frame.path]
