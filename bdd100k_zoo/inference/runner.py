"""The loop of a run: read, detect, write, frame by frame."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

from bdd100k_zoo.boxes import Detections
from bdd100k_zoo.errors import ImageShapeError, UnreadableImageError
from bdd100k_zoo.inference.reading import FrameReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Protocol

    from bdd100k_zoo.inference.images import Frame
    from bdd100k_zoo.inference.protocol import Detector
    from bdd100k_zoo.progress import Progress

    class FrameWriter(Protocol):
        """Takes frames in the order of their names."""

        def write(self, name: str, detections: Detections) -> None:
            """Take one frame."""


@dataclass
class Tally:
    """What a run has gone through so far."""

    decode: float = 0.0
    """Seconds."""
    detect: float = 0.0
    write: float = 0.0
    images: int = 0
    detections: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """Frame name and reason."""

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the time of a block to a phase."""
        start = perf_counter()
        try:
            yield
        finally:
            setattr(self, phase, getattr(self, phase) + perf_counter() - start)


def run(detector: Detector, frames: Sequence[Frame], writer: FrameWriter, progress: Progress) -> Tally:
    """Detect objects in every frame and write them in the given order.

    An image that cannot be read, or that the detector cannot take, is named, counted and given an empty frame.
    """
    tally = Tally()
    with progress.task("Predicting", len(frames), "images") as task, FrameReader() as reader:
        for frame in frames:
            detections = _detect(detector, reader, frame, tally, progress)
            with tally.timed("write"):
                writer.write(frame.name, detections)
            tally.images += 1
            tally.detections += len(detections)
            task.advance(1)
    return tally


def _detect(detector: Detector, reader: FrameReader, frame: Frame, tally: Tally, progress: Progress) -> Detections:
    try:
        with tally.timed("decode"):
            image = reader.read(frame)
        with tally.timed("detect"):
            return detector.detect(image)
    except UnreadableImageError as error:
        reason = error.reason
    except ImageShapeError as error:
        reason = str(error)
    progress.warn(f"unreadable image: {frame.path}: {reason}")
    tally.unreadable.append((frame.name, reason))
    return Detections.empty()
