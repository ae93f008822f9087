"""Frames → results, in stages that overlap: threads read ahead, this thread detects, another keeps what is done."""

from __future__ import annotations

from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.data.images import FrameReader
from bdd100k_zoo.errors import DeviceError, ImageShapeError, NotFiniteError, UnreadableImageError
from bdd100k_zoo.prediction.journal import ChunkResult, FrameResult, StageSeconds
from bdd100k_zoo.prediction.sharding import batch_by_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    from bdd100k_zoo.backends.protocol import Detector, Prepared
    from bdd100k_zoo.data.images import Frame
    from bdd100k_zoo.prediction.run import Chunks
    from bdd100k_zoo.progress import Progress, Task

MAX_UNWRITTEN_CHUNKS = 2
"""Chunks that may wait to be kept before the detecting thread waits for them."""


class DetectionWork(NamedTuple):
    """What one process is to do."""

    frames: Sequence[Frame]
    """All frames of the run, sorted by name."""
    cut: Chunks
    """How they are cut."""
    todo: Sequence[int]
    """The chunks to compute."""
    batch_size: int
    """Images at once."""
    workers: int
    """Threads that read ahead."""


class _PreparedFrame(NamedTuple):
    """A frame that was read."""

    prepared: Prepared | None
    unreadable: str
    """Why it could not be; empty where it could."""
    spent: StageSeconds


def detect_chunks(
    detector: Detector, work: DetectionWork, keep: Callable[[ChunkResult], None], progress: Progress, task: Task
) -> None:
    """Detect objects in the frames of some chunks and hand each chunk on when it is whole, in order.

    An image that cannot be read, or that the detector cannot take, is named, and has no detections. A batch that the
    device has no memory for is halved, down to single images. At most a few batches of images are in memory.

    Args:
        detector: what finds the objects.
        work: which frames, in which batches.
        keep: called for every chunk, in a thread of its own.
        progress: what is told of images and batches that were not as they should be.
        task: what is told of every frame done.

    Raises:
        Exception: whatever one of the stages raises. What is done by then is kept before.
    """
    places = chain.from_iterable(map(work.cut.frames_of, work.todo))
    with _ChunkWriter(keep) as keeper, _Readers(detector, work) as readers:
        stage = _DetectStage(detector, work, readers.ahead(places), progress, task)
        for chunk in work.todo:
            keeper.take(stage.chunk(chunk))


class _Readers:
    """Threads that read and prepare frames, ahead of their being asked for and in their order.

    Frames of one file, a video, are read by one thread one after the other; files take turns.
    """

    def __init__(self, detector: Detector, work: DetectionWork) -> None:
        self._detector = detector
        self._frames = work.frames
        self._most = 2 * work.batch_size + work.workers
        self._threads = [ThreadPoolExecutor(1, "reader") for _ in range(work.workers)]
        self._readers = [FrameReader() for _ in range(work.workers)]
        self._turn = 0

    def __enter__(self) -> _Readers:
        for reader in self._readers:
            reader.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for thread in self._threads:
            thread.shutdown(wait=False, cancel_futures=True)
        for thread, reader in zip(self._threads, self._readers, strict=True):
            thread.shutdown(wait=True)
            reader.__exit__(kind, error, trace)

    def ahead(self, places: Iterable[int]) -> Iterator[tuple[Frame, int, _PreparedFrame]]:
        """Give frames with their places in the list."""
        waiting: deque[tuple[Frame, int, Future[_PreparedFrame]]] = deque()
        for place in places:
            frame = self._frames[place]
            waiting.append((frame, place, self._thread_for(place).submit(self._read, frame, self._turn)))
            if len(waiting) > self._most:
                yield _when_ready(*waiting.popleft())
        while waiting:
            yield _when_ready(*waiting.popleft())

    def _thread_for(self, place: int) -> ThreadPoolExecutor:
        if place == 0 or self._frames[place].path != self._frames[place - 1].path:
            self._turn = (self._turn + 1) % len(self._threads)
        return self._threads[self._turn]

    def _read(self, frame: Frame, worker: int) -> _PreparedFrame:
        start = decoded = perf_counter()
        prepared, unreadable = None, ""
        try:
            image = self._readers[worker].read(frame)
            decoded = perf_counter()
            prepared = self._detector.prepare(image)
        except UnreadableImageError as error:
            unreadable, decoded = error.reason, perf_counter()
        except ImageShapeError as error:
            unreadable = str(error)
        return _PreparedFrame(
            prepared, unreadable, StageSeconds(decode=decoded - start, prepare=perf_counter() - decoded)
        )


