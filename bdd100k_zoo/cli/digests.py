"""digests: print the digests of the files in the cache, or record them in a zoo file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bdd100k_zoo.cli.options import Json, get_session, path_option
from bdd100k_zoo.cli.output import handle_errors, print_renderable, write_json
from bdd100k_zoo.display.messages import print_message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.text import Text

    from bdd100k_zoo.hub.import_export import CachedDigest


@handle_errors
def digests(
    context: typer.Context,
    out: Annotated[
        Path | None, path_option("FILE", "Record them in this zoo file; nothing else in it changes.")
    ] = None,
    include_unverified: Annotated[
        bool,
        typer.Option("--include-unverified", help="With --out: record the digests of unverified files too."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the digests and sizes of the files in the cache, or record them in a zoo file (for maintainers)."""
    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.hub.import_export import load_zoo_with, read_cached_digests, write_digests

    if include_unverified and out is None:
        raise typer.BadParameter("--include-unverified needs --out")
    here = get_session(context)
    store, zoo = Store(offline=True), here.zoo()
    if out is None:
        found = read_cached_digests(store, zoo)
        write_json(found) if as_json else print_renderable(_lines(found), soft_wrap=True)
        return
    extended = load_zoo_with(zoo, out, here.zoo_files)
    written = write_digests(store, extended, out, here.progress(), include_unverified=include_unverified)
    if as_json:
        write_json(written)
    else:
        if written.recorded:
            print_renderable(_lines(written.recorded), soft_wrap=True)
        here.note(
            f"{out}: {len(written.recorded)} recorded now, {written.already} before; "
            f"{written.left_out} left out, whose models it does not list"
        )
        if written.unverified:
            print_message("--include-unverified records the digests of unverified files too", "bold cyan", "hint")
    if written.unverified:
        raise typer.Exit(1)


def _lines(found: Iterable[CachedDigest]) -> Text:
    from rich.text import Text

    lines = []
    for each in found:
        state = (f"verified by the {each.verified_by}", "green") if each.verified_by else ("unverified", "bold yellow")
        lines.append(Text.assemble(f"{each.model} {each.what}, {each.size:,} bytes, ", state))
        lines.append(Text(f"  sha256:{each.sha256}"))
    return Text("\n").join(lines)
