"""The checks of a backend: settings before weights are downloaded, checkpoints against their models, packages."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from reference import config_path

from bdd100k_zoo.backends import mmdet3
from bdd100k_zoo.backends.common.config import load_config
from bdd100k_zoo.backends.mmdet3 import check_checkpoint
from bdd100k_zoo.backends.mmdet3.detector import build_meta_model
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.errors import (
    CheckpointError,
    ConfigError,
    DeviceError,
    MissingPackageError,
    StorageError,
    UnsafeCheckpointError,
)
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.registry.overrides import parse_overrides

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from torch import Tensor

ZOO = load_zoo()
NAME = "retinanet_r50_fpn_1x"


def tensors_of(name: str) -> dict[str, Tensor]:
    """Return a state dict of the model's shapes in which each tensor takes a few bytes."""
    shapes = build_meta_model(load_config(ZOO[name].config_path), name=name).state_dict()
    return {key: torch.ones((), dtype=like.dtype).expand(like.shape) for key, like in shapes.items()}


def save(tensors: dict[str, Tensor], path: Path, classes: Any = CLASSES) -> Path:
    torch.save({"meta": {"CLASSES": classes}, "state_dict": tensors}, path)
    return path


def check(path: Path, name: str = NAME) -> None:
    check_checkpoint(name, ZOO[name].config_path, path)


@pytest.mark.parametrize(
    "name", ["faster_rcnn_r50_fpn_deconv_1x", "faster_rcnn_hrnetv2p_w18_1x", "sparse_rcnn_r50_fpn_1x"]
)
def test_a_checkpoint_of_the_model_passes(name: str, tmp_path: Path) -> None:
    check(save(tensors_of(name), tmp_path / "w.pth"), name)


def test_the_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"does not fit {NAME}: \d+ missing: .+; \d+ unexpected: "):
        check(save(tensors_of("fcos_r50_fpn_1x"), tmp_path / "w.pth"))


def test_a_head_of_other_classes_is_refused(tmp_path: Path) -> None:
    tensors = tensors_of(NAME)
    refusal = r"1 of another shape: bbox_head\.retina_cls\.bias: \(720,\) instead of \(90,\)$"
    with pytest.raises(CheckpointError, match=refusal):
        check(save(tensors | {"bbox_head.retina_cls.bias": torch.ones(720)}, tmp_path / "w.pth"))


def test_classes_in_another_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected the classes pedestrian, "):
        check(save(tensors_of(NAME), tmp_path / "w.pth", CLASSES[::-1]))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = save(tensors_of(NAME), tmp_path / "w.pth")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UnsafeCheckpointError, match="truncated"):
        check(path)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = save(tensors_of(NAME) | {"neck.fpn_convs.0.conv.bias": torch.arange(256.0)}, tmp_path / "w.pth")
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(256.0).numpy().tobytes()) + 7] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnsafeCheckpointError, match="CRC-32"):
        check(path)


def test_a_config_that_builds_no_model_is_a_config_error(tmp_path: Path) -> None:
    config = tmp_path / "config.py"
    config.write_text("model = dict(type='NoSuchDetector')\n")
    with pytest.raises(ConfigError):
        check_checkpoint("mine", config, save(tensors_of(NAME), tmp_path / "w.pth"))


def test_a_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        check(tmp_path / "none.pth")


@pytest.mark.slow
def test_the_check_takes_no_memory_for_the_model(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    path = save(tensors_of("sparse_rcnn_r101_fpn_3x"), tmp_path / "w.pth")
    program = """
import resource, sys
from pathlib import Path
from bdd100k_zoo import load_zoo
from bdd100k_zoo.backends.mmdet3 import check, check_checkpoint
model = load_zoo()["sparse_rcnn_r101_fpn_3x"]
check(model.config_path, "cpu")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
check_checkpoint(model.name, model.config_path, Path(sys.argv[1]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    assert float(run_python(program, path).stdout) < 200  # its parameters have 501 MB


# Settings, before any weights are downloaded

FASTER = "faster_rcnn_r50_fpn_1x"
PIPELINE = "test_dataloader.dataset.pipeline"


def check_settings(*overrides: str) -> None:
    mmdet3.check(config_path(FASTER), "cpu", parse_overrides(overrides))


@pytest.mark.parametrize("name", [FASTER, "fcos_r50_fpn_1x", "sparse_rcnn_r50_fpn_3x", "faster_rcnn_hrnetv2p_w18_1x"])
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
    check_settings(override)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("model.test_cfg.rcnn.score_thr=abc", "model.test_cfg.rcnn.score_thr: expected a number, found 'abc'"),
        ("model.test_cfg.rcnn.max_per_img=abc", "rcnn.max_per_img: expected a whole number, found 'abc'"),
        ("model.test_cfg.rcnn.max_per_img=0.5", "expected a whole number, found 0.5"),
        ("model.test_cfg.rpn.nms_pre=true", "expected a whole number, found True"),
        ("model.test_cfg.rcnn.nms.type=foo", "model.test_cfg.rcnn.nms: expected a dict with a type of nms or soft_nms"),
        ("model.test_cfg.rcnn.nms=nms", "expected a dict with a type of nms or soft_nms, found 'nms'"),
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
def test_settings_that_do_not_fit_are_refused_before_any_weights_are_downloaded(override: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_settings(override)
    assert caught.value.config == str(config_path(FASTER))
    assert reason in caught.value.problem


def test_the_text_of_an_nms_type_is_never_evaluated() -> None:
    overrides = {"model.test_cfg.rcnn.nms.type": "open('owned', 'w').close() or nms"}
    with pytest.raises(ConfigError, match="expected a dict with a type of nms or soft_nms"):
        mmdet3.load(FASTER, config_path(FASTER), Path("not-read.pth"), "cpu", overrides)
    assert not Path("owned").exists()


def test_the_device_is_checked_before_the_config_is_read() -> None:
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


# Packages


def test_a_missing_package_is_named() -> None:
    with pytest.raises(MissingPackageError, match="no_such_package_at_all") as caught:
        mmdet3.import_package("no_such_package_at_all")
    assert (caught.value.package, caught.value.extra) == ("no_such_package_at_all", "predict")


@pytest.mark.parametrize(
    "failure",
    [
        "raise ImportError('libGL.so.1: cannot open shared object file')",
        "raise OSError('libcudart.so: cannot open shared object file')",
        "raise RuntimeError('operator torchvision::nms does not exist')",
        "assert False, 'MMCV==2.2.0 is used but incompatible.'",
        "raise ValueError('numpy.dtype size changed, may indicate binary incompatibility')",
        "raise Exception('something never seen')",
    ],
)
def test_a_package_that_cannot_be_imported_is_reported_with_the_reason(
    failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_package.py").write_text(failure)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with pytest.raises(MissingPackageError) as caught:
        mmdet3.import_package("broken_package")
    assert caught.value.reason in failure
    assert "broken_package" not in sys.modules
