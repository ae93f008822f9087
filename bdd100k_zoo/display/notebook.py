"""Progress of jobs in a notebook: one output that is updated."""

from __future__ import annotations

import html
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

from bdd100k_zoo.display.bars import DisplayedProgress
from bdd100k_zoo.display.messages import sanitize_text

if TYPE_CHECKING:
    from bdd100k_zoo.display.bars import CountedTask

REFRESH_INTERVAL = 0.2
"""Seconds between two updates: each is a message to the browser."""


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


class NotebookProgress(DisplayedProgress):
    """Progress in the output of a notebook's cell."""

    def __init__(self, *, notes: bool = True) -> None:
        super().__init__(_Cell(), notes=notes)


class _Cell:
    """A bar per open task, and a line per complete task and message, in one output of the cell."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._open: list[CountedTask] = []
        self._handle: Any = None
        self._shown_at = 0.0

    def on_open(self, task: CountedTask) -> None:
        self._open.append(task)
        self._show()

    def on_advance(self, task: CountedTask) -> None:  # noqa: ARG002  (all are shown together)
        if monotonic() - self._shown_at >= REFRESH_INTERVAL:
            self._show()

    def on_restart(self, task: CountedTask) -> None:
        self.on_advance(task)

    def on_close(self, task: CountedTask, is_complete: bool) -> None:
        self._open.remove(task)
        if is_complete:
            self._lines.append(task.line())
        self._show()

    def stop(self) -> None:
        self._open.clear()
        self._show()

    def print(self, message: str, style: str, label: str) -> None:  # noqa: ARG002  (a page has its own)
        self._lines.append(sanitize_text(f"{label}: {message}" if label else message))
        self._show()

    def _show(self) -> None:
        from IPython.display import display

        self._shown_at = monotonic()
        text = "\n".join([*self._lines, *(task.line() for task in self._open)])
        content = {"text/plain": text, "text/html": self._html()}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)

    def _html(self) -> str:
        rows = [f"<div>{html.escape(line)}</div>" for line in self._lines]
        for task in self._open:
            amounts = "" if task.total is None else f' value="{task.done}" max="{max(task.total, 1)}"'
            rows.append(f"<div><progress{amounts}></progress> {html.escape(task.line())}</div>")
        return f'<div style="font-family: monospace; white-space: pre-wrap">{"".join(rows)}</div>'
