"""The backbone ConvNeXt: the numbers of torchvision's, and training with rates that decay from layer to layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.convnext import ConvNeXt as OtherConvNeXt

from bdd100k_zoo.backends.common.config import load_config, mmdet_default_scope
from bdd100k_zoo.backends.common.convnext_sizes import SIZES, find_size
from bdd100k_zoo.backends.mmdet3.convnext import DOWNSAMPLING_EPS, ConvNeXt
from bdd100k_zoo.backends.mmdet3.detector import build_meta_model, build_model
from bdd100k_zoo.errors import ConfigError
from bdd100k_zoo.registry import load_zoo

if TYPE_CHECKING:
    from torch import Tensor

DEPTHS, CHANNELS = (1, 2, 3, 1), (8, 16, 24, 32)
LAYERS = {"depthwise_conv": 0, "norm": 2, "pointwise_conv1": 3, "pointwise_conv2": 5}
"""Where torchvision's blocks have the layers."""


def small(**settings: Any) -> ConvNeXt:
    return ConvNeXt({"depths": DEPTHS, "channels": CHANNELS}, **settings)


def randomise(model: torch.nn.Module) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def to_other_name(name: str) -> str:
    """Return the name of torchvision for a parameter."""
    kind, stage, rest = name.split(".", 2)
    if kind == "downsample_layers":
        return f"features.{2 * int(stage)}.{rest}"
    block, layer, *parameter = rest.split(".")
    place = f"features.{2 * int(stage) + 1}.{block}"
    return f"{place}.layer_scale" if layer == "gamma" else f"{place}.block.{LAYERS[layer]}.{parameter[0]}"


def other_features(model: ConvNeXt, images: Tensor) -> list[Tensor]:
    """Compute the four outputs with torchvision's network and the parameters of a model."""
    blocks = [
        CNBlockConfig(width, following, depth)
        for width, following, depth in zip(CHANNELS, (*CHANNELS[1:], None), DEPTHS, strict=True)
    ]
    other = OtherConvNeXt(blocks).eval()
    for stage in (1, 2, 3):
        other.features[2 * stage][0].eps = DOWNSAMPLING_EPS
    taken = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("norm")}
    expected = other.state_dict()
    renamed = {to_other_name(name): tensor for name, tensor in taken.items()}
    result = other.load_state_dict(
        {name: tensor.view(expected[name].shape) for name, tensor in renamed.items()}, strict=False
    )
    assert not result.unexpected_keys
    assert all(name.startswith("classifier.") for name in result.missing_keys)
    features, outputs = images, []
    for stage in range(4):
        features = other.features[2 * stage + 1](other.features[2 * stage](features))
        norm = getattr(model, f"norm{stage}")
        last = features.permute(0, 2, 3, 1)
        outputs.append(torch.nn.functional.layer_norm(last, last.shape[-1:], norm.weight, norm.bias, 1e-6))
    return [output.permute(0, 3, 1, 2) for output in outputs]


def test_the_features_are_those_of_torchvision() -> None:
    model = small().eval()
    randomise(model)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected, found = other_features(model, images), model(images)
    assert [tuple(each.shape[1:]) for each in found] == [(8, 16, 24), (16, 8, 12), (24, 4, 6), (32, 2, 3)]
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= 5e-6 * other.abs().max()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_features_have_the_memory_format_of_the_images(memory_format: torch.memory_format) -> None:
    model = small().eval().to(memory_format=memory_format)
    found = model(torch.randn(1, 3, 64, 96).to(memory_format=memory_format))
    assert all(each.is_contiguous(memory_format=memory_format) for each in found)


def test_training_skips_later_blocks_more_often() -> None:
    model = small(drop_path_rate=0.6)
    rates = [block.drop_path.drop_prob for stage in model.stages for block in stage]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    last, features = model.stages[3][0], torch.randn(200, 32, 2, 2)
    torch.manual_seed(0)
    skipped = [torch.equal(one, other) for one, other in zip(last(features), features, strict=True)]
    assert 0.5 < sum(skipped) / len(skipped) < 0.7
    assert not any(torch.equal(*pair) for pair in zip(last.eval()(features), features, strict=True))


def test_the_factors_of_blocks_start_at_the_given_value() -> None:
    factors = [block.gamma for stage in small(layer_scale_init_value=0.5).stages for block in stage]
    assert all((factor == 0.5).all() for factor in factors)


@pytest.mark.parametrize("arch", ["huge", {"depths": [1, 1]}, {"depths": [1, 1], "channels": [8, 8]}])
def test_an_unknown_size_is_an_error_that_names_the_known_ones(arch: Any) -> None:
    with pytest.raises(ConfigError, match="arch: expected tiny, small, base or a dict") as caught:
        ConvNeXt(arch)
    assert repr(arch) in str(caught.value)


@pytest.mark.parametrize("size", SIZES)
def test_the_size_of_a_state_dict_is_found(size: str) -> None:
    with torch.device("meta"):
        backbone = ConvNeXt(size)
        assert find_size(backbone.state_dict()) == size
        detector = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
        assert find_size(detector) == size
        assert find_size(small().state_dict()) is None
    assert find_size({"conv1.weight": torch.ones(1)}) is None


@pytest.mark.parametrize(
    ("name", "powers"),
    [
        (
            "faster_rcnn_convnext-t_fpn_fp16_1x",
            {"stages.2.0": 4, "stages.2.3": 3, "stages.2.8": 2, "stages.3.2": 1, "downsample_layers.0": 7},
        ),
        (
            "cascade_rcnn_convnext-s_fpn_fp16_3x",
            {"stages.2.0": 10, "stages.2.3": 9, "stages.2.26": 2, "stages.3.0": 1, "downsample_layers.0": 13},
        ),
    ],
)
def test_rates_decay_from_the_heads_to_the_first_layers(name: str, powers: dict[str, int]) -> None:
    config = load_config(load_zoo()[name].config_path)
    model = build_meta_model(config, name=name)
    settings = dict(config.optim_wrapper, type="OptimWrapper")
    del settings["loss_scale"]
    with mmdet_default_scope():
        groups = build_optim_wrapper(model, settings).optimizer.param_groups
    of = {name: group for group in groups for name in group["param_names"]}
    assert of.keys() == dict(model.named_parameters()).keys()
    for layer, power in powers.items():
        found = [group for name, group in of.items() if name.startswith(f"backbone.{layer}.")]
        assert [group["lr"] for group in found] == pytest.approx([1e-4 * 0.95**power] * len(found))
    full = [group for name, group in of.items() if not name.startswith(("backbone.stages", "backbone.down"))]
    assert {group["lr"] for group in full} == {1e-4}
    for name, parameter in model.named_parameters():
        assert of[name]["weight_decay"] == (0.0 if parameter.dim() == 1 else 0.05)


def test_an_override_to_an_unknown_size_is_an_error_about_the_config() -> None:
    name = "faster_rcnn_convnext-t_fpn_fp16_1x"
    config = load_config(load_zoo()[name].config_path, {"model.backbone.arch": "huge"})
    with pytest.raises(ConfigError, match=r"arch: expected tiny, small, base .*, found 'huge'"):
        build_model(config, name=name)
