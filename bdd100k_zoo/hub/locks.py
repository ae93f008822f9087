"""The lock on each file of the cache."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.files import LINK_REFUSED, storage_errors
from bdd100k_zoo.hub.layout import lock_path
from bdd100k_zoo.hub.resume import find_partials

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bdd100k_zoo.progress import Progress

LOCK_WAIT = 300.0
"""Seconds to wait for another process that downloads the same file without receiving a new byte of it."""
POLL_SECONDS = 1.0
"""Seconds between two checks of what the other process has received."""

READ_ONLY_ERRNOS = {errno.EROFS, errno.EACCES, errno.EPERM}
UNSUPPORTED_LOCK_ERRNOS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems without locks answer; unique names of partial files keep processes apart there."""

LOCK_HELD = "another process holds its lock"


@contextmanager
def cache_lock(path: Path, progress: Progress, *, to_read: bool = False) -> Iterator[None]:
    """Hold the lock on a file of the cache, creating its folder; hold none where the file system supports none.

    Args:
        path: the file.
        progress: where to report that another process holds it.
        to_read: the file is only read, so that no lock is needed where none can be made, as in a read-only cache.

    Raises:
        StorageError: the folder cannot be written, or another process holds the lock for too long.
    """
    with storage_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_path(path))
    try:
        with storage_errors(path.parent):
            taken = acquire_lock(lock, ignored_errnos=READ_ONLY_ERRNOS if to_read else ())
        if not taken:
            progress.note(f"another process is downloading {path.name}; waiting for it")
            with storage_errors(path.parent):
                _wait(lock, path)
        yield
    finally:
        lock.release()


@contextmanager
def lock_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock on a file of the cache for the block, unless another process does; yield whether it is held.

    Raises:
        StorageError: the folder cannot be written.
    """
    lock = FileLock(lock_path(path))
    try:
        with storage_errors(path.parent):
            taken = acquire_lock(lock)
        yield taken
    finally:
        lock.release()


def acquire_lock(lock: FileLock, seconds: float = 0.0, *, ignored_errnos: Collection[int] = ()) -> bool:
    """Take a lock within some seconds; return False if another process holds it.

    On a file system without locks there is nothing to hold, and True is returned; so it is if opening the lock's file
    fails for one of ``ignored_errnos``.

    Raises:
        OSError: its file cannot be opened.
        StorageError: its file is a link.
    """
    if os.path.islink(lock.lock_file):  # noqa: PTH114  (opening it would truncate what the link leads to)
        raise StorageError(Path(lock.lock_file), LINK_REFUSED)
    try:
        with suppress(NotImplementedError):  # what filelock before version 4 raises without flock
            lock.acquire(timeout=seconds)
    except Timeout:
        return False
    except OSError as error:
        if error.errno not in {*UNSUPPORTED_LOCK_ERRNOS, *ignored_errnos}:
            raise
    return True


def _wait(lock: FileLock, path: Path) -> None:
    """Wait as long as the other process makes progress: a large file may take it hours."""
    deadline, last = monotonic() + LOCK_WAIT, find_partials(path)
    while True:
        try:
            lock.acquire(timeout=min(POLL_SECONDS, LOCK_WAIT))
        except Timeout:
            if (now := find_partials(path)) != last:
                deadline, last = monotonic() + LOCK_WAIT, now
            if monotonic() >= deadline:
                raise StorageError(
                    Path(lock.lock_file),
                    f"another process has held this lock for {LOCK_WAIT:g} s without any progress",
                    "check whether that process still runs: wait for it, or stop it and give the same command again",
                ) from None
        else:
            return
