"""The network computes in the precision that is asked for; what follows it computes in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from mmcv.ops import deform_conv2d, modulated_deform_conv2d, roi_align
from reference import HERE, config_path
from torch import nn

from bdd100k_zoo import mmdet_backend
from bdd100k_zoo.errors import PrecisionError
from bdd100k_zoo.inference.images import read_image
from bdd100k_zoo.inference.protocol import PRECISIONS
from bdd100k_zoo.mm_common.config import load_config
from bdd100k_zoo.mm_common.precision import SHORT, arithmetic, let_heads_give_float32, resolve_precision
from bdd100k_zoo.mmdet_backend.detector import MmdetDetector, build_model
from bdd100k_zoo.mmdet_backend.fast_cpu import onednn_forward
from bdd100k_zoo.mmdet_backend.pipeline import batch_of, build_pipeline
from bdd100k_zoo.mmdet_backend.random_weights import draw_lively_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bdd100k_zoo.boxes import Detections

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 1)
FAMILIES = ("faster_rcnn_r50_fpn_deconv_1x", "retinanet_r50_fpn_1x")
MORE_FAMILIES = (
    "faster_rcnn_r50_fpn_1x",
    "cascade_rcnn_r50_fpn_1x",
    "fcos_r50_fpn_1x",
    "libra_faster_r50_fpn_1x",
    "faster_rcnn_hrnetv2p_w18_1x",
    "sparse_rcnn_r50_fpn_1x",
)
SMALL, FEW = {"test_dataloader.dataset.pipeline.1.scale": (160, 90)}, {"model.test_cfg.rpn.max_per_img": 100}
"""Little to compute: a CPU without the instructions for it takes ten times as long in 16 bits."""


# What there is


@pytest.mark.parametrize(("wanted", "found"), [("auto", "fp32"), ("fp32", "fp32"), ("bf16", "bf16"), ("fp16", "fp16")])
def test_a_cpu_computes_in(wanted: str, found: str) -> None:
    assert resolve_precision(wanted, CPU) == found


@pytest.mark.parametrize(("wanted", "told"), [("tf32", "of GPUs"), ("fp8", "expected auto, fp32")])
def test_a_cpu_does_not_compute_in(wanted: str, told: str) -> None:
    with pytest.raises(PrecisionError, match=told) as caught:
        resolve_precision(wanted, CPU)
    assert (caught.value.precision, caught.value.device) == (wanted, "cpu")


def test_a_torch_that_lacks_a_layer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("not implemented for 'Half'")

    monkeypatch.setattr(nn.functional, "linear", fail)
    with pytest.raises(PrecisionError, match="not implemented for 'Half'"):
        resolve_precision("fp16", CPU)


@pytest.mark.parametrize(
    ("capability", "hip", "lacks"),
    [((9, 0), None, set()), ((8, 0), None, set()), ((7, 5), None, {"tf32", "bf16"}), ((9, 4), "6.3", {"tf32"})],
)
def test_a_gpu_has_what_its_kind_has(
    capability: tuple[int, int], hip: str | None, lacks: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    for precision in PRECISIONS:
        if precision in lacks:
            with pytest.raises(PrecisionError, match="'cuda:1' cannot compute in"):
                resolve_precision(precision, CUDA)
        else:
            assert resolve_precision(precision, CUDA) == ("fp32" if precision == "auto" else precision)


def test_what_a_device_does_not_have_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(PrecisionError):
        mmdet_backend.check(config_path("fcos_r50_fpn_1x"), "cpu", precision="tf32")


# Settings of torch


@pytest.fixture(autouse=True)
def _as_torch_starts() -> Iterator[None]:
    before = rounded()
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def rounded() -> tuple[bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("precision", PRECISIONS[1:])
@pytest.mark.parametrize("before", [(True, False), (False, True)])
def test_factors_are_rounded_for_tf32_alone_and_inside_alone(precision: str, before: tuple[bool, bool]) -> None:
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before

    def fail() -> None:
        with arithmetic(precision, CPU):
            assert rounded() == (precision == "tf32",) * 2
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert rounded() == before


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_layers_compute_in_the_precision_and_only_inside(precision: str, dtype: torch.dtype) -> None:
    layer, image = nn.Conv2d(3, 4, 3), torch.ones(1, 3, 8, 8)
    with torch.inference_mode(), arithmetic(precision, CPU):
        assert layer(image).dtype == dtype
    assert layer(image).dtype == torch.float32


# Heads


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, features: torch.Tensor) -> Any:
        found = self.layer(features)
        return [found, found], (found.argmax(1), found.double(), None), found

    def predict_by_feat(self, features: torch.Tensor, *, weight: torch.Tensor) -> torch.Tensor:
        assert not torch.is_autocast_enabled("cpu")
        return features @ weight


def test_heads_give_float32_and_choose_in_it() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Head())
    let_heads_give_float32(model, CPU)
    with torch.inference_mode(), arithmetic("bf16", CPU):
        assert model[0](torch.ones(2, 4)).dtype == torch.bfloat16
        (one, other), (index, double, nothing), found = model(torch.ones(2, 4))
        assert one.dtype == other.dtype == found.dtype == torch.float32
        assert (index.dtype, double.dtype, nothing) == (torch.int64, torch.float64, None)
        assert model[1].predict_by_feat(found, weight=found.T).dtype == torch.float32
        assert torch.is_autocast_enabled("cpu")


# Whole models


def build(name: str) -> tuple[Any, Any]:
    """A model with weights that find boxes in the street, and its pipeline."""
    has_proposals = any(kind in name for kind in ("faster", "cascade"))
    config = load_config(config_path(name), SMALL | (FEW if has_proposals else {}))
    model, pipeline = build_model(config, name=name), build_pipeline(config, name=name)
    draw_lively_weights(model, batch_of(pipeline, [read_image(HERE / "street.png")]))
    return model, pipeline


def near(expected: Detections, found: Detections, overlap: float) -> float:
    """Give the share of the expected boxes that a box of their class lies on."""
    tops = np.maximum(expected.boxes[:, None, :2], found.boxes[None, :, :2])
    ends = np.minimum(expected.boxes[:, None, 2:], found.boxes[None, :, 2:])
    both = (ends - tops).clip(0).prod(2)
    one, other = ((each.boxes[:, 2:] - each.boxes[:, :2]).prod(1) for each in (expected, found))
    same = expected.classes[:, None] == found.classes[None]
    return float(((both / (one[:, None] + other[None] - both) >= overlap) & same).any(1).mean())


@pytest.mark.parametrize("name", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_FAMILIES)])
@pytest.mark.parametrize("precision", SHORT)
def test_a_model_of_every_family_runs_in_16_bits_with_heads_in_float32(name: str, precision: str) -> None:
    image = read_image(HERE / "street.png")
    model, pipeline = build(name)
    exact = MmdetDetector(model, pipeline, CPU, name=name, customised=False).detect(image)
    short = MmdetDetector(model, pipeline, CPU, name=name, customised=False, precision=precision)
    assert short.facts.precision == precision
    seen: set[torch.dtype] = set()
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda _part, _inputs, output: seen.add(output.dtype))
    found = short.detect(image)
    assert SHORT[precision] in seen
    assert found.boxes.dtype == np.float32
    assert len(found) > 0.9 * len(exact) > 0
    scores = torch.from_numpy(found.scores)
    assert not torch.equal(scores.to(SHORT[precision]).float(), scores)
    assert near(exact, found, 0.5) > 0.6


# The CPU's own ways


def features_like(*shape: int) -> torch.Tensor:
    chance = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=chance).bfloat16().to(memory_format=torch.channels_last)


def test_regions_are_pooled_from_short_numbers_as_from_their_float32() -> None:
    features, rois = features_like(1, 8, 20, 20), torch.tensor([[0, 1.0, 2.0, 15.0, 18.0], [0, 3.3, 3.3, 5.0, 9.9]])
    with torch.inference_mode():
        expected = roi_align(features.float(), rois, (7, 7), 1.0, 0, "avg", True)
        with arithmetic("bf16", CPU):
            found = roi_align(features, rois, (7, 7), 1.0, 0, "avg", True)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())


@pytest.mark.parametrize("masked", [False, True])
def test_displaced_points_are_convolved_from_short_numbers_as_from_their_float32(masked: bool) -> None:
    features, weight = features_like(2, 8, 12, 12), features_like(8, 8, 3, 3).float()
    offset, mask = features_like(2, 18, 12, 12), features_like(2, 9, 12, 12)

    def convolve(*tensors: torch.Tensor) -> torch.Tensor:
        if masked:
            return modulated_deform_conv2d(*tensors, mask, weight, None, 1, 1)
        return deform_conv2d(*tensors, weight, 1, 1)

    with torch.inference_mode():
        expected = convolve(features.float(), offset.float())
        with arithmetic("bf16", CPU):
            found = convolve(features, offset)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())


def test_large_layers_leave_short_numbers_to_torch() -> None:
    linear = nn.Linear(1100, 1000).eval()
    with torch.inference_mode():
        forward = onednn_forward(linear)
        assert forward is not None
        with arithmetic("bf16", CPU):
            assert forward(torch.ones(5, 1100)).dtype == torch.bfloat16
        assert forward(torch.ones(5, 1100)).dtype == torch.float32
