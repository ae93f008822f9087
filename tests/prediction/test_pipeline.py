"""The stages of a run, with a detector that finds one box per image."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdd100k_zoo.backends.protocol import DetectorFacts
from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.data.images import Frame, FrameReader, find_images
from bdd100k_zoo.errors import DeviceError, ImagesError, NotFiniteError, StorageError
from bdd100k_zoo.prediction.pipeline import DetectionWork, detect_chunks
from bdd100k_zoo.prediction.run import Chunks
from bdd100k_zoo.prediction.sharding import chunk_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bdd100k_zoo.prediction.pipeline import ChunkResult
    from bdd100k_zoo.progress import Unit


class Image(NamedTuple):
    shape: tuple[int, ...]
    blue: int


class BorderDetector:
    """Finds the whole image, as a car, as sure as its first blue value is high."""

    facts = DetectorFacts(
        backend="none", device="cpu", device_name="", precision="fp32", ops="none", versions={"python": "3"}
    )
    batch_size = 1
    batches_in_flight = 1

    def __init__(self, most: int = 1000) -> None:
        self.most = most
        self.batches: list[list[int]] = []
        """Blue values, batch by batch."""

    def detect(self, image: np.ndarray) -> Detections:
        return self.detect_prepared([self.prepare(image)])[0]

    def start_reader(self) -> None:
        pass

    def prepare(self, image: np.ndarray) -> Image:
        if image.shape[1] == 99:
            raise ImagesError("uint8 [10, 99, 3]: too wide", "leave it out")
        return Image(image.shape[:2], int(image[0, 0, 0]))

    def detect_prepared(self, batch: Sequence[Image]) -> list[Detections]:
        if len(batch) > self.most:
            raise DeviceError("cuda:0", "out of memory", out_of_memory=True)
        assert len({image.shape for image in batch}) == 1
        self.batches.append([image.blue for image in batch])
        return [self.border(image) for image in batch]

    def border(self, image: Image) -> Detections:
        height, width = image.shape
        score = np.float32(image.blue / 255)
        return Detections(
            np.array([[0, 0, width, height]], np.float32), np.array([score], np.float32), np.array([2], np.int64)
        )


class Reports:
    """Keeps its messages."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.advanced: list[int] = []

    @contextmanager
    def task(self, title: str, total: int | None, unit: Unit, done: int = 0) -> Iterator[Reports]:
        yield self

    def advance(self, amount: int) -> None:
        self.advanced.append(amount)

    def restart(self, done: int, total: int | None) -> None:
        raise AssertionError("nothing restarts here")

    def note(self, message: str) -> None:
        pass

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of different sizes and, between them, one that is none."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for name, width, blue in (("a.png", 20, 51), ("c.png", 30, 102), ("d.png", 40, 255)):
        cv2.imwrite(str(folder / name), np.full((10, width, 3), (blue, 0, 0), np.uint8))
    (folder / "b.png").write_bytes(b"no image")
    return folder


def do(
    frames: Sequence[Frame],
    detector: Any = None,
    *,
    batch_size: int = 1,
    workers: int = 2,
    pending: Sequence[int] | None = None,
    write: Callable[[ChunkResult], None] | None = None,
    reports: Reports | None = None,
) -> list[ChunkResult]:
    done: list[ChunkResult] = []
    chunks = Chunks(len(frames), chunk_size(batch_size))
    work = DetectionWork(frames, chunks, range(chunks.count) if pending is None else pending, batch_size, workers)
    reports = reports or Reports()
    with closing(detect_chunks(detector or BorderDetector(), work, reports, reports)) as results:
        for result in results:
            (write or done.append)(result)
    return done


def test_every_image_gets_its_frame_in_order_and_sizes_may_differ(folder: Path) -> None:
    reports = Reports()
    done = [frame for chunk in do(find_images([str(folder)]).frames, reports=reports) for frame in chunk.frames]
    assert [(frame.number, frame.name) for frame in done] == [(0, "a.png"), (1, "b.png"), (2, "c.png"), (3, "d.png")]
    boxes = [frame.detections.boxes.tolist() for frame in done]
    assert boxes == [[[0, 0, 20, 10]], [], [[0, 0, 30, 10]], [[0, 0, 40, 10]]]
    scores = [float(score) for frame in done for score in frame.detections.scores]
    assert scores == [float(np.float32(value / 255)) for value in (51, 102, 255)]  # blue comes first
    assert reports.advanced == [1, 1, 1, 1]


