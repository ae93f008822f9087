"""run.json: how a predictions file was made; and what must be equal for a run to be resumed or merged."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from json import dumps
from math import isfinite
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from bdd100k_zoo.backends.protocol import DetectorFacts
from bdd100k_zoo.errors import InvalidFileError, RunMismatchError
from bdd100k_zoo.files import storage_errors, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

Record = TypeVar("Record")

PREDICTIONS_FILE = "det.json"
RUN_FILE = "run.json"

OTHER_VERSION_HINT = "read it with the version that wrote it, or make it again: the same command with --fresh"

NUMBER_OF_FRAMES, FRAMES_DIGEST = "number of images", "names, sizes or times of change of the images"


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


class RunRequest(Struct, frozen=True, kw_only=True):
    """What a run is asked to do: everything that decides its predictions and is known before a model is loaded.

    A digest, backend or batch size that is None is unknown, or left to the program, and matches anything. A limit that
    is None is none: in records without the three limits, all are.
    """

    model: str
    config: str
    """Name of the file."""
    config_sha256: str
    cfg_options: Mapping[str, object]
    """Overrides by dotted key, as JSON can hold them."""
    split: str | None
    image_roots: tuple[str, ...]
    """The folders, files and patterns that were given; see ``run_folder.resolve_input``."""
    every: int = 1
    """Of videos, frames 0, ``every``, 2 ``every`` … are taken."""
    frames: int
    """How many there are."""
    frames_sha256: str | None = None
    """Of all frames' names, sizes and times of change; missing from records of version 0.1.0."""
    weights_sha256: str | None = None
    backend: str | None = None
    precision: str
    batch_size: int | None = None
    # Limits beyond the model's own selection, which the official scores are without; see ``limits.Limits``.
    min_score: float | None = None
    classes: tuple[str, ...] | None = None
    max_per_image: int | None = None

    @property
    def limits(self) -> dict[str, str]:
        """The limits that are set, by their names, as text: ``{"min_score": "0.3", "classes": "car, truck"}``."""
        known = {
            "min_score": self.min_score,
            "classes": None if self.classes is None else ", ".join(self.classes),
            "max_per_image": self.max_per_image,
        }
        return {name: str(value) for name, value in known.items() if value is not None}


