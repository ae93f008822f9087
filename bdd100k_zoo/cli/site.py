"""site: the zoo as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bdd100k_zoo.cli.options import Json, get_session
from bdd100k_zoo.cli.output import handle_errors, print_field, write_json


@handle_errors
def site(
    context: typer.Context,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder in which to write index.html.")],
    runs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also show the scores of the runs below DIR.")
    ] = None,
    speed: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also show the speeds in a file of `bench --out`.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the zoo as one HTML page: a table to sort and filter, plots of AP, a card for each model."""
    from bdd100k_zoo.reporting.site import write_site

    session = get_session(context)
    zoo = session.zoo()
    written = write_site(zoo, out, runs, speed)
    session.note_left_out(written.left_out)
    if as_json:
        facts = {"site": str(written.path), "bytes": written.size, "models": len(zoo.models)}
        write_json({**facts, "left_out": written.left_out})
        return
    print_field("site", f"{written.path} ({written.size:,} bytes)")
