"""Progress and messages: bars in a terminal, lines in a log, the output of a notebook's cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from bdd100k_zoo.progress import LOGGER, NO_PROGRESS, Progress

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bdd100k_zoo.progress import Task, Unit

AnyProgress: TypeAlias = "Progress | bool | None"
"""None or False to show nothing, True for bars, or a ``Progress``."""


def resolve_progress(progress: AnyProgress) -> Progress:
    """Return a Progress whose messages also go to the logger ``bdd100k_zoo``.

    Args:
        progress: None or False to show nothing, True for bars and warnings in the terminal or the notebook's cell, or
            any object with the methods of ``bdd100k_zoo.progress.Progress``.
    """
    return _LoggedProgress(_open_display() if progress is True else progress or NO_PROGRESS)


def _open_display() -> Progress:
    from bdd100k_zoo.display.notebook import NotebookProgress, in_notebook

    if in_notebook():
        return NotebookProgress(notes=False)
    from bdd100k_zoo.display.bars import TerminalProgress
    from bdd100k_zoo.display.messages import stderr_console

    return TerminalProgress(stderr_console(), notes=False)


class _LoggedProgress:
    def __init__(self, shown: Progress) -> None:
        self._shown = shown

    def task(self, title: str, total: int | None, unit: Unit, done: int = 0) -> AbstractContextManager[Task]:
        return self._shown.task(title, total, unit, done)

    def note(self, message: str) -> None:
        LOGGER.info(message)
        self._shown.note(message)

    def warn(self, message: str) -> None:
        LOGGER.warning(message)
        self._shown.warn(message)
