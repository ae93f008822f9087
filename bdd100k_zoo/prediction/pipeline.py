"""Frames → results, in stages that overlap: threads read ahead while this thread detects."""

from __future__ import annotations

from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import chain, islice
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from msgspec import Struct

from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.data.images import FrameReader
from bdd100k_zoo.errors import DeviceError, ImagesError, NotFiniteError, UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Generator, Hashable, Iterable, Iterator, Mapping, Sequence

    from bdd100k_zoo.backends.protocol import BackendDetector, Prepared
    from bdd100k_zoo.data.images import Frame
    from bdd100k_zoo.prediction.run import Chunks
    from bdd100k_zoo.progress import Progress, Task

Item = TypeVar("Item")


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


class StageSeconds(Struct, frozen=True, kw_only=True):
    """Seconds that a chunk took, by stage."""

    decode: float = 0.0
    prepare: float = 0.0
    detect: float = 0.0
    write: float = 0.0
    wall: float = 0.0
    """Since the previous chunk was done."""

    def __add__(self, other: StageSeconds) -> StageSeconds:
        return StageSeconds(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class FrameResult(NamedTuple):
    """The result of one frame."""

    number: int
    """Its place in the sorted list of all frames, from 0."""
    name: str
    detections: Detections
    unreadable: str | None = None
    """Why the image could not be read; it has no detections then."""


class ChunkResult(NamedTuple):
    """The results of all frames of a chunk."""

    number: int
    frames: Sequence[FrameResult]
    spent: StageSeconds = StageSeconds()
    split: Mapping[int, int] = {}
    """Batches that were halved because the device had no memory for them: how many, by size."""


class _PreparedFrame(NamedTuple):
    """A frame that was read."""

    number: int
    """Its place in the sorted list of all frames."""
    frame: Frame
    prepared: Prepared | None
    unreadable: str | None
    """Why it could not be read."""
    spent: StageSeconds

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Frames of one shape may share a batch."""
        return None if self.prepared is None else self.prepared.shape


def detect_chunks(
    detector: BackendDetector, work: DetectionWork, progress: Progress, task: Task
) -> Generator[ChunkResult, None, None]:
    """Detect objects in the frames of some chunks, and yield each chunk when all of its frames are done.

    An image that cannot be read, or that the detector cannot take, is reported, and has no detections. A batch that
    does not fit into the device's memory is halved, down to single images. Only a few batches of images are in memory.

    Close the generator where it is not exhausted: it holds threads.

    Args:
        detector: what finds the objects.
        work: which frames, in which batches.
        progress: where unreadable images and halved batches are reported.
        task: advanced by every frame that is done.

    Raises:
        ZooError: a model gives NaN or infinity, the device fails, or an image has changed since it was found.
    """
    split: Counter[int] = Counter()
    with closing(_read_ahead(detector, work)) as ahead:
        since = perf_counter()
        for chunk in work.pending:
            numbers = work.chunks.frames_of(chunk)
            done: dict[int, FrameResult] = {}
            spent, split_before = StageSeconds(), Counter(split)
            shaped = ((each.shape, each) for each in islice(ahead, len(numbers)))
            for batch in batch_by_shape(shaped, work.batch_size):
                start = perf_counter()
                found = _detect(detector, batch, split, progress)
                spent += StageSeconds(detect=perf_counter() - start)
                for each, detections in zip(batch, found, strict=True):
                    if each.unreadable is not None:
                        shown = each.frame.path if each.frame.index is None else each.frame.name
                        progress.warn(f"unreadable image: {shown}: {each.unreadable}")
                    done[each.number] = FrameResult(each.number, each.frame.name, detections, each.unreadable)
                    spent += each.spent
                task.advance(len(batch))
            now = perf_counter()
            spent, since = spent + StageSeconds(wall=now - since), now
            yield ChunkResult(chunk, [done[number] for number in numbers], spent, dict(split - split_before))


def batch_by_shape(items: Iterable[tuple[Hashable, Item]], size: int) -> Iterator[list[Item]]:
    """Group the items of one chunk by shape, in stable order, into batches of at most ``size``.

    A batch is yielded as soon as it is full, and the rest at the end. Which items share a batch depends on their order
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


def _detect(
    detector: BackendDetector, batch: Sequence[_PreparedFrame], split: Counter[int], progress: Progress
) -> list[Detections]:
    """Detect objects in a batch of one shape, or of unreadable frames; count the batches that are halved by size."""
    try:
        prepared = [each.prepared for each in batch if each.prepared is not None]
        return detector.detect_prepared(prepared) if prepared else [Detections.empty()] * len(batch)
    except NotFiniteError as error:
        if len(batch) == 1:
            raise NotFiniteError(error.model, error.precision, batch[0].frame.name) from error
        size = 1  # one by one, to find out which image it is
    except DeviceError as error:
        if not error.out_of_memory or len(batch) == 1:
            raise
        size = (len(batch) + 1) // 2
        if len(batch) not in split:
            progress.warn(
                f"the device has no memory for {len(batch)} images at once: such batches are halved; "
                f"--batch-size {size} avoids the failed attempts"
            )
        split[len(batch)] += 1
    # Outside of the except clauses: there, the error would keep what was on the device.
    parts = (batch[start : start + size] for start in range(0, len(batch), size))
    return [found for part in parts for found in _detect(detector, part, split, progress)]


def _read_ahead(detector: BackendDetector, work: DetectionWork) -> Generator[_PreparedFrame, None, None]:
    """Read and preprocess the frames of the pending chunks in threads, and yield them in order.

    The frames of a video are read one after the other by one thread; files take turns.
    """
    most = 2 * work.batch_size + work.workers
    waiting: deque[Future[_PreparedFrame]] = deque()
    with ExitStack() as stack:
        readers = [stack.enter_context(FrameReader()) for _ in range(work.workers)]
        threads = [stack.enter_context(ThreadPoolExecutor(1, "reader")) for _ in range(work.workers)]
        for thread in threads:  # runs first at the end, so that no thread reads what is no longer needed
            stack.callback(thread.shutdown, wait=False, cancel_futures=True)
        turn = 0
        for number in chain.from_iterable(map(work.chunks.frames_of, work.pending)):
            frame = work.frames[number]
            if number == 0 or frame.path != work.frames[number - 1].path:
                turn = (turn + 1) % work.workers
            waiting.append(threads[turn].submit(_read, number, frame, readers[turn], detector))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read(number: int, frame: Frame, reader: FrameReader, detector: BackendDetector) -> _PreparedFrame:
    start = perf_counter()
    prepared, unreadable = None, None
    try:
        image = reader.read(frame)
    except UnreadableImageError as error:
        unreadable, decoded = error.reason, perf_counter()
    else:
        decoded = perf_counter()
        try:
            prepared = detector.prepare(image)
        except ImagesError as error:  # of a shape that the detector cannot take
            unreadable = str(error)
    spent = StageSeconds(decode=decoded - start, prepare=perf_counter() - decoded)
    return _PreparedFrame(number, frame, prepared, unreadable, spent)
