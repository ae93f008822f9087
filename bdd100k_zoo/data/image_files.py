"""Image files → pixels, as OpenCV decodes them; incomplete files are errors."""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
from functools import cache
from typing import TYPE_CHECKING

from bdd100k_zoo.errors import UnreadableImageError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Decode an image file to uint8 [height, width, 3], BGR, rotated by its EXIF orientation.

    The pixels are those of mmdet's own loader, which decodes with OpenCV in the same way: the colours of a palette,
    grey in three channels, 16 bits shortened to 8, without alpha (which TIFF multiplies into the colours), and the
    first of several images in a file.

    Raises:
        UnreadableImageError: the file cannot be read, is none of ``FORMATS``, is of a kind that OpenCV does not read
            (such as TIFF with 32 bits a sample), or is truncated. Damage in the middle of a JPEG is not detected:
            neither OpenCV nor Pillow reports it.
    """
    import cv2
    import numpy as np

    _silence_opencv()
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would block, a device may never end
            raise UnreadableImageError(path, "is not a regular file")
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(path, error.strerror or str(error)) from error
    if problem := _find_damage(content):
        raise UnreadableImageError(path, problem)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise UnreadableImageError(path, f"cannot be decoded: {error.err}") from error
    if image is None:
        raise UnreadableImageError(path, "cannot be decoded")
    return np.ascontiguousarray(image, dtype=np.uint8)


@cache
def _silence_opencv() -> None:
    """Let OpenCV print nothing, unless the user has set its level: it reports every tag of a TIFF that is new to it."""
    import cv2

    if "OPENCV_LOG_LEVEL" not in os.environ and hasattr(cv2.utils, "logging"):
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


FORMATS = "JPEG, PNG, WebP, BMP or TIFF"
IMAGE_FILE_STARTS = (b"\xff\xd8", b"\x89PNG\r\n\x1a\n")
IMAGE_FILE_ENDS = (b"\xff\xd9", b"IEND\xaeB`\x82")
"""How complete files of JPEG and PNG start and end."""
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""In either byte order, with offsets of 32 or of 64 bits (BigTIFF)."""
TIFF_TYPE_BYTES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value, by the number of its type; 1 for the others."""
MAX_MARK_BYTES = max(map(len, (*IMAGE_FILE_STARTS, *IMAGE_FILE_ENDS)))


def check_image_complete(path: Path) -> None:
    """Check that a file starts and ends as a JPEG or PNG does; decode it if it does not.

    Raises:
        UnreadableImageError: the file is missing, is not an image, or is truncated.
    """
    try:
        with path.open("rb") as file:
            head = file.read(MAX_MARK_BYTES)
            file.seek(-min(MAX_MARK_BYTES, os.fstat(file.fileno()).st_size), os.SEEK_END)
            tail = file.read()
    except OSError as error:
        raise UnreadableImageError(path, error.strerror or str(error)) from error
    if not (head.startswith(IMAGE_FILE_STARTS) and tail.endswith(IMAGE_FILE_ENDS)):
        read_image(path)


def _find_damage(content: bytes) -> str:
    """Return why bytes are no complete image of ``FORMATS``, as far as OpenCV would not report it; else empty.

    OpenCV fills the missing part of a truncated JPEG or PNG with grey, without an error. One without its end marker at
    the very end is therefore decoded with Pillow too, which does raise; that takes a few milliseconds for rare files.
    """
    if not content:
        return "is empty"
    if content.startswith(TIFF_STARTS):
        return "" if _has_all_tags(content) else "is damaged: the values of some of its tags are missing"
    if content.startswith(b"BM") or (content.startswith(b"RIFF") and content[8:12] == b"WEBP"):
        return ""  # OpenCV refuses truncated ones
    if not content.startswith(IMAGE_FILE_STARTS):
        return f"is not a file of {FORMATS}, whatever its name says"
    if content.endswith(IMAGE_FILE_ENDS):
        return ""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"is damaged: {error}"
    return ""


def _has_all_tags(content: bytes) -> bool:
    """Return whether the values of all tags of a TIFF's first image are in the file.

    OpenCV reads an image without the tags that are cut off, as in the grey values that index a missing palette. It does
    refuse an image whose pixels are cut off. The layout is that of TIFF 6.0, section 2, and of BigTIFF.
    """
    order = "<" if content.startswith(b"II") else ">"
    is_big = 43 in content[2:4]
    first, number, entry, inline = ("Q", "Q", "HHQQ", 8) if is_big else ("I", "H", "HHII", 4)
    try:
        (place,) = struct.unpack_from(order + first, content, 8 if is_big else 4)
        (entries,) = struct.unpack_from(order + number, content, place)
        place += struct.calcsize(order + number)
        size = struct.calcsize(order + entry)
        for at in range(place, place + entries * size, size):
            _, kind, count, offset = struct.unpack_from(order + entry, content, at)
            length = count * TIFF_TYPE_BYTES.get(kind, 1)
            if length > inline and offset + length > len(content):
                return False
    except (struct.error, OverflowError):
        return False
    return True
