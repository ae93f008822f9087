"""cache: list, verify, import, export, remove and prune files of the cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bdd100k_zoo.cli.download import FileKind
from bdd100k_zoo.cli.options import Json, ModelName, get_session
from bdd100k_zoo.cli.output import (
    complete_model,
    handle_errors,
    print_field,
    print_message,
    print_renderable,
    sanitize_text,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table
    from rich.text import Text

    from bdd100k_zoo.cli.options import Session
    from bdd100k_zoo.hub.import_export import ExportResult
    from bdd100k_zoo.hub.inventory import CacheItem
    from bdd100k_zoo.hub.maintenance import CheckedFile
    from bdd100k_zoo.registry import Model

cache_app = typer.Typer(help="Look after the cache: list, verify, import, export, rm, prune.", no_args_is_help=True)

ModelNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="MODEL...", help="Names or aliases; default: everything.", autocompletion=complete_model),
]

STATE_STYLES = {"verified": "green", "unverified": "bold yellow", "damaged": "bold red", "wrong": "bold red"}


@cache_app.command("dir")
@handle_errors
def print_cache_dir(as_json: Json = False) -> None:
    """Print where the cache is."""
    from bdd100k_zoo.hub.cache import Store

    root = Store().root
    if as_json:
        write_json({"dir": root})
    else:
        write_text(f"{root}\n")


@cache_app.command("list")
@handle_errors
def list_files(context: typer.Context, as_json: Json = False) -> None:
    """List what is in the cache, partial and damaged files included."""
    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.hub.inventory import list_cache_items

    here = get_session(context)
    store = Store(offline=True)
    items = list_cache_items(store, here.zoo())
    if as_json:
        write_json({"dir": store.root, "size": sum(item.size for item in items), "items": items})
        return
    if items:
        print_renderable(_contents_table(items))
    print_renderable(_totals(items), soft_wrap=True)
    here.note(f"in {store.root}; `bdd100k-zoo cache verify` reads every file through")


def _contents_table(items: Iterable[CacheItem]) -> Table:
    table = _table("Model", "What", "Size", "Date", "State")
    for item in items:
        name = item.model or item.path.name
        table.add_row(sanitize_text(name), item.what, _size(item.size), item.changed[:10], _state(item))
    return table


def _state(item: CacheItem) -> Text:
    from rich.text import Text

    if item.kind == "partial":
        share = f" {100 * item.size // item.total} %" if item.total else ""
        return Text(f"partial{share}", "cyan")
    if item.kind == "damaged":
        return Text("damaged", STATE_STYLES["damaged"])
    if item.kind == "ledger":
        return Text("ledger without a file", "yellow")
    if item.kind == "other":
        return Text("not ours", "dim")
    state = "no ledger" if item.state == "unknown" else item.state
    return Text(f"{state}{_by(item.verified_by)}", STATE_STYLES.get(item.state, "yellow"))


def _by(verified_by: str | None) -> str:
    return f" by the {verified_by}" if verified_by else ""


def _totals(items: Sequence[CacheItem]) -> str:
    words = {
        "file": "file",
        "partial": "partial file",
        "damaged": "damaged file",
        "ledger": "ledger without a file",
        "other": "thing not ours",
    }
    parts = []
    for kind, word in words.items():
        sizes = [item.size for item in items if item.kind == kind]
        if sizes or kind == "file":
            parts.append(f"{_count(len(sizes), word)}, {_size(sum(sizes))}")
    return "; ".join(parts)


@cache_app.command()
@handle_errors
def verify(
    context: typer.Context,
    models: ModelNames = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Hold weights against their models too: parameters, shapes, classes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read files through and compare them with their digests; set aside what is damaged."""
    from bdd100k_zoo.hub import maintenance as work
    from bdd100k_zoo.hub.cache import Store

    here = get_session(context)
    store, zoo = Store(offline=True), here.zoo()
    if deep:
        from bdd100k_zoo.backends.selection import select_backend

        select_backend().import_backend()  # before anything is read: a missing package is reported at once
    check = _check_weights if deep else None
    checked = work.verify_cache(store, zoo, models or (), here.progress(), check_weights=check)
    if as_json:
        write_json(checked)
    elif checked:
        print_renderable(_checked_table(checked))
    else:
        here.note("the cache holds no complete file")
    wrong = [each for each in checked if each.problem]
    if wrong:
        if not as_json:
            _hint_next_command(here, wrong)
        raise typer.Exit(1)


def _check_weights(model: Model, file: Path) -> None:
    """Check a checkpoint against its model: parameters, shapes, values, classes."""
    from bdd100k_zoo.backends.selection import select_backend

    select_backend().check_checkpoint(model.name, model.config_path, file)


def _checked_table(checked: Iterable[CheckedFile]) -> Table:
    from rich.text import Text

    table = _table("Model", "What", "Size", "State")
    for each in checked:
        state = Text(each.state, STATE_STYLES.get(each.state, "bold red"))
        state.append(_by(each.verified_by))
        state.append({True: ", fits the model", False: ", does not fit the model", None: ""}[each.fits_model])
        table.add_row(sanitize_text(each.model or each.path.name), each.what, _size(each.size), state)
    return table


def _hint_next_command(here: Session, wrong: Sequence[CheckedFile]) -> None:
    gone = [each for each in wrong if each.set_aside and each.model]
    if not gone:
        return
    models = " ".join(sorted({each.model or "" for each in gone}))
    kinds = sorted({each.what or "" for each in gone})
    what = "" if kinds == ["weights"] else "".join(f" --what {kind}" for kind in kinds)
    command = here.command
    print_message(
        f"`{command} download {models}{what}` fetches {'it' if len(gone) == 1 else 'them'} again, "
        f"`{command} cache import MODEL FILE` takes a copy; `{command} cache prune` removes what was set aside",
        "bold cyan",
        "hint",
    )


