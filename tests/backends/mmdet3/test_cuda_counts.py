"""Models of every family on a fake GPU: no mixed devices, float32 where it matters, and few waits and conversions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
import torch
from fake_cuda import count_inference, count_training

if TYPE_CHECKING:
    from fake_cuda import Counts

    from bdd100k_zoo.registry import Zoo


class Bounds(NamedTuple):
    """The most that a batch of 8 in fp16 may ask for."""

    blocking_copies: int
    nchw: int
    """Convolutions whose input is NCHW: the first one of a network, and those that follow other operators."""
    launches: int


FAMILIES = {
    "faster_rcnn_r50_fpn_1x": Bounds(0, 1, 1180),
    "retinanet_r50_fpn_1x": Bounds(0, 1, 910),
    "cascade_rcnn_r50_fpn_1x": Bounds(16, 1, 1650),
    "fcos_r50_fpn_1x": Bounds(0, 1, 1030),
    "faster_rcnn_r50_fpn_deconv_1x": Bounds(0, 1, 1270),
    "libra_faster_r50_fpn_1x": Bounds(0, 2, 1210),
    "faster_rcnn_hrnetv2p_w18_1x": Bounds(0, 1, 1890),
    "sparse_rcnn_r50_fpn_1x": Bounds(0, 1, 2300),
    "atss_r50_fpn_1x": Bounds(0, 1, 1110),
    "atss_r50_fpn_dyhead_1x": Bounds(0, 41, 2790),
    "faster_rcnn_swin-t_fpn_1x": Bounds(0, 5, 1550),
    "retinanet_pvt-t_fpn_1x": Bounds(0, 22, 1050),
    "retinanet_pvtv2-b0_fpn_1x": Bounds(0, 22, 1050),
    "faster_rcnn_r50_fpn_rsb_1x": Bounds(0, 1, 1180),
    "faster_rcnn_convnext-t_fpn_fp16_1x": Bounds(0, 1, 1260),
}
"""One model of each family of the zoo."""


def check_dtypes(counts: Counts) -> None:
    """Whatever a network computes in, regions are pooled, and boxes decoded and suppressed, in float32."""
    assert not counts.mixed
    pooled, suppressed, decoded = (counts.dtypes.get(name, {}) for name in ("roi_align", "nms", "decode"))
    assert set(pooled) | set(suppressed) <= {(torch.float32, torch.float32)}
    assert set(decoded) <= {(torch.float32,)}
    assert pooled or suppressed


def check_bounds(counts: Counts, bounds: Bounds, batch: int = 8) -> None:
    assert counts.blocking_copies.total() <= bounds.blocking_copies, counts.blocking_copies
    assert not counts.weight_casts
    assert counts.nchw.total() <= bounds.nchw, counts.nchw
    assert counts.launches <= bounds.launches
    assert (counts.other_copies.total(), counts.copies_back.total()) == (batch, 1)  # the pixels, the boxes


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_of_every_family_asks_little_of_a_gpu_in_fp16(name: str) -> None:
    (counts,) = count_inference(name, "fp16", 2)
    check_dtypes(counts)
    check_bounds(counts, FAMILIES[name], 2)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16"])
@pytest.mark.parametrize("name", FAMILIES)
def test_batches_in_every_precision(name: str, precision: str) -> None:
    for batch, counts in zip((1, 8), count_inference(name, precision, 1, 8), strict=True):
        check_dtypes(counts)
        layouts = FAMILIES[name].nchw if precision != "fp32" else counts.layouts.total()
        check_bounds(counts, FAMILIES[name]._replace(nchw=layouts), batch)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("name", FAMILIES)
def test_training_steps_in_every_precision(name: str, precision: str) -> None:
    counts = count_training(name, precision, 2, backward=True)
    assert not counts.mixed
    assert set(counts.dtypes.get("nms", {})) | set(counts.dtypes.get("roi_align", {})) <= {(torch.float32,) * 2}
    assert bool(counts.weight_casts) == (precision in ("fp16", "bf16"))  # the layers are those of mmdet


def test_every_family_of_the_zoo_is_counted(zoo: Zoo) -> None:
    assert {zoo[name].family for name in FAMILIES} == {model.family for model in zoo.values()}
