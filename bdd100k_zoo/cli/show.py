"""show: predictions → pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bdd100k_zoo.cli.options import Classes, DatasetRoot, Json, RunsFolder, get_session, path_option
from bdd100k_zoo.cli.output import (
    complete_model,
    handle_errors,
    print_field,
    print_renderable,
    raise_on_sigterm,
    stdout_console,
    write_json,
)
from bdd100k_zoo.display.messages import print_message, sanitize_text
from bdd100k_zoo.errors import join_first

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.cli.options import Session
    from bdd100k_zoo.reporting.show import ShownPicture, ShowResult

ImageFormat = Literal["jpg", "png"]
Viewer = Literal["own", "scalabel"]
DEFAULT_MIN_SCORE = 0.3
"""As ``api.arguments.DEFAULT_MIN_SCORE``, which would load the registry for `--help`."""
LOSSES = ("lost", "to_false", "to_missed")
"""The AP that a frame costs: in all, by false detections, by missed objects."""


@handle_errors
def show(
    context: typer.Context,
    predictions: Annotated[
        str,
        typer.Argument(
            metavar="PREDICTIONS|RUN|MODEL",
            help="A predictions file, a run's folder, or a model (its run on the split).",
            autocompletion=complete_model,
        ),
    ],
    images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Images: folders, files, patterns, lists and videos, as for predict; default: images/100k/SPLIT below "
            "the root, or the run's own (repeatable).",
        ),
    ] = None,
    data: DatasetRoot = None,
    split: Annotated[
        str | None, typer.Option(help="The split of the run, images and labels; default: the run's own, or val.")
    ] = None,
    runs: RunsFolder = Path("runs"),
    out: Annotated[
        Path | None, path_option("DIR", "Folder for the pictures; default: pictures/ in the run's folder.")
    ] = None,
    labels: Annotated[Path | None, path_option("FILE", "Labels: mark matched, missed and false boxes.")] = None,
    min_score: Annotated[
        float, typer.Option(metavar="X", min=0, max=1, help="Leave out detections with lower scores.")
    ] = DEFAULT_MIN_SCORE,
    classes: Classes = None,
    frames: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|LIST", help="Only this frame, or those in a .txt list, one per line (repeatable)."),
    ] = None,
    top_errors: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Only the N frames that cost the most AP; needs --labels FILE or --data ROOT.",
        ),
    ] = None,
    every: Annotated[int, typer.Option(metavar="N", min=1, help="Predictions are of every Nth video frame.")] = 1,
    form: Annotated[ImageFormat, typer.Option("--format", help="Format of the pictures.")] = "jpg",
    viewer: Annotated[Viewer, typer.Option(metavar="NAME", help="own, or scalabel, the official viewer.")] = "own",
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Processes that draw; default: one per core.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Draw existing pictures again.")] = False,
    as_json: Json = False,
) -> None:
    """Draw predictions into their images; with --labels, mark how they match.

    An existing picture that would look the same is not drawn again.
    """
    if top_errors and labels is None and data is None:
        raise typer.BadParameter("--top-errors needs --labels FILE, or the dataset: --data ROOT (or BDD100K_ROOT)")
    if viewer == "scalabel" and (labels or top_errors):
        raise typer.BadParameter("--viewer scalabel draws predictions only: leave out --labels and --top-errors")
    from bdd100k_zoo.api import pictures as job

    session = get_session(context)
    with raise_on_sigterm():
        shown = job.show(
            predictions,
            images,
            out,
            data=data,
            split=split,
            runs=runs,
            labels=labels,
            min_score=min_score,
            classes=classes.indices if classes else None,
            frames=frames or (),
            top_errors=top_errors,
            every=every,
            format=form,
            viewer=viewer,
            workers=workers,
            fresh=fresh,
            zoo=session.zoo(),
            progress=session.progress(),
        )
    if as_json:
        write_json(_document(shown))
    else:
        print_picture_summary(shown.out, shown, session, min_score=min_score)
    if shown.unreadable:
        raise typer.Exit(1)


def print_picture_summary(out: Path, shown: ShowResult, session: Session, *, min_score: float) -> None:
    """Print a summary of the pictures, and warnings about frames without one."""
    existing = f", {shown.existing:,} of them already existed" if shown.existing else ""
    print_field("pictures", str(out))
    print_field("images", f"{len(shown.pictures):,}{existing}")
    print_field("boxes", f"{shown.boxes:,}")
    if any(picture.loss for picture in shown.pictures):
        _print_losses(shown.pictures)
    if shown.left_out:
        below = f"{shown.left_out:,} boxes with scores below {min_score:g}"
        session.note(f"note: {below} are left out; --min-score 0 draws all")
    if shown.unlabelled:
        session.note(f"note: frames without labels show detections only: {shown.unlabelled:,}")
    unreadable = [f"{frame} ({reason})" for frame, reason in shown.unreadable.items()]
    for label, names in (("without an image", shown.without_image), ("unreadable", unreadable)):
        if names:
            frames = "frame" if len(names) == 1 else "frames"
            print_message(join_first(names, f"{frames} {label}"), "bold yellow", "warning")


def _print_losses(pictures: Sequence[ShownPicture]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("frame", overflow="fold")
    for header in ("AP lost", "to false", "to missed"):
        table.add_column(header, justify="right", no_wrap=True)
    for frame, _, loss in pictures:
        table.add_row(Text(sanitize_text(frame)), *(f"{getattr(loss, name):.4f}" for name in LOSSES))
    print_renderable("")
    stdout_console().print(table)


def _document(shown: ShowResult) -> dict[str, Any]:
    return {
        "predictions": str(shown.predictions),
        "out": str(shown.out),
        "pictures": [
            {"frame": frame, "path": str(path), "ap": loss and {name: getattr(loss, name) for name in LOSSES}}
            for frame, path, loss in shown.pictures
        ],
        "existing": shown.existing,
        "boxes": shown.boxes,
        "left_out": shown.left_out,
        "unlabelled": shown.unlabelled,
        "without_image": shown.without_image,
        "unreadable": [{"name": name, "reason": reason} for name, reason in shown.unreadable.items()],
    }
