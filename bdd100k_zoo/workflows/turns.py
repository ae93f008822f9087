"""Work in processes of their own that take turns: each with memory, threads and settings of its own, one at a time."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

About = TypeVar("About")
Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerDiedError(Exception):
    """A process ended before it answered."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"the process ended before it answered, with exit code {status}")
        self.status = status


class Worker(Generic[About, Task, Result]):
    """A process that prepares once and then does one task after the other, whenever it is asked to.

    It is ended with the block that it is opened for.
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
        self._process = context.Process(target=_serve, args=(theirs, prepare, arguments), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self.about = cast("About", self._answer())
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Worker[About, Task, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def do(self, task: Task) -> Result:
        """Do a task and wait for its result; raises what the task raises, and WorkerDiedError."""
        self._pipe.send(task)
        return cast("Result", self._answer())

    def _answer(self) -> object:
        try:
            is_error, answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            raise WorkerDiedError(self._process.exitcode) from None
        if is_error:
            raise answer
        return answer

    def _end(self) -> None:
        self._pipe.close()
        self._process.terminate()
        self._process.join()


def _serve(pipe: Connection, prepare: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the one who asks, and that one ends this one
    is_error, prepared = _outcome(prepare, *arguments)
    with suppress(EOFError, BrokenPipeError):  # the one who asked is gone
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
