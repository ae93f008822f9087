"""A process with memory, threads and settings of its own, that does one task at a time."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import warnings
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from bdd100k_zoo.child_processes import exit_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from typing_extensions import Self

EXIT_SECONDS = 5.0
"""Seconds that an idle process gets to exit before it is terminated."""


class WorkerDiedError(Exception):
    """A process ended before it answered."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"the process ended before it answered, with exit code {status}")
        self.status = status


class WorkerProcess:
    """A process that prepares once and then does one task after the other on request.

    It ends with its ``with`` block, together with all processes that it has started. Its output goes to stderr, and its
    warnings are ignored. Ctrl-C is handled by the calling process alone.
    """

    def __init__(self, prepare: Callable[..., tuple[Any, Callable[[Any], Any]]], *arguments: object) -> None:
        """Start the process and wait until it is prepared.

        Args:
            prepare: a function of a module, called in the process; it returns the value of ``about``, and the function
                that does a task.
            arguments: those of ``prepare``.

        Raises:
            Exception: an error of ``prepare``.
            WorkerDiedError: the process was killed.
        """
        context = multiprocessing.get_context("spawn")  # a forked process would share what is loaded here
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, prepare, arguments))
        with _block_interrupts():
            self._process.start()
        theirs.close()
        try:
            self.about = self._answer()
        except BaseException:
            self._end(0)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end(0 if kind else EXIT_SECONDS)

    def do(self, task: Any) -> Any:
        """Do a task and return its result; raises errors of the task, and WorkerDiedError."""
        with suppress(BrokenPipeError):  # the process has died, which the missing answer shows
            self._pipe.send(task)
        return self._answer()

    def _answer(self) -> Any:
        try:
            is_error, answer = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            raise WorkerDiedError(self._process.exitcode) from None
        if is_error:
            raise answer
        return answer

    def _end(self, timeout: float) -> None:
        self._pipe.close()
        self._process.join(timeout)
        self._process.terminate()
        if pid := self._process.pid:
            with suppress(AttributeError, OSError):  # no process groups on this system; or the group is empty
                os.killpg(pid, signal.SIGTERM)
        self._process.join()


@contextmanager
def _block_interrupts() -> Iterator[None]:
    """Block Ctrl-C in the block: a process that is started inside inherits that, and never receives it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # otherwise the first process starts it, which unblocks Ctrl-C
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, prepare: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    exit_with_parent()
    with suppress(AttributeError):  # no process groups on this system
        os.setsid()
    sys.stdout.flush()
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    is_error, prepared = _outcome(prepare, *arguments)
    with suppress(EOFError, ConnectionError):  # the calling process is gone
        pipe.send((is_error, prepared if is_error else prepared[0]))
        while not is_error:
            pipe.send(_outcome(prepared[1], pipe.recv()))


def _outcome(function: Callable[..., Any], *arguments: object) -> tuple[bool, Any]:
    """Return whether a function fails, and the error or the result."""
    try:
        return False, function(*arguments)
    except Exception as error:  # noqa: BLE001  (the calling process raises it, whatever it is)
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301  (our own)
        except Exception:  # noqa: BLE001  (some errors of libraries cannot be pickled)
            return True, RuntimeError(f"{type(error).__name__}: {error}")
        return True, error
