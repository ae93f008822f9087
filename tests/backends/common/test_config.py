from __future__ import annotations

import copy
import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from mmengine.config import Config
from reference import config_path

from bdd100k_zoo.backends.common.config import (
    check_postprocessing,
    is_package_config,
    load_config,
    translate_config_errors,
    without_pretrained,
)
from bdd100k_zoo.errors import ConfigError, ManifestError
from bdd100k_zoo.registry import load_zoo

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = load_zoo().models
NAMES = [model.name for model in MODELS]

FASTER, RETINA, CASCADE = "faster_rcnn/faster-rcnn", "retinanet/retinanet", "cascade_rcnn/cascade-rcnn"
PVT = "pvt/retinanet_pvt"
LIBRA, HRNET, SPARSE = "libra_rcnn/libra-faster-rcnn", "hrnet/faster-rcnn_hrnetv2p", "sparse_rcnn/sparse-rcnn"
BASES = {
    "faster_rcnn_r50_fpn": f"{FASTER}_r50_fpn_1x_coco",
    "faster_rcnn_r101_fpn": f"{FASTER}_r101_fpn_1x_coco",
    "retinanet_r50_fpn": f"{RETINA}_r50_fpn_1x_coco",
    "retinanet_r101_fpn": f"{RETINA}_r101_fpn_1x_coco",
    "cascade_rcnn_r50_fpn": f"{CASCADE}_r50_fpn_1x_coco",
    "cascade_rcnn_r101_fpn": f"{CASCADE}_r101_fpn_1x_coco",
    "fcos_r50_fpn": "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco",
    "fcos_r101_fpn": "fcos/fcos_r101-caffe_fpn_gn-head-1x_coco",
    "faster_rcnn_r50_fpn_deconv": "dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco",
    "faster_rcnn_r101_fpn_deconv": "dcn/faster-rcnn_r101-dconv-c3-c5_fpn_1x_coco",
    "libra_faster_r50_fpn": f"{LIBRA}_r50_fpn_1x_coco",
    "libra_faster_r101_fpn": f"{LIBRA}_r101_fpn_1x_coco",
    "faster_rcnn_hrnetv2p_w18": f"{HRNET}-w18-1x_coco",
    "faster_rcnn_hrnetv2p_w32": f"{HRNET}-w32-1x_coco",
    "sparse_rcnn_r50_fpn": f"{SPARSE}_r50_fpn_1x_coco",
    "sparse_rcnn_r101_fpn": f"{SPARSE}_r101_fpn_ms-480-800-3x_coco",
    "fcos_tricks_r50_fpn": "fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco",
    "atss_r50_fpn": "atss/atss_r50_fpn_1x_coco",
    "atss_r101_fpn": "atss/atss_r101_fpn_1x_coco",
    **{f"atss_{depth}_fpn_dyhead": "dyhead/atss_r50_fpn_dyhead_1x_coco" for depth in ("r50", "r101")},
    **{f"retinanet_pvt{size}_fpn": f"{PVT}{size}_fpn_1x_coco" for size in ("-t", "-s", "v2-b0", "v2-b1", "v2-b2")},
    **{f"faster_rcnn_swin-{size}_fpn": f"{FASTER}_r50_fpn_1x_coco" for size in "tsb"},
    **{f"cascade_rcnn_swin-{size}_fpn": f"{CASCADE}_r50_fpn_1x_coco" for size in "tsb"},
    **{f"faster_rcnn_convnext-{size}_fpn": f"{FASTER}_r50_fpn_1x_coco" for size in "tsb"},
    **{f"cascade_rcnn_convnext-{size}_fpn": f"{CASCADE}_r50_fpn_1x_coco" for size in "tsb"},
}
SWIN = {"t": "swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco", "s": "swin/mask-rcnn_swin-s-p4-w7_fpn_amp-ms-crop-3x_coco"}
"""mmdet's configs with a Swin Transformer; it has none with Swin-B."""
SWIN_B = {"embed_dims": 128, "num_heads": [4, 8, 16, 32]}
CONVNEXT = "convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco"
DROP_PATH = {"faster_rcnn_convnext-s_fpn": 0.6, "faster_rcnn_convnext-b_fpn": 0.7}
"""For ConvNeXt, where the published rate is not mmdet's 0.4."""
WIDE = [128, 256, 512, 1024]
"""The channels of the stages of Swin-B and ConvNeXt-B."""

