"""The detector of the Python interface, with the demo's small model on the demo's frames."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import pickle
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from surroundings import Told

import bdd100k_zoo
from bdd100k_zoo import Detections, Detector
from bdd100k_zoo.data.image_files import read_image
from bdd100k_zoo.demo_run.steps import bundled_weights
from bdd100k_zoo.errors import (
    CheckpointError,
    ImagesError,
    NotFiniteError,
    UnknownNameError,
    UnreadableImageError,
    ZooError,
)
from bdd100k_zoo.hub.cache import Store
from bdd100k_zoo.prediction import predict as job
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ZOO = bdd100k_zoo.load_zoo()
MODEL = "demo_fcos_r18_fpn"
WEIGHTS = bundled_weights(ZOO)
FRAMES = sorted((Path(bdd100k_zoo.__file__).parent / "demo_run" / "data" / "images").rglob("*.jpg"))[:6]
SMALL = {"test_dataloader.dataset.pipeline.1.scale": (320, 180)}


def load(name: Any = MODEL, **options: Any) -> Detector:
    return bdd100k_zoo.load_detector(
        name, **({"weights": WEIGHTS, "device": "cpu", "cfg_options": SMALL, "store": Store(offline=True)} | options)
    )


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load()


@pytest.fixture(scope="module")
def expected(detector: Detector) -> list[Detections]:
    """The detections in ``FRAMES``."""
    return [detector(path) for path in FRAMES]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Copies of three frames, named in the opposite order, and between them a file that is no image."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for name, frame in zip("dca", FRAMES, strict=False):
        shutil.copy(frame, folder / f"{name}.jpg")
    (folder / "b.jpg").write_bytes(b"no image")
    return folder


# Loading


def test_a_model_is_named_by_its_name_an_alias_or_its_record(detector: Detector) -> None:
    assert detector.model == ZOO[MODEL]
    mine = msgspec.structs.replace(ZOO[MODEL], name="mine")
    assert load(mine).model is mine
    with pytest.raises(UnknownNameError, match="the zoo has no model 'demo_fcos'"):
        load("demo_fcos")


def test_the_attributes_are_those_that_a_run_records(detector: Detector) -> None:
    assert (detector.device, detector.facts.precision, detector.facts.backend) == ("cpu", "fp32", "mmdet3")
    assert detector.weights.path == WEIGHTS
    assert detector.weights.verified_by == "zoo file"
    assert repr(detector) == "Detector(demo_fcos_r18_fpn, cpu, fp32)"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_score": 30}, "expected a min_score from 0 to 1, found 30"),
        ({"max_per_image": 0}, "expected max_per_image to be at least 1, found 0"),
        ({"classes": "car"}, "expected a list of classes, found 'car'"),
        ({"classes": ["car", "tank"]}, "there is no class 'tank'"),
        ({"classes": []}, "expected at least one class, found none"),
    ],
)
def test_filters_that_cannot_be_right_are_errors_before_anything_is_loaded(wrong: Any, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        load(weights="missing.pth", **wrong)


def test_filters_apply_to_what_the_model_returns(expected: list[Detections]) -> None:
    some = load(min_score=0.06, classes=["car", 3])(FRAMES[0])
    assert some == expected[0].filter(min_score=0.06, classes=["car", "truck"])
    assert set(some.names) == {"car", "truck"}
    assert 0 < len(some) < len(expected[0].filter(classes=["car", "truck"]))
    best = load(max_per_image=5)(FRAMES[0])
    lowest = np.sort(expected[0].scores)[-5]
    assert best == expected[0].filter(min_score=float(lowest))
    assert len(load(max_per_image=3, classes=["car"])(FRAMES[0])) == 3


def test_of_equal_scores_the_first_are_kept() -> None:
    from bdd100k_zoo.prediction.limits import Limits

    scores = np.array([0.5, 0.2, 0.5, 0.9, 0.5], np.float32)
    boxes = np.arange(20, dtype=np.float32).reshape(5, 4)
    found = Detections(boxes, scores, np.zeros(5, np.int64))
    assert Limits(max_per_image=3).apply(found) == found[[0, 2, 3]]


# One image, and several


def test_every_form_of_an_image_gets_the_same_boxes(detector: Detector, expected: list[Detections]) -> None:
    bgr = read_image(FRAMES[0])
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    with Image.open(FRAMES[0]) as image:
        pil = Image.fromarray(np.asarray(image))
    tensor = torch.from_numpy(rgb).permute(2, 0, 1)
    forms = [str(FRAMES[0]), FRAMES[0], bgr, np.dstack([bgr, bgr[..., 0]]), tensor]
    assert all(detector(form) == expected[0] for form in forms)
    assert detector(rgb, channels="rgb") == expected[0]
    assert detector(pil) == detector(np.asarray(pil), "rgb")


def test_errors_name_the_image_and_what_was_found(detector: Detector, tmp_path: Path) -> None:
    thin = tmp_path / "thin.png"
    cv2.imwrite(str(thin), np.zeros((2, 5000, 3), np.uint8))
    with pytest.raises(ImagesError, match=r"thin\.png: "):
        detector(thin)
    with pytest.raises(ImagesError, match=r"found float32 \[8, 8, 3\]"):
        detector(np.zeros((8, 8, 3), np.float32))
    with pytest.raises(UnreadableImageError, match=r"gone\.jpg"):
        detector(tmp_path / "gone.jpg")
    with pytest.raises(UnreadableImageError, match=r"gone\.jpg"):
        detector.batch([FRAMES[0], tmp_path / "gone.jpg"])
    with pytest.raises(ImagesError, match=r"image 1: .*found float32 \[8, 8, 3\]"):
        detector.batch([FRAMES[0], np.zeros((8, 8, 3), np.float32)])  # type: ignore[list-item]
    with pytest.raises(ImagesError, match=r"image 1: .*the test pipeline cannot process it"):
        detector.batch([FRAMES[0], np.zeros((2, 5000, 3), np.uint8)])


def test_a_batch_keeps_the_order_of_images_of_any_sizes(detector: Detector, expected: list[Detections]) -> None:
    cropped = read_image(FRAMES[1])[:500, :700]
    found = detector.batch([FRAMES[0], cropped, str(FRAMES[2]), read_image(FRAMES[3])])
    assert found == [expected[0], detector(cropped), expected[2], expected[3]]
    assert detector.batch([]) == []
    assert detector.batch(iter(FRAMES)) == expected


@pytest.mark.parametrize("take", ["batch", "stream"])
def test_one_image_in_the_place_of_several_is_an_error(detector: Detector, take: str) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    for one in (pixels, torch.zeros((3, 8, 8), dtype=torch.uint8), Image.fromarray(pixels), 7):
        with pytest.raises(ImagesError, match="expected several images, found"):
            getattr(detector, take)(one)
    with pytest.raises(ImagesError, match=r"expected several images, found the path 'a\.jpg'"):
        detector.batch("a.jpg")


# Streams


def test_paths_are_streamed_in_the_order_of_their_names(
    detector: Detector, folder: Path, expected: list[Detections]
) -> None:
    (folder / "b.jpg").unlink()
    (folder / "list.txt").write_text("d.jpg\nc.jpg\na.jpg\n")
    wanted = [("a.jpg", expected[2]), ("c.jpg", expected[1]), ("d.jpg", expected[0])]
    files = [folder / "d.jpg", str(folder / "c.jpg"), folder / "a.jpg"]
    for source in (folder, str(folder / "*.jpg"), folder / "list.txt", files):
        assert list(detector.stream(source)) == wanted
    assert list(detector.stream(folder, workers=3)) == wanted
    for (name, found), (wanted_name, single) in zip(detector.stream(folder, batch_size=2), wanted, strict=True):
        assert name == wanted_name
        np.testing.assert_allclose(found.boxes[:5], single.boxes[:5], atol=0.1)  # a batch changes the last bits
    assert list(detector.stream(folder / "c.jpg")) == wanted[1:2]


def test_a_stream_finds_what_a_run_writes(detector: Detector, folder: Path, tmp_path: Path) -> None:
    request = job.PredictRequest(
        model=ZOO[MODEL], images=(str(folder),), out=tmp_path / "run", weights=WEIGHTS, device="cpu", cfg_options=SMALL
    )
    job.predict(job.plan_run(request, NO_PROGRESS), Store(offline=True), NO_PROGRESS)
    frames = msgspec.json.decode((tmp_path / "run" / "det.json").read_bytes())
    scores = {frame["name"]: [label["score"] for label in frame["labels"] or ()] for frame in frames}
    for name, found in detector.stream(folder):
        assert sorted(scores.pop(name)) == sorted(found.scores.astype(np.float64).tolist())
    assert scores == {"b.jpg": []}


def test_an_iterable_is_streamed_in_its_order_and_unnamed_images_are_numbered(
    detector: Detector, expected: list[Detections]
) -> None:
    pixels = [read_image(path) for path in FRAMES[:4]]
    tensor = torch.from_numpy(pixels[1][..., ::-1].copy()).permute(2, 0, 1)
    images = [pixels[0], tensor, FRAMES[2], ("mine", pixels[3])]
    named = list(zip(["0000000", "0000001", FRAMES[2].name, "mine"], expected, strict=False))
    assert list(detector.stream(images)) == named
    assert list(detector.stream(each for each in images)) == named
    assert list(detector.stream([("a", str(FRAMES[0]))])) == [("a", expected[0])]
    stacked = np.stack(pixels)[..., ::-1]
    assert [found for _, found in detector.stream(stacked, channels="rgb")] == expected[:4]
    assert list(detector.stream([])) == []


def test_a_buffer_may_be_reused_while_it_is_read_ahead(detector: Detector, expected: list[Detections]) -> None:
    def read_into_one_buffer() -> Iterator[np.ndarray]:
        buffer = np.empty((360, 640, 3), np.uint8)
        for path in FRAMES:
            buffer[:] = read_image(path)
            yield buffer

    assert [found for _, found in detector.stream(read_into_one_buffer(), workers=4)] == expected


def test_frames_of_a_video_are_streamed(detector: Detector, tmp_path: Path) -> None:
    from films import film

    video = film(tmp_path / "drive.mp4", 7)
    names = [name for name, _ in detector.stream(video, every=3)]
    assert names == ["drive-0000000.jpg", "drive-0000003.jpg", "drive-0000006.jpg"]


def test_an_unreadable_image_is_skipped_with_a_warning(
    detector: Detector, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "bdd100k_zoo"):
        assert [name for name, _ in detector.stream(folder)] == ["a.jpg", "c.jpg", "d.jpg"]
    message = (
        f"unreadable image: {folder / 'b.jpg'}: is not a file of JPEG, PNG, WebP, BMP or TIFF, whatever its name says"
    )
    assert caplog.messages == [message]
    told = Told()
    thin = np.zeros((2, 5000, 3), np.uint8)
    source: Any = [folder / "b.jpg", ("thin", thin), FRAMES[0]]
    assert [name for name, _ in load(progress=told).stream(source)] == [FRAMES[0].name]
    assert told.warnings[0] == message
    assert told.warnings[1].startswith("unreadable image: thin: uint8 [2, 5000, 3]")
    assert caplog.messages == [message, *told.warnings]


def test_a_damaged_file_behind_a_pil_image_is_unreadable(detector: Detector, tmp_path: Path) -> None:
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(FRAMES[0].read_bytes()[:5000])
    with pytest.raises(UnreadableImageError, match=r"cut\.jpg: is damaged"), Image.open(cut) as image:
        detector(image)
    with Image.open(cut) as image:
        assert [name for name, _ in detector.stream([image, FRAMES[1]])] == [FRAMES[1].name]


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("missing", {}, "missing: does not exist"),
        ([], {"batch_size": 0}, "expected batch_size to be at least 1"),
        ([], {"workers": -1}, "expected workers to be at least 1"),
        ([], {"every": 0}, "expected every to be at least 1"),
    ],
)
def test_a_stream_that_cannot_begin_is_an_error_at_once(
    detector: Detector, source: Any, options: Any, message: str
) -> None:
    with pytest.raises(ZooError, match=message):
        detector.stream(source, **options)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), r"0000001: expected the pixels of one image, found float32 \[8, 8, 3\]"),
        ((np.zeros((8, 8, 3), np.uint8), 3), r"image 1: expected an image or \(name, image\), found \(ndarray, int\)"),
    ],
)
def test_what_is_no_image_ends_a_stream(detector: Detector, wrong: Any, message: str) -> None:
    with pytest.raises(ImagesError, match=message):
        list(detector.stream([FRAMES[0], wrong]))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


def test_the_image_of_a_stream_without_finite_results_is_named(tmp_path: Path) -> None:
    content = torch.load(WEIGHTS, weights_only=True)
    content["state_dict"]["bbox_head.conv_cls.weight"] = (
        content["state_dict"]["bbox_head.conv_cls.weight"].float() * 1e38
    )
    torch.save(content, tmp_path / "mine.pth")
    mine = load(weights=tmp_path / "mine.pth")
    with pytest.raises(NotFiniteError, match="boxes for mine, computing"):
        list(mine.stream([("mine", read_image(FRAMES[0]))]))
    with pytest.raises(NotFiniteError, match="boxes for image 0, computing"):
        mine.batch([read_image(FRAMES[0])])


def test_an_iterable_is_taken_only_a_few_images_ahead(detector: Detector) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield np.zeros((90, 160, 3), np.uint8)

    results = detector.stream(endless(), batch_size=2, workers=2)
    for _ in range(40):
        next(results)
        ahead = taken
    results.close()
    assert ahead <= 40 + 8 + 2 * 2 + 2 + 1  # a chunk of four batches, two batches and one image a thread
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


# Threads, event loops and processes


def test_threads_that_share_a_detector_get_the_same_boxes(detector: Detector, expected: list[Detections]) -> None:
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(detector, FRAMES * 3)) == expected * 3
        streams = [threads.submit(lambda: [found for _, found in detector.stream(iter(FRAMES))]) for _ in range(3)]
        assert all(each.result() == expected for each in streams)


def test_detectors_of_different_precision_do_not_disturb_one_another(
    detector: Detector, expected: list[Detections]
) -> None:
    half = load(precision="bf16")
    rounded = [half(path) for path in FRAMES]
    assert rounded != expected
    with ThreadPoolExecutor(4) as threads:
        jobs: list[tuple[Detector, Path]] = [(each, path) for path in FRAMES for each in (detector, half)] * 2
        found = list(threads.map(lambda job: job[0](job[1]), jobs))
    assert found[0::2] == expected * 2
    assert found[1::2] == rounded * 2


def test_it_works_in_the_threads_of_an_event_loop(detector: Detector, expected: list[Detections]) -> None:
    async def detect() -> list[Detections]:
        return await asyncio.gather(*(asyncio.to_thread(detector, path) for path in FRAMES))

    assert asyncio.run(detect()) == expected


def test_a_pickled_detector_is_loaded_again_from_the_same_file(tmp_path: Path) -> None:
    weights = tmp_path / "mine.pth"
    shutil.copy(WEIGHTS, weights)
    mine = load(weights=weights, min_score=0.3, classes=["car"])
    content = pickle.dumps(mine)
    assert len(content) < 20_000
    again = pickle.loads(content)
    assert again(FRAMES[0]) == mine(FRAMES[0])
    assert (again.model, again.weights, again.facts) == (mine.model, mine.weights, mine.facts)
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(CheckpointError, match=r"mine\.pth has changed since the detector of demo_fcos_r18_fpn was"):
        pickle.loads(content)


def test_a_spawned_process_gets_the_same_boxes(detector: Detector, expected: list[Detections]) -> None:
    with multiprocessing.get_context("spawn").Pool(1, _limit_threads, (torch.get_num_threads(),)) as processes:
        found: list[tuple[Any, ...]] = processes.map(_Columns(detector), FRAMES[:2])
    for columns, wanted in zip(found, expected, strict=False):
        assert Detections(*columns) == wanted


def _limit_threads(number: int) -> None:
    torch.set_num_threads(number)


class _Columns:
    def __init__(self, detector: Callable[..., Detections]) -> None:
        self.detector = detector

    def __call__(self, path: Path) -> tuple[Any, ...]:
        found = self.detector(path)
        return found.boxes, found.scores, found.classes
