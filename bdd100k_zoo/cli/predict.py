"""predict: images → predictions file."""

from __future__ import annotations

import os
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bdd100k_zoo.cli.options import (
    Backend,
    BatchSize,
    Classes,
    ConfigOptions,
    Device,
    Gpus,
    Json,
    Launcher,
    ModelName,
    Precision,
    Workers,
    get_session,
    path_option,
)
from bdd100k_zoo.cli.output import (
    handle_errors,
    print_field,
    print_renderable,
    raise_on_sigterm,
    translate_signal_exits,
    write_json,
)
from bdd100k_zoo.display.messages import sanitize_text

if TYPE_CHECKING:
    from bdd100k_zoo.api.prediction import Run
    from bdd100k_zoo.cli.options import Session
    from bdd100k_zoo.progress import Progress

Split = Literal["val", "test"]


class ExportFormat(str, Enum):  # Typer takes no list of literals
    """The formats that predictions can be written in beside det.json."""

    COCO = "coco"
    YOLO = "yolo"
    CSV = "csv"


RUN_FILE = "run.json"
MAX_IMAGES_IN_TABLE = 4
"""For so few images, the boxes themselves are printed."""


@handle_errors
def predict(
    context: typer.Context,
    model: ModelName,
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMAGES]...",
            help="Folders (searched recursively), files, videos, quoted patterns, .txt lists of paths, or - for a list "
            "on standard input.",
        ),
    ] = None,
    images: Annotated[list[str] | None, typer.Option(metavar="PATH", help="Images, as an option (repeatable).")] = None,
    every: Annotated[int, typer.Option(metavar="N", min=1, help="Of videos, take every Nth frame.")] = 1,
    split: Annotated[Split | None, typer.Option(help="Instead: the images of this split of the dataset.")] = None,
    data: Annotated[Path | None, path_option("ROOT", "Root of the dataset, for --split.", "BDD100K_ROOT")] = None,
    weights: Annotated[Path | None, path_option("FILE", "A checkpoint to use instead of the published one.")] = None,
    out: Annotated[
        Path | None, path_option("DIR", "Folder of the run; default: runs/MODEL/images-NAME or runs/MODEL/SPLIT.")
    ] = None,
    form: Annotated[
        list[ExportFormat] | None,
        typer.Option("--format", help="Also write this format beside det.json (repeatable)."),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(metavar="X", min=0, max=1, help="Leave out detections with lower scores.")
    ] = None,
    classes: Classes = None,
    max_per_image: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Keep the N detections of an image with the highest scores.")
    ] = None,
    device: Device = "auto",
    gpus: Gpus = None,
    launcher: Launcher = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
    precision: Precision = "auto",
    backend: Backend = "auto",
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Exit with 0 although images could not be read.")
    ] = False,
    cfg_options: ConfigOptions = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, and replace the run in its folder.")] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="Compute nothing; merge the journals in the run's folder.")
    ] = False,
    draw: Annotated[
        bool, typer.Option("--show", help="Then draw the detections into pictures/ in the run's folder.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Detect objects in images and write det.json and run.json.

    A run that is interrupted keeps what is done; the same command resumes it.
    """
    here = get_session(context)
    zoo = here.zoo()
    if model not in zoo and os.path.exists(model):  # noqa: PTH110  (a name may be no path)
        raise typer.BadParameter(f"name a model before the images: `predict MODEL {model}`; `list` shows all models")
    found = zoo[model]
    paths = [*(images or ()), *(given or ())]
    if "" in paths:
        raise typer.BadParameter("the path of the images is empty; is a variable of the shell unset?")
    if bool(paths) == bool(split):
        raise typer.BadParameter(f"give either images, as in `predict {model} frames/`, or --split val|test")
    if split and data is None:
        raise typer.BadParameter("--split needs --data ROOT (or BDD100K_ROOT): the folder that holds images/100k")
    if merge and (fresh or gpus):
        raise typer.BadParameter("--merge computes nothing: use it without --fresh and --gpus")
    if draw and "-" in paths:
        raise typer.BadParameter("--show reads the images again: name a list's file instead of -")
    if gpus and "-" in paths:
        raise typer.BadParameter("--gpus starts processes that each read the list: name its file instead of -")
    from bdd100k_zoo.api import prediction as job
    from bdd100k_zoo.prediction.launch import read_command
    from bdd100k_zoo.registry.overrides import parse_overrides

    command = read_command(sys.argv[1:], os.environ, launcher, gpus)
    world = command.place.world
    if world > 1 and not command.started and fresh:
        raise typer.BadParameter(
            f"--fresh: none of the {world} processes knows what the others have just written; "
            "give another --out, or remove the run's folder first"
        )
    if world > 1 and command.starts_processes:
        raise typer.BadParameter(f"--gpus starts processes itself, and this is one of {world} already")
    progress = here.progress(live=world == 1)
    with raise_on_sigterm(), translate_signal_exits(hushed=command.started is not None):
        run = job.predict(
            found,
            paths,
            every=every,
            split=split,
            data=data,
            weights=weights,
            out=out,
            device=device,
            batch_size=batch_size,
            workers=workers,
            precision=precision,
            backend=backend,
            min_score=min_score,
            classes=classes.indices if classes else None,
            max_per_image=max_per_image,
            format=[each.value for each in form or ()],
            cfg_options=parse_overrides(cfg_options or []),
            fresh=fresh,
            merge=merge,
            offline=here.offline,
            progress=progress,
            command=command,
        )
    if not run.complete:  # another process reports for all
        return
    if as_json:
        paths_written = {"predictions": str(run.predictions), "record": str(run.folder / RUN_FILE)}
        write_json({**paths_written, "exports": run.exports, **run.record.flat()})
    else:
        _show_run(run)
    if draw:
        _draw(run, paths, here, progress, as_json=as_json)
    if run.record.counts.unreadable and not skip_unreadable:
        raise typer.Exit(1)


def _draw(run: Run, images: list[str], here: Session, progress: Progress, *, as_json: bool) -> None:
    from bdd100k_zoo.api import pictures as job
    from bdd100k_zoo.api.arguments import DEFAULT_MIN_SCORE
    from bdd100k_zoo.cli.show import print_picture_summary

    out, request = run.folder / "pictures", run.record.request
    with raise_on_sigterm():
        shown = job.show(run, images or request.image_roots, out, every=request.every, workers=None, progress=progress)
    if not as_json:
        print_picture_summary(out, shown, here, min_score=DEFAULT_MIN_SCORE)


def _show_boxes(run: Run) -> None:
    """Print the boxes of each image as a table, without the many that are mere guesses."""
    from rich.table import Table
    from rich.text import Text

    from bdd100k_zoo.api.arguments import DEFAULT_MIN_SCORE

    chosen = run.record.request.min_score
    least = DEFAULT_MIN_SCORE if chosen is None else chosen
    for name, detections in run.frames():
        shown = detections.filter(min_score=least)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for header in ("class", "score", "x1", "y1", "x2", "y2"):
            table.add_column(header, justify="left" if header == "class" else "right")
        for each in sorted(shown, key=lambda found: -found.score):
            table.add_row(each.name, f"{each.score:.2f}", *(f"{side:.1f}" for side in each.box))
        lower = len(detections) - len(shown)
        rest = f", and {lower:,} with scores below {least:g}" if lower else ""
        boxes = "1 box" if len(shown) == 1 else f"{len(shown):,} boxes"
        print_renderable(Text(f"{sanitize_text(name)}: {boxes}{rest}", "bold"), soft_wrap=True)
        if len(shown):
            print_renderable(table)
        print_renderable("")


def _show_run(run: Run) -> None:
    from bdd100k_zoo.display.bars import format_rate
    from bdd100k_zoo.display.messages import print_message
    from bdd100k_zoo.errors import join_first

    record = run.record
    counts, seconds, device = record.counts, record.seconds, record.facts.device
    if record.processes > 1:
        device = f"{device.partition(':')[0]}, in each of {record.processes} processes"
    rate = format_rate((counts.images - counts.unreadable) / seconds.detect if seconds.detect else None)
    unreadable = f", {counts.unreadable:,} of them unreadable" if counts.unreadable else ""
    if counts.images <= MAX_IMAGES_IN_TABLE:
        _show_boxes(run)
    print_field("predictions", str(run.predictions))
    print_field("record", str(run.folder / RUN_FILE))
    for name, path in run.exports.items():
        print_field(name, str(path))
    print_field("images", f"{counts.images:,}{unreadable}")
    print_field("boxes", f"{counts.detections:,}")
    print_field("speed", f"{rate} on {device}")
    if counts.unreadable:
        names = join_first([image.name for image in record.unreadable], "unreadable")
        print_message(f"{names}; they have empty frames", "bold yellow", "warning")
