"""What `predict.py` times, each in a process of its own: mmdet's test loop, our pipeline, and our network by itself."""

from __future__ import annotations

import math
import multiprocessing
import os
import resource
import time
from collections import Counter
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from bdd100k_zoo.benchmark.loops import BenchSetup, DetectorInfo, read_detector_info, run_pipeline, sum_chunk_times
from bdd100k_zoo.data.image_files import read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bdd100k_zoo.backends.mmdet3.mmdet_loop import StockLoop
    from bdd100k_zoo.data.detections import Detections
    from bdd100k_zoo.data.images import Frame

WARM_UP = 3
"""Passes of the bare network that do not count."""
SIDE = 4096
"""Rows and columns of the matrices whose product shows the machine's peak."""
PRODUCT = 2 * SIDE**3
"""Floating-point operations of that product."""


class Task(NamedTuple):
    """A turn."""

    frames: list[int]
    """Places in the list of frames."""
    bare: bool = False
    """Only the network, on batches that are on the device already; nothing is found."""
    peak: bool = False
    """Only a product of matrices, with as many threads as the network has."""


class Taken(NamedTuple):
    """What a turn's images cost, and what was found in them."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of all threads, and of the processes that read for this one."""
    stages: Mapping[str, float]
    """Seconds by stage; those of different threads overlap."""
    split: Mapping[int, int]
    """Batches that had to be halved: how many, by size."""
    peak: float
    """The most memory that the process has held so far, in MiB."""
    rows: list[np.ndarray]
    """Of each frame: [n, 6], corners, score, class."""


def draw(setup: BenchSetup, seed: int) -> tuple[None, Callable[[Task], None]]:
    """Write weights; there are no turns."""
    setup.use_weights_folder()
    setup.save_weights(seed)
    return None, lambda _: None


def stock(setup: BenchSetup, tf32: bool) -> tuple[int, Callable[[Task], Taken]]:
    """Load mmdet's own test loop, in fp32; tell how many floating-point operations its network needs for an image."""
    from mmcv.transforms import Compose, LoadImageFromFile

    setup.use_weights_folder()
    loop, watch = setup.load_stock(tf32=tf32), Watch()
    operations = count_operations(loop)
    watch.wrap(LoadImageFromFile, "transform", "decode")
    watch.wrap(Compose, "transform", "prepare")
    watch.wrap(loop.model, "test_step", "network")
    watch_choosing(watch, loop.model, setup.device)

    def take(task: Task) -> Taken:
        with timed(setup.device) as spent:
            found = loop.detect(task.frames)
        return taken(spent, watch.lap(), {}, found)

    return operations, take


