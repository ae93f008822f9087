"""What a backbone starts from: a file of learnt values, in whatever of the usual forms it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bdd100k_zoo.errors import CheckpointMismatchError
from bdd100k_zoo.mm_common.checkpoint import read_checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

PREFIX = "backbone."
NOT_LEARNT_BEFORE = ("num_batches_tracked", "conv_offset.weight", "conv_offset.bias")
"""Ends of names that a classifier's file may lack: a counter, and the offsets of deformable convolutions."""


def load_start_values(backbone: Any, path: Path, *, name: str) -> None:
    """Copy the values of a file into a backbone; what else is in the file, as a classifier, is passed over.

    Args:
        backbone: changed in place.
        path: a state dict, or a checkpoint of a classifier or of a detector, whose backbone is then taken.
        name: what errors call the model.

    Raises:
        StorageError, UnsafeCheckpointError: see ``checkpoint.read_checkpoint``.
        CheckpointMismatchError: values of the backbone are missing, or have other shapes.
    """
    given, expected = _of_backbone(read_checkpoint(path).state_dict), backbone.state_dict()
    missing = tuple(key for key in expected if key not in given and not key.endswith(NOT_LEARNT_BEFORE))
    reshaped = tuple(
        f"{key}: {tuple(given[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in given and given[key].shape != tensor.shape
    )
    if missing or reshaped:
        raise CheckpointMismatchError(f"the backbone of {name}", path, missing, (), reshaped)
    backbone.load_state_dict({key: given[key] for key in expected if key in given}, strict=False)


def _of_backbone(state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if any(key.startswith(PREFIX) for key in state_dict):
        return {key.removeprefix(PREFIX): tensor for key, tensor in state_dict.items() if key.startswith(PREFIX)}
    return state_dict
