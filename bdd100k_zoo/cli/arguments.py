"""What several commands take, and how it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer


def named_path(value: str) -> Path:
    """Refuse the empty text that an unset variable of the shell leaves: as a path it would mean this folder."""
    if not value:
        raise typer.BadParameter("is empty; is a variable of the shell unset?")
    return Path(value)


class Many(NamedTuple):
    """--gpus: a number of processes on this machine."""

    number: int | None
    """None for as many as there are GPUs."""


def many(value: str) -> Many:
    """Read a number of processes, or ``all``."""
    if value == "all":
        return Many(None)
    if not value.isdecimal() or not int(value):
        raise typer.BadParameter(f"{value!r} is neither a number nor `all`")
    return Many(int(value))


Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Gpus = Annotated[
    Many | None,
    typer.Option(metavar="N|all", parser=many, help="A process for each of N GPUs of this machine."),
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
ConfigOptions = Annotated[
    list[str] | None,
    typer.Option("--cfg-options", metavar="KEY=VALUE...", help="Override settings of the model's config."),
]
