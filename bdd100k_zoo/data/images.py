"""Finding the frames that a user's paths name, and reading them in order, from image files and from videos."""

from __future__ import annotations

import errno
import glob
import os
import stat
import sys
from codecs import BOM_UTF8
from collections import Counter
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from bdd100k_zoo.data.image_files import read_image
from bdd100k_zoo.data.video import VIDEO_SUFFIXES, VideoReader, count_frames
from bdd100k_zoo.errors import ImagesError, StorageError
from bdd100k_zoo.files import check_frame_name, lower_suffix, read_bytes, storage_errors, walk_folders

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff")
LIST_SUFFIXES = (".txt",)
STANDARD_INPUT = "-"
EXPECTED_IMAGES = f"images ({', '.join(IMAGE_SUFFIXES)})"
SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})
"""Files that Windows puts into folders, in lower case: nothing is said about them, as about hidden files."""
FOLDERS = "folder(s)"
MAX_KINDS = 5
"""Kinds of files that a message lists."""
PATHS_HINT = "name folders, files or quoted patterns, such as frames/ or 'day*/*.jpg'"
LIST_HINT = "correct that line: the path of an image or video, relative to the list's folder; `#` begins a comment"


class Frame(NamedTuple):
    """One image of a run."""

    name: str
    """The frame's name in the predictions file: relative to the folder that was given, with forward slashes."""
    path: Path
    index: int | None = None  # type: ignore[assignment]  # it hides tuple.index, which is not needed here
    """The frame's number in a video, in the order of presentation, from 0; None for an image file."""
    stamp: str = ""
    """Size and modification time of the file, ``SIZE-MTIME_NS``, to notice changes; empty if they cannot be read."""


Kinds: TypeAlias = "Counter[str]"
"""How many files there are by their suffix, in lower case."""


class FoundImages(NamedTuple):
    """What paths name."""

    frames: list[Frame]
    """Sorted by name."""
    ignored: Mapping[str, Kinds]
    """The files of folders, and the matches of patterns, that are no images, by the path that was given."""

    def describe_ignored(self) -> str:
        """Return one line such as ``ignored in drive/: 3 .txt, 1 .heic``; empty if nothing was ignored."""
        if not self.ignored:
            return ""
        places = "; in ".join(f"{given}: {_describe_kinds(kinds)}" for given, kinds in self.ignored.items())
        has_videos = any(suffix in VIDEO_SUFFIXES for kinds in self.ignored.values() for suffix in kinds)
        return f"ignored in {places}{' (videos are given by their names, or by a pattern)' if has_videos else ''}"


def find_images(given: Sequence[str], *, every: int = 1) -> FoundImages:
    """Find the images of folders (recursive), files, glob patterns, lists and videos, sorted by frame name.

    Names starting with a dot are skipped inside folders and patterns. A file, a match of a pattern or a line of a list
    is named by its base name. Frame 7 of a video ``x.mp4`` is named ``x-0000007.jpg``. Videos inside folders, and other
    files that are no images, are ignored, and counted in the result.

    Args:
        given: paths and patterns; a path that ends in ``.txt`` is a list (see ``_find_in_list``), as is ``-``.
        every: take frames 0, ``every``, 2 ``every`` … of a video.

    Raises:
        ImagesError: a path does not exist or holds no image, a line of a list names no image, or two different files
            would share a name.
        UnreadableImageError, MissingPackageError: a video cannot be read.
        StorageError: a path cannot be accessed, or a folder cannot be listed.
        InvalidFileError: a frame's name is no relative path inside a folder.
    """
    frames: dict[str, Frame] = {}
    ignored: dict[str, Kinds] = {path: Counter() for path in given}
    for frame in (frame for path, kinds in ignored.items() for frame in _find_in_argument(path, every, kinds)):
        first = frames.setdefault(check_frame_name(frame.name), frame)
        if first is not frame and first.path != frame.path and not _is_same_file(first.path, frame.path):
            hint = "give the folder above both, so that the names differ, or run them separately"
            if frame.index is not None:
                hint = "frames of a video are named after its file: rename one, or run them separately"
            message = f"two images would be the frame {frame.name!r}: {first.path} and {frame.path}"
            raise ImagesError(message, hint)
    in_order = sorted(frames.values(), key=attrgetter("name"))
    return FoundImages(in_order, {path: kinds for path, kinds in ignored.items() if kinds})


