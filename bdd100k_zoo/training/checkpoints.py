"""Checkpoints: tensors, numbers and text, written whole or not at all, read without running anything in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from bdd100k_zoo.backends.common.checkpoint import read_torch_file
from bdd100k_zoo.backends.common.checkpoint_limits import verify_crcs
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.errors import StorageError, UnsafeCheckpointError, ZooError
from bdd100k_zoo.files import atomic_writer, storage_errors
from bdd100k_zoo.training.runner import unwrap_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

CHECKPOINT_FORMAT = "bdd100k-zoo training, 1"
CHECKPOINT_NAME = re.compile(r"checkpoint-(\d{8})\.pth")
MAX_KEPT_CHECKPOINTS = 2
"""Checkpoints that are kept: should the last one be damaged, the training goes on from the one before."""

SCHEDULER_STATE_KEYS = ("last_step", "_global_step", "base_values", "_last_value")
"""What changes of a scheduler; the rest is the config's to say."""


class SavedCheckpoint(NamedTuple):
    """A checkpoint that was found to be whole."""

    path: Path
    step: int
    content: dict[str, Any]


def checkpoint_path(folder: Path, step: int) -> Path:
    """Say where the checkpoint of a step stands."""
    return folder / f"checkpoint-{step:08}.pth"


def list_checkpoints(folder: Path) -> list[Path]:
    """Find the checkpoints in a folder, the last one first; raises StorageError."""
    with storage_errors(folder):
        return sorted(
            (path for path in folder.glob("checkpoint-*.pth") if CHECKPOINT_NAME.fullmatch(path.name)), reverse=True
        )


def save_checkpoint(folder: Path, runner: Any, plan: str) -> Path:
    """Write a checkpoint of a runner's state, and remove all but the last KEPT.

    Where an average of the weights is kept (EMAHook), that is what the checkpoint's ``state_dict`` holds.

    Args:
        folder: where to.
        runner: a ``TrainRunner`` between two steps.
        plan: what tells this training from another one.

    Raises:
        StorageError: it cannot be written; what was there is still there.
    """
    content = _content(runner, plan)
    path = checkpoint_path(folder, runner.train_loop.iter)
    _write(path, content)
    for old in list_checkpoints(folder)[MAX_KEPT_CHECKPOINTS:]:
        with storage_errors(old):
            old.unlink(missing_ok=True)
    return path


def write_weights(path: Path, content: Mapping[str, Any]) -> None:
    """Write the weights of a checkpoint's content alone, as ``predict --weights`` takes them; raises StorageError."""
    _write(path, {"meta": content["meta"], "state_dict": content["state_dict"]})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_writer(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # of a disk that is full, told in torch's words
                raise error.__context__ from error
            raise


def find_last_checkpoint(folder: Path, plan: str) -> tuple[SavedCheckpoint | None, list[ZooError]]:
    """Read the last whole checkpoint of a plan in a folder, if there is one, and tell what is wrong with later ones."""
    problems: list[ZooError] = []
    for path in list_checkpoints(folder):
        try:
            verify_crcs(path)
            content = read_torch_file(path)
            if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
                raise UnsafeCheckpointError(path, "it is no checkpoint of a training")
            if content.get("plan") != plan:
                raise UnsafeCheckpointError(path, "it is of another training")
            step = _step(content, path)
        except (StorageError, UnsafeCheckpointError) as error:
            problems.append(error)
            continue
        return SavedCheckpoint(path, step, content), problems
    return None, problems


def _step(content: Mapping[str, Any], path: Path) -> int:
    meta = content.get("meta")
    step = meta.get("iter") if isinstance(meta, dict) else None
    if not isinstance(step, int):
        raise UnsafeCheckpointError(path, f"it is no checkpoint of a training: its step is {step!r:.40}")
    return step


def restore_runner(saved: SavedCheckpoint, runner: Any) -> None:
    """Bring a runner, as it is before its first step, to the state of a checkpoint.

    Raises:
        UnsafeCheckpointError: it is not of such a runner.
    """
    content = saved.content
    runner._resume = True  # what mmengine's hooks look at before they take their part of the state
    try:
        runner.call_hook("after_load_checkpoint", checkpoint=content)
        unwrap_model(runner.model).load_state_dict(content["state_dict"])
        runner.optim_wrapper.load_state_dict(content["optimizer"])
        for scheduler, state in zip(_schedulers(runner), content["param_schedulers"], strict=True):
            scheduler.load_state_dict(state)
    except (LookupError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise UnsafeCheckpointError(
            saved.path, f"it is not of this training: {' '.join(str(error).split())}"
        ) from error
    runner.train_loop.begin_at(saved.step)


def _content(runner: Any, plan: str) -> dict[str, Any]:
    loop = runner.train_loop
    content: dict[str, Any] = {
        "format": CHECKPOINT_FORMAT,
        "plan": plan,
        "meta": {"CLASSES": list(CLASSES), "epoch": loop.epoch, "iter": loop.iter, "seed": runner.seed},
        "state_dict": unwrap_model(runner.model).state_dict(),
        "optimizer": runner.optim_wrapper.state_dict(),
        "param_schedulers": [_counted(each) for each in _schedulers(runner)],
    }
    runner.call_hook("before_save_checkpoint", checkpoint=content)
    plain: dict[str, Any] = _plain(content)
    return plain


def _counted(scheduler: Any) -> dict[str, Any]:
    state = scheduler.state_dict()
    return {key: state[key] for key in SCHEDULER_STATE_KEYS if key in state}


def _schedulers(runner: Any) -> Iterable[Any]:
    return runner.param_schedulers or ()


def _plain(node: Any) -> Any:
    """Bring nested state to the CPU; refuse what is neither tensor nor plain value, for it would not be read again."""
    if isinstance(node, torch.Tensor):
        return node.detach().cpu()
    if node is None or isinstance(node, (str, bool, int, float)):
        return node
    if isinstance(node, dict):
        return {_plain(key): _plain(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(map(_plain, node))
    raise TypeError(f"a checkpoint holds tensors and plain values, and no {type(node).__name__}")