def test_an_unreadable_image_is_named_and_does_not_end_the_run(folder: Path) -> None:
    cv2.imwrite(str(folder / "e.png"), np.zeros((10, 99, 3), np.uint8))
    reports = Reports()
    frames = [*find_images([str(folder)]).frames, Frame("gone.png", folder / "gone.png")]
    done = [frame for chunk in do(frames, batch_size=2, reports=reports) for frame in chunk.frames]
    unreadable = {frame.name: frame.unreadable for frame in done if frame.unreadable is not None}
    assert list(unreadable) == ["b.png", "e.png", "gone.png"]
    assert "is not a file of JPEG, PNG" in unreadable["b.png"]
    assert "too wide" in unreadable["e.png"]
    assert [str(folder / name) in warning for name, warning in zip(unreadable, reports.warnings, strict=True)] == [
        True
    ] * 3
    assert sum(reports.advanced) == 6


def frames_of(widths: Sequence[int], tmp_path: Path) -> list[Frame]:
    for number, width in enumerate(widths):
        pixels = np.full((10, width, 3), (number, 0, 0), np.uint8)
        cv2.imwrite(str(tmp_path / f"{number:03}.png"), pixels)
    return find_images([str(tmp_path)]).frames


@given(widths=st.lists(st.sampled_from([20, 30, 40]), min_size=1, max_size=30), batch_size=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_results_and_batches_are_the_same_whoever_computes_a_chunk(
    tmp_path_factory: pytest.TempPathFactory, widths: list[int], batch_size: int
) -> None:
    frames = frames_of(widths, tmp_path_factory.mktemp("frames"))
    together = BorderDetector()
    done = do(frames, together, batch_size=batch_size, workers=3)
    assert [frame.number for chunk in done for frame in chunk.frames] == list(range(len(frames)))
    apart = BorderDetector()
    for number in range(len(done)):
        (alone,) = do(frames, apart, batch_size=batch_size, workers=1, pending=[number])
        assert alone.number == number
        assert [frame.detections.boxes.tolist() for frame in alone.frames] == [
            frame.detections.boxes.tolist() for frame in done[number].frames
        ]
    assert apart.batches == together.batches
    assert max(map(len, together.batches)) <= batch_size


def test_a_batch_that_the_memory_has_no_room_for_is_halved_and_reported_once_a_size(tmp_path: Path) -> None:
    frames = frames_of([20] * 20, tmp_path)
    reports, small = Reports(), BorderDetector(most=2)
    done = do(frames, small, batch_size=5, reports=reports)
    assert small.batches == [
        [0, 1],
        [2],
        [3, 4],
        [5, 6],
        [7],
        [8, 9],
        [10, 11],
        [12],
        [13, 14],
        [15, 16],
        [17],
        [18, 19],
    ]
    assert [chunk.split for chunk in done] == [{5: 4, 3: 4}]
    assert [frame.number for frame in done[0].frames] == list(range(20))
    assert len(reports.warnings) == 2
    assert "5 images at once" in reports.warnings[0]
    assert "--batch-size 3" in reports.warnings[0]
    assert "3 images at once" in reports.warnings[1]


def test_a_single_image_without_room_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="out of memory"):
        do(frames_of([20] * 4, tmp_path), BorderDetector(most=0), batch_size=4)


class Failing(BorderDetector):
    def __init__(self, where: str, at: int) -> None:
        super().__init__()
        self.where, self.at = where, at

    def prepare(self, image: np.ndarray) -> Image:
        self._fail("prepare", int(image[0, 0, 0]))
        return super().prepare(image)

    def detect_prepared(self, batch: Sequence[Image]) -> list[Detections]:
        self._fail("detect", batch[0].blue)
        return super().detect_prepared(batch)

    def _fail(self, where: str, number: int) -> None:
        if (where, number) == (self.where, self.at):
            raise KeyError("the stage's own")


