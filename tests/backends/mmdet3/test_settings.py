from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from reference import config_path

from bdd100k_zoo.backends import mmdet3
from bdd100k_zoo.backends.common.config import check_postprocessing, is_package_config, translate_config_errors
from bdd100k_zoo.errors import ConfigError, DeviceError, ManifestError
from bdd100k_zoo.registry.overrides import parse_overrides

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "faster_rcnn_r50_fpn_1x"
PIPELINE = "test_dataloader.dataset.pipeline"


def check(*overrides: str) -> None:
    mmdet3.check(config_path(NAME), "cpu", parse_overrides(overrides))


@pytest.mark.parametrize("name", [NAME, "fcos_r50_fpn_1x", "sparse_rcnn_r50_fpn_3x", "faster_rcnn_hrnetv2p_w18_1x"])
def test_models_of_the_zoo_pass(name: str) -> None:
    mmdet3.check(config_path(name), "cpu")


@pytest.mark.parametrize(
    "override",
    [
        "model.test_cfg.rcnn.score_thr=0",
        "model.test_cfg.rcnn.max_per_img=300",
        "model.test_cfg.rcnn.nms.type=soft_nms",
        "model.test_cfg.rcnn.nms={'_delete_': True, 'iou_threshold': 0.6}",
        f"{PIPELINE}.1.scale=(640,360)",
        f"{PIPELINE}.1.keep_ratio=False",
    ],
)
def test_settings_that_fit_pass(override: str) -> None:
    check(override)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.test_cfg.rcnn.score_thr=abc", "model.test_cfg.rcnn.score_thr: expected a number, found 'abc'"),
        ("model.test_cfg.rcnn.max_per_img=abc", "rcnn.max_per_img: expected a whole number, found 'abc'"),
        ("model.test_cfg.rcnn.max_per_img=0.5", "expected a whole number, found 0.5"),
        ("model.test_cfg.rpn.nms_pre=true", "expected a whole number, found True"),
        ("model.test_cfg.rcnn.nms.type=foo", "model.test_cfg.rcnn.nms: expected a type of nms or soft_nms"),
        ("model.test_cfg.rcnn.nms=nms", "expected a dict with a type, found 'nms'"),
        ("model.test_cfg.rcnn.nms.iou_threshold=abc", "expected a number, found 'abc'"),
        (f"{PIPELINE}.1.scale=abc", "cannot run the test pipeline: TypeError"),
        (f"{PIPELINE}.1.scale=(0,0)", "cannot run the test pipeline: error: "),
        (f"{PIPELINE}.2.meta_keys=(img_id,)", "gives no img_shape and no scale_factor"),
        (f"{PIPELINE}=[]", "packs nothing for a model"),
        (f"{PIPELINE}=abc", "cannot build the test pipeline"),
        ("test_dataloader=None", "cannot build the test pipeline"),
        ("model.data_preprocessor.pad_size_divisor=0", "cannot prepare an image for the model: ZeroDivisionError"),
        ("model.neck.out_channels=-1", "cannot build the model: RuntimeError: Trying to create tensor"),
        ("model.neck.num_outs=0", "cannot build the model: AssertionError"),
        ("model=3", "AttributeError"),
    ],
)
def test_settings_that_do_not_fit_are_told_before_any_weights_are_fetched(override: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(override)
    assert caught.value.config == str(config_path(NAME))
    assert told in caught.value.problem


def test_the_text_of_an_nms_type_is_never_evaluated(save_weights: Callable[[str], Path]) -> None:
    overrides = {"model.test_cfg.rcnn.nms.type": "open('owned', 'w').close() or nms"}
    with pytest.raises(ConfigError, match="expected a type of nms or soft_nms"):
        mmdet3.load(NAME, config_path(NAME), save_weights(NAME), "cpu", overrides)
    assert not Path("owned").exists()


@pytest.mark.parametrize("settings", [{}, None, 3, {"nms": None}, {"nms": {"type": min}}, [{"score_thr": None}]])
def test_settings_that_ask_for_nothing_to_be_evaluated_pass(settings: Any) -> None:
    check_postprocessing(settings, name="a model")


def test_a_value_is_named_by_its_place_in_lists_too() -> None:
    with pytest.raises(ConfigError, match=r"m\.stages\.1\.nms_pre: expected a whole number, found '5'"):
        check_postprocessing({"stages": ({}, {"nms_pre": "5"})}, name="a model", place="m")


def test_an_error_of_ours_is_not_blamed_on_settings() -> None:
    with pytest.raises(ManifestError), translate_config_errors("go on", name="a model"):
        raise ManifestError(Path("x"), "", "", "wrong")


def test_a_device_is_looked_for_before_the_config_is_read() -> None:
    with pytest.raises(DeviceError):
        mmdet3.check(Path("missing.py"), "gpu")
    with pytest.raises(ConfigError):
        mmdet3.check(Path("missing.py"), "cpu")


@pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")
def test_a_backbone_that_computes_while_it_is_built_passes() -> None:
    mine = Path("mine.py")
    mine.write_text(
        "_base_ = 'bdd100k_zoo::retinanet_r50_fpn_1x_det_bdd100k.py'\n"
        "backbone = dict(_delete_=True, type='SwinTransformer', embed_dims=24, depths=(1, 1, 1, 1))\n"
        "model = dict(backbone=backbone, neck=dict(in_channels=[24, 48, 96, 192]))\n"
    )
    with torch.device("meta"), pytest.raises(RuntimeError):
        torch.linspace(0, 0.1, 2)[0].item()
    mmdet3.check(mine, "cpu")


def test_a_config_of_the_package_is_told_from_a_users(tmp_path: Path) -> None:
    (tmp_path / "link.py").symlink_to(config_path(NAME))
    (tmp_path / "copy.py").write_bytes(config_path(NAME).read_bytes())
    assert is_package_config(config_path(NAME))
    assert is_package_config(tmp_path / "link.py")
    assert not is_package_config(tmp_path / "copy.py")
