"""A model that was changed for speed finds the same boxes as before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from reference import HERE, SHARED, config_path, differences
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bdd100k_zoo.backends.common.config import load_config
from bdd100k_zoo.backends.mmdet3 import cpu_ops, fast_cpu
from bdd100k_zoo.backends.mmdet3.cpu_ops import deform_conv2d_channels_last
from bdd100k_zoo.backends.mmdet3.detector import (
    MmdetDetector,
    build_model,
    build_pipeline,
    preprocess_batch,
    split_detections,
)
from bdd100k_zoo.backends.mmdet3.fast_cpu import onednn_forward, optimize_for_cpu
from bdd100k_zoo.backends.mmdet3.random_weights import init_calibrated_random_weights, save_random_weights
from bdd100k_zoo.data.image_files import read_image
from tools.fidelity.results import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FAMILIES = (
    "faster_rcnn_r50_fpn_1x",
    "retinanet_r50_fpn_1x",
    "cascade_rcnn_r50_fpn_1x",
    "fcos_r50_fpn_1x",
    "faster_rcnn_r50_fpn_deconv_1x",
    "libra_faster_r50_fpn_1x",
    "faster_rcnn_hrnetv2p_w18_1x",
    "sparse_rcnn_r50_fpn_1x",
    "atss_r50_fpn_1x",
    "atss_r50_fpn_dyhead_1x",
    "fcos_tricks_r50_fpn_1x",
    "faster_rcnn_swin-t_fpn_1x",
    "retinanet_pvt-t_fpn_1x",
    "retinanet_pvtv2-b0_fpn_1x",
    "faster_rcnn_convnext-t_fpn_fp16_1x",
)
SMALL = {"test_dataloader.dataset.pipeline.1.scale": (320, 180)}


def lively(name: str, overrides: dict[str, Any], image: Any) -> tuple[Any, Callable[[], Any]]:
    """Return a model with weights that find boxes in an image, and a function that makes the image a batch for it."""
    config = load_config(config_path(name), overrides)
    model, pipeline = build_model(config, name=name), build_pipeline(config, name=name)

    def batch() -> Any:
        return preprocess_batch(pipeline, [image])

    init_calibrated_random_weights(model, batch())
    return model, batch


def check_same_detections(name: str, overrides: dict[str, Any], image: Any, *, rounded: int = 0) -> None:
    """Compare the boxes before and after; up to ``rounded`` of 100 may be lost, with others in their place."""
    model, batch = lively(name, overrides, image)
    with torch.inference_mode():
        (plain,) = model.test_step(batch())
    assert optimize_for_cpu(model)
    with torch.inference_mode():
        (fast,) = model.test_step(batch())
    expected, found = (rows_of(detections) for detections in split_detections([plain, fast]))
    assert len(expected) == len(found) == 100
    different = differences(expected, found)
    assert sum(each.startswith("lost") for each in different) <= rounded, different
    assert sum(each.startswith("additional") for each in different) <= rounded, different
    assert len(different) <= 2 * rounded, different


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_of_every_family_finds_the_same_after_optimisation(name: str) -> None:
    check_same_detections(name, SMALL, read_image(HERE / "street.png"))


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "images").is_dir(), reason=f"NOT COMPARED on photographs: {SHARED} is not there")
@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_of_every_family_finds_the_same_in_whole_frames(name: str) -> None:
    # Fusing changes the last bits of scores. Where two candidates tie, which one suppression keeps then depends on the
    # processor: on one kind, Libra Faster R-CNN loses a box of 100 here, on another none; see docs/fidelity.md.
    check_same_detections(name, {}, read_image(SHARED / "images" / "3c0e7240-96e390d2.jpg"), rounded=2)


@pytest.fixture(scope="module")
def model() -> Any:
    return lively("retinanet_r50_fpn_1x", SMALL, read_image(HERE / "street.png"))[0]


def test_normalisations_are_fused_and_features_are_channels_last(model: Any) -> None:
    assert optimize_for_cpu(model)
    assert not [part for part in model.modules() if isinstance(part, _BatchNorm)]
    with torch.inference_mode():
        features = model.extract_feat(torch.zeros(1, 3, 128, 128))
    assert all(map(nhwc, features))


def test_normalisations_that_are_not_by_batch_stay() -> None:
    model = lively("fcos_r50_fpn_1x", SMALL, read_image(HERE / "street.png"))[0]
    assert optimize_for_cpu(model)
    kinds = [type(part) for part in model.modules()]
    assert nn.GroupNorm in kinds
    assert nn.BatchNorm2d not in kinds


def test_normalisations_after_a_deformable_convolution_stay() -> None:
    with torch.random.fork_rng():
        model = build_model(load_config(config_path("faster_rcnn_r50_fpn_deconv_1x"))).eval()
    assert optimize_for_cpu(model)
    left = [name for name, part in model.named_modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(left) == 4 + 6 + 3
    assert all(name.endswith(".bn2") for name in left)


def test_the_deformable_convolutions_of_dyhead_are_the_fast_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[torch.Size] = []

    def convolve(features: torch.Tensor, *others: Any) -> torch.Tensor:
        calls.append(features.shape)
        return deform_conv2d_channels_last(features, *others)

    with torch.random.fork_rng():
        model = build_model(load_config(config_path("atss_r50_fpn_dyhead_1x"))).eval()
    assert optimize_for_cpu(model)
    monkeypatch.setattr(cpu_ops, "deform_conv2d_channels_last", convolve)
    with torch.inference_mode():
        model.extract_feat(torch.zeros(1, 3, 64, 96))
    # Six blocks convolve five levels, the four that have a next one and the four that have a previous one.
    assert len(calls) == 6 * (5 + 4 + 4)


def nhwc(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)


# Models that cannot be changed


class Backwards(nn.Module):
    """Defines its normalisation after the convolution, but computes it before."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        nn.init.uniform_(self.norm.running_mean)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.conv(self.norm(image))


