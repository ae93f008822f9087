"""run.json: what made a predictions file; and what must be equal for a run to be resumed or merged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from json import dumps
from math import isfinite
from pathlib import Path  # noqa: TC003  (record fields are read at run time)

import msgspec
from msgspec import UNSET, Struct, UnsetType

from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.files import storage_errors, write_atomically


class Chunks(Struct, frozen=True):
    """How a sorted list of frames is cut: at fixed multiples, whoever computes them."""

    frames: int
    size: int
    """Frames in every chunk but the last."""

    @property
    def count(self) -> int:
        """How many chunks there are."""
        return -(-self.frames // self.size)

    def frames_of(self, chunk: int) -> range:
        """Give the places of a chunk's frames in the list."""
        return range(chunk * self.size, min((chunk + 1) * self.size, self.frames))


class RunPlan(Struct, frozen=True, kw_only=True):
    """The facts that decide every bit of a predictions file. What is not known yet is unset, and fits anything."""

    model: str
    config_sha256: str | UnsetType = UNSET
    cfg_options: str
    """JSON; empty where there are none."""
    split: str | None
    image_roots: tuple[str, ...]
    """Where the images were asked for; see ``workflows.run_folder.resolved``."""
    every: int = 1
    """See ``RunRecord.every``."""
    frames: int
    """How many there are."""
    frames_sha256: str | UnsetType = UNSET
    """Of all frames; see ``digest_of``."""
    weights_sha256: str | UnsetType = UNSET
    backend: str | UnsetType = UNSET
    device: str | UnsetType = UNSET
    """Its kind and its maker's name for it, without a number."""
    ops: str | UnsetType = UNSET
    precision: str | UnsetType = UNSET
    optimised: bool | UnsetType = UNSET
    """See ``inference.protocol.DetectorFacts.optimised``: another model may be changed for speed, or another torch."""
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


def frames_digest(frames: Iterable[tuple[str, str]]) -> str:
    """Give the SHA-256 of all frames' names and stamps, in lower-case hexadecimal."""
    digest = hashlib.sha256()
    for name, stamp in frames:
        digest.update(f"{name}\0{stamp}\n".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def options_text(options: Mapping[str, object]) -> str:
    """Write overrides as JSON, which has lists in place of tuples and text in place of what it lacks."""
    return dumps(dict(options), sort_keys=True, default=repr) if options else ""


def run_plan_differences(standing: RunPlan, wanted: RunPlan) -> tuple[str, ...]:
    """Say in what a standing plan is not the one that is wanted; nothing where it is, as far as both are known."""
    return tuple(
        f"{name}: {there or 'none'} there, {here or 'none'} now"
        for name, there, here in _compared(standing, wanted)
        if there != here
    )


def _compared(standing: RunPlan, wanted: RunPlan) -> Iterable[tuple[str, str, str]]:
    for field, name in _NAMES.items():
        there, here = getattr(standing, field), getattr(wanted, field)
        if there is not UNSET and here is not UNSET:
            yield name, _text(field, there), _text(field, here)
    if standing.frames == wanted.frames:
        there, here = standing.frames_sha256, wanted.frames_sha256
        if there is not UNSET and here is not UNSET:
            yield "names, sizes or times of change of the images", f"digest {there[:12]}", f"digest {here[:12]}"


def _text(field: str, value: object) -> str:
    if field == "image_roots" and isinstance(value, Sequence):
        return ", ".join(sorted(set(value)))
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {version}" for name, version in sorted(value.items()))
    return "" if value is None else str(value)


_NAMES: Mapping[str, str] = {
    "model": "model",
    "config_sha256": "config's SHA-256",
    "cfg_options": "cfg_options",
    "split": "split",
    "every": "every",
    "image_roots": "images",
    "frames": "number of images",
    "weights_sha256": "weights' SHA-256",
    "backend": "backend",
    "device": "device",
    "ops": "ops",
    "precision": "precision",
    "optimised": "changed for speed",
    "batch_size": "batch size",
    "chunk_size": "frames in a chunk",
    "threads": "threads",
    "versions": "versions",
}


PREDICTIONS_FILE = "det.json"
RUN_FILE = "run.json"


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


class RunCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What a run went through."""

    images: int
    unreadable: int
    detections: int


class RunSeconds(msgspec.Struct, frozen=True, kw_only=True):
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


def write_run(folder: Path, record: RunRecord) -> Path:
    """Write run.json into the folder of a run; raises StorageError."""
    path = folder / RUN_FILE
    plain = to_json_value(msgspec.structs.asdict(record))
    write_atomically(path, msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n")
    return path


def to_json_value(value: object) -> object:
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
        return {str(to_json_value(str(key))): to_json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_value(item) for item in value]
    return repr(value)


def read_run(folder: Path) -> RunRecord:
    """Read the run.json of a folder.

    Raises:
        StorageError: it cannot be read.
        RecordError: it is not a run record.
    """
    path = folder / RUN_FILE
    with storage_errors(path):
        content = path.read_bytes()
    try:
        return msgspec.json.decode(content, type=RunRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(path, f"is not a run record: {error}") from error
