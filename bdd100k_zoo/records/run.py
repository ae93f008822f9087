"""run.json: what made a predictions file."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path  # noqa: TC003  (record fields are read at run time)

import msgspec

from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.records.files import storage_errors, write_whole

PREDICTIONS = "det.json"
RUN = "run.json"


class WeightsUsed(msgspec.Struct, frozen=True, kw_only=True):
    """The checkpoint of a run."""

    path: str
    size: int
    """Bytes."""
    md5: str
    sha256: str
    verified: bool
    """Whether a digest from a trusted source agreed."""
    verified_by: str | None
    unverified_because: str | None
    address: str | None
    """Where it was downloaded from; None for a file that the user named."""
    published: bool | None = None
    """Whether it is the published file of the model; None where no digest is known that could show it."""
    random: bool = False
    """Whether its metadata states that the weights are random."""

    @property
    def other(self) -> str:
        """What weights these are, if they are not the published ones or nothing suggests that they are; else empty.

        A file that the user named is the user's own, unless a digest shows that it is the published one.
        """
        if self.random:
            return "random weights"
        named = self.published is None and self.address is None
        return "own weights" if self.published is False or named else ""


class Unreadable(msgspec.Struct, frozen=True):
    """An image that got an empty frame because it could not be read."""

    name: str
    reason: str


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What a run went through."""

    images: int
    unreadable: int
    detections: int


class Seconds(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds by stage, of all processes together; stages overlap, so that they add up to more than the total."""

    load: float
    """Building the model and loading its weights."""
    decode: float
    """Reading images, of all reading threads together."""
    prepare: float = 0.0
    """Scaling and packing them, by the same threads."""
    detect: float
    """The device at work, and copies to and from it."""
    write: float
    """Into the journal."""
    assemble: float = 0.0
    """The predictions file, from the journal."""
    total: float
    """From the start of every process to its end, what was lost with a killed one aside."""


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is needed to tell two runs apart, or to make one again."""

    model: str
    config: str
    config_sha256: str
    cfg_options: Mapping[str, object]
    weights: WeightsUsed
    backend: str
    device: str
    device_name: str
    precision: str
    ops: str
    versions: Mapping[str, str]
    split: str | None
    image_roots: tuple[str, ...]
    every: int = 1
    """Of videos, frames 0, ``every``, 2 ``every`` … were taken."""
    counts: Counts
    seconds: Seconds
    unreadable: tuple[Unreadable, ...]
    started: str
    """ISO 8601, UTC."""
    # What follows is missing from records of version 0.1.0.
    frames_sha256: str | None = None
    """Of all frames' names, sizes and times of change."""
    batch_size: int | None = None
    threads: int | None = None
    """Threads of one process on the CPU; None where another device computes."""
    processes: int = 1
    """How many shared the frames."""
    optimised: bool | None = None
    """Whether the model was changed for speed, in ways that may change last bits."""
    busy: float | None = None
    """Share of the time from the first image to the last in which the device was at work, 0 to 1."""
    split_batches: Mapping[int, int] = {}
    """Batches that the device had no memory for and that were halved: how many, by their size."""


def write_run(folder: Path, record: RunRecord) -> Path:
    """Write run.json into the folder of a run; raises StorageError."""
    path = folder / RUN
    plain = as_json(msgspec.structs.asdict(record))
    write_whole(path, msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n")
    return path


def as_json(value: object) -> object:
    """Make JSON of anything: paths may hold bytes that are no UTF-8, and overrides any value of Python.

    A run of hours must not end without its record because of either.
    """
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and isfinite(value)):
        return value
    if isinstance(value, Mapping):
        return {str(as_json(str(key))): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return repr(value)


def read_run(folder: Path) -> RunRecord:
    """Read the run.json of a folder.

    Raises:
        StorageError: it cannot be read.
        RecordError: it is not a run record.
    """
    path = folder / RUN
    with storage_errors(path):
        content = path.read_bytes()
    try:
        return msgspec.json.decode(content, type=RunRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(path, f"is not a run record: {error}") from error
