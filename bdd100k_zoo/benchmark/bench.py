"""The speed of a model on this machine: the pipeline of ``predict``, with random weights on synthetic frames."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import tempfile
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import bdd100k_zoo
from bdd100k_zoo.benchmark.loops import (
    STAGES,
    BenchRound,
    BenchSetup,
    DetectorInfo,
    prepare_pipeline_engine,
    prepare_stock_engine,
)
from bdd100k_zoo.benchmark.worker_process import WorkerDiedError, WorkerProcess
from bdd100k_zoo.errors import DeviceError
from bdd100k_zoo.prediction.speeds import Machine, Speed, StockBaseline
from bdd100k_zoo.sample_data import write_sample_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bdd100k_zoo.progress import Progress, Task
    from bdd100k_zoo.registry import Model

ROUNDS = 6
"""An even number, so that each of two engines goes first equally often."""
SYNTHETIC_FRAMES = 16
"""Different frames; a round cycles through them."""


def run_bench(
    model: Model,
    progress: Progress,
    *,
    device: str = "auto",
    images: int | None = None,
    batch_size: int | None = None,
    precision: str = "auto",
    against_stock: bool = False,
) -> Speed:
    """Measure the speed of a model in rounds.

    Each engine has a process of its own, so that neither runs with the other's settings of libraries and allocators.
    In fp32 on a GPU that has TF32, a third one measures what TF32 would gain.

    Args:
        model: what to measure.
        progress: where to report.
        device: as torch names it, or ``auto``.
        images: in each round; None for the default of the device.
        batch_size: images at once; None for the default of the device.
        precision: as in ``predict``.
        against_stock: also measure mmdet's own test loop, with a round before or after each of ours.

    Raises:
        ZooError: the model cannot be run on the device.
    """
    with tempfile.TemporaryDirectory(prefix="bdd100k-zoo-bench-") as name, ExitStack() as processes:
        folder = Path(name)
        write_sample_frames(folder / "frames", SYNTHETIC_FRAMES)
        setup = BenchSetup(
            model=model.name,
            config_path=model.config_path,
            weights=folder / "weights.pth",
            images=str(folder / "frames"),
            device=device,
            precision=precision,
            batch_size=batch_size,
        )
        progress.note(f"{setup.model} with random weights on synthetic frames; the first round is not counted")
        try:
            ours = processes.enter_context(WorkerProcess(prepare_pipeline_engine, setup))
            info: DetectorInfo = ours.about
            engines = [ours.do]
            if against_stock:
                same_device = setup._replace(device=info.facts.device)
                engines.append(processes.enter_context(WorkerProcess(prepare_stock_engine, same_device)).do)
            if info.offers_tf32:
                other = setup._replace(device=info.facts.device, precision="tf32", weights=folder / "tf32.pth")
                engines.append(processes.enter_context(WorkerProcess(prepare_pipeline_engine, other)).do)
            number = images or default_image_count(info)
            with progress.task("Measuring", (ROUNDS + 1) * number * len(engines), "images") as task:
                rounds = run_rounds(engines, number, ROUNDS, task)
        except WorkerDiedError as error:
            killed = error.status == -signal.SIGKILL
            cause = "; the system kills processes when memory runs out" if killed else ""
            raise DeviceError(device, f"{error}{cause}") from error
    for size in sorted({size for each in rounds[0] for size in each.split}):
        progress.warn(f"the device has no memory for {size} images at once: batches were halved, which takes longer")
    stock = rounds[1] if against_stock else ()
    return build_speed_record(model.name, info, rounds[0], stock, rounds[-1] if info.offers_tf32 else ())


def default_image_count(info: DetectorInfo) -> int:
    """Return the default number of images per round: few on the CPU, where each takes seconds."""
    return 2 if info.facts.device == "cpu" else max(64, 16 * info.batch_size)


def run_rounds(
    engines: Sequence[Callable[[int], BenchRound]], images: int, rounds: int, task: Task
) -> list[list[BenchRound]]:
    """Run the rounds of all engines, in alternating order; return the rounds of each without the first one."""
    taken: list[list[BenchRound]] = [[] for _ in engines]
    for number in range(rounds + 1):
        places = range(len(engines)) if number % 2 else reversed(range(len(engines)))
        for place in places:
            taken[place].append(engines[place](images))
            task.advance(images)
    return [each[1:] for each in taken]


def build_speed_record(
    model: str,
    info: DetectorInfo,
    ours: Sequence[BenchRound],
    stock: Sequence[BenchRound] = (),
    tf32: Sequence[BenchRound] = (),
) -> Speed:
    """Return the record of our rounds, and of as many rounds of mmdet's own loop and of ours with TF32, if any."""
    images, seconds = sum(each.images for each in ours), sum(each.seconds for each in ours)
    spent = {stage: sum(each.stages[stage] for each in ours) for stage in STAGES}
    against = None
    if stock:
        ratios = [one.rate / other.rate for one, other in zip(ours, stock, strict=True)]
        against = StockBaseline(**_rates(stock), ratio=_rounded(median(ratios)), ratios=tuple(map(_rounded, ratios)))
    return Speed(
        model=model,
        device=info.facts.device,
        device_name=info.facts.device_name,
        precision=info.facts.precision,
        batch_size=info.batch_size,
        images=ours[0].images,
        **_rates(ours),
        seconds={stage: _rounded(each / images) for stage, each in spent.items()},
        busy=_rounded(spent["detect"] / seconds),
        against=against,
        tf32_ratio=_rounded(median(one.rate / fp32.rate for one, fp32 in zip(tf32, ours, strict=True)))
        if tf32
        else None,
        machine=Machine(
            processor=info.processor,
            cores=os.cpu_count(),
            threads=info.facts.threads,
            platform=platform.platform(),
        ),
        versions={"bdd100k-zoo": bdd100k_zoo.__version__, **info.facts.versions},
        commit=read_checkout_commit(),
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _rates(rounds: Sequence[BenchRound]) -> dict[str, Any]:
    """Return the images per second of some rounds, as fields of a record."""
    rates = [each.rate for each in rounds]
    return {"images_per_second": _rounded(median(rates)), "rates": tuple(map(_rounded, rates))}


def _rounded(value: float) -> float:
    """Round to four significant digits: times are not more accurate."""
    return float(f"{value:.4g}")


def read_checkout_commit() -> str | None:
    """Return the commit of the checkout that this package runs from; None outside a checkout, or without git.

    ``-changed`` is added if tracked files differ from it.
    """
    root = Path(bdd100k_zoo.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--dirty=-changed"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
