"""Count the usable cores, handle signals, and make child processes exit when their parent has ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ORPHANED_STATUS = 1
"""Exit status of a process whose parent has ended."""


def usable_cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def handle_signals(handlers: Mapping[signal.Signals, Callable[[int, Any], None]]) -> Iterator[None]:
    """Handle signals in the block, except those that are ignored, as in the background of a script.

    In other threads than the main thread nothing changes: Python does not let them set handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; it ends a job in the same way as Ctrl-C."""


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

    threading.Thread(target=end, name="parent", daemon=True).start()
