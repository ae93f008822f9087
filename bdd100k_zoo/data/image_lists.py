"""Lists of images: text files, and standard input."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.errors import ImageListError, NoImagesError
from bdd100k_zoo.files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

LIST_SUFFIXES = (".txt",)
STANDARD_INPUT = "-"


class ListEntry(NamedTuple):
    """One line of a list."""

    place: int
    """Number of the line, from 1."""
    path: str


def read_image_list(given: str) -> list[ListEntry]:
    """Read a list: a path a line, in UTF-8, relative to the folder that the list is in.

    Spaces around a path do not count; empty lines and those that begin with ``#`` are passed over.

    Args:
        given: path of a text file; ``-`` for standard input, whose paths are relative to the working folder.

    Raises:
        StorageError: the file cannot be read.
        ImageListError: a line is no UTF-8 text.
        NoImagesError: no line names anything.
    """
    name, folder, content = _read(given)
    entries = [ListEntry(place, os.path.join(folder, line)) for place, line in _lines(name, content)]  # noqa: PTH118
    if not entries:
        raise NoImagesError(name, "names no image: expected a path a line")
    return entries


def list_name(given: str) -> str:
    """Give what messages call a list."""
    return "standard input" if given == STANDARD_INPUT else given


def _read(given: str) -> tuple[str, str, bytes]:
    """Give what to call a list, the folder that its paths start from, and its bytes."""
    if given == STANDARD_INPUT:
        return list_name(given), "", sys.stdin.buffer.read()
    path = os.path.expanduser(given)  # noqa: PTH111  (Path's own way raises for an unknown ~user)
    with storage_errors(Path(path)):
        return list_name(given), os.path.dirname(path), Path(path).read_bytes()  # noqa: PTH120


def _lines(name: str, content: bytes) -> Iterator[tuple[int, str]]:
    for place, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            raise ImageListError(name, place, f"is no UTF-8 text (byte {error.start + 1})") from error
        if text and not text.startswith("#"):
            yield place, text