def split_image_folder(root: Path, split: str) -> str:
    """Return the image folder of a split below a dataset root; raises ImagesError, StorageError."""
    folder = root / "images" / "100k" / split
    with storage_errors(folder):
        found = folder.is_dir()
    if not found:
        raise ImagesError(
            f"{folder}: does not exist",
            "--data names the root of the dataset, the folder that holds images/100k/val and images/100k/test",
        )
    return str(folder)


def _is_same_file(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:  # a broken link equals no file
        return False


def _find_in_argument(given: str, every: int, ignored: Kinds) -> Iterable[Frame]:
    """Return the frames of one path, and add what is ignored there to ``ignored``."""
    if given == STANDARD_INPUT:
        return _find_in_list(given, every)
    path, status = _look_up(given)
    if status is None:
        return _find_by_pattern(given, every, ignored)
    if stat.S_ISDIR(status.st_mode):
        return _find_in_folder(path, ignored)
    if lower_suffix(path.name) in LIST_SUFFIXES:
        return _find_in_list(given, every)
    return _find_in_file(given, path, _stamp(status), every)


def _look_up(given: str) -> tuple[Path, os.stat_result | None]:
    """Return a path, with ``~`` expanded, and its status; None if nothing exists there; raises StorageError."""
    path = Path(os.path.expanduser(given))  # noqa: PTH111  (Path's own raises RuntimeError for an unknown ~user)
    try:
        return path, os.stat(path)  # noqa: PTH116  (faster: a list may have a hundred thousand lines)
    except ValueError:  # the path contains a NUL
        return path, None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EBADF):
            return path, None
        raise StorageError.from_os_error(path, error) from error


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def _find_in_file(given: str, path: Path, stamp: str, every: int) -> Iterable[Frame]:
    suffix = lower_suffix(path.name)
    if suffix in VIDEO_SUFFIXES:
        stem = path.stem
        return (Frame(f"{stem}-{index:07}.jpg", path, index, stamp) for index in range(0, count_frames(path), every))
    if suffix not in IMAGE_SUFFIXES:
        expected = f"expected {EXPECTED_IMAGES}, or a video ({', '.join(VIDEO_SUFFIXES)})"
        raise ImagesError(f"{given}: is not an image: {expected}", PATHS_HINT)
    return [Frame(path.name, path, stamp=stamp)]


def _find_in_list(given: str, every: int) -> Iterator[Frame]:
    """Yield the frames of a list: a path a line, in UTF-8, relative to the folder that the list is in.

    Spaces around a path, empty lines, and lines that start with ``#`` are ignored.
    """
    if given == STANDARD_INPUT:
        name, folder, content = "standard input", "", sys.stdin.buffer.read()
    else:
        file = os.path.expanduser(given)  # noqa: PTH111
        name, folder, content = given, os.path.dirname(file), read_bytes(Path(file))  # noqa: PTH120
    is_empty = True
    for number, line in enumerate(content.removeprefix(BOM_UTF8).split(b"\n"), 1):
        try:
            text = line.decode().strip()
            if not text or text.startswith("#"):
                continue
            is_empty = False
            text = os.path.join(folder, text)  # noqa: PTH118  (Path would turn "./~x" into "~x")
            path, status = _look_up(text)
            if status is None:
                raise ImagesError(f"{text}: does not exist", LIST_HINT)
            if stat.S_ISDIR(status.st_mode):
                raise ImagesError(f"{text}: is a folder: a list names files", LIST_HINT)
            yield from _find_in_file(text, path, _stamp(status), every)
        except UnicodeDecodeError as error:
            problem = f"is not UTF-8 text (byte {error.start + 1})"
            raise ImagesError(f"{name}, line {number}: {problem}", LIST_HINT) from error
        except (ImagesError, StorageError) as error:
            raise ImagesError(f"{name}, line {number}: {error}", LIST_HINT) from error
    if is_empty:
        raise ImagesError(f"{name}: names no image: expected one path per line", PATHS_HINT)