TWO_STAGE = {"roi_head.bbox_head.num_classes": (80, 10)}
DENSE = {"bbox_head.num_classes": (80, 10), "test_cfg.min_bbox_size": (0, -1)}
CASCADED = {f"roi_head.bbox_head.{stage}.num_classes": (80, 10) for stage in range(3)}
MEAN = ((103.53, 102.9801), (116.28, 115.9465), (123.675, 122.7717))
DIFFERENCES: dict[str, dict[str, Any]] = {
    "faster_rcnn": TWO_STAGE,
    "retinanet": DENSE,
    "cascade_rcnn": CASCADED,
    "fcos": DENSE,
    "deformable_convnets_v2": TWO_STAGE,
    "libra_rcnn": TWO_STAGE,
    "hrnet": TWO_STAGE,
    "sparse_rcnn": {f"roi_head.bbox_head.{stage}.num_classes": (80, 10) for stage in range(6)},
    "atss": DENSE,
    "dyhead": DENSE,
    "atss_r101_fpn_dyhead": DENSE | {"backbone.depth": (50, 101)},
    "swin_transformer": TWO_STAGE,
    "pyramid_vision_transformer": DENSE,
    "pyramid_vision_transformer_v2": DENSE,
    "resnet_strikes_back": TWO_STAGE,
    "convnext": TWO_STAGE,
    "fcos_tricks_r50_fpn": DENSE | {f"data_preprocessor.mean.{place}": pair for place, pair in enumerate(MEAN)},
    **dict.fromkeys(("retinanet_r50_fpn_rsb_1x", "retinanet_r50_fpn_rsb_3x"), DENSE),
    **{f"cascade_rcnn_{backbone}-{size}_fpn": CASCADED for backbone in ("swin", "convnext") for size in "tsb"},
}
"""By family; by architecture or model where those of a family differ."""


class Recipe(NamedTuple):
    """The training settings in which families differ."""

    optimizer: dict[str, Any]
    paramwise: dict[str, Any] | None = None
    clip: dict[str, Any] | None = None
    batch: tuple[int, int] = (4, 32)
    """Frames per GPU and in all."""
    warm_up: tuple[str, float, int] = ("LinearLR", 0.001, 500)
    """Kind, factor at the start, iterations."""
    steps_1x: tuple[int, int] = (8, 11)
    steps_3x: tuple[int, int] = (24, 33)
    constructor: str | None = None


def sgd(rate: float) -> dict[str, Any]:
    return {"type": "SGD", "lr": rate, "momentum": 0.9, "weight_decay": 0.0001}


def adamw(rate: float, decay: float, **others: Any) -> dict[str, Any]:
    return {"type": "AdamW", "lr": rate, "weight_decay": decay, **others}


FCOS_BIASES = {"bias_lr_mult": 2.0, "bias_decay_mult": 0.0}
WITHOUT_NORMS = {"norm_decay_mult": 0.0, "bypass_duplicate": True}
WITHOUT_DECAY = ("absolute_pos_embed", "relative_position_bias_table", "norm")


def convnext_recipe(layers: int) -> Recipe:
    return Recipe(
        adamw(0.0001, 0.05, betas=(0.9, 0.999)),
        paramwise={"decay_rate": 0.95, "decay_type": "layer_wise", "num_layers": layers},
        warm_up=("LinearLR", 0.001, 1000),
        steps_1x=(9, 11),
        steps_3x=(27, 33),
        constructor="LearningRateDecayOptimizerConstructor",
    )


