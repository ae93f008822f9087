"""The fast deformable convolution computes the same as torchvision's, and both the same as mmcv's."""

from __future__ import annotations

import mmcv.ops
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import DATA
from torchvision import ops as vision

from bdd100k_zoo.backends.mmdet3 import cpu_ops as fast
from bdd100k_zoo.errors import BackendError

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


# Offsets and masks of another size than the output


RECORDED = np.load(DATA / "modulated_deform_conv.npz")
"""Inputs and outputs of the compiled op of mmcv-full 1.7.2 on the CPU, with padding 1, by case and argument."""


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("case", ["next_level", "odd", "same_level", "stride2"])
def test_the_outputs_are_those_of_mmcvs_compiled_op(case: str, layout: torch.memory_format) -> None:
    def recorded(name: str) -> torch.Tensor:
        return torch.from_numpy(RECORDED[f"{case}.{name}"])

    features, weight, expected = recorded("x"), recorded("weight"), recorded("out")
    offset, mask = (recorded(name).contiguous(memory_format=layout) for name in ("offset", "mask"))
    features = features.contiguous(memory_format=layout)
    assert fast.supports_deform_conv2d(features, offset, weight) == (layout == torch.channels_last)
    stride = int(recorded("stride"))
    found = mmcv.ops.modulated_deform_conv2d(features, offset, mask, weight, None, stride, 1)
    # Bits are those of mmcv with its number of threads; with others its own last bits change. Cropping would be 36 off.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_each_image_reads_the_first_of_its_own_values() -> None:
    features, weight = torch.randn(2, 4, 3, 4), torch.randn(3, 4, 3, 3)
    larger = torch.randn(2, 27, 6, 8)
    offset, mask = larger[:, :18], larger[:, 18:]  # slices, as in DyHead
    found = mmcv.ops.modulated_deform_conv2d(features, offset, mask, weight, None, 1, 1)
    for image in range(2):
        taken = [values[image].reshape(-1)[: len(values[image]) * 12].view(1, -1, 3, 4) for values in (offset, mask)]
        one = mmcv.ops.modulated_deform_conv2d(features[image : image + 1], *taken, weight, None, 1, 1)
        torch.testing.assert_close(found[image : image + 1], one, rtol=0, atol=1e-5)


def test_values_beyond_those_that_are_read_get_no_gradient() -> None:
    features, weight = torch.randn(1, 4, 3, 4), torch.randn(3, 4, 3, 3)
    offset = torch.rand(1, 18, 6, 8).requires_grad_()
    mask = torch.rand(1, 9, 6, 8).requires_grad_()
    mmcv.ops.modulated_deform_conv2d(features, offset, mask, weight, None, 1, 1).square().sum().backward()
    for values in (offset, mask):
        assert values.grad is not None
        read = values.shape[1] * 12
        assert values.grad.flatten()[:read].abs().max() > 0
        assert values.grad.flatten()[read:].abs().max() == 0


def test_a_gpu_gets_the_same_view_of_the_values() -> None:
    shapes = ((2, 4, 3, 4), (2, 18, 6, 8), (2, 9, 6, 8), (3, 4, 3, 3))
    features, offset, mask, weight = (torch.empty(shape, device="meta") for shape in shapes)
    assert mmcv.ops.modulated_deform_conv2d(features, offset, mask, weight, None, 1, 1).shape == (2, 3, 3, 4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_too_few_values_are_refused(layout: torch.memory_format) -> None:
    features, offset, mask = FEATURES.contiguous(memory_format=layout), torch.zeros(1, 18, 3, 4), torch.ones(1, 9, 3, 4)
    with pytest.raises(BackendError, match="expected offsets and masks of at least 6x8, found 3x4"):
        mmcv.ops.modulated_deform_conv2d(features, offset, mask, WEIGHT, None, 1, 1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_version_1_refuses_offsets_of_another_size_as_in_mmcv(layout: torch.memory_format) -> None:
    features = FEATURES.contiguous(memory_format=layout)
    with pytest.raises(BackendError, match="expected offsets of 6x8, found 12x16"):
        mmcv.ops.deform_conv2d(features, torch.zeros(1, 18, 12, 16), WEIGHT, 1, 1)
