"""Ending a long job when somebody asks for it: at once, or after what must not be cut in two."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class GracefulStop:
    """Whether a job was asked to end. What asks is a signal's handler, with the interrupt that it would raise.

    Attributes:
        interrupt: the first one that came while the job was to be ended gently; None while there is none.
    """

    def __init__(self) -> None:
        self.interrupt: KeyboardInterrupt | None = None
        self._gentle = False

    @property
    def asked(self) -> bool:
        """Whether the job is to end as soon as it can."""
        return self.interrupt is not None

    def ask(self, interrupt: KeyboardInterrupt) -> None:
        """Ask the job to end; raises the interrupt where it is not to be ended gently, or is asked again."""
        if not self._gentle or self.asked:
            raise interrupt
        self.interrupt = interrupt

    @contextmanager
    def gently(self) -> Iterator[None]:
        """Let the block look at ``asked``, and be interrupted only when it is asked twice."""
        self._gentle = True
        try:
            yield
        finally:
            self._gentle = False
