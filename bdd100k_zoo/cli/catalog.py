"""list, info, table: the models of the zoo."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bdd100k_zoo.cli.options import Json, get_session, path_option
from bdd100k_zoo.cli.output import (
    complete_model,
    find_indent,
    handle_errors,
    print_addresses,
    print_field,
    print_renderable,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from bdd100k_zoo.errors import ZooError
    from bdd100k_zoo.hub.cache import Store, StoredFile
    from bdd100k_zoo.hub.resume import PartialState
    from bdd100k_zoo.registry import Artifact, Family, Model, Zoo

Sort = Literal["name", "val", "test"]
ListFormat = Literal["table", "csv", "markdown", "json"]
OutputFormat = Literal["markdown", "csv", "latex", "json"]

Families = Annotated[
    list[str] | None, typer.Option("--family", "-f", help="Only this family, by name or title (repeatable).")
]
Edition = Annotated[
    str | None,
    typer.Option(metavar="DATE", help="Only models published by the end of a year, month or day: 2021, 2022-06-18."),
]


@handle_errors
def list_models(
    context: typer.Context,
    family: Families = None,
    backbone: Annotated[str | None, typer.Option(help="Only backbones whose name contains this: r-50, swin.")] = None,
    schedule: Annotated[str | None, typer.Option(help="Only this schedule: 1x, 3x or 5x.")] = None,
    min_ap: Annotated[
        float | None,
        typer.Option(metavar="AP", min=0, max=100, help="Only models with at least this AP on val."),
    ] = None,
    edition: Edition = None,
    best: Annotated[
        bool, typer.Option("--best", help="Only the best of each family by AP on val, best first.")
    ] = False,
    sort: Annotated[Sort | None, typer.Option(help="Sort by name or AP.  [default: by family]")] = None,
    form: Annotated[ListFormat, typer.Option("--format", help="Format of the list.")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document; short for --format json.")] = False,
) -> None:
    """List the models with their parameters and published box AP."""
    if as_json and form not in ("table", "json"):
        raise typer.BadParameter(f"--json and --format {form} cannot be combined")
    from bdd100k_zoo.registry.models import (
        best_of_families,
        describe_model,
        no_match_error,
        select_edition,
        select_models,
        sort_models,
    )

    zoo = get_session(context).zoo()
    zoo = select_edition(zoo, edition) if edition else zoo
    models = select_models(zoo, families=family or (), backbone=backbone, schedule=schedule, min_ap=min_ap)
    if not models:
        raise no_match_error(zoo)
    models = best_of_families(models) if best else models
    if sort:
        models = sort_models(models, sort)
    if as_json or form == "json":
        write_json([describe_model(model) for model in models])
        return
    if form != "table":
        from bdd100k_zoo.reporting.tables import render_list

        write_text(render_list(models, form))
        return
    print_renderable(_models_table(zoo, models, by_family=not (sort or best)), soft_wrap=True)
    counts = f"{len(models)} of {len(zoo.models)} models"
    get_session(context).note(f"{counts}; 1x is 12 epochs, ms is multi-scale; `bdd100k-zoo info MODEL` shows more")


COLUMNS = ("Model", "Backbone", "Train", "Params", "AP val", "AP test")
NUMERIC_COLUMNS = ("Params", "AP val", "AP test")


def _models_table(zoo: Zoo, models: list[Model], *, by_family: bool) -> Text:
    """Return a table of models, one line each; two lines each if the terminal is too narrow for that.

    It is built from strings: laying the cells out with rich would take most of the time of ``list``.
    """
    from rich.cells import cell_len
    from rich.text import Text

    from bdd100k_zoo.cli.output import terminal_width

    rows = [COLUMNS, *_rows(zoo, models, by_family=by_family)]
    widths = [max(map(cell_len, cells)) for cells in zip(*rows, strict=True)]
    is_narrow = sum(widths) + len(widths) - 1 > terminal_width()
    lines = []
    for row in rows:
        style = "bold" if row is COLUMNS or not any(row[1:]) else ""
        cells = [_pad(cell, width, header) for cell, width, header in zip(row, widths, COLUMNS, strict=True)]
        parts = [row[0].strip(), f"  {' '.join(cells[1:])}"] if is_narrow else [" ".join(cells)]
        lines += [Text(part.rstrip(), style) for part in parts if part.strip()]
    return Text("\n").join(lines)


def _pad(cell: str, width: int, header: str) -> str:
    from rich.cells import set_cell_size

    return cell.rjust(width) if header in NUMERIC_COLUMNS else set_cell_size(cell, width)


def _rows(zoo: Zoo, models: list[Model], *, by_family: bool) -> Iterator[tuple[str, ...]]:
    """Yield the cells of each model, and before those of a family its title with empty cells."""
    from bdd100k_zoo.display.messages import sanitize_text
    from bdd100k_zoo.registry.models import format_ap, format_parameters

    last = ""
    for model in models:
        if by_family and model.family != last:
            last = model.family
            yield (sanitize_text(zoo.family(last).title), *("" for _ in COLUMNS[1:]))
        name = f"  {model.name}" if by_family else model.name
        training = " ".join(filter(None, (model.schedule, "ms" if model.multi_scale_training else "")))
        numbers = format_parameters(model.parameters), format_ap(model.ap_val), format_ap(model.ap_test)
        yield (name, sanitize_text(model.backbone or ""), training, *numbers)


@handle_errors
def info(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|FAMILY",
            help="Name or alias of a model, name of a published file, name or title of a family.",
            autocompletion=complete_model,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show all about one model or family: paper, config, scores, addresses, state in the cache, how to run it."""
    from bdd100k_zoo.hub.cache import Store, describe_cached
    from bdd100k_zoo.registry import ARTIFACT_KINDS, Family
    from bdd100k_zoo.registry.models import describe_model, to_json_values

    zoo = get_session(context).zoo()
    found = zoo.find(name)
    if isinstance(found, Family):
        models = [model for model in zoo.models if model.family == found.name]
        if as_json:
            write_json({**to_json_values(found), "models": [model.name for model in models]})
        else:
            _print_family(found)
            print_renderable("")
            print_renderable(_models_table(zoo, models, by_family=False), soft_wrap=True)
        return
    store = Store(offline=True)
    artifacts = [artifact for artifact in map(found.artifact, ARTIFACT_KINDS) if artifact.addresses]
    files = {artifact: _find_or_error(store, artifact) for artifact in artifacts}
    if as_json:
        cache = {artifact.what: describe_cached(state) for artifact, state in files.items()}
        write_json({**describe_model(found), "cache": cache})
        return
    _print_card(zoo, found, store, files)


