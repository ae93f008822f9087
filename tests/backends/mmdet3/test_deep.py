"""A file of weights is held against its model: what predict would refuse is refused, with nothing copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from bdd100k_zoo.backends.common.config import load_config
from bdd100k_zoo.backends.mmdet3 import check_checkpoint
from bdd100k_zoo.backends.mmdet3.detector import build_meta_model
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.errors import (
    CheckpointClassesError,
    CheckpointMismatchError,
    ConfigError,
    StorageError,
    UnsafeCheckpointError,
)
from bdd100k_zoo.registry import load_zoo

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

ZOO = load_zoo()
NAME = "retinanet_r50_fpn_1x"


def tensors_of(name: str) -> dict[str, Tensor]:
    """A state dict of the model's own shapes in a few bytes each."""
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
    with pytest.raises(CheckpointMismatchError, match=NAME) as caught:
        check(save(tensors_of("fcos_r50_fpn_1x"), tmp_path / "w.pth"))
    assert caught.value.missing
    assert caught.value.unexpected


def test_a_head_of_other_classes_is_refused(tmp_path: Path) -> None:
    tensors = tensors_of(NAME)
    with pytest.raises(CheckpointMismatchError, match="of another shape") as caught:
        check(save(tensors | {"bbox_head.retina_cls.bias": torch.ones(720)}, tmp_path / "w.pth"))
    assert caught.value.reshaped == ("bbox_head.retina_cls.bias: (720,) instead of (90,)",)


def test_classes_in_another_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointClassesError):
        check(save(tensors_of(NAME), tmp_path / "w.pth", CLASSES[::-1]))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = save(tensors_of(NAME), tmp_path / "w.pth")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UnsafeCheckpointError, match="cut short"):
        check(path)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = save(tensors_of(NAME) | {"neck.fpn_convs.0.conv.bias": torch.arange(256.0)}, tmp_path / "w.pth")
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(256.0).numpy().tobytes()) + 7] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnsafeCheckpointError, match="CRC-32"):
        check(path)


def test_a_config_that_builds_no_model_is_told_as_such(tmp_path: Path) -> None:
    config = tmp_path / "config.py"
    config.write_text("model = dict(type='NoSuchDetector')\n")
    with pytest.raises(ConfigError):
        check_checkpoint("mine", config, save(tensors_of(NAME), tmp_path / "w.pth"))


def test_a_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        check(tmp_path / "none.pth")


def test_the_check_takes_no_memory_for_the_model(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    path = save(tensors_of("sparse_rcnn_r101_fpn_3x"), tmp_path / "w.pth")
    program = """
import resource, sys
from pathlib import Path
from bdd100k_zoo import load_zoo
from bdd100k_zoo.backends.selection.mmdet3 import check, check_checkpoint
model = load_zoo()["sparse_rcnn_r101_fpn_3x"]
check(model.config_path, "cpu")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
check_checkpoint(model.name, model.config_path, Path(sys.argv[1]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    assert float(run_python(program, path).stdout) < 200  # its parameters have 501 MB
