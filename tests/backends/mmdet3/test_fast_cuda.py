"""What a model is changed to for a GPU finds the same boxes as mmdet's own layers and heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from reference import HERE, config_path
from torch import nn

from bdd100k_zoo.backends.common.config import load_config, mmdet_default_scope
from bdd100k_zoo.backends.common.precision import use_precision
from bdd100k_zoo.backends.mmdet3.detector import build_model, build_pipeline, preprocess_batch, split_detections
from bdd100k_zoo.backends.mmdet3.fast_cuda import (
    Constants,
    keep_constants,
    optimize_for_cuda,
    store_short_weights,
)
from bdd100k_zoo.backends.mmdet3.random_weights import init_calibrated_random_weights
from bdd100k_zoo.data.image_files import read_image
from tools.fidelity.results import rows_of

CPU = torch.device("cpu")
SMALL = {"test_dataloader.dataset.pipeline.1.scale": (320, 180)}
HEADS = (
    "faster_rcnn_r50_fpn_1x",
    "fcos_r50_fpn_1x",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("retinanet_r50_fpn_1x", "cascade_rcnn_r50_fpn_1x", "sparse_rcnn_r50_fpn_1x", "atss_r50_fpn_1x")
    ),
)
"""A model with each kind of heads."""


def lively(name: str) -> tuple[Any, Any]:
    """Return a model with weights that find boxes, and a function that makes batches of two images for it."""
    config = load_config(config_path(name), SMALL)
    model, pipeline = build_model(config, name=name), build_pipeline(config, name=name)
    image = read_image(HERE / "street.png")
    init_calibrated_random_weights(model, preprocess_batch(pipeline, [image]))
    return model, lambda: preprocess_batch(pipeline, [image, np.ascontiguousarray(image[:, ::-1])])


def detect(model: Any, batch: Any) -> list[Any]:
    with mmdet_default_scope(), torch.inference_mode():
        return [rows_of(each) for each in split_detections(model.test_step(batch))]


@pytest.mark.parametrize("name", HEADS)
def test_boxes_are_the_same_to_the_bit_with_constants_that_are_kept(name: str) -> None:
    model, batch = lively(name)
    expected = detect(model, batch())
    undo = keep_constants(model, CPU)
    assert all(np.array_equal(a, b) for a, b in zip(expected, detect(model, batch()), strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(expected, detect(model, batch()), strict=True))
    assert all(len(rows) == 100 for rows in expected)
    undo()
    assert "grid_priors" not in vars(getattr(model, "bbox_head", model)).get("prior_generator", nn.Identity()).__dict__
    assert not [part for part in model.modules() if {"_bbox_post_process", "forward"} & vars(part).keys()]


def test_weights_of_16_bits_compute_what_autocast_computes() -> None:
    model, batch = lively("faster_rcnn_r50_fpn_1x")
    with use_precision("bf16", CPU):
        expected = detect(model, batch())
        undo = store_short_weights(model, torch.bfloat16)
        found = detect(model, batch())
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
    kinds = {type(part).__name__ for part in model.modules() for each in part.parameters(False) if each.itemsize == 2}
    assert kinds == {"Conv2d", "Linear"}
    undo()
    assert {each.dtype for each in model.parameters()} == {torch.float32}


def test_groups_are_normalised_in_16_bits_channels_last() -> None:
    norm = nn.GroupNorm(4, 16)
    nn.init.uniform_(norm.weight)
    features = torch.randn(2, 16, 8, 8).to(memory_format=torch.channels_last)
    expected = norm(features)
    store_short_weights(norm, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        found = norm(features.bfloat16())
    assert found.dtype == torch.bfloat16
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(found.float(), expected, atol=0.05)


def test_a_model_is_changed_and_its_boxes_stay() -> None:
    model, batch = lively("retinanet_r50_fpn_1x")
    (expected, _) = detect(model, batch())
    assert optimize_for_cuda(model, CPU, "fp32")
    assert not [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    (found, _) = detect(model, batch())
    assert np.abs(found[:, :5] - expected[:, :5]).max() < 0.01


def test_constants_are_made_once_and_can_be_used_in_training() -> None:
    constants, boxes = Constants(), torch.ones(2, 4)
    with torch.inference_mode():
        first = constants([0.1, 0.2], boxes)
    assert constants((0.1, 0.2), boxes) is first
    assert constants((0.1, 0.2), boxes.double()) is not first
    assert not first.is_inference()
