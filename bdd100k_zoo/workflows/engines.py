"""What can be timed, each in a process of its own (``turns.Worker``): our pipeline, and mmdet's own test loop."""

from __future__ import annotations

import tempfile
from collections import Counter
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo import mmdet_backend
from bdd100k_zoo.inference.images import find_images, read_image
from bdd100k_zoo.inference.pipeline import Work, compute
from bdd100k_zoo.inference.sharding import chunk_size
from bdd100k_zoo.progress import SILENT
from bdd100k_zoo.records.journal_lines import Spent
from bdd100k_zoo.records.plan import Chunks
from bdd100k_zoo.workflows.share import default_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bdd100k_zoo.inference.images import Frame
    from bdd100k_zoo.inference.protocol import Detector, DetectorFacts
    from bdd100k_zoo.mmdet_backend.stock import StockLoop
    from bdd100k_zoo.records.journal_lines import ChunkDone

STAGES = ("decode", "prepare", "detect")
"""Those of ``records.run.Seconds`` that cost time for every image here."""


class Setup(NamedTuple):
    """What an engine is made of."""

    model: str
    config_path: Path
    weights: Path
    images: str
    """A folder of images, or another source that ``inference.images.find_images`` takes."""
    device: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    """Images at once; None for what suits the device."""

    @property
    def frames(self) -> list[Frame]:
        """The images, sorted by name; raises ZooError."""
        return find_images([self.images])

    def save_weights(self, seed: int = 0) -> None:
        """Write random weights that find boxes in the first of the images; raises ZooError."""
        from bdd100k_zoo.mmdet_backend.random_weights import save_lively_weights

        mmdet_backend.check(self.config_path, self.device, precision=self.precision)
        save_lively_weights(self.config_path, read_image(self.frames[0].path), self.weights, seed)

    def settle_in(self) -> None:
        """Let this process put temporary files beside the weights: they are removed with them, even if it is killed."""
        tempfile.tempdir = str(self.weights.parent)

    def load(self) -> Detector:
        """Load our detector; raises ZooError."""
        return mmdet_backend.load(self.model, self.config_path, self.weights, self.device, precision=self.precision)

    def load_stock(self, *, tf32: bool) -> StockLoop:
        """Load mmdet's own test loop over the images; see ``mmdet_backend.stock.load_stock``."""
        from bdd100k_zoo.mmdet_backend.stock import load_stock

        paths = [frame.path for frame in self.frames]
        return load_stock(self.config_path, self.weights, paths, self.device, tf32=tf32)


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


def about(setup: Setup, detector: Detector) -> About:
    """Tell what a detector computes on, and how many images at once."""
    from bdd100k_zoo.mm_common.devices import device_name, resolve_device

    return About(detector.facts, setup.batch_size or detector.batch_size, device_name(resolve_device("cpu")))


def through_pipeline(detector: Detector, frames: Sequence[Frame], batch_size: int) -> list[ChunkDone]:
    """Do with some frames what a run does, but for its files; give its chunks.

    Raises:
        ZooError: whatever is in the way.
    """
    done: list[ChunkDone] = []
    cut = Chunks(len(frames), chunk_size(batch_size))
    work = Work(frames, cut, range(cut.count), batch_size, default_workers(detector.facts.device))
    with SILENT.task("", len(frames), "images") as task:
        compute(detector, work, done.append, SILENT, task)
    return done


def spent_on(chunks: Sequence[ChunkDone]) -> tuple[dict[str, float], Counter[int]]:
    """Sum up what chunks took: seconds by stage, and how many batches had to be halved, by size."""
    spent = sum((chunk.spent for chunk in chunks), Spent())
    split = sum((Counter(chunk.split) for chunk in chunks), Counter[int]())
    return {stage: getattr(spent, stage) for stage in STAGES}, split


# In processes of their own


def prepare_ours(setup: Setup) -> tuple[About, Callable[[int], Round]]:
    """Draw weights and load our detector; what is given runs a round of so many images."""
    from bdd100k_zoo.mm_common.devices import settle

    setup.settle_in()
    setup.save_weights()
    detector, frames = setup.load(), setup.frames
    known = about(setup, detector)

    def run(images: int) -> Round:
        chosen = [frames[place % len(frames)] for place in range(images)]
        settle(detector.facts.device)
        start = perf_counter()
        done = through_pipeline(detector, chosen, known.batch_size)
        settle(detector.facts.device)
        return Round(images, perf_counter() - start, *spent_on(done))

    return known, run


def prepare_stock(setup: Setup) -> tuple[None, Callable[[int], Round]]:
    """Load mmdet's own test loop as it comes, with the weights that ``prepare_ours`` drew, on the device it found."""
    from bdd100k_zoo.mm_common.devices import settle

    setup.settle_in()
    loop, number = setup.load_stock(tf32=True), len(setup.frames)

    def run(images: int) -> Round:
        settle(setup.device)
        start = perf_counter()
        loop.detect([place % number for place in range(images)])
        settle(setup.device)
        return Round(images, perf_counter() - start, {}, {})

    return None, run