RECIPES = dict.fromkeys(DIFFERENCES, Recipe(sgd(0.04))) | {
    "fcos": Recipe(
        sgd(0.01),
        paramwise=FCOS_BIASES,
        clip={"max_norm": 35, "norm_type": 2},
        warm_up=("ConstantLR", 1 / 3, 500),
    ),
    "fcos_tricks_r50_fpn": Recipe(sgd(0.01), paramwise=FCOS_BIASES, warm_up=("LinearLR", 1 / 3, 500)),
    **dict.fromkeys(("atss", "dyhead", "atss_r101_fpn_dyhead"), Recipe(sgd(0.02))),
    "resnet_strikes_back": Recipe(adamw(0.0002, 0.05), paramwise=WITHOUT_NORMS),
    **dict.fromkeys(
        ("retinanet_r50_fpn_rsb_1x", "retinanet_r50_fpn_rsb_3x"), Recipe(adamw(0.0001, 0.05), paramwise=WITHOUT_NORMS)
    ),
    **dict.fromkeys(
        ("pyramid_vision_transformer", "pyramid_vision_transformer_v2"), Recipe(adamw(0.0001, 0.0001), batch=(2, 16))
    ),
    **dict.fromkeys(
        ("swin_transformer", *(f"cascade_rcnn_swin-{size}_fpn" for size in "tsb")),
        Recipe(
            adamw(0.0001, 0.05, betas=(0.9, 0.999)),
            paramwise={"custom_keys": {part: {"decay_mult": 0.0} for part in WITHOUT_DECAY}},
            batch=(2, 16),
            warm_up=("LinearLR", 0.001, 1000),
            steps_1x=(9, 11),
            steps_3x=(27, 33),
        ),
    ),
    **{
        f"{head}_rcnn_convnext-{size}_fpn": convnext_recipe(6 if size == "t" else 12)
        for head in ("faster", "cascade")
        for size in "tsb"
    },
    "hrnet": Recipe(sgd(0.02), batch=(2, 16)),
    "retinanet": Recipe(sgd(0.02)),
    "sparse_rcnn": Recipe(
        {"type": "AdamW", "lr": 0.000025, "weight_decay": 0.0001},
        clip={"max_norm": 1, "norm_type": 2},
        steps_3x=(27, 33),
    ),
}

HEIGHTS = (600, 624, 648, 672, 696, 720)


@cache
def loaded(name: str) -> Config:
    return load_config(load_zoo()[name].config_path)


def architecture(name: str) -> str:
    """The name of a model without the parts that tell how it was trained."""
    return re.sub(r"_(\dx|fp16|strong|rsb)(?=_|$)", "", name)


def of_model(table: dict[str, Any], model: Any) -> Any:
    """What a table has for a model, for its architecture, or for its family."""
    return table[next(key for key in (model.name, architecture(model.name), model.family) if key in table)]


@cache
def mmdet_model(config: str) -> dict[str, Any]:
    spec = find_spec("mmdet")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / ".mim" / "configs" / f"{config}.py"
    model: dict[str, Any] = Config.fromfile(file, import_custom_modules=False).model.to_dict()
    return model


def base_model(name: str) -> dict[str, Any]:
    """mmdet's model, with mmdet's backbone; start values apart, which are tested below."""
    model = copy.deepcopy(mmdet_model(BASES[architecture(name)]))
    if size := re.search("swin-(.)", name):
        like = mmdet_model(SWIN["t" if size[1] == "t" else "s"])
        wider = size[1] == "b"
        model["backbone"] = like["backbone"] | (SWIN_B if wider else {})
        channels = like["neck"]["in_channels"]
        model["neck"]["in_channels"] = WIDE if wider else channels
    if size := re.search("convnext-(.)", name):
        like = mmdet_model(CONVNEXT)
        arch = next(arch for arch in ("tiny", "small", "base") if arch.startswith(size[1]))
        rate = DROP_PATH.get(architecture(name), like["backbone"]["drop_path_rate"])
        # This package's backbone has all four outputs, without pooling.
        ours = {"type": "ConvNeXt", "arch": arch, "drop_path_rate": rate}
        model["backbone"] = like["backbone"] | ours
        del model["backbone"]["out_indices"], model["backbone"]["gap_before_final_norm"]
        model["neck"]["in_channels"] = WIDE if arch == "base" else like["neck"]["in_channels"]
    return without_start(model)


