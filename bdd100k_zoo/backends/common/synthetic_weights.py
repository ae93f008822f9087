"""Write checkpoints of random weights."""

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
"""Returns the entry of a state dict that has this name and shape."""


def save_random_checkpoint(like: Mapping[str, Tensor], path: Path, draw: WeightGenerator) -> None:
    """Write a checkpoint with the names and shapes of a state dict; raises StorageError.

    Counters, the entries of an integer type, are 0.
    """
    entries = {
        name: torch.from_numpy(draw(name, tuple(tensor.shape)))
        if tensor.is_floating_point()
        else torch.zeros(tensor.shape, dtype=tensor.dtype)
        for name, tensor in like.items()
    }
    save_random_state_dict(entries, path)


def save_random_state_dict(state_dict: Mapping[str, Tensor], path: Path) -> None:
    """Write a state dict of random weights in the form of the published checkpoints; raises StorageError.

    All random weights are written here: ``meta`` states that they are random, so that nobody takes them for trained.
    """
    content = io.BytesIO()
    torch.save({"meta": {"CLASSES": CLASSES, RANDOM_WEIGHTS_KEY: True}, "state_dict": dict(state_dict)}, content)
    write_atomically(path, content.getvalue())
