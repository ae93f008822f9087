"""convert, submit: files for other tools, and for the evaluation server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bdd100k_zoo.cli.options import DatasetRoot, Json, RunsFolder, get_session, path_option
from bdd100k_zoo.cli.output import (
    complete_model,
    details_table,
    explain,
    handle_errors,
    print_renderable,
    write_json,
)
from bdd100k_zoo.display.messages import sanitize_text

if TYPE_CHECKING:
    from bdd100k_zoo.data.convert import ConversionResult
    from bdd100k_zoo.evaluation.submission import Submission

AnnotationFormat = Literal["scalabel", "coco"]
TargetFormat = Literal["scalabel", "coco", "yolo", "csv"]
"""As in ``data.formats``, whose import would make `--help` slower."""

OVERWRITES = "is the file that is read, or in the folder that is read: choose another path"


@handle_errors
def convert(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="IN", help="Labels or results: a file, or a folder of files.")],
    to: Annotated[TargetFormat, typer.Option("--to", help="The format to write.")],
    out: Annotated[Path, path_option("FILE", "The file to write; an existing one is replaced.")],
    source_format: Annotated[
        AnnotationFormat | None, typer.Option("--from", help="The format of IN; default: found from its content.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For results: the labels of their images, in either format.")
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="For yolo: the images, whose sizes it needs (repeatable); default: sizes in IN or --labels, and "
            "1280x720 for names of BDD100K.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Convert labels or results between Scalabel and COCO, without loss, or to YOLO or CSV."""
    from bdd100k_zoo.api import exchange as job

    if images and to != "yolo":
        raise typer.BadParameter("--images gives the sizes of images, which only --to yolo needs")
    if job.would_overwrite(source, out):
        raise typer.BadParameter(f"--out {OVERWRITES}")
    converted = job.convert(source, out, to, source_format=source_format, labels=labels, images=images or ())
    pairs = [
        ("found", converted.found),
        ("written", f"{converted.written}: {converted.path}"),
        ("images", f"{converted.images:,}"),
        ("objects", f"{converted.objects:,}"),
    ]
    _print_result(context, converted, pairs, as_json=as_json)


@handle_errors
def submit(
    context: typer.Context,
    predictions: Annotated[
        str,
        typer.Argument(
            metavar="PREDICTIONS|RUN|MODEL",
            help="A predictions file, a folder of such files, a run's folder, or a model (its run on the split).",
            autocompletion=complete_model,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to submit.")],
    images: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="The split's images: a folder, or a text file with one name per line; "
            "default: images/100k/SPLIT below the root.",
        ),
    ] = None,
    data: DatasetRoot = None,
    split: Annotated[str, typer.Option(help="The split of the run and images.")] = "test",
    runs: RunsFolder = Path("runs"),
    clip: Annotated[bool, typer.Option("--clip", help="Clip boxes that extend beyond their image.")] = False,
    as_json: Json = False,
) -> None:
    """Validate predictions and write the file for the evaluation server; works offline."""
    from bdd100k_zoo.api import exchange as job
    from bdd100k_zoo.errors import SubmissionError

    if images is None and data is None:
        raise typer.BadParameter("give --images PATH, or --data ROOT (or BDD100K_ROOT) with images/100k")
    if job.would_overwrite(Path(predictions), out):
        raise typer.BadParameter(f"--out {OVERWRITES}")
    session = get_session(context)
    try:
        submission = job.submit(
            predictions, images, out=out, data=data, split=split, runs=runs, clip=clip, zoo=session.zoo()
        )
    except SubmissionError as error:
        if not as_json:
            raise
        message, hint = explain(error)
        problems = [problem._asdict() for problem in error.problems]
        write_json({"error": sanitize_text(message), "hint": hint, "problems": problems})
        raise typer.Exit(1) from None
    pairs = [
        ("written", submission.path),
        ("frames", f"{submission.frames:,}"),
        ("boxes", f"{submission.boxes:,}"),
        ("size", f"{submission.bytes:,} bytes"),
    ]
    _print_result(context, submission, pairs, as_json=as_json)


def _print_result(
    context: typer.Context, result: ConversionResult | Submission, pairs: list[tuple[str, str]], *, as_json: bool
) -> None:
    """Print a result as JSON, or as label and value with its notes on stderr."""
    if as_json:
        write_json(result)
        return
    print_renderable(details_table(pairs))
    for note in result.notes:
        get_session(context).note(f"note: {note}")
