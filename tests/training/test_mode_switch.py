"""Strong augmentation: mosaics and mixtures of images, and its end some epochs before that of the training."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from small_training import make_root

from bdd100k_zoo.backends.common.config import load_config, mmdet_default_scope
from bdd100k_zoo.prediction.launch import ProcessRank
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.training.loaders import build_train_loader
from bdd100k_zoo.training.mode_switch import ModeSwitchHook

if TYPE_CHECKING:
    from pathlib import Path

SCALE = (320, 180)
IMAGES = 6


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("data") / "root", train=IMAGES, val=1)


def loader(root: Path, workers: int = 0, begin: int = 2) -> Any:
    """The loader of the recipe with strong augmentation, on frames of a quarter of the size."""
    places = {
        f"train_dataloader.dataset.pipeline.{place}": SCALE for place in ("0.img_scale", "1.img_scale", "3.scale")
    }
    overrides = places | {"train_dataloader.dataset.pipeline.4.crop_size": SCALE[::-1]}
    config = load_config(load_zoo()["faster_rcnn_swin-t_fpn_3x_strong"].config_path, overrides, data_root=str(root))
    built = build_train_loader(config, name="x", batch_size=2, workers=workers, seed=3, place=ProcessRank(0, 1))
    pipeline = [dict(step, scale=SCALE) if "scale" in step else dict(step) for step in config.custom_hooks[0].pipeline]
    with mmdet_default_scope():
        ModeSwitchHook(begin, pipeline).before_train(SimpleNamespace(train_dataloader=built))
    return built


def pixels(item: Any) -> Any:
    return item["inputs"].numpy().transpose(1, 2, 0)


def test_images_are_mixed_before_the_switch_and_single_after_it(root: Path) -> None:
    dataset = loader(root).dataset
    mixed, single = dataset[0], dataset[2 * IMAGES]
    assert mixed["data_samples"].img_path == single["data_samples"].img_path
    assert len(mixed["data_samples"].gt_instances) > len(single["data_samples"].gt_instances) == 3
    assert pixels(mixed).shape[0] <= SCALE[1]
    frame = pixels(single).astype(int)
    assert frame.shape == (SCALE[1], SCALE[0], 3)
    import cv2

    original = cv2.imread(single["data_samples"].img_path).astype(int)
    assert min(np.abs(frame - each).max() for each in (original, original[:, ::-1])) == 0


def test_an_image_depends_on_its_epoch_alone(root: Path) -> None:
    one, other = loader(root).dataset, loader(root).dataset
    later = other[2 * IMAGES + 1]  # as after a resume: nothing was read before
    assert not torch.equal(one[1]["inputs"], one[IMAGES + 1]["inputs"])
    for index in (1, IMAGES + 1, 2 * IMAGES + 1):
        assert torch.equal(one[index]["inputs"], other[index]["inputs"])
    assert torch.equal(later["inputs"], one[2 * IMAGES + 1]["inputs"])


def test_boxes_of_mixed_images_stay_inside_them_with_their_labels(root: Path) -> None:
    dataset = loader(root).dataset
    for index in range(IMAGES):
        sample = dataset[index]["data_samples"]
        height, width = sample.img_shape[:2]
        boxes = sample.gt_instances.bboxes.tensor
        assert len(sample.gt_instances.labels) == len(boxes)
        assert (boxes >= 0).all()
        assert (boxes <= boxes.new_tensor([width, height, width, height])).all()


@pytest.mark.slow
def test_processes_that_read_images_switch_too(root: Path) -> None:
    here, apart = loader(root), loader(root, workers=1)
    for epoch in (1, 2):
        for each in (here, apart):
            each.sampler.set_epoch(epoch)
        for one, other in zip(here, apart, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one["inputs"], other["inputs"], strict=True))
