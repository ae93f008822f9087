"""On a GPU: the same boxes as on the CPU in any batch, bounds of lower precisions, and too little memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from reference import HERE, MODELS, config_path, differences

from bdd100k_zoo.backends import mmdet3
from bdd100k_zoo.backends.common.precision import use_precision
from bdd100k_zoo.backends.mmdet3.detector import collate_batch, preprocess_image, split_detections
from bdd100k_zoo.backends.mmdet3.random_weights import save_calibrated_random_weights
from bdd100k_zoo.data.image_files import read_image
from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.prediction.pipeline import DetectionWork, detect_chunks
from bdd100k_zoo.prediction.run import Chunks
from bdd100k_zoo.prediction.sharding import chunk_size
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.sample_data import write_sample_frames
from tools.fidelity.results import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from bdd100k_zoo.backends.protocol import BackendDetector
    from bdd100k_zoo.prediction.pipeline import ChunkResult

pytestmark = pytest.mark.gpu

NAME = "faster_rcnn_r50_fpn_1x"
BOUNDS: Mapping[str, tuple[float, float]] = {"tf32": (5e-3, 0.85), "fp16": (5e-3, 0.85), "bf16": (3e-2, 0.6)}
"""For every precision, the largest difference of features, relative to the largest one, and the boxes found again."""


@pytest.fixture(scope="module")
def load_on_gpu(save_weights: Callable[[str], Path]) -> Callable[..., Any]:
    def load_it(name: str = NAME, precision: str = "fp32") -> Any:
        return mmdet3.load(name, config_path(name), save_weights(name), "cuda", precision=precision)

    return load_it


@pytest.fixture(scope="module")
def street() -> Any:
    return read_image(HERE / "street.png")


def varied(street: Any, number: int) -> list[Any]:
    """Images of one size that differ."""
    return [np.ascontiguousarray(np.roll(street, 40 * place, axis=1)) for place in range(number)]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_the_classic_boxes_are_found_in_batches_of_every_size(
    name: str, size: int, load_on_gpu: Callable[..., Any]
) -> None:
    detector = load_on_gpu(name)
    for image in ("street.png", "square.png"):
        expected = np.load(HERE / f"{name}.npz")[image]
        images = varied(read_image(HERE / image), size)
        batch = detector.detect_prepared([detector.prepare(each) for each in images])
        assert differences(expected, rows_of(batch[0])) == []
        alone = [detector.detect(each) for each in images]
        for one, other in zip(alone, batch, strict=True):
            assert differences(rows_of(one), rows_of(other)) == []


@pytest.mark.parametrize("name", ["fcos_r50_fpn_1x", "faster_rcnn_r50_fpn_deconv_1x", "sparse_rcnn_r50_fpn_1x"])
def test_the_boxes_of_the_cpu_are_found(name: str, street: Any, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    save_calibrated_random_weights(config_path(name), street, weights)
    expected, found = (
        rows_of(mmdet3.load(name, config_path(name), weights, device).detect(street)) for device in ("cpu", "cuda")
    )
    again = [np.abs(found[:, :5] - row[:5]).max(1).min() < 0.05 for row in expected]
    assert len(expected) > 50
    assert sum(again) >= 0.98 * len(expected)


def test_the_same_batch_gives_the_same_bits(load_on_gpu: Callable[..., Any], street: Any) -> None:
    detector = load_on_gpu()
    batch = [detector.prepare(image) for image in varied(street, 8)]
    first, again = detector.detect_prepared(batch), detector.detect_prepared(batch)
    assert all(np.array_equal(rows_of(one), rows_of(other)) for one, other in zip(first, again, strict=True))


def test_two_batches_under_way_give_the_bits_of_one(load_on_gpu: Callable[..., Any], tmp_path: Path) -> None:
    detector = load_on_gpu()
    write_sample_frames(tmp_path, 24)
    assert detector.batches_in_flight == 2
    found = frames(run(detector, tmp_path, 4))
    detector.batches_in_flight = 1
    expected = frames(run(detector, tmp_path, 4))
    assert sum(len(each.detections) for each in found) > 0
    pairs = zip(expected, found, strict=True)
    assert all(np.array_equal(rows_of(one.detections), rows_of(other.detections)) for one, other in pairs)


# Copies


def test_pinned_memory_is_not_reused_before_its_pixels_are_copied(load_on_gpu: Callable[..., Any], street: Any) -> None:
    detector = load_on_gpu()
    images = [np.random.default_rng(seed).integers(0, 255, street.shape, np.uint8) for seed in range(64)]
    copied = []
    for image in images:  # what is given back here is taken again by the next, while copies are under way
        prepared = detector.prepare(image)
        assert prepared.inputs.is_pinned()
        copied += collate_batch([prepared], torch.device("cuda"))["inputs"]
    for image, inputs in zip(images, copied, strict=True):
        assert inputs.dtype == torch.uint8
        assert torch.equal(inputs.cpu(), preprocess_image(detector._pipeline, image, 32).inputs)


def test_pinned_pixels_give_the_boxes_of_others(load_on_gpu: Callable[..., Any], street: Any) -> None:
    detector = load_on_gpu()
    pinned = detector.prepare(street)
    plain = pinned._replace(inputs=pinned.inputs.clone())
    assert not plain.inputs.is_pinned()
    found = [detector.detect_prepared([each])[0] for each in (pinned, plain)]
    assert np.array_equal(*map(rows_of, found))


def test_detections_of_a_batch_come_back_in_one_copy(load_on_gpu: Callable[..., Any], street: Any) -> None:
    detector = load_on_gpu()
    device = torch.device("cuda")
    with torch.inference_mode(), use_precision("fp32", device):
        samples = detector._model.test_step(
            collate_batch([detector.prepare(each) for each in varied(street, 4)], device)
        )
        torch.cuda.synchronize()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            split_detections(samples)
    assert len([event for event in profile.events() if "Memcpy DtoH" in event.name]) == 1


# Lower precisions


def features_of(detector: Any, image: Any, precision: str) -> list[torch.Tensor]:
    device = torch.device("cuda")
    with torch.inference_mode(), use_precision(precision, device):
        batch = detector._model.data_preprocessor(collate_batch([detector.prepare(image)], device), False)
        return [each.float() for each in detector._model.extract_feat(batch["inputs"])]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", BOUNDS)
def test_lower_precisions_stay_within_bounds(
    name: str, precision: str, load_on_gpu: Callable[..., Any], street: Any
) -> None:
    exact, less = load_on_gpu(name), load_on_gpu(name, precision)
    assert (exact.facts.optimised, less.facts.optimised, less.facts.precision) == (False, True, precision)
    most, share = BOUNDS[precision]
    pairs = zip(features_of(exact, street, "fp32"), features_of(less, street, precision), strict=True)
    assert max(float((one - other).abs().max() / one.abs().max()) for one, other in pairs) <= most
    expected, found = (rows_of(each.detect(street)) for each in (exact, less))
    again = [
        any(row[5] == other[5] and np.abs(row[:4] - other[:4]).max() < 2 and abs(row[4] - other[4]) < 0.05)
        for row in expected
        for other in [min(found, key=lambda each: (each[5] != row[5], np.abs(each[:4] - row[:4]).max()))]
    ]
    assert sum(again) >= share * len(expected)


# Memory


@pytest.fixture
def little_memory() -> Iterator[Callable[[int], None]]:
    def leave(size: int) -> None:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + size) / total)

    yield leave
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_batch_that_exceeds_the_memory_is_halved(
    load_on_gpu: Callable[..., Any], little_memory: Callable[[int], None], tmp_path: Path
) -> None:
    detector: BackendDetector = load_on_gpu()
    write_sample_frames(tmp_path, 16)
    expected = run(detector, tmp_path, 1)
    little_memory(2 * 2**30)  # a batch of 16 takes several times as much, one image less than half
    found = run(detector, tmp_path, 16)
    assert found[0].split[16] == 1
    pairs = zip(frames(expected), frames(found), strict=True)
    for one, other in pairs:
        assert differences(rows_of(one.detections), rows_of(other.detections)) == []


def run(detector: BackendDetector, folder: Path, size: int) -> list[ChunkResult]:
    images = find_images([str(folder)]).frames
    cut = Chunks(len(images), chunk_size(size))
    with NO_PROGRESS.task("", len(images), "images") as task:
        return list(detect_chunks(detector, DetectionWork(images, cut, range(cut.count), size, 4), NO_PROGRESS, task))


def frames(done: list[ChunkResult]) -> list[Any]:
    return [frame for chunk in done for frame in chunk.frames]
