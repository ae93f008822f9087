"""What every long job reports to. The terminal implements it; tests and libraries pass ``SILENT``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

Unit = Literal["bytes", "files", "images", "links", "resamples", "steps"]


class Task(Protocol):
    """One job with an amount of work that may be known."""

    def advance(self, amount: int) -> None:
        """Count ``amount`` more units as done."""

    def restart(self, done: int, total: int | None) -> None:
        """Count from ``done`` anew, of ``total`` units (None: unknown)."""

    def retitle(self, title: str) -> None:
        """Call the task something else from here on."""


class Progress(Protocol):
    """Where jobs say how far they are, and what the user should know."""

    def task(self, title: str, total: int | None, unit: Unit, done: int = 0) -> AbstractContextManager[Task]:
        """Open a task of ``total`` units (None: unknown), of which ``done`` are behind us."""

    def note(self, message: str) -> None:
        """Say something worth knowing."""

    def warn(self, message: str) -> None:
        """Say something that the user must not overlook."""


class _NoProgress:
    """Says nothing: a Progress, and the Task that it opens."""

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