@pytest.mark.parametrize("where", ["prepare", "detect"])
def test_what_a_stage_raises_comes_out_as_itself_and_what_was_done_before_is_kept(tmp_path: Path, where: str) -> None:
    kept: list[ChunkResult] = []
    with pytest.raises(KeyError, match="the stage's own"):
        do(frames_of([20] * 30, tmp_path), Failing(where, 20), write=kept.append)
    assert [chunk.number for chunk in kept] == list(range(20))
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("reader", "writer"))]


@pytest.mark.parametrize("at", [0, 20, 29])
def test_what_cannot_be_kept_ends_the_run_soon(tmp_path: Path, at: int) -> None:
    def keep(chunk: ChunkResult) -> None:
        if chunk.number >= at:
            raise StorageError(tmp_path, "No space left on device")

    detector = BorderDetector()
    with pytest.raises(StorageError, match="No space left"):
        do(frames_of([20] * 30, tmp_path), detector, write=keep)
    assert len(detector.batches) == at + 1


class Interrupted(BorderDetector):
    def detect_prepared(self, batch: Sequence[Image]) -> list[Detections]:
        if batch[0].blue == 10:
            os.kill(os.getpid(), signal.SIGINT)
        return super().detect_prepared(batch)


def test_an_interrupt_ends_the_run_at_once_and_what_was_done_is_kept(tmp_path: Path) -> None:
    kept: list[ChunkResult] = []
    with pytest.raises(KeyboardInterrupt):
        do(frames_of([20] * 30, tmp_path), Interrupted(), write=kept.append)
    assert [chunk.number for chunk in kept] == list(range(10))


class Overflowing(BorderDetector):
    def detect_prepared(self, batch: Sequence[Image]) -> list[Detections]:
        if any(image.blue == 6 for image in batch):
            raise NotFiniteError("a model", "fp16")
        return super().detect_prepared(batch)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_the_image_for_which_a_model_gives_no_finite_numbers_is_named(tmp_path: Path, batch_size: int) -> None:
    with pytest.raises(NotFiniteError) as caught:
        do(frames_of([20] * 10, tmp_path), Overflowing(), batch_size=batch_size)
    assert str(caught.value) == "a model gave NaN or infinite scores or boxes for 006.png, computing in fp16"


class Waiting(BorderDetector):
    """Counts how many images are in memory at once."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.here = self.peak = 0

    def prepare(self, image: np.ndarray) -> Image:
        with self.lock:
            self.here += 1
            self.peak = max(self.peak, self.here)
        return super().prepare(image)

    def detect_prepared(self, batch: Sequence[Image]) -> list[Detections]:
        with self.lock:
            self.here -= len(batch)
        return super().detect_prepared(batch)


def test_only_a_few_images_are_read_ahead(tmp_path: Path) -> None:
    detector = Waiting()
    do(frames_of([20] * 100, tmp_path), detector, batch_size=2, workers=2)
    assert detector.peak <= 2 * 2 + 2 + 2
    assert detector.here == 0


def test_frames_of_one_video_are_read_by_one_thread_in_order_and_files_by_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def read(_: FrameReader, frame: Frame) -> np.ndarray:
        asked.append((frame.name, threading.get_ident()))
        return np.zeros((10, 20, 3), np.uint8)

    monkeypatch.setattr(FrameReader, "read", read)
    videos = [Frame(f"{video}-{place:02}", tmp_path / f"{video}.mp4", place) for video in "ab" for place in range(20)]
    do(videos, workers=2)
    for video in "ab":
        of_video = [(name, thread) for name, thread in asked if name.startswith(video)]
        assert [name for name, _ in of_video] == [f"{video}-{place:02}" for place in range(20)]
        assert len({thread for _, thread in of_video}) == 1
    asked.clear()
    do([Frame(f"{place:02}", tmp_path / f"{place}.jpg") for place in range(20)], workers=4)
    assert len({thread for _, thread in asked}) == 4


def test_the_seconds_of_every_stage_are_reported(folder: Path) -> None:
    (done,) = do(find_images([str(folder)]).frames, batch_size=2)
    spent = done.spent
    assert min(spent.decode, spent.prepare, spent.detect, spent.wall) > 0
    assert spent.detect < spent.wall


def test_no_chunks_are_no_work(folder: Path) -> None:
    assert do(find_images([str(folder)]).frames, pending=[]) == []
