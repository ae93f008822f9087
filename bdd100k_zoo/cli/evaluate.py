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

    from bdd100k_zoo.evaluation.evaluate import EvaluateRequest, EvaluationResult
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
    from bdd100k_zoo.evaluation import evaluate as job
    from bdd100k_zoo.evaluation.runs import find_labels_file
    from bdd100k_zoo.files import write_atomically
    from bdd100k_zoo.hub.cache import Store

    here = get_session(context)
    request = job.EvaluateRequest(
        zoo=here.zoo(),
        names=tuple(names or ()),
        split=split,
        labels=find_labels_file(labels, data, split),
        runs=runs,
        engine=engine,
        lenient=lenient,
        published=published,
        resamples=resamples if confidence else 0,
        by=by,
    )
    with Store(offline=here.offline) as store:
        found = job.evaluate(request, store, here.progress())
    if out and len(found) != 1:
        raise typer.BadParameter(f"--out holds the scores of one predictions file, and there are {len(found)}")
    if out:
        write_atomically(out, found[0].scores.official_json(), follow_links=True)
    if as_json:
        write_json(_document(request.labels, found))
    else:
        _show(found, request)


def _show(found: list[EvaluationResult], request: EvaluateRequest) -> None:
    from bdd100k_zoo.evaluation.evaluate import compare_results
    from bdd100k_zoo.reporting import score_tables as layout

    for each in found:
        for kind in each.let_through:
            text = f"{each.subject.name}: {kind.count:,} {kind.kind}; first: {kind.examples[0]}"
            print_message(text, "yellow", "accepted")
    if len(found) == 1:
        print_renderable(as_table(official_table(found[0])))
        print_renderable("")
    rows = [layout.ScoreRow(each.subject.name, each.scores.to_dict(), each.subject.published_ap) for each in found]
    print_renderable(as_table(layout.comparison_table(rows)))
    if found[0].intervals:
        print_renderable("")
        print_renderable(as_table(layout.interval_table({each.subject.name: each.intervals for each in found})))
        print_renderable(layout.intervals_note(request.resamples), soft_wrap=True)
    for comparison in compare_results(found):
        print_renderable(layout.difference_statement(*comparison), soft_wrap=True)
    for each in found if request.by else []:
        table = layout.condition_table(
            request.by or "",
            {condition.value: condition.scores.to_dict() for condition in each.conditions},
            {condition.value: condition.support for condition in each.conditions},
        )
        print_renderable("")
        print_renderable(as_table(table, title=each.subject.name))


def official_table(found: EvaluationResult) -> Grid:
    """Return the official table of a predictions file, with as many decimals as fit into the terminal."""
    from bdd100k_zoo.reporting import score_tables

    digits = 2 if stdout_console().width >= WIDE_TERMINAL else 1
    return score_tables.official_table(found.scores.to_dict(), digits)


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


def _document(labels: Path, found: list[EvaluationResult]) -> dict[str, Any]:
    from bdd100k_zoo.evaluation.evaluate import compare_results

    comparisons = []
    for first, second, each in compare_results(found):
        low, high = each.interval or (None, None)
        support = each.support._asdict()
        comparisons.append({"a": first, "b": second, "difference": each.points, **support, "low": low, "high": high})
    return {"labels": str(labels), "results": [_record(each) for each in found], "comparisons": comparisons}


def _record(each: EvaluationResult) -> dict[str, Any]:
    subject, scores = each.subject, each.scores.to_dict()
    measured, published = scores["AP"]["OVERALL"], subject.published_ap
    return {
        "name": subject.name,
        "predictions": str(subject.predictions),
        "model": subject.model.name if subject.model else None,
        "scores": scores,
        "published_ap": published,
        "difference": None if measured is None or published is None else measured - published,
        "intervals": each.intervals,
        "conditions": {
            condition.value: {**condition.support._asdict(), "scores": condition.scores.to_dict()}
            for condition in each.conditions
        },
        "let_through": each.let_through,
    }
