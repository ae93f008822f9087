"""Reading files, and writing them whole or not at all; records are never written through links."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from uuid import uuid4

from bdd100k_zoo.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 1 << 20
"""Bytes that are read at once."""
LARGEST_RECORD = 16 << 20
"""Bytes beyond which a small file that this package writes is none of its own."""
IS_LINK = "is a link, and nothing is written through links here; remove it"


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Tell any failure of the file system as a StorageError about ``path``."""
    try:
        yield
    except OSError as error:
        raise StorageError(path, error.strerror or str(error)) from error


def pieces_of(path: Path) -> Iterator[bytes]:
    """Read a file in pieces of a mebibyte; raises StorageError."""
    with storage_errors(path), path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


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


def open_record(path: Path, mode: str) -> io.FileIO:
    """Open a file for writing, unbuffered, as ``open`` does; raises OSError where a link is in its place."""
    return io.FileIO(path, mode, opener=_open_no_link)


def _open_no_link(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if os.path.islink(path):  # noqa: PTH114  (an opener is given a string)
            raise OSError(errno.ELOOP, IS_LINK) from error
        raise


def write_whole(path: Path, content: bytes, *, follow_links: bool = False) -> None:
    """Put ``content`` under ``path``: readers see the old file or the new one, never a part.

    Args:
        path: where to write.
        content: what to write.
        follow_links: write what a link leads to, and keep the link: for results that users ask for. A link in the
            place of a record is replaced, and what it leads to is left alone.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    with writing_whole(path, follow_links=follow_links) as file:
        file.write(content)


@contextmanager
def writing_whole(path: Path, *, follow_links: bool = False) -> Iterator[BinaryIO]:
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
