"""Let processes end when the one that started them has ended, even if it was killed and could tell nobody."""

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


def exit_with_parent() -> None:
    """End this process, which multiprocessing has started, as soon as its parent has ended."""
    if parent := multiprocessing.parent_process():
        _end_after(parent.join)


def exit_with_stdin() -> None:
    """End this process as soon as its stdin is closed, where that is a pipe that another process holds open.

    All that inherit the pipe see its end at the same moment, whichever process has started them.
    """
    with suppress(OSError):  # there is no stdin
        if stat.S_ISFIFO(os.fstat(0).st_mode):
            _end_after(_drain_stdin)


def _drain_stdin() -> None:
    while os.read(0, 1024):
        pass


def _end_after(wait: Callable[[], object]) -> None:
    def end() -> None:
        wait()
        # At once: what a process leaves unfinished is resumed as after any kill.
        os._exit(ORPHANED_STATUS)

    Thread(target=end, name="parent", daemon=True).start()
