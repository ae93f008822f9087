"""A checkpoint → one of half the size, to be sent along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.mm_common.checkpoint import read_checkpoint
from bdd100k_zoo.mmdet_backend import check_checkpoint
from bdd100k_zoo.records.files import writing_whole

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def save_halved(model_name: str, config_path: Path, source: Path, target: Path) -> None:
    """Write a model's weights with 16 bits for each number of a convolution or matrix, and nothing beside them.

    Biases and what normalisations know stay as they are: they are few, and variances may be smaller than 16 bits tell.

    Args:
        model_name: what errors call the model.
        config_path: its config.
        source: a checkpoint of it.
        target: where to.

    Raises:
        ConfigError, StorageError, CheckpointError: as ``check_checkpoint`` does; nothing was written.
    """
    check_checkpoint(model_name, config_path, source)
    halved = {name: _halved(tensor) for name, tensor in read_checkpoint(source).state_dict.items()}
    with writing_whole(target, follow_links=True) as file:
        torch.save({"meta": {"CLASSES": list(CLASSES)}, "state_dict": halved}, file)


def _halved(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.dim() > 1 and tensor.is_floating_point() else tensor.clone()
