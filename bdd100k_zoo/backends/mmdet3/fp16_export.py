"""Write a checkpoint in half its size, to be shipped with the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bdd100k_zoo.backends.common.checkpoint import all_finite, check_checkpoint_file
from bdd100k_zoo.backends.mmdet3 import import_backend
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.files import atomic_writer

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def write_fp16_checkpoint(model_name: str, config_path: Path, source: Path, target: Path) -> None:
    """Write a model's weights with 16 bits for each number of a convolution or matrix, and nothing beside them.

    Biases and what normalisations know stay as they are: they are few, and variances may be smaller than 16 bits tell.
    So does a tensor with a number that 16 bits cannot hold.

    Args:
        model_name: what errors call the model.
        config_path: its config.
        source: a checkpoint of it.
        target: where to.

    Raises:
        MissingPackageError, ConfigError, StorageError, CheckpointError: as ``mmdet_backend.check_checkpoint`` does;
            nothing was written.
    """
    import_backend()
    from bdd100k_zoo.backends.common.config import load_config
    from bdd100k_zoo.backends.mmdet3.detector import build_meta_model

    taken = check_checkpoint_file(
        source, lambda: build_meta_model(load_config(config_path), name=model_name), model_name=model_name
    )
    halved = {name: _halved(tensor) for name, tensor in taken.items()}
    with atomic_writer(target, follow_links=True) as file:
        torch.save({"meta": {"CLASSES": list(CLASSES)}, "state_dict": halved}, file)


def _halved(tensor: Tensor) -> Tensor:
    short = tensor.half() if tensor.dim() > 1 and tensor.is_floating_point() else tensor
    return short.clone() if all_finite(short.float()) else tensor.clone()
