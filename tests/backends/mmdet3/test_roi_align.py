"""The fast RoIAlign pools the same as torchvision's."""

from __future__ import annotations

from typing import Any

import mmcv.ops
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torchvision import ops as vision

from bdd100k_zoo.backends.mmdet3 import cpu_ops as fast

HEIGHT, WIDTH = 9, 13


def features(images: int = 2, channels: int = 5) -> torch.Tensor:
    drawn = torch.randn(images, channels, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(4))
    return drawn.contiguous(memory_format=torch.channels_last)


# Coordinates on borders, between pixels and far outside; corners in any order.
coordinates = st.one_of(
    st.integers(-8, 40).map(float),
    st.floats(-70, 140, width=32),
    st.sampled_from([-1.0, -0.5, 0.0, HEIGHT - 0.5, float(HEIGHT), WIDTH - 0.5, float(WIDTH), 300.0, -300.0]),
)
regions = st.lists(st.tuples(st.integers(0, 1), *[coordinates] * 4), max_size=6)
bins = st.integers(1, 4)
scales = st.sampled_from([1.0, 0.5, 0.25, 1 / 3])


@settings(deadline=None)
@given(regions, bins, bins, scales, st.integers(-1, 3), st.booleans())
@example([], 7, 7, 1.0, 0, True)
@example([(0, 5, 5, 2, 2), (1, 3, 3, 3, 3)], 2, 2, 1.0, 2, True)
def test_it_pools_the_same_as_torchvision(
    rois: list[Any], height: int, width: int, scale: float, sampling_ratio: int, aligned: bool
) -> None:
    given_, pixels = torch.tensor(rois).reshape(-1, 5).float(), features()
    if aligned and sampling_ratio <= 0:  # torchvision's fails for a negative number of samples
        first, second = given_[:, 1:3], given_[:, 3:]
        given_ = torch.cat((given_[:, :1], first.minimum(second), first.maximum(second)), 1)
    assert fast.supports_roi_align(pixels, given_)
    asked = ((height, width), scale, sampling_ratio, aligned)
    expected, found = vision.roi_align(pixels, given_, *asked), fast.roi_align_channels_last(pixels, given_, *asked)
    assert found.shape == expected.shape
    assert found.is_contiguous()
    assert torch.allclose(found, expected, rtol=0, atol=1e-5 * float(pixels.abs().max()))


def test_a_region_of_no_extent_or_less_has_no_samples() -> None:
    rois = torch.tensor([[0, 5, 5, 2, 2], [0, 5, 1, 2, 8], [0, 2, 5, 5, 1], [1, 3, 3, 3, 3]], dtype=torch.float32)
    assert not fast.roi_align_channels_last(features(), rois, (2, 2), 1.0, 0, True).any()


@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_proposals_of_a_pyramid_are_pooled_alike(stride: int) -> None:
    generator = torch.Generator().manual_seed(stride)
    pixels = torch.randn(1, 64, 736 // stride, 1280 // stride, generator=generator)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    centres = torch.rand(300, 2, generator=generator) * torch.tensor([1280, 720])
    sizes = stride * 8 * (0.5 + 3 * torch.rand(300, 2, generator=generator))
    corners = torch.cat((centres - sizes / 2, centres + sizes / 2), 1).clamp(min=0)
    rois = torch.cat((torch.zeros(300, 1), torch.minimum(corners, torch.tensor([1280.0, 720, 1280, 720]))), 1)
    expected = vision.roi_align(pixels, rois, (7, 7), 1 / stride, 0, True)
    found = fast.roi_align_channels_last(pixels, rois, (7, 7), 1 / stride, 0, True)
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)


def test_many_pixels_are_processed_in_parts_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    rois = torch.tensor([[0, 0, 0, 12, 8], [1, 1, 2, 3, 4], [0, -3, 2, 30, 7], [1, 5, 5, 4, 4]], dtype=torch.float32)
    at_once = fast.roi_align_channels_last(features(), rois, (3, 2), 1.0, 0, True)
    monkeypatch.setattr(fast, "MAX_PIXELS_PER_CALL", 20)
    assert torch.equal(fast.roi_align_channels_last(features(), rois, (3, 2), 1.0, 0, True), at_once)


def test_an_image_pools_to_the_same_bits_alone_and_with_others() -> None:
    rois = torch.tensor([[0, 1, 2, 9, 8], [0, 0, 0, 4, 4]], dtype=torch.float32)
    alone = fast.roi_align_channels_last(features()[1:], rois, (7, 7), 1.0, 0, True)
    beside = fast.roi_align_channels_last(features(), rois + torch.tensor([1.0, 0, 0, 0, 0]), (7, 7), 1.0, 0, True)
    assert torch.equal(alone, beside)


def test_few_samples_of_a_large_region_are_left_to_torchvision() -> None:
    pixels = torch.randn(1, 4, 200, 200).contiguous(memory_format=torch.channels_last)
    rois = torch.tensor([[0, 3, 5, 190, 180]], dtype=torch.float32)
    expected = vision.roi_align(pixels, rois, (2, 2), 1.0, 2, True)
    assert torch.equal(fast.roi_align_channels_last(pixels, rois, (2, 2), 1.0, 2, True), expected)


REGION = torch.tensor([[0, 1.0, 1.0, 6.0, 7.0]])


@pytest.mark.parametrize(
    ("pixels", "rois"),
    [
        (features().contiguous(), REGION),
        (features().double(), REGION.double()),
        (features().bfloat16(), REGION.bfloat16()),
        (features().requires_grad_(), REGION),
        (features(), REGION * float("nan")),
        (features(), REGION * float("inf")),
        (features(), REGION * 1e5),
    ],
    ids=["rows", "double", "bfloat16", "gradient", "nan", "inf", "far"],
)
def test_unsupported_inputs(pixels: torch.Tensor, rois: torch.Tensor) -> None:
    assert not fast.supports_roi_align(pixels, rois)


def test_inputs_that_require_gradients_are_supported_without_grad_mode() -> None:
    pixels = features().requires_grad_()
    with torch.no_grad():
        assert fast.supports_roi_align(pixels, REGION)


def test_mmcvs_op_gives_the_same_values_and_gradients_in_both_layouts() -> None:
    pixels = features()
    expected = mmcv.ops.roi_align(pixels.contiguous(), REGION, (7, 7), 0.5, 0)
    assert torch.allclose(mmcv.ops.roi_align(pixels, REGION, (7, 7), 0.5, 0), expected, atol=1e-5)
    gradients = []
    for laid_out in (pixels, pixels.contiguous()):
        learning = laid_out.detach().requires_grad_()
        mmcv.ops.roi_align(learning, REGION, (7, 7), 0.5, 0).sum().backward()
        gradients.append(learning.grad)
    assert gradients[0] is not None
    assert torch.equal(*gradients)
