"""Paths that a user gave → frames → pixels."""

from __future__ import annotations

import glob
import io
import os
import stat
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.errors import DuplicateFrameError, NoImagesError, StorageError, UnreadableImageError
from bdd100k_zoo.records.files import storage_errors
from bdd100k_zoo.records.names import check_frame_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

SUFFIXES = (".jpg", ".jpeg", ".png")


class Frame(NamedTuple):
    """One image of a run."""

    name: str
    """The frame's name in the predictions file: relative to the folder that was given, with forward slashes."""
    path: Path


def find_images(given: Sequence[str]) -> list[Frame]:
    """Find the images of folders (recursive), files and glob patterns, sorted by frame name.

    Names starting with a dot are passed over inside folders and patterns. A file or a pattern's match is named by its
    base name.

    Raises:
        NoImagesError: a path holds no image, or is none.
        DuplicateFrameError: two different files would share a name.
        FrameNameError: a name that no predictions file can hold.
        StorageError: a path cannot be looked at, or a folder cannot be listed.
    """
    frames: dict[str, Path] = {}
    for frame in (frame for path in given for frame in _frames_of(path)):
        first = frames.setdefault(check_frame_name(frame.name), frame.path)
        if first != frame.path and not _same(first, frame.path):
            raise DuplicateFrameError(frame.name, first, frame.path)
    return [Frame(name, frames[name]) for name in sorted(frames)]


def _same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:  # a broken link is the same as nothing
        return False


def _frames_of(given: str) -> list[Frame]:
    path = _expanded(given)
    with storage_errors(path):
        is_folder, exists = path.is_dir(), path.exists()
    if is_folder:
        return _frames_in_folder(path)
    if exists:
        if path.suffix.lower() not in SUFFIXES:
            raise NoImagesError(given, f"is not an image: expected {_expected()}")
        return [Frame(path.name, path)]
    return _frames_of_pattern(given)


def _expanded(given: str) -> Path:
    """Path.expanduser raises RuntimeError for an unknown ~user; this leaves it as it stands."""
    return Path(os.path.expanduser(given))  # noqa: PTH111


def _frames_in_folder(folder: Path) -> list[Frame]:
    files = list(_walk(folder))
    found = [Frame(file.relative_to(folder).as_posix(), file) for file in files if _is_image(file)]
    if not found:
        raise NoImagesError(str(folder), f"holds no image: expected {_expected()}, found {_census(files)}")
    return found


def _frames_of_pattern(pattern: str) -> list[Frame]:
    if not glob.has_magic(pattern):
        raise NoImagesError(pattern, "does not exist")
    matches = [Path(name) for name in glob.iglob(str(_expanded(pattern)), recursive=True)]  # noqa: PTH207
    found = [Frame(file.name, file) for file in matches if _is_image(file) and not _is_folder(file)]
    if not found:
        raise NoImagesError(pattern, f"matches no image: expected {_expected()}, found {_census(matches)}")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """All files below a folder, through links to folders too, each folder once."""
    seen: set[tuple[int, int]] = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        with storage_errors(Path(parent)):
            status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed would silently be missing from the run."""
    raise StorageError(Path(error.filename), error.strerror or str(error)) from error


def _is_folder(path: Path) -> bool:
    """Path.is_dir raises for a file that may not be looked at; that one is a frame that cannot be read."""
    return os.path.isdir(path)  # noqa: PTH112


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _expected() -> str:
    return "JPEG or PNG files (.jpg, .jpeg, .png)"


def _census(files: Iterable[Path]) -> str:
    kinds = Counter(file.suffix.lower() or "no suffix" for file in files).most_common(3)
    return ", ".join(f"{number} of {kind}" for kind, number in kinds) or "no files"


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Decode one image: uint8 [height, width, 3], BGR, rotated as its EXIF orientation says.

    The pixels are those of mmdet's own loader, which decodes with OpenCV in the same way.

    Raises:
        UnreadableImageError: the file cannot be read, is no JPEG or PNG, or is cut off. Damage in the
            middle of a JPEG is not found: no decoder at hand tells of it.
    """
    import cv2
    import numpy as np

    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for, a device read without end
            raise UnreadableImageError(path, "is no regular file")
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(path, error.strerror or str(error)) from error
    if problem := _damage(data):
        raise UnreadableImageError(path, problem)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise UnreadableImageError(path, f"cannot be decoded: {error.err}") from error
    if image is None:
        raise UnreadableImageError(path, "cannot be decoded")
    return np.ascontiguousarray(image, dtype=np.uint8)


def _damage(data: bytes) -> str:
    """Say why bytes are no whole JPEG or PNG; nothing where they are.

    OpenCV fills the missing part of a truncated file with grey and says nothing. A file without its end marker at the
    very end is decoded with Pillow too, which does say; that costs a few milliseconds for rare files.
    """
    if not data:
        return "is empty"
    if not data.startswith((b"\xff\xd8", b"\x89PNG\r\n\x1a\n")):
        return "is neither JPEG nor PNG, whatever its name says"
    if data.endswith((b"\xff\xd9", b"IEND\xaeB`\x82")):
        return ""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"is damaged: {error}"
    return ""
