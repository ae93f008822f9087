"""mmdet's own test loop finds the same as mmdet's function for one image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector
from reference import HERE, config_path

from bdd100k_zoo.backends.common.config import mmdet_default_scope
from bdd100k_zoo.backends.mmdet3.mmdet_loop import StockLoop, load_stock
from bdd100k_zoo.backends.mmdet3.random_weights import save_calibrated_random_weights
from bdd100k_zoo.data.image_files import read_image
from bdd100k_zoo.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = """
_base_ = ["bdd100k_zoo::retinanet_r50_fpn_1x_det_bdd100k.py"]
model = dict(backbone=dict(depth=18, init_cfg=None), neck=dict(in_channels=[64, 128, 256, 512]))
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(320, 180), keep_ratio=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]))
"""
PATHS = [HERE / "street.png", HERE / "square.png"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: several wait for one another on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> StockLoop:
    folder = tmp_path_factory.mktemp("stock")
    (folder / "config.py").write_text(SMALL)
    save_calibrated_random_weights(folder / "config.py", read_image(PATHS[0]), folder / "weights.pth")
    return load_stock(folder / "config.py", folder / "weights.pth", PATHS, "cpu", tf32=False)


def test_it_finds_the_same_as_mmdet_in_each_file_in_the_requested_order(loop: StockLoop) -> None:
    found = loop.detect([1, 0, 1])
    assert len(found) == 3
    with mmdet_default_scope():
        each = [inference_detector(loop.model, str(PATHS[place])).pred_instances for place in (1, 0, 1)]
    for expected, one in zip(each, found, strict=True):
        assert len(one) > 50
        np.testing.assert_array_equal(one.boxes, expected.bboxes)
        np.testing.assert_array_equal(one.scores, expected.scores)
        np.testing.assert_array_equal(one.classes, expected.labels)
    assert [len(one) for one in loop.detect([0])] == [len(each[1])]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # what mmdet's loader does, from Python 3.12 on
def test_processes_that_read_ahead_do_not_change_the_boxes(loop: StockLoop) -> None:
    ahead = StockLoop(loop.model, PATHS, torch.device("cuda"), tf32=True)
    for places in ([0, 1, 0], [1]):
        for found, expected in zip(ahead.detect(places), loop.detect(places), strict=True):
            np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_the_model_is_not_optimised(loop: StockLoop) -> None:
    kinds = {type(part) for part in loop.model.modules()}
    assert torch.nn.BatchNorm2d in kinds
    assert next(loop.model.backbone.parameters()).is_contiguous()


def test_an_absent_device_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cuda:99"):
        load_stock(config_path("retinanet_r50_fpn_1x"), tmp_path / "x.pth", PATHS, "cuda:99", tf32=True)
