"""The speed of a model on this machine: drawn frames, random weights, the pipeline that ``predict`` runs."""

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
from typing import TYPE_CHECKING

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
"""An even number, so that each of two engines goes first as often."""
SYNTHETIC_FRAMES = 16
"""Frames that differ; a round takes them one after the other, again and again."""


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """What is to be measured."""

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

    Every engine has a process of its own, so that neither runs with the other's settings of libraries and allocators.

    Raises:
        ZooError: whatever is in the way.
    """
    with tempfile.TemporaryDirectory(prefix="bdd100k-zoo-bench-") as name, ExitStack() as processes:
        setup = _setup(request, Path(name))
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
            raise DeviceError(request.device, _told(error)) from error
    _say_split(rounds[0], progress)
    return build_speed_record(request, ours.about, *rounds)


def _setup(request: BenchRequest, folder: Path) -> BenchSetup:
    """Draw frames into a folder, and say what is to be measured on them."""
    write_sample_frames(folder / "frames", SYNTHETIC_FRAMES)
    return BenchSetup(
        model=request.model.name,
        config_path=request.model.config_path,
        weights=folder / "weights.pth",
        images=str(folder / "frames"),
        device=request.device,
        precision=request.precision,
        batch_size=request.batch_size,
    )


def _told(error: WorkerDiedError) -> str:
    killed = error.status == -signal.SIGKILL
    return f"{error}; the system kills what takes more memory than there is" if killed else str(error)


def default_image_count(about: DetectorInfo) -> int:
    """Give a number of images that fills a round: on the CPU few, since each takes seconds."""
    return 2 if about.facts.device == "cpu" else max(64, 16 * about.batch_size)


def run_rounds(
    engines: Sequence[Callable[[int], BenchRound]], images: int, rounds: int, task: Task
) -> list[list[BenchRound]]:
    """Let engines run a round in turns, and begin in turns; give the rounds of each. The first do not count."""
    taken: list[list[BenchRound]] = [[] for _ in engines]
    for number in range(rounds + 1):
        places = range(len(engines)) if number % 2 else reversed(range(len(engines)))
        for place in places:
            taken[place].append(engines[place](images))
            task.advance(images)
    return [each[1:] for each in taken]


def _say_split(rounds: Sequence[BenchRound], progress: Progress) -> None:
    for size in sorted({size for each in rounds for size in each.split}):
        progress.warn(f"the device has no memory for {size} images at once: batches were halved, which costs time")


def build_speed_record(
    request: BenchRequest, about: DetectorInfo, ours: Sequence[BenchRound], stock: Sequence[BenchRound] = ()
) -> Speed:
    """Make the record of some rounds of ours, and of as many of mmdet's own loop where there are any."""
    images, seconds = sum(each.images for each in ours), sum(each.seconds for each in ours)
    spent = {stage: sum(each.stages[stage] for each in ours) for stage in STAGES}
    return Speed(
        model=request.model.name,
        device=about.facts.device,
        device_name=about.facts.device_name,
        precision=about.facts.precision,
        batch_size=about.batch_size,
        images=ours[0].images,
        images_per_second=_rounded(median(each.rate for each in ours)),
        rates=tuple(_rounded(each.rate) for each in ours),
        seconds={stage: _rounded(each / images) for stage, each in spent.items()},
        busy=_rounded(spent["detect"] / seconds),
        against=_against(ours, stock) if stock else None,
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


def _against(ours: Sequence[BenchRound], stock: Sequence[BenchRound]) -> StockBaseline:
    ratios = [one.rate / other.rate for one, other in zip(ours, stock, strict=True)]
    return StockBaseline(
        images_per_second=_rounded(median(each.rate for each in stock)),
        rates=tuple(_rounded(each.rate) for each in stock),
        ratio=_rounded(median(ratios)),
        ratios=tuple(map(_rounded, ratios)),
    )


def _rounded(value: float) -> float:
    """Keep four digits that count: a clock tells no more."""
    return float(f"{value:.4g}")


def read_checkout_commit() -> str | None:
    """Give the commit of the checkout that this package runs from; None where it runs from none, or git is missing.

    Where files of the package differ from it, ``-changed`` stands behind.
    """
    root = Path(bdd100k_zoo.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    commit, changes = _git(root, "rev-parse", "--short", "HEAD"), _git(root, "status", "--porcelain", "bdd100k_zoo")
    return commit and commit + ("-changed" if changes else "")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
