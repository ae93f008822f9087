"""Progress of jobs: live bars on a terminal, an occasional line in a log."""

from __future__ import annotations

from contextlib import contextmanager
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text

from bdd100k_zoo.display.messages import print_message, sanitize_text
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import Console, RenderableType
    from rich.progress import Task as Row
    from rich.progress import TaskID

    from bdd100k_zoo.progress import Task, Unit

LOG_INTERVAL = 30.0
"""Seconds between two lines about a task where stderr is not a terminal."""

REFRESH_INTERVAL = 0.1
"""Seconds between two drawings of the bars."""


def format_amounts(task: CountedTask, of: str) -> str:
    """Write how much of a task is done, ``of`` its total where that is known."""
    scale, name = _byte_scale(max(task.done, task.total or 0)) if task.unit == "bytes" else (1, task.unit)
    of_total = "" if task.total is None else f"{of}{task.total / scale:,.0f}"
    return f"{task.done / scale:,.0f}{of_total} {name}"


def format_duration(seconds: float) -> str:
    """Write a duration as minutes and seconds, from one hour on with hours."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes:02}:{rest:02}"


def format_rate(per_second: float | None, unit: Unit = "images") -> str:
    """Write units per second, or seconds per unit where that is the larger number."""
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


class Display(Protocol):
    """Shows tasks and messages; it is called by one thread at a time."""

    def on_open(self, task: CountedTask) -> None:
        """Show a task that begins."""

    def on_advance(self, task: CountedTask) -> None:
        """Show a task that has advanced."""

    def on_restart(self, task: CountedTask) -> None:
        """Show a task that counts from another amount."""

    def on_close(self, task: CountedTask, is_complete: bool) -> None:
        """Show a task that ends."""

    def stop(self) -> None:
        """Show nothing more."""

    def print(self, message: str, style: str, label: str) -> None:
        """Show a message."""


class DisplayedProgress:
    """A Progress that is shown: one display for the tasks of all threads.

    An interrupt in a task closes the display for good: other threads may still be running, and would print after the
    last message.
    """

    def __init__(self, display: Display, *, quiet: bool = False, notes: bool = True) -> None:
        """Show tasks and messages.

        Args:
            display: where to show them.
            quiet: show warnings only.
            notes: show notes.
        """
        self._display = display
        self._quiet, self._notes = quiet, notes and not quiet
        self._lock = RLock()
        self._is_closed = False

    @contextmanager
    def task(self, title: str, total: int | None, unit: Unit, done: int = 0) -> Iterator[Task]:
        """Show one task for as long as the block runs."""
        if self._quiet:
            with NO_PROGRESS.task(title, total, unit, done) as silent:
                yield silent
            return
        task = CountedTask(self._update, self._display, sanitize_text(title), total, unit, done)
        self._update(self._display.on_open, task)
        is_complete = False
        try:
            yield task
            is_complete = task.total is None or task.done >= task.total
        except KeyboardInterrupt:
            with self._lock:
                self._update(self._display.stop)
                self._is_closed = True
            raise
        finally:
            self._update(self._display.on_close, task, is_complete)

    def note(self, message: str) -> None:
        """Print a note."""
        if self._notes:
            self._update(self._display.print, message, "", "")

    def warn(self, message: str) -> None:
        """Print a warning."""
        self._update(self._display.print, message, "bold yellow", "warning")

    def _update(self, change: Callable[..., None], *arguments: object) -> None:
        """Change what is shown: one thread at a time, and none once the display is closed."""
        with self._lock:
            if not self._is_closed:
                change(*arguments)


class TerminalProgress(DisplayedProgress):
    """Progress on a console: bars in a terminal, lines in a log.

    In a terminal, a task that ends while others run is replaced by a line above their bars.
    """

    def __init__(self, console: Console, *, quiet: bool = False, notes: bool = True) -> None:
        super().__init__(_Screen(console) if console.is_terminal else _Log(console), quiet=quiet, notes=notes)


class CountedTask:
    """One task and its amounts."""

    def __init__(
        self,
        update: Callable[..., None],
        display: Display,
        title: str,
        total: int | None,
        unit: Unit,
        done: int,
    ) -> None:
        self._update, self._display = update, display
        self.title, self.unit = title, unit
        self._count_from(done, total)

    def advance(self, amount: int) -> None:
        """Count ``amount`` more units as done."""
        self._update(self._advance, amount)

    def restart(self, done: int, total: int | None) -> None:
        """Count from ``done`` again: speed and time left are those of what follows."""
        self._update(self._restart, done, total)

    def retitle(self, title: str) -> None:
        """Change the title; it is shown when the task next advances."""
        self.title = sanitize_text(title)

    @property
    def speed(self) -> float:
        """Units per second since the start or the last restart."""
        return (self.done - self._before) / max(monotonic() - self._start, 1e-9)

    def line(self) -> str:
        """Return a line with the progress of the task."""
        speed = self.speed
        line = f"{self.title}: {format_amounts(self, ' of ')}, {format_rate(speed, self.unit)}"
        if self.total is None or self.done >= self.total or not speed:
            return line
        return f"{line}, {format_duration((self.total - self.done) / speed)} left"

    def _advance(self, amount: int) -> None:
        self.done += amount
        self._display.on_advance(self)

    def _restart(self, done: int, total: int | None) -> None:
        self._count_from(done, total)
        self._display.on_restart(self)

    def _count_from(self, done: int, total: int | None) -> None:
        self.done, self.total, self._before = done, total, done
        self.logged_done = -1
        self._start = self.logged_at = monotonic()


class _Log:
    """A log: one line about every task per LOG_INTERVAL, and one at its end."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def on_open(self, task: CountedTask) -> None:
        pass

    def on_advance(self, task: CountedTask) -> None:
        if monotonic() - task.logged_at >= LOG_INTERVAL:
            self._print_line(task)

    def on_restart(self, task: CountedTask) -> None:
        pass

    def on_close(self, task: CountedTask, is_complete: bool) -> None:
        if is_complete and task.logged_done != task.done:
            self._print_line(task)

    def stop(self) -> None:
        pass

    def print(self, message: str, style: str, label: str) -> None:
        print_message(message, style, label, console=self._console)

    def _print_line(self, task: CountedTask) -> None:
        task.logged_at, task.logged_done = monotonic(), task.done
        print_message(task.line(), console=self._console)


