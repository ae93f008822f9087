"""Which files of the cache a live process works on."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from filelock import FileLock

from bdd100k_zoo.artifacts.inventory import partial_facts
from bdd100k_zoo.artifacts.layout import LOCK, lock_path
from bdd100k_zoo.artifacts.locking import take
from bdd100k_zoo.artifacts.partial import is_alive
from bdd100k_zoo.records.files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bdd100k_zoo.artifacts.inventory import Item

HELD = "another process holds its lock"

SILENCE = timedelta(hours=1)
"""How long a partial file is left alone whose process runs on another machine, where it cannot be looked for."""


def owner_of(item: Item) -> str:
    """Say which live process works on a file of the cache; nothing where there is none. No file is made.

    Raises:
        StorageError: the lock cannot be looked at.
    """
    if owner := recorded_owner(item):
        return owner
    if not lock_path(item.target).exists():
        return ""
    with lock_if_free(item.target) as taken:
        return "" if taken else HELD


@contextmanager
def lock_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock on a file of the cache for the block, unless another process does; tell whether it is held.

    Raises:
        StorageError: the folder cannot be written.
    """
    lock = FileLock(lock_path(path))
    try:
        with storage_errors(path.parent):
            taken = take(lock)
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


def locks_in(folder: Path) -> list[Path]:
    """Return the locks in a folder of the cache; none where there is no folder."""
    with storage_errors(folder):
        return sorted(path for path in folder.glob(f"*{LOCK}") if path.is_file() and not path.is_symlink())


def recorded_owner(item: Item) -> str:
    """Say which live process a partial file belongs to by what is recorded beside it; nothing where to none."""
    if item.kind != "partial":
        return ""
    facts = partial_facts(item.path)
    if facts is None or facts.host is None or facts.pid is None:
        return ""
    if facts.host == socket.gethostname():
        return f"process {facts.pid} works on it" if is_alive(facts.pid) else ""
    idle = datetime.now(timezone.utc) - datetime.fromisoformat(item.changed)
    return f"process {facts.pid} on {facts.host} may work on it" if idle < SILENCE else ""
