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

    launches: int
    waits: int
    """How often the CPU waits for a number of boxes."""
    copies_back: int
    """The boxes; each pooling copies the number of regions of the levels as well."""
    nchw: int
    """Convolutions whose input is NCHW: the first one of a network, and those that follow other operators."""


FAMILIES = {
    "faster_rcnn_r50_fpn_1x": Bounds(390, 2, 2, 1),
    "retinanet_r50_fpn_1x": Bounds(360, 1, 1, 1),
    "cascade_rcnn_r50_fpn_1x": Bounds(500, 2, 4, 1),
    "fcos_r50_fpn_1x": Bounds(460, 1, 1, 1),
    "faster_rcnn_r50_fpn_deconv_1x": Bounds(490, 2, 2, 1),
    "libra_faster_r50_fpn_1x": Bounds(430, 2, 2, 2),
    "faster_rcnn_hrnetv2p_w18_1x": Bounds(1120, 2, 2, 1),
    "sparse_rcnn_r50_fpn_1x": Bounds(2290, 126, 1, 1),
    "atss_r50_fpn_1x": Bounds(460, 1, 1, 1),
    "atss_r50_fpn_dyhead_1x": Bounds(2200, 1, 1, 41),
    "faster_rcnn_swin-t_fpn_1x": Bounds(770, 2, 2, 5),
    "retinanet_pvt-t_fpn_1x": Bounds(510, 1, 1, 22),
    "retinanet_pvtv2-b0_fpn_1x": Bounds(500, 1, 1, 22),
    "faster_rcnn_r50_fpn_rsb_1x": Bounds(390, 2, 2, 1),
    "faster_rcnn_convnext-t_fpn_fp16_1x": Bounds(470, 2, 2, 1),
}
"""One model of each family of the zoo.

Launches are at most half of those with mmdet's heads, but for Sparse R-CNN, which has no suppression, and DyHead, whose
network needs most of them.
"""


def check_dtypes(counts: Counts) -> None:
    """Whatever a network computes in, regions are pooled, and boxes decoded and suppressed, in float32 or more."""
    assert not counts.mixed
    asked, pooled, suppressed, decoded = (
        counts.dtypes.get(name, {}) for name in ("mmcv.roi_align", "roi_align", "nms", "decode")
    )
    assert set(asked) | set(pooled) <= {(torch.float32,) * 2}
    assert set(suppressed) <= {(torch.float32,) * 2, (torch.float64,) * 2}  # heads of a batch compare in float64
    assert set(decoded) <= {(torch.float32,)}
    assert pooled or suppressed


def check_bounds(counts: Counts, bounds: Bounds, batch: int = 8) -> None:
    assert not counts.blocking_copies
    assert not counts.weight_casts
    assert counts.launches <= bounds.launches
    assert counts.syncs.total() <= bounds.waits, counts.syncs
    assert counts.copies_back.total() <= bounds.copies_back, counts.copies_back
    assert counts.nchw.total() <= bounds.nchw, counts.nchw
    assert counts.other_copies.total() == batch  # the pixels


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
