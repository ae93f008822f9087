"""train: images and labels → a model."""

from __future__ import annotations

import os
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
from bdd100k_zoo.cli.output import handle_errors, print_field, translate_signal_exits, write_json

if TYPE_CHECKING:
    from bdd100k_zoo.api.training import Training


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
    from bdd100k_zoo.api import training as job
    from bdd100k_zoo.prediction.launch import read_command
    from bdd100k_zoo.registry.overrides import parse_overrides

    here = get_session(context)
    command = read_command(sys.argv[1:], os.environ, launcher, gpus)
    if command.place.world > 1 and not command.started and (fresh or gpus):
        raise typer.BadParameter("--fresh and --gpus are not for one of several processes that a launcher started")
    with translate_signal_exits(hushed=command.started is not None and command.place.rank > 0):
        training = job.train(
            here.zoo()[model],
            data,
            out=out,
            pretrained=pretrained,
            from_scratch=from_scratch,
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            device=device,
            precision=precision,
            workers=workers,
            cfg_options=parse_overrides(cfg_options or []),
            resume=resume,
            fresh=fresh,
            offline=here.offline,
            progress=here.progress(live=command.place.world == 1),
            command=command,
        )
    if not training.complete:
        return
    if as_json:
        write_json(training.record)
    else:
        _show(training)


def _show(training: Training) -> None:
    folder, record = training.folder, training.record
    best = next((each for each in record.epochs if each.epoch == record.best_epoch), None)
    last = record.epochs[-1] if record.epochs else None
    print_field("weights", str(training.weights))
    if best and best.ap is not None:
        print_field("best", f"{folder / 'best.pth'}: AP {best.ap:.2f} after epoch {best.epoch}")
    if last and last.ap is not None:
        print_field("last", f"AP {last.ap:.2f}, loss {last.loss:.4f} after epoch {last.epoch}")
    print_field("record", str(folder / "train.json"))
    if (folder / "curve.png").exists():
        print_field("curve", str(folder / "curve.png"))
