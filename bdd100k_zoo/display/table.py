"""A table that is updated in the terminal while a long job runs, above the progress of what is under way."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.text import Text

from bdd100k_zoo.display.bars import REFRESH_INTERVAL, DisplayedProgress
from bdd100k_zoo.display.messages import print_message

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from typing_extensions import Self

    from bdd100k_zoo.display.bars import CountedTask


class TableProgress(DisplayedProgress):
    """Progress in a terminal, below a table; the block's end removes both. Notes are not shown."""

    def __init__(self, console: Console) -> None:
        self._screen = _TableScreen(console)
        super().__init__(self._screen, notes=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._screen.stop()

    def show(self, table: RenderableType) -> None:
        """Show a table in place of the one before."""
        self._update(self._screen.show, table)


class _TableScreen:
    """The table, and a line for each open task. The thread that changes something draws, as ``bars`` does."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")
        self._table: RenderableType = Text()
        self._open: list[CountedTask] = []
        self._drawn_at = 0.0

    def show(self, table: RenderableType) -> None:
        self._table = table
        self._live.start()
        self._draw()

    def on_open(self, task: CountedTask) -> None:
        self._open.append(task)
        self._draw()

    def on_advance(self, task: CountedTask) -> None:  # noqa: ARG002  (all are drawn together)
        if monotonic() - self._drawn_at >= REFRESH_INTERVAL:
            self._draw()

    def on_restart(self, task: CountedTask) -> None:
        self.on_advance(task)

    def on_close(self, task: CountedTask, is_complete: bool) -> None:  # noqa: ARG002  (the table has the result)
        self._open.remove(task)
        self._draw()

    def stop(self) -> None:
        self._live.stop()

    def print(self, message: str, style: str, label: str) -> None:
        print_message(message, style, label, console=self._console)

    def _draw(self) -> None:
        self._drawn_at = monotonic()
        lines = [Text(task.line(), no_wrap=True, overflow="ellipsis") for task in self._open]
        self._live.update(Group(self._table, *lines), refresh=True)
