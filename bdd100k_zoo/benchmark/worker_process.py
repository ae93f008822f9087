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
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from bdd100k_zoo.child_processes import exit_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from types import TracebackType

About = TypeVar("About")
Task = TypeVar("Task")
Result = TypeVar("Result")

EXIT_SECONDS = 5.0
"""Seconds that an idle process has to end by itself."""


class WorkerDiedError(Exception):
    """A process ended before it answered."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"the process ended before it answered, with exit code {status}")
        self.status = status


class WorkerProcess(Generic[About, Task, Result]):
    """A process that prepares once and then does one task after the other, whenever it is asked to.

    It ends with its ``with`` block, and with it all processes that it has started. What it prints goes to stderr:
    stdout belongs to the process that asks, which also handles Ctrl-C.
    """

    def __init__(self, prepare: Callable[..., tuple[About, Callable[[Task], Result]]], *arguments: object) -> None:
        """Start the process and wait until it has prepared.

        Args:
            prepare: a function of a module, called in the process; it returns what ``about`` is, and what does a task.
            arguments: those of ``prepare``.

        Raises:
            Exception: what ``prepare`` raises.
            WorkerDiedError: the process was killed.
        """
        context = multiprocessing.get_context("spawn")  # nothing that this process has loaded
        self._pipe, theirs = context.Pipe()
        silenced = ("ignore", None, Warning, None, 0) in warnings.filters  # no warnings are shown at all
        self._process = context.Process(target=_serve, args=(theirs, silenced, prepare, arguments))
        with _defer_interrupts():
            self._process.start()
        theirs.close()
        try:
            self.about = cast("About", self._answer())
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> WorkerProcess[About, Task, Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(0 if kind else EXIT_SECONDS)

    def do(self, task: Task) -> Result:
        """Do a task and wait for its result; raises what the task raises, and WorkerDiedError."""
        try:
            self._pipe.send(task)
        except BrokenPipeError:
            raise self._died() from None
        return cast("Result", self._answer())

    def _answer(self) -> object:
        try:
            is_error, answer = self._pipe.recv()
        except (EOFError, ConnectionError):
            raise self._died() from None
        if is_error:
            raise answer
        return answer

    def _died(self) -> WorkerDiedError:
        self._process.join()
        return WorkerDiedError(self._process.exitcode)

    def _end(self, timeout: float = 0.0) -> None:
        self._pipe.close()
        self._process.join(timeout)
        self._process.terminate()
        if pid := self._process.pid:
            with suppress(AttributeError, OSError):  # no process groups on this system; or the group is empty
                os.killpg(pid, signal.SIGTERM)
        self._process.join()


@contextmanager
def _defer_interrupts() -> Iterator[None]:
    """Block Ctrl-C for a moment: a process that is started inside inherits that, and never receives it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # otherwise the first process starts it, which unblocks Ctrl-C
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, silenced: bool, prepare: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    exit_with_parent()
    with suppress(AttributeError):  # no process groups on this system
        os.setsid()
    sys.stdout.flush()
    os.dup2(2, 1)
    if silenced:
        warnings.simplefilter("ignore")
    is_error, prepared = _outcome(prepare, *arguments)
    with suppress(EOFError, ConnectionError):  # the process that asks is gone
        pipe.send((is_error, prepared if is_error else prepared[0]))
        while not is_error:
            pipe.send(_outcome(prepared[1], pipe.recv()))


def _outcome(function: Callable[..., Any], *arguments: object) -> tuple[bool, Any]:
    """Return whether a function fails, and the error or what it returns."""
    try:
        return False, function(*arguments)
    except Exception as error:  # noqa: BLE001  (whatever it is, the process that asks raises it)
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301  (our own)
        except Exception:  # noqa: BLE001  (some errors of libraries cannot be pickled)
            return True, RuntimeError(f"{type(error).__name__}: {error}")
        return True, error
