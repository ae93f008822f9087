"""RoIAlign and deformable convolution on the CPU as weighted sums of whole pixels, in the layout channels last.

RoIAlign (He et al., arXiv:1703.06870): a bin is the mean of bilinear samples on a regular grid. Each sample weights two
rows and two columns: the weight of a pixel in a bin is the product of a row's and a column's, and ``embedding_bag``
with one bag for each bin sums the pixels in vectors of channels.

Deformable convolution: ``embedding_bag`` interpolates the displaced pixels, then one matrix product follows.

torchvision's ops process one channel after the other. They compute the same numbers, added in another order.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torchvision import ops as vision

MAX_ROI_COORDINATE = 2.0**14
"""Regions with corners beyond this, in pixels of the image, or NaN, are left to torchvision."""

MAX_PIXELS_PER_CALL = 1 << 21
"""Pixels, counted for each bin, that are summed in one call: their positions and weights take 12 bytes each."""

MAX_PIXEL_RATIO = 2
"""Above this ratio of pixels to those that torchvision reads, torchvision's op is faster."""

MAX_OFFSET = 1e6
"""Offsets larger than this, in pixels, or NaN, are left to torchvision."""


def _are_supported(features: Tensor, *others: Tensor) -> bool:
    """Return whether tensors are float32 on the CPU and need no gradient, with features in channels last."""
    tensors = (features, *others)
    learning = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    on_cpu = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)
    # Pixels are numbered in int32.
    laid_out = features.is_contiguous(memory_format=torch.channels_last) and features.numel() < 2**31
    return on_cpu and laid_out and not learning


# RoIAlign


class _Axis(NamedTuple):
    """The rows (or columns) that each bin of each region touches, and their weights."""

    first: Tensor
    """[regions, bins]: the first row."""
    number: Tensor
    """[regions, bins]: how many rows; they are consecutive."""
    start: Tensor
    """[regions, bins]: where a bin's weights start in ``weights``."""
    weights: Tensor
    """[rows of all bins]."""
    samples: Tensor
    """[regions]: samples in each bin."""


def supports_roi_align(features: Tensor, rois: Tensor) -> bool:
    """Return whether inputs are supported: float32 on the CPU, channels last, no gradient, regions near the image."""
    return _are_supported(features, rois) and bool((rois.abs() < MAX_ROI_COORDINATE).all())


def roi_align_channels_last(
    features: Tensor, rois: Tensor, size: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool
) -> Tensor:
    """Pool features [n, c, h, w] in regions [k, 5] (image index, then corners) to [k, c, *size].

    The arguments are those of ``torchvision.ops.roi_align``; ``supports_roi_align`` must hold for them.
    """
    channels, height, width = features.shape[1:]
    corners = rois[:, 1:] * scale - (0.5 if aligned else 0)
    rows = _axis(corners[:, 1], corners[:, 3], size[0], height, sampling_ratio, aligned)
    columns = _axis(corners[:, 0], corners[:, 2], size[1], width, sampling_ratio, aligned)
    pixels = int((rows.number.sum(1) * columns.number.sum(1)).sum())
    if pixels > MAX_PIXEL_RATIO * 4 * size[0] * size[1] * int((rows.samples * columns.samples).sum()):
        return vision.roi_align(features, rois, size, scale, sampling_ratio, aligned)  # type: ignore[no-any-return]
    if pixels > MAX_PIXELS_PER_CALL and len(rois) > 1:
        halves = rois.tensor_split(2)
        return torch.cat(
            [roi_align_channels_last(features, half, size, scale, sampling_ratio, aligned) for half in halves]
        )
    table = features.permute(0, 2, 3, 1).reshape(-1, channels)
    first = rows.first + rois[:, :1].int() * height
    positions, offsets, weights = _pixels(rows._replace(first=first), columns, width)
    pooled = F.embedding_bag(positions, table, offsets, mode="sum", per_sample_weights=weights)
    return pooled.view(-1, *size, channels).permute(0, 3, 1, 2).contiguous()


