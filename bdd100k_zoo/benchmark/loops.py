"""The loops that are timed, each in a ``WorkerProcess`` of its own: our pipeline, and mmdet's own test loop."""

from __future__ import annotations

import tempfile
from collections import Counter
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bdd100k_zoo.backends import mmdet3
from bdd100k_zoo.data.image_files import read_image
from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.errors import DeviceError
from bdd100k_zoo.prediction.launch import SINGLE_PROCESS, default_workers
from bdd100k_zoo.prediction.pipeline import DetectionWork, StageSeconds, detect_chunks
from bdd100k_zoo.prediction.run import Chunks
from bdd100k_zoo.prediction.sharding import chunk_size
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bdd100k_zoo.backends.mmdet3.mmdet_loop import StockLoop
    from bdd100k_zoo.backends.protocol import BackendDetector, DetectorFacts
    from bdd100k_zoo.data.images import Frame
    from bdd100k_zoo.prediction.pipeline import ChunkResult

Result = TypeVar("Result")

STAGES = ("decode", "prepare", "detect")
"""The fields of ``StageSeconds`` that cost time for every image here."""


class BenchSetup(NamedTuple):
    """The model and the images of a benchmark."""

    model: str
    config_path: Path
    weights: Path
    images: str
    """A folder of images, or another source that ``find_images`` accepts."""
    device: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    """Images at once; None for the default of the device."""

    @property
    def frames(self) -> list[Frame]:
        """The images, sorted by name; raises ZooError."""
        return find_images([self.images]).frames

    def save_weights(self, seed: int = 0) -> None:
        """Write random weights that find boxes in the first of the images; raises ZooError."""
        mmdet3.check(self.config_path, self.device, precision=self.precision)
        from bdd100k_zoo.backends.mmdet3.random_weights import save_calibrated_random_weights

        save_calibrated_random_weights(self.config_path, read_image(self.frames[0].path), self.weights, seed)

    def use_weights_folder(self) -> None:
        """Put this process's temporary files beside the weights: they are removed with them, even after a kill."""
        tempfile.tempdir = str(self.weights.parent)

    def load(self) -> BackendDetector:
        """Load our detector; raises ZooError."""
        return mmdet3.load(self.model, self.config_path, self.weights, self.device, precision=self.precision)

    def load_stock(self, *, tf32: bool) -> StockLoop:
        """Load mmdet's own test loop over the images; see ``mmdet_loop.load_stock``."""
        mmdet3.import_backend()
        from bdd100k_zoo.backends.mmdet3.mmdet_loop import load_stock

        paths = [frame.path for frame in self.frames]
        return load_stock(self.config_path, self.weights, paths, self.device, tf32=tf32)


class DetectorInfo(NamedTuple):
    """Facts of the loaded detector and its process."""

    facts: DetectorFacts
    batch_size: int
    processor: str
    offers_tf32: bool = False
    """It computes in fp32 on a device that could use TF32."""


class BenchRound(NamedTuple):
    """The duration of one round."""

    images: int
    seconds: float
    stages: Mapping[str, float] = {}
    """Seconds by stage, of all threads; empty if stages are not measured."""
    split: Mapping[int, int] = {}
    """Numbers of batches that were halved, by size."""

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


def read_detector_info(setup: BenchSetup, detector: BackendDetector) -> DetectorInfo:
    """Return the facts of a detector, and how many images it computes at once."""
    from bdd100k_zoo.backends.common.devices import device_name, resolve_device
    from bdd100k_zoo.backends.common.precision import resolve_precision

    offers_tf32 = detector.facts.precision == "fp32"
    try:
        resolve_precision("tf32", resolve_device(detector.facts.device))
    except DeviceError:
        offers_tf32 = False
    processor = device_name(resolve_device("cpu"))
    return DetectorInfo(detector.facts, setup.batch_size or detector.batch_size, processor, offers_tf32)


def run_pipeline(detector: BackendDetector, frames: Sequence[Frame], batch_size: int) -> list[ChunkResult]:
    """Compute some frames as a run does, without its files, and return their chunks; raises ZooError."""
    chunks = Chunks(len(frames), chunk_size(batch_size))
    workers = default_workers(detector.facts.device, SINGLE_PROCESS)
    work = DetectionWork(frames, chunks, range(chunks.count), batch_size, workers)
    with NO_PROGRESS.task("", len(frames), "images") as task:
        return list(detect_chunks(detector, work, NO_PROGRESS, task))


def sum_chunk_times(chunks: Sequence[ChunkResult]) -> tuple[dict[str, float], Counter[int]]:
    """Return seconds by stage over all chunks, and the numbers of batches that were halved, by size."""
    spent = sum((chunk.spent for chunk in chunks), StageSeconds())
    split = sum((Counter(chunk.split) for chunk in chunks), Counter[int]())
    return {stage: getattr(spent, stage) for stage in STAGES}, split


# Functions that prepare a ``WorkerProcess``


def prepare_pipeline_engine(setup: BenchSetup) -> tuple[DetectorInfo, Callable[[int], BenchRound]]:
    """Write random weights and load our detector; return the function that runs a round of some images."""
    setup.use_weights_folder()
    setup.save_weights()
    detector, frames = setup.load(), setup.frames
    info = read_detector_info(setup, detector)

    def run(images: int) -> BenchRound:
        chosen = [frames[place % len(frames)] for place in range(images)]
        seconds, done = _measure(lambda: run_pipeline(detector, chosen, info.batch_size), detector.facts.device)
        return BenchRound(images, seconds, *sum_chunk_times(done))

    return info, run


def prepare_stock_engine(setup: BenchSetup) -> tuple[None, Callable[[int], BenchRound]]:
    """Load mmdet's own test loop, unchanged, with the weights that ``prepare_pipeline_engine`` wrote."""
    setup.use_weights_folder()
    loop, number = setup.load_stock(tf32=True), len(setup.frames)

    def run(images: int) -> BenchRound:
        chosen = [place % number for place in range(images)]
        return BenchRound(images, _measure(lambda: loop.detect(chosen), setup.device)[0])

    return None, run


def _measure(work: Callable[[], Result], device: str) -> tuple[float, Result]:
    """Return the seconds that some work takes, the device's part of it included, and its result."""
    from bdd100k_zoo.backends.common.devices import synchronize_device

    synchronize_device(device)
    start = perf_counter()
    result = work()
    synchronize_device(device)
    return perf_counter() - start, result
