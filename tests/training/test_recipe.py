from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from small_training import SMALL

from bdd100k_zoo.errors import ConfigError
from bdd100k_zoo.prediction.launch import ProcessRank
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.training.recipe import build_recipe, rescale_schedulers
from bdd100k_zoo.training.runner import PreciseOptimWrapper
from bdd100k_zoo.training.train import TrainRequest

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.training.recipe import Recipe

ZOO = load_zoo()


def recipe(name: str, folder: Path, **changes: Any) -> Recipe:
    request = TrainRequest(model=ZOO[name], data=folder / "root", out=folder, **changes)
    return build_recipe(request, precision="fp32", device=torch.device("cpu"))


PUBLISHED = {
    "faster_rcnn_r50_fpn_1x": (0.04, 32),
    "retinanet_r50_fpn_1x": (0.02, 32),
    "retinanet_r101_fpn_3x": (0.02, 32),
    "fcos_r50_fpn_1x": (0.01, 32),
    "sparse_rcnn_r50_fpn_1x": (2.5e-5, 32),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_with_the_published_batch_the_rate_is_the_published_one(name: str, tmp_path: Path) -> None:
    found = recipe(name, tmp_path, place=ProcessRank(3, 8, 3))
    rate, batch = PUBLISHED[name]
    assert (found.batch_size, found.published_batch, found.published_rate) == (batch // 8, batch, rate)
    assert found.rate == found.config.optim_wrapper.optimizer.lr == pytest.approx(rate)


def test_hrnet_has_a_batch_of_its_own(tmp_path: Path) -> None:
    found = recipe("faster_rcnn_hrnetv2p_w18_1x", tmp_path, place=ProcessRank(0, 8, 0))
    assert (found.batch_size, found.published_batch, found.rate) == (2, 16, pytest.approx(0.02))


@pytest.mark.parametrize(
    ("world", "batch_size", "accumulated", "factor"), [(1, 4, 1, 1 / 8), (8, 8, 1, 2), (1, 4, 8, 1), (2, 1, 1, 1 / 16)]
)
def test_the_rate_follows_the_batch(
    tmp_path: Path, world: int, batch_size: int, accumulated: int, factor: float
) -> None:
    overrides = {"optim_wrapper.accumulative_counts": accumulated}
    place = ProcessRank(0, world, 0)
    found = recipe("retinanet_r50_fpn_1x", tmp_path, place=place, batch_size=batch_size, cfg_options=overrides)
    assert found.rate == pytest.approx(0.02 * factor)


def test_all_data_is_below_the_root(tmp_path: Path) -> None:
    found, root = recipe("fcos_r50_fpn_3x", tmp_path), tmp_path / "root"
    assert found.train == (root / "labels/det_20/det_train.json", root / "images/100k/train")
    assert found.val == (root / "labels/det_20/det_val.json", root / "images/100k/val")


@pytest.mark.parametrize(("epochs", "milestones"), [(12, [8, 11]), (36, [24, 33]), (6, [4, 6]), (2, [1, 2]), (1, [1])])
def test_another_length_moves_the_steps_of_the_schedule_and_not_the_warm_up(
    tmp_path: Path, epochs: int, milestones: list[int]
) -> None:
    found = recipe("fcos_r50_fpn_1x", tmp_path, epochs=epochs)
    warm_up, steps = found.config.param_scheduler
    assert (found.epochs, steps.end, list(steps.milestones)) == (epochs, epochs, milestones)
    assert (warm_up.begin, warm_up.end, found.warm_up) == (0, 500, 500)


def test_a_cosine_is_stretched_too() -> None:
    (moved,) = rescale_schedulers(
        [{"type": "CosineAnnealingLR", "by_epoch": True, "begin": 0, "end": 10, "T_max": 10}], 3.0
    )
    assert (moved.begin, moved.end, moved.T_max) == (0, 30, 30)
    assert rescale_schedulers(None, 2.0) == []


@pytest.mark.parametrize(("epochs", "begin"), [(36, 27), (12, 9), (4, 3)])
def test_another_length_moves_the_end_of_strong_augmentation(tmp_path: Path, epochs: int, begin: int) -> None:
    (hook,) = recipe("faster_rcnn_swin-t_fpn_3x_strong", tmp_path, epochs=epochs).config.custom_hooks
    assert hook.begin == begin


def test_a_recipe_in_fp16_is_in_fp32_on_a_cpu_and_keeps_its_loss_scale(tmp_path: Path) -> None:
    found = recipe("cascade_rcnn_swin-b_fpn_fp16_3x", tmp_path)
    assert found.precision == "fp32"
    wrapper = found.config.optim_wrapper
    assert (wrapper.type, wrapper.precision) == (PreciseOptimWrapper, "fp32")
    assert wrapper.loss_scale == {"init_scale": 512.0}


@pytest.mark.parametrize(("asked", "precision"), [("auto", "fp16"), ("fp32", "fp32")])
def test_a_recipe_in_fp16_is_in_fp16_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    model = ZOO["faster_rcnn_swin-s_fpn_fp16_3x"]
    request = TrainRequest(model=model, data=tmp_path, out=tmp_path, precision=asked)
    found = build_recipe(request, precision="fp32", device=torch.device("cuda", 0))
    assert (found.precision, found.config.optim_wrapper.precision) == (precision, precision)


def test_start_values_are_taken_from_the_settings_and_nothing_else_is_changed(tmp_path: Path) -> None:
    found = recipe("faster_rcnn_r50_fpn_1x", tmp_path)
    assert found.start_name == "torchvision://resnet50"
    backbone = found.config.model.backbone
    assert (backbone.init_cfg, backbone.frozen_stages, backbone.norm_eval) == (None, 1, True)


@pytest.mark.parametrize("name", ["faster_rcnn_r50_fpn_1x", "fcos_r101_fpn_3x", "faster_rcnn_hrnetv2p_w32_1x"])
def test_from_scratch_nothing_of_the_backbone_is_frozen(name: str, tmp_path: Path) -> None:
    backbone = recipe(name, tmp_path, from_scratch=True).config.model.backbone
    assert backbone.init_cfg is None
    assert backbone.get("frozen_stages", -1) == -1
    assert backbone.norm_eval is False
    assert backbone.norm_cfg.requires_grad if "norm_cfg" in backbone else True


def test_a_config_that_names_no_start_values_is_left_as_it_is(tmp_path: Path) -> None:
    overrides = SMALL | {"model.backbone.frozen_stages": 1, "model.backbone.norm_eval": True}
    found = recipe("fcos_r50_fpn_3x", tmp_path, from_scratch=True, cfg_options=overrides)
    assert found.start_name == ""
    assert (found.config.model.backbone.frozen_stages, found.config.model.backbone.norm_eval) == (1, True)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"load_from": "x.pth"}, "load_from"),
        ({"resume": True}, "resume"),
        ({"optim_wrapper.type": "ApexOptimWrapper"}, "expected OptimWrapper or AmpOptimWrapper"),
        ({"optim_wrapper.type": "AmpOptimWrapper", "optim_wrapper.dtype": "bfloat16"}, "--precision"),
        ({"optim_wrapper.type": "AmpOptimWrapper", "optim_wrapper.loss_scale": 512.0}, "expected a dict"),
        ({"train_cfg.max_epochs": 0}, "max_epochs"),
        ({"train_dataloader.dataset": {"_delete_": True, "type": "CocoDataset"}}, "one BDD100KDataset"),
        ({"optim_wrapper": {"_delete_": True, "optimizer": {"type": "SGD"}}}, "has no lr"),
    ],
)
def test_settings_that_training_has_no_place_for_are_reported(
    tmp_path: Path, overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe("fcos_r50_fpn_1x", tmp_path, cfg_options=overrides)
