"""Checkpoints of a training: tensors, numbers and text; written completely or not at all, read without running code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from bdd100k_zoo.backends.common.checkpoint import read_torch_file
from bdd100k_zoo.backends.common.checkpoint_limits import verify_crcs
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.errors import StorageError, UnsafeCheckpointError, ZooError
from bdd100k_zoo.files import atomic_writer, storage_errors
from bdd100k_zoo.training.record import checkpoint_path, list_checkpoints
from bdd100k_zoo.training.runner import unwrap_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CHECKPOINT_FORMAT = "bdd100k-zoo training, 1"
MAX_KEPT_CHECKPOINTS = 2
"""Should the last checkpoint be damaged, the training resumes from the one before."""
SCHEDULER_STATE_KEYS = ("last_step", "_global_step", "base_values", "_last_value")
"""The part of a scheduler's state that changes; the config has the rest, some of it objects that are not plain data."""


class SavedCheckpoint(NamedTuple):
    """A checkpoint that is complete and undamaged."""

    path: Path
    step: int
    content: dict[str, Any]


def save_checkpoint(folder: Path, runner: Any, plan: str) -> Path:
    """Write a checkpoint of a runner's state, and remove all but the last ``MAX_KEPT_CHECKPOINTS``.

    Where an average of the weights is kept (EMAHook), the checkpoint's ``state_dict`` is that.

    Args:
        folder: where to write.
        runner: a ``TrainRunner`` between two steps.
        plan: what identifies the training.

    Raises:
        StorageError: it cannot be written; the earlier checkpoints are still there.
    """
    loop = runner.train_loop
    schedulers = [each.state_dict() for each in runner.param_schedulers or ()]
    content: dict[str, Any] = {
        "format": CHECKPOINT_FORMAT,
        "plan": plan,
        "meta": {"CLASSES": list(CLASSES), "epoch": loop.epoch, "iter": loop.iter, "seed": runner.seed},
        "state_dict": unwrap_model(runner.model).state_dict(),
        "optimizer": runner.optim_wrapper.state_dict(),
        "param_schedulers": [{key: state[key] for key in SCHEDULER_STATE_KEYS if key in state} for state in schedulers],
    }
    runner.call_hook("before_save_checkpoint", checkpoint=content)
    path = checkpoint_path(folder, loop.iter)
    _write(path, _to_plain_values(content))
    for old in list_checkpoints(folder)[MAX_KEPT_CHECKPOINTS:]:
        with storage_errors(old):
            old.unlink(missing_ok=True)
    return path


def export_weights(checkpoint: Path, path: Path) -> None:
    """Write the weights of a checkpoint alone; raises StorageError, UnsafeCheckpointError."""
    content = read_torch_file(checkpoint)
    _write(path, {"meta": content["meta"], "state_dict": content["state_dict"]})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_writer(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # a full disk, which torch reports in its own words
                raise error.__context__ from error
            raise


def find_last_checkpoint(folder: Path, plan: str) -> tuple[SavedCheckpoint | None, list[ZooError]]:
    """Return the last undamaged checkpoint of a plan in a folder, if any, and what is wrong with later ones."""
    problems: list[ZooError] = []
    for path in list_checkpoints(folder):
        try:
            return _read(path, plan), problems
        except (StorageError, UnsafeCheckpointError) as error:
            problems.append(error)
    return None, problems


def _read(path: Path, plan: str) -> SavedCheckpoint:
    verify_crcs(path)
    content = read_torch_file(path)
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        raise UnsafeCheckpointError(path, "it is not a checkpoint of a training")
    if content.get("plan") != plan:
        raise UnsafeCheckpointError(path, "it belongs to another training")
    meta = content.get("meta")
    step = meta.get("iter") if isinstance(meta, dict) else None
    if not isinstance(step, int):
        raise UnsafeCheckpointError(path, f"it is not a checkpoint of a training: its step is {step!r:.40}")
    return SavedCheckpoint(path, step, content)


def restore_runner(saved: SavedCheckpoint, runner: Any) -> None:
    """Restore the state of a checkpoint in a runner that has taken no step.

    Raises:
        UnsafeCheckpointError: the checkpoint does not fit the runner.
    """
    content = saved.content
    runner._resume = True  # mmengine's hooks load their part of the state only then
    try:
        runner.call_hook("after_load_checkpoint", checkpoint=content)
        unwrap_model(runner.model).load_state_dict(content["state_dict"])
        runner.optim_wrapper.load_state_dict(content["optimizer"])
        for scheduler, state in zip(runner.param_schedulers or (), content["param_schedulers"], strict=True):
            scheduler.load_state_dict(state)
    except (LookupError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise UnsafeCheckpointError(
            saved.path, f"it does not belong to this training: {' '.join(str(error).split())}"
        ) from error
    runner.train_loop.resume_at(saved.step)


def _to_plain_values(node: Any) -> Any:
    """Copy nested state to the CPU; raises TypeError for objects, which could not be loaded again."""
    if isinstance(node, torch.Tensor):
        return node.detach().cpu()
    if node is None or isinstance(node, (str, bool, int, float)):
        return node
    if isinstance(node, dict):
        return {_to_plain_values(key): _to_plain_values(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(map(_to_plain_values, node))
    raise TypeError(f"a checkpoint holds tensors and plain values, and no {type(node).__name__}")
