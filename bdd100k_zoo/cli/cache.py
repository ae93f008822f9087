"""cache: what stands in the cache, whether it is sound, and what goes in and out of it by hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bdd100k_zoo.cli.catalog import Json, ModelName
from bdd100k_zoo.cli.console import complete_model, guarded, plain, say, show, show_whole, write_json, write_text
from bdd100k_zoo.cli.download import What
from bdd100k_zoo.cli.session import session

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table
    from rich.text import Text

    from bdd100k_zoo.artifacts.inventory import Item
    from bdd100k_zoo.cli.session import Session
    from bdd100k_zoo.workflows.cache import Checked
    from bdd100k_zoo.workflows.export_mirror import Exported

app = typer.Typer(help="Look after the cache: list, verify, import, export, prune.", no_args_is_help=True)

ModelNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="MODEL...", help="Names or aliases; default: everything.", autocompletion=complete_model),
]

STYLES = {"verified": "green", "unverified": "bold yellow", "damaged": "bold red", "wrong": "bold red"}


@app.command("dir")
@guarded
def folder(as_json: Json = False) -> None:
    """Print where the cache is."""
    from bdd100k_zoo.artifacts.store import Store

    root = Store().root
    if as_json:
        write_json({"dir": root})
    else:
        write_text(f"{root}\n")


@app.command("list")
@guarded
def list_files(context: typer.Context, as_json: Json = False) -> None:
    """List what stands in the cache, partial and damaged files included."""
    from bdd100k_zoo.artifacts.store import Store
    from bdd100k_zoo.workflows.cache import contents

    here = session(context)
    store = Store(offline=True)
    items = contents(store, here.zoo())
    if as_json:
        write_json({"dir": store.root, "size": sum(item.size for item in items), "items": items})
        return
    if items:
        show(_contents_table(items))
    show(_totals(items), soft_wrap=True)
    here.note(f"in {store.root}; `bdd100k-zoo cache verify` reads every file through")


def _contents_table(items: Iterable[Item]) -> Table:
    table = _table("Model", "What", "Size", "Date", "State")
    for item in items:
        name = item.model or item.path.name
        table.add_row(plain(name), item.what, _size(item.size), item.changed[:10], _state(item))
    return table


def _state(item: Item) -> Text:
    from rich.text import Text

    if item.kind == "partial":
        share = f" {100 * item.size // item.total} %" if item.total else ""
        return Text(f"partial{share}", "cyan")
    if item.kind == "damaged":
        return Text("damaged", STYLES["damaged"])
    if item.kind == "other":
        return Text("not ours", "dim")
    return Text("no ledger" if item.state == "unknown" else item.state, STYLES.get(item.state, "yellow"))


def _totals(items: Sequence[Item]) -> str:
    words = {"file": "file", "partial": "partial file", "damaged": "damaged file", "other": "thing not ours"}
    told = []
    for kind, word in words.items():
        sizes = [item.size for item in items if item.kind == kind]
        if sizes or kind == "file":
            told.append(f"{_count(len(sizes), word)}, {_size(sum(sizes))}")
    return "; ".join(told)


@app.command()
@guarded
def verify(
    context: typer.Context,
    models: ModelNames = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Hold weights against their models too: parameters, shapes, classes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read files through and compare them with their digests; set aside what is damaged."""
    from bdd100k_zoo.artifacts.store import Store
    from bdd100k_zoo.workflows import cache as work

    here = session(context)
    checked = work.verify(Store(offline=True), here.zoo(), models or (), here.progress(), deep=deep)
    if as_json:
        write_json(checked)
    elif checked:
        show(_checked_table(checked))
    else:
        here.note("the cache holds no complete file")
    wrong = [each for each in checked if each.problem]
    if wrong:
        if not as_json:
            _say_what_next(here, wrong)
        raise typer.Exit(1)


def _checked_table(checked: Iterable[Checked]) -> Table:
    from rich.text import Text

    table = _table("Model", "What", "Size", "State")
    for each in checked:
        state = Text(each.state, STYLES.get(each.state, "bold red"))
        state.append(f" by {_source(each.verified_by)}" if each.verified_by else "")
        state.append({True: ", fits the model", False: ", does not fit the model", None: ""}[each.fits_model])
        table.add_row(plain(each.model or each.path.name), each.what, _size(each.size), state)
    return table


def _say_what_next(here: Session, wrong: Sequence[Checked]) -> None:
    gone = [each for each in wrong if each.set_aside and each.model]
    if not gone:
        return
    models = " ".join(sorted({each.model or "" for each in gone}))
    kinds = sorted({each.what or "" for each in gone})
    what = "" if kinds == ["weights"] else "".join(f" --what {kind}" for kind in kinds)
    command = here.command
    say(
        f"`{command} download {models}{what}` fetches {'it' if len(gone) == 1 else 'them'} again, "
        f"`{command} cache import MODEL FILE` takes a copy; `{command} cache prune` removes what was set aside",
        "bold cyan",
        "hint",
    )


