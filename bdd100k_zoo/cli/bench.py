"""bench: how fast a model is on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bdd100k_zoo.cli.catalog import Json, ModelName
from bdd100k_zoo.cli.console import guarded, show_whole, write_json
from bdd100k_zoo.cli.predict import Precision
from bdd100k_zoo.cli.session import session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bdd100k_zoo.records.speeds import Speed


@guarded
def bench(
    context: typer.Context,
    model: ModelName,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    images: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Images in each of the rounds; default: 2 on the CPU, 8 batches on a GPU."
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Images at once; default: what suits the device, 1 on the CPU."),
    ] = None,
    precision: Annotated[
        Precision, typer.Option(metavar="NAME", help="How the network computes: fp32 (auto), tf32, fp16 or bf16.")
    ] = "auto",
    against_mmdet: Annotated[
        bool, typer.Option("--against-mmdet", help="Measure mmdet's own one-image loop in turns, and the ratio.")
    ] = False,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append the result to FILE, which `table --speed` shows.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure the speed of a model on this machine, with drawn frames and random weights."""
    from bdd100k_zoo.records.speeds import add_speed
    from bdd100k_zoo.workflows import bench as job

    here = session(context)
    request = job.Request(
        model=here.zoo()[model],
        device=device,
        images=images,
        batch_size=batch_size,
        precision=precision,
        against_stock=against_mmdet,
    )
    speed = job.bench(request, here.progress())
    if record:
        add_speed(record, speed)
    if as_json:
        write_json(speed)
        return
    for label, value in _lines(speed):
        show_whole(label, value)


def _lines(speed: Speed) -> Iterator[tuple[str, str]]:
    from bdd100k_zoo.cli.bars import rate

    rounds = f"{len(speed.rates)} rounds of {speed.images} image{'' if speed.images == 1 else 's'}"
    yield "speed", f"{rate(speed.images_per_second)} ({_spread(speed.rates)} in {rounds})"
    if against := speed.against:
        spread = _spread(against.rates)
        yield "mmdet", f"{rate(against.images_per_second)} ({spread}), its own loop, one by one"
        yield "ratio", f"{against.ratio:.2f} times as fast ({min(against.ratios):.2f} to {max(against.ratios):.2f})"
    stages = ", ".join(f"{stage} {_time(seconds)}" for stage, seconds in speed.seconds.items())
    yield "an image", f"{stages}; the device is busy {speed.busy:.0%} of the time"
    threads = f", {speed.machine.threads} threads" if speed.machine.threads else ""
    yield "device", f"{speed.device}, {speed.device_name}{threads}, {speed.precision}, batches of {speed.batch_size}"
    yield "versions", ", ".join(f"{name} {version}" for name, version in speed.versions.items())


def _spread(rates: Sequence[float]) -> str:
    from bdd100k_zoo.cli.bars import rate

    return f"{rate(min(rates))} to {rate(max(rates))}"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"
