"""Translation of configs to mmdet 2, without mmdet 2 itself: one config replaces those that it ships."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from bdd100k_zoo.backends.mmdet2.config import (
    find_mmdet2_config,
    load_config,
    to_data_preprocessor,
    to_mmdet2_pipeline,
    to_mmdet3_pipeline,
)
from bdd100k_zoo.errors import ConfigError
from bdd100k_zoo.registry.loading import CONFIG_FOLDER

if TYPE_CHECKING:
    from pathlib import Path

# What mmdet 3.3.0 calls the bases of the zoo, and mmdet 2.28.2 the same configs.
BASES = {
    "atss/atss_r101_fpn_1x_coco.py": "atss/atss_r101_fpn_1x_coco.py",
    "atss/atss_r50_fpn_1x_coco.py": "atss/atss_r50_fpn_1x_coco.py",
    "dyhead/atss_r50_fpn_dyhead_1x_coco.py": "dyhead/atss_r50_fpn_dyhead_1x_coco.py",
    "fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py": (
        "fcos/fcos_center-normbbox-centeronreg-giou_r50_caffe_fpn_gn-head_1x_coco.py"
    ),
    "pvt/retinanet_pvt-s_fpn_1x_coco.py": "pvt/retinanet_pvt-s_fpn_1x_coco.py",
    "pvt/retinanet_pvt-t_fpn_1x_coco.py": "pvt/retinanet_pvt-t_fpn_1x_coco.py",
    "pvt/retinanet_pvtv2-b0_fpn_1x_coco.py": "pvt/retinanet_pvtv2-b0_fpn_1x_coco.py",
    "pvt/retinanet_pvtv2-b1_fpn_1x_coco.py": "pvt/retinanet_pvtv2-b1_fpn_1x_coco.py",
    "pvt/retinanet_pvtv2-b2_fpn_1x_coco.py": "pvt/retinanet_pvtv2-b2_fpn_1x_coco.py",
    "cascade_rcnn/cascade-rcnn_r101_fpn_1x_coco.py": "cascade_rcnn/cascade_rcnn_r101_fpn_1x_coco.py",
    "cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py": "cascade_rcnn/cascade_rcnn_r50_fpn_1x_coco.py",
    "dcn/faster-rcnn_r101-dconv-c3-c5_fpn_1x_coco.py": "dcn/faster_rcnn_r101_fpn_dconv_c3-c5_1x_coco.py",
    "dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py": "dcn/faster_rcnn_r50_fpn_dconv_c3-c5_1x_coco.py",
    "faster_rcnn/faster-rcnn_r101_fpn_1x_coco.py": "faster_rcnn/faster_rcnn_r101_fpn_1x_coco.py",
    "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py": "faster_rcnn/faster_rcnn_r50_fpn_1x_coco.py",
    "fcos/fcos_r101-caffe_fpn_gn-head-1x_coco.py": "fcos/fcos_r101_caffe_fpn_gn-head_1x_coco.py",
    "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py": "fcos/fcos_r50_caffe_fpn_gn-head_1x_coco.py",
    "hrnet/faster-rcnn_hrnetv2p-w18-1x_coco.py": "hrnet/faster_rcnn_hrnetv2p_w18_1x_coco.py",
    "hrnet/faster-rcnn_hrnetv2p-w32-1x_coco.py": "hrnet/faster_rcnn_hrnetv2p_w32_1x_coco.py",
    "libra_rcnn/libra-faster-rcnn_r101_fpn_1x_coco.py": "libra_rcnn/libra_faster_rcnn_r101_fpn_1x_coco.py",
    "libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco.py": "libra_rcnn/libra_faster_rcnn_r50_fpn_1x_coco.py",
    "retinanet/retinanet_r101_fpn_1x_coco.py": "retinanet/retinanet_r101_fpn_1x_coco.py",
    "retinanet/retinanet_r50_fpn_1x_coco.py": "retinanet/retinanet_r50_fpn_1x_coco.py",
    "sparse_rcnn/sparse-rcnn_r101_fpn_ms-480-800-3x_coco.py": (
        "sparse_rcnn/sparse_rcnn_r101_fpn_mstrain_480-800_3x_coco.py"
    ),
    "sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py": "sparse_rcnn/sparse_rcnn_r50_fpn_1x_coco.py",
}

SHIPPED = """
img_norm_cfg = dict(mean=[102.0, 115.0, 122.0], std=[1.0, 1.0, 1.0], to_rgb=False)
model = dict(
    type="RetinaNet",
    backbone=dict(type="ResNet", depth=50, init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet50")),
    bbox_head=dict(type="RetinaHead", num_classes=80),
    test_cfg=dict(score_thr=0.05, max_per_img=100),
)
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="MultiScaleFlipAug",
        img_scale=(1333, 800),
        flip=False,
        transforms=[
            dict(type="Resize", keep_ratio=True),
            dict(type="RandomFlip"),
            dict(type="Normalize", **img_norm_cfg),
            dict(type="Pad", size_divisor=32),
            dict(type="ImageToTensor", keys=["img"]),
            dict(type="Collect", keys=["img"]),
        ],
    ),
]
data = dict(test=dict(type="CocoDataset", pipeline=test_pipeline))
lr_config = dict(policy="step", warmup="linear", step=[8, 11])
"""

OWN = CONFIG_FOLDER / "retinanet_r50_fpn_1x_det_bdd100k.py"
PREPROCESSOR = {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0], "bgr_to_rgb": True, "pad_size_divisor": 32}
STEPS = [{"type": "LoadImageFromFile"}, {"type": "Resize", "scale": (640, 360)}, {"type": "PackDetInputs"}]


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """Return a folder like that of the configs that mmdet 2 ships, with one of them."""
    folder = tmp_path / "shipped"
    (folder / "retinanet").mkdir(parents=True)
    (folder / "retinanet" / "retinanet_r50_fpn_1x_coco.py").write_text(SHIPPED)
    return folder


def transforms_of(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    augmented = settings["data"]["test"]["pipeline"][1]
    return {step["type"]: step for step in augmented["transforms"]}


@pytest.mark.parametrize("base", BASES)
def test_the_bases_of_the_zoo_are_found_among_all_of_them(base: str, tmp_path: Path) -> None:
    near = ["retinanet/retinanet_r50_fpn_2x_coco.py", "dcn/faster_rcnn_r50_fpn_dpool_1x_coco.py"]
    for file in (*BASES.values(), *near, "sparse_rcnn/sparse_rcnn_r50_fpn_mstrain_480-800_3x_coco.py"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert find_mmdet2_config(base, tmp_path) == tmp_path / BASES[base]


def test_every_base_of_the_configs_is_tested() -> None:
    import re

    named = {base for file in CONFIG_FOLDER.glob("*.py") for base in re.findall(r"mmdet::([^\"]+)", file.read_text())}
    assert named == BASES.keys()


def test_a_config_of_the_zoo_is_translated_to_mmdet_2(shipped: Path) -> None:
    settings = load_config(OWN, shipped=shipped)
    assert settings["model"] == {
        "type": "RetinaNet",
        "backbone": {"type": "ResNet", "depth": 50, "init_cfg": None},
        "bbox_head": {"type": "RetinaHead", "num_classes": 10},
        "test_cfg": {"score_thr": 0.05, "max_per_img": 100, "min_bbox_size": -1},
    }
    load, augmented = settings["data"]["test"]["pipeline"]
    assert load == {"type": "LoadImageFromWebcam", "to_float32": False}
    assert (augmented["img_scale"], augmented["flip"]) == ((1280, 720), False)
    assert [*transforms_of(settings)] == ["Resize", "RandomFlip", "Normalize", "Pad", "ImageToTensor", "Collect"]
    normalize, pad = transforms_of(settings)["Normalize"], transforms_of(settings)["Pad"]
    assert (normalize["mean"], normalize["std"], normalize["to_rgb"]) == ([102, 115, 122], [1, 1, 1], False)
    assert (pad["size_divisor"], pad["pad_val"]) == (32, {"img": 0})


def test_overrides_have_the_keys_that_they_have_with_mmdet_3(shipped: Path) -> None:
    settings = load_config(
        OWN,
        {
            "model.test_cfg.score_thr": 0.5,
            "model.data_preprocessor.bgr_to_rgb": True,
            "model.data_preprocessor.pad_size_divisor": 64,
            "test_dataloader.dataset.pipeline.1.scale": (160, 90),
        },
        shipped=shipped,
    )
    assert settings["model"]["test_cfg"]["score_thr"] == 0.5
    assert transforms_of(settings)["Normalize"]["to_rgb"] is True
    assert transforms_of(settings)["Pad"]["size_divisor"] == 64
    assert settings["data"]["test"]["pipeline"][1]["img_scale"] == (160, 90)


def test_a_users_config_based_on_one_of_the_package_is_translated_too(shipped: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.py"
    config.write_text(
        f'_base_ = "bdd100k_zoo::{OWN.name}"\n'
        'model = dict(bbox_head=dict(type="mmdet.FreeAnchorRetinaHead"), test_cfg=dict(max_per_img=7))\n'
    )
    settings = load_config(config, shipped=shipped)
    assert settings["model"]["bbox_head"] == {"type": "FreeAnchorRetinaHead", "num_classes": 10}
    assert settings["model"]["test_cfg"]["max_per_img"] == 7


def test_the_convnext_of_this_package_is_that_of_mmcls_with_all_four_outputs(shipped: Path, tmp_path: Path) -> None:
    text = """