def _axis(begin: Tensor, end: Tensor, bins: int, length: int, sampling_ratio: int, aligned: bool) -> _Axis:
    """Weight the rows between two borders [regions], with the same roundings as in torchvision."""
    extent = end - begin if aligned else (end - begin).clamp(min=1)
    step = extent / bins
    samples = step.ceil().clamp(min=0) if sampling_ratio <= 0 else torch.full_like(step, sampling_ratio)
    bin_, sample = _expand_counts(samples.int().repeat_interleave(bins))
    region = bin_ // bins
    edges = (begin[:, None] + torch.arange(bins, dtype=step.dtype) * step[:, None]).view(-1)
    places = _take(edges, bin_) + (sample + 0.5) * _take(step, region) / _take(samples, region)
    weight = ((places >= -1) & (places <= length)) / _take(samples, region)
    places = places.clamp(0, length - 1)
    low = places.int()
    part = places - low
    touched = torch.stack((low, (low + 1).clamp(max=length - 1)))
    merged = _sum_shares(bin_, touched, torch.stack((weight * (1 - part), weight * part)), len(edges))
    first, count, start = (values.view(-1, bins) for values in merged[:3])
    return _Axis(first, count, start, merged[3], samples)


def _sum_shares(bin_: Tensor, touched: Tensor, shares: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum the shares [2, samples] of each row in each bin: first rows, counts and starts [bins], and the sums."""
    index = bin_.long()
    first = torch.zeros(bins, dtype=torch.int32).scatter_reduce_(0, index, touched[0], "amin", include_self=False)
    last = torch.full_like(first, -1).scatter_reduce_(0, index, touched[1], "amax")
    count = last - first + 1
    start = _starts(count)
    places = _take(start - first, bin_) + touched
    weights = shares.new_zeros(int(count.sum())).index_add_(0, places.view(-1), shares.view(-1))
    return first, count, start, weights


def _pixels(rows: _Axis, columns: _Axis, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pixels of all bins: their positions, where each bin's start in that list, and their weights."""
    shape = (*rows.number.shape, columns.number.shape[1])

    def of_rows(values: Tensor) -> Tensor:
        return values[:, :, None].expand(shape).reshape(-1)

    def of_columns(values: Tensor) -> Tensor:
        return values[:, None].expand(shape).reshape(-1)

    heights, widths = of_rows(rows.number), of_columns(columns.number)
    bin_, row = _expand_counts(heights)
    strip_start = _take(of_rows(rows.first * width) + of_columns(columns.first), bin_) + row * width
    strip_weight = _take(rows.weights, _take(of_rows(rows.start), bin_) + row)
    strip, column = _expand_counts(_take(widths, bin_))
    positions = _take(strip_start, strip) + column
    weights = _take(columns.weights, _take(_take(of_columns(columns.start), bin_), strip) + column)
    return positions, _starts(heights * widths), weights * _take(strip_weight, strip)


def _expand_counts(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return, for rows of so many entries each, the row of every entry and its index in that row."""
    owner = torch.repeat_interleave(counts)
    return owner, torch.arange(len(owner), dtype=counts.dtype) - _take(_starts(counts), owner)


def _starts(counts: Tensor) -> Tensor:
    """Return the index of each row's first entry in the list of all entries."""
    return counts.cumsum(0, dtype=counts.dtype) - counts


def _take(values: Tensor, indices: Tensor) -> Tensor:
    return values.index_select(0, indices)


# Deformable convolution


def supports_deform_conv2d(features: Tensor, offset: Tensor, weight: Tensor) -> bool:
    """Return whether inputs are supported: float32 on the CPU, channels last, one group, no gradient, small offsets."""
    ungrouped = weight.size(1) == features.size(1)
    return ungrouped and _are_supported(features, offset, weight) and bool((offset.abs() < MAX_OFFSET).all())


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
