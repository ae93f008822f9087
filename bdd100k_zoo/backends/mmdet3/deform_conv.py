"""Deformable convolution on the CPU: whole pixels gathered by ``embedding_bag``, then one matrix product.

torchvision's op gathers one channel after the other; here a pixel's channels are adjacent in memory (channels last), as
in ``roi_align``. The numbers are the same, added in another order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

MAX_OFFSET = 1e6
"""Offsets larger than this, in pixels, or NaN, are left to torchvision."""


def supports_deform_conv2d(features: Tensor, offset: Tensor, weight: Tensor) -> bool:
    """Return whether inputs are supported: float32 on the CPU, channels last, one group, no gradient, small offsets."""
    tensors = (features, offset, weight)
    learning = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    on_cpu = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)
    # Pixels are numbered in int32.
    laid_out = features.is_contiguous(memory_format=torch.channels_last) and features.numel() < 2**31
    ungrouped = weight.size(1) == features.size(1)
    return on_cpu and laid_out and ungrouped and not learning and bool((offset.abs() < MAX_OFFSET).all())


def deform_conv2d_channels_last(
    features: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    mask: Tensor | None,
) -> Tensor:
    """Convolve [n, c, h, w] at displaced points, channels last.

    The arguments are those of ``torchvision.ops.deform_conv2d``; ``supports_deform_conv2d`` must hold for them.
    """
    images, height, width = len(features), *features.shape[2:]
    points = weight.shape[2] * weight.shape[3]
    by_point = (images, *offset.shape[2:], offset.shape[1] // (2 * points), points)
    shifts = offset.permute(0, 2, 3, 1).reshape(*by_point, 2)
    kernel = torch.cartesian_prod(*(_positions(n, step) for n, step in zip(weight.shape[2:], dilation, strict=True)))
    tops, lefts = (_positions(*axis) for axis in zip(offset.shape[2:], stride, padding, strict=True))
    rows, row_weights = _taps(shifts[..., 0] + (tops[:, None, None, None] + kernel[:, 0]), height)
    columns, column_weights = _taps(shifts[..., 1] + (lefts[:, None, None] + kernel[:, 1]), width)
    pixels = rows[..., None] * width + columns[..., None, :]
    pixels += (torch.arange(images, dtype=torch.int32) * (height * width)).view(-1, 1, 1, 1, 1, 1, 1)
    weights = row_weights[..., None] * column_weights[..., None, :]
    if mask is not None:
        weights = weights * mask.permute(0, 2, 3, 1).reshape(by_point)[..., None, None]
    gathered = _gather(features, pixels, weights)
    flat = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
    with torch.autocast("cpu", enabled=False):  # like torchvision's op, which always computes in float32
        product = F.linear(gathered, flat, bias)
    return product.view(*by_point[:3], -1).permute(0, 3, 1, 2)


def _positions(number: int, step: int, before: int = 0) -> Tensor:
    """Return ``number`` positions, ``step`` apart, of which the first is at ``-before``."""
    return torch.arange(number, dtype=torch.float32) * step - before


def _taps(places: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return the two rows (or columns) around each place, [..., 2], and their weights: 0 beyond the border."""
    low = places.floor()
    part = places - low
    rows = torch.stack((low, low + 1), -1)
    weights = torch.stack((1 - part, part), -1) * ((rows >= 0) & (rows < length))
    return rows.clamp(0, length - 1).int(), weights


def _gather(features: Tensor, pixels: Tensor, weights: Tensor) -> Tensor:
    """Sum four weighted pixels [n, h, w, groups, points, 2, 2] at each point, to [n·h·w, points·channels]."""
    groups = pixels.shape[3]
    table = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1] // groups)
    cells = pixels * groups + torch.arange(groups, dtype=torch.int32).view(-1, 1, 1, 1)
    bags, shares = (values.transpose(3, 4).reshape(-1, 4) for values in (cells, weights))
    rows = pixels.shape[:3].numel()
    return F.embedding_bag(bags, table, mode="sum", per_sample_weights=shares).view(rows, -1)
