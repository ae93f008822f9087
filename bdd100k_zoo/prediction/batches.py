"""Batches → detections: one after the other on the CPU, two under way on a GPU; halved where memory is short."""

from __future__ import annotations

from collections import Counter, deque
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.errors import DeviceError, NotFiniteError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence

    from bdd100k_zoo.backends.protocol import BackendDetector, Prepared
    from bdd100k_zoo.prediction.sources import Source

Item = TypeVar("Item")


class ReadImage(NamedTuple):
    """An image that was read and preprocessed, or could not be read."""

    number: int
    source: Source
    prepared: Prepared | None
    unreadable: str | None
    """Why it could not be read."""
    decode_seconds: float
    prepare_seconds: float

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Images of one shape may share a batch."""
        return None if self.prepared is None else self.prepared.shape


class DetectedBatch(NamedTuple):
    """A batch, and what was found in it."""

    images: Sequence[ReadImage]
    detections: Sequence[Detections]
    seconds: float
    """In which the calling thread was busy with it."""


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


class _Batch:
    """A batch on its way; ``started`` is what the detector returned for it, if it is under way on the device."""

    def __init__(self, images: Sequence[ReadImage]) -> None:
        self.images = images
        self.prepared = [each.prepared for each in images if each.prepared is not None]
        self.started: Any = None
        self.error: Exception | None = None
        """Raised when it is the batch's turn, so that the results of those before it are not lost."""
        self.seconds = 0.0


class BatchDetection:
    """Detects objects in batches of one shape each, in order.

    A detector that allows two batches in flight is given batch k + 1 before batch k is finished, so that the device
    computes one network while the host waits for the other batch's boxes. If the device has no memory for that, batches
    are computed one after the other from then on; a batch that still does not fit is halved, down to single images.
    """

    def __init__(self, detector: BackendDetector, warn: Callable[[str], None]) -> None:
        """Prepare for some batches.

        Args:
            detector: what finds the objects.
            warn: takes reports of what does not fit into memory.
        """
        self.split: Counter[int] = Counter()
        """The batches that were halved: how many, by size."""
        self._detector, self._warn = detector, warn
        self._in_flight = detector.batches_in_flight
        self._queue: deque[_Batch | None] = deque()

    def run(self, batches: Iterable[Sequence[ReadImage] | None]) -> Generator[DetectedBatch | None, None, None]:
        """Yield every batch when it is done, and every None when all batches before it are done.

        Args:
            batches: of one shape, or of images that could not be read; None marks the end of a chunk.

        Raises:
            ZooError: a model gives NaN or infinity, the device fails, or ``batches`` raises it. The batches before are
                done first.
        """
        error: Exception | None = None
        source = iter(batches)
        while True:
            try:
                images = next(source)
            except StopIteration:
                break
            except Exception as failure:  # noqa: BLE001  (raised below, when what is under way is done)
                error = failure
                break
            self._queue.append(None if images is None else self._start(images))
            while self._queue and (self._queue[0] is None or self._under_way >= self._in_flight):
                yield self._finish(self._queue.popleft())
        while self._queue:
            yield self._finish(self._queue.popleft())
        if error is not None:
            raise error

    @property
    def _under_way(self) -> int:
        return sum(each is not None for each in self._queue)

    def _start(self, images: Sequence[ReadImage]) -> _Batch:
        """Queue the network of a batch, if two may be under way; otherwise all is done when it is finished."""
        batch, start = _Batch(images), perf_counter()
        if self._in_flight > 1 and batch.prepared:
            try:
                batch.started = self._detector.start(batch.prepared)
            except Exception as error:  # noqa: BLE001  (raised when it is the batch's turn)
                if isinstance(error, DeviceError) and error.out_of_memory:
                    self._warn_of_memory(len(images))
                else:
                    batch.error = error
                self._in_flight = 1
        batch.seconds = perf_counter() - start
        return batch

    def _finish(self, batch: _Batch | None) -> DetectedBatch | None:
        if batch is None:
            return None
        if batch.error is not None:
            raise batch.error
        start = perf_counter()
        found = None if batch.started is None else self._finish_started(batch)
        if found is None:
            found = self._detect(batch.images)
        return DetectedBatch(batch.images, found, batch.seconds + perf_counter() - start)

    def _finish_started(self, batch: _Batch) -> list[Detections] | None:
        """Finish a batch that is under way; None if it must be computed again, by itself."""
        started, batch.started = batch.started, None
        try:
            return self._detector.finish(started)
        except NotFiniteError:
            return None
        except DeviceError as error:
            if not error.out_of_memory:
                raise
        self._warn_of_memory(len(batch.images))
        self._in_flight = 1
        for other in filter(None, self._queue):
            other.started = None  # gives its memory back; it is computed again
        return None

    def _warn_of_memory(self, size: int) -> None:
        """Report that a batch does not fit beside another one, if another one is under way."""
        if any(each is not None and each.started is not None for each in self._queue):
            self._warn(
                f"the device has no memory for two batches of {size} images at once: from now on, one is computed "
                f"after the other; a smaller --batch-size (in Python, batch_size) may be faster"
            )

    def _detect(self, batch: Sequence[ReadImage]) -> list[Detections]:
        """Detect objects in a batch by itself; halve it where it does not fit."""
        try:
            prepared = [each.prepared for each in batch if each.prepared is not None]
            return self._detector.detect_prepared(prepared) if prepared else [Detections.empty()] * len(batch)
        except NotFiniteError as error:
            if len(batch) == 1:
                raise NotFiniteError(error.model, error.precision, batch[0].source.name) from error
            size = 1  # one by one, to find out which image it is
        except DeviceError as error:
            if not error.out_of_memory or len(batch) == 1:
                raise
            size = (len(batch) + 1) // 2
            if len(batch) not in self.split:
                self._warn(
                    f"the device has no memory for {len(batch)} images at once: such batches are halved; "
                    f"--batch-size {size} (in Python, batch_size={size}) avoids the failed attempts"
                )
            self.split[len(batch)] += 1
        # Outside of the except clauses: there, the error would keep what was on the device.
        parts = (batch[start : start + size] for start in range(0, len(batch), size))
        return [found for part in parts for found in self._detect(part)]
