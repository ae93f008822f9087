"""The timed steps of `gpu_session.py`: images per second of a model's variants, and a profile of three batches."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from precision import pairs_of
from predict_engines import bare_network

from bdd100k_zoo.backends.common.devices import synchronize_device
from bdd100k_zoo.benchmark.loops import BenchSetup, run_pipeline, sum_chunk_times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpu_session import Session

    from bdd100k_zoo.data.detections import Detections

OVERLAP = 0.9
"""A box is found again if a box of its class overlaps it by this much (IoU)."""


class Variant(NamedTuple):
    """A way to compute the same images."""

    name: str
    run: Callable[[int], Any]
    """Computes a number of images."""


def ours(setup: BenchSetup, precision: str, session: Session) -> Iterator[Variant]:
    """Load our detector in a precision, and yield its variants: as shipped, without its parts, the bare network."""
    detector: Any = setup._replace(precision=precision).load()
    from bdd100k_zoo.backends.mmdet3.batched_heads import mmdet_heads  # needs the ops that loading has installed

    frames, batch, shipped = setup.frames, session.batch, 2 if session.dry else detector.batches_in_flight

    def variant(name: str, in_flight: int, plain_heads: bool) -> Variant:
        def run(images: int) -> list[Any]:
            detector.batches_in_flight = in_flight
            with mmdet_heads() if plain_heads else nullcontext():
                return run_pipeline(detector, [frames[place % len(frames)] for place in range(images)], batch)

        return Variant(f"{precision} {name}".strip(), run)

    yield variant("", shipped, plain_heads=False)
    if precision in session.compared:
        yield variant("one batch under way", 1, plain_heads=False)
        yield variant("mmdet's heads", shipped, plain_heads=True)
        yield variant("one batch under way, mmdet's heads", 1, plain_heads=True)
    network = bare_network(detector, frames, batch)

    def bare(images: int) -> None:
        for _ in range(max(1, images // batch)):
            network()

    yield Variant(f"{precision} bare", bare)


def mmdet_loop(setup: BenchSetup) -> Iterator[Variant]:
    """Load mmdet's own loop, and yield it with and without TF32 in convolutions, which is torch's default."""
    loop: Any = setup.load_stock(tf32=True)
    number = len(setup.frames)

    def run(images: int, tf32: bool) -> None:
        loop._tf32 = tf32
        loop.detect([place % number for place in range(images)])

    yield Variant("mmdet, TF32", lambda images: run(images, tf32=True))
    yield Variant("mmdet, fp32", lambda images: run(images, tf32=False))


def measure_speed(model: str, session: Session) -> dict[str, Any]:
    """Measure all variants of a model in turns, and compare the boxes of lower precisions with those of fp32.

    Returns:
        Images per second by variant: the median of the rounds, and all rounds; and the boxes that were found again.
    """
    setup = session.setup(model)
    variants = [*mmdet_loop(setup)]
    for precision in session.precisions:
        variants += ours(setup, precision, session)
    rates: dict[str, list[float]] = {each.name: [] for each in variants}
    boxes: dict[str, list[Detections]] = {}
    halved: dict[str, int] = {}
    for number in range(session.rounds + 1):  # the first one warms up, and its boxes are compared
        for each in variants if number % 2 else variants[::-1]:
            synchronize_device(session.device)
            start = time.perf_counter()
            done = each.run(session.images)
            synchronize_device(session.device)
            rates[each.name].append(session.images / (time.perf_counter() - start))
            if number == 0 and each.name in session.precisions:
                boxes[each.name] = [frame.detections for chunk in done for frame in chunk.frames]
                halved[each.name] = sum(sum_chunk_times(done)[1].values())
    return {
        "model": model,
        "batch": session.batch,
        "images": session.images,
        "images_per_second": {name: float(f"{median(each[1:] or each):.4g}") for name, each in rates.items()},
        "rounds": {name: [float(f"{rate:.4g}") for rate in each] for name, each in rates.items()},
        "boxes": sum(map(len, boxes["fp32"])),
        "found_again": {name: _found_again(boxes["fp32"], found) for name, found in boxes.items()},
        "halved": halved,
        "peak_mib": round(torch.cuda.max_memory_allocated() / 2**20) if torch.cuda.is_available() else None,
    }


def _found_again(expected: Sequence[Detections], found: Sequence[Detections]) -> int:
    return sum(len(pairs_of(*pair, OVERLAP)) for pair in zip(expected, found, strict=True) if len(pair[0]))


def profile(model: str, session: Session) -> dict[str, Any]:
    """Profile three batches in the first of the compared precisions, and write the table of operators to a file."""
    from torch.profiler import ProfilerActivity

    precision = session.compared[0]
    run = next(ours(session.setup(model), precision, session)).run
    run(session.batch)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    synchronize_device(session.device)
    start = time.perf_counter()
    with torch.profiler.profile(activities=activities) as recorded:
        run(3 * session.batch)
        synchronize_device(session.device)
    seconds = time.perf_counter() - start
    averages: Any = recorded.key_averages()
    by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    table = averages.table(sort_by=by, row_limit=60, max_name_column_width=80)
    Path(session.out, f"profile-{model}.txt").write_text(table, encoding="utf-8")
    kernels = [each for each in recorded.events() or () if str(each.device_type).endswith("CUDA")]
    return {
        "model": model,
        "precision": precision,
        "seconds": round(seconds, 4),
        "on_device_seconds": round(sum(each.self_device_time_total for each in kernels) / 1e6, 4),
        "on_device": len(kernels),
        "copies_to_host": sum("DtoH" in each.name for each in kernels),
        "waits": sum(each.count for each in averages if each.key in ("cudaStreamSynchronize", "cudaDeviceSynchronize")),
    }
