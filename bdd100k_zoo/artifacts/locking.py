"""One process at a time downloads a file."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from bdd100k_zoo.artifacts.layout import lock_path
from bdd100k_zoo.artifacts.partial import partials_of
from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.records.files import IS_LINK, storage_errors

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bdd100k_zoo.progress import Progress

LOCK_WAIT = 300.0
"""Seconds to wait for another process that downloads the same file, and brings no new byte of it meanwhile."""
LOOK = 1.0
"""Seconds between two looks at what the other has brought."""

READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems without locks answer; unique names of partial files keep processes apart there."""


@contextmanager
def locked(path: Path, progress: Progress, *, to_read: bool = False) -> Iterator[None]:
    """Hold the lock on a file of the cache, whose folder is made; without one where the file system knows none.

    Args:
        path: the file.
        progress: told if another process holds it.
        to_read: the file is only read, so that where no lock can be made, as in a read-only cache, none is needed.

    Raises:
        StorageError: the folder cannot be written, or another process holds the lock for too long.
    """
    with storage_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_path(path))
    try:
        with storage_errors(path.parent):
            taken = take(lock, needless=READ_ONLY if to_read else ())
        if not taken:
            progress.note(f"another process is downloading {path.name}; waiting for it")
            with storage_errors(path.parent):
                _wait(lock, path)
        yield
    finally:
        lock.release()


def take(lock: FileLock, seconds: float = 0.0, *, needless: Collection[int] = ()) -> bool:
    """Take a lock within some seconds; return whether it, or none, is held: False where another process holds it.

    A file system without locks has nothing to hold. Nor is one held where its file cannot be opened for one of the
    reasons ``needless``, numbers of errno.

    Raises:
        OSError: its file cannot be opened.
        StorageError: its file is a link.
    """
    if os.path.islink(lock.lock_file):  # noqa: PTH114  (opening it would empty what the link leads to)
        raise StorageError(Path(lock.lock_file), IS_LINK)
    try:
        with suppress(NotImplementedError):  # how filelock before version 4 tells of a missing flock
            lock.acquire(timeout=seconds)
    except Timeout:
        return False
    except OSError as error:
        if error.errno not in {*NO_LOCKS, *needless}:
            raise
    return True


def _wait(lock: FileLock, path: Path) -> None:
    """Wait for as long as the other process gets on: a large file may take it hours."""
    deadline, last = monotonic() + LOCK_WAIT, partials_of(path)
    while True:
        try:
            lock.acquire(timeout=min(LOOK, LOCK_WAIT))
        except Timeout:
            if (now := partials_of(path)) != last:
                deadline, last = monotonic() + LOCK_WAIT, now
            if monotonic() >= deadline:
                reason = (
                    f"another process has held this lock for {LOCK_WAIT:g} s without any progress; is it still at work?"
                )
                raise StorageError(Path(lock.lock_file), reason) from None
        else:
            return
