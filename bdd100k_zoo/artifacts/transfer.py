"""One address → one complete file under a temporary name, hashed as it comes in."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from bdd100k_zoo.artifacts.network import FailedAttemptError, Waits, answering, chunks, ended, promised_length
from bdd100k_zoo.artifacts.verify import Hasher, Hashes
from bdd100k_zoo.records.files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path

    import requests

    from bdd100k_zoo.progress import Progress

WAITS = Waits(connect=10, read=30)
WEB_PAGE_STARTS = (b"<!doctype html", b"<html")


class PartialFile:
    """A file under its temporary name; gone at the end of the block unless it was moved into place."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self.target = target

    def __enter__(self) -> PartialFile:
        with storage_errors(self.target):
            self._file: FileIO = self.path.open("xb", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        """Append bytes; raises StorageError where the disk is full."""
        rest = memoryview(chunk)
        with storage_errors(self.target):
            while rest:
                rest = rest[self._file.write(rest) :]

    def settle(self) -> os.stat_result:
        """Wait until everything is on the disk, and give the file's facts, which moving it does not change."""
        with storage_errors(self.target):
            os.fsync(self._file.fileno())
            self._file.close()
            return self.path.stat()

    def move_into_place(self) -> None:
        """Give the file its name."""
        with storage_errors(self.target):
            self.path.replace(self.target)


def receive(
    session: requests.Session, address: str, partial: PartialFile, progress: Progress, title: str, size: int | None
) -> Hashes:
    """Write what an address answers into ``partial``; ``size`` is the recorded number of bytes.

    Raises:
        FailedAttemptError: the address does not answer with a whole file of that size.
        StorageError: the disk is full.
    """
    hasher = Hasher()
    with answering(session, address, WAITS) as response:
        promised = promised_length(response)
        _refuse_other_size(promised, size)
        with progress.task(title, promised if promised is not None else size, "bytes") as task:
            for chunk in _file_chunks(response):
                hasher.update(chunk)
                _refuse_excess(hasher.size, size)
                partial.write(chunk)
                task.advance(len(chunk))
    _refuse_incomplete(hasher.size, promised)
    _refuse_other_size(hasher.size, size)
    return hasher.hashes()


def _file_chunks(response: requests.Response) -> Iterator[bytes]:
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise FailedAttemptError("sent a web page, not a file")
    first = True
    for chunk in chunks(response, WAITS):
        if first and chunk[:512].lstrip().lower().startswith(WEB_PAGE_STARTS):
            raise FailedAttemptError("sent a web page, not a file")
        first = False
        yield chunk


def _refuse_other_size(found: int | None, size: int | None) -> None:
    if found is not None and size is not None and found != size:
        raise FailedAttemptError(f"has a file of {found:,} bytes; the zoo file records {size:,}")


def _refuse_excess(found: int, size: int | None) -> None:
    if size is not None and found > size:
        raise FailedAttemptError(f"sent more than the {size:,} bytes that the zoo file records")


def _refuse_incomplete(found: int, promised: int | None) -> None:
    if promised is not None and found != promised:
        raise FailedAttemptError(ended(found, promised))
    if found == 0:
        raise FailedAttemptError("sent an empty file")
