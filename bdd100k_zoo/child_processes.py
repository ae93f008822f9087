"""Count the usable cores, and make child processes exit when their parent has ended, even if it was killed."""

from __future__ import annotations

import multiprocessing
import os
import stat
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ORPHANED_STATUS = 1
"""Exit status of a process whose parent has ended."""


def usable_cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def exit_with_parent() -> None:
    """Exit from this process, which multiprocessing has started, as soon as its parent ends."""
    if parent := multiprocessing.parent_process():
        _exit_after(parent.join)


def exit_with_stdin() -> None:
    """Exit from this process as soon as its stdin is closed, if that is a pipe that another process holds open.

    All processes that inherit the pipe see its end at the same time, whichever process has started them.
    """
    with suppress(OSError):  # there is no stdin
        if stat.S_ISFIFO(os.fstat(0).st_mode):
            _exit_after(_drain_stdin)


def _drain_stdin() -> None:
    while os.read(0, 1024):
        pass


def _exit_after(wait: Callable[[], object]) -> None:
    def end() -> None:
        wait()
        # Immediately and without cleanup: unfinished work is resumed as after any kill.
        os._exit(ORPHANED_STATUS)

    Thread(target=end, name="parent", daemon=True).start()
