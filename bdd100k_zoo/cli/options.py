"""Options that several commands have, and the global options of one call."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from bdd100k_zoo.cli.output import complete_model
from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES
from bdd100k_zoo.display.messages import print_message, stderr_console

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bdd100k_zoo.evaluation.runs import SkippedRecord
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Zoo

# Parsers --------------------------------------------------------------------------------------------------------------


def nonempty_path(value: str) -> Path:
    """Parse a path; refuse an empty one, as from an unset shell variable: it would mean the current folder."""
    if not value:
        raise typer.BadParameter("is empty; is a variable of the shell unset?")
    return Path(value)


def path_option(metavar: str, description: str, variable: str | None = None) -> Any:
    """Return an option that takes a path, if any, with its name in the help and its environment variable."""
    return typer.Option(metavar=metavar, parser=nonempty_path, envvar=variable, help=description)


def parse_process_count(value: str) -> int | Literal["all"]:
    """Parse a number of processes, or ``all`` for as many as there are GPUs."""
    if value == "all":
        return "all"
    if not value.isdecimal() or not int(value):
        raise typer.BadParameter(f"{value!r} is neither a number nor `all`")
    return int(value)


class ClassSelection(NamedTuple):
    """The value of --classes."""

    indices: tuple[int, ...]


def parse_classes(value: str) -> ClassSelection:
    """Parse names of classes with commas between them."""
    names = [CLASS_ALIASES.get(name, name) for name in (each.strip() for each in value.split(","))]
    for name in names:
        if name not in CLASSES:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(CLASSES)}")
    return ClassSelection(tuple(CLASSES.index(name) for name in names))


# Options --------------------------------------------------------------------------------------------------------------

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ModelName = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="Name or alias, as `list` shows.", autocompletion=complete_model),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Gpus = Annotated[
    Any,  # int | Literal["all"] | None, which Typer does not take
    typer.Option(metavar="N|all", parser=parse_process_count, help="Start one process on each of N local GPUs."),
]
Launcher = Annotated[
    Literal["none", "pytorch", "slurm", "mpi"] | None,
    typer.Option(
        metavar="NAME",
        help="What started this process: pytorch (torchrun), slurm, mpi or none; default: detected.",
    ),
]
Precision = Annotated[
    Literal["auto", "fp32", "tf32", "fp16", "bf16"],
    typer.Option(metavar="NAME", help="Precision of the network: fp32 (auto), tf32, fp16 or bf16."),
]
Backend = Annotated[
    Literal["auto", "mmdet3", "mmdet2"],
    typer.Option(metavar="NAME", help="mmdet3, mmdet2, or auto for the installed one."),
]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Images per batch; default: suits the device, 1 on the CPU."),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Threads that read images ahead; default: suits the device."),
]
Classes = Annotated[
    ClassSelection | None,
    typer.Option(metavar="NAME,...", parser=parse_classes, help="Only these classes: car,person."),
]
ConfigOptions = Annotated[
    list[str] | None,
    typer.Option("--cfg-options", metavar="KEY=VALUE...", help="Override settings of the model's config."),
]

# Of eval and report:
Split = Annotated[str, typer.Option(help="The split of the runs and labels.")]
DatasetRoot = Annotated[Path | None, path_option("ROOT", "Root of the dataset.", "BDD100K_ROOT")]
LabelFile = Annotated[Path | None, path_option("FILE", "Labels; default: labels/det_20/det_SPLIT.json below the root.")]
RunsFolder = Annotated[Path, path_option("DIR", "Where the runs are.")]
Lenient = Annotated[bool, typer.Option("--lenient", help="Accept what the official evaluator accepts, and report it.")]
Confidence = Annotated[bool, typer.Option("--confidence", help="Add 95 % intervals by bootstrap over frames.")]
Resamples = Annotated[int, typer.Option(min=100, metavar="N", help="How many, for --confidence.")]


# Global options -------------------------------------------------------------------------------------------------------


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
        """Return the progress display; with --quiet it shows warnings only.

        Args:
            live: draw bars; several processes that share a terminal print lines instead.
            notes: print the notes of jobs; a command that reports everything itself leaves them out.
        """
        from bdd100k_zoo.display.bars import TerminalProgress

        return TerminalProgress(stderr_console(live=live), quiet=self.quiet, notes=notes)

    @property
    def command(self) -> str:
        """The beginning of a suggested command, with the same zoo files."""
        return " ".join(["bdd100k-zoo", *(f"--zoo {shlex.quote(str(file))}" for file in self.zoo_files)])

    def note(self, message: str) -> None:
        """Print a note on stderr, unless --quiet."""
        if not self.quiet:
            print_message(message)

    def note_left_out(self, left_out: Iterable[SkippedRecord]) -> None:
        """Print the runs and speed records that are left out on stderr, unless --quiet."""
        for each in left_out:
            self.note(f"left out {each}")


def get_session(context: typer.Context) -> Session:
    """Return the global options of this call."""
    found = context.find_object(Session)
    return found if found is not None else Session()
