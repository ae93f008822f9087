"""Paths given by the user to frames; image files and frames of videos to pixels."""

from __future__ import annotations

import errno
import glob
import io
import os
import stat
import warnings
from collections import Counter
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.data import image_lists, videos
from bdd100k_zoo.errors import (
    DuplicateFrameError,
    ImageChangedError,
    ImageListError,
    NoImagesError,
    StorageError,
    UnreadableImageError,
)
from bdd100k_zoo.files import check_frame_name, lower_suffix, walk_folders

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from bdd100k_zoo.data.video_decoding import VideoReader

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class Frame(NamedTuple):
    """One image of a run."""

    name: str
    """The frame's name in the predictions file: relative to the folder that was given, with forward slashes."""
    path: Path
    index: int | None = None  # type: ignore[assignment]  # it hides tuple.index, which nobody needs here
    """The frame's number in a video, in the order of presentation, from 0; None for an image file."""
    stamp: str = ""
    """Tells a changed file from an unchanged one: size in bytes and time of change in ns, ``SIZE-MTIME_NS``.

    Empty where the file cannot be looked at.
    """


def find_images(given: Sequence[str], *, every: int = 1) -> list[Frame]:
    """Find the images of folders (recursive), files, glob patterns, lists and videos, sorted by frame name.

    Names starting with a dot are passed over inside folders and patterns. A file, a match of a pattern or a line of a
    list is named by its base name. Of a video ``x.mp4``, frame 7 is ``x-0000007.jpg``. Videos inside folders are passed
    over.

    Args:
        given: paths and patterns; a path that ends in ``.txt`` is a list (see ``lists.read_list``), as is ``-``.
        every: take frames 0, ``every``, 2 ``every`` … of a video.

    Raises:
        NoImagesError: a path holds no image, or is none.
        ImageListError: a line of a list names no image.
        DuplicateFrameError: two different files would share a name.
        FrameNameError: a name that no predictions file can hold.
        StorageError: a path cannot be looked at, or a folder cannot be listed.
        UnreadableImageError, MissingPackageError: a video cannot be read.
    """
    frames: dict[str, Frame] = {}
    for frame in (frame for path in given for frame in _frames_of(path, every)):
        first = frames.setdefault(check_frame_name(frame.name), frame)
        if first is not frame and first.path != frame.path and not _same(first.path, frame.path):
            raise DuplicateFrameError(frame.name, first.path, frame.path)
    return sorted(frames.values(), key=attrgetter("name"))


def _same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:  # a broken link is the same as nothing
        return False


def _frames_of(given: str, every: int) -> Iterable[Frame]:
    if given == image_lists.STANDARD_INPUT:
        return _frames_of_list(given, every)
    path = _expanded(given)
    status = _status(path)
    if status is None:
        return _frames_of_pattern(given, every)
    if stat.S_ISDIR(status.st_mode):
        return _frames_in_folder(path)
    if lower_suffix(path.name) in image_lists.LIST_SUFFIXES:
        return _frames_of_list(given, every)
    return _frames_of_file(given, path, status, every)


def _expanded(given: str) -> Path:
    """Path.expanduser raises RuntimeError for an unknown ~user; this leaves it as it stands."""
    return Path(os.path.expanduser(given))  # noqa: PTH111


def _status(path: Path) -> os.stat_result | None:
    """Look at a path; None where nothing is there; raises StorageError."""
    try:
        return os.stat(path)  # noqa: PTH116  (a list may have a hundred thousand lines)
    except OSError as error:
        if error.errno in MISSING_ERRNOS:
            return None
        raise StorageError(path, error.strerror or str(error)) from error
    except ValueError:  # a NUL in it
        return None


MISSING_ERRNOS = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EBADF)


def _frames_of_file(given: str, path: Path, status: os.stat_result | None, every: int) -> Iterable[Frame]:
    if lower_suffix(path.name) in videos.VIDEO_SUFFIXES:
        return _frames_of_video(path, status, every)
    if lower_suffix(path.name) not in IMAGE_SUFFIXES:
        raise NoImagesError(
            given, f"is not an image: expected {_expected()}, or a video ({', '.join(videos.VIDEO_SUFFIXES)})"
        )
    return [Frame(path.name, path, stamp=_stamp(status))]


def _frames_of_video(path: Path, status: os.stat_result | None, every: int) -> Iterator[Frame]:
    stem, stamp = path.stem, _stamp(status)
    for index in range(0, videos.count_frames(path), every):
        yield Frame(f"{stem}-{index:07}.jpg", path, index, stamp)


def _frames_of_list(given: str, every: int) -> Iterator[Frame]:
    name = image_lists.list_name(given)
    for place, text in image_lists.read_image_list(given):
        try:
            yield from _frames_of_entry(text, every)
        except (NoImagesError, StorageError, UnreadableImageError) as error:
            raise ImageListError(name, place, str(error)) from error


def _frames_of_entry(text: str, every: int) -> Iterable[Frame]:
    path = _expanded(text)
    status = _status(path)
    if status is None:
        raise NoImagesError(text, "does not exist")
    if stat.S_ISDIR(status.st_mode):
        raise NoImagesError(text, "is a folder: a list names files")
    return _frames_of_file(text, path, status, every)


