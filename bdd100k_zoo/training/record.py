"""train.json and metrics.jsonl: what made a model, and how it went; the folder that holds them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec

from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.files import open_nofollow, storage_errors, write_atomically
from bdd100k_zoo.prediction.run import to_json_value

TRAINING_FILE = "train.json"
METRICS_FILE = "metrics.jsonl"
WEIGHTS_FILE, BEST_WEIGHTS_FILE = "weights.pth", "best.pth"
"""A model's weights alone: of the last step, and of the epoch with the highest AP."""
CURVE_FILE = "curve.png"


class TrainingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that decide a training; a folder holds one of each."""

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
        """A line that stands for all of these."""
        return sha256(msgspec.json.encode(self)).hexdigest()


PLAN_FIELD_TITLES: Mapping[str, str] = {
    "model": "model",
    "config_sha256": "config's SHA-256",
    "cfg_options": "cfg_options",
    "train_labels_sha256": "SHA-256 of the labels of train",
    "val_labels_sha256": "SHA-256 of the labels of val",
    "start": "start values",
    "epochs": "epochs",
    "batch_size": "batch size",
    "processes": "processes",
    "seed": "seed",
    "precision": "precision",
}


def training_plan_differences(standing: TrainingPlan, wanted: TrainingPlan) -> tuple[str, ...]:
    """Say in what a standing plan is not the one that is wanted; nothing where it is."""
    pairs = (
        (name, str(getattr(standing, field)), str(getattr(wanted, field))) for field, name in PLAN_FIELD_TITLES.items()
    )
    return tuple(
        f"{name}: {there or 'none'} there, {here or 'none'} now" for name, there, here in pairs if there != here
    )


class EpochRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One epoch."""

    epoch: int
    """From 1."""
    loss: float
    """Mean over its steps."""
    rate: float
    """The learning rate of its last step."""
    seconds: float
    """Of its steps, without validation; what was lost with a killed process aside."""
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
    """Optimisation steps of an epoch."""
    parameters: int
    """Numbers that are learnt."""
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
    """What stands beside it: weights, picture, and their SHA-256."""


def write_training(folder: Path, record: TrainingRecord) -> Path:
    """Write train.json into a folder; raises StorageError."""
    path = folder / TRAINING_FILE
    plain = to_json_value(msgspec.structs.asdict(record))
    write_atomically(path, msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n")
    return path


def read_training(folder: Path) -> TrainingRecord | None:
    """Read the train.json of a folder; None where there is none.

    Raises:
        StorageError: it cannot be read.
        RecordError: it is no record of a training.
    """
    path = folder / TRAINING_FILE
    with storage_errors(path):
        if not path.exists():
            return None
        content = path.read_bytes()
    try:
        return msgspec.json.decode(content, type=TrainingRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(path, f"is not a record of a training: {error}") from error


class StepLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of metrics.jsonl: an optimisation step."""

    step: int
    epoch: int
    rate: float
    loss: float
    parts: Mapping[str, float] = {}
    seconds: float = 0.0
    """Since the step before."""


class MetricsWriter:
    """metrics.jsonl, a line for each step, cut back to where a training goes on."""

    def __init__(self, folder: Path, begun_at: int) -> None:
        """Open it, without the lines after ``begun_at`` steps; raises StorageError."""
        self.path = folder / METRICS_FILE
        kept = read_metrics(folder, begun_at)
        encode = msgspec.json.encode
        write_atomically(self.path, b"".join(encode(line) + b"\n" for line in kept))
        self._encode = encode
        with storage_errors(self.path):
            self._file = open_nofollow(self.path, "a")

    def write(self, line: StepLine) -> None:
        """Append a line; raises StorageError."""
        with storage_errors(self.path):
            self._file.write(self._encode(line) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.fsync(self._file.fileno())
        self._file.close()


def read_metrics(folder: Path, until: int | None = None) -> list[StepLine]:
    """Read the lines of a folder's metrics.jsonl up to a step; one that a killed process left broken ends them.

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
"""Files of a training on their way to their names."""


def default_training_folder(model: str) -> Path:
    """Give the folder of a training that was not given one."""
    return Path("runs", model, "train")


def has_checkpoint(folder: Path) -> bool:
    """Tell whether there is something to go on from; raises StorageError."""
    from bdd100k_zoo.training.checkpoints import list_checkpoints

    return bool(list_checkpoints(folder))


def remove_unfinished_files(folder: Path) -> None:
    """Remove what a process that was killed has left half written; raises StorageError."""
    for path in folder.glob(".*.*"):
        if UNFINISHED_PATTERN.fullmatch(path.name):
            _remove(path)


def remove_training_files(folder: Path) -> None:
    """Remove a training's files from a folder, and no others; raises StorageError."""
    from bdd100k_zoo.training.checkpoints import list_checkpoints

    for path in (*list_checkpoints(folder), *(folder / name for name in TRAINING_FILES)):
        _remove(path)


def _remove(path: Path) -> None:
    with storage_errors(path), suppress(FileNotFoundError):
        path.unlink()
