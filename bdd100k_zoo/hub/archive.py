"""Unpack zips of visuals into folders. A zip is untrusted until its last byte is checked."""

from __future__ import annotations

import io
import os
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from msgspec import Struct

from bdd100k_zoo.errors import InvalidFileError, StorageError
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from zipfile import ZipFile, ZipInfo

    from bdd100k_zoo.hub.cache import StoredFile
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Artifact


class Limits(NamedTuple):
    """What a zip may hold at most; by default what visuals of BDD100K can need, and not much more."""

    files: int = 60_000
    """A picture of each of the 10,000 frames of val and 20,000 of test, and a file beside each picture."""
    size: int = 32 << 30
    """Bytes unpacked. A PNG is no larger than its pixels: 10,000 of 1280 x 720 x 3 bytes are 27.6 GB."""
    ratio: float = 100
    """Unpacked to packed bytes of one file. Pictures have about 1, text 10; a bomb needs the 1,000 of deflate."""
    total_ratio: float = 4
    """Unpacked to packed bytes of all files; text beside pictures counts little."""


class UnpackResult(Struct, frozen=True):
    """What was unpacked."""

    count: int
    """Files."""
    size: int
    """Bytes."""


VISUALS_LIMITS = Limits()
RATIO_SLACK_BYTES = 1 << 20
"""Bytes up to which no ratio is checked: short files may compress to any ratio, and cannot harm."""
MAX_DIRECTORY_BYTES = 16 << 20
"""Bytes of a zip's list of entries: 60,000 of them take half; zipfile would read any length into memory at once."""
MAX_NAME_BYTES = 255
"""Bytes of an entry's name; that of a frame has 21."""
UNPACK_CHUNK_BYTES = 1 << 20
LOCAL_HEADER_BYTES = 30
"""Bytes before an entry's contents, without its name."""

ENCRYPTION_FLAGS = 0x1 | 0x40 | 0x2000
"""Flags of an entry: encrypted, strongly encrypted, with a masked header."""
DOS_FOLDER, DOS_LINK = 0x10, 0x400


def unpack_zip(
    archive: Path, folder: Path, *, limits: Limits = VISUALS_LIMITS, progress: Progress = NO_PROGRESS
) -> UnpackResult:
    """Unpack the regular files of a zip into a folder that does not exist yet, all of them or none.

    Every entry is checked before anything is written; then each file must have the size and the checksum that were
    checked. Times, permissions and empty folders are not taken over.

    Raises:
        InvalidFileError: the zip is damaged, an entry could harm, or it holds more than the limits allow.
        StorageError: the folder exists already, the zip cannot be read, or the disk is full.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100  (a link at its end is not followed)
    if os.path.lexists(folder):
        raise _folder_exists(folder)
    with storage_errors(archive):
        raw = io.FileIO(archive)
    with _CarefulFile(raw) as file:
        with _translate_damage(archive), storage_errors(archive):
            zipped = zipfile.ZipFile(file)
        with zipped:
            files = _check_entries(archive, zipped, limits)
            task = progress.task(f"unpacking {archive.name}", len(files), "images")
            with _temporary_folder(folder) as unfinished, task as count:
                for info in files:
                    _write_file(archive, zipped, info, unfinished / info.orig_filename)
                    count.advance(1)
    return UnpackResult(len(files), sum(info.file_size for info in files))


class _CarefulFile(io.BufferedReader):
    """A file of which no more is read at once than the list of entries can need."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its list of entries has more than {MAX_DIRECTORY_BYTES:,} bytes")
        return super().read(size)


def _not_unpacked(archive: Path, problem: str, entry: str = "") -> InvalidFileError:
    """Return the error for a zip that is damaged or could harm, and the entry at fault if it is one."""
    place = f"entry {entry!r}: " if entry else ""
    hint = "it is damaged, or not what was published: move it out of the cache and download it again"
    return InvalidFileError(archive, f"was not unpacked: {place}{problem}", hint)


@contextmanager
def _translate_damage(archive: Path, entry: str = "") -> Iterator[None]:
    """Turn what zipfile and zlib raise about malformed bytes into an InvalidFileError."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,
        OverflowError,
        RuntimeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _not_unpacked(archive, f"is damaged: {reason}", entry) from error


@contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder that gets its final name at the end of the block, or is removed."""
    unfinished = folder.with_name(f".{folder.name}.{uuid4().hex}")
    try:
        with storage_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            unfinished.mkdir()
            yield unfinished
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _check_entries(archive: Path, zipped: ZipFile, limits: Limits) -> list[ZipInfo]:
    """Check every entry, and return those that are files."""
    entries = zipped.infolist()
    for info in entries:
        problem = name_problem(info.orig_filename) or _kind_problem(info)
        if not problem and info.file_size > max(RATIO_SLACK_BYTES, limits.ratio * info.compress_size):
            problem = f"it would unpack to more than {limits.ratio:g} times its size in the zip"
        if problem:
            raise _not_unpacked(archive, problem, info.orig_filename)
    if clash := name_clash([info.orig_filename for info in entries]) or _overlap(entries, zipped.start_dir):
        raise _not_unpacked(archive, clash[1], clash[0])
    files = [info for info in entries if not info.orig_filename.endswith("/")]
    if problem := _total_problem(files, limits):
        raise _not_unpacked(archive, problem)
    return files