def _find_or_error(store: Store, artifact: Artifact) -> StoredFile | ZooError | None:
    """Find an artifact in the cache; return an error about it, so that the rest can be shown."""
    from bdd100k_zoo.errors import ZooError

    try:
        return store.find(artifact)
    except ZooError as error:
        return error


def _print_card(zoo: Zoo, model: Model, store: Store, files: dict[Artifact, StoredFile | ZooError | None]) -> None:
    from rich.text import Text

    from bdd100k_zoo.registry.models import describe_training, format_ap

    print_renderable(Text(model.name, style="bold"))
    _print_family(model.family_record)
    aps = f"{format_ap(model.ap_val) or '–'} on val, {format_ap(model.ap_test) or '–'} on test (published)"
    facts = [
        ("backbone", model.backbone or ""),
        ("training", describe_training(model)),
        ("published", str(model.published or "")),
        ("parameters", _describe_parameters(model)),
        ("box AP", aps if (model.ap_val, model.ap_test) != (None, None) else ""),
        ("license", model.weights.license or "none is stated for the weights"),
        ("aliases", ", ".join(model.aliases)),
    ]
    _print_facts(facts)
    config = str(model.config_path)
    addresses = {
        artifact: [*(route.address for route in store.routes(artifact)), *artifact.digest_addresses]
        for artifact in files
    }
    indent = find_indent([config, *(address for each in addresses.values() for address in each)])
    print_addresses("config", [config], indent=indent)
    for artifact, state in files.items():
        notes = [_partial_state(partial) for partial in store.partials(artifact)]
        notes += [_cache_state(state)] if state or artifact.what == "weights" else []
        print_addresses(artifact.what, addresses[artifact], notes, indent=indent)
    builtin = model.zoo_file == zoo.files[0] or model in zoo.unlisted
    option = "" if builtin else f"--zoo {shlex.quote(str(model.zoo_file))} "
    print_field("run it", f"bdd100k-zoo {option}predict {model.name} image.jpg")