@cache_app.command("import")
@handle_errors
def import_file(
    context: typer.Context,
    model: ModelName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A copy of the published file.")],
    what: Annotated[FileKind, typer.Option(help="Which of the model's files it is.")] = FileKind.WEIGHTS,
    digest: Annotated[
        str | None,
        typer.Option(metavar="DIGEST", help="A digest of it that you trust, sha256:… or md5:…; it verifies the file."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a file that you have and keep it in the cache, as if it had been downloaded."""
    from rich.text import Text

    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.hub.import_export import import_copy

    if digest is not None:
        digest = _parse_digest(digest)
    here = get_session(context)
    found = here.zoo()[model]
    with Store(offline=here.offline) as store:
        stored = import_copy(
            found, what.value, file, store, here.progress(), check_weights=_check_weights, digest=digest
        )
    if as_json:
        write_json(stored)
        return
    state = (f"verified{_by(stored.verified_by)}", STATE_STYLES["verified"])
    if not stored.verified:
        state = ("unverified", STATE_STYLES["unverified"])
    print_renderable(
        Text.assemble(sanitize_text(str(stored.path)), "  ", f"{stored.size:,} bytes", "  ", state), soft_wrap=True
    )


def _parse_digest(text: str) -> str:
    from bdd100k_zoo.registry.models import DIGEST_PATTERN

    digest = text.strip().lower()
    if not DIGEST_PATTERN.fullmatch(digest):
        problem = "expected `sha256:` and 64 or `md5:` and 32 hexadecimal digits"
        raise typer.BadParameter(f"{problem}, found {text!r}", param_hint="--digest")
    return digest


@cache_app.command()
@handle_errors
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
    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.hub.import_export import export_mirror

    here = get_session(context)
    store = Store(offline=True)
    if _is_within(folder, store.root):
        raise typer.BadParameter("choose another folder than the cache itself")
    exported = export_mirror(
        store, here.zoo(), folder, models or (), here.progress(), include_unverified=include_unverified
    )
    if as_json:
        write_json(exported)
    else:
        _print_export(here, exported)
    if not exported.files or any(each.damaged for each in exported.left_out):
        raise typer.Exit(1)


def _is_within(folder: Path, root: Path) -> bool:
    here, cache = Path(os.path.realpath(folder)), Path(os.path.realpath(root))
    return here == cache or here.is_relative_to(cache / "det")


def _print_export(here: Session, exported: ExportResult) -> None:
    from rich.text import Text

    table = _table("Path", "Size", "State")
    for listed in exported.files:
        state = "verified" if listed.verified else "unverified"
        table.add_row(listed.path, _size(listed.size), Text(f"{state}{_by(listed.verified_by)}", STATE_STYLES[state]))
    if exported.files:
        print_renderable(table)
    for each in exported.left_out:
        print_message(f"{each.path}: {each.reason}", "bold red" if each.damaged else "yellow", "left out")
    if any(each.damaged for each in exported.left_out):
        print_message(
            f"`{here.command} cache verify` examines the cache and sets damaged files aside", "bold cyan", "hint"
        )
    if any(each.unverified for each in exported.left_out):
        print_message(
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


@cache_app.command()
@handle_errors
def rm(
    context: typer.Context,
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Names or aliases.", autocompletion=complete_model)
    ],
    what: Annotated[list[FileKind] | None, typer.Option(help="Which files (repeatable); default: weights.")] = None,
    as_json: Json = False,
) -> None:
    """Remove files with their ledgers and locks, so that nothing of them is expected of later files."""
    from bdd100k_zoo.hub import maintenance as work
    from bdd100k_zoo.hub.cache import Store

    here = get_session(context)
    zoo, kinds = here.zoo(), what or [FileKind.WEIGHTS]
    chosen = [zoo[name].artifact(kind.value) for name in models for kind in kinds]
    removed = work.remove_from_cache(Store(offline=True), list(dict.fromkeys(chosen)))
    if as_json:
        write_json(removed)
        return
    for each in removed:
        print_field("removed", f"{each.path}  {_size(each.size)}")


@cache_app.command()
@handle_errors
def prune(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; report what would be.")] = False,
    ledgers: Annotated[
        bool, typer.Option("--ledgers", help="Remove ledgers without a file too: a later file may be another one then.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove partial files, files that were set aside, files that no model of the zoo names, and stale locks."""
    from bdd100k_zoo.hub import maintenance as work
    from bdd100k_zoo.hub.cache import Store

    here = get_session(context)
    pruned = work.prune_cache(Store(offline=True), here.zoo(), dry_run=dry_run, ledgers=ledgers)
    if as_json:
        write_json(pruned)
    else:
        label = "would remove" if dry_run else "removed"
        for removal in pruned.removed:
            print_field(label, f"{removal.path}  {_size(removal.size)}, {removal.why}")
        if pruned.locks:
            print_field(label, _count(len(pruned.locks), "lock that no process holds"))
        for left in pruned.left:
            print_field("left", f"{left.path}  {left.why}")
        freed = "would be freed" if dry_run else "freed"
        print_renderable(f"{_count(len(pruned.removed), 'file')}, {_size(pruned.freed)} {freed}")
        for failed in pruned.failed:
            print_message(f"{failed.path} could not be removed: {failed.why}", "bold red", "error")
    if pruned.failed:
        raise typer.Exit(1)


def _table(*headers: str) -> Table:
    """Return a table whose first column folds long names, and whose last wraps in a narrow terminal."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for header in headers:
        inner = header not in (headers[0], headers[-1])
        table.add_column(header, no_wrap=inner, overflow="fold", justify="right" if header == "Size" else "left")
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