class _Screen:
    """A terminal: one bar per open task.

    The thread that advances a task draws. rich's own drawing thread would cut into the messages of others.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = _Bars(console)
        self._rows: dict[CountedTask, TaskID] = {}
        self._drawn_at = monotonic()

    def on_open(self, task: CountedTask) -> None:
        if not self._rows:
            self._bars = _Bars(self._console)
            self._bars.start()
        self._rows[task] = self._bars.add_task(task.title, total=task.total, completed=task.done, counted=task)

    def on_advance(self, task: CountedTask) -> None:
        self._bars.update(self._rows[task], completed=task.done, description=task.title)
        if monotonic() - self._drawn_at >= REFRESH_INTERVAL:
            self._bars.refresh()
            self._drawn_at = monotonic()

    def on_restart(self, task: CountedTask) -> None:
        number = self._rows[task]
        for row in self._bars.tasks:
            if row.id == number:
                row.total = task.total  # reset() takes None for no change
        self._bars.reset(number, completed=task.done)

    def on_close(self, task: CountedTask, is_complete: bool) -> None:
        row = self._rows.pop(task)
        if not self._rows:
            self._bars.stop()
            return
        self._bars.remove_task(row)
        if is_complete:
            print_message(task.line(), console=self._console)
        else:
            self._bars.refresh()

    def stop(self) -> None:
        self._bars.stop()

    def print(self, message: str, style: str, label: str) -> None:
        print_message(message, style, label, console=self._console)


class _Bars(Progress):
    """One row per task, which is the row's field ``counted``; drawn only by ``refresh``."""

    def __init__(self, console: Console) -> None:
        self._width = console.width - 2  # room for the ^C that terminals print, which would wrap the last row
        title = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
        amounts = _Cell("progress.download", lambda task, _: format_amounts(task, "/"))
        rate = _Cell("progress.data.speed", _rate)
        time_left = _Cell("progress.remaining", _time_left)
        super().__init__(title, BarColumn(), amounts, rate, time_left, console=console, auto_refresh=False)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return the table of all rows."""
        yield Constrain(self.make_tasks_table(self.tasks), self._width)


class _Cell(ProgressColumn):
    """A column whose text is not truncated as long as the bar can shrink."""

    def __init__(self, style: str, text: Callable[[CountedTask, Row], str]) -> None:
        super().__init__(Column(no_wrap=True, justify="right"))
        self._style, self._text = style, text

    def render(self, row: Row) -> Text:
        """Return the cell of a row."""
        return Text(self._text(row.fields["counted"], row), style=self._style)


def _rate(task: CountedTask, row: Row) -> str:
    # There are too few files for a rate.
    return "" if task.unit == "files" else format_rate(row.speed or task.speed, task.unit)


def _time_left(task: CountedTask, row: Row) -> str:
    if task.unit == "files" or task.total is None:
        return ""
    return "--:--" if row.time_remaining is None else format_duration(row.time_remaining)
