"""Progress of jobs: live bars on a terminal, a line now and then in a log."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text

from bdd100k_zoo.cli.output import print_message, sanitize_text
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import Console, RenderableType
    from rich.progress import Task as Row
    from rich.progress import TaskID

    from bdd100k_zoo.progress import Task, Unit


class Counted(Protocol):
    """A task whose amounts are shown."""

    unit: Unit
    done: int
    total: int | None

    @property
    def speed(self) -> float:
        """Units per second."""


class ProgressBars(Progress):
    """A row for each task, which is given as the field ``counted``; drawn when it is told to."""

    def __init__(self, console: Console) -> None:
        self._width = console.width - 2  # or the ^C that terminals echo would push the last row over the edge
        title = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
        columns = (title, BarColumn(), _Amounts(), _Rate(), _TimeLeft())
        super().__init__(*columns, console=console, auto_refresh=False)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Give the table of all rows."""
        yield Constrain(self.make_tasks_table(self.tasks), self._width)


class _Cell(ProgressColumn, ABC):
    """A column whose text stays whole as long as the bar can give way."""

    style = ""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True, justify="right"))

    def render(self, row: Row) -> Text:
        """Give the cell of a row."""
        return Text(self.text(row.fields["counted"], row), style=self.style)

    @abstractmethod
    def text(self, task: Counted, row: Row) -> str:
        """Write what stands in the row of a task."""


class _Amounts(_Cell):
    """Done and total."""

    style = "progress.download"

    def text(self, task: Counted, row: Row) -> str:  # noqa: ARG002
        return format_amounts(task, "/")


class _Rate(_Cell):
    """Units per second, or seconds per unit where that is the larger number; files are too few to have a speed."""

    style = "progress.data.speed"

    def text(self, task: Counted, row: Row) -> str:
        return "" if task.unit == "files" else format_rate(row.speed or task.speed, task.unit)


class _TimeLeft(_Cell):
    """Minutes and seconds, with hours where there are any."""

    style = "progress.remaining"

    def text(self, task: Counted, row: Row) -> str:
        if task.unit == "files" or task.total is None:
            return ""
        if row.time_remaining is None:
            return "--:--"
        return format_duration(row.time_remaining)


def format_amounts(task: Counted, of: str) -> str:
    """Write how much of a task is done, ``of`` how much where that is known."""
    scale, name = _byte_scale(max(task.done, task.total or 0)) if task.unit == "bytes" else (1, task.unit)
    of_total = "" if task.total is None else f"{of}{task.total / scale:,.0f}"
    return f"{task.done / scale:,.0f}{of_total} {name}"


