"""digests: what the cache holds, as a zoo file records it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bdd100k_zoo.cli.catalog import Json
from bdd100k_zoo.cli.console import guarded, show, write_json
from bdd100k_zoo.cli.session import session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.text import Text

    from bdd100k_zoo.workflows.digests import Seen


@guarded
def digests(
    context: typer.Context,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Record them in this zoo file, changing nothing else in it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the digests and sizes of the files in the cache, or record them in a zoo file (for maintainers)."""
    from bdd100k_zoo.artifacts.store import Store
    from bdd100k_zoo.workflows import digests as work

    here = session(context)
    store, zoo = Store(offline=True), here.zoo()
    if write is None:
        found = work.seen(store, zoo)
        write_json(found) if as_json else show(_lines(found), soft_wrap=True)
        return
    written = work.write_digests(store, work.zoo_with(zoo, write, here.zoo_files), write, here.progress())
    if as_json:
        write_json(written)
        return
    if written.recorded:
        show(_lines(written.recorded), soft_wrap=True)
    here.note(
        f"{write}: {len(written.recorded)} recorded now, {written.already} before; "
        f"{written.left_out} left out, of models that it does not list"
    )


def _lines(found: Iterable[Seen]) -> Text:
    from rich.text import Text

    lines = []
    for each in found:
        state = ("verified", "green") if each.verified_by else ("unverified", "bold yellow")
        lines.append(Text.assemble(f"{each.model} {each.what}, {each.size:,} bytes, ", state))
        lines.append(Text(f"  sha256:{each.sha256}"))
    return Text("\n").join(lines)
