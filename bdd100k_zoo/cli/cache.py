"""cache: list, verify, import, export, remove and prune files of the cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bdd100k_zoo.cli.download import FileKind
from bdd100k_zoo.cli.help_pages import HelpPage
from bdd100k_zoo.cli.options import Json, ModelName, get_session, path_option
from bdd100k_zoo.cli.output import complete_model, handle_errors, print_field, print_renderable, write_json, write_text
from bdd100k_zoo.display.messages import print_message, sanitize_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table
    from rich.text import Text

    from bdd100k_zoo.cli.options import Session
    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.hub.import_export import ExportResult
    from bdd100k_zoo.hub.inventory import CacheItem
    from bdd100k_zoo.hub.maintenance import CheckedFile, PruneResult
    from bdd100k_zoo.registry import Model

cache_app = typer.Typer(help="Manage the cache: list, verify, import, export, rm, prune.", no_args_is_help=True)

ModelNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="MODEL...", help="Names or aliases; default: all.", autocompletion=complete_model),
]

STATE_STYLES = {"verified": "green", "unverified": "bold yellow", "damaged": "bold red", "wrong": "bold red"}


def _open_store() -> Store:
    """Open the cache for a command that contacts nothing."""
    from bdd100k_zoo.hub.cache import Store

    return Store(offline=True)


@cache_app.command("dir", cls=HelpPage)
@handle_errors
def print_cache_dir(as_json: Json = False) -> None:
    """Print the path of the cache."""
    root = _open_store().root
    write_json({"dir": root}) if as_json else write_text(f"{root}\n")


@cache_app.command("list", cls=HelpPage)
@handle_errors
def list_files(context: typer.Context, as_json: Json = False) -> None:
    """List the files in the cache, with partial and damaged ones."""
    from bdd100k_zoo.hub.inventory import list_cache_items

    here, store = get_session(context), _open_store()
    items = list_cache_items(store, here.zoo())
    if as_json:
        write_json({"dir": store.root, "size": sum(item.size for item in items), "items": items})
        return
    names = [sanitize_text(item.model or item.path.name) for item in items]
    table = _table("Model", "What", "Size", "Date", "State", names=names)
    for item, name in zip(items, names, strict=True):
        table.add_row(name, item.what, _size(item.size), item.changed[:10], _state(item))
    if items:
        print_renderable(table)
    words = {
        "file": "file{s}",
        "partial": "partial file{s}",
        "damaged": "damaged file{s}",
        "ledger": "ledger{s} without a file",
        "other": "other file{s}",
    }
    totals = []
    for kind, word in words.items():
        sizes = [item.size for item in items if item.kind == kind]
        if sizes or kind == "file":
            totals.append(f"{_count(len(sizes), word)}, {_size(sum(sizes))}")
    print_renderable("; ".join(totals), soft_wrap=True)
    here.note(f"in {store.root}; `bdd100k-zoo cache verify` checks the content of every file")


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
        return Text("other", "dim")
    state = "no ledger" if item.state == "unknown" else item.state
    return Text(f"{state}{_by(item.verified_by)}", STATE_STYLES.get(item.state, "yellow"))


def _by(verified_by: str | None) -> str:
    return f" by the {verified_by}" if verified_by else ""


@cache_app.command(cls=HelpPage)
@handle_errors
def verify(
    context: typer.Context,
    models: ModelNames = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Check weights against their models too: parameters, shapes, classes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare files with their digests, and set aside those that are damaged."""
    from bdd100k_zoo.hub.maintenance import verify_cache

    here, store = get_session(context), _open_store()
    zoo = here.zoo()
    if deep:
        from bdd100k_zoo.backends.selection import select_backend

        select_backend().import_backend()  # before anything is read: a missing package is reported at once
    check = _check_weights if deep else None
    checked = verify_cache(store, zoo, models or (), here.progress(), check_weights=check)
    if as_json:
        write_json(checked)
    elif checked:
        print_renderable(_checked_table(checked))
    else:
        here.note("the cache holds no complete file")
    if not as_json:
        _hint_next_command(here, [each for each in checked if each.set_aside and each.model])
    if any(each.problem for each in checked):
        raise typer.Exit(1)


def _check_weights(model: Model, file: Path) -> None:
    """Check a checkpoint against its model: parameters, shapes, values, classes."""
    from bdd100k_zoo.backends.selection import select_backend

    select_backend().check_checkpoint(model.name, model.config_path, file)


def _checked_table(checked: Sequence[CheckedFile]) -> Table:
    from rich.text import Text

    table = _table("Model", "What", "Size", "State", names=[each.model or each.path.name for each in checked])
    for each in checked:
        fit = {True: ", fits the model", False: ", does not fit the model", None: ""}[each.fits_model]
        state = Text(f"{each.state}{_by(each.verified_by)}{fit}", STATE_STYLES.get(each.state, "bold red"))
        table.add_row(sanitize_text(each.model or each.path.name), each.what, _size(each.size), state)
    return table


def _hint_next_command(here: Session, set_aside: Sequence[CheckedFile]) -> None:
    if not set_aside:
        return
    models = " ".join(sorted({each.model or "" for each in set_aside}))
    kinds = sorted({each.what or "" for each in set_aside})
    what = "" if kinds == ["weights"] else "".join(f" --what {kind}" for kind in kinds)
    _print_hint(
        f"`{here.command} download {models}{what}` fetches {'it' if len(set_aside) == 1 else 'them'} again, "
        f"`{here.command} cache import MODEL FILE` imports a copy; "
        f"`{here.command} cache prune` removes what was set aside"
    )


def _print_hint(text: str) -> None:
    print_message(text, "bold cyan", "hint")


