"""Frames → results, in stages that overlap: threads read ahead, this thread detects, another writes what is done."""

from __future__ import annotations

from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.data.images import FrameReader
from bdd100k_zoo.errors import DeviceError, ImagesError, NotFiniteError, UnreadableImageError
from bdd100k_zoo.prediction.journal import ChunkResult, FrameResult, StageSeconds

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
    from types import TracebackType

    from bdd100k_zoo.backends.protocol import Detector, Prepared
    from bdd100k_zoo.data.images import Frame
    from bdd100k_zoo.prediction.run import Chunks
    from bdd100k_zoo.progress import Progress, Task

Item = TypeVar("Item")

MAX_UNWRITTEN_CHUNKS = 2
"""Chunks that may wait to be written before detection waits for them."""


class DetectionWork(NamedTuple):
    """What one process is to do."""

    frames: Sequence[Frame]
    """All frames of the run, sorted by name."""
    chunks: Chunks
    """How they are split."""
    pending: Sequence[int]
    """The chunks to compute."""
    batch_size: int
    """Images at once."""
    workers: int
    """Threads that read ahead."""


class _PreparedFrame(NamedTuple):
    """A frame that was read."""

    frame: Frame
    number: int
    """Its place in the sorted list of all frames."""
    prepared: Prepared | None
    unreadable: str
    """Why it could not be read; empty if it could."""
    spent: StageSeconds


def detect_chunks(
    detector: Detector, work: DetectionWork, write: Callable[[ChunkResult], None], progress: Progress, task: Task
) -> None:
    """Detect objects in the frames of some chunks, and write each chunk when it is whole, in their order.

    An image that cannot be read, or that the detector cannot take, is reported, and has no detections. A batch that the
    device has no memory for is halved, down to single images. Only a few batches of images are in memory.

    Args:
        detector: what finds the objects.
        work: which frames, in which batches.
        write: called with every chunk, in a thread of its own.
        progress: where images and batches that were not as they should be are reported.
        task: advanced by every frame that is done.

    Raises:
        Exception: whatever one of the stages raises. What was done before is written.
    """
    numbers = chain.from_iterable(map(work.chunks.frames_of, work.pending))
    with _ChunkWriter(write) as writer, _Readers(detector, work) as readers:
        stage = _DetectStage(detector, work, readers.read_ahead(numbers), progress, task)
        for chunk in work.pending:
            writer.submit(stage.detect_chunk(chunk))


def batch_by_shape(items: Iterable[tuple[Hashable, Item]], size: int) -> Iterator[list[Item]]:
    """Group one chunk's items by shape, in stable order, into batches of at most ``size``.

    A batch is yielded as soon as it is full, and what is left at the end. Which items share one depends on their order
    alone.

    Args:
        items: shape and item.
        size: items in a full batch.
    """
    waiting: dict[Hashable, list[Item]] = {}
    for shape, item in items:
        batch = waiting.setdefault(shape, [])
        batch.append(item)
        if len(batch) == size:
            yield waiting.pop(shape)
    yield from waiting.values()


