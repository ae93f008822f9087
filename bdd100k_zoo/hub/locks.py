"""One process at a time downloads a file; which files of the cache a live process works on."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.files import LINK_REFUSED, storage_errors
from bdd100k_zoo.hub.inventory import find_partial_facts
from bdd100k_zoo.hub.layout import LOCK_SUFFIX, lock_path
from bdd100k_zoo.hub.resume import find_partials, is_process_alive

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bdd100k_zoo.hub.inventory import CacheItem
    from bdd100k_zoo.progress import Progress

LOCK_WAIT = 300.0
"""Seconds to wait for another process that downloads the same file, and brings no new byte of it meanwhile."""
POLL_SECONDS = 1.0
"""Seconds between two looks at what the other has brought."""

READ_ONLY_ERRNOS = {errno.EROFS, errno.EACCES, errno.EPERM}
UNSUPPORTED_LOCK_ERRNOS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems without locks answer; unique names of partial files keep processes apart there."""


@contextmanager
def cache_lock(path: Path, progress: Progress, *, to_read: bool = False) -> Iterator[None]:
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
            taken = acquire_lock(lock, needless=READ_ONLY_ERRNOS if to_read else ())
        if not taken:
            progress.note(f"another process is downloading {path.name}; waiting for it")
            with storage_errors(path.parent):
                _wait(lock, path)
        yield
    finally:
        lock.release()


def acquire_lock(lock: FileLock, seconds: float = 0.0, *, needless: Collection[int] = ()) -> bool:
    """Take a lock within some seconds; return whether it, or none, is held: False where another process holds it.

    A file system without locks has nothing to hold. Nor is one held where its file cannot be opened for one of the
    reasons ``needless``, numbers of errno.

    Raises:
        OSError: its file cannot be opened.
        StorageError: its file is a link.
    """
    if os.path.islink(lock.lock_file):  # noqa: PTH114  (opening it would empty what the link leads to)
        raise StorageError(Path(lock.lock_file), LINK_REFUSED)
    try:
        with suppress(NotImplementedError):  # how filelock before version 4 tells of a missing flock
            lock.acquire(timeout=seconds)
    except Timeout:
        return False
    except OSError as error:
        if error.errno not in {*UNSUPPORTED_LOCK_ERRNOS, *needless}:
            raise
    return True


def _wait(lock: FileLock, path: Path) -> None:
    """Wait for as long as the other process gets on: a large file may take it hours."""
    deadline, last = monotonic() + LOCK_WAIT, find_partials(path)
    while True:
        try:
            lock.acquire(timeout=min(POLL_SECONDS, LOCK_WAIT))
        except Timeout:
            if (now := find_partials(path)) != last:
                deadline, last = monotonic() + LOCK_WAIT, now
            if monotonic() >= deadline:
                reason = (
                    f"another process has held this lock for {LOCK_WAIT:g} s without any progress; is it still at work?"
                )
                raise StorageError(Path(lock.lock_file), reason) from None
        else:
            return


LOCK_HELD = "another process holds its lock"

REMOTE_IDLE_LIMIT = timedelta(hours=1)
"""How long a partial file is left alone whose process runs on another machine, where it cannot be looked for."""


def find_owner(item: CacheItem) -> str:
    """Say which live process works on a file of the cache; nothing where there is none. No file is made.

    Raises:
        StorageError: the lock cannot be looked at.
    """
    if owner := read_recorded_owner(item):
        return owner
    if not lock_path(item.target).exists():
        return ""
    with lock_if_free(item.target) as taken:
        return "" if taken else LOCK_HELD


@contextmanager
def lock_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock on a file of the cache for the block, unless another process does; tell whether it is held.

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


def remove_lock(path: Path) -> bool:
    """Remove the lock on a file of the cache, unless another process holds it; return whether it is gone.

    It is removed while it is held: whoever waits for it notices, and makes another.

    Raises:
        StorageError: the folder cannot be written.
    """
    with lock_if_free(path) as taken, storage_errors(path.parent):
        if taken:
            lock_path(path).unlink(missing_ok=True)
    return taken


def list_locks(folder: Path) -> list[Path]:
    """Return the locks in a folder of the cache; none where there is no folder."""
    with storage_errors(folder):
        return sorted(path for path in folder.glob(f"*{LOCK_SUFFIX}") if path.is_file() and not path.is_symlink())


def read_recorded_owner(item: CacheItem) -> str:
    """Say which live process a partial file belongs to by what is recorded beside it; nothing where to none."""
    if item.kind != "partial":
        return ""
    facts = find_partial_facts(item.path)
    if facts is None or facts.host is None or facts.pid is None:
        return ""
    if facts.host == socket.gethostname():
        return f"process {facts.pid} works on it" if is_process_alive(facts.pid) else ""
    idle = datetime.now(timezone.utc) - datetime.fromisoformat(item.changed)
    return f"process {facts.pid} on {facts.host} may work on it" if idle < REMOTE_IDLE_LIMIT else ""
