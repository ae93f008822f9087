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
)
from bdd100k_zoo.cli.output import (
    complete_model,
    handle_errors,
    print_message,
    print_renderable,
    stdout_console,
    write_json,
)

if TYPE_CHECKING:
    from rich.table import Table

    from bdd100k_zoo.evaluation.bootstrap import Interval, Support
    from bdd100k_zoo.evaluation.evaluate import EvaluateRequest, EvaluationResult
    from bdd100k_zoo.reporting.score_tables import Grid

Engine = Literal["fast", "official"]
Attribute = Literal["weather", "scene", "timeofday"]

WIDE_TERMINAL = 86
"""Columns that the official table needs with two digits; with fewer columns it has one digit."""


@handle_errors
def evaluate(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL|PREDICTIONS]...",
            help="Models whose runs to score, or predictions files; default: every run of the split.",
            autocompletion=complete_model,
        ),
    ] = None,
    split: Split = "val",
    data: DatasetRoot = None,
    labels: LabelFile = None,
    runs: RunsFolder = Path("runs"),
    out_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the scores of one file as the official tool does.")
    ] = None,
    engine: Annotated[Engine, typer.Option(help="fast, or the official package; both give the same.")] = "fast",
    lenient: Lenient = False,
    published: Annotated[bool, typer.Option("--published", help="Score the models' published predictions.")] = False,
    confidence: Confidence = False,
    resamples: Resamples = 1000,
    by: Annotated[Attribute | None, typer.Option(help="AP for each value of this attribute of the frames.")] = None,
    as_json: Json = False,
) -> None:
    """Score predictions exactly as the official evaluation does."""
    if engine == "official" and (confidence or by or lenient):
        raise typer.BadParameter("--confidence, --by and --lenient need the engine fast")
    if published and not names:
        raise typer.BadParameter("--published needs the names of models")
    from bdd100k_zoo.evaluation import evaluate as job
    from bdd100k_zoo.evaluation.resolve_runs import find_labels_file
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
    if out_file:
        _write_official(out_file, found)
    if as_json:
        write_json(_document(request.labels, found))
    else:
        _show(found, request)


def _write_official(path: Path, found: list[EvaluationResult]) -> None:
    from bdd100k_zoo.files import write_atomically

    if len(found) != 1:
        raise typer.BadParameter(f"--out-file holds the scores of one predictions file, and there are {len(found)}")
    write_atomically(path, found[0].scores.official_json(), follow_links=True)


def _show(found: list[EvaluationResult], request: EvaluateRequest) -> None:
    from bdd100k_zoo.evaluation.evaluate import compare_results
    from bdd100k_zoo.reporting import score_tables as layout

    for each in found:
        for kind in each.let_through:
            print_message(
                f"{each.subject.name}: {kind.count:,} {kind.kind}; first: {kind.examples[0]}", "yellow", "let through"
            )
    if len(found) == 1:
        digits = 2 if stdout_console().width >= WIDE_TERMINAL else 1
        print_renderable(as_table(layout.official_table(found[0].scores.plain(), digits)))
        print_renderable("")
    lines = [layout.ScoreRow(each.subject.name, each.scores.plain(), each.subject.published_ap) for each in found]
    print_renderable(as_table(layout.comparison_table(lines)))
    if found[0].intervals:
        print_renderable("")
        print_renderable(
            as_table(layout.interval_table({each.subject.name: each.intervals for each in found}, found[0].support))
        )
        print_renderable(layout.intervals_note(request.resamples), soft_wrap=True)
    for comparison in compare_results(found):
        print_renderable(layout.difference_statement(*comparison), soft_wrap=True)
    for each in found if request.by else []:
        tables = {value: scores.plain() for value, scores in each.conditions.items()}
        print_renderable("")
        print_renderable(
            as_table(layout.condition_table(request.by or "", tables, each.condition_support), title=each.subject.name)
        )


def as_table(grid: Grid, title: str = "") -> Table:
    """Return a grid as a table for the terminal; the line OVERALL in bold."""
    from rich.table import Table
    from rich.text import Text

    from bdd100k_zoo.cli.output import sanitize_text

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left")
    table.title = Text(sanitize_text(title)) if title else None
    for position, header in enumerate(grid.headers):
        table.add_column(header, overflow="fold", justify="left" if position == 0 else "right")
    for row in grid.rows:
        table.add_row(*(Text(sanitize_text(cell)) for cell in row), style="bold" if row[0] == "OVERALL" else "")
    return table


def _document(labels: Path, found: list[EvaluationResult]) -> dict[str, Any]:
    from bdd100k_zoo.evaluation.evaluate import compare_results

    return {
        "labels": str(labels),
        "results": [_record(each) for each in found],
        "comparisons": [
            {"a": first, "b": second, "difference": each.points, **_support_and_interval(each.support, each.interval)}
            for first, second, each in compare_results(found)
        ],
    }


def _record(each: EvaluationResult) -> dict[str, Any]:
    subject = each.subject
    scores = each.scores.plain()
    measured = scores["AP"]["OVERALL"]
    known = measured is not None and subject.published_ap is not None
    return {
        "name": subject.name,
        "predictions": str(subject.predictions),
        "model": subject.model.name if subject.model else None,
        "scores": scores,
        "published_ap": subject.published_ap,
        "difference": (measured or 0) - (subject.published_ap or 0) if known else None,
        "intervals": {
            name: _support_and_interval(each.support[name], interval) for name, interval in each.intervals.items()
        },
        "conditions": {
            value: {**each.condition_support[value]._asdict(), "scores": scores.plain()}
            for value, scores in each.conditions.items()
        },
        "let_through": each.let_through,
    }


def _support_and_interval(support: Support, interval: Interval | None) -> dict[str, Any]:
    low, high = interval or (None, None)
    return {**support._asdict(), "low": low, "high": high}
