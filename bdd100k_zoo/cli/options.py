"""Options that several commands take, and the global options of one call."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from bdd100k_zoo.cli.output import print_message, stderr_console

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bdd100k_zoo.evaluation.runs import SkippedRecord
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Zoo


def nonempty_path(value: str) -> Path:
    """Refuse the empty text that an unset variable of the shell leaves: as a path it would mean this folder."""
    if not value:
        raise typer.BadParameter("is empty; is a variable of the shell unset?")
    return Path(value)


class ProcessCount(NamedTuple):
    """--gpus: a number of processes on this machine."""

    number: int | None
    """None for as many as there are GPUs."""


def parse_process_count(value: str) -> ProcessCount:
    """Read a number of processes, or ``all``."""
    if value == "all":
        return ProcessCount(None)
    if not value.isdecimal() or not int(value):
        raise typer.BadParameter(f"{value!r} is neither a number nor `all`")
    return ProcessCount(int(value))


Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Gpus = Annotated[
    ProcessCount | None,
    typer.Option(metavar="N|all", parser=parse_process_count, help="A process for each of N GPUs of this machine."),
]
Launcher = Annotated[
    Literal["none", "pytorch", "slurm", "mpi"] | None,
    typer.Option(
        metavar="NAME",
        help="What started this process: pytorch (torchrun), slurm, mpi or none; default: what its variables say.",
    ),
]
Precision = Annotated[
    Literal["auto", "fp32", "tf32", "fp16", "bf16"],
    typer.Option(metavar="NAME", help="How the network computes: fp32 (auto), tf32, fp16 or bf16."),
]
Backend = Annotated[
    Literal["auto", "mmdet3", "mmdet2"],
    typer.Option(metavar="NAME", help="What computes: mmdet3, mmdet2 or the installed one (auto)."),
]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Images at once; default: what suits the device, 1 on the CPU."),
]
ConfigOptions = Annotated[
    list[str] | None,
    typer.Option("--cfg-options", metavar="KEY=VALUE...", help="Override settings of the model's config."),
]


@dataclass(frozen=True)
class Session:
    """The global options of one call of the command line."""

    zoo_files: tuple[Path, ...] = ()
    offline: bool = False
    quiet: bool = False

    def zoo(self) -> Zoo:
        """Load the built-in zoo and the user's files."""
        from bdd100k_zoo.registry import load_zoo

        return load_zoo(*self.zoo_files)

    def progress(self, *, live: bool = True, notes: bool = True) -> Progress:
        """Report to the terminal, or not at all with --quiet (warnings are always shown).

        Args:
            live: draw bars; several processes that share a terminal write lines instead.
            notes: say what jobs note, too; a command that tells all itself leaves it out.
        """
        from bdd100k_zoo.cli.progress import TerminalProgress

        return TerminalProgress(stderr_console(live=live), quiet=self.quiet, notes=notes)

    @property
    def command(self) -> str:
        """What a next command begins with, so that it knows the same zoo files."""
        return " ".join(["bdd100k-zoo", *(f"--zoo {shlex.quote(str(file))}" for file in self.zoo_files)])

    def note(self, message: str) -> None:
        """Say something on stderr, unless --quiet."""
        if not self.quiet:
            print_message(message)

    def note_left_out(self, left_out: Iterable[SkippedRecord]) -> None:
        """Name the runs and speed records that are not shown on stderr, unless --quiet."""
        for each in left_out:
            self.note(f"left out {each}")


def get_session(context: typer.Context) -> Session:
    """Give the global options of this call."""
    found = context.find_object(Session)
    return found if found is not None else Session()
