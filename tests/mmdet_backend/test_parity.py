"""The boxes of the classic stack are found again, with the same weights."""

from __future__ import annotations

import json
import runpy
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from reference import HERE, MODELS, SHARED, compare, config_path, factors_of, rows_of, weights_like

from bdd100k_zoo.inference.images import read_image
from bdd100k_zoo.inference.sharding import batches
from bdd100k_zoo.mm_common.config import load_config
from bdd100k_zoo.mmdet_backend.detector import build_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bdd100k_zoo.boxes import Detections
    from bdd100k_zoo.inference.protocol import Detector

PHOTOGRAPHS = (
    "0ace96c3-48481887.jpg",
    "3c0e7240-96e390d2.jpg",
    "7dd9ef45-f197db95.jpg",
    "9aa94005-ff1d4c9a.jpg",
)
MOST_SWAPPED = 2
"""Boxes of one image that ties of equal scores may swap."""

needs_shared = pytest.mark.skipif(
    not (SHARED / "reference").is_dir(),
    reason=f"NOT COMPARED with the classic stack on photographs: {SHARED} is not there",
)


@pytest.fixture(scope="module", params=MODELS)
def model_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def detector(model_name: str, load_detector: Callable[..., Detector]) -> Detector:
    return load_detector(model_name)


@pytest.mark.parametrize("image", ["square.png", "street.png"])
def test_synthetic_images_get_the_classic_boxes(image: str, model_name: str, detector: Detector) -> None:
    expected = np.load(HERE / f"{model_name}.npz")[image]
    result = compare(image, expected, rows_of(detector.detect(read_image(HERE / image))))
    assert result.matched + result.swapped == len(expected) == 100, result
    assert result.swapped <= MOST_SWAPPED, result


def test_batches_of_two_and_three_get_the_classic_boxes(model_name: str, detector: Detector) -> None:
    street, square = (read_image(HERE / name) for name in ("street.png", "square.png"))
    # Neighbours that differ; sizes apart, as a run groups them.
    images = [street, square, square[:, ::-1], street[:, ::-1], square[::-1]]
    found = by_batches(detector, images, 3)
    assert sorted({len(batch) for batch in found}) == [2, 3]
    expected = np.load(HERE / f"{model_name}.npz")
    detections = {place: each for batch in found for place, each in batch.items()}
    for place, image in enumerate(("street.png", "square.png")):
        result = compare(image, expected[image], rows_of(detections[place]))
        assert result.matched + result.swapped == len(expected[image]) == 100, result
        assert result.swapped <= MOST_SWAPPED, result


def by_batches(detector: Detector, images: Sequence[Any], size: int) -> list[dict[int, Detections]]:
    """Detect in batches as ``inference.pipeline`` makes them; give the detections of each batch by image."""
    prepared = [detector.prepare(image) for image in images]
    found = []
    for places in batches(((each.shape, place) for place, each in enumerate(prepared)), size):
        detections = detector.detect_prepared([prepared[place] for place in places])
        found.append(dict(zip(places, detections, strict=True)))
    return found


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3, 4])
def test_photographs_in_batches_get_the_classic_boxes(size: int, model_name: str, detector: Detector) -> None:
    expected = np.load(SHARED / "reference" / f"{model_name}.npz")
    found = by_batches(detector, [read_image(SHARED / "images" / image) for image in PHOTOGRAPHS], size)
    detections = {place: each for batch in found for place, each in batch.items()}
    for place, image in enumerate(PHOTOGRAPHS):
        result = compare(image, expected[image], rows_of(detections[place]))
        assert result.matched + result.swapped == len(expected[image]) == 100, result
        assert result.swapped <= MOST_SWAPPED, result


@needs_shared
@pytest.mark.parametrize("image", PHOTOGRAPHS)
def test_photographs_get_the_classic_boxes(image: str, model_name: str, detector: Detector) -> None:
    expected = np.load(SHARED / "reference" / f"{model_name}.npz")[image]
    result = compare(image, expected, rows_of(detector.detect(read_image(SHARED / "images" / image))))
    assert result.matched + result.swapped == len(expected) == 100, result
    assert result.swapped <= MOST_SWAPPED, result


@needs_shared
def test_weights_are_those_that_the_frozen_results_were_made_with(model_name: str) -> None:
    tool = runpy.run_path(str(SHARED / "tools" / "reference_weights.py"))
    listed = json.loads((SHARED / "reference" / f"{model_name}.json").read_text())
    expected = tool["state_dict"](listed)
    drawn = weights_like(build_model(load_config(config_path(model_name))), factors_of(model_name))
    assert list(drawn) == list(expected)
    assert [name for name in expected if not _same(drawn[name], expected[name])] == []


@needs_shared
def test_committed_images_and_results_are_the_frozen_ones() -> None:
    frozen = SHARED / "reference" / "small"
    copied = {file.name: file.read_bytes() for file in HERE.iterdir() if file.name != "scales.json"}
    assert copied == {file.name: file.read_bytes() for file in frozen.iterdir()}


@pytest.mark.parametrize(
    "change", [(0.02, 0, 0, 0, 0, 0), (0, 0, 0, -0.02, 0, 0), (0, 0, 0, 0, 0.0002, 0), (0, 0, 0, 0, 0, 1)]
)
def test_comparison_sees_a_changed_box(change: tuple[float, ...]) -> None:
    expected = np.array([[10, 10, 20, 20, 0.9, 2], [10, 10, 20, 20, 0.8, 2]], np.float32)
    changed = expected + np.array([change, (0,) * 6], np.float32)
    result = compare("an image", expected, changed)
    assert result.matched == 1
    assert result.swapped + len(result.lost) == 1


def test_comparison_matches_in_any_order_and_names_what_is_lost() -> None:
    rows = np.array([[0, 0, 5, 5, 0.5, 1], [0, 0, 5, 5, 0.5, 2], [1, 1, 5, 5, 0.4, 1]], np.float32)
    assert compare("an image", rows, rows[::-1]).matched == 3
    assert len(compare("an image", rows, rows[:2]).lost) == 1
    assert compare("an image", rows, np.zeros((0, 6), np.float32)).matched == 0


def test_images_are_read_as_opencv_reads_them() -> None:
    path = HERE / "street.png"
    assert np.array_equal(read_image(path), cv2.imread(str(path)))


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)