def _print_family(family: Family) -> None:
    _print_facts([("family", family.title)])
    if family.paper:
        _print_facts([("paper", f"{family.paper.title} [{family.paper.venue}]")])
        print_addresses("", [family.paper.address], indent=find_indent([family.paper.address]))
    _print_facts([("authors", ", ".join(author.name for author in family.authors))])
    if family.code:
        print_addresses("code", [family.code], indent=find_indent([family.code]))
    _print_facts([("note", family.note or "")])


def _print_facts(facts: list[tuple[str, str]]) -> None:
    """Print those that are known, as text that may be wrapped."""
    from bdd100k_zoo.cli.output import details_table

    if known := [(label, value) for label, value in facts if value]:
        print_renderable(details_table(known))


def _describe_parameters(model: Model) -> str:
    from bdd100k_zoo.registry.models import format_parameters

    return f"{format_parameters(model.parameters)} ({model.parameters:,})" if model.parameters else ""


def _partial_state(partial: PartialState) -> str:
    total = f" of {partial.total:,}" if partial.total else ""
    return f"partly downloaded: {partial.size:,}{total} bytes; `bdd100k-zoo download` resumes from there"


def _cache_state(state: StoredFile | ZooError | None) -> str:
    if state is None:
        return "not in the cache"
    if isinstance(state, Exception):
        return f"in the cache, WRONG: {state}"
    digest = f", {state.digest_address}" if state.digest_address else ""
    trust = f"verified by the {state.verified_by}{digest}" if state.verified else f"UNVERIFIED: {state.reason}"
    return f"in the cache: {state.path} ({state.size:,} bytes, {trust})"


@handle_errors
def table(
    context: typer.Context,
    family: Families = None,
    edition: Edition = None,
    form: Annotated[OutputFormat, typer.Option("--format", help="Format of the tables.")] = "markdown",
    config_root: Annotated[
        str | None,
        typer.Option(
            metavar="PREFIX",
            help="What links to configs begin with, in Markdown; default: ./configs/det, or with --check and --out the "
            "folder of configs beside FILE.",
        ),
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Add the AP measured on the runs below DIR to the published AP.")
    ] = None,
    speed: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Add the speeds that `bench --out FILE` wrote.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check that the tables in FILE are up to date.")
    ] = None,
    out: Annotated[
        Path | None,
        path_option("FILE", "Write to FILE; in a document with the markers, only the tables between them change."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document; short for --format json.")] = False,
) -> None:
    """Print the tables of published results, or update them in a document."""
    if as_json and form not in ("markdown", "json"):
        raise typer.BadParameter(f"--json is short for --format json: leave out --format {form}")
    form = "json" if as_json else form
    if check and out:
        raise typer.BadParameter("--check and --out cannot be combined")
    if check and form != "markdown":
        raise typer.BadParameter("--check requires --format markdown")
    from bdd100k_zoo.api import tables as job

    here = get_session(context)
    text = job.table(
        family=family or (),
        edition=edition,
        format=form,
        config_root=config_root,
        runs=runs,
        speed=speed,
        check=check,
        out=out,
        zoo=here.zoo(),
        # Loading the display takes as long as printing the tables.
        progress=here.progress() if runs or speed or check or out else None,
    )
    if check or out:
        return
    if form == "json":
        import msgspec

        write_json(msgspec.json.decode(text))
    else:
        write_text(text)
