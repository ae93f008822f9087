"""The interface through which long jobs report progress and messages.

``display`` implements it for terminals, logs and notebooks; ``NO_PROGRESS`` shows nothing. The messages of the
public functions also go to the logger ``bdd100k_zoo``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

LOGGER = logging.getLogger("bdd100k_zoo")
LOGGER.addHandler(logging.NullHandler())  # without it Python would print the warnings

Unit = Literal["bytes", "files", "images", "links", "resamples", "steps"]


class Task(Protocol):
    """One job whose total amount of work may be known."""

    def advance(self, amount: int) -> None:
        """Count ``amount`` more units as done."""

    def restart(self, done: int, total: int | None) -> None:
        """Count from ``done`` again, of ``total`` units (None: unknown)."""

    def retitle(self, title: str) -> None:
        """Change the title of the task."""


class Progress(Protocol):
    """Receives the progress of jobs, and their messages for the user."""

    def task(self, title: str, total: int | None, unit: Unit, done: int = 0) -> AbstractContextManager[Task]:
        """Open a task of ``total`` units (None: unknown), of which ``done`` are done already."""

    def note(self, message: str) -> None:
        """Show a note."""

    def warn(self, message: str) -> None:
        """Show a warning."""


class _NoProgress:
    """Reports nothing: a Progress, and the Task that it opens."""

    def task(self, title: str, total: int | None, unit: Unit, done: int = 0) -> _NoProgress:  # noqa: ARG002
        return self

    def __enter__(self) -> _NoProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def advance(self, amount: int) -> None:
        pass

    def restart(self, done: int, total: int | None) -> None:
        pass

    def retitle(self, title: str) -> None:
        pass

    def note(self, message: str) -> None:
        pass

    def warn(self, message: str) -> None:
        pass


NO_PROGRESS: Progress = _NoProgress()
