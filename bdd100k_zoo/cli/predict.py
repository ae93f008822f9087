"""predict: images → predictions file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bdd100k_zoo.cli.catalog import Json, ModelName
from bdd100k_zoo.cli.console import guarded, session, show, write_json

if TYPE_CHECKING:
    from bdd100k_zoo.records.run import RunRecord

Split = Literal["val", "test"]


@guarded
def predict(
    context: typer.Context,
    model: ModelName,
    more: Annotated[list[str] | None, typer.Argument(metavar="[PATH]...", help="More images, after --images.")] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Images: folders (with all below), files, quoted patterns (repeatable)."),
    ] = None,
    split: Annotated[Split | None, typer.Option(help="The images of this split of the dataset instead.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="ROOT", envvar="BDD100K_ROOT", help="Root of the dataset, for --split."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A checkpoint instead of the published one.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the run; default: runs/MODEL/images-NAME or …/SPLIT."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Exit with 0 although images could not be read.")
    ] = False,
    cfg_options: Annotated[
        list[str] | None,
        typer.Option("--cfg-options", metavar="KEY=VALUE...", help="Override settings of the model's config."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Detect objects in images and write det.json and run.json."""
    paths = [*(images or ()), *(more or ())]
    if bool(paths) == bool(split) or (more and not images):
        raise typer.BadParameter("give either --images PATH or --split val|test")
    if split and data is None:
        raise typer.BadParameter("--split needs --data ROOT (or BDD100K_ROOT): the folder that holds images/100k")
    from bdd100k_zoo.artifacts.store import Store
    from bdd100k_zoo.inference.overrides import parse_overrides
    from bdd100k_zoo.workflows import predict as job

    here = session(context)
    found = here.zoo()[model]
    chosen = (job.split_images(data, split),) if split and data else tuple(paths)
    request = job.Request(
        model=found,
        images=chosen,
        out=out or job.default_folder(found, chosen, split),
        split=split,
        weights=weights,
        device=device,
        cfg_options=parse_overrides(cfg_options or []),
    )
    record = job.predict(request, Store(offline=here.offline), here.progress())
    if as_json:
        write_json(record)
    else:
        _show_run(request.out, record)
    if record.counts.unreadable and not skip_unreadable:
        raise typer.Exit(1)


def _show_run(folder: Path, record: RunRecord) -> None:
    from bdd100k_zoo.cli.console import details, say
    from bdd100k_zoo.cli.progress import rate

    counts, seconds = record.counts, record.seconds
    done = counts.images - counts.unreadable
    pairs = [
        ("predictions", folder / "det.json"),
        ("record", folder / "run.json"),
        (
            "images",
            f"{counts.images:,}" + (f", {counts.unreadable:,} of them unreadable" if counts.unreadable else ""),
        ),
        ("boxes", f"{counts.detections:,}"),
        ("speed", f"{rate(done / seconds.detect if seconds.detect else None)} on {record.device}"),
    ]
    show(details([(label, str(value)) for label, value in pairs]))
    if counts.unreadable:
        names = ", ".join(image.name for image in record.unreadable[:3])
        more = f" and {counts.unreadable - 3} more" if counts.unreadable > 3 else ""
        say(f"{counts.unreadable} unreadable: {names}{more}; they have empty frames", "bold yellow", "warning")
