"""eval: predictions → the official scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bdd100k_zoo.cli.options import (
    Confidence,
    DatasetRoot,
    Json,
    LabelFile,
    Lenient,
    Resamples,
    RunsFolder,
    Split,
    get_session,
    path_option,
)
from bdd100k_zoo.cli.output import complete_model, handle_errors, print_renderable, stdout_console, write_json
from bdd100k_zoo.display.messages import print_message

if TYPE_CHECKING:
    from rich.table import Table

    from bdd100k_zoo.api.scoring import Evaluation, Evaluations
    from bdd100k_zoo.evaluation.scores import Scores
    from bdd100k_zoo.reporting.score_tables import Grid

Engine = Literal["fast", "official"]
Attribute = Literal["weather", "scene", "timeofday"]

WIDE_TERMINAL = 86
"""Columns that the official table needs with two decimals; in narrower terminals it has one."""


@handle_errors
def evaluate(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL|PREDICTIONS]...",
            help="Models, whose runs are scored, or predictions files; default: every run of the split.",
            autocompletion=complete_model,
        ),
    ] = None,
    split: Split = "val",
    data: DatasetRoot = None,
    labels: LabelFile = None,
    runs: RunsFolder = Path("runs"),
    out: Annotated[Path | None, path_option("FILE", "Write the scores of one file in the official format.")] = None,
    engine: Annotated[
        Engine, typer.Option(help="Scorer: this package's or the official one; both give the same scores.")
    ] = "fast",
    lenient: Lenient = False,
    published: Annotated[bool, typer.Option("--published", help="Score the models' published predictions.")] = False,
    confidence: Confidence = False,
    resamples: Resamples = 1000,
    by: Annotated[Attribute | None, typer.Option(help="Report the AP for each value of this attribute.")] = None,
    as_json: Json = False,
) -> None:
    """Score predictions exactly as the official evaluation does."""
    if engine == "official" and (confidence or by or lenient):
        raise typer.BadParameter("--confidence, --by and --lenient need the engine fast")
    if published and not names:
        raise typer.BadParameter("--published needs the names of models")
    from bdd100k_zoo.api.scoring import evaluate_all
    from bdd100k_zoo.files import write_atomically

    here = get_session(context)
    found = evaluate_all(
        names or (),
        labels,
        split=split,
        data=data,
        runs=runs,
        engine=engine,
        lenient=lenient,
        published=published,
        resamples=resamples if confidence else 0,
        by=by,
        zoo=here.zoo(),
        offline=here.offline,
        progress=here.progress(),
    )
    scored = found.evaluations
    if out and len(scored) != 1:
        raise typer.BadParameter(f"--out holds the scores of one predictions file, and there are {len(scored)}")
    if out:
        write_atomically(out, scored[0].official_json(), follow_links=True)
    if as_json:
        write_json(_document(found))
    else:
        _show(found, resamples, by or "")


def _show(found: Evaluations, resamples: int, by: str) -> None:
    from bdd100k_zoo.reporting import score_tables as layout

    scored = found.evaluations
    for each in scored:
        for kind in each.accepted:
            text = f"{each.name}: {kind.count:,} {kind.kind}; first: {kind.examples[0]}"
            print_message(text, "yellow", "accepted")
    if len(scored) == 1:
        print_renderable(as_table(official_table(scored[0])))
        print_renderable("")
    rows = [layout.ScoreRow(each.name, each.to_dict(), each.published_ap) for each in scored]
    print_renderable(as_table(layout.comparison_table(rows)))
    if scored[0].intervals:
        print_renderable("")
        print_renderable(as_table(layout.interval_table({each.name: each.intervals for each in scored})))
        print_renderable(layout.intervals_note(resamples), soft_wrap=True)
    for comparison in found.comparisons:
        print_renderable(str(comparison), soft_wrap=True)
    for each in scored if by else ():
        table = layout.condition_table(
            by,
            {value: condition.scores.to_dict() for value, condition in each.conditions.items()},
            {value: condition.support for value, condition in each.conditions.items()},
        )
        print_renderable("")
        print_renderable(as_table(table, title=each.name))


def official_table(scores: Scores) -> Grid:
    """Return the official table of a predictions file, with as many decimals as fit into the terminal."""
    from bdd100k_zoo.reporting import score_tables

    digits = 2 if stdout_console().width >= WIDE_TERMINAL else 1
    return score_tables.official_table(scores.to_dict(), digits)


def as_table(grid: Grid, title: str = "") -> Table:
    """Return a grid as a table for the terminal; the line OVERALL in bold."""
    from rich.table import Table
    from rich.text import Text

    from bdd100k_zoo.display.messages import sanitize_text

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left")
    table.title = Text(sanitize_text(title)) if title else None
    for position, header in enumerate(grid.headers):
        table.add_column(header, overflow="fold", justify="left" if position == 0 else "right")
    for row in grid.rows:
        table.add_row(*(Text(sanitize_text(cell)) for cell in row), style="bold" if row[0] == "OVERALL" else "")
    return table


def _document(found: Evaluations) -> dict[str, Any]:
    comparisons = []
    for each in found.comparisons:
        low, high = each.interval or (None, None)
        comparison = {"a": each.a.name, "b": each.b.name, "difference": each.difference}
        comparisons.append({**comparison, **each.support._asdict(), "low": low, "high": high})
    return {
        "labels": str(found.evaluations[0].labels),
        "results": [_record(each) for each in found.evaluations],
        "comparisons": comparisons,
    }


def _record(each: Evaluation) -> dict[str, Any]:
    scores = each.to_dict()
    measured = scores["AP"]["OVERALL"]
    return {
        "name": each.name,
        "predictions": str(each.predictions),
        "model": each.model.name if each.model else None,
        "scores": scores,
        "published_ap": each.published_ap,
        "difference": None if measured is None or each.published_ap is None else measured - each.published_ap,
        "intervals": each.intervals,
        "conditions": {
            value: {**condition.support._asdict(), "scores": condition.scores.to_dict()}
            for value, condition in each.conditions.items()
        },
        "let_through": each.accepted,
    }
