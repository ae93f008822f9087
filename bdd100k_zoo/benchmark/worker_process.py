"""Work in processes of their own that take turns: each with memory, threads and settings of its own, one at a time."""

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

    It is ended with the block that it is opened for, and with it whatever processes it has started. What it prints
    goes to stderr: stdout belongs to the process that asks. Ctrl-C is left to that one, too.
    """

    def __init__(self, prepare: Callable[..., tuple[About, Callable[[Task], Result]]], *arguments: object) -> None:
        """Start the process and wait until it has prepared.

        Args:
            prepare: a function of a module, called in the process; it tells about itself, and gives what does a task.
            arguments: those of ``prepare``.

        Raises:
            Exception: what ``prepare`` raises.
            WorkerDiedError: the process was ended from outside.
        """
        context = multiprocessing.get_context("spawn")  # what this process has loaded must not be there
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, _are_silenced(), prepare, arguments))
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

    def _end(self, patience: float = 0.0) -> None:
        self._pipe.close()
        self._process.join(patience)
        self._process.terminate()
        if pid := self._process.pid:
            with suppress(AttributeError, OSError):  # no groups on this system; or nobody is left in it, or yet
                os.killpg(pid, signal.SIGTERM)
        self._process.join()


@contextmanager
def _defer_interrupts() -> Iterator[None]:
    """Let Ctrl-C wait: a process that is started inside never hears of it, from its first moment on."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start, which comes with that of the first process, would end the waiting
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _are_silenced() -> bool:
    """Tell whether this process shows no warnings at all."""
    return ("ignore", None, Warning, None, 0) in warnings.filters


def _serve(pipe: Connection, silenced: bool, prepare: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    exit_with_parent()
    with suppress(AttributeError):  # of systems without groups
        os.setsid()
    sys.stdout.flush()
    os.dup2(2, 1)
    if silenced:
        warnings.simplefilter("ignore")
    is_error, prepared = _outcome(prepare, *arguments)
    with suppress(EOFError, ConnectionError):  # the one who asked is gone
        pipe.send((is_error, prepared if is_error else prepared[0]))
        while not is_error:
            pipe.send(_outcome(prepared[1], pipe.recv()))


def _outcome(function: Callable[..., Any], *arguments: object) -> tuple[bool, Any]:
    """Give whether a function fails, and the error or what it returns."""
    try:
        return False, function(*arguments)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is raised over there)
        return True, _portable(error)


def _portable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  (our own)
    except Exception:  # noqa: BLE001  (an error of a library that cannot be pickled)
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
