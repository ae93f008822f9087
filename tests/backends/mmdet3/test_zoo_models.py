from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml

from bdd100k_zoo.backends.common.checkpoint import check_parameters, load_strictly, read_checkpoint
from bdd100k_zoo.backends.common.config import load_config
from bdd100k_zoo.backends.mmdet3.detector import build_meta_model
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.errors import CheckpointError
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.registry.overrides import parse_overrides

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from bdd100k_zoo.registry import Model

# mmdet's own heads of Sparse R-CNN use a name that mmengine deprecates.

ZOO = load_zoo()
NAMES = [model.name for model in ZOO.models]
QUICK = ("fcos_r50_fpn_1x", "retinanet_pvtv2-b0_fpn_1x", "faster_rcnn_swin-t_fpn_1x")
"""The others need memory and seconds; that all have the published shapes is tested without either."""


def shape_of(name: str) -> nn.Module:
    """Build a model without memory for its parameters."""
    model = build_meta_model(load_config(ZOO[name].config_path), name=name)
    # mmcv's deformable convolutions allocate memory wherever they are built.
    assert any(parameter.is_meta for parameter in model.parameters())
    return model


def numbered(model: nn.Module) -> dict[str, Tensor]:
    """Return a state dict of the model's shapes, each parameter filled with its own number, in a few bytes each."""
    return {
        name: torch.tensor(number).to(like.dtype).expand(like.shape)
        for number, (name, like) in enumerate(model.state_dict().items())
    }


def save(tensors: dict[str, Tensor], file: Path) -> Path:
    """Write a checkpoint as mmdet 2.x does."""
    meta: dict[str, Any] = {"CLASSES": CLASSES, "epoch": 12, "mmdet_version": "2.18.1"}
    torch.save({"meta": meta, "state_dict": tensors}, file)
    return file


CORRECTED = {"cascade_rcnn_convnext-s_fpn_fp16_3x": (94513116, 394)}
"""Parameters and entries where the published config contradicts the published table, which is followed."""


@pytest.mark.parametrize("name", NAMES)
def test_a_model_has_the_parameters_of_the_published_one(name: str, shared: Path) -> None:
    listed = yaml.safe_load((shared / "facts" / "zoo64" / "detection.yaml").read_text(encoding="utf-8"))["models"]
    published = {entry["in_our_zoo"] or entry["name"].removesuffix("_det_bdd100k"): entry for entry in listed}[name]
    model = shape_of(name)
    parameters, entries = sum(each.numel() for each in model.parameters()), len(model.state_dict())
    expected = published["parameters"], published["state_dict_entries"]
    assert (parameters, entries) == CORRECTED.get(name, expected)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES]
)
def test_a_model_builds_and_strictly_loads_a_checkpoint_of_its_own_shape(name: str, tmp_path: Path) -> None:
    model = shape_of(name)
    expected = numbered(model)
    file = save(expected, tmp_path / f"{name}.pth")
    model.to_empty(device="cpu")
    load_strictly(model, read_checkpoint(file).state_dict, model_name=name, path=file)
    file.unlink()
    loaded = model.state_dict()
    assert loaded.keys() == expected.keys()
    assert [key for key in expected if not bool((loaded[key] == expected[key]).all())] == []


@pytest.mark.parametrize("model", ZOO.known, ids=lambda model: model.name)
def test_a_model_has_the_parameters_that_the_zoo_states(model: Model) -> None:
    assert sum(each.numel() for each in shape_of(model.name).parameters()) == model.parameters


def test_a_deformable_model_has_no_modulation_masks() -> None:
    names = shape_of("faster_rcnn_r50_fpn_deconv_1x").state_dict()
    offsets = [names[key].shape[0] for key in names if key.endswith("conv2.conv_offset.weight")]
    # Two numbers for each of the 3 x 3 points in each block of stages c3 to c5; a mask would make it 27.
    assert offsets == [18] * (4 + 6 + 3)


def test_the_checkpoint_of_another_depth_is_refused(tmp_path: Path) -> None:
    file = save(numbered(shape_of("retinanet_r101_fpn_3x")), tmp_path / "r101.pth")
    model = shape_of("retinanet_r50_fpn_3x")
    # R-101 has 23 blocks in its third layer, R-50 has 6; a block has 3 convolutions and 3 normalisations of 5 entries.
    refusal = rf"does not fit retinanet_r50_fpn_3x: {(23 - 6) * 18} unexpected: backbone\.layer3\.6\.conv1\.weight, "
    with pytest.raises(CheckpointError, match=refusal):
        load_strictly(model, read_checkpoint(file).state_dict, model_name="retinanet_r50_fpn_3x", path=file)


S, T, B = (f"cascade_rcnn_convnext-{size}_fpn_fp16_3x" for size in "stb")


@pytest.mark.parametrize(
    ("name", "other", "problem", "overrides"),
    [
        (S, T, r"ConvNeXt-T \(tiny\), the model ConvNeXt-S \(small\); 162 missing", ["model.backbone.arch=tiny"]),
        (T, S, r"ConvNeXt-S \(small\), the model ConvNeXt-T \(tiny\); 162 unexpected", ["model.backbone.arch=small"]),
        (
            *(S, B, r"ConvNeXt-B \(base\), the model ConvNeXt-S \(small\); "),
            ["model.backbone.arch=base", "model.neck.in_channels=[128,256,512,1024]"],
        ),
    ],
)
def test_a_convnext_of_another_size_is_refused_with_the_settings_that_build_it(
    name: str, other: str, problem: str, overrides: list[str], tmp_path: Path
) -> None:
    tensors, path = numbered(shape_of(other)), tmp_path / "x.pth"
    refusal = rf"does not fit {name}: the file has the backbone {problem}"
    with pytest.raises(CheckpointError, match=refusal) as caught:
        check_parameters(shape_of(name), tensors, model_name=name, path=path)
    assert caught.value.hint.endswith(f"`--cfg-options {' '.join(overrides)}`")
    built = build_meta_model(load_config(ZOO[name].config_path, parse_overrides(overrides)), name=name)
    assert check_parameters(built, tensors, model_name=name, path=path).keys() == tensors.keys()
