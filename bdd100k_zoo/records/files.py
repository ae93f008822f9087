"""Reading a file piece by piece, and writing one whole or not at all."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from uuid import uuid4

from bdd100k_zoo.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 1 << 20
"""Bytes that are read at once."""


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


def write_whole(path: Path, content: bytes) -> None:
    """Put ``content`` under ``path``: readers see the old file or the new one, never a part.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    with writing_whole(path) as file:
        file.write(content)


@contextmanager
def writing_whole(path: Path) -> Iterator[BinaryIO]:
    """Write a file beside ``path`` and move it there when the block ends well; else nothing of it is left.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    path = Path(os.path.realpath(path))  # what a link leads to is written, and the link stays
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            with beside.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                shutil.copymode(path, beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
