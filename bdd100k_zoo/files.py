"""Read files, write them whole or not at all, list folders; frame names that are safe to join to a folder."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import stat
import unicodedata
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, BinaryIO, NamedTuple
from uuid import uuid4

from bdd100k_zoo.errors import FrameNameError, StorageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

READ_CHUNK_BYTES = 1 << 20
"""Bytes that are read at once."""
LARGEST_RECORD = 16 << 20
"""Bytes beyond which a small file that this package writes is none of its own."""
LINK_REFUSED = "is a link, and nothing is written through links here; remove it"


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Tell any failure of the file system as a StorageError about ``path``."""
    try:
        yield
    except OSError as error:
        raise StorageError(path, error.strerror or str(error)) from error


def read_chunks(path: Path) -> Iterator[bytes]:
    """Read a file in pieces of a mebibyte; raises StorageError."""
    with storage_errors(path), path.open("rb") as file:
        while piece := file.read(READ_CHUNK_BYTES):
            yield piece


def sha256_of(*paths: Path) -> str:
    """Return the SHA-256 of files, one after the other, in lower-case hexadecimal; raises StorageError."""
    digest = hashlib.sha256()
    for path in paths:
        for piece in read_chunks(path):
            digest.update(piece)
    return digest.hexdigest()


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; raises OSError where it is a pipe or a device, which can hold up its reader for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no ordinary file")
    return os.fdopen(descriptor, "rb")


def read_record(path: Path) -> bytes:
    """Read a small file that this package wrote; raises OSError."""
    with open_regular(path) as file:
        content = file.read(LARGEST_RECORD + 1)
    if len(content) > LARGEST_RECORD:
        raise OSError(errno.EFBIG, f"has more than {LARGEST_RECORD:,} bytes")
    return content


def open_nofollow(path: Path, mode: str) -> io.FileIO:
    """Open a file for writing, unbuffered, as ``open`` does; raises OSError where a link is in its place."""
    return io.FileIO(path, mode, opener=_open_no_link)


def _open_no_link(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if os.path.islink(path):  # noqa: PTH114  (an opener is given a string)
            raise OSError(errno.ELOOP, LINK_REFUSED) from error
        raise


def write_atomically(path: Path, content: bytes, *, follow_links: bool = False) -> None:
    """Put ``content`` under ``path``: readers see the old file or the new one, never a part.

    Args:
        path: where to write.
        content: what to write.
        follow_links: write what a link leads to, and keep the link: for results that users ask for. A link in the
            place of a record is replaced, and what it leads to is left alone.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    with atomic_writer(path, follow_links=follow_links) as file:
        file.write(content)


@contextmanager
def atomic_writer(path: Path, *, follow_links: bool = False) -> Iterator[BinaryIO]:
    """Write a file beside ``path`` and move it there when the block ends well; else nothing of it is left.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    path = Path(os.path.realpath(path)) if follow_links else path
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            with beside.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if path.exists() and not path.is_symlink():
                shutil.copymode(path, beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


PLAIN_FRAME_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9_-][A-Za-z0-9_./ -]*")
"""Names that are beyond doubt: the closer look takes 40 times as long, and runs have a hundred thousand names."""


def check_frame_name(name: str) -> str:
    """Return ``name`` where it is a relative path inside its folder, on any system.

    Raises:
        FrameNameError: it is empty, absolute, climbs out of its folder, or is no text that JSON can hold.
    """
    if not PLAIN_FRAME_NAME.fullmatch(name) and not _is_safe(name):
        raise FrameNameError(name)
    return name


def add_jpg_suffix(names: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Add ``.jpg`` to the names that are known with it alone: BDD100K's old labels and submissions leave it out."""
    known = set(known)
    return tuple(f"{name}.jpg" if name not in known and f"{name}.jpg" in known else name for name in names)


def _is_safe(name: str) -> bool:
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    leaves = ".." in posix.parts or ".." in windows.parts
    return bool(posix.name) and not (posix.is_absolute() or windows.anchor or leaves) and _is_plain_text(name)


def _is_plain_text(name: str) -> bool:
    """File systems hand out undecodable bytes as lone surrogates; control characters could drive a terminal."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)


class Folder(NamedTuple):
    """A folder with its files."""

    path: Path
    prefix: str
    """The folder relative to where the search began, with forward slashes and one at the end; empty for itself."""
    files: list[os.DirEntry[str]]


def walk_folders(root: Path) -> Iterator[Folder]:
    """Give a folder and all folders below it, through links too, each once.

    Names that begin with a dot are passed over.

    Raises:
        StorageError: a folder cannot be listed; its files would silently be missing.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [(root, "")]
    while waiting:
        folder, prefix = waiting.pop()
        with storage_errors(folder):
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listing:
                entries = [entry for entry in listing if entry.name[0] != "."]
        below = {entry.name for entry in entries if _is_folder(entry)}
        waiting += [(folder / name, f"{prefix}{name}/") for name in sorted(below, reverse=True)]
        yield Folder(folder, prefix, [entry for entry in entries if entry.name not in below])


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle
        return False


def lower_suffix(name: str) -> str:
    """Give the suffix of a file's name in lower case, as ``Path.suffix`` does, at a tenth of the cost."""
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""
