"""run.json: what made a predictions file; and what must be equal for a run to be resumed or merged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from json import dumps
from math import isfinite
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.files import storage_errors, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

AnyStruct = TypeVar("AnyStruct", bound=Struct)


PREDICTIONS_FILE = "det.json"
RUN_FILE = "run.json"

FRAMES_DIGEST = "names, sizes or times of change of the images"
"""What a difference of their digests is called."""


class Chunks(Struct, frozen=True):
    """How a sorted list of frames is split: at fixed multiples, whichever process computes them."""

    frames: int
    size: int
    """Frames in every chunk but the last."""

    @property
    def count(self) -> int:
        """How many chunks there are."""
        return -(-self.frames // self.size)

    def frames_of(self, chunk: int) -> range:
        """Return the places of a chunk's frames in the list."""
        return range(chunk * self.size, min((chunk + 1) * self.size, self.frames))


class RunPlan(Struct, frozen=True, kw_only=True):
    """The facts that decide every bit of a predictions file. What is not known yet is unset, and matches anything."""

    model: str
    config_sha256: str | UnsetType = UNSET
    cfg_options: str
    """JSON; empty where there are none."""
    split: str | None
    image_roots: tuple[str, ...]
    """The folders, files and patterns that were given; see ``run_folder.resolve_input``."""
    every: int = 1
    """See ``RunRecord.every``."""
    frames: int
    """How many there are."""
    frames_sha256: str | UnsetType = UNSET
    """Of all frames; see ``frames_digest``."""
    weights_sha256: str | UnsetType = UNSET
    backend: str | UnsetType = UNSET
    device: str | UnsetType = UNSET
    """Its kind and name, without its number."""
    ops: str | UnsetType = UNSET
    precision: str | UnsetType = UNSET
    optimised: bool | UnsetType = UNSET
    """Whether the model was changed for speed: with another torch, the same model may not be."""
    batch_size: int | UnsetType = UNSET
    chunk_size: int | UnsetType = UNSET
    """Frames."""
    threads: int | UnsetType | None = UNSET
    """Threads of one process on the CPU; None where another device computes."""
    versions: Mapping[str, str] | UnsetType = UNSET
    """Of what computes: torch, mmdet and their like."""

    @property
    def chunks(self) -> Chunks:
        """How the frames are cut; ValueError where the size of chunks is not known yet."""
        if isinstance(self.chunk_size, UnsetType):
            raise ValueError("the size of chunks is not known yet")
        return Chunks(self.frames, self.chunk_size)

    def compared(self) -> dict[str, object]:
        """Return what must be equal for a run to be resumed, by the names that messages use."""
        return {
            "model": self.model,
            "config's SHA-256": self.config_sha256,
            "cfg_options": self.cfg_options,
            "split": self.split,
            "every": self.every,
            "images": ", ".join(sorted(set(self.image_roots))),
            "number of images": self.frames,
            "weights' SHA-256": self.weights_sha256,
            "backend": self.backend,
            "device": self.device,
            "ops": self.ops,
            "precision": self.precision,
            "changed for speed": self.optimised,
            "batch size": self.batch_size,
            "frames in a chunk": self.chunk_size,
            "threads": self.threads,
            "versions": self.versions,
            FRAMES_DIGEST: self.frames_sha256 if self.frames_sha256 is UNSET else f"digest {self.frames_sha256[:12]}",
        }


def frames_digest(frames: Iterable[tuple[str, str]]) -> str:
    """Return the SHA-256 of all frames' names and stamps, in lower-case hexadecimal."""
    digest = hashlib.sha256()
    for name, stamp in frames:
        digest.update(f"{name}\0{stamp}\n".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def options_text(options: Mapping[str, object]) -> str:
    """Return overrides as JSON, with lists for tuples and text for what JSON lacks; empty if there are none."""
    return dumps(dict(options), sort_keys=True, default=repr) if options else ""


def differences(existing: Mapping[str, object], requested: Mapping[str, object]) -> tuple[str, ...]:
    """Describe the facts that differ, by their names; a fact that is unset on either side is not known yet."""
    return tuple(
        f"{name}: {before} there, {now} now"
        for name in existing
        if name in requested and UNSET not in (existing[name], requested[name])
        if (before := _text(existing[name])) != (now := _text(requested[name]))
    )


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {version}" for name, version in sorted(value.items())) or "none"
    return "none" if value in (None, "") else str(value)


def run_differences(existing: RunPlan, requested: RunPlan) -> tuple[str, ...]:
    """Describe in what two plans differ, as far as both are known; empty if the run can be resumed."""
    before, now = existing.compared(), requested.compared()
    if existing.frames != requested.frames:
        del now[FRAMES_DIGEST]  # it differs, of course
    return differences(before, now)


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
        """Whose weights these are, if they are not known to be the published ones; else empty.

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


class RunCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a run."""

    images: int
    unreadable: int
    detections: int


class RunSeconds(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds by stage, summed over all processes; stages overlap, so they add up to more than the total."""

    load: float
    """Building the model and loading its weights."""
    decode: float
    """Reading images, of all reading threads together."""
    prepare: float = 0.0
    """Scaling and packing them, in the same threads."""
    detect: float
    """The device at work, and copies to and from it."""
    write: float
    """Into the journal."""
    assemble: float = 0.0
    """The predictions file, from the journal."""
    total: float
    """From the start of every process to its end, without what was lost when one was killed."""


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is needed to tell two runs apart, or to repeat one."""

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
    counts: RunCounts
    seconds: RunSeconds
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


def to_json_value(value: object) -> object:
    """Convert anything to what JSON can hold: paths may hold bytes that are no UTF-8, and overrides any Python value.

    A run of hours must not end without its record because of either.
    """
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and isfinite(value)):
        return value
    if isinstance(value, Mapping):
        return {str(to_json_value(str(key))): to_json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_value(item) for item in value]
    return repr(value)


def write_json_record(path: Path, record: Struct) -> Path:
    """Write a record as indented JSON, whatever values it holds; raises StorageError."""
    content = msgspec.json.encode(to_json_value(record))
    write_atomically(path, msgspec.json.format(content, indent=2) + b"\n")
    return path


def read_json_record(path: Path, kind: type[AnyStruct], name: str) -> AnyStruct:
    """Read a record.

    Args:
        path: the file.
        kind: the type of the record.
        name: what the error calls it.

    Raises:
        StorageError: the file cannot be read.
        RecordError: it is no such record.
    """
    with storage_errors(path):
        content = path.read_bytes()
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(path, f"is not {name}: {error}") from error


def write_run(folder: Path, record: RunRecord) -> Path:
    """Write the run.json of a folder; raises StorageError."""
    return write_json_record(folder / RUN_FILE, record)


def read_run(folder: Path) -> RunRecord:
    """Read the run.json of a folder; raises StorageError, RecordError."""
    return read_json_record(folder / RUN_FILE, RunRecord, "a run record")
