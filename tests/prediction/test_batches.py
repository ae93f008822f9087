"""Two batches under way: in which order they are started, finished and kept, and what lack of memory changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pipeline import BorderDetector, Image, Reports, Waiting, do, frames_of

from bdd100k_zoo.errors import DeviceError, NotFiniteError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bdd100k_zoo.data.detections import Detections
    from bdd100k_zoo.prediction.pipeline import ChunkResult


class Started:
    """A batch on the device; it takes memory there until no reference to it is left."""

    def __init__(self, device: Device, batch: Sequence[Image]) -> None:
        self.device, self.batch = device, batch
        device.images += len(batch)

    def __del__(self) -> None:
        self.device.images -= len(self.batch)


class Device(BorderDetector):
    """A device that has room for some images, and records the calls in order: letter, blue value of the first image.

    ``s`` starts a batch, ``f`` finishes it, and ``d`` detects in a batch by itself.
    """

    batches_in_flight = 2

    def __init__(self, room: int = 1000, to_finish: int = 0) -> None:
        """``to_finish`` is the room that a batch takes in addition while it is being finished."""
        super().__init__()
        self.room, self.to_finish, self.images = room, to_finish, 0
        self.events: list[str] = []

    def start(self, batch: Sequence[Image]) -> Started:
        self.events.append(f"s{batch[0].blue}")
        self._allocate(len(batch))
        return Started(self, batch)

    def finish(self, started: Started) -> list[Detections]:
        self.events.append(f"f{started.batch[0].blue}")
        self._allocate(self.to_finish)
        return super().detect_prepared(started.batch)

    def detect_prepared(self, batch: Sequence[Image]) -> list[Detections]:
        self.events.append(f"d{batch[0].blue}")
        self._allocate(len(batch) + self.to_finish)
        return super().detect_prepared(batch)

    def _allocate(self, images: int) -> None:
        if self.images + images > self.room:
            raise DeviceError("cuda:0", "out of memory", out_of_memory=True)


def kept_on(device: Device) -> tuple[list[ChunkResult], Callable[[ChunkResult], None]]:
    """Return a list, and a function that adds chunks to it and records them as ``k``."""
    kept: list[ChunkResult] = []

    def keep(chunk: ChunkResult) -> None:
        device.events.append(f"k{chunk.number}")
        kept.append(chunk)

    return kept, keep


def test_the_next_batch_is_started_before_a_batch_is_finished_also_at_the_end_of_a_chunk(tmp_path: Path) -> None:
    device = Device()
    kept, keep = kept_on(device)
    do(frames_of([20] * 11, tmp_path), device, batch_size=2, write=keep)  # chunks of 8 images
    assert device.events == ["s0", "s2", "f0", "s4", "f2", "s6", "f4", "s8", "f6", "k0", "s10", "f8", "f10", "k1"]
    assert [frame.number for chunk in kept for frame in chunk.frames] == list(range(11))
    assert device.images == 0


def test_with_one_batch_under_way_nothing_is_started(tmp_path: Path) -> None:
    device = Device()
    device.batches_in_flight = 1
    _, keep = kept_on(device)
    do(frames_of([20] * 10, tmp_path), device, batch_size=2, write=keep)
    assert device.events == ["d0", "d2", "d4", "d6", "k0", "d8", "k1"]


def test_a_batch_that_does_not_fit_beside_another_is_computed_after_it(tmp_path: Path) -> None:
    device, reports = Device(room=3), Reports()
    done = do(frames_of([20] * 10, tmp_path), device, batch_size=2, reports=reports)
    # Whole, and not halved: results on a GPU may depend on the size of a batch.
    assert device.events == ["s0", "s2", "f0", "d2", "d4", "d6", "d8"]
    assert [chunk.split for chunk in done] == [{}, {}]
    assert len(reports.warnings) == 1
    assert "no memory for two batches of 2 images at once: from now on, one is computed" in reports.warnings[0]


def test_a_batch_that_cannot_be_finished_beside_another_is_computed_after_the_other_was_dropped(tmp_path: Path) -> None:
    device, reports = Device(room=5, to_finish=2), Reports()
    done = do(frames_of([20] * 10, tmp_path), device, batch_size=2, reports=reports)
    assert device.events == ["s0", "s2", "f0", "d0", "d2", "d4", "d6", "d8"]
    assert [frame.number for chunk in done for frame in chunk.frames] == list(range(10))
    assert [chunk.split for chunk in done] == [{}, {}]
    assert len(reports.warnings) == 1


def test_a_batch_that_does_not_fit_at_all_is_halved(tmp_path: Path) -> None:
    device, reports = Device(room=3), Reports()
    done = do(frames_of([20] * 16, tmp_path), device, batch_size=4, reports=reports)
    assert device.events == ["s0", "d0", "d0", "d2", "d4", "d4", "d6", "d8", "d8", "d10", "d12", "d12", "d14"]
    assert [chunk.split for chunk in done] == [{4: 4}]
    assert ["4 images at once: such batches are halved" in each for each in reports.warnings] == [True]


@given(
    widths=st.lists(st.sampled_from([20, 30]), min_size=1, max_size=24),
    size=st.integers(1, 4),
    room=st.integers(1, 9),
    to_finish=st.integers(0, 2),
)
@settings(max_examples=40, deadline=None)
def test_results_and_chunks_are_those_of_one_batch_after_the_other_whatever_fits(
    tmp_path_factory: pytest.TempPathFactory, widths: list[int], size: int, room: int, to_finish: int
) -> None:
    frames = frames_of(widths, tmp_path_factory.mktemp("frames"))
    device, advanced = Device(room + to_finish, to_finish), Reports()
    found, expected = do(frames, device, batch_size=size, reports=advanced), do(frames, batch_size=size)
    for one, other in zip(expected, found, strict=True):
        assert [frame.name for frame in one.frames] == [frame.name for frame in other.frames]
        for frame, same in zip(one.frames, other.frames, strict=True):
            assert frame.detections.boxes.tolist() == same.detections.boxes.tolist()
    assert sum(advanced.advanced) == len(widths)
    assert device.images == 0


class Broken(Device):
    """Fails at a step, with a given error."""

    def __init__(self, event: str, error: BaseException) -> None:
        super().__init__()
        self.event, self.error = event, error

    def _allocate(self, images: int) -> None:
        super()._allocate(images)
        if self.events[-1] == self.event:
            raise self.error


@pytest.mark.parametrize("event", ["s20", "f20"])
def test_what_a_step_raises_comes_out_when_all_before_is_kept(tmp_path: Path, event: str) -> None:
    device = Broken(event, DeviceError("cuda:0", "an illegal memory access was encountered"))
    kept, keep = kept_on(device)
    with pytest.raises(DeviceError, match="illegal memory access"):
        do(frames_of([20] * 30, tmp_path), device, write=keep)
    assert [chunk.number for chunk in kept] == list(range(20))
    assert device.events[-3:] == {"s20": ["s20", "f19", "k19"], "f20": ["k19", "s21", "f20"]}[event]


def test_images_that_are_gone_end_the_run_when_all_before_is_kept(tmp_path: Path) -> None:
    frames = frames_of([20] * 30, tmp_path)

    class Removing(Device):
        def prepare(self, image: object) -> Image:
            prepared = super().prepare(image)  # type: ignore[arg-type]
            if prepared.blue == 20:
                raise KeyError("the reader's own")
            return prepared

    device = Removing()
    kept, keep = kept_on(device)
    with pytest.raises(KeyError, match="the reader's own"):
        do(frames, device, write=keep)
    assert [chunk.number for chunk in kept] == list(range(20))


def test_an_interrupt_loses_the_two_batches_under_way_alone(tmp_path: Path) -> None:
    device = Broken("s10", KeyboardInterrupt())
    kept, keep = kept_on(device)
    with pytest.raises(KeyboardInterrupt):
        do(frames_of([20] * 30, tmp_path), device, write=keep)
    assert [chunk.number for chunk in kept] == list(range(9))  # 9 was under way, and 10 was being started


class Overflowing(Device):
    def finish(self, started: Started) -> list[Detections]:
        self._check(started.batch)
        return super().finish(started)

    def detect_prepared(self, batch: Sequence[Image]) -> list[Detections]:
        self._check(batch)
        return super().detect_prepared(batch)

    def _check(self, batch: Sequence[Image]) -> None:
        if any(image.blue == 6 for image in batch):
            raise NotFiniteError("a model", "fp16")


@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_image_for_which_a_model_gives_no_finite_numbers_is_found(tmp_path: Path, size: int) -> None:
    with pytest.raises(NotFiniteError, match=r"for 006\.png"):
        do(frames_of([20] * 10, tmp_path), Overflowing(), batch_size=size)


class WaitingDevice(Waiting):
    """Counts the images in memory until they are finished."""

    batches_in_flight = 2

    def start(self, batch: Sequence[Image]) -> Sequence[Image]:
        return batch

    def finish(self, started: Sequence[Image]) -> list[Detections]:
        return self.detect_prepared(started)


def test_no_more_images_are_in_memory_than_with_one_batch_under_way(tmp_path: Path) -> None:
    detector = WaitingDevice()
    do(frames_of([20] * 100, tmp_path), detector, batch_size=2, workers=2)
    assert detector.peak <= 2 * 2 + 2 + 2  # the bound of one batch, in test_pipeline.py
    assert detector.here == 0
