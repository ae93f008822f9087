"""Worker processes: their tasks, their errors, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bdd100k_zoo.benchmark.worker_process import WorkerDiedError, WorkerProcess
from bdd100k_zoo.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable


def adding(start: int) -> tuple[int, Callable[[int], int]]:
    """Return the process id, and a function that adds up numbers."""
    total = [start]

    def add(number: int) -> int:
        total[0] += number
        return total[0]

    return os.getpid(), add


def failing(early: bool) -> tuple[None, Callable[[Exception], None]]:
    if early:
        raise DeviceError("cuda", "there is none")
    return None, partial(_raise)


def _raise(error: Exception) -> None:
    raise error


def dying() -> tuple[None, Callable[[int], None]]:
    return None, lambda number: os.kill(os.getpid(), number)


class OddError(Exception):
    """Cannot be unpickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first}{second}")


def failing_oddly() -> tuple[None, Callable[[int], None]]:
    def fail(_: int) -> None:
        raise OddError("x", "y")

    return None, fail


def test_a_worker_prepares_once_in_a_process_of_its_own_and_keeps_its_state() -> None:
    with WorkerProcess(adding, 10) as worker, WorkerProcess(adding, 0) as other:
        assert len({worker.about, other.about, os.getpid()}) == 3
        assert [worker.do(1), other.do(5), worker.do(2), other.do(5)] == [11, 5, 13, 10]


def test_an_error_of_a_worker_is_raised_in_the_caller_and_the_worker_continues() -> None:
    with pytest.raises(DeviceError, match="there is none"):
        WorkerProcess(failing, True)
    with WorkerProcess(failing, False) as worker:
        for error in (DeviceError("cpu", "no memory", out_of_memory=True), FileNotFoundError(2, "gone")):
            with pytest.raises(type(error)) as caught:
                worker.do(error)
            assert str(caught.value) == str(error)


def test_an_error_that_cannot_be_pickled_is_raised_as_a_runtime_error() -> None:
    with WorkerProcess(failing_oddly) as worker, pytest.raises(RuntimeError, match="OddError: xy"):
        worker.do(1)


def test_a_killed_worker_is_reported_with_its_status() -> None:
    with WorkerProcess(dying) as worker:
        with pytest.raises(WorkerDiedError) as caught:
            worker.do(signal.SIGKILL)
        assert caught.value.status == -signal.SIGKILL


def test_no_process_outlives_its_block() -> None:
    with WorkerProcess(adding, 0) as worker:
        process = worker.about
    assert is_gone(process)
    asleep = WorkerProcess(sleeping)
    with pytest.raises(Interrupted), asleep:
        raise Interrupted
    assert is_gone(asleep.about)


def test_processes_that_a_worker_has_started_end_with_it() -> None:
    worker = WorkerProcess(parent)
    with pytest.raises(Interrupted), worker:
        raise Interrupted
    assert is_over(worker.about)


def parent() -> tuple[int, Callable[[None], None]]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    return child.pid, lambda _: None


def is_over(process: int) -> bool:
    """Return whether a process has ended; in a container without an init an orphan may stay as a zombie."""
    for _ in range(100):
        if is_gone(process) or Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_the_output_of_a_worker_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with WorkerProcess(printing) as worker:
        worker.do("loudly")
    assert capfd.readouterr() == ("", "loudly\n")


def printing() -> tuple[None, Callable[[str], None]]:
    return None, partial(print, flush=True)


def test_warnings_of_a_worker_are_ignored(capfd: pytest.CaptureFixture[str]) -> None:
    with WorkerProcess(warning) as worker:
        worker.do("mind the step")
    assert "mind the step" not in capfd.readouterr().err


def warning() -> tuple[None, Callable[[str], None]]:
    return None, warnings.warn


class Interrupted(Exception):  # noqa: N818  (it stands for Ctrl-C)
    pass


def sleeping() -> tuple[int, Callable[[float], None]]:
    return os.getpid(), time.sleep


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_ctrl_c_does_not_reach_a_worker() -> None:
    with WorkerProcess(adding, 0) as worker:
        os.kill(worker.about, signal.SIGINT)
        assert worker.do(3) == 3
