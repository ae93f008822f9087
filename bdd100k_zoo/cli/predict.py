"""predict: images → predictions file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bdd100k_zoo.cli.catalog import Json, ModelName
from bdd100k_zoo.cli.console import guarded, show_whole, write_json
from bdd100k_zoo.cli.session import session

if TYPE_CHECKING:
    from bdd100k_zoo.records.run import RunRecord

Split = Literal["val", "test"]


def _named_path(value: str) -> Path:
    """Refuse the empty text that an unset variable of the shell leaves: as a path it would mean this folder."""
    if not value:
        raise typer.BadParameter("is empty; is a variable of the shell unset?")
    return Path(value)


@guarded
def predict(
    context: typer.Context,
    model: ModelName,
    more: Annotated[list[str] | None, typer.Argument(metavar="[PATH]...", help="More images, after --images.")] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Images: folders (with all below), files, videos, quoted patterns, .txt lists of paths, or - for a "
            "list on standard input (repeatable).",
        ),
    ] = None,
    every: Annotated[int, typer.Option(metavar="N", min=1, help="Of videos, take every Nth frame.")] = 1,
    split: Annotated[Split | None, typer.Option(help="The images of this split of the dataset instead.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="ROOT", parser=_named_path, envvar="BDD100K_ROOT", help="Root of the dataset, for --split."
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", parser=_named_path, help="A checkpoint instead of the published one.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", parser=_named_path, help="Folder of the run; default: runs/MODEL/images-NAME or …/SPLIT."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Exit with 0 although images could not be read.")
    ] = False,
    cfg_options: Annotated[
        list[str] | None,
        typer.Option("--cfg-options", metavar="KEY=VALUE...", help="Override settings of the model's config."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace the run that stands in its folder.")] = False,
    as_json: Json = False,
) -> None:
    """Detect objects in images and write det.json and run.json."""
    paths = [*(images or ()), *(more or ())]
    if "" in paths:
        raise typer.BadParameter("--images is empty; is a variable of the shell unset?")
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
        every=every,
        out=out,
        split=split,
        weights=weights,
        device=device,
        cfg_options=parse_overrides(cfg_options or []),
        fresh=fresh,
    )
    record = job.predict(request, Store(offline=here.offline), here.progress())
    if as_json:
        write_json(record)
    else:
        _show_run(request.folder, record)
    if record.counts.unreadable and not skip_unreadable:
        raise typer.Exit(1)


def _show_run(folder: Path, record: RunRecord) -> None:
    from bdd100k_zoo.cli.bars import rate
    from bdd100k_zoo.cli.console import say

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
    for label, value in pairs:
        show_whole(label, str(value))
    if counts.unreadable:
        names = ", ".join(image.name for image in record.unreadable[:3])
        more = f" and {counts.unreadable - 3} more" if counts.unreadable > 3 else ""
        say(f"{counts.unreadable} unreadable: {names}{more}; they have empty frames", "bold yellow", "warning")
