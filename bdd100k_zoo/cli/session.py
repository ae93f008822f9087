"""The global options of one call, and what commands get from them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bdd100k_zoo.cli.console import say, stderr

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bdd100k_zoo.manifest import Zoo
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.workflows.measured import LeftOut


@dataclass(frozen=True)
class Session:
    """The global options of one call of the command line."""

    zoo_files: tuple[Path, ...] = ()
    offline: bool = False
    quiet: bool = False

    def zoo(self) -> Zoo:
        """Load the built-in zoo and the user's files."""
        from bdd100k_zoo.manifest import load_zoo

        return load_zoo(*self.zoo_files)

    def progress(self, *, live: bool = True, notes: bool = True) -> Progress:
        """Report to the terminal, or not at all with --quiet (warnings are always shown).

        Args:
            live: draw bars; several processes that share a terminal write lines instead.
            notes: say what jobs note, too; a command that tells all itself leaves it out.
        """
        from bdd100k_zoo.cli.progress import TerminalProgress

        return TerminalProgress(stderr(live=live), quiet=self.quiet, notes=notes)

    @property
    def command(self) -> str:
        """What a next command begins with, so that it knows the same zoo files."""
        return " ".join(["bdd100k-zoo", *(f"--zoo {shlex.quote(str(file))}" for file in self.zoo_files)])

    def note(self, message: str) -> None:
        """Say something on stderr, unless --quiet."""
        if not self.quiet:
            say(message)

    def note_left_out(self, left_out: Iterable[LeftOut]) -> None:
        """Name the runs and speed records that are not shown on stderr, unless --quiet."""
        for each in left_out:
            self.note(f"left out {each}")


def session(context: typer.Context) -> Session:
    """Give the global options of this call."""
    found = context.find_object(Session)
    return found if found is not None else Session()
