"""The speed of a model on this machine: drawn frames, random weights, the pipeline that ``predict`` runs."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import bdd100k_zoo
from bdd100k_zoo.errors import DeviceError
from bdd100k_zoo.inference.images import find_images
from bdd100k_zoo.progress import SILENT
from bdd100k_zoo.records.speeds import AgainstStock, Machine, Speed
from bdd100k_zoo.workflows.turns import Worker, WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bdd100k_zoo.inference.protocol import DetectorFacts
    from bdd100k_zoo.manifest import Model
    from bdd100k_zoo.progress import Progress, Task

ROUNDS = 5
DRAWN = 16
"""Frames that differ; a round takes them one after the other, again and again."""
WEIGHTS, FRAMES = "weights.pth", "frames"
STAGES = ("decode", "prepare", "detect")
"""Those of ``records.run.Seconds`` that cost time for every image here."""


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
    """Measure mmdet's own loop as well, in turns."""


class About(NamedTuple):
    """What our detector's process tells about itself."""

    facts: DetectorFacts
    batch_size: int
    processor: str


class Round(NamedTuple):
    """What a round took."""

    images: int
    seconds: float
    stages: Mapping[str, float]
    """Seconds by stage, of all threads; empty where none are told apart."""
    split: Mapping[int, int]
    """Batches that had to be halved: how many, by size."""

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


def bench(request: Request, progress: Progress) -> Speed:
    """Measure how fast a model is, in rounds; with mmdet's own loop, each round of ours is followed or preceded by one.

    Every engine has a process of its own, so that neither runs with the other's settings of libraries and allocators.

    Raises:
        ZooError: whatever is in the way.
    """
    with tempfile.TemporaryDirectory(prefix="bdd100k-zoo-bench-") as name, ExitStack() as processes:
        folder, model = Path(name), request.model
        progress.note(f"{model.name} with random weights on drawn frames; the first round is not counted")
        try:
            ours: Worker[About, int, Round] = processes.enter_context(
                Worker(prepare_ours, model.name, model.config_path, folder, *_asked(request))
            )
            engines = [ours.do]
            if request.against_stock:
                stock: Worker[None, int, Round] = processes.enter_context(
                    Worker(prepare_stock, model.config_path, folder, ours.about.facts.device)
                )
                engines.append(stock.do)
            images = request.images or default_images(ours.about)
            with progress.task("Measuring", (ROUNDS + 1) * images * len(engines), "images") as task:
                rounds = take_turns(engines, images, ROUNDS, task)
        except WorkerDiedError as error:
            raise DeviceError(request.device, f"{error}: its memory may not have sufficed") from error
    _say_split(rounds[0], progress)
    return speed_of(request, ours.about, *rounds)


def _asked(request: Request) -> tuple[str, str, int | None]:
    return request.device, request.precision, request.batch_size


def default_images(about: About) -> int:
    """Give a number of images that fills a round: on the CPU few, since each takes seconds."""
    return 2 if about.facts.device == "cpu" else max(64, 8 * about.batch_size)


def take_turns(engines: Sequence[Callable[[int], Round]], images: int, rounds: int, task: Task) -> list[list[Round]]:
    """Let engines run a round in turns, each going first as often; give the rounds of each. The first do not count."""
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


# In processes of their own


def prepare_ours(
    name: str, config_path: Path, folder: Path, device: str, precision: str, batch_size: int | None
) -> tuple[About, Callable[[int], Round]]:
    """Draw weights and frames into a folder, and load the detector; what is given runs a round of so many images."""
    from bdd100k_zoo import mmdet_backend

    mmdet_backend.check(config_path, device, precision=precision)
    from bdd100k_zoo.inference.pipeline import Work, compute
    from bdd100k_zoo.inference.sharding import chunk_size
    from bdd100k_zoo.mmdet_backend.devices import device_name, resolve_device
    from bdd100k_zoo.mmdet_backend.random_weights import save_random_weights
    from bdd100k_zoo.records.journal_lines import ChunkDone, Spent
    from bdd100k_zoo.records.plan import Chunks
    from bdd100k_zoo.workflows.share import default_workers
    from bdd100k_zoo.workflows.trial import draw_streets

    save_random_weights(config_path, folder / WEIGHTS)
    draw_streets(folder / FRAMES, DRAWN)
    frames = find_images([str(folder / FRAMES)])
    detector = mmdet_backend.load(name, config_path, folder / WEIGHTS, device, precision=precision)
    size, workers = batch_size or detector.batch_size, default_workers(detector.facts.device)

    def run(images: int) -> Round:
        done: list[ChunkDone] = []
        chosen = [frames[place % len(frames)] for place in range(images)]
        cut = Chunks(images, chunk_size(size))
        start = perf_counter()
        with SILENT.task("", images, "images") as task:
            compute(detector, Work(chosen, cut, range(cut.count), size, workers), done.append, SILENT, task)
        seconds = perf_counter() - start
        spent = sum((chunk.spent for chunk in done), Spent())
        split = sum((Counter(chunk.split) for chunk in done), Counter())
        return Round(images, seconds, {stage: getattr(spent, stage) for stage in STAGES}, split)

    return About(detector.facts, size, device_name(resolve_device("cpu"))), run


def prepare_stock(config_path: Path, folder: Path, device: str) -> tuple[None, Callable[[int], Round]]:
    """Load mmdet's own loop with the weights that ``prepare_ours`` drew."""
    from bdd100k_zoo.mmdet_backend.stock import load_stock

    detect = load_stock(config_path, folder / WEIGHTS, device)
    paths = [frame.path for frame in find_images([str(folder / FRAMES)])]

    def run(images: int) -> Round:
        start = perf_counter()
        for place in range(images):
            detect(paths[place % len(paths)])
        return Round(images, perf_counter() - start, {}, {})

    return None, run
