"""The files of a training's folder: train.json, metrics.jsonl and the names of the others."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from bdd100k_zoo.files import open_nofollow, storage_errors, write_atomically
from bdd100k_zoo.prediction.run import read_json_record, to_json_object, write_json_record

if TYPE_CHECKING:
    from pathlib import Path

TRAINING_FILE = "train.json"
METRICS_FILE = "metrics.jsonl"
WEIGHTS_FILE, BEST_WEIGHTS_FILE = "weights.pth", "best.pth"
"""A model's weights alone: of the last step, and of the epoch with the highest AP."""
CURVE_FILE = "curve.png"
CHECKPOINT_NAME = re.compile(r"checkpoint-(\d{8})\.pth")


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the path of a step's checkpoint."""
    return folder / f"checkpoint-{step:08}.pth"


def list_checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints in a folder, the last one first; raises StorageError."""
    with storage_errors(folder):
        found = [path for path in folder.glob("checkpoint-*.pth") if CHECKPOINT_NAME.fullmatch(path.name)]
    return sorted(found, reverse=True)


class TrainingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that decide a training. A folder holds one training."""

    model: str
    config_sha256: str
    cfg_options: str
    """JSON; empty where there are none."""
    train_labels_sha256: str
    val_labels_sha256: str
    start: str
    """What the backbone starts from: a config's name for it, a user's file by its digest, ``random`` or ``config``."""
    epochs: int
    batch_size: int
    """Images at once in each process."""
    processes: int
    seed: int
    precision: str

    @property
    def digest(self) -> str:
        """A digest of all of these."""
        return sha256(msgspec.json.encode(self)).hexdigest()

    def compared(self) -> dict[str, object]:
        """Return what must be equal for a training to be resumed, by the names that messages use."""
        return {name.replace("_", " "): value for name, value in msgspec.structs.asdict(self).items()}


class EpochRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One epoch."""

    epoch: int
    """From 1."""
    loss: float
    """Mean over its steps."""
    rate: float
    """The learning rate of its last step."""
    seconds: float
    """Of its steps, without validation and without what was lost when a process was killed."""
    ap: float | None = None
    """On val, in percent, by the official metric; None until it is known."""
    ap50: float | None = None
    by_class: Mapping[str, float | None] = {}
    """AP of each class, in percent."""


class TrainingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that made a model."""

    plan: TrainingPlan
    config: str
    cfg_options: Mapping[str, object]
    data_root: str
    start: str
    """What the backbone starts from, in words."""
    frames: int
    """Images of an epoch."""
    epoch_length: int
    """Optimiser steps of an epoch."""
    parameters: int
    """Trainable ones."""
    learning_rate: float
    """For this batch."""
    published_learning_rate: float
    published_batch: int
    """What the recipe's learning rate is for."""
    device: str
    device_name: str
    ops: str
    workers: int
    versions: Mapping[str, str]
    command: str
    started: str
    """ISO 8601, UTC."""
    epochs: tuple[EpochRecord, ...] = ()
    seconds: float = 0.0
    """Of all epochs and validations."""
    finished: bool = False
    best_epoch: int | None = None
    files: Mapping[str, str] = {}
    """The weights beside it: SHA-256 by name."""


def write_training(folder: Path, record: TrainingRecord) -> Path:
    """Write the train.json of a folder; raises StorageError."""
    return write_json_record(folder / TRAINING_FILE, to_json_object(msgspec.structs.asdict(record)))


def read_training(folder: Path) -> TrainingRecord | None:
    """Read the train.json of a folder, or None without one; raises StorageError, InvalidFileError."""
    path = folder / TRAINING_FILE
    with storage_errors(path):
        if not path.exists():
            return None
    return read_json_record(
        path, lambda flat: msgspec.convert(flat, TrainingRecord, str_keys=True), "a record of a training"
    )


class StepLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of metrics.jsonl: an optimiser step. Its numbers are means over all processes."""

    step: int
    """From 1, over all epochs."""
    epoch: int
    """From 1."""
    rate: float
    """The learning rate of the first group of parameters."""
    loss: float
    parts: Mapping[str, float] = {}
    """The terms of the loss, and what else the model reports."""
    seconds: float = 0.0
    """Since the previous step."""


class MetricsWriter:
    """Appends to metrics.jsonl, a line for each step."""

    def __init__(self, folder: Path, resume_step: int) -> None:
        """Open it, and cut off the lines after the step that the training resumes from; raises StorageError."""
        self.path = folder / METRICS_FILE
        kept = read_metrics(folder, resume_step)
        write_atomically(self.path, b"".join(msgspec.json.encode(line) + b"\n" for line in kept))
        with storage_errors(self.path):
            self._file = open_nofollow(self.path, "a")

    def write(self, line: StepLine) -> None:
        """Append a line; raises StorageError."""
        with storage_errors(self.path):
            self._file.write(msgspec.json.encode(line) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.fsync(self._file.fileno())
        self._file.close()


def read_metrics(folder: Path, until: int | None = None) -> list[StepLine]:
    """Read the lines of a folder's metrics.jsonl up to a step, or to an incomplete line that a killed process left.

    Raises:
        StorageError: it cannot be read.
    """
    path = folder / METRICS_FILE
    with storage_errors(path):
        lines = path.read_bytes().splitlines() if path.exists() else []
    found: list[StepLine] = []
    for text in lines:
        try:
            line = msgspec.json.decode(text, type=StepLine)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            break
        if until is not None and line.step > until:
            break
        found.append(line)
    return found


TRAINING_FILES = (TRAINING_FILE, METRICS_FILE, WEIGHTS_FILE, BEST_WEIGHTS_FILE, CURVE_FILE)
UNFINISHED_PATTERN = re.compile(
    rf"\.(checkpoint-\d{{8}}\.pth|{'|'.join(map(re.escape, TRAINING_FILES))})\.[0-9a-f]{{32}}"
)
"""Files of a training that are being written."""


def remove_unfinished_files(folder: Path) -> None:
    """Remove the incomplete files that a killed process left; raises StorageError."""
    _remove(path for path in folder.glob(".*.*") if UNFINISHED_PATTERN.fullmatch(path.name))


def remove_training_files(folder: Path) -> None:
    """Remove a training's files from a folder, and no others; raises StorageError."""
    _remove((*list_checkpoints(folder), *(folder / name for name in TRAINING_FILES)))


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with storage_errors(path):
            path.unlink(missing_ok=True)