def compared(
    request: RunRequest, facts: DetectorFacts | None = None, chunk_size: int | UnsetType = UNSET
) -> dict[str, object]:
    """Return what must be equal for a run to be resumed or merged, by the names that messages use.

    Args:
        request: what the run is asked to do.
        facts: what computes it; None before a model is loaded. Backend, precision and batch size are then those of the
            request, and the rest is unset.
        chunk_size: frames in a chunk.
    """
    used, digest = facts or request, request.frames_sha256
    return {
        "model": request.model,
        "config's SHA-256": request.config_sha256,
        "cfg_options": options_text(request.cfg_options),
        "min_score": request.min_score,
        "classes": ", ".join(request.classes or ()),
        "max_per_image": request.max_per_image,
        "split": request.split,
        "every": request.every,
        "images": ", ".join(sorted(set(request.image_roots))),
        NUMBER_OF_FRAMES: request.frames,
        "weights' SHA-256": request.weights_sha256 or UNSET,
        "backend": used.backend or UNSET,
        "device": facts.device_kind if facts else UNSET,
        "ops": facts.ops if facts else UNSET,
        "precision": used.precision,
        "changed for speed": facts.optimised if facts else UNSET,
        "batch size": used.batch_size or UNSET,
        "frames in a chunk": chunk_size,
        "threads": facts.threads if facts else UNSET,
        "versions": {name: each for name, each in facts.versions.items() if name != "python"} if facts else UNSET,
        FRAMES_DIGEST: f"digest {digest[:12]}" if digest else UNSET,
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
    """Describe the facts that differ, by their names; facts that are unset on either side are not compared."""
    found = {
        name: f"{name}: {before} there, {now} now"
        for name in existing
        if UNSET not in (existing[name], requested[name])
        if (before := _text(existing[name])) != (now := _text(requested[name]))
    }
    if NUMBER_OF_FRAMES in found:
        found.pop(FRAMES_DIGEST, None)  # it differs whenever the number does
    return tuple(found.values())


def check_same_run(path: Path, existing: Mapping[str, object], requested: Mapping[str, object]) -> None:
    """Raise RunMismatchError, which names ``path``, where the facts of two runs differ, as far as both are known."""
    if existing and (found := differences(existing, requested)):
        raise RunMismatchError(path, found)


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        value = ", ".join(f"{name} {version}" for name, version in sorted(value.items()))
    return "none" if value in (None, "") else str(value)


class WeightsUsed(Struct, frozen=True, kw_only=True):
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
        """``random weights`` or ``own weights``, unless they are known to be the published ones; else empty.

        A file that the user named is the user's own, unless a digest shows that it is the published one.
        """
        if self.random:
            return "random weights"
        named = self.published is None and self.address is None
        return "own weights" if self.published is False or named else ""


class Unreadable(Struct, frozen=True):
    """An image that got an empty frame because it could not be read."""

    name: str
    reason: str


class RunCounts(Struct, frozen=True, kw_only=True):
    """The size of a run."""

    images: int
    unreadable: int
    detections: int


class RunSeconds(Struct, frozen=True, kw_only=True):
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


class RunRecord(Struct, frozen=True, kw_only=True):
    """Everything that is needed to distinguish two runs, or to repeat one.

    In run.json the fields of request and facts are beside the others. Backend, precision and batch size are those that
    were used, in both.
    """

    request: RunRequest
    weights: WeightsUsed
    facts: DetectorFacts
    counts: RunCounts
    seconds: RunSeconds
    unreadable: tuple[Unreadable, ...]
    started: str
    """ISO 8601, UTC."""
    # The following fields are missing from records of version 0.1.0.
    processes: int = 1
    """How many shared the frames."""
    busy: float | None = None
    """Share of the time from the first image to the last in which the device was at work, 0 to 1."""
    split_batches: Mapping[int, int] = {}
    """Batches that the device had no memory for and that were halved: how many, by their size."""

    def flat(self) -> dict[str, object]:
        """Return the content of run.json."""
        fields = msgspec.structs.asdict
        flat = {**fields(self.request), **fields(self.facts), **fields(self)}
        # Three of them are stored elsewhere: as counts.images, weights.sha256 and weights.random.
        for name in ("request", "facts", "frames", "weights_sha256", "random_weights"):
            del flat[name]
        return to_json_object(flat)


def parse_run(flat: Mapping[str, object]) -> RunRecord:
    """Return the record that a run.json holds; raises msgspec.ValidationError."""
    request = msgspec.convert({**flat, "frames": 0}, RunRequest)
    facts = msgspec.convert({"optimised": None, **flat}, DetectorFacts)
    record = msgspec.convert({**flat, "request": request, "facts": facts}, RunRecord, str_keys=True)
    frames, weights = record.counts.images, record.weights
    return msgspec.structs.replace(
        record,
        request=msgspec.structs.replace(request, frames=frames, weights_sha256=weights.sha256),
        facts=msgspec.structs.replace(facts, random_weights=weights.random),
    )


def to_json_value(value: object) -> object:
    """Convert anything to what JSON can hold: paths may have bytes that are not UTF-8, and overrides any Python value.

    Neither may cost a run of hours its record.
    """
    if isinstance(value, Struct):
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


def to_json_object(fields: Mapping[str, object]) -> dict[str, object]:
    """Convert the values of a mapping as ``to_json_value`` does."""
    return {name: to_json_value(value) for name, value in fields.items()}


def write_json_record(path: Path, record: Mapping[str, object]) -> Path:
    """Write a record as indented JSON; raises StorageError."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    return path


def read_json_record(path: Path, parse: Callable[[Mapping[str, object]], Record], name: str) -> Record:
    """Read a record.

    Args:
        path: the file.
        parse: returns the record that a JSON object holds, or raises msgspec.ValidationError.
        name: what the error calls it.

    Raises:
        StorageError: the file cannot be read.
        InvalidFileError: it is not such a record.
    """
    with storage_errors(path):
        content = path.read_bytes()
    try:
        return parse(msgspec.json.decode(content, type=dict[str, object]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidFileError(path, f"is not {name} of this version: {error}", OTHER_VERSION_HINT) from error


def write_run(folder: Path, record: RunRecord) -> Path:
    """Write the run.json of a folder; raises StorageError."""
    return write_json_record(folder / RUN_FILE, record.flat())


def read_run(folder: Path) -> RunRecord:
    """Read the run.json of a folder; raises StorageError, InvalidFileError."""
    return read_json_record(folder / RUN_FILE, parse_run, "a run record")
