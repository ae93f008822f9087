"""predict: images → predictions file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bdd100k_zoo.cli.options import (
    Backend,
    BatchSize,
    ConfigOptions,
    Device,
    Gpus,
    Json,
    Launcher,
    ModelName,
    Precision,
    get_session,
    path_option,
)
from bdd100k_zoo.cli.output import handle_errors, print_field, raise_on_sigterm, translate_signal_exits, write_json

if TYPE_CHECKING:
    from bdd100k_zoo.cli.options import Session
    from bdd100k_zoo.prediction.predict import PredictRequest
    from bdd100k_zoo.prediction.run import RunRecord
    from bdd100k_zoo.progress import Progress

Split = Literal["val", "test"]


@handle_errors
def predict(
    context: typer.Context,
    model: ModelName,
    more: Annotated[list[str] | None, typer.Argument(metavar="[PATH]...", help="More images, after --images.")] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Images: folders (searched recursively), files, videos, quoted patterns, .txt lists of paths, or "
            "- for a list on standard input (repeatable).",
        ),
    ] = None,
    every: Annotated[int, typer.Option(metavar="N", min=1, help="Of videos, take every Nth frame.")] = 1,
    split: Annotated[Split | None, typer.Option(help="Instead: the images of this split of the dataset.")] = None,
    data: Annotated[Path | None, path_option("ROOT", "Root of the dataset, for --split.", "BDD100K_ROOT")] = None,
    weights: Annotated[Path | None, path_option("FILE", "A checkpoint to use instead of the published one.")] = None,
    out: Annotated[
        Path | None, path_option("DIR", "Folder of the run; default: runs/MODEL/images-NAME or …/SPLIT.")
    ] = None,
    device: Device = "auto",
    gpus: Gpus = None,
    launcher: Launcher = None,
    batch_size: BatchSize = None,
    workers: Annotated[int | None, typer.Option(min=1, metavar="N", help="Threads that read images ahead.")] = None,
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
    paths = [*(images or ()), *(more or ())]
    if "" in paths:
        raise typer.BadParameter("--images is empty; is a variable of the shell unset?")
    if bool(paths) == bool(split) or (more and not images):
        raise typer.BadParameter("give either --images PATH or --split val|test")
    if split and data is None:
        raise typer.BadParameter("--split needs --data ROOT (or BDD100K_ROOT): the folder that holds images/100k")
    if merge and (fresh or gpus):
        raise typer.BadParameter("--merge computes nothing: use it without --fresh and --gpus")
    if draw and "-" in paths:
        raise typer.BadParameter("--show reads the images again: name a list's file instead of -")
    if gpus and "-" in paths:
        raise typer.BadParameter("--gpus starts processes that each read the list: name its file instead of -")
    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.prediction import predict as job
    from bdd100k_zoo.prediction.launch import read_launch_info, read_process_rank
    from bdd100k_zoo.registry.overrides import parse_overrides

    here = get_session(context)
    found = here.zoo()[model]
    started = read_launch_info(os.environ)
    place = read_process_rank(os.environ, launcher)
    if place.world > 1 and not started and fresh:
        raise typer.BadParameter(
            f"--fresh: none of the {place.world} processes knows what the others have just written; "
            "give another --out, or remove the run's folder first"
        )
    if place.world > 1 and not started and gpus:
        raise typer.BadParameter(f"--gpus starts processes itself, and this is one of {place.world} already")
    request = job.PredictRequest(
        model=found,
        images=(job.split_image_folder(data, split),) if split and data else tuple(paths),
        every=every,
        out=out,
        split=split,
        weights=weights,
        device=device,
        precision=precision,
        backend=backend,
        batch_size=batch_size,
        workers=workers,
        cfg_options=parse_overrides(cfg_options or []),
        fresh=fresh and not started,
        place=place,
        started=started,
    )
    store, progress = Store(offline=here.offline), here.progress(live=place.world == 1)
    with raise_on_sigterm(), translate_signal_exits(hushed=started is not None):
        if merge:
            record = job.merge_run(request, store, progress)
        elif gpus and not started:
            record = job.predict_in_processes(request, gpus.number, sys.argv[1:], store, progress)
        else:
            record = job.predict(request, store, progress)
    if record is None or started:  # another process reports for all
        return
    if as_json:
        write_json(record.flat())
    else:
        _show_run(request.folder, record)
    if draw:
        _draw(request, here, progress, as_json=as_json)
    if record.counts.unreadable and not skip_unreadable:
        raise typer.Exit(1)


def _draw(request: PredictRequest, here: Session, progress: Progress, *, as_json: bool) -> None:
    from bdd100k_zoo.api import pictures as job
    from bdd100k_zoo.api.arguments import DEFAULT_MIN_SCORE
    from bdd100k_zoo.cli.show import print_picture_summary

    out = request.folder / "pictures"
    with raise_on_sigterm():
        shown = job.show(request.folder, request.images, out, every=request.every, workers=None, progress=progress)
    if not as_json:
        print_picture_summary(out, shown, here, min_score=DEFAULT_MIN_SCORE)


def _show_run(folder: Path, record: RunRecord) -> None:
    from bdd100k_zoo.display.bars import format_rate
    from bdd100k_zoo.display.messages import print_message
    from bdd100k_zoo.errors import join_first

    counts, seconds, device = record.counts, record.seconds, record.facts.device
    if record.processes > 1:
        device = f"{device.partition(':')[0]}, in each of {record.processes} processes"
    rate = format_rate((counts.images - counts.unreadable) / seconds.detect if seconds.detect else None)
    unreadable = f", {counts.unreadable:,} of them unreadable" if counts.unreadable else ""
    print_field("predictions", str(folder / "det.json"))
    print_field("record", str(folder / "run.json"))
    print_field("images", f"{counts.images:,}{unreadable}")
    print_field("boxes", f"{counts.detections:,}")
    print_field("speed", f"{rate} on {device}")
    if counts.unreadable:
        names = join_first([image.name for image in record.unreadable], "unreadable")
        print_message(f"{names}; they have empty frames", "bold yellow", "warning")
