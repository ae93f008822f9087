"""Ctrl-C and SIGTERM: passed to a job that ends gently, and told of processes that were started."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from bdd100k_zoo.cli.output import Terminated
from bdd100k_zoo.errors import WorkerFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bdd100k_zoo.training.job import GracefulStop

SIGINT_STATUS, SIGTERM_STATUS = 130, 143
"""Exit statuses after Ctrl-C and SIGTERM."""

SIGNAL_EXCEPTIONS: Mapping[int, type[KeyboardInterrupt]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
}


@contextmanager
def translate_signal_exits(*, hushed: bool) -> Iterator[None]:
    """Tell a signal that ended other processes as one that came here; if hushed, leave it to them to speak."""
    try:
        yield
    except WorkerFailedError as error:
        if error.status in (SIGINT_STATUS, SIGTERM_STATUS):
            raise (Terminated if error.status == SIGTERM_STATUS else KeyboardInterrupt) from None
        raise
    except KeyboardInterrupt as interrupt:
        if hushed:
            raise typer.Exit(SIGTERM_STATUS if isinstance(interrupt, Terminated) else SIGINT_STATUS) from None
        raise


@contextmanager
def stop_on_signals(stop: GracefulStop) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM ask a job to end, unless they are ignored, as in the background of a script.

    Python lets the main thread alone handle them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heeded = [number for number in SIGNAL_EXCEPTIONS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {
        number: signal.signal(number, lambda number, _: stop.ask(SIGNAL_EXCEPTIONS[number]())) for number in heeded
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