def without_start(model: dict[str, Any]) -> dict[str, Any]:
    return model | {"backbone": {key: value for key, value in model["backbone"].items() if key != "init_cfg"}}


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested containers by its dotted path, and the types of the containers."""
    if isinstance(node, (dict, list, tuple)) and node:
        yield f"{path}<{'dict' if isinstance(node, dict) else type(node).__name__}>", len(node)
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(value, f"{path}.{key}".lstrip("."))
    else:
        yield path, node


def strings(node: Any) -> list[str]:
    return [value for _, value in leaves(node) if isinstance(value, str)]


def by_model(test: Any) -> Any:
    return pytest.mark.parametrize("model", MODELS, ids=NAMES)(test)


def test_the_zoo_has_its_38_architectures() -> None:
    assert len(BASES) == 38
    assert {architecture(name) for name in NAMES} == set(BASES)


@by_model
def test_a_model_is_its_base_with_ten_classes(model: Any) -> None:
    ours = dict(leaves(without_start(loaded(model.name).model.to_dict())))
    base = dict(leaves(base_model(model.name)))
    found = {key: (base.get(key), ours.get(key)) for key in ours | base if base.get(key) != ours.get(key)}
    assert found == of_model(DIFFERENCES, model)
    assert ours.keys() == base.keys()


SWIN_FILES = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0"
CONVNEXT_FILES = "https://download.openmmlab.com/mmclassification/v0/convnext"
CONVNEXT_T, CONVNEXT_S, CONVNEXT_B = (
    f"{CONVNEXT_FILES}/downstream/convnext-{size}_3rdparty_32xb128-noema_in1k_20220301-{digest}.pth"
    for size, digest in (("tiny", "795e9634"), ("small", "303e75e3"), ("base", "2a0ee547"))
)
START_VALUES = {
    "faster_rcnn_r50": "torchvision://resnet50",
    "faster_rcnn_r101": "torchvision://resnet101",
    "faster_rcnn_swin-t": f"{SWIN_FILES}/swin_tiny_patch4_window7_224.pth",
    "faster_rcnn_swin-s": f"{SWIN_FILES}/swin_small_patch4_window7_224.pth",
    "faster_rcnn_swin-b": f"{SWIN_FILES}/swin_base_patch4_window7_224_22k.pth",
    "cascade_rcnn_swin-b": f"{SWIN_FILES}/swin_base_patch4_window7_224.pth",
    "fcos_r50": "open-mmlab://detectron/resnet50_caffe",
    "fcos_tricks_r50": "open-mmlab://detectron2/resnet50_caffe",
    "retinanet_pvt-t": "https://github.com/whai362/PVT/releases/download/v2/pvt_tiny.pth",
    "retinanet_pvt-s": "https://github.com/whai362/PVT/releases/download/v2/pvt_small.pth",
    "retinanet_pvtv2-b2": "https://github.com/whai362/PVT/releases/download/v2/pvt_v2_b2.pth",
    "atss_r101": "torchvision://resnet101",
    "atss_r50_fpn_dyhead": "torchvision://resnet50",
    "atss_r101_fpn_dyhead": "torchvision://resnet101",
    **{f"{head}_rcnn_convnext-t": CONVNEXT_T for head in ("faster", "cascade")},
    **{f"{head}_rcnn_convnext-s": CONVNEXT_S for head in ("faster", "cascade")},
    "faster_rcnn_convnext-b": CONVNEXT_B,
    "cascade_rcnn_convnext-b": f"{CONVNEXT_FILES}/convnext-base_in21k-pre-3rdparty_32xb128_in1k_20220124-eb2d6ada.pth",
}


@by_model
def test_a_backbone_starts_from_the_published_values(model: Any) -> None:
    found = loaded(model.name).model.backbone.init_cfg
    assert found.type == "Pretrained"
    expected = START_VALUES.get(architecture(model.name).removesuffix("_fpn"), found.checkpoint)
    if model.family == "resnet_strikes_back":
        expected = (
            "https://download.openmmlab.com/mmclassification/v0/resnet/"
            "resnet50_8xb256-rsb-a1-600e_in1k_20211228-20e21305.pth"
        )
    assert found.checkpoint == expected


@by_model
def test_every_number_of_classes_is_ten(model: Any) -> None:
    numbers = [v for k, v in leaves(loaded(model.name).model.to_dict()) if k.endswith("num_classes")]
    assert set(numbers) == {10}


@by_model
def test_the_normalisation_is_that_of_the_backbones_training(model: Any) -> None:
    preprocessor = loaded(model.name).model.data_preprocessor
    if model.family == "fcos":
        expected = (False, [102.9801, 115.9465, 122.7717], [1.0, 1.0, 1.0])
    else:
        expected = (True, [123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
    assert (preprocessor.bgr_to_rgb, preprocessor.mean, preprocessor.std) == expected
    assert preprocessor.pad_size_divisor == 32


@by_model
def test_the_schedule_is_the_published_one(model: Any) -> None:
    config, recipe = loaded(model.name), of_model(RECIPES, model)
    lengths = {"1x": (12, [*recipe.steps_1x]), "3x": (36, [*recipe.steps_3x]), "5x": (60, [48, 55])}
    epochs, steps = lengths[model.schedule]
    kind, factor, end = recipe.warm_up
    name = "factor" if kind == "ConstantLR" else "start_factor"
    warm_up = {"type": kind, name: factor, "by_epoch": False, "begin": 0, "end": end}
    drops = {
        "type": "MultiStepLR", "begin": 0, "end": epochs, "by_epoch": True, "milestones": steps, "gamma": 0.1
    }  # fmt: skip
    assert config.param_scheduler == [warm_up, drops]
    assert (config.train_cfg.type, config.train_cfg.max_epochs) == ("EpochBasedTrainLoop", epochs)


@by_model
def test_the_optimizer_and_the_batch_are_the_published_ones(model: Any) -> None:
    config, recipe = loaded(model.name), of_model(RECIPES, model)
    expected = {"type": "OptimWrapper", "optimizer": recipe.optimizer}
    expected |= {"paramwise_cfg": recipe.paramwise} if recipe.paramwise else {}
    expected |= {"clip_grad": recipe.clip} if recipe.clip else {}
    expected |= {"constructor": recipe.constructor} if recipe.constructor else {}
    expected |= {"type": "AmpOptimWrapper", "loss_scale": {"init_scale": 512.0}} if "fp16" in model.name else {}
    found = {key: value for key, value in config.optim_wrapper.items() if value is not None}
    assert found == expected
    assert (config.train_dataloader.batch_size, config.auto_scale_lr.base_batch_size) == recipe.batch
    assert config.auto_scale_lr.enable is False


@by_model
def test_scales_vary_in_multi_scale_training_and_never_in_inference(model: Any) -> None:
    config = loaded(model.name)
    train, test = (loader.dataset.pipeline for loader in (config.train_dataloader, config.test_dataloader))
    assert [step.type for step in test] == ["LoadImageFromFile", "Resize", "PackDetInputs"]
    assert (test[1].scale, test[1].keep_ratio) == ((1280, 720), True)
    assert set(test[2].meta_keys) == {"img_id", "img_path", "ori_shape", "img_shape", "scale_factor"}
    if model.name.endswith("_strong"):
        return
    names = [step.type for step in train]
    resize = "RandomChoiceResize" if model.multi_scale_training else "Resize"
    assert names == ["LoadImageFromFile", "LoadAnnotations", resize, "RandomFlip", "PackDetInputs"]
    assert train[2].keep_ratio is True
    if model.multi_scale_training:
        assert train[2].scales == [(1280, height) for height in HEIGHTS]
    else:
        assert train[2].scale == (1280, 720)
    assert train[3].prob == 0.5


@pytest.mark.parametrize("size", ["t_fpn_3x", "s_fpn_fp16_3x", "b_fpn_fp16_3x"])
def test_strong_augmentation_mixes_images_and_ends_nine_epochs_before_training_does(size: str) -> None:
    config = loaded(f"faster_rcnn_swin-{size}_strong")
    dataset = config.train_dataloader.dataset
    assert [step.type for step in dataset.dataset.pipeline] == ["LoadImageFromFile", "LoadAnnotations"]
    assert dataset.dataset.filter_cfg.filter_empty_gt is True
    mosaic, mixture, flip, resize, crop, distortion, pack = dataset.pipeline
    assert (mosaic.type, mosaic.img_scale, mixture.type, mixture.img_scale) == (
        *("Mosaic", (1280, 720)),
        *("MixUp", (1280, 720)),
    )
    assert (flip.type, flip.prob) == ("RandomFlip", 0.5)
    assert (resize.scale, resize.ratio_range, resize.keep_ratio) == ((1280, 720), (0.5, 1.5), True)
    assert (crop.type, crop.crop_size, crop.allow_negative_crop) == ("RandomCrop", (720, 1280), True)
    assert (distortion.type, pack.type) == ("PhotoMetricDistortion", "PackDetInputs")
    (hook,) = config.custom_hooks
    assert (hook.type, config.train_cfg.max_epochs - hook.begin) == ("ModeSwitchHook", 9)
    assert hook.pipeline == loaded("faster_rcnn_r50_fpn_1x").train_dataloader.dataset.pipeline[2:]


@by_model
def test_no_data_settings_of_the_bases_and_no_helper_variables_remain(model: Any) -> None:
    config = loaded(model.name)
    assert not [text for text in strings(config.to_dict()) if "coco" in text.lower() or "annotations/" in text]
    assert not [key for key in config.to_dict() if key.startswith(("bdd100k", "_"))]
    assert not {"train_pipeline", "data_root", "num_proposals", "head", "tta_model"} & set(config.to_dict())
    assert not [key for key, _ in leaves(config.to_dict()) if "_scope_" in key or "_delete_" in key]
    assert config.default_scope == "mmdet"
    assert config.val_dataloader is config.val_cfg is config.val_evaluator is None


@by_model
def test_no_address_remains_without_pretrained_weights(model: Any) -> None:
    config = loaded(model.name)
    assert [text for text in strings(config.model) if "://" in text]
    cleared = without_pretrained(config.model)
    assert not [text for text in strings(cleared) if "://" in text]
    kept = {key: value for key, value in leaves(cleared) if "init_cfg" not in key}
    assert kept.items() <= dict(leaves(config.model)).items()


def test_pretrained_weights_are_cleared_in_lists_too_and_the_given_settings_stay() -> None:
    given = {"heads": [{"init_cfg": [{"type": "Xavier"}]}], "plugins": ({"pretrained": "https://host/x"},)}
    assert without_pretrained(given) == {"heads": [{"init_cfg": None}], "plugins": ({"pretrained": None},)}
    assert given["heads"][0] == {"init_cfg": [{"type": "Xavier"}]}


def test_the_data_root_is_replaced_everywhere(tmp_path: Path) -> None:
    config = load_config(load_zoo()["fcos_r50_fpn_1x"].config_path, data_root=str(tmp_path))
    assert config.train_dataloader.dataset.data_root == config.test_dataloader.dataset.data_root == str(tmp_path)
    assert loaded("fcos_r50_fpn_1x").train_dataloader.dataset.data_root == "data/bdd100k/"


def test_overrides_reach_the_config() -> None:
    path = load_zoo()["cascade_rcnn_r50_fpn_1x"].config_path
    overrides = {"model.roi_head.bbox_head.2.num_classes": 3, "model.test_cfg.rcnn.max_per_img": 50, "work_dir": "x"}
    config = load_config(path, overrides)
    assert [head.num_classes for head in config.model.roi_head.bbox_head] == [10, 10, 3]
    assert config.model.test_cfg.rcnn.max_per_img == 50
    assert config.work_dir == "x"


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("modle.test_cfg", "nothing reads it"),
        ("data_root", "nothing reads it"),
        ("model.type.x", "'model.type' is the str 'CascadeRCNN'"),
        ("model.roi_head.bbox_head.3.num_classes", "a list of 3"),
    ],
)
def test_an_override_that_does_not_fit_is_an_error(key: str, found: str) -> None:
    path = load_zoo()["cascade_rcnn_r50_fpn_1x"].config_path
    with pytest.raises(ConfigError) as caught:
        load_config(path, {key: 1})
    assert str(path) in str(caught.value)
    assert repr(key) in str(caught.value)
    assert found in str(caught.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("model = dict(", "SyntaxError"),
        ("_base_ = './missing.py'", "missing.py"),
        ("_base_ = 'mmdet::no/such.py'", "such.py"),
        ("_base_ = 'no_such_package::x.py'", "no_such_package"),
        ("_base_ = 'bdd100k_zoo::fcos_r50_fpn_1x_det_bdd100k.py'\nmodel = dict(type=dict(x=1))", "TypeError"),
        ("x = {}['lost']", "KeyError"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("custom_imports = dict(imports=['no_such_module'], allow_failed_imports=False)", "ImportError"),
    ],
)
def test_a_config_that_does_not_run_is_an_error_naming_it(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    original = Config.__dict__["_get_cfg_path"]
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.config == str(path)
    assert found in caught.value.problem
    assert Config.__dict__["_get_cfg_path"] is original


def test_a_missing_config_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_config(tmp_path / "missing.py")


def test_a_users_config_can_build_on_one_of_the_zoo(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        '_base_ = "bdd100k_zoo::faster_rcnn_r50_fpn_3x_det_bdd100k.py"\n'
        "model = dict(test_cfg=dict(rcnn=dict(score_thr=0.2)))\n"
        "optim_wrapper = dict(optimizer=dict(lr=_base_.optim_wrapper.optimizer.lr / 2))\n"
    )
    mine, base = load_config(path), loaded("faster_rcnn_r50_fpn_3x")
    assert mine.model.test_cfg.rcnn.score_thr == 0.2
    assert mine.optim_wrapper.optimizer == {**base.optim_wrapper.optimizer, "lr": 0.02}
    assert mine.train_dataloader == base.train_dataloader


WITHOUT_SETUPTOOLS = """
import sys, warnings
from pathlib import Path

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pkg_resources", "setuptools"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
from bdd100k_zoo.backends.mmdet3 import import_backend
import_backend()
warnings.simplefilter("error")
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.backends.common.config import load_config
for model in load_zoo().models:
    load_config(model.config_path)
