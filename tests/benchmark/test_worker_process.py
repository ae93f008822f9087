"""Processes that take turns: what they are asked, what they raise, and how they end."""

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
    """Tell the number of the process; add up what is given."""
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
    """Cannot be built again from its arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first}{second}")


def failing_oddly() -> tuple[None, Callable[[int], None]]:
    def fail(_: int) -> None:
        raise OddError("x", "y")

    return None, fail


def test_a_worker_prepares_once_in_a_process_of_its_own_and_keeps_what_it_has() -> None:
    with WorkerProcess(adding, 10) as worker, WorkerProcess(adding, 0) as other:
        assert len({worker.about, other.about, os.getpid()}) == 3
        assert [worker.do(1), other.do(5), worker.do(2), other.do(5)] == [11, 5, 13, 10]


def test_what_a_worker_raises_is_raised_here_and_it_goes_on() -> None:
    with pytest.raises(DeviceError, match="there is none"):
        WorkerProcess(failing, True)
    with WorkerProcess(failing, False) as worker:
        for error in (DeviceError("cpu", "no memory", out_of_memory=True), FileNotFoundError(2, "gone")):
            with pytest.raises(type(error)) as caught:
                worker.do(error)
            assert str(caught.value) == str(error)


def test_an_error_that_cannot_cross_is_told_in_words() -> None:
    with WorkerProcess(failing_oddly) as worker, pytest.raises(RuntimeError, match="OddError: xy"):
        worker.do(1)


def test_a_worker_that_is_killed_is_told() -> None:
    with WorkerProcess(dying) as worker:
        with pytest.raises(WorkerDiedError) as caught:
            worker.do(signal.SIGKILL)
        assert caught.value.status == -signal.SIGKILL


def test_no_process_outlives_its_block_whatever_it_is_doing() -> None:
    with WorkerProcess(adding, 0) as worker:
        process = worker.about
    assert is_gone(process)
    asleep = WorkerProcess(sleeping)
    with pytest.raises(Interrupted), asleep:
        raise Interrupted
    assert is_gone(asleep.about)


def test_processes_that_it_has_started_end_with_it() -> None:
    worker = WorkerProcess(parent)
    with pytest.raises(Interrupted), worker:
        raise Interrupted
    assert is_over(worker.about)


def parent() -> tuple[int, Callable[[None], None]]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    return child.pid, lambda _: None


def is_over(process: int) -> bool:
    """Nobody waits for an orphan in a container without an init: it may stay as a zombie."""
    for _ in range(100):
        if is_gone(process) or Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_what_it_prints_is_no_data_of_the_one_who_asks(capfd: pytest.CaptureFixture[str]) -> None:
    with WorkerProcess(printing) as worker:
        worker.do("loudly")
    assert capfd.readouterr() == ("", "loudly\n")


def printing() -> tuple[None, Callable[[str], None]]:
    return None, partial(print, flush=True)


@pytest.mark.parametrize("silenced", [True, False])
def test_warnings_are_shown_where_the_one_who_asks_shows_them(
    capfd: pytest.CaptureFixture[str], silenced: bool
) -> None:
    with warnings.catch_warnings():
        if silenced:
            warnings.simplefilter("ignore")
        with WorkerProcess(warning) as worker:
            worker.do("mind the step")
    assert ("mind the step" in capfd.readouterr().err) is not silenced


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


def test_ctrl_c_is_left_to_the_one_who_asks() -> None:
    with WorkerProcess(adding, 0) as worker:
        os.kill(worker.about, signal.SIGINT)
        assert worker.do(3) == 3
