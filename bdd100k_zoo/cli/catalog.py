"""list, info, table: the models of the zoo."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from bdd100k_zoo.cli.options import Json, ModelName, get_session
from bdd100k_zoo.cli.output import handle_errors, print_field, print_renderable, write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from bdd100k_zoo.errors import ZooError
    from bdd100k_zoo.hub.cache import Store, StoredFile
    from bdd100k_zoo.hub.resume import PartialState
    from bdd100k_zoo.registry import Artifact, Model, Zoo

Sort = Literal["name", "val", "test"]
OutputFormat = Literal["markdown", "csv", "latex", "json"]

Families = Annotated[
    list[str] | None, typer.Option("--family", "-f", help="Only this family, by name or title (repeatable).")
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
    sort: Annotated[Sort | None, typer.Option(help="Sort by name or AP.  [default: by family]")] = None,
    as_json: Json = False,
) -> None:
    """List the models with their published box AP."""
    from bdd100k_zoo.registry.models import describe_model, no_match_error, select_models, sort_models

    zoo = get_session(context).zoo()
    models = select_models(zoo, families=family or (), backbone=backbone, schedule=schedule, min_ap=min_ap)
    if not models:
        raise no_match_error(zoo)
    if sort:
        models = sort_models(models, sort)
    if as_json:
        write_json([describe_model(model) for model in models])
        return
    print_renderable(_models_table(zoo, models, by_family=not sort))
    get_session(context).note(f"{len(models)} of {len(zoo.models)} models; `bdd100k-zoo info MODEL` shows the details")


def _models_table(zoo: Zoo, models: list[Model], *, by_family: bool) -> Table:
    """Return a table of one row, in which each cell holds one line per model.

    Rich takes as long for a cell as for a line: with a row per model, layout would take most of the time of `list`.
    """
    from rich.table import Table
    from rich.text import Text

    lines = list(_lines(zoo, models, by_family=by_family))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for header in COLUMNS:
        table.add_column(header, no_wrap=True, justify="right" if header.startswith("AP") else "left")
    names = Text("\n").join(Text(line[0], style="" if line[1] else "bold") for line in lines)
    table.add_row(names, *(Text("\n".join(cells)) for cells in list(zip(*lines, strict=True))[1:]))
    return table


COLUMNS = ("Model", "Backbone", "Lr schd", "Scales", "AP val", "AP test")
"""With the longest names of the built-in zoo, the lines have 80 columns."""


def _lines(zoo: Zoo, models: list[Model], *, by_family: bool) -> Iterator[tuple[str, ...]]:
    from bdd100k_zoo.display.messages import sanitize_text
    from bdd100k_zoo.registry.models import format_ap

    last = ""
    for model in models:
        if by_family and model.family != last:
            last = model.family
            yield (sanitize_text(zoo.family(last).title), *("" for _ in COLUMNS[1:]))
        multi_scale = "multi" if model.multi_scale_training else ""
        name = f"  {model.name}" if by_family else model.name
        aps = format_ap(model.ap_val), format_ap(model.ap_test)
        yield (name, sanitize_text(model.backbone), model.schedule, multi_scale, *aps)


@handle_errors
def info(context: typer.Context, model: ModelName, as_json: Json = False) -> None:
    """Show all about one model: paper, config, scores, addresses, state in the cache, how to run it."""
    from bdd100k_zoo.hub.cache import Store, describe_cached
    from bdd100k_zoo.registry import ARTIFACT_KINDS
    from bdd100k_zoo.registry.models import describe_model

    zoo = get_session(context).zoo()
    found = zoo[model]
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

    from bdd100k_zoo.cli.output import details_table
    from bdd100k_zoo.registry.models import format_ap

    family = model.family_record
    print_renderable(Text(model.name, style="bold"))
    training = f"{model.schedule} schedule" + (", multi-scale" if model.multi_scale_training else "")
    aps = f"{format_ap(model.ap_val) or '–'} on val, {format_ap(model.ap_test) or '–'} on test (published)"
    facts = [
        ("family", family.title),
        ("paper", f"{family.paper.title} [{family.paper.venue}]"),
        ("", family.paper.address),
        ("authors", ", ".join(author.name for author in family.authors)),
        ("code", family.code or "–"),
        ("backbone", model.backbone),
        ("training", training),
        ("box AP", aps),
        ("aliases", ", ".join(model.aliases)),
        ("note", family.note or ""),
    ]
    print_renderable(details_table([(label, value) for label, value in facts if value]))
    print_field("config", str(model.config_path))
    for artifact, state in files.items():
        addresses = [*(route.address for route in store.routes(artifact)), *artifact.digest_addresses]
        lines = [*addresses, *map(_partial_state, store.partials(artifact))]
        lines += [_cache_state(state)] if state or artifact.what == "weights" else []
        for number, line in enumerate(lines):
            print_field("" if number else artifact.what, line)
    builtin = model.zoo_file == zoo.files[0] or model in zoo.unlisted
    option = "" if builtin else f"--zoo {shlex.quote(str(model.zoo_file))} "
    print_field("run it", f"bdd100k-zoo {option}predict {model.name} --images DIR")


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
    form: Annotated[OutputFormat, typer.Option("--format", help="Format of the tables.")] = "markdown",
    config_root: Annotated[
        str | None,
        typer.Option(
            metavar="PREFIX",
            help="What links to configs begin with, in Markdown.  [default: ./configs/det; with --check and --write, "
            "the folder of configs beside FILE]",
        ),
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Add the AP measured on the runs below DIR to the published AP.")
    ] = None,
    speed: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Add the speeds that `bench --record FILE` wrote.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check that the tables in FILE are up to date.")
    ] = None,
    write: Annotated[Path | None, typer.Option(metavar="FILE", help="Update the tables in FILE.")] = None,
) -> None:
    """Print the tables of published results, or update them in a document."""
    if check and write:
        raise typer.BadParameter("--check and --write cannot be combined")
    if (check or write) and form != "markdown":
        raise typer.BadParameter("--check and --write require --format markdown")
    from bdd100k_zoo.api import tables as job

    here = get_session(context)
    text = job.table(
        family=family or (),
        format=form,
        config_root=config_root,
        runs=runs,
        speed=speed,
        check=check,
        write=write,
        zoo=here.zoo(),
        # Loading the display takes as long as printing the tables.
        progress=here.progress() if runs or speed or check or write else None,
    )
    if form == "json":
        write_json(msgspec.json.decode(text))
    elif not (check or write):
        write_text(text)
