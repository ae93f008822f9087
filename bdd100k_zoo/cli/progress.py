"""How far a job is: a live bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from bdd100k_zoo.cli.console import plain, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.progress import Task as BarTask
    from rich.progress import TaskID

    from bdd100k_zoo.progress import Task, Unit

LOG_INTERVAL = 30.0
"""Seconds between two lines where stderr is no terminal."""


class TerminalProgress:
    """The Progress of the command line."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._bars: Bars | None = None

    @contextmanager
    def task(self, title: str, total: int | None, unit: Unit, done: int = 0) -> Iterator[Task]:
        """Show one task for as long as the block runs."""
        if self._quiet or not self._console.is_terminal:
            log = _LogTask(title, total, unit, done, quiet=self._quiet)
            yield log
            log.close()
            return
        with Bars(*_columns(unit), console=self._console) as bars:
            self._bars = bars
            try:
                yield _BarTask(bars, bars.add_task(plain(title), total=total, completed=done))
            finally:
                self._bars = None

    def note(self, message: str) -> None:
        """Say something worth knowing."""
        if not self._quiet:
            self._say(message)

    def warn(self, message: str) -> None:
        """Say something that the user must not overlook."""
        self._say(message, "bold yellow", "warning")

    def _say(self, message: str, style: str = "", label: str = "") -> None:
        """Above the live bar, where there is one."""
        say(message, style, label, console=self._bars.console if self._bars else None)


def _columns(unit: Unit) -> tuple[ProgressColumn, ...]:
    title = TextColumn("{task.description}", markup=False)
    if unit == "bytes":
        return (title, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return (title, BarColumn(), MofNCompleteColumn(), _RateColumn(unit), TimeRemainingColumn())


class _RateColumn(ProgressColumn):
    """Images per second, or seconds per image where that is the larger number."""

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: BarTask) -> Text:
        return Text(rate(task.finished_speed or task.speed, self._unit), style="progress.data.speed")


def rate(per_second: float | None, unit: Unit = "images") -> str:
    """Write a speed so that it reads well for fast and slow work."""
    if unit == "bytes":
        return f"{(per_second or 0) / 1e6:,.1f} MB/s"
    if not per_second:
        return f"– {unit}/s"
    if per_second < 1:
        return f"{1 / per_second:.1f} s/{unit.removesuffix('s')}"
    return f"{per_second:.1f} {unit}/s"


class _BarTask:
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, amount: int) -> None:
        self._bars.advance(self._task, amount)

    def restart(self, done: int, total: int | None) -> None:
        self._bars.reset(self._task, completed=done, total=total)


class _LogTask:
    """Lines for logs: the first after LOG_INTERVAL, and one at the end."""

    def __init__(self, title: str, total: int | None, unit: Unit, done: int, *, quiet: bool) -> None:
        self._title, self._unit, self._quiet = title, unit, quiet
        self.restart(done, total)

    def restart(self, done: int, total: int | None) -> None:
        self._done, self._total, self._before = done, total, done
        self._told = -1
        self._start = self._spoken = monotonic()

    def advance(self, amount: int) -> None:
        self._done += amount
        if monotonic() - self._spoken >= LOG_INTERVAL:
            self._spoken = monotonic()
            self._say()

    def close(self) -> None:
        if self._told != self._done:
            self._say()

    def _say(self) -> None:
        self._told = self._done
        if self._quiet:
            return
        speed = (self._done - self._before) / max(monotonic() - self._start, 1e-9)
        print(plain(f"{self._title}: {self._amounts()}, {self._rate(speed)}"), file=sys.stderr)  # noqa: T201

    def _amounts(self) -> str:
        scale = 1_000_000 if self._unit == "bytes" else 1
        unit = "MB" if self._unit == "bytes" else self._unit
        of_total = "" if self._total is None else f" of {self._total / scale:,.0f}"
        return f"{self._done / scale:,.0f}{of_total} {unit}"

    def _rate(self, speed: float) -> str:
        written = rate(speed, self._unit)
        if self._total is None or self._done >= self._total or not speed:
            return written
        return f"{written}, {(self._total - self._done) / speed:,.0f} s left"
