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
from bdd100k_zoo.errors import DeviceError
from bdd100k_zoo.records.speeds import AgainstStock, Machine, Speed
from bdd100k_zoo.workflows.engines import STAGES, About, Round, Setup, prepare_ours, prepare_stock
from bdd100k_zoo.workflows.trial import draw_streets
from bdd100k_zoo.workflows.turns import Worker, WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bdd100k_zoo.manifest import Model
    from bdd100k_zoo.progress import Progress, Task

ROUNDS = 6
"""An even number, so that each of two engines goes first as often."""
DRAWN = 16
"""Frames that differ; a round takes them one after the other, again and again."""


@dataclass(frozen=True, kw_only=True)
class Request:
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


def bench(request: Request, progress: Progress) -> Speed:
    """Measure how fast a model is, in rounds; mmdet's own loop has a round before or after each of ours.

    Every engine has a process of its own, so that neither runs with the other's settings of libraries and allocators.

    Raises:
        ZooError: whatever is in the way.
    """
    with tempfile.TemporaryDirectory(prefix="bdd100k-zoo-bench-") as name, ExitStack() as processes:
        setup = _setup(request, Path(name))
        progress.note(f"{setup.model} with random weights on drawn frames; the first round is not counted")
        try:
            ours: Worker[About, int, Round] = processes.enter_context(Worker(prepare_ours, setup))
            engines = [ours.do]
            if request.against_stock:
                same = setup._replace(device=ours.about.facts.device)
                stock: Worker[None, int, Round] = processes.enter_context(Worker(prepare_stock, same))
                engines.append(stock.do)
            images = request.images or default_images(ours.about)
            with progress.task("Measuring", (ROUNDS + 1) * images * len(engines), "images") as task:
                rounds = take_turns(engines, images, ROUNDS, task)
        except WorkerDiedError as error:
            raise DeviceError(request.device, _told(error)) from error
    _say_split(rounds[0], progress)
    return speed_of(request, ours.about, *rounds)


def _setup(request: Request, folder: Path) -> Setup:
    """Draw frames into a folder, and say what is to be measured on them."""
    draw_streets(folder / "frames", DRAWN)
    return Setup(
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


def default_images(about: About) -> int:
    """Give a number of images that fills a round: on the CPU few, since each takes seconds."""
    return 2 if about.facts.device == "cpu" else max(64, 16 * about.batch_size)


def take_turns(engines: Sequence[Callable[[int], Round]], images: int, rounds: int, task: Task) -> list[list[Round]]:
    """Let engines run a round in turns, and begin in turns; give the rounds of each. The first do not count."""
    taken: list[list[Round]] = [[] for _ in engines]
    for number in range(rounds + 1):
        places = range(len(engines)) if number % 2 else reversed(range(len(engines)))
        for place in places:
            taken[place].append(engines[place](images))
            task.advance(images)
    return [each[1:] for each in taken]


def _say_split(rounds: Sequence[Round], progress: Progress) -> None:
    for size in sorted({size for each in rounds for size in each.split}):
        progress.warn(f"the device has no memory for {size} images at once: batches were halved, which costs time")


def speed_of(request: Request, about: About, ours: Sequence[Round], stock: Sequence[Round] = ()) -> Speed:
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
        commit=checked_out(),
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _against(ours: Sequence[Round], stock: Sequence[Round]) -> AgainstStock:
    ratios = [one.rate / other.rate for one, other in zip(ours, stock, strict=True)]
    return AgainstStock(
        images_per_second=_rounded(median(each.rate for each in stock)),
        rates=tuple(_rounded(each.rate) for each in stock),
        ratio=_rounded(median(ratios)),
        ratios=tuple(map(_rounded, ratios)),
    )


def _rounded(value: float) -> float:
    """Keep four digits that count: a clock tells no more."""
    return float(f"{value:.4g}")


def checked_out() -> str | None:
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
