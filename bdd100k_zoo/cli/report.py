"""report: predictions → one page with their scores, errors and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from bdd100k_zoo.cli.output import complete_model, handle_errors, print_field, write_json


@handle_errors
def report(
    context: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="PREDICTIONS|RUN|MODEL...",
            help="Predictions files, folders of runs, or models (all their runs).",
            autocompletion=complete_model,
        ),
    ],
    labels: LabelFile = None,
    data: DatasetRoot = None,
    split: Split = "val",
    runs: RunsFolder = Path("runs"),
    images: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Images: the folder of the frames; adds pictures of the worst and others."),
    ] = None,
    confidence: Confidence = False,
    resamples: Resamples = 1000,
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write the page to.")] = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="Title of the page; default: the names of the runs.")] = None,
    lenient: Lenient = False,
    as_json: Json = False,
) -> None:
    """Write a report on predictions as one HTML page: scores, curves, errors, comparison, pictures."""
    from bdd100k_zoo.api import pictures as job

    session = get_session(context)
    written = job.report(
        names,
        labels,
        data=data,
        split=split,
        runs=runs,
        images=images,
        confidence=confidence,
        resamples=resamples,
        out=out,
        title=title,
        lenient=lenient,
        zoo=session.zoo(),
        progress=session.progress(),
    )
    if as_json:
        runs_found = [
            {
                "name": run.name,
                "predictions": run.predictions.path,
                "ap": run.ap if run.ap == run.ap else None,  # NaN is not equal to itself, and JSON has none
                "interval": run.interval,
            }
            for run in written.report.runs
        ]
        write_json({"report": str(written.path), "bytes": written.size, "runs": runs_found})
        return
    for each in written.report.runs:
        print_field("AP", f"{each.ap:.2f} {each.name}")
    print_field("report", f"{written.path} ({written.size:,} bytes)")
