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

app = typer.Typer(help="Look after the cache: list, verify, import, export, rm, prune.", no_args_is_help=True)

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
    """List what is in the cache, partial and damaged files included."""
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
    if item.kind == "ledger":
        return Text("ledger without a file", "yellow")
    if item.kind == "other":
        return Text("not ours", "dim")
    state = "no ledger" if item.state == "unknown" else item.state
    return Text(f"{state}{_by(item.verified_by)}", STYLES.get(item.state, "yellow"))


def _by(verified_by: str | None) -> str:
    return f" by the {verified_by}" if verified_by else ""


def _totals(items: Sequence[Item]) -> str:
    words = {
        "file": "file",
        "partial": "partial file",
        "damaged": "damaged file",
        "ledger": "ledger without a file",
        "other": "thing not ours",
    }
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
        state.append(_by(each.verified_by))
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
    digest: Annotated[
        str | None,
        typer.Option(metavar="DIGEST", help="A digest of it that you trust, sha256:… or md5:…; it verifies the file."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a file that you have and keep it in the cache, as if it had been downloaded."""
    from rich.text import Text

    from bdd100k_zoo.artifacts.store import Store
    from bdd100k_zoo.workflows.import_copy import import_copy

    if digest is not None:
        digest = _checked_digest(digest)
    here = session(context)
    found = here.zoo()[model]
    with Store(offline=here.offline) as store:
        stored = import_copy(found, what.value, file, store, here.progress(), digest=digest)
    if as_json:
        write_json(stored)
        return
    state = (f"verified{_by(stored.verified_by)}", STYLES["verified"])
    if not stored.verified:
        state = ("unverified", STYLES["unverified"])
    show(Text.assemble(plain(str(stored.path)), "  ", f"{stored.size:,} bytes", "  ", state), soft_wrap=True)


def _checked_digest(written: str) -> str:
    from bdd100k_zoo.manifest.schema import DIGEST

    digest = written.strip().lower()
    if not DIGEST.fullmatch(digest):
        problem = "expected `sha256:` and 64 or `md5:` and 32 hexadecimal digits"
        raise typer.BadParameter(f"{problem}, found {written!r}", param_hint="--digest")
    return digest


@app.command()
@guarded
def export(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the mirror is, or is to be.")],
    models: ModelNames = None,
    include_unverified: Annotated[
        bool, typer.Option("--include-unverified", help="Export files that no digest verifies too, marked as such.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the verified files into a folder that can be served or uploaded as a mirror."""
    from bdd100k_zoo.artifacts.store import Store
    from bdd100k_zoo.workflows.export_mirror import export_mirror

    here = session(context)
    store = Store(offline=True)
    if _is_within(folder, store.root):
        raise typer.BadParameter("choose another folder than the cache itself")
    exported = export_mirror(
        store, here.zoo(), folder, models or (), here.progress(), include_unverified=include_unverified
    )
    if as_json:
        write_json(exported)
    else:
        _show_export(here, exported)
    if not exported.files or any(each.damaged for each in exported.left_out):
        raise typer.Exit(1)


def _is_within(folder: Path, root: Path) -> bool:
    here, cache = Path(os.path.realpath(folder)), Path(os.path.realpath(root))
    return here == cache or here.is_relative_to(cache / "det")


def _show_export(here: Session, exported: Exported) -> None:
    from rich.text import Text

    table = _table("Path", "Size", "State")
    for listed in exported.files:
        state = "verified" if listed.verified else "unverified"
        table.add_row(listed.path, _size(listed.size), Text(f"{state}{_by(listed.verified_by)}", STYLES[state]))
    if exported.files:
        show(table)
    for each in exported.left_out:
        say(f"{each.path}: {each.reason}", "bold red" if each.damaged else "yellow", "left out")
    if any(each.damaged for each in exported.left_out):
        say(f"`{here.command} cache verify` examines the cache and sets damaged files aside", "bold cyan", "hint")
    if any(each.unverified for each in exported.left_out):
        say(
            f"--include-unverified exports them too, marked as such; `{here.command} cache import MODEL FILE "
            "--digest sha256:…` verifies a file by a digest that you trust",
            "bold cyan",
            "hint",
        )
    if not exported.files:
        return
    here.note(
        f"{_count(len(exported.files), 'file')} in {exported.folder}, {exported.written} of them copied now; "
        f"BDD100K_ZOO_MIRRORS={exported.folder.as_uri()} downloads from there"
    )


@app.command()
@guarded
def rm(
    context: typer.Context,
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Names or aliases.", autocompletion=complete_model)
    ],
    what: Annotated[list[What] | None, typer.Option(help="Which files (repeatable); default: weights.")] = None,
    as_json: Json = False,
) -> None:
    """Remove files with their ledgers and locks, so that nothing of them is expected of later files."""
    from bdd100k_zoo.artifacts.store import Store
    from bdd100k_zoo.workflows import cache as work

    here = session(context)
    zoo, kinds = here.zoo(), what or [What.WEIGHTS]
    chosen = [zoo[name].artifact(kind.value) for name in models for kind in kinds]
    removed = work.remove(Store(offline=True), list(dict.fromkeys(chosen)))
    if as_json:
        write_json(removed)
        return
    for each in removed:
        show_whole("removed", f"{each.path}  {_size(each.size)}")


@app.command()
@guarded
def prune(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; report what would be.")] = False,
    ledgers: Annotated[
        bool, typer.Option("--ledgers", help="Remove ledgers without a file too: a later file may be another one then.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove partial files, files that were set aside, files that no model of the zoo names, and stale locks."""
    from bdd100k_zoo.artifacts.store import Store
    from bdd100k_zoo.workflows import prune as work

    here = session(context)
    pruned = work.prune(Store(offline=True), here.zoo(), dry_run=dry_run, ledgers=ledgers)
    if as_json:
        write_json(pruned)
    else:
        label = "would remove" if dry_run else "removed"
        for removal in pruned.removed:
            show_whole(label, f"{removal.path}  {_size(removal.size)}, {removal.why}")
        if pruned.locks:
            show_whole(label, _count(len(pruned.locks), "lock that no process holds"))
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
    return f"{number} {word if number == 1 else PLURALS[word]}"


PLURALS = {
    "file": "files",
    "partial file": "partial files",
    "damaged file": "damaged files",
    "ledger without a file": "ledgers without a file",
    "thing not ours": "things not ours",
    "lock that no process holds": "locks that no process holds",
}
