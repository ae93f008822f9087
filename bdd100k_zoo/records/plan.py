"""What must be equal for the frames of several processes, or of several starts, to be put together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from json import dumps

from msgspec import UNSET, Struct, UnsetType


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


class Plan(Struct, frozen=True, kw_only=True):
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


def digest_of(frames: Iterable[tuple[str, str]]) -> str:
    """Give the SHA-256 of all frames' names and stamps, in lower-case hexadecimal."""
    digest = hashlib.sha256()
    for name, stamp in frames:
        digest.update(f"{name}\0{stamp}\n".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def options_text(options: Mapping[str, object]) -> str:
    """Write overrides as JSON, which has lists in place of tuples and text in place of what it lacks."""
    return dumps(dict(options), sort_keys=True, default=repr) if options else ""


def differences(standing: Plan, wanted: Plan) -> tuple[str, ...]:
    """Say in what a standing plan is not the one that is wanted; nothing where it is, as far as both are known."""
    return tuple(
        f"{name}: {there or 'none'} there, {here or 'none'} now"
        for name, there, here in _compared(standing, wanted)
        if there != here
    )


def _compared(standing: Plan, wanted: Plan) -> Iterable[tuple[str, str, str]]:
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
