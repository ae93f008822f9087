"""The folder of a training: its name, what stands there, and what is removed from it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from bdd100k_zoo.records.files import storage_errors
from bdd100k_zoo.records.training import BEST, CURVE, METRICS, TRAINING, WEIGHTS

NAMES = (TRAINING, METRICS, WEIGHTS, BEST, CURVE)
UNFINISHED = re.compile(rf"\.(checkpoint-\d{{8}}\.pth|{'|'.join(map(re.escape, NAMES))})\.[0-9a-f]{{32}}")
"""Files of a training on their way to their names."""


def default_folder(model: str) -> Path:
    """Give the folder of a training that was not given one."""
    return Path("runs", model, "train")


def has_checkpoint(folder: Path) -> bool:
    """Tell whether there is something to go on from; raises StorageError."""
    from bdd100k_zoo.mmdet_backend.training.saving import checkpoints

    return bool(checkpoints(folder))


def tidy(folder: Path) -> None:
    """Remove what a process that was killed has left half written; raises StorageError."""
    for path in folder.glob(".*.*"):
        if UNFINISHED.fullmatch(path.name):
            _remove(path)


def clear(folder: Path) -> None:
    """Remove a training's files from a folder, and no others; raises StorageError."""
    from bdd100k_zoo.mmdet_backend.training.saving import checkpoints

    for path in (*checkpoints(folder), *(folder / name for name in NAMES)):
        _remove(path)


def _remove(path: Path) -> None:
    with storage_errors(path), suppress(FileNotFoundError):
        path.unlink()