@app.command("import")
@guarded
def take_copy(
    context: typer.Context,
    model: ModelName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A copy of the published file.")],
    what: Annotated[What, typer.Option(help="Which of the model's files it is.")] = What.WEIGHTS,
    as_json: Json = False,
) -> None:
    """Check a file that you have and keep it in the cache, as if it had been downloaded."""
    from rich.text import Text

    from bdd100k_zoo.artifacts.store import Store
    from bdd100k_zoo.workflows.import_copy import import_copy

    here = session(context)
    found = here.zoo()[model]
    with Store(offline=here.offline) as store:
        stored = import_copy(found, what.value, file, store, here.progress())
    if as_json:
        write_json(stored)
        return
    state = ("unverified", STYLES["unverified"])
    if stored.verified_by:
        state = (f"verified by {plain(stored.verified_by)}", STYLES["verified"])
    show(Text.assemble(plain(str(stored.path)), "  ", f"{stored.size:,} bytes", "  ", state), soft_wrap=True)


@app.command()
@guarded
def export(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the mirror is, or is to be.")],
    models: ModelNames = None,
    as_json: Json = False,
) -> None:
    """Write the complete files into a folder that can be served or uploaded as a mirror."""
    from bdd100k_zoo.artifacts.store import Store
    from bdd100k_zoo.workflows.export_mirror import export_mirror

    here = session(context)
    store = Store(offline=True)
    if _is_within(folder, store.root):
        raise typer.BadParameter("choose another folder than the cache itself")
    exported = export_mirror(store, here.zoo(), folder, models or (), here.progress())
    if as_json:
        write_json(exported)
    else:
        _show_export(here, exported)
    if any(each.damaged for each in exported.left_out):
        raise typer.Exit(1)


def _is_within(folder: Path, root: Path) -> bool:
    here, cache = Path(os.path.realpath(folder)), Path(os.path.realpath(root))
    return here == cache or here.is_relative_to(cache / "det")


def _show_export(here: Session, exported: Exported) -> None:
    from rich.text import Text

    table = _table("Path", "Size", "State")
    for listed in exported.files:
        state = "verified" if listed.verified else "unverified"
        table.add_row(listed.path, _size(listed.size), Text(state, STYLES[state]))
    if exported.files:
        show(table)
    for each in exported.left_out:
        say(f"{each.path}: {each.reason}", "bold red" if each.damaged else "yellow", "left out")
    if any(each.damaged for each in exported.left_out):
        say(f"`{here.command} cache verify` examines the cache and sets damaged files aside", "bold cyan", "hint")
    here.note(
        f"{_count(len(exported.files), 'file')} in {exported.folder}, {exported.written} of them copied now; "
        f"BDD100K_ZOO_MIRRORS={exported.folder.as_uri()} downloads from there"
    )


@app.command()
@guarded
def prune(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; say what would be.")] = False,
    as_json: Json = False,
) -> None:
    """Remove partial files, files that were set aside, and files that no model of the zoo names."""
    from bdd100k_zoo.artifacts.store import Store
    from bdd100k_zoo.workflows import prune as work

    here = session(context)
    pruned = work.prune(Store(offline=True), here.zoo(), dry_run=dry_run)
    if as_json:
        write_json(pruned)
    else:
        label = "would remove" if dry_run else "removed"
        for removal in pruned.removed:
            show_whole(label, f"{removal.path}  {_size(removal.size)}, {removal.why}")
        for left in pruned.left:
            show_whole("left", f"{left.path}  {left.why}")
        freed = "would be freed" if dry_run else "freed"
        show(f"{_count(len(pruned.removed), 'file')}, {_size(pruned.freed)} {freed}")
        for failed in pruned.failed:
            say(f"{failed.path} could not be removed: {failed.why}", "bold red", "error")
    if pruned.failed:
        raise typer.Exit(1)


def _table(*headers: str) -> Table:
    """A table whose first column folds long names, and whose last wraps where the terminal is narrow."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for header in headers:
        within = header not in (headers[0], headers[-1])
        table.add_column(header, no_wrap=within, overflow="fold", justify="right" if header == "Size" else "left")
    return table


def _size(count: int) -> str:
    from rich.filesize import decimal

    return decimal(count)


def _count(number: int, word: str) -> str:
    plural = word if number == 1 else word.replace("file", "files").replace("thing", "things")
    return f"{number} {plural}"


def _source(verified_by: str) -> str:
    """Name the host of an address; anything else as it is."""
    from urllib.parse import urlsplit

    return plain(urlsplit(verified_by).hostname or verified_by)