custom_imports = dict(imports=["bdd100k_zoo.backends.mmdet3.convnext"])
model = dict(backbone=dict(_delete_=True, type="ConvNeXt", arch="small", drop_path_rate=0.6))
"""
    assert load_config(write(tmp_path, text), shipped=shipped)["model"]["backbone"] == {
        "type": "mmcls.ConvNeXt",
        "arch": "small",
        "drop_path_rate": 0.6,
        "out_indices": [0, 1, 2, 3],
        "gap_before_final_norm": False,
    }


def test_reading_a_config_imports_nothing_that_only_mmdet_3_has(shipped: Path, run_python: Any) -> None:
    done = run_python(
        "import sys; from pathlib import Path; from bdd100k_zoo.backends.mmdet2.config import load_config\n"
        "load_config(Path(sys.argv[1]), shipped=Path(sys.argv[2]))\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('mmdet', 'mmcv')])",
        OWN,
        shipped,
    )
    assert done.stdout == "[]\n"


def write(tmp_path: Path, text: str) -> Path:
    config = tmp_path / "mine.py"
    config.write_text(f'_base_ = "bdd100k_zoo::{OWN.name}"\n{text}\n')
    return config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('custom_imports = dict(_delete_=True, imports=["no_such_module"])', "imports no_such_module"),
        ("model = dict(_delete_=True)", "describes no model"),
        ("test_dataloader = dict(_delete_=True)", "has no test_dataloader.dataset.pipeline"),
        ('model = dict(data_preprocessor=dict(type="Other"))', "the data preprocessor Other"),
        ('model = dict(data_preprocessor=dict(batch_augments=[dict(type="Sync")]))', "batch_augments in the data_prep"),
        ("model = dict(data_preprocessor=dict(mean=None))", "expected mean and std"),
        ('test_dataloader = dict(dataset=dict(pipeline=[dict(type="Mosaic")]))', "the step Mosaic"),
        ('test_dataloader = dict(dataset=dict(pipeline=[dict(type="PackDetInputs")]))', "expected one Resize"),
        ('test_dataloader = dict(dataset=dict(pipeline=[dict(type="Resize")]))', "either scale or scale_factor"),
        ('test_dataloader = dict(dataset=dict(pipeline=[dict(type="Resize", clip=1)]))', "clip in the Resize"),
        ("x = _base_.no_such_thing", "no_such_thing"),
    ],
)
def test_a_setting_that_mmdet_2_does_not_support_is_an_error(
    text: str, message: str, shipped: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text), shipped=shipped)
    assert message in str(caught.value)
    assert str(tmp_path / "mine.py") in str(caught.value)


def test_a_base_that_mmdet_2_does_not_ship_is_named(shipped: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.py"
    config.write_text('_base_ = "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py"')
    with pytest.raises(ConfigError, match="mmdet 2 ships no config like rtmdet/rtmdet_s"):
        load_config(config, shipped=shipped)


def test_modules_that_a_user_imports_are_imported(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_for_mmdet2.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    load_config(write(tmp_path, 'custom_imports = dict(imports="mine_for_mmdet2")'), shipped=shipped)
    assert sys.modules.pop("mine_for_mmdet2")


def test_translating_a_pipeline_to_mmdet_2_and_back_changes_nothing() -> None:
    there = to_mmdet2_pipeline(STEPS, PREPROCESSOR, name="a model")
    back = [{"type": "LoadImageFromFile"}, STEPS[1] | {"keep_ratio": False}, {"type": "PackDetInputs"}]
    assert to_mmdet3_pipeline(there) == back
    assert to_data_preprocessor(there) == PREPROCESSOR | {"type": "DetDataPreprocessor"}


def test_a_scale_factor_stays_a_scale_factor() -> None:
    steps = [{"type": "Resize", "scale_factor": 0.5, "keep_ratio": True}]
    (_, augmented) = to_mmdet2_pipeline(steps, PREPROCESSOR, name="a model")
    assert augmented["scale_factor"] == 0.5
    assert "img_scale" not in augmented
