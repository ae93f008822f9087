"""Gradients of the substituted ops, in the forms in which the recipes use them, against finite differences."""

from __future__ import annotations

import importlib.util
from typing import Any

import mmcv.ops
import pytest
import torch
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
from torch.autograd import gradcheck

from bdd100k_zoo.backends.mmdet3 import ops

LAYOUTS = (torch.contiguous_format, torch.channels_last)
COMPILED = importlib.util.find_spec("mmcv._ext") is not None


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, dtype=torch.float64, generator=generator)


ROIS = torch.tensor(
    [
        [0, 1.3, 2.2, 11.4, 9.1],
        [1, -3.0, -2.5, 4.2, 30.0],  # beyond the borders
        [1, 5.1, 5.2, 5.3, 5.25],  # smaller than a pixel
        [0, 8.0, 3.0, 2.0, 7.0],  # turned inside out
    ],
    dtype=torch.float64,
)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_roi_align(sampling_ratio: int, layout: torch.memory_format) -> None:
    features = double(2, 3, 6, 7).contiguous(memory_format=layout).requires_grad_()
    layer = mmcv.ops.RoIAlign((7, 7), 0.5, sampling_ratio)
    assert gradcheck(layer, (features, ROIS), fast_mode=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_the_deformable_layers_of_the_recipes(stride: int, dilation: int, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer = mmcv.ops.DeformConv2dPack(
        4, 3, 3, stride=stride, padding=dilation, dilation=dilation, deform_groups=1, bias=False
    ).double()
    torch.nn.init.normal_(layer.conv_offset.weight, std=0.3)
    torch.nn.init.uniform_(layer.conv_offset.bias, 0.1, 0.4)
    features = double(2, 4, 6, 5, seed=1).contiguous(memory_format=layout).requires_grad_()
    parameters = [each.detach().requires_grad_() for each in layer.parameters()]
    names = [name for name, _ in layer.named_parameters()]

    def convolve(inputs: torch.Tensor, *values: torch.Tensor) -> Any:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (inputs,))

    assert gradcheck(convolve, (features, *parameters), fast_mode=True)


@pytest.mark.parametrize("size", [(3, 4), (6, 8)], ids=["same", "larger"])
def test_the_modulated_layers_of_dyhead(size: tuple[int, int]) -> None:
    """DyHead convolves the next level, which is half as large, with the offsets and masks of a level."""
    features, weight = double(2, 4, 3, 4).requires_grad_(), double(3, 4, 3, 3).requires_grad_()
    offset_and_mask = double(2, 27, *size, seed=1).requires_grad_()

    def convolve(inputs: torch.Tensor, both: torch.Tensor, weights: torch.Tensor) -> Any:
        offset, mask = both[:, :18] * 0.8 + 0.1, both[:, 18:].sigmoid()
        return mmcv.ops.modulated_deform_conv2d(inputs, offset, mask, weights, None, 1, 1)

    assert gradcheck(convolve, (features, offset_and_mask, weight), fast_mode=True)


@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_the_focal_loss(scale: float) -> None:
    logits = ((double(5, 4) - 0.5) * 2 * scale).requires_grad_()
    target = torch.tensor([0, 3, 4, 1, 4])
    assert gradcheck(lambda given: mmcv.ops.sigmoid_focal_loss(given, target, 2.0, 0.25, None, "sum"), (logits,))


@pytest.mark.parametrize("value", [-200.0, -40.0, 0.0, 40.0, 200.0])
def test_the_focal_loss_of_extreme_logits(value: float) -> None:
    """Values and gradients are finite, and those of mmdet's Python."""
    found, expected = (torch.full((2, 2), value, requires_grad=True) for _ in range(2))
    loss = mmcv.ops.sigmoid_focal_loss(found, torch.tensor([0, 2]), 2.0, 0.25, None, "sum")
    wanted = py_sigmoid_focal_loss(expected, torch.tensor([[1, 0], [0, 0]]), reduction="sum")
    loss.backward()
    wanted.backward()
    assert found.grad is not None
    assert torch.isfinite(found.grad).all()
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(found.grad, expected.grad)


@pytest.mark.skipif(not COMPILED, reason="NOT COMPARED: no compiled mmcv is installed")
def test_values_and_gradients_are_those_of_a_compiled_mmcv() -> None:
    features, offset, weight = (
        double(2, 4, 6, 5).float(),
        double(2, 18, 6, 5, seed=1).float(),
        double(3, 4, 3, 3).float(),
    )
    pairs = [
        (mmcv.ops.roi_align, ops.roi_align, (features, ROIS.float(), (7, 7), 0.5, 2, "avg", True)),
        (mmcv.ops.deform_conv2d, ops.deform_conv2d, (features, offset, weight, 1, 1)),
    ]
    for compiled, substitute, arguments in pairs:
        found = []
        for function in (compiled, substitute):
            given = [each.clone().requires_grad_() if isinstance(each, torch.Tensor) else each for each in arguments]
            result = function(*given)
            result.square().sum().backward()
            found.append(
                [result, *(each.grad for each in given if isinstance(each, torch.Tensor) and each.grad is not None)]
            )
        torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
