"""download: fetch published files into the cache."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from bdd100k_zoo.cli.options import Json, get_session, path_option
from bdd100k_zoo.cli.output import complete_model, handle_errors, print_renderable, raise_on_sigterm, write_json
from bdd100k_zoo.display.messages import sanitize_text

if TYPE_CHECKING:
    from bdd100k_zoo.hub.cache import StoredFile


class FileKind(str, Enum):
    """The kinds of file that a model publishes."""

    WEIGHTS = "weights"
    PREDS = "preds"
    VISUALS = "visuals"
    SCORES_VAL = "scores-val"
    SCORES_TEST = "scores-test"


@handle_errors
def download(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL...", help="Names or aliases.", autocompletion=complete_model),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every model of the zoo.")] = False,
    what: Annotated[list[FileKind] | None, typer.Option(help="Which files (repeatable); default: weights.")] = None,
    require_digest: Annotated[
        bool, typer.Option("--require-digest", help="Refuse a file that no digest verifies; a mirror's does not count.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="How many files to transfer at once.")] = 4,
    unpack: Annotated[
        bool, typer.Option("--unpack", help="Unpack the visuals of each model; needs --what visuals and --out.")
    ] = False,
    out: Annotated[Path | None, path_option("DIR", "For --unpack: each model gets the folder DIR/MODEL.")] = None,
    as_json: Json = False,
) -> None:
    """Download published files into the cache and verify them."""
    if bool(models) == everything:
        raise typer.BadParameter("name at least one model, or give --all")
    if unpack and FileKind.VISUALS not in (what or ()):
        raise typer.BadParameter("--unpack needs --what visuals")
    if unpack and out is None:
        raise typer.BadParameter("--unpack needs --out DIR: it writes into DIR/MODEL")
    if out and not unpack:
        raise typer.BadParameter("--out needs --unpack: files are downloaded into the cache")
    from bdd100k_zoo.api import downloads as job

    here = get_session(context)
    zoo = here.zoo()
    begin = perf_counter()
    with raise_on_sigterm():
        files = job.download(
            list(zoo) if everything else models or [],
            what=[kind.value for kind in what or [FileKind.WEIGHTS]],
            require_digest=require_digest,
            jobs=jobs,
            unpack=unpack,
            out=out,
            zoo=zoo,
            offline=here.offline,
            progress=here.progress(),
        )
    seconds = perf_counter() - begin
    if as_json:
        write_json(files)
    else:
        for stored in files:
            print_stored(stored)
    size, plural = sum(stored.size for stored in files), "" if len(files) == 1 else "s"
    here.note(f"{len(files):,} file{plural}, {size:,} bytes, {seconds:,.1f} s")


def print_stored(stored: StoredFile) -> None:
    """Print the path and size of a file in the cache, and what verified it."""
    from rich.text import Text

    state = (f"verified by the {stored.verified_by}", "green") if stored.verified else ("unverified", "bold yellow")
    path = sanitize_text(str(stored.path))
    print_renderable(Text.assemble(path, "  ", f"{stored.size:,} bytes", "  ", state), soft_wrap=True)
