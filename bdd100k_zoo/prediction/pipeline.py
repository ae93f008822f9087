"""Frames → results, in stages that overlap: threads read ahead while this thread detects."""

from __future__ import annotations

from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import chain, count, islice
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from bdd100k_zoo.data.images import Frame, FrameReader
from bdd100k_zoo.errors import ImagesError, UnreadableImageError
from bdd100k_zoo.prediction.batches import BatchDetection, ReadImage, batch_by_shape
from bdd100k_zoo.prediction.limits import NO_LIMITS, Limits
from bdd100k_zoo.prediction.sources import describe_source, read_pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from bdd100k_zoo.backends.protocol import BackendDetector
    from bdd100k_zoo.data.detections import Detections
    from bdd100k_zoo.prediction.run import Chunks
    from bdd100k_zoo.prediction.sources import Source
    from bdd100k_zoo.progress import Progress, Task


class Sizes(NamedTuple):
    """How images are batched and read ahead."""

    batch: int
    """Images at once."""
    chunk: int
    """Images whose results are yielded together. Batches are formed inside a chunk."""
    workers: int
    """Threads that read ahead."""


class DetectionWork(NamedTuple):
    """What one process is to do."""

    frames: Sequence[Frame]
    """All frames of the run, sorted by name."""
    chunks: Chunks
    """How they are split."""
    pending: Sequence[int]
    """The chunks to compute, in ascending order."""
    batch_size: int
    """Images at once."""
    workers: int
    """Threads that read ahead."""
    limits: Limits = NO_LIMITS
    """Which detections to keep."""


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


def detect_chunks(
    detector: BackendDetector, work: DetectionWork, progress: Progress, task: Task
) -> Generator[ChunkResult, None, None]:
    """Detect objects in the frames of some chunks, and yield each chunk when all of its frames are done.

    Close the generator where it is not exhausted: it holds threads.

    Args:
        detector: what finds the objects.
        work: which frames, in which batches.
        progress: where unreadable images and halved batches are reported.
        task: advanced by every frame that is done.

    Raises:
        ZooError: a model gives NaN or infinity, the device fails, or an image has changed since it was found.
    """
    numbers = chain.from_iterable(map(work.chunks.frames_of, work.pending))
    frames = ((number, work.frames[number]) for number in numbers)
    sizes = Sizes(work.batch_size, work.chunks.size, work.workers)
    found = detect_images(detector, frames, sizes, work.limits, warn=progress.warn, advance=task.advance)
    with closing(found) as results:
        for chunk, result in zip(work.pending, results, strict=True):
            yield result._replace(number=chunk)


def detect_images(
    detector: BackendDetector,
    images: Iterable[tuple[int, Source]],
    sizes: Sizes,
    limits: Limits = NO_LIMITS,
    *,
    warn: Callable[[str], None],
    advance: Callable[[int], None] = lambda _: None,
    strict: bool = False,
) -> Generator[ChunkResult, None, None]:
    """Detect objects in images, and yield chunk after chunk, numbered from 0, with the results in the images' order.

    An image that cannot be read, or that the detector cannot take, is reported, and has no detections. A batch that
    does not fit into the device's memory is halved, down to single images. Only a few batches of images are in memory.
    On a GPU the first batch of a chunk may be under way before the chunk before it is yielded.

    Close the generator where it is not exhausted: it holds threads.

    Args:
        detector: what finds the objects.
        images: ascending numbers and images. They are taken by the thread that takes the results.
        sizes: of batches and chunks, and the number of threads.
        limits: which detections to keep.
        warn: takes reports of unreadable images and halved batches.
        advance: takes the number of images that are done, batch by batch.
        strict: raise the error of an image that cannot be read.

    Raises:
        ZooError: a model gives NaN or infinity, the device fails, an image has changed since it was found, or the
            caller's image has a wrong type, dtype or shape.
    """
    batches = BatchDetection(detector, warn)
    with closing(_read_ahead(detector, images, sizes, strict=strict)) as ahead:
        since, numbers = perf_counter(), count()
        done: dict[int, FrameResult] = {}
        spent, split_before = StageSeconds(), Counter(batches.split)
        for found in batches.run(_batches_by_chunk(ahead, sizes)):
            if found is None:
                now = perf_counter()
                spent, since = spent + StageSeconds(wall=now - since), now
                split = dict(batches.split - split_before)
                yield ChunkResult(next(numbers), [done[place] for place in sorted(done)], spent, split)
                done, spent, split_before = {}, StageSeconds(), Counter(batches.split)
                continue
            spent += StageSeconds(detect=found.seconds)
            for each, detections in zip(found.images, found.detections, strict=True):
                if each.unreadable is not None:
                    warn(f"unreadable image: {describe_source(each.source)}: {each.unreadable}")
                kept = limits.apply(detections)
                done[each.number] = FrameResult(each.number, each.source.name, kept, each.unreadable)
                spent += StageSeconds(decode=each.decode_seconds, prepare=each.prepare_seconds)
            advance(len(found.images))


def _batches_by_chunk(ahead: Iterator[ReadImage], sizes: Sizes) -> Iterator[list[ReadImage] | None]:
    """Yield the batches of one chunk after the other, and None after the last one of each."""
    while True:
        shaped = ((each.shape, each) for each in islice(ahead, sizes.chunk))
        batches = 0
        for batches, batch in enumerate(batch_by_shape(shaped, sizes.batch), 1):  # noqa: B007  (counts them)
            yield batch
        if not batches:
            return
        yield None


def _read_ahead(
    detector: BackendDetector, images: Iterable[tuple[int, Source]], sizes: Sizes, *, strict: bool
) -> Generator[ReadImage, None, None]:
    """Read and preprocess images in threads, and yield them in order.

    The frames of a video are read one after the other by one thread; files and the caller's images take turns.
    """
    # As many images are in memory whether one batch is under way on the device or two.
    most = (3 - detector.batches_in_flight) * sizes.batch + sizes.workers
    waiting: deque[Future[ReadImage]] = deque()
    with ExitStack() as stack:
        readers = [stack.enter_context(FrameReader()) for _ in range(sizes.workers)]
        pools = (ThreadPoolExecutor(1, "reader", detector.start_reader) for _ in range(sizes.workers))
        threads = [stack.enter_context(pool) for pool in pools]
        for thread in threads:  # runs first at the end, so that no thread reads what is no longer needed
            stack.callback(thread.shutdown, wait=False, cancel_futures=True)
        turn, last = 0, None
        for number, source in images:
            path = source.path if isinstance(source, Frame) else None
            if path is None or path != last:
                turn, last = (turn + 1) % sizes.workers, path
            waiting.append(threads[turn].submit(_read, number, source, readers[turn], detector, strict=strict))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read(number: int, source: Source, reader: FrameReader, detector: BackendDetector, *, strict: bool) -> ReadImage:
    start = perf_counter()
    prepared, unreadable = None, None
    try:
        image = read_pixels(source, reader)
    except UnreadableImageError as error:
        if strict:
            raise
        unreadable, decoded = error.reason, perf_counter()
    else:
        decoded = perf_counter()
        try:
            prepared = detector.prepare(image)
        except ImagesError as error:  # of a shape that the detector cannot take
            if strict:
                raise ImagesError(f"{describe_source(source)}: {error}", error.hint) from error
            unreadable = str(error)
    return ReadImage(number, source, prepared, unreadable, decoded - start, perf_counter() - decoded)