@cache_app.command("import", cls=HelpPage)
@handle_errors
def import_file(
    context: typer.Context,
    model: ModelName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A copy of the published file.")],
    what: Annotated[FileKind, typer.Option(help="Which of the model's files it is.")] = FileKind.WEIGHTS,
    digest: Annotated[
        str | None,
        typer.Option(metavar="DIGEST", help="A digest that you trust, sha256:… or md5:…; it verifies the file."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a copy of a published file, and put it into the cache."""
    from bdd100k_zoo.cli.download import print_stored
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
    write_json(stored) if as_json else print_stored(stored)


def _parse_digest(text: str) -> str:
    from bdd100k_zoo.registry.models import DIGEST_PATTERN

    digest = text.strip().lower()
    if not DIGEST_PATTERN.fullmatch(digest):
        problem = "expected `sha256:` and 64 or `md5:` and 32 hexadecimal digits"
        raise typer.BadParameter(f"{problem}, found {text!r}", param_hint="--digest")
    return digest


@cache_app.command(cls=HelpPage)
@handle_errors
def export(
    context: typer.Context,
    out: Annotated[Path, path_option("DIR", "The mirror's folder, new or existing.")],
    models: ModelNames = None,
    include_unverified: Annotated[
        bool, typer.Option("--include-unverified", help="Export files that no digest verifies too, marked as such.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the verified files into a folder that can be served or uploaded as a mirror."""
    from bdd100k_zoo.hub.import_export import export_mirror

    here, store = get_session(context), _open_store()
    target, cache = Path(os.path.realpath(out)), Path(os.path.realpath(store.root))
    if target == cache or target.is_relative_to(cache / "det"):
        raise typer.BadParameter("choose a folder outside the cache", param_hint="--out")
    exported = export_mirror(
        store, here.zoo(), out, models or (), here.progress(), include_unverified=include_unverified
    )
    if as_json:
        write_json(exported)
    else:
        _print_export(here, exported)
    if not exported.files or any(each.damaged for each in exported.left_out):
        raise typer.Exit(1)


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
        _print_hint(f"`{here.command} cache verify` checks the cache and sets damaged files aside")
    if any(each.unverified for each in exported.left_out):
        _print_hint(
            f"--include-unverified exports them too, marked as such; `{here.command} cache import MODEL FILE "
            "--digest sha256:…` verifies a file by a digest that you trust"
        )
    if exported.files:
        here.note(
            f"{_count(len(exported.files), 'file{s}')} in {exported.folder}, {exported.written} copied now; "
            f"BDD100K_ZOO_MIRRORS={exported.folder.as_uri()} downloads from there"
        )


@cache_app.command(cls=HelpPage)
@handle_errors
def rm(
    context: typer.Context,
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Names or aliases.", autocompletion=complete_model)
    ],
    what: Annotated[list[FileKind] | None, typer.Option(help="Which files (repeatable); default: weights.")] = None,
    as_json: Json = False,
) -> None:
    """Remove files with their ledgers and locks; later downloads are not compared with them."""
    from bdd100k_zoo.hub.maintenance import remove_from_cache

    zoo, kinds = get_session(context).zoo(), what or [FileKind.WEIGHTS]
    chosen = dict.fromkeys(zoo[name].artifact(kind.value) for name in models for kind in kinds)
    removed = remove_from_cache(_open_store(), list(chosen))
    if as_json:
        write_json(removed)
        return
    for each in removed:
        print_field("removed", f"{each.path}  {_size(each.size)}")


@cache_app.command(cls=HelpPage)
@handle_errors
def prune(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; report what would be removed.")] = False,
    ledgers: Annotated[
        bool,
        typer.Option(
            "--ledgers", help="Remove ledgers without a file too; later downloads are not compared with them."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove partial files, files that were set aside, files of unknown models, and stale locks."""
    from bdd100k_zoo.hub.maintenance import prune_cache

    pruned = prune_cache(_open_store(), get_session(context).zoo(), dry_run=dry_run, ledgers=ledgers)
    if as_json:
        write_json(pruned)
    else:
        _print_pruned(pruned)
    if pruned.failed:
        raise typer.Exit(1)


def _print_pruned(pruned: PruneResult) -> None:
    removed, freed = ("would remove", "would be freed") if pruned.dry_run else ("removed", "freed")
    for each in pruned.removed:
        print_field(removed, f"{each.path}  {_size(each.size)}, {each.why}")
    if pruned.locks:
        print_field(removed, _count(len(pruned.locks), "lock{s} that no process holds"))
    for left in pruned.left:
        print_field("left", f"{left.path}  {left.why}")
    print_renderable(f"{_count(len(pruned.removed), 'file{s}')}, {_size(pruned.freed)} {freed}")
    for failed in pruned.failed:
        print_message(f"{failed.path} could not be removed: {failed.why}", "bold red", "error")


LONGEST_MODEL_NAME = 37
"""Characters of the longest name of the built-in zoo, which no table folds in a terminal of 80 columns."""


def _table(*headers: str, names: Iterable[str] = ()) -> Table:
    """Return a table whose first column folds long names, and whose last wraps in a narrow terminal.

    Args:
        headers: of the columns.
        names: what the first column will hold; those of models are not folded.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for header in headers:
        inner = header not in (headers[0], headers[-1])
        table.add_column(header, no_wrap=inner, overflow="fold", justify="right" if header == "Size" else "left")
    table.columns[0].min_width = min(LONGEST_MODEL_NAME, max(map(len, names), default=0))
    return table


def _size(count: int) -> str:
    from rich.filesize import decimal

    return decimal(count)


def _count(number: int, word: str) -> str:
    """Return a number with a word whose ``{s}`` becomes the plural's s."""
    return f"{number} {word.format(s='' if number == 1 else 's')}"
