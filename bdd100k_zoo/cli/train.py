"""train: images and labels → a model."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bdd100k_zoo.cli.options import (
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
from bdd100k_zoo.cli.output import handle_errors, print_field, stop_on_signals, translate_signal_exits, write_json

if TYPE_CHECKING:
    from bdd100k_zoo.training.record import TrainingRecord


@handle_errors
def train(
    context: typer.Context,
    model: ModelName,
    data: Annotated[
        Path,
        path_option(
            "ROOT", "Root of the dataset: images/100k/{train,val}, labels/det_20/det_{train,val}.json.", "BDD100K_ROOT"
        ),
    ],
    out: Annotated[Path | None, path_option("DIR", "Folder of the training; default: runs/MODEL/train.")] = None,
    pretrained: Annotated[
        Path | None, path_option("FILE", "Weights that the backbone starts from; default: those of the recipe.")
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Start the backbone from random values.")
    ] = False,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Length; default: the recipe's. It scales the schedule."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Images per batch in each process; it scales the learning rate."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Random seed.")] = 0,
    device: Device = "auto",
    gpus: Gpus = None,
    launcher: Launcher = None,
    precision: Precision = "auto",
    workers: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Processes that read images ahead, for each process.")
    ] = None,
    cfg_options: ConfigOptions = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Fail if there is no checkpoint; one that exists is resumed in any case.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, and replace the training in its folder.")] = False,
    as_json: Json = False,
) -> None:
    """Train a model by its recipe, and score it on val after each epoch.

    A training that is interrupted keeps its last checkpoint; the same command resumes from it.
    """
    if pretrained and from_scratch:
        raise typer.BadParameter("give either --pretrained FILE or --from-scratch")
    if resume and fresh:
        raise typer.BadParameter("give either --resume or --fresh")
    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.prediction.launch import read_launch_info, read_process_rank
    from bdd100k_zoo.registry.overrides import parse_overrides
    from bdd100k_zoo.training import train as job
    from bdd100k_zoo.training.job import GracefulStop

    here = get_session(context)
    started = read_launch_info(os.environ)
    place = read_process_rank(os.environ, launcher)
    if place.world > 1 and not started and (fresh or gpus):
        raise typer.BadParameter("--fresh and --gpus are not for one of several processes that a launcher started")
    request = job.TrainRequest(
        model=here.zoo()[model],
        data=data,
        out=out,
        epochs=epochs,
        batch_size=batch_size,
        workers=workers,
        seed=seed,
        device=device,
        precision=precision,
        pretrained=pretrained,
        from_scratch=from_scratch,
        cfg_options=parse_overrides(cfg_options or []),
        resume=resume and not started,
        fresh=fresh and not started,
        place=place,
        started=started,
        command=shlex.join(["bdd100k-zoo", *(each for each in sys.argv[1:] if each != "--fresh")]),
    )
    store, progress, stop = Store(offline=here.offline), here.progress(live=place.world == 1), GracefulStop()
    with stop_on_signals(stop), translate_signal_exits(hushed=started is not None and place.rank > 0):
        if gpus and not started:
            record = job.train_in_processes(request, gpus.number, sys.argv[1:], store, progress)
        else:
            record = job.train(request, store, progress, stop)
    if record is None or started:
        return
    if as_json:
        write_json(record)
    else:
        _show(request.folder, record)


def _show(folder: Path, record: TrainingRecord) -> None:
    best = next((each for each in record.epochs if each.epoch == record.best_epoch), None)
    last = record.epochs[-1] if record.epochs else None
    print_field("weights", str(folder / "weights.pth"))
    if best and best.ap is not None:
        print_field("best", f"{folder / 'best.pth'}: AP {best.ap:.2f} after epoch {best.epoch}")
    if last and last.ap is not None:
        print_field("last", f"AP {last.ap:.2f}, loss {last.loss:.4f} after epoch {last.epoch}")
    print_field("record", str(folder / "train.json"))
    if (folder / "curve.png").exists():
        print_field("curve", str(folder / "curve.png"))
