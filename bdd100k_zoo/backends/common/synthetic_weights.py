"""Random weights, as a checkpoint."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import torch

from bdd100k_zoo.backends.common.checkpoint import RANDOM_WEIGHTS_KEY
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor


def save_random_state_dict(state_dict: Mapping[str, Tensor], path: Path) -> None:
    """Write a state dict of random weights as the published checkpoints are made: meta, state_dict.

    All random weights are written here: ``meta`` states that they are random, so that they are never taken for
    trained ones. Raises StorageError.
    """
    content = io.BytesIO()
    torch.save({"meta": {"CLASSES": CLASSES, RANDOM_WEIGHTS_KEY: True}, "state_dict": dict(state_dict)}, content)
    write_atomically(path, content.getvalue())
