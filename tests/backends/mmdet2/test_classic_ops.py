"""The substitute for the modulated deformable convolution is the compiled op of mmcv-full, with gradients."""

from __future__ import annotations

import pytest
import torch

from bdd100k_zoo.backends.mmdet3.ops import modulated_deform_conv2d

pytestmark = [pytest.mark.classic, pytest.mark.usefixtures("classic")]


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("sliced", [False, True])
@pytest.mark.parametrize(
    ("level", "size", "stride"),
    [((5, 8), (10, 16), 1), ((3, 5), (6, 9), 1), ((10, 16), (10, 16), 1), ((10, 16), (5, 8), 2)],
    ids=["next level", "odd", "same level", "previous level"],
)
def test_values_and_gradients_are_those_of_mmcv(
    level: tuple[int, int], size: tuple[int, int], stride: int, sliced: bool, images: int
) -> None:
    from mmcv.ops import modulated_deform_conv2d as compiled

    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    given = [draw(images, 4, *level), draw(images, 27, *size), draw(6, 4, 3, 3), draw(6)]
    found = []
    for function in (compiled, modulated_deform_conv2d):
        features, both, weight, bias = (each.clone().requires_grad_() for each in given)
        parts = (both[:, :18], both[:, 18:])
        offset, mask = parts if sliced else (part.contiguous() for part in parts)
        result = function(features, offset, mask, weight, bias, stride, 1)
        result.square().sum().backward()
        found.append([result, *(each.grad for each in (features, both, weight, bias))])
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)