def name_problem(name: str) -> str:
    """Return why an entry's name is no safe path below a folder, if so; a folder's name ends in a slash."""
    if not name.isprintable():
        return "its name holds control characters"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"its name has more than {MAX_NAME_BYTES} bytes"
    if stray := next((character for character in "\\:" if character in name), ""):
        return f"its name holds {stray!r}"
    if name.startswith("/"):
        return "its name is an absolute path"
    if any(part in ("", ".", "..") for part in name.removesuffix("/").split("/")):
        return "its name holds `.`, `..` or nothing as a part"
    return ""


def name_clash(names: Iterable[str]) -> tuple[str, str] | None:
    """Return a name that clashes with another, and how: one file on some file system, or a file as the other's folder.

    Several file systems do not distinguish upper and lower case, or composed and decomposed accents.
    """
    taken: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.removesuffix("/")).casefold())
        if key in taken:
            return name, f"{taken[key]!r} has the same name"
        taken[key] = name
    for key, name in taken.items():
        for parent in PurePosixPath(key).parents:
            if not taken.get(str(parent), "/").endswith("/"):
                return name, f"it would lie in {taken[str(parent)]!r}, which is a file"
    return None


def _kind_problem(info: ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    folder = info.orig_filename.endswith("/")
    if kind == stat.S_IFLNK or info.external_attr & DOS_LINK:
        return "it is a link"
    marked_as_folder = kind == stat.S_IFDIR or info.external_attr & DOS_FOLDER
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFREG if folder else marked_as_folder):
        return "it is no regular file"
    if folder and info.file_size:
        return "it is a folder with contents"
    if info.flag_bits & ENCRYPTION_FLAGS:
        return "it is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"it is compressed by method {info.compress_type}; only stored and deflated files are unpacked"
    return ""


def _overlap(entries: list[ZipInfo], end: int) -> tuple[str, str] | None:
    """Return an entry whose bytes reach into the next one's, or into the list: one byte could unpack many times so."""
    placed = sorted(entries, key=lambda info: info.header_offset)
    if placed and placed[0].header_offset < 0:
        return placed[0].orig_filename, "it would begin before the zip does"
    borders = [*(info.header_offset for info in placed[1:]), end]
    for info, border in zip(placed, borders, strict=False):
        if info.header_offset + LOCAL_HEADER_BYTES + info.compress_size > border:
            return info.orig_filename, "it shares bytes with another entry"
    return None


def _total_problem(files: list[ZipInfo], limits: Limits) -> str:
    size = sum(info.file_size for info in files)
    packed = sum(info.compress_size for info in files)
    if len(files) > limits.files:
        return f"it holds {len(files):,} files; {limits.files:,} are the most that is unpacked"
    if size > limits.size:
        return f"it would unpack to {size:,} bytes; {limits.size:,} are the most that is unpacked"
    if size > max(RATIO_SLACK_BYTES, limits.total_ratio * packed):
        return f"it would unpack to {size:,} bytes, more than {limits.total_ratio:g} times what it holds"
    return ""


def _write_file(archive: Path, zipped: ZipFile, info: ZipInfo, path: Path) -> None:
    """Write one file, of exactly as many bytes as its entry was checked for."""
    name, written = info.orig_filename, 0
    with _translate_damage(archive, name):
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipped.open(info) as source, path.open("xb") as file:
            while written <= info.file_size and (chunk := source.read(UNPACK_CHUNK_BYTES)):
                written += len(chunk)
                file.write(chunk)
    if written != info.file_size:
        raise _not_unpacked(
            archive, f"is damaged: it does not unpack to the {info.file_size:,} bytes of its entry", name
        )


ANOTHER_COPY = "give another copy, or choose the kind of file with --what"


def check_zip(file: Path) -> None:
    """Check that a file is a zip archive that holds something; raises InvalidFileError or StorageError."""
    try:
        with storage_errors(file), zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    # What zipfile raises for bytes that are no zip archive.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError) as error:
        raise InvalidFileError(file, f"is no zip archive, or is truncated: {error}", ANOTHER_COPY) from error
    if not names:
        raise InvalidFileError(file, "is an empty zip archive", ANOTHER_COPY)


def check_visuals_folders(artifacts: Sequence[Artifact], folder: Path) -> None:
    """Check that ``folder/MODEL`` is free for the visuals of every model; raises StorageError."""
    for artifact in artifacts:
        if artifact.what == "visuals" and os.path.lexists(folder / artifact.model):
            raise _folder_exists(folder / artifact.model)


def _folder_exists(folder: Path) -> StorageError:
    return StorageError(folder, "already exists, and was not changed", "move it away, or choose another folder")


def unpack_visuals(
    artifacts: Sequence[Artifact], files: Sequence[StoredFile], folder: Path, progress: Progress
) -> None:
    """Unpack the visuals among cached files into ``folder/MODEL``; ``files`` are those of ``artifacts``, in order.

    Raises:
        InvalidFileError: a zip is damaged or could harm; nothing of it is unpacked.
        StorageError: the folder is there already, or the disk is full.
    """
    for artifact, stored in dict(zip(artifacts, files, strict=True)).items():
        if artifact.what == "visuals":
            target = folder / artifact.model
            done = unpack_zip(stored.path, target, progress=progress)
            progress.note(f"unpacked {done.count:,} files ({done.size:,} bytes) into {target}")
