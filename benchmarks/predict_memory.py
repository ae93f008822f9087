"""Whether the memory of a prediction run grows with the number of images.

    python benchmarks/predict_memory.py [--images 20000] [--batch-size 8]

A detector that finds 100 boxes at random, and takes no time, runs over many links to one small image, through
everything else that a run goes through: finding, reading ahead, journal, assembly. Printed is the peak of the process's
memory after a quarter, a half and all of the images, and when the predictions file is written; and the bytes that a
frame takes.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import cv2
import msgspec
import numpy as np

from bdd100k_zoo.backends.protocol import DetectorFacts
from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.prediction.journal import JournalHeader, Journals, ProcessInfo, frame_line
from bdd100k_zoo.prediction.pipeline import FrameResult
from bdd100k_zoo.prediction.run import RunRequest, WeightsUsed, frames_digest
from bdd100k_zoo.prediction.run_folder import run_folder_lock
from bdd100k_zoo.prediction.sharding import RunShard, chunk_size, compute_shard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BOXES = 100
SIZE = (96, 160, 3)


class Ready(NamedTuple):
    """An image of which the shape alone is kept."""

    shape: tuple[int, ...]


class RandomDetector:
    """Finds boxes at random, in the range of a BDD100K frame."""

    batch_size = 8
    batches_in_flight = 1
    facts = DetectorFacts(
        backend="none", device="cpu", device_name="", precision="fp32", ops="none", versions={}, threads=1
    )

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def detect(self, image: np.ndarray) -> Detections:
        """Find objects in one image."""
        return self.detect_prepared([self.prepare(image)])[0]

    def start_reader(self) -> None:
        """Set up nothing."""

    def prepare(self, image: np.ndarray) -> Ready:
        """Look at an image."""
        return Ready(image.shape[:2])

    def detect_prepared(self, batch: Sequence[Ready]) -> list[Detections]:
        """Find objects in a batch."""
        return [self._draw() for _ in batch]

    def _draw(self) -> Detections:
        corners = self._random.random((BOXES, 4), np.float32) * np.array([640, 360, 640, 360], np.float32)
        corners[:, 2:] += corners[:, :2]
        scores = self._random.random(BOXES, np.float32)
        return Detections(corners, scores, self._random.integers(0, 10, BOXES))


class Watch:
    """A Progress that notes the peak of memory at some numbers of images."""

    def __init__(self, marks: Sequence[int]) -> None:
        self.done = 0
        self.marks = list(marks)
        self.peaks: list[float] = []

    @contextmanager
    def task(self, *_: object, **__: object) -> Iterator[Watch]:
        """Open the run's task; the assembly's counts no images of its own."""
        yield self

    def advance(self, amount: int) -> None:
        """Count images."""
        self.done += amount
        while self.marks and self.done >= self.marks[0]:
            self.marks.pop(0)
            self.peaks.append(peak())

    def restart(self, done: int, total: int | None) -> None:
        """Nothing restarts."""

    def note(self, message: str) -> None:
        """Report nothing."""

    warn = note


def peak() -> float:
    """Return the largest resident memory so far, in MiB."""
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / 1024 if sys.platform != "darwin" else largest / 2**20


def draw(folder: Path, number: int) -> None:
    """Write one image, and give it so many names."""
    folder.mkdir()
    first = folder / f"{0:07}.jpg"
    cv2.imwrite(str(first), np.random.default_rng(0).integers(0, 255, SIZE, np.uint8))
    for place in range(1, number):
        if place % 30_000 == 0:  # file systems limit how many names a file may have
            first = folder / f"{place:07}.jpg"
            first.write_bytes((folder / f"{0:07}.jpg").read_bytes())
        else:
            os.link(first, folder / f"{place:07}.jpg")


def measure(folder: Path, number: int, batch_size: int) -> None:
    """Run over the images and print the peaks."""
    detector = RandomDetector()
    frames = find_images([str(folder / "frames")]).frames
    request = RunRequest(
        model="random",
        config="",
        config_sha256="",
        cfg_options={},
        split=None,
        image_roots=(str(folder),),
        frames=len(frames),
        frames_sha256=frames_digest((frame.name, frame.stamp) for frame in frames),
        precision="fp32",
    )
    weights = WeightsUsed(
        path="", size=0, md5="", sha256="", verified=True, verified_by=None, unverified_because=None, address=None
    )
    facts = msgspec.structs.replace(detector.facts, batch_size=batch_size)
    header = JournalHeader(request=request, facts=facts, weights=weights, chunk_size=chunk_size(batch_size))
    process = ProcessInfo(started="", load=0.0)
    watch = Watch([number // 4, number // 2, number])
    part = RunShard(folder=folder / "run", frames=frames, workers=2)
    print(f"before the first image: {peak():.0f} MiB (of which {number:,} names and paths)")
    with run_folder_lock(part.folder):
        start = perf_counter()
        record = compute_shard(detector, part, header, process, Journals(), watch)
    if record is None:
        raise RuntimeError("the run is not complete")
    for share, mark in zip(("1/4", "1/2", "end"), watch.peaks, strict=True):
        print(f"{share:>4}: {mark:.0f} MiB")
    growth = watch.peaks[2] - watch.peaks[0]
    print(f"written: {peak():.0f} MiB; from 1/4 to the end {growth:+.1f} MiB")
    seconds = record.seconds
    print(f"{number / (perf_counter() - start):,.0f} images/s, of which the file took {seconds.assemble:.1f} s")
    line = frame_line(FrameResult(number, frames[-1].name, detector.detect(np.zeros(SIZE, np.uint8))))
    size = (part.folder / "det.json").stat().st_size
    print(f"bytes a frame of {BOXES} boxes: journal {len(line):,}, det.json {size / number:,.0f}")


def main() -> None:
    """Measure in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--batch-size", type=int, default=8)
    arguments = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder, "frames"), arguments.images)
        measure(Path(folder), arguments.images, arguments.batch_size)


if __name__ == "__main__":
    main()
