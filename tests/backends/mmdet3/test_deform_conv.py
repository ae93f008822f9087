"""The fast deformable convolution computes the same as torchvision's."""

from __future__ import annotations

import mmcv.ops
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import ops as vision

from bdd100k_zoo.backends.mmdet3 import cpu_ops as fast

pairs = st.tuples(st.integers(1, 2), st.integers(1, 2))


@settings(deadline=None)
@given(
    st.integers(0, 2**31), st.integers(1, 2), pairs, pairs, pairs, pairs, st.sampled_from([1, 2]), st.booleans(),
    st.sampled_from([0.0, 0.5, 3.0, 20.0]),
)  # fmt: skip
def test_it_computes_the_same_as_torchvision(
    seed: int,
    images: int,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    kernel: tuple[int, int],
    groups: int,
    modulated: bool,
    reach: float,
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    features, weight = draw(images, 4, 6, 8).contiguous(memory_format=torch.channels_last), draw(3, 4, *kernel)
    spacing = (stride, padding, dilation)
    shape = torch.nn.functional.conv2d(features, weight, None, *spacing).shape[2:]
    points = groups * kernel[0] * kernel[1]
    # Halves of pixels too: places on pixels, and on the borders where nothing counts any more.
    offset = draw(images, 2 * points, *shape) * reach
    offset = (2 * offset).round() / 2 if seed % 2 else offset
    bias, mask = (draw(3), draw(images, points, *shape)) if modulated else (None, None)
    assert fast.supports_deform_conv2d(features, offset, weight)
    expected = vision.deform_conv2d(features, offset, weight, bias, *spacing, mask)
    found = fast.deform_conv2d_channels_last(features, offset, weight, bias, *spacing, mask)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=0, atol=1e-5 * float(1 + expected.abs().max()))


FEATURES = torch.randn(1, 4, 6, 8).contiguous(memory_format=torch.channels_last)
OFFSET, WEIGHT = torch.zeros(1, 18, 6, 8), torch.randn(3, 4, 3, 3)


@pytest.mark.parametrize(
    ("features", "offset", "weight"),
    [
        (FEATURES.contiguous(), OFFSET, WEIGHT),
        (FEATURES.double(), OFFSET.double(), WEIGHT.double()),
        (FEATURES, OFFSET, WEIGHT.clone().requires_grad_()),
        (FEATURES, OFFSET, WEIGHT[:, :2]),
        (FEATURES, OFFSET * float("nan"), WEIGHT),
        (FEATURES, OFFSET + 1e7, WEIGHT),
    ],
    ids=["rows", "double", "gradient", "grouped", "nan", "far"],
)
def test_unsupported_inputs(features: torch.Tensor, offset: torch.Tensor, weight: torch.Tensor) -> None:
    assert not fast.supports_deform_conv2d(features, offset, weight)


def test_mmcvs_op_gives_the_same_values_and_gradients_in_both_layouts() -> None:
    layer = mmcv.ops.DeformConv2dPack(4, 3, 3, padding=1)
    torch.nn.init.normal_(layer.conv_offset.weight, std=0.1)
    with torch.no_grad():
        assert torch.allclose(layer(FEATURES), layer(FEATURES.contiguous()), atol=1e-5)
    layer(FEATURES).sum().backward()
    learnt = layer.weight.grad.clone()
    layer.zero_grad()
    layer(FEATURES.contiguous()).sum().backward()
    assert torch.allclose(layer.weight.grad, learnt, atol=1e-4)
