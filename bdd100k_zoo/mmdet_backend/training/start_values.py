"""Load what a backbone starts from: a file of learnt values, in any of the usual forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bdd100k_zoo.mm_common.checkpoint import fitting, read_checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

PREFIX = "backbone."
NOT_LEARNT_BEFORE = ("num_batches_tracked", "conv_offset.weight", "conv_offset.bias")
"""Ends of names that a classifier's file may lack: a counter, and the offsets of deformable convolutions."""


def load_start_values(backbone: Any, path: Path, *, name: str) -> None:
    """Copy the values of a file into a backbone; what else is in the file, as a classifier, is ignored.

    Args:
        backbone: changed in place.
        path: a state dict, or a checkpoint of a classifier or of a detector, whose backbone is then taken.
        name: what errors call the model.

    Raises:
        StorageError, UnsafeCheckpointError: see ``checkpoint.read_checkpoint``.
        CheckpointMismatchError: values of the backbone are missing, have other shapes, or cannot be used.
    """
    given, expected = _of_backbone(read_checkpoint(path).state_dict), backbone.state_dict()
    known = {key: tensor for key, tensor in given.items() if key in expected}
    owner = f"the backbone of {name}"
    fit = fitting(expected, known, model_name=owner, path=path, optional=NOT_LEARNT_BEFORE)
    backbone.load_state_dict(fit, strict=False)


def _of_backbone(state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if any(key.startswith(PREFIX) for key in state_dict):
        return {key.removeprefix(PREFIX): tensor for key, tensor in state_dict.items() if key.startswith(PREFIX)}
    return state_dict
