"""What can be timed, each in a process of its own (``turns.Worker``): our pipeline, and mmdet's own test loop."""

from __future__ import annotations

import tempfile
from collections import Counter
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.backends import mmdet3
from bdd100k_zoo.data.images import find_images, read_image
from bdd100k_zoo.prediction.journal import StageSeconds
from bdd100k_zoo.prediction.pipeline import DetectionWork, detect_chunks
from bdd100k_zoo.prediction.run import Chunks
from bdd100k_zoo.prediction.sharding import chunk_size
from bdd100k_zoo.prediction.share import default_workers
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bdd100k_zoo.backends.mmdet3.mmdet_loop import StockLoop
    from bdd100k_zoo.backends.protocol import Detector, DetectorFacts
    from bdd100k_zoo.data.images import Frame
    from bdd100k_zoo.prediction.journal import ChunkResult

STAGES = ("decode", "prepare", "detect")
"""Those of ``records.run.Seconds`` that cost time for every image here."""


class BenchSetup(NamedTuple):
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
        from bdd100k_zoo.backends.mmdet3.random_weights import save_calibrated_random_weights

        mmdet3.check(self.config_path, self.device, precision=self.precision)
        save_calibrated_random_weights(self.config_path, read_image(self.frames[0].path), self.weights, seed)

    def settle_in(self) -> None:
        """Let this process put temporary files beside the weights: they are removed with them, even if it is killed."""
        tempfile.tempdir = str(self.weights.parent)

    def load(self) -> Detector:
        """Load our detector; raises ZooError."""
        return mmdet3.load(self.model, self.config_path, self.weights, self.device, precision=self.precision)

    def load_stock(self, *, tf32: bool) -> StockLoop:
        """Load mmdet's own test loop over the images; see ``mmdet_backend.stock.load_stock``."""
        from bdd100k_zoo.backends.mmdet3.mmdet_loop import load_stock

        paths = [frame.path for frame in self.frames]
        return load_stock(self.config_path, self.weights, paths, self.device, tf32=tf32)


class DetectorInfo(NamedTuple):
    """What our detector's process tells about itself."""

    facts: DetectorFacts
    batch_size: int
    processor: str


class BenchRound(NamedTuple):
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


def read_detector_info(setup: BenchSetup, detector: Detector) -> DetectorInfo:
    """Tell what a detector computes on, and how many images at once."""
    from bdd100k_zoo.backends.common.devices import device_name, resolve_device

    return DetectorInfo(detector.facts, setup.batch_size or detector.batch_size, device_name(resolve_device("cpu")))


def run_pipeline(detector: Detector, frames: Sequence[Frame], batch_size: int) -> list[ChunkResult]:
    """Do with some frames what a run does, but for its files; give its chunks.

    Raises:
        ZooError: whatever is in the way.
    """
    done: list[ChunkResult] = []
    cut = Chunks(len(frames), chunk_size(batch_size))
    work = DetectionWork(frames, cut, range(cut.count), batch_size, default_workers(detector.facts.device))
    with NO_PROGRESS.task("", len(frames), "images") as task:
        detect_chunks(detector, work, done.append, NO_PROGRESS, task)
    return done


def sum_chunk_times(chunks: Sequence[ChunkResult]) -> tuple[dict[str, float], Counter[int]]:
    """Sum up what chunks took: seconds by stage, and how many batches had to be halved, by size."""
    spent = sum((chunk.spent for chunk in chunks), StageSeconds())
    split = sum((Counter(chunk.split) for chunk in chunks), Counter[int]())
    return {stage: getattr(spent, stage) for stage in STAGES}, split


# In processes of their own


def prepare_pipeline_engine(setup: BenchSetup) -> tuple[DetectorInfo, Callable[[int], BenchRound]]:
    """Draw weights and load our detector; what is given runs a round of so many images."""
    from bdd100k_zoo.backends.common.devices import synchronize_device

    setup.settle_in()
    setup.save_weights()
    detector, frames = setup.load(), setup.frames
    known = read_detector_info(setup, detector)

    def run(images: int) -> BenchRound:
        chosen = [frames[place % len(frames)] for place in range(images)]
        synchronize_device(detector.facts.device)
        start = perf_counter()
        done = run_pipeline(detector, chosen, known.batch_size)
        synchronize_device(detector.facts.device)
        return BenchRound(images, perf_counter() - start, *sum_chunk_times(done))

    return known, run


def prepare_stock_engine(setup: BenchSetup) -> tuple[None, Callable[[int], BenchRound]]:
    """Load mmdet's own test loop as it comes, with the weights that ``prepare_ours`` drew, on the device it found."""
    from bdd100k_zoo.backends.common.devices import synchronize_device

    setup.settle_in()
    loop, number = setup.load_stock(tf32=True), len(setup.frames)

    def run(images: int) -> BenchRound:
        synchronize_device(setup.device)
        start = perf_counter()
        loop.detect([place % number for place in range(images)])
        synchronize_device(setup.device)
        return BenchRound(images, perf_counter() - start, {}, {})

    return None, run
