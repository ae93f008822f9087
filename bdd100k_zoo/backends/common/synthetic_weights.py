"""Random weights, as a checkpoint."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from bdd100k_zoo.backends.common.checkpoint import RANDOM_WEIGHTS_KEY
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

WeightGenerator = Callable[[str, tuple[int, ...]], npt.NDArray[np.float32]]
"""Gives the entry of a state dict that has this name and shape."""


def save_random_checkpoint(like: Mapping[str, Tensor], path: Path, draw: WeightGenerator) -> None:
    """Write a checkpoint with the names and shapes of a state dict.

    What holds fractions is drawn; what counts, as batches are counted, is zero. Raises StorageError.
    """
    save_random_state_dict({name: _entry(name, tensor, draw) for name, tensor in like.items()}, path)


def save_random_state_dict(state_dict: Mapping[str, Tensor], path: Path) -> None:
    """Write a state dict of random weights as the published checkpoints are made: meta, state_dict.

    All random weights are written here: ``meta`` states that they are random, so that they are never taken for
    trained ones. Raises StorageError.
    """
    content = io.BytesIO()
    torch.save({"meta": {"CLASSES": CLASSES, RANDOM_WEIGHTS_KEY: True}, "state_dict": dict(state_dict)}, content)
    write_atomically(path, content.getvalue())


def _entry(name: str, like: Tensor, draw: WeightGenerator) -> Tensor:
    if not like.is_floating_point():
        return torch.zeros(like.shape, dtype=like.dtype)
    return torch.from_numpy(draw(name, tuple(like.shape)))
