"""What several commands take, and how it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import typer

Backend = Literal["auto", "mmdet3", "mmdet2"]
Launcher = Literal["none", "pytorch", "slurm", "mpi"]
Precision = Literal["auto", "fp32", "tf32", "fp16", "bf16"]


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