def ours(setup: BenchSetup) -> tuple[tuple[DetectorInfo, str], Callable[[Task], Taken]]:
    """Load this package's detector; tell about it, and which registers of the processor torch uses."""
    setup.use_weights_folder()
    detector, frames, watch = setup.load(), setup.frames, Watch()
    known = read_detector_info(setup, detector)
    device, size = detector.facts.device, known.batch_size
    watch_choosing(watch, detector._model, device)
    network = cache(lambda: bare_network(detector, frames, size))

    def take(task: Task) -> Taken:
        if task.peak:
            return take_peak(device)
        if task.bare:
            return take_bare(network(), len(task.frames) // size, device)
        with timed(device) as spent:
            chunks = run_pipeline(detector, [frames[place] for place in task.frames], size)
        stages, split = sum_chunk_times(chunks)
        chosen = watch.lap().get("choose", 0.0)
        stages |= {"network": stages.pop("detect") - chosen, "choose": chosen}
        return taken(spent, stages, split, [frame.detections for chunk in chunks for frame in chunk.frames])

    return (known, torch.backends.cpu.get_cpu_capability()), take


def taken(
    spent: Sequence[float], stages: Mapping[str, float], split: Mapping[int, int], found: Sequence[Detections]
) -> Taken:
    """Put a turn's results together."""
    wall, cpu = spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Taken(wall, cpu, stages, split, peak, list(map(rows_of, found)))


def rows_of(found: Detections) -> np.ndarray:
    """Lay detections out for comparison."""
    return np.column_stack([found.boxes, found.scores, found.classes]).astype(np.float64)


# Clocks


class Watch:
    """Seconds by stage, of one thread; time inside a stage within another one counts for the inner one alone."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()
        self._within: list[float] = []

    def wrap(self, owner: object, attribute: str, stage: str) -> None:
        """Count every call of an object's function for a stage."""
        function = getattr(owner, attribute)

        def watched(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            self._within.append(0.0)
            try:
                return function(*arguments, **named)
            finally:
                seconds = time.perf_counter() - start
                self._seconds[stage] += seconds - self._within.pop()
                if self._within:
                    self._within[-1] += seconds

        setattr(owner, attribute, watched)

    def lap(self) -> dict[str, float]:
        """Return the seconds since the last lap."""
        seconds, self._seconds = dict(self._seconds), Counter()
        return seconds


def watch_choosing(watch: Watch, model: Any, device: str) -> None:
    """Count how long proposals and boxes are chosen, where calls return when they are done: on the CPU."""
    for part in model.modules() if device == "cpu" else ():
        if hasattr(part, "predict_by_feat"):
            watch.wrap(part, "predict_by_feat", "choose")


@contextmanager
def timed(device: str) -> Iterator[list[float]]:
    """Return wall and CPU seconds of a block in a list, once it is done; nothing is under way at either end."""
    from bdd100k_zoo.backends.common.devices import synchronize_device

    synchronize_device(device)
    spent: list[float] = []
    wall, cpu = time.perf_counter(), cpu_seconds()
    yield spent
    synchronize_device(device)
    spent += [time.perf_counter() - wall, cpu_seconds() - cpu]


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of those that read images for it."""
    return time.process_time() + sum(_seconds_of(child.pid) for child in multiprocessing.active_children())


def _seconds_of(process: int | None) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# What the network needs, and what the machine can do


def count_operations(loop: StockLoop) -> int:
    """Count the additions and multiplications in convolutions and matrix products for the first image."""
    from torch.utils.flop_counter import FlopCounterMode

    def deformable(_: object, weight: Sequence[int], *__: object, out_shape: Sequence[int], **___: object) -> int:
        """Convolutions of displaced points, which the counter does not know."""
        batch, _, height, width = out_shape
        return 2 * batch * height * width * math.prod(weight)

    with FlopCounterMode(display=False, custom_mapping={torch.ops.torchvision.deform_conv2d: deformable}) as counter:
        loop.detect([0])
    return counter.get_total_flops()


def take_peak(device: str) -> Taken:
    """Time a product of two large matrices by the faster of torch's two libraries: on AMD, MKL has half the speed."""
    rows = torch.rand(SIDE, SIDE)
    image = torch.rand(1, SIDE, 64, SIDE // 64).contiguous(memory_format=torch.channels_last)
    kernels = torch.rand(SIDE, SIDE, 1, 1)
    times = []
    with torch.inference_mode():
        for product in (lambda: rows @ rows, lambda: torch.nn.functional.conv2d(image, kernels)):  # MKL, oneDNN
            product()
            with timed(device) as spent:
                product()
            times.append(spent)
    return taken(min(times), {}, {}, [])


# The network by itself


def take_bare(network: Callable[[], None], batches: int, device: str) -> Taken:
    """Time so many passes of the network."""
    for _ in range(WARM_UP):
        network()
    with timed(device) as spent:
        for _ in range(batches):
            network()
    return taken(spent, {}, {}, [])


def bare_network(detector: Any, frames: Sequence[Frame], size: int) -> Callable[[], None]:
    """Record what the parts of a detector's network are given in a real pass; what is given computes all of them again.

    Parts are backbone, neck, heads and what pools regions for them; proposals, boxes and copies are none of them. All
    is as in that pass: weights, kinds of numbers, layouts in memory, rounding.
    """
    from bdd100k_zoo.backends.common.precision import use_precision

    calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []
    precision, device = detector.facts.precision, torch.device(detector.facts.device)

    def record(part: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls.append((part, given, named))

    images = [detector.prepare(read_image(frames[place % len(frames)].path)) for place in range(size)]
    handles = [part.register_forward_pre_hook(record, with_kwargs=True) for part in network_parts(detector._model)]
    detector.detect_prepared(images)
    for handle in handles:
        handle.remove()
    if not calls:
        raise RuntimeError("the detector computes without the parts of its model: there is nothing to compare it with")

    def network() -> None:
        with torch.inference_mode(), use_precision(precision, device):
            for part, given, named in calls:
                part.forward(*given, **named)

    return network


def network_parts(model: Any) -> list[Any]:
    """Find the parts that compute: none holds another."""
    regions = getattr(model, "roi_head", None)
    parts = [getattr(model, name, None) for name in ("backbone", "neck", "rpn_head", "bbox_head")]
    for several in (getattr(regions, "bbox_roi_extractor", None), getattr(regions, "bbox_head", None)):
        parts += several if isinstance(several, torch.nn.ModuleList) else [several]
    return [part for part in parts if part is not None]
