"""The speed of a model on this machine: random weights, synthetic frames, the pipeline that ``predict`` runs."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """What to measure."""

    model: Model
    device: str = "auto"
    images: int | None = None
    """In each round; None for what suits the device."""
    batch_size: int | None = None
    """Images at once; None for what suits the device."""
    precision: str = "auto"
    against_stock: bool = False
    """Measure mmdet's own test loop as well, in turns."""


def run_bench(request: BenchRequest, progress: Progress) -> Speed:
    """Measure how fast a model is, in rounds; mmdet's own loop has a round before or after each of ours.

    Each engine has a process of its own, so that neither runs with the other's settings of libraries and allocators.

    Raises:
        ZooError: whatever is in the way.
    """
    with tempfile.TemporaryDirectory(prefix="bdd100k-zoo-bench-") as name, ExitStack() as processes:
        folder = Path(name)
        write_sample_frames(folder / "frames", SYNTHETIC_FRAMES)
        setup = BenchSetup(
            model=request.model.name,
            config_path=request.model.config_path,
            weights=folder / "weights.pth",
            images=str(folder / "frames"),
            device=request.device,
            precision=request.precision,
            batch_size=request.batch_size,
        )
        progress.note(f"{setup.model} with random weights on drawn frames; the first round is not counted")
        try:
            ours: WorkerProcess[DetectorInfo, int, BenchRound] = processes.enter_context(
                WorkerProcess(prepare_pipeline_engine, setup)
            )
            engines = [ours.do]
            if request.against_stock:
                same = setup._replace(device=ours.about.facts.device)
                stock: WorkerProcess[None, int, BenchRound] = processes.enter_context(
                    WorkerProcess(prepare_stock_engine, same)
                )
                engines.append(stock.do)
            images = request.images or default_image_count(ours.about)
            with progress.task("Measuring", (ROUNDS + 1) * images * len(engines), "images") as task:
                rounds = run_rounds(engines, images, ROUNDS, task)
        except WorkerDiedError as error:
            killed = error.status == -signal.SIGKILL
            hint = "; the system kills what takes more memory than there is" if killed else ""
            raise DeviceError(request.device, f"{error}{hint}") from error
    for size in sorted({size for each in rounds[0] for size in each.split}):
        progress.warn(f"the device has no memory for {size} images at once: batches were halved, which costs time")
    return build_speed_record(request, ours.about, *rounds)


def default_image_count(about: DetectorInfo) -> int:
    """Return a number of images that fills a round: few on the CPU, where each takes seconds."""
    return 2 if about.facts.device == "cpu" else max(64, 16 * about.batch_size)


def run_rounds(
    engines: Sequence[Callable[[int], BenchRound]], images: int, rounds: int, task: Task
) -> list[list[BenchRound]]:
    """Let engines run rounds in turns, and go first in turns; return the rounds of each, without the first one."""
    taken: list[list[BenchRound]] = [[] for _ in engines]
    for number in range(rounds + 1):
        places = range(len(engines)) if number % 2 else reversed(range(len(engines)))
        for place in places:
            taken[place].append(engines[place](images))
            task.advance(images)
    return [each[1:] for each in taken]


def build_speed_record(
    request: BenchRequest, about: DetectorInfo, ours: Sequence[BenchRound], stock: Sequence[BenchRound] = ()
) -> Speed:
    """Return the record of some rounds of ours, and of as many rounds of mmdet's own loop, or none."""
    images, seconds = sum(each.images for each in ours), sum(each.seconds for each in ours)
    spent = {stage: sum(each.stages[stage] for each in ours) for stage in STAGES}
    against = None
    if stock:
        ratios = [one.rate / other.rate for one, other in zip(ours, stock, strict=True)]
        against = StockBaseline(**_rates(stock), ratio=_rounded(median(ratios)), ratios=tuple(map(_rounded, ratios)))
    return Speed(
        model=request.model.name,
        device=about.facts.device,
        device_name=about.facts.device_name,
        precision=about.facts.precision,
        batch_size=about.batch_size,
        images=ours[0].images,
        **_rates(ours),
        seconds={stage: _rounded(each / images) for stage, each in spent.items()},
        busy=_rounded(spent["detect"] / seconds),
        against=against,
        machine=Machine(
            processor=about.processor,
            cores=os.cpu_count(),
            threads=about.facts.threads,
            platform=platform.platform(),
        ),
        versions={"bdd100k-zoo": bdd100k_zoo.__version__, **about.facts.versions},
        commit=read_checkout_commit(),
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _rates(rounds: Sequence[BenchRound]) -> dict[str, Any]:
    """Return the images per second of some rounds, as fields of a record."""
    rates = [each.rate for each in rounds]
    return {"images_per_second": _rounded(median(rates)), "rates": tuple(map(_rounded, rates))}


def _rounded(value: float) -> float:
    """Keep four significant digits: a clock is not more exact."""
    return float(f"{value:.4g}")


def read_checkout_commit() -> str | None:
    """Return the commit of the checkout that this package runs from; None outside a checkout, or without git.

    ``-changed`` is added if files of the package differ from it.
    """
    root = Path(bdd100k_zoo.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(["git", "-C", str(root), *words], check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603, S607
            for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "bdd100k_zoo"))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit and commit + ("-changed" if changes else "")
