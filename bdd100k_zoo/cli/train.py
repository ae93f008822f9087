"""train: images and labels → a model."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bdd100k_zoo.cli.arguments import ConfigOptions, Device, Gpus, Launcher, Precision, named_path
from bdd100k_zoo.cli.catalog import Json, ModelName
from bdd100k_zoo.cli.console import guarded, show_whole, write_json
from bdd100k_zoo.cli.session import session
from bdd100k_zoo.cli.signals import asking, ended_by_signals

if TYPE_CHECKING:
    from bdd100k_zoo.records.training import TrainingRecord


@guarded
def train(
    context: typer.Context,
    model: ModelName,
    data: Annotated[
        Path,
        typer.Option(
            metavar="ROOT",
            parser=named_path,
            envvar="BDD100K_ROOT",
            help="Root of the dataset: images/100k/{train,val}, labels/det_20/det_{train,val}.json.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", parser=named_path, help="The folder; default: runs/MODEL/train.")
    ] = None,
    pretrained: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", parser=named_path, help="What the backbone starts from; default: as the recipe says."
        ),
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Let the backbone start from random values.")
    ] = False,
    epochs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Another length than the recipe's; its steps move along.")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Images at once in each process; the learning rate follows."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="What all chance is drawn from.")] = 0,
    device: Device = "auto",
    gpus: Gpus = None,
    launcher: Launcher = None,
    precision: Precision = "auto",
    workers: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Processes that read images ahead, for each process.")
    ] = None,
    cfg_options: ConfigOptions = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Fail if there is no checkpoint to go on from; else one is used anyway.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over, and replace the training that stands in its folder.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a model by its recipe, and score it on val after each epoch.

    A training that is cut short is kept: the same command resumes from its last checkpoint.
    """
    if pretrained and from_scratch:
        raise typer.BadParameter("give either --pretrained FILE or --from-scratch")
    if resume and fresh:
        raise typer.BadParameter("give either --resume or --fresh")
    from bdd100k_zoo.artifacts.store import Store
    from bdd100k_zoo.inference.launch import place_of, started_by
    from bdd100k_zoo.inference.overrides import parse_overrides
    from bdd100k_zoo.workflows import train as job
    from bdd100k_zoo.workflows.stopping import Stop

    here = session(context)
    started = started_by(os.environ) is not None
    place = place_of(os.environ, launcher)
    if place.world > 1 and not started and (fresh or gpus):
        raise typer.BadParameter("--fresh and --gpus are for a command that nothing has started as one of several")
    request = job.Request(
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
        command=_going_on(sys.argv[1:]),
    )
    store, progress, stop = Store(offline=here.offline), here.progress(live=place.world == 1), Stop()
    with asking(stop), ended_by_signals(hushed=started and place.rank > 0):
        if gpus and not started:
            record = job.train_by_many(request, gpus.number, sys.argv[1:], store, progress)
        else:
            record = job.train(request, store, progress, stop)
    if record is None or started:
        return
    if as_json:
        write_json(record)
    else:
        _show(request.folder, record)


def _going_on(arguments: list[str]) -> str:
    """Give the command that goes on with what a command has begun."""
    return shlex.join(["bdd100k-zoo", *(each for each in arguments if each != "--fresh")])


def _show(folder: Path, record: TrainingRecord) -> None:
    best = next((each for each in record.epochs if each.epoch == record.best_epoch), None)
    last = record.epochs[-1] if record.epochs else None
    show_whole("weights", str(folder / "weights.pth"))
    if best and best.ap is not None:
        show_whole("best", f"{folder / 'best.pth'}: AP {best.ap:.2f} after epoch {best.epoch}")
    if last and last.ap is not None:
        show_whole("last", f"AP {last.ap:.2f}, loss {last.loss:.4f} after epoch {last.epoch}")
    show_whole("record", str(folder / "train.json"))
    if (folder / "curve.png").exists():
        show_whole("curve", str(folder / "curve.png"))