def _when_ready(frame: Frame, place: int, future: Future[_PreparedFrame]) -> tuple[Frame, int, _PreparedFrame]:
    return frame, place, future.result()


class _DetectStage:
    """The stage that uses the device."""

    def __init__(
        self,
        detector: Detector,
        work: DetectionWork,
        frames: Iterator[tuple[Frame, int, _PreparedFrame]],
        progress: Progress,
        task: Task,
    ) -> None:
        self._detector, self._work, self._frames = detector, work, frames
        self._progress, self._task = progress, task
        self._since = perf_counter()
        self._too_large: set[int] = set()
        self._split: Counter[int] = Counter()
        self._spent = StageSeconds()

    def chunk(self, number: int) -> ChunkResult:
        """Do the next chunk."""
        self._spent, self._split = StageSeconds(), Counter()
        places = self._work.cut.frames_of(number)
        done: dict[int, FrameResult] = {}
        for batch in batch_by_shape(self._readable(len(places), done), self._work.batch_size):
            self._detect_batch(batch, done)
        now = perf_counter()
        self._spent += StageSeconds(wall=now - self._since)
        self._since = now
        return ChunkResult(number, [done[place] for place in places], self._spent, dict(self._split))

    def _readable(
        self, count: int, done: dict[int, FrameResult]
    ) -> Iterator[tuple[tuple[int, ...], tuple[int, Prepared]]]:
        """Give shape, place and image of the next frames; those that are unreadable are done at once."""
        for frame, place, ready in islice(self._frames, count):
            self._spent += ready.spent
            if ready.prepared is None:
                shown = frame.path if frame.index is None else frame.name
                self._progress.warn(f"unreadable image: {shown}: {ready.unreadable}")
                done[place] = FrameResult(place, frame.name, Detections.empty(), ready.unreadable)
                self._task.advance(1)
            else:
                yield ready.prepared.shape, (place, ready.prepared)

    def _detect_batch(self, batch: list[tuple[int, Prepared]], done: dict[int, FrameResult]) -> None:
        start = perf_counter()
        found = self._detect(batch)
        self._spent += StageSeconds(detect=perf_counter() - start)
        for (place, _), detections in zip(batch, found, strict=True):
            done[place] = FrameResult(place, self._work.frames[place].name, detections)
        self._task.advance(len(batch))

    def _detect(self, batch: Sequence[tuple[int, Prepared]]) -> list[Detections]:
        try:
            return self._detector.detect_prepared([image for _, image in batch])
        except NotFiniteError as error:
            if len(batch) == 1:
                name = self._work.frames[batch[0][0]].name
                raise NotFiniteError(error.model, error.precision, name) from error
            size = 1  # alone, to find which image it is
        except DeviceError as error:
            if not error.out_of_memory or len(batch) == 1:
                raise
            self._say_too_large(len(batch))
            size = (len(batch) + 1) // 2
        # Not while the error is handled: it holds on to what was on the device.
        parts = (batch[start : start + size] for start in range(0, len(batch), size))
        return [found for part in parts for found in self._detect(part)]

    def _say_too_large(self, size: int) -> None:
        self._split[size] += 1
        if size not in self._too_large:
            self._too_large.add(size)
            smaller = (size + 1) // 2
            self._progress.warn(
                f"the device has no memory for {size} images at once: halved, and so on where it happens again; "
                f"--batch-size {smaller} saves the attempts"
            )


class _ChunkWriter:
    """A thread that keeps chunks in their order; what it raises is raised where the next chunk comes, or the last."""

    def __init__(self, keep: Callable[[ChunkResult], None]) -> None:
        self._keep = keep
        self._thread = ThreadPoolExecutor(1, "keeper")
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> _ChunkWriter:
        return self

    def take(self, done: ChunkResult) -> None:
        self._waiting.append(self._thread.submit(self._keep, done))
        while len(self._waiting) > MAX_UNWRITTEN_CHUNKS:
            self._waiting.popleft().result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        if error is None:
            for future in self._waiting:
                future.result()