assert not {"pkg_resources", "setuptools"} & set(sys.modules)
print(len(load_zoo().models))
"""


@pytest.mark.slow
def test_all_configs_load_without_setuptools_and_without_a_warning() -> None:
    ran = subprocess.run([sys.executable, "-c", WITHOUT_SETUPTOOLS], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.split()[-1:], ran.stderr) == (0, [str(len(MODELS))], "")


# Settings


@pytest.mark.parametrize("settings", [{}, None, 3, {"nms": None}, {"nms": {"type": min}}, [{"score_thr": None}]])
def test_settings_without_an_invalid_value_pass(settings: Any) -> None:
    check_postprocessing(settings, name="a model")


def test_a_value_is_named_by_its_place_in_lists_too() -> None:
    with pytest.raises(ConfigError, match=r"m\.stages\.1\.nms_pre: expected a whole number, found '5'"):
        check_postprocessing({"stages": ({}, {"nms_pre": "5"})}, name="a model", place="m")


def test_our_own_errors_are_not_translated() -> None:
    with pytest.raises(ManifestError), translate_config_errors("run", name="a model"):
        raise ManifestError(Path("x"), "", "", "wrong")


def test_configs_of_the_package_and_of_users_are_distinguished(tmp_path: Path) -> None:
    (tmp_path / "link.py").symlink_to(config_path(NAMES[0]))
    (tmp_path / "copy.py").write_bytes(config_path(NAMES[0]).read_bytes())
    assert is_package_config(config_path(NAMES[0]))
    assert is_package_config(tmp_path / "link.py")
    assert not is_package_config(tmp_path / "copy.py")
