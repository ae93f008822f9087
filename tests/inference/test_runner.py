"""The loop of a run, with a detector that finds one box per image."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from bdd100k_zoo.boxes import Detections
from bdd100k_zoo.inference.images import find_images
from bdd100k_zoo.inference.protocol import DetectorFacts
from bdd100k_zoo.inference.runner import Tally, run
from bdd100k_zoo.progress import SILENT
from bdd100k_zoo.records.predictions import PredictionsWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bdd100k_zoo.inference.protocol import Detector
    from bdd100k_zoo.progress import Progress, Unit


class BorderDetector:
    """Finds the whole image, as a car, as sure as its first blue value is high."""

    facts = DetectorFacts(
        backend="none", device="cpu", device_name="", precision="fp32", ops="none", versions={"python": "3"}
    )

    def detect(self, image: np.ndarray) -> Detections:
        height, width, _ = image.shape
        score = np.float32(image[0, 0, 0] / 255)
        return Detections(
            np.array([[0, 0, width, height]], np.float32), np.array([score], np.float32), np.array([2], np.int64)
        )


class BrokenDetector(BorderDetector):
    def detect(self, image: np.ndarray) -> Detections:
        if image.shape[1] == 30:
            raise RuntimeError("out of memory")
        return super().detect(image)


class Reports:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.tasks: list[tuple[int | None, Unit]] = []
        self.advanced: list[int] = []

    @contextmanager
    def task(self, title: str, total: int | None, unit: Unit, done: int = 0) -> Iterator[Reports]:
        self.tasks.append((total, unit))
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


def run_into(
    folder: Path, out: Path, detector: Detector, progress: Progress = SILENT
) -> tuple[Tally, PredictionsWriter]:
    writer = PredictionsWriter(out)
    return run(detector, find_images([str(folder)]), writer, progress), writer


def test_every_image_gets_its_frame_in_order_and_sizes_may_differ(folder: Path, tmp_path: Path) -> None:
    _, writer = run_into(folder, tmp_path / "det.json", BorderDetector())
    writer.finish()
    frames = json.loads((tmp_path / "det.json").read_bytes())
    assert [frame["name"] for frame in frames] == ["a.png", "b.png", "c.png", "d.png"]
    boxes = [label["box2d"] for frame in frames for label in frame["labels"]]
    assert [(box["x2"], box["y2"]) for box in boxes] == [(19, 9), (29, 9), (39, 9)]
    assert [len(frame["labels"]) for frame in frames] == [1, 0, 1, 1]


def test_the_detector_is_given_blue_first(folder: Path, tmp_path: Path) -> None:
    _, writer = run_into(folder, tmp_path / "det.json", BorderDetector())
    writer.finish()
    frames = json.loads((tmp_path / "det.json").read_bytes())
    scores = [label["score"] for frame in frames for label in frame["labels"]]
    assert scores == [float(np.float32(value / 255)) for value in (51, 102, 255)]


def test_an_unreadable_image_is_named_counted_and_does_not_end_the_run(folder: Path, tmp_path: Path) -> None:
    reports = Reports()
    tally, writer = run_into(folder, tmp_path / "det.json", BorderDetector(), reports)
    writer.finish()
    assert (tally.images, tally.detections) == (4, 3)
    ((name, reason),) = tally.unreadable
    assert name == "b.png"
    assert "neither JPEG nor PNG" in reason
    (warning,) = reports.warnings
    assert str(folder / "b.png") in warning
    assert reason in warning


def test_an_image_that_is_gone_since_it_was_found_is_unreadable(folder: Path, tmp_path: Path) -> None:
    frames = find_images([str(folder)])
    (folder / "a.png").unlink()
    writer = PredictionsWriter(tmp_path / "det.json")
    tally = run(BorderDetector(), frames, writer, SILENT)
    writer.finish()
    assert [name for name, _ in tally.unreadable] == ["a.png", "b.png"]
    assert tally.images == 4


def test_progress_is_told_the_number_of_images_and_each_one_done(folder: Path, tmp_path: Path) -> None:
    reports = Reports()
    _, writer = run_into(folder, tmp_path / "det.json", BorderDetector(), reports)
    writer.finish()
    assert reports.tasks == [(4, "images")]
    assert reports.advanced == [1, 1, 1, 1]


def test_a_failing_detector_ends_the_run_and_what_is_done_can_be_kept(folder: Path, tmp_path: Path) -> None:
    writer = PredictionsWriter(tmp_path / "det.json")
    with pytest.raises(RuntimeError, match="out of memory"):
        run(BrokenDetector(), find_images([str(folder)]), writer, SILENT)
    kept = writer.abandon()
    assert kept is not None
    assert [frame["name"] for frame in json.loads(kept.read_bytes())] == ["a.png", "b.png"]


def test_time_is_counted_by_phase_even_where_the_phase_fails() -> None:
    tally = Tally()
    with pytest.raises(KeyError), tally.timed("decode"):
        raise KeyError
    with tally.timed("detect"):
        pass
    assert tally.decode > 0
    assert tally.detect > 0
    assert tally.write == 0


def test_no_frames_give_an_empty_tally(tmp_path: Path) -> None:
    writer = PredictionsWriter(tmp_path / "det.json")
    tally = run(BorderDetector(), [], writer, SILENT)
    writer.finish()
    assert (tally.images, tally.detections, tally.unreadable) == (0, 0, [])
    assert json.loads((tmp_path / "det.json").read_bytes()) == []
