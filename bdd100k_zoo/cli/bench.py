"""bench: how fast a model is on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bdd100k_zoo.cli.options import BatchSize, Device, Json, ModelName, Precision, get_session, path_option
from bdd100k_zoo.cli.output import details_table, handle_errors, print_renderable, raise_on_sigterm, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bdd100k_zoo.prediction.speeds import Speed, StockBaseline


@handle_errors
def bench(
    context: typer.Context,
    model: ModelName,
    device: Device = "auto",
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="How many images per round; default: 2 on the CPU, 64 or more on a GPU."),
    ] = None,
    batch_size: BatchSize = None,
    precision: Precision = "auto",
    against_mmdet: Annotated[
        bool, typer.Option("--against-mmdet", help="Also measure mmdet's own test loop, and the ratio.")
    ] = False,
    out: Annotated[Path | None, path_option("FILE", "Append the result to FILE, for `table --speed`.")] = None,
    as_json: Json = False,
) -> None:
    """Measure the speed of a model on this machine, with random weights on synthetic frames."""
    from bdd100k_zoo.benchmark.bench import run_bench
    from bdd100k_zoo.prediction.speeds import add_speed, check_speed_file

    here = get_session(context)
    if out:
        check_speed_file(out)
    with raise_on_sigterm():
        speed = run_bench(
            here.zoo()[model],
            here.progress(),
            device=device,
            images=limit,
            batch_size=batch_size,
            precision=precision,
            against_stock=against_mmdet,
        )
    if out:
        add_speed(out, speed)
    if as_json:
        write_json(speed)
        return
    print_renderable(details_table(list(_lines(speed))))


def _lines(speed: Speed) -> Iterator[tuple[str, str]]:
    yield "speed", f"{_spread(speed)}, in {len(speed.rates)} rounds of {_many(speed.images, 'image')}"
    if against := speed.against:
        yield "mmdet", f"{_spread(against)}; its own test loop, one image at a time"
        yield "ratio", f"{against.ratio:.2f} times as fast ({min(against.ratios):.2f} to {max(against.ratios):.2f})"
    if speed.tf32_ratio:
        yield "tf32", f"{speed.tf32_ratio:.2f} times as fast with --precision tf32, whose boxes differ slightly"
    yield "an image", ", ".join(f"{stage} {_time(seconds)}" for stage, seconds in speed.seconds.items())
    yield "busy", f"the device computes {speed.busy:.0%} of the time"
    threads = f", {_many(speed.machine.threads, 'thread')}" if speed.machine.threads else ""
    yield "device", f"{speed.device}, {speed.device_name}{threads}, {speed.precision}, batches of {speed.batch_size}"
    yield "versions", ", ".join(f"{name} {version}" for name, version in speed.versions.items())


def _spread(measured: Speed | StockBaseline) -> str:
    """Format the median rate with the slowest and the fastest round."""
    from bdd100k_zoo.display.bars import format_rate

    least, most = format_rate(min(measured.rates)), format_rate(max(measured.rates))
    number, _, unit = least.partition(" ")
    return f"{format_rate(measured.images_per_second)} ({number if most.endswith(unit) else least} to {most})"


def _many(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"
