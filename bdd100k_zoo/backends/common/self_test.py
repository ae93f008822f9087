"""Tests of a device and of mmcv's ops on it, with inputs so small that the right answer is known."""

from __future__ import annotations

import torch
from torch import Tensor

from bdd100k_zoo.errors import DeviceError

TESTED_OPS = ("nms", "roi_align", "deform_conv2d")
"""The ops that the models of the zoo call."""
ATOL = 1e-4
"""Far more than rounding, far less than a wrong answer."""


def self_test_device(device: str) -> None:
    """Compute a product of matrices and a convolution.

    Raises:
        DeviceError: the product is wrong.
        RuntimeError: torch cannot compute there.
    """
    ones = torch.ones(64, 64, device=device)
    _expect(device, "a product of matrices", ones @ ones, 64 * ones)
    image = torch.ones(1, 1, 8, 8, device=device)
    kernel = torch.ones(1, 1, 3, 3, device=device)
    _expect(device, "a convolution", torch.nn.functional.conv2d(image, kernel), torch.full((1, 1, 6, 6), 9.0))


def self_test_ops(device: str) -> None:
    """Call each op of ``TESTED_OPS`` through ``mmcv.ops``, which must have been imported with working ops.

    Raises:
        DeviceError: a result is wrong.
        RuntimeError: an op cannot compute there.
    """
    _test_nms(device)
    _test_roi_align(device)
    _test_deform_conv2d(device)


def _test_nms(device: str) -> None:
    from mmcv.ops import nms

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]], device=device)
    _, kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7], device=device), 0.5)
    _expect(device, "nms", kept, torch.tensor([0, 2]))


def _test_roi_align(device: str) -> None:
    """On a ramp, a region's parts have the values at their centres, half a pixel to the left."""
    from mmcv.ops import roi_align

    rois = torch.tensor([[0.0, 2, 2, 6, 6]], device=device)
    pooled = roi_align(_ramp(device), rois, (2, 2), 1.0, 2, "avg", True)
    _expect(device, "roi_align", pooled, torch.tensor([[[[2.5, 4.5], [2.5, 4.5]]]]))


def _test_deform_conv2d(device: str) -> None:
    """On a ramp, points displaced by one to the right add one to each of the nine values."""
    from mmcv.ops import deform_conv2d

    offset = torch.tensor([0.0, 1.0], device=device).repeat(9).view(1, 18, 1, 1).expand(1, 18, 6, 6).contiguous()
    convolved = deform_conv2d(_ramp(device), offset, torch.ones(1, 1, 3, 3, device=device))
    _expect(device, "deform_conv2d", convolved[0, 0, 3, 2], torch.tensor(9.0 * (3 + 1)))


def _ramp(device: str) -> Tensor:
    return torch.arange(8.0, device=device).expand(1, 1, 8, 8).contiguous()


def _expect(device: str, what: str, found: Tensor, expected: Tensor) -> None:
    if not torch.allclose(found.cpu().to(torch.float64), expected.cpu().to(torch.float64), atol=ATOL):
        raise DeviceError(device, f"{what} is {found.tolist()} where {expected.tolist()} is right")