def _find_by_pattern(pattern: str, every: int, ignored: Kinds) -> list[Frame]:
    if not glob.has_magic(pattern):
        raise ImagesError(f"{pattern}: does not exist", PATHS_HINT)
    frames: list[Frame] = []
    for match in glob.iglob(os.path.expanduser(pattern), recursive=True):  # noqa: PTH111, PTH207
        path = Path(match)
        if os.path.isdir(path):  # noqa: PTH112  (Path.is_dir may raise)
            if "**" not in pattern:  # which also matches what is in the folder
                ignored[FOLDERS] += 1
        elif lower_suffix(path.name) in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES):
            frames += _find_in_file(match, path, _stamp_of_entry(path), every)
        else:
            _count(path.name, ignored)
    if not frames:
        problem = f"matches no image: expected {EXPECTED_IMAGES}, found {_describe_kinds(ignored)}"
        raise ImagesError(f"{pattern}: {problem}", PATHS_HINT)
    return frames


def _find_in_folder(folder: Path, ignored: Kinds) -> list[Frame]:
    frames = []
    for path, prefix, files in walk_folders(folder):
        for entry in files:
            if lower_suffix(entry.name) in IMAGE_SUFFIXES:
                frames.append(Frame(prefix + entry.name, path / entry.name, None, _stamp_of_entry(entry)))
            else:
                _count(entry.name, ignored)
    if not frames:
        has_videos = any(suffix in VIDEO_SUFFIXES for suffix in ignored)
        videos = " or videos that are named themselves, or by a pattern" if has_videos else ""
        problem = f"holds no image: expected {EXPECTED_IMAGES}{videos}, found {_describe_kinds(ignored)}"
        raise ImagesError(f"{folder}: {problem}", PATHS_HINT)
    return frames


def _stamp_of_entry(entry: os.DirEntry[str] | Path) -> str:
    """Return the stamp of a file; empty for one that will be reported as unreadable during the run."""
    try:
        return _stamp(entry.stat())
    except OSError:
        return ""


def _count(name: str, kinds: Kinds) -> None:
    if name.lower() not in SYSTEM_FILES:
        kinds[lower_suffix(name)] += 1


def _describe_kinds(kinds: Kinds) -> str:
    shown = sorted(kinds, key=lambda suffix: (-kinds[suffix], not suffix, suffix))[:MAX_KINDS]
    parts = [f"{kinds[suffix]:,} {suffix or 'without a suffix'}" for suffix in shown]
    if others := kinds.total() - sum(kinds[suffix] for suffix in shown):
        parts.append(f"{others:,} others")
    return ", ".join(parts) or "no files"


def check_frame_unchanged(frame: Frame) -> None:
    """Check that a frame's file is still the one that was found, by its size and modification time.

    Without this check, a folder that is unmounted during a run would become a thousand frames without detections.

    Raises:
        ImagesError: the file is gone or has changed.
    """
    if not frame.stamp:
        return
    try:
        problem = "" if _stamp(frame.path.stat()) == frame.stamp else "has changed"
    except (FileNotFoundError, NotADirectoryError):
        problem = "is gone"
    except OSError:  # reading the file reports what is wrong with it
        return
    if problem:
        hint = "restore it, with its modification time, and the same command resumes; or start over with --fresh"
        raise ImagesError(f"{frame.path} {problem} since the run began", hint)


class FrameReader:
    """Reads frames, for one thread; each thread needs its own. It keeps the last video open, and closes it at exit."""

    def __init__(self) -> None:
        self._video: VideoReader | None = None

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def read(self, frame: Frame) -> npt.NDArray[np.uint8]:
        """Decode a frame to uint8 [height, width, 3], BGR, by ``read_image`` or ``VideoReader.read``.

        The frames of a video may be read in any order; in the order of their numbers it is fastest.

        Raises:
            ImagesError: the file is gone or has changed since it was found.
            UnreadableImageError: the file cannot be read, or its frame cannot be decoded.
            MissingPackageError: the frame is of a video, and PyAV is not installed.
        """
        check_frame_unchanged(frame)
        if frame.index is None:
            return read_image(frame.path)
        if self._video is None or self._video.path != frame.path:
            self._close()
            self._video = VideoReader(frame.path)
        return self._video.read(frame.index)

    def _close(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None


def reader_key(frame: Frame) -> str | None:
    """Return a key: frames of equal keys should be read in order by one reader. None if any reader will do."""
    return None if frame.index is None else str(frame.path)