class Detector(nn.Module):
    """The parts of a detector that are used."""

    def __init__(self, predict: Callable[[torch.Tensor], object] = lambda features: None) -> None:
        super().__init__()
        self.backbone, self.head = Backwards(), predict

    def extract_feat(self, image: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.backbone(image),)

    def predict(self, image: torch.Tensor, _: object) -> object:
        return self.head(self.extract_feat(image)[0])


class Plain(Detector):
    def extract_feat(self, image: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.backbone.norm(self.backbone.conv(image)),)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def view_flat(features: torch.Tensor) -> torch.Tensor:
    return features.view(features.shape[0], -1)  # fails for any other layout than rows of one channel


@pytest.mark.parametrize("detector", [Detector(), Plain(view_flat)], ids=["order", "layout"])
def test_a_model_that_computes_something_else_when_changed_is_restored(detector: Detector) -> None:
    model = detector.eval()
    before, image = state(model), torch.randn(1, 3, 9, 9)
    expected = model.extract_feat(image)[0]
    assert not optimize_for_cpu(model)
    after = state(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.backbone.conv.weight.is_contiguous()
    assert torch.equal(model.extract_feat(image)[0], expected)


def test_a_simple_model_is_changed() -> None:
    model = Plain().eval()
    image = torch.randn(1, 3, 9, 9)
    expected = model.extract_feat(image)[0]
    assert optimize_for_cpu(model)
    assert isinstance(model.backbone.norm, nn.Identity)
    assert torch.allclose(model.extract_feat(image)[0], expected, atol=1e-5)


def test_a_model_that_cannot_process_a_small_image_is_not_changed() -> None:
    class Particular(Plain):
        def extract_feat(self, image: torch.Tensor) -> tuple[torch.Tensor]:
            raise ValueError("expected 1280x720")

    model = Particular().eval()
    assert not optimize_for_cpu(model)
    assert isinstance(model.backbone.norm, nn.BatchNorm2d)


# Fully connected layers


@pytest.mark.parametrize("bias", [True, False])
def test_onednn_computes_a_layer_alike(bias: bool) -> None:
    linear = nn.Linear(1100, 1000, bias=bias).eval()
    inputs = torch.randn(50, 1100)
    with torch.inference_mode():
        forward = onednn_forward(linear)
        assert forward is not None
        assert torch.allclose(forward(inputs), linear(inputs), atol=1e-5)
        for odd in (inputs[:0], inputs.view(5, 10, 1100)):
            assert torch.equal(forward(odd), linear(odd))


def test_a_torch_without_these_ops_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    assert onednn_forward(nn.Linear(8, 8)) is None


def test_an_op_that_computes_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = SimpleNamespace(
        _reorder_linear_weight=lambda weight: weight, _linear_pointwise=lambda inputs, weight, *_: inputs @ weight.T + 1
    )
    monkeypatch.setattr(torch.ops, "mkldnn", wrong)
    with torch.no_grad():
        assert onednn_forward(nn.Linear(8, 8)) is None


def test_large_layers_use_onednn_only_on_amd_with_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(1100, 1000), nn.Linear(8, 8))
    with torch.no_grad():
        for pays in (False, True):
            monkeypatch.setattr(fast_cpu, "_is_amd_with_avx512", lambda pays=pays: pays)
            undo = fast_cpu._use_onednn_linears(model)
            assert ["forward" in vars(layer) for layer in model] == [pays, False]
            undo()
            assert not [layer for layer in model if "forward" in vars(layer)]


# Several images


@pytest.fixture(scope="module")
def detector(model: Any) -> MmdetDetector:
    pipeline = build_pipeline(load_config(config_path("retinanet_r50_fpn_1x"), SMALL))
    return MmdetDetector(model, pipeline, torch.device("cpu"), name="a model", customised=False)


def test_images_that_go_through_the_model_together_get_their_own_boxes(detector: MmdetDetector) -> None:
    street = read_image(HERE / "street.png")
    images = [street, np.ascontiguousarray(street[:, ::-1])]
    together = detector.detect_prepared([detector.prepare(image) for image in images])
    for image, found in zip(images, together, strict=True):
        assert len(found) == 100
        assert differences(rows_of(detector.detect(image)), rows_of(found)) == []


LOUD = """
import sys
from pathlib import Path
import numpy as np
from bdd100k_zoo.backends import mmdet3
small = {"test_dataloader.dataset.pipeline.1.scale": (160, 90)}
detector = mmdet3.load("a model", Path(sys.argv[1]), Path(sys.argv[2]), "cpu", small)
detector.detect(np.zeros((90, 160, 3), np.uint8))
"""


@pytest.mark.slow
def test_deprecations_in_mmdet_are_not_printed(tmp_path: Path, run_python: Any) -> None:
    save_random_weights(config_path("fcos_r50_fpn_1x"), tmp_path / "weights.pth")
    done = run_python(LOUD, config_path("fcos_r50_fpn_1x"), tmp_path / "weights.pth")
    assert (done.stdout, done.stderr) == ("", "")
