"""The boxes are those of the classic stack with the same weights."""

from __future__ import annotations

import json
import runpy
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from reference import CLASSIC, HERE, MODELS, SHARED, differences, differences_from_frozen, weights_of

from bdd100k_zoo.data.image_files import read_image
from bdd100k_zoo.prediction.batches import batch_by_shape
from bdd100k_zoo.registry import load_zoo
from tools.fidelity.freeze import architectures
from tools.fidelity.results import read_frozen, read_rows, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bdd100k_zoo.backends.protocol import BackendDetector
    from bdd100k_zoo.data.detections import Detections

PHOTOGRAPHS = (
    "0ace96c3-48481887.jpg",
    "3c0e7240-96e390d2.jpg",
    "7dd9ef45-f197db95.jpg",
    "9aa94005-ff1d4c9a.jpg",
)
QUICK = (
    "faster_rcnn_r50_fpn_1x",
    "retinanet_r50_fpn_1x",
    "fcos_r50_fpn_1x",
    "faster_rcnn_r50_fpn_deconv_1x",
    "sparse_rcnn_r50_fpn_1x",
    "atss_r50_fpn_1x",
    "atss_r50_fpn_dyhead_1x",
    "fcos_tricks_r50_fpn_1x",
    "faster_rcnn_swin-t_fpn_1x",
    "retinanet_pvt-t_fpn_1x",
    "retinanet_pvtv2-b0_fpn_1x",
    "faster_rcnn_convnext-t_fpn_fp16_1x",
)
ZOO = load_zoo()
FIRST = [models[0] for models in architectures(ZOO)]

needs_shared = pytest.mark.skipif(
    not (SHARED / "reference").is_dir(),
    reason=f"NOT COMPARED with the classic stack on photographs: {SHARED} is not there",
)


# Every architecture


@pytest.mark.parametrize(
    "name",
    [pytest.param(model.name, marks=() if model.name in QUICK else pytest.mark.slow) for model in FIRST],
)
def test_every_architecture_gets_the_classic_boxes(name: str, tmp_path: Path) -> None:
    assert differences_from_frozen(ZOO[name], "mmdet3", tmp_path) == []


def test_the_classic_boxes_are_those_of_the_classic_stack() -> None:
    versions = read_frozen(CLASSIC).stack.versions
    assert (versions["mmdet"], versions["mmcv-full"]) == ("2.28.2", "1.7.2")


def test_the_classic_boxes_differ_enough_to_reveal_mistakes() -> None:
    for model in FIRST:
        rows = np.concatenate(list(read_rows(CLASSIC, model.name).values()))
        assert len(rows) == 100 * len(read_frozen(CLASSIC).images), model.name
        assert len(np.unique(rows[:, 5])) >= 2, model.name
        assert np.ptp(rows[:, 4]) > 0, model.name


# Results of other origin


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name == "retinanet_r50_fpn_1x" else pytest.mark.slow) for name in MODELS],
)
def model_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def detector(model_name: str, load_detector: Callable[..., BackendDetector]) -> BackendDetector:
    return load_detector(model_name)


def test_batches_of_two_and_three_get_the_classic_boxes(model_name: str, detector: BackendDetector) -> None:
    street, square = (read_image(HERE / name) for name in ("street.png", "square.png"))
    # Neighbours that differ; sizes apart, as a run groups them.
    images = [street, square, square[:, ::-1], street[:, ::-1], square[::-1]]
    found = by_batches(detector, images, 3)
    assert sorted({len(batch) for batch in found}) == [2, 3]
    expected = np.load(HERE / f"{model_name}.npz")
    detections = {place: each for batch in found for place, each in batch.items()}
    for place, image in enumerate(("street.png", "square.png")):
        assert len(expected[image]) == 100
        assert differences(expected[image], rows_of(detections[place])) == []


def by_batches(detector: BackendDetector, images: Sequence[Any], size: int) -> list[dict[int, Detections]]:
    """Detect in batches as ``prediction.pipeline`` forms them; return the detections of each batch by image."""
    prepared = [detector.prepare(image) for image in images]
    found = []
    for places in batch_by_shape(((each.shape, place) for place, each in enumerate(prepared)), size):
        detections = detector.detect_prepared([prepared[place] for place in places])
        found.append(dict(zip(places, detections, strict=True)))
    return found


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("size", [3])  # a batch of three, and one that is left
def test_photographs_in_batches_get_the_classic_boxes(size: int, model_name: str, detector: BackendDetector) -> None:
    expected = np.load(SHARED / "reference" / f"{model_name}.npz")
    found = by_batches(detector, [read_image(SHARED / "images" / image) for image in PHOTOGRAPHS], size)
    detections = {place: each for batch in found for place, each in batch.items()}
    for place, image in enumerate(PHOTOGRAPHS):
        assert len(expected[image]) == 100
        assert differences(expected[image], rows_of(detections[place])) == []


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("image", PHOTOGRAPHS)
def test_photographs_get_the_classic_boxes(image: str, model_name: str, detector: BackendDetector) -> None:
    expected = np.load(SHARED / "reference" / f"{model_name}.npz")[image]
    assert len(expected) == 100
    assert differences(expected, rows_of(detector.detect(read_image(SHARED / "images" / image)))) == []


@needs_shared
def test_weights_are_those_of_the_frozen_results(model_name: str) -> None:
    tool = runpy.run_path(str(SHARED / "tools" / "reference_weights.py"))
    listed = json.loads((SHARED / "reference" / f"{model_name}.json").read_text())
    draw = weights_of(model_name)
    expected = {name: entry.numpy() for name, entry in tool["state_dict"](listed).items() if entry.is_floating_point()}
    assert [name for name, entry in expected.items() if not np.array_equal(draw(name, entry.shape), entry)] == []


@needs_shared
def test_committed_images_and_results_are_the_frozen_ones() -> None:
    frozen = SHARED / "reference" / "small"
    copied = {file.name: file.read_bytes() for file in HERE.iterdir()}
    assert copied == {file.name: file.read_bytes() for file in frozen.iterdir()}


def test_images_are_read_as_opencv_reads_them() -> None:
    path = HERE / "street.png"
    assert np.array_equal(read_image(path), cv2.imread(str(path)))