def format_duration(seconds: float) -> str:
    """Write a time as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes:02}:{rest:02}"


def format_rate(per_second: float | None, unit: Unit = "images") -> str:
    """Write a speed so that it reads well for fast and slow work."""
    if not per_second:
        return "– MB/s" if unit == "bytes" else f"– {unit}/s"
    if unit == "bytes":
        scale, name = _byte_scale(per_second)
        return f"{per_second / scale:,.1f} {name}/s"
    if per_second < 1:
        return f"{1 / per_second:.1f} s/{unit.removesuffix('s')}"
    return f"{per_second:.1f} {unit}/s"


def _byte_scale(amount: float) -> tuple[int, str]:
    return (1_000_000, "MB") if amount >= 1_000_000 or not amount else (1_000, "kB")


LOG_INTERVAL = 30.0
"""Seconds between two lines about a task where stderr is no terminal."""

REFRESH_INTERVAL = 0.1
"""Seconds between two drawings of the bars."""


class TerminalProgress:
    """The Progress of the command line: one display for the tasks of all threads.

    On a terminal a task that ends while others run gives way to a line above their bars. An interrupt that passes
    through a task ends the display for good: other threads may still be at work, and would write below the last word.
    """

    def __init__(self, console: Console, *, quiet: bool = False, notes: bool = True) -> None:
        self._console = console
        self._quiet, self._notes = quiet, notes and not quiet
        self._lock = RLock()
        self._over = False
        self._display = _Screen(console) if console.is_terminal else _Log(console)

    @contextmanager
    def task(self, title: str, total: int | None, unit: Unit, done: int = 0) -> Iterator[Task]:
        """Show one task for as long as the block runs."""
        if self._quiet:
            with NO_PROGRESS.task(title, total, unit, done) as silent:
                yield silent
            return
        task = CountedTask(self._turn, self._display, sanitize_text(title), total, unit, done)
        self._turn(self._display.opened, task)
        whole = False
        try:
            yield task
            whole = task.total is None or task.done >= task.total
        except KeyboardInterrupt:
            self._end()
            raise
        finally:
            self._turn(self._display.closed, task, whole)

    def note(self, message: str) -> None:
        """Say something worth knowing."""
        if self._notes:
            self._turn(self._say, message)

    def warn(self, message: str) -> None:
        """Say something that the user must not overlook."""
        self._turn(self._say, message, "bold yellow", "warning")

    def _say(self, message: str, style: str = "", label: str = "") -> None:
        print_message(message, style, label, console=self._console)

    def _turn(self, change: Callable[..., None], *facts: object) -> None:
        """Change what is shown: one thread at a time, and nobody after the end."""
        with self._lock:
            if not self._over:
                change(*facts)

    def _end(self) -> None:
        with self._lock:
            self._turn(self._display.stop)
            self._over = True


class CountedTask:
    """One task and its amounts."""

    def __init__(
        self,
        turn: Callable[..., None],
        display: _Log | _Screen,
        title: str,
        total: int | None,
        unit: Unit,
        done: int,
    ) -> None:
        self._turn, self._display = turn, display
        self.title, self.unit = title, unit
        self._count_from(done, total)

    def advance(self, amount: int) -> None:
        """Count ``amount`` more units as done."""
        self._turn(self._advance, amount)

    def restart(self, done: int, total: int | None) -> None:
        """Count from ``done`` anew: speed and time left are those of what comes."""
        self._turn(self._restart, done, total)

    def retitle(self, title: str) -> None:
        """Call the task something else from here on; it is seen when it next moves."""
        self.title = sanitize_text(title)

    @property
    def speed(self) -> float:
        """Units per second since the start or the last restart."""
        return (self.done - self._before) / max(monotonic() - self._start, 1e-9)

    def line(self) -> str:
        """Say in one line how far the task is."""
        speed = self.speed
        line = f"{self.title}: {format_amounts(self, ' of ')}, {format_rate(speed, self.unit)}"
        if self.total is None or self.done >= self.total or not speed:
            return line
        return f"{line}, {format_duration((self.total - self.done) / speed)} left"

    def _advance(self, amount: int) -> None:
        self.done += amount
        self._display.moved(self)

    def _restart(self, done: int, total: int | None) -> None:
        self._count_from(done, total)
        self._display.restarted(self)

    def _count_from(self, done: int, total: int | None) -> None:
        self.done, self.total, self._before = done, total, done
        self.told = -1
        self._start = self.spoken = monotonic()


class _Log:
    """A log: of every task a line each LOG_INTERVAL, and one at its end."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def opened(self, task: CountedTask) -> None:
        pass

    def moved(self, task: CountedTask) -> None:
        if monotonic() - task.spoken >= LOG_INTERVAL:
            self._tell(task)

    def restarted(self, task: CountedTask) -> None:
        pass

    def closed(self, task: CountedTask, whole: bool) -> None:
        if whole and task.told != task.done:
            self._tell(task)

    def stop(self) -> None:
        pass

    def _tell(self, task: CountedTask) -> None:
        task.spoken, task.told = monotonic(), task.done
        print_message(task.line(), console=self._console)


class _Screen:
    """A terminal: a bar for every open task.

    Whoever moves a task draws. A thread that draws now and then, as rich has one, would cut into the notes of others.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = ProgressBars(console)
        self._rows: dict[CountedTask, TaskID] = {}
        self._drawn = monotonic()

    def opened(self, task: CountedTask) -> None:
        if not self._rows:
            self._bars = ProgressBars(self._console)
            self._bars.start()
        self._rows[task] = self._bars.add_task(task.title, total=task.total, completed=task.done, counted=task)

    def moved(self, task: CountedTask) -> None:
        self._bars.update(self._rows[task], completed=task.done, description=task.title)
        if monotonic() - self._drawn >= REFRESH_INTERVAL:
            self._bars.refresh()
            self._drawn = monotonic()

    def restarted(self, task: CountedTask) -> None:
        number = self._rows[task]
        for row in self._bars.tasks:
            if row.id == number:
                row.total = task.total  # reset() itself takes None for no change
        self._bars.reset(number, completed=task.done)

    def closed(self, task: CountedTask, whole: bool) -> None:
        row = self._rows.pop(task)
        if not self._rows:
            self._bars.stop()
            return
        self._bars.remove_task(row)
        if whole:
            print_message(task.line(), console=self._console)
        else:
            self._bars.refresh()

    def stop(self) -> None:
        self._bars.stop()
