"""The rows of a live display: one for each task, and how amounts and speeds are written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, RenderableType
    from rich.progress import Task as Row

    from bdd100k_zoo.progress import Unit


class Counted(Protocol):
    """A task whose amounts are shown."""

    unit: Unit
    done: int
    total: int | None

    @property
    def speed(self) -> float:
        """Units per second."""


class Bars(Progress):
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
        return amounts(task, "/")


class _Rate(_Cell):
    """Units per second, or seconds per unit where that is the larger number; files are too few to have a speed."""

    style = "progress.data.speed"

    def text(self, task: Counted, row: Row) -> str:
        return "" if task.unit == "files" else rate(row.speed or task.speed, task.unit)


class _TimeLeft(_Cell):
    """Minutes and seconds, with hours where there are any."""

    style = "progress.remaining"

    def text(self, task: Counted, row: Row) -> str:
        if task.unit == "files" or task.total is None:
            return ""
        if row.time_remaining is None:
            return "--:--"
        return clock(row.time_remaining)


def amounts(task: Counted, of: str) -> str:
    """Write how much of a task is done, ``of`` how much where that is known."""
    scale, name = _byte_scale(max(task.done, task.total or 0)) if task.unit == "bytes" else (1, task.unit)
    of_total = "" if task.total is None else f"{of}{task.total / scale:,.0f}"
    return f"{task.done / scale:,.0f}{of_total} {name}"


def clock(seconds: float) -> str:
    """Write a time as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes:02}:{rest:02}"


def rate(per_second: float | None, unit: Unit = "images") -> str:
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