def _frames_of_pattern(pattern: str, every: int) -> list[Frame]:
    if not glob.has_magic(pattern):
        raise NoImagesError(pattern, "does not exist")
    matches = [Path(name) for name in glob.iglob(str(_expanded(pattern)), recursive=True)]  # noqa: PTH207
    found = [frame for path in matches for frame in _frames_of_match(path, every)]
    if not found:
        raise NoImagesError(
            pattern,
            f"matches no image: expected {_expected()}, found {_count_by_suffix(path.name for path in matches)}",
        )
    return found


def _frames_of_match(path: Path, every: int) -> Iterable[Frame]:
    """A match that may not be looked at is a frame that cannot be read."""
    suffix, status = lower_suffix(path.name), None
    if suffix not in (*IMAGE_SUFFIXES, *videos.VIDEO_SUFFIXES):
        return ()
    with suppress(OSError):
        status = path.stat()
    if status and stat.S_ISDIR(status.st_mode):
        return ()
    return _frames_of_file(str(path), path, status, every)


def _frames_in_folder(folder: Path) -> Iterable[Frame]:
    frames = [
        Frame(prefix + entry.name, path / entry.name, None, _stamp_of_entry(entry))
        for path, prefix, files in walk_folders(folder)
        for entry in files
        if lower_suffix(entry.name) in IMAGE_SUFFIXES
    ]
    if not frames:
        names = [entry.name for found in walk_folders(folder) for entry in found.files]
        raise NoImagesError(str(folder), f"holds no image: expected {_expected()}{_passed_over(names)}")
    return frames


def _stamp_of_entry(entry: os.DirEntry[str]) -> str:
    try:
        return _stamp(entry.stat())
    except OSError:
        return ""


def _stamp(status: os.stat_result | None) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}" if status else ""


def _expected() -> str:
    return "JPEG or PNG files (.jpg, .jpeg, .png)"


def _passed_over(names: list[str]) -> str:
    told = f", found {_count_by_suffix(names)}"
    if any(lower_suffix(name) in videos.VIDEO_SUFFIXES for name in names):
        return f" or videos that are named themselves, or by a pattern{told}"
    return told


def _count_by_suffix(names: Iterable[str]) -> str:
    kinds = Counter(lower_suffix(name) or "no suffix" for name in names).most_common(3)
    return ", ".join(f"{number} of {kind}" for kind, number in kinds) or "no files"


def check_frame_unchanged(frame: Frame) -> None:
    """Check that a frame's file is still the one that was found, by size and time of change.

    A folder that is unmounted while a run is under way must not become a thousand empty frames.

    Raises:
        ImageChangedError: it is gone, or another one.
    """
    if not frame.stamp:
        return
    try:
        now = _stamp(frame.path.stat())
    except (FileNotFoundError, NotADirectoryError):
        raise ImageChangedError(frame.path, "is gone") from None
    except OSError:  # the reader says what is wrong with it
        return
    if now != frame.stamp:
        raise ImageChangedError(frame.path, "has changed")


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


def check_image_complete(path: Path) -> None:
    """Check that a file begins and ends as a JPEG or PNG does; decode it where it does not end so.

    Raises:
        UnreadableImageError: it is missing, no image, or cut off.
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


IMAGE_FILE_STARTS = (b"\xff\xd8", b"\x89PNG\r\n\x1a\n")
IMAGE_FILE_ENDS = (b"\xff\xd9", b"IEND\xaeB`\x82")
MAX_MARK_BYTES = max(map(len, (*IMAGE_FILE_STARTS, *IMAGE_FILE_ENDS)))


def _damage(data: bytes) -> str:
    """Say why bytes are no whole JPEG or PNG; nothing where they are.

    OpenCV fills the missing part of a truncated file with grey and says nothing. A file without its end marker at the
    very end is decoded with Pillow too, which does say; that costs a few milliseconds for rare files.
    """
    if not data:
        return "is empty"
    if not data.startswith(IMAGE_FILE_STARTS):
        return "is neither JPEG nor PNG, whatever its name says"
    if data.endswith(IMAGE_FILE_ENDS):
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


class FrameReader:
    """Reads frames for one thread; every thread has its own. It holds the last video open, and closes it at the end."""

    def __init__(self) -> None:
        self._video: VideoReader | None = None

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def read(self, frame: Frame) -> npt.NDArray[np.uint8]:
        """Decode a frame: uint8 [height, width, 3], BGR.

        An image file is read by ``images.read_image``. A frame of a video is converted by ``decoding.pixels_of``; its
        pixels are the same in whatever order frames are read, but in order of their numbers it takes the least time.

        Raises:
            ImageChangedError: the file is not the one that was found.
            UnreadableImageError: the file cannot be read, or its frame cannot be decoded.
            MissingPackageError: the frame is a video's, and PyAV is missing.
        """
        check_frame_unchanged(frame)
        if frame.index is None:
            return read_image(frame.path)
        if self._video is None or self._video.path != frame.path:
            self._close()
            from bdd100k_zoo.data.video_decoding import VideoReader

            self._video = VideoReader(frame.path)
        return self._video.read(frame.index)

    def _close(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None


def reader_key(frame: Frame) -> str | None:
    """Say which frames one reader should read, in order: those of equal keys. None where any reader will do."""
    return None if frame.index is None else str(frame.path)