class _Readers:
    """Threads that read and preprocess frames ahead, in their order.

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

    def read_ahead(self, numbers: Iterable[int]) -> Iterator[_PreparedFrame]:
        """Yield frames by their numbers."""
        waiting: deque[Future[_PreparedFrame]] = deque()
        for number in numbers:
            if number == 0 or self._frames[number].path != self._frames[number - 1].path:
                self._turn = (self._turn + 1) % len(self._threads)
            waiting.append(self._threads[self._turn].submit(self._read, number, self._turn))
            if len(waiting) > self._most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _read(self, number: int, worker: int) -> _PreparedFrame:
        frame, start = self._frames[number], perf_counter()
        prepared, unreadable, decoded = None, "", start
        try:
            image = self._readers[worker].read(frame)
            decoded = perf_counter()
            prepared = self._detector.prepare(image)
        except UnreadableImageError as error:
            unreadable, decoded = error.reason, perf_counter()
        except ImagesError as error:
            unreadable = str(error)
        spent = StageSeconds(decode=decoded - start, prepare=perf_counter() - decoded)
        return _PreparedFrame(frame, number, prepared, unreadable, spent)


class _DetectStage:
    """The stage that uses the device."""

    def __init__(
        self,
        detector: Detector,
        work: DetectionWork,
        frames: Iterator[_PreparedFrame],
        progress: Progress,
        task: Task,
    ) -> None:
        self._detector, self._work, self._frames = detector, work, frames
        self._progress, self._task = progress, task
        self._since = perf_counter()
        self._too_large: set[int] = set()
        self._split: Counter[int] = Counter()
        self._spent = StageSeconds()

    def detect_chunk(self, chunk: int) -> ChunkResult:
        """Compute the next chunk."""
        self._spent, self._split = StageSeconds(), Counter()
        numbers = self._work.chunks.frames_of(chunk)
        done: dict[int, FrameResult] = {}
        for batch in batch_by_shape(self._readable(len(numbers), done), self._work.batch_size):
            start = perf_counter()
            found = self._detect(batch)
            self._spent += StageSeconds(detect=perf_counter() - start)
            for (number, _), detections in zip(batch, found, strict=True):
                done[number] = FrameResult(number, self._work.frames[number].name, detections)
            self._task.advance(len(batch))
        now = perf_counter()
        self._spent += StageSeconds(wall=now - self._since)
        self._since = now
        return ChunkResult(chunk, [done[number] for number in numbers], self._spent, dict(self._split))

    def _readable(
        self, count: int, done: dict[int, FrameResult]
    ) -> Iterator[tuple[tuple[int, ...], tuple[int, Prepared]]]:
        """Yield shape, number and image of the next frames; unreadable ones go to ``done`` at once."""
        for read in islice(self._frames, count):
            self._spent += read.spent
            if read.prepared is None:
                shown = read.frame.path if read.frame.index is None else read.frame.name
                self._progress.warn(f"unreadable image: {shown}: {read.unreadable}")
                done[read.number] = FrameResult(read.number, read.frame.name, Detections.empty(), read.unreadable)
                self._task.advance(1)
            else:
                yield read.prepared.shape, (read.number, read.prepared)

    def _detect(self, batch: Sequence[tuple[int, Prepared]]) -> list[Detections]:
        try:
            return self._detector.detect_prepared([image for _, image in batch])
        except NotFiniteError as error:
            if len(batch) == 1:
                name = self._work.frames[batch[0][0]].name
                raise NotFiniteError(error.model, error.precision, name) from error
            size = 1  # alone, to find out which image it is
        except DeviceError as error:
            if not error.out_of_memory or len(batch) == 1:
                raise
            self._report_too_large(len(batch))
            size = (len(batch) + 1) // 2
        # Outside of the except clauses: there, the error would keep what was on the device.
        parts = (batch[start : start + size] for start in range(0, len(batch), size))
        return [found for part in parts for found in self._detect(part)]

    def _report_too_large(self, size: int) -> None:
        self._split[size] += 1
        if size not in self._too_large:
            self._too_large.add(size)
            smaller = (size + 1) // 2
            self._progress.warn(
                f"the device has no memory for {size} images at once: halved, and so on where it happens again; "
                f"--batch-size {smaller} saves the attempts"
            )


class _ChunkWriter:
    """A thread that writes chunks in their order; its errors are raised with the next chunk, or after the last one."""

    def __init__(self, write: Callable[[ChunkResult], None]) -> None:
        self._write = write
        self._thread = ThreadPoolExecutor(1, "writer")
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> _ChunkWriter:
        return self

    def submit(self, done: ChunkResult) -> None:
        self._waiting.append(self._thread.submit(self._write, done))
        while len(self._waiting) > MAX_UNWRITTEN_CHUNKS:
            self._waiting.popleft().result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        if error is None:
            for future in self._waiting:
                future.result()
