"""Ops and devices are tested on inputs whose right results are known; a wrong result is an error."""

from __future__ import annotations

import pytest
import torch

from bdd100k_zoo.backends.common.self_test import TESTED_OPS, self_test_device, self_test_ops
from bdd100k_zoo.backends.mmdet3 import ops
from bdd100k_zoo.errors import DeviceError


def test_the_cpu_computes():
    self_test_device("cpu")


def test_all_ops_are_right_on_the_cpu():
    ops.install_ops()
    self_test_ops("cpu")


@pytest.mark.gpu
def test_all_is_right_on_the_gpu():
    ops.install_ops()
    self_test_device("cuda")
    self_test_ops("cuda")


def test_a_device_that_computes_something_else_is_reported(monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda image, _: image[..., 1:-1, 1:-1] * 8)
    with pytest.raises(DeviceError, match="a convolution"):
        self_test_device("cpu")


@pytest.mark.parametrize("op", TESTED_OPS)
def test_an_op_that_computes_something_else_is_reported(op, monkeypatch):
    ops.install_ops()
    from mmcv import ops as theirs

    right = getattr(theirs, op)

    def wrong(*arguments):
        result = right(*arguments)
        return (result[0], result[1] + 1) if op == "nms" else result + 1

    monkeypatch.setattr(theirs, op, wrong)
    with pytest.raises(DeviceError, match=op):
        self_test_ops("cpu")
