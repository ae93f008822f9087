"""The lines of a journal, each a JSON object; see ``records.journal`` for their order."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from bdd100k_zoo.boxes import Detections
from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.records.plan import Plan
from bdd100k_zoo.records.run import WeightsUsed, as_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FORMAT = 1
"""What the first line of every journal says; other numbers are for formats to come."""

CORNERS, SCORE, CLASS = 16, 4, 1
"""Bytes of one box: four float32 (little-endian), one float32, one uint8."""


class Header(Struct, frozen=True, kw_only=True):
    """The first line."""

    journal: int = FORMAT
    plan: Plan
    replaces: str = ""
    """SHA-256 of the run.json that stood in the folder when the journal was begun, and that its run is to replace."""


class Process(Struct, frozen=True, kw_only=True):
    """What a line tells about a process that goes on from there."""

    config: str
    weights: WeightsUsed
    device: str
    device_name: str
    versions: Mapping[str, str]
    started: str
    """ISO 8601, UTC."""
    load: float
    """Seconds until its model was loaded."""


class Spent(Struct, frozen=True, kw_only=True):
    """Seconds that a chunk took, by stage."""

    decode: float = 0.0
    prepare: float = 0.0
    detect: float = 0.0
    write: float = 0.0
    wall: float = 0.0
    """Since the chunk before was done."""

    def __add__(self, other: Spent) -> Spent:
        return Spent(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class Closing(Struct, frozen=True, kw_only=True):
    """The line that closes a chunk."""

    chunk: int
    frames: int
    crc32: int
    """Of the frames' lines, line breaks included."""
    detections: int
    spent: Spent
    split: Mapping[int, int]
    """Batches that were halved because the device had no memory for them: how many, by size."""


class FrameDone(NamedTuple):
    """One frame's result."""

    number: int
    """Its place in the sorted list of all frames, from 0."""
    name: str
    detections: Detections
    unreadable: str | None = None
    """Why the image could not be read; it has no detections then."""


class ChunkDone(NamedTuple):
    """A whole chunk's results."""

    number: int
    frames: Sequence[FrameDone]
    spent: Spent = Spent()
    split: Mapping[int, int] = {}
    """See ``Closing``."""


class _ProcessLine(Struct, frozen=True):
    process: Process


class _FrameLine(Struct, frozen=True, omit_defaults=True):
    frame: int
    name: str
    found: bytes | None = None
    unreadable: str | None = None


CLOSES, PROCESS = b'{"chunk":', b'{"process":'
"""How the lines begin that are no frames."""

_encode = msgspec.json.Encoder().encode
_decode_header = msgspec.json.Decoder(Header).decode
_decode_process = msgspec.json.Decoder(_ProcessLine).decode
_decode_closing = msgspec.json.Decoder(Closing).decode
_decode_frame = msgspec.json.Decoder(_FrameLine).decode


def header_line(header: Header) -> bytes:
    """Write the first line."""
    return _encode(header) + b"\n"


def process_line(process: Process) -> bytes:
    """Write the line about a process, whatever bytes its paths hold."""
    return _encode(as_json(_ProcessLine(process))) + b"\n"


def frame_line(frame: FrameDone) -> bytes:
    """Write a frame.

    Raises:
        ValueError: a corner or score is not finite: JSON has no such number, so no predictions file could hold it.
    """
    if frame.unreadable is not None:
        reason = frame.unreadable.encode("utf-8", "backslashreplace").decode()
        return _encode(_FrameLine(frame.number, frame.name, unreadable=reason)) + b"\n"
    return _encode(_FrameLine(frame.number, frame.name, found=_packed(frame))) + b"\n"


def closing_line(done: ChunkDone, lines: bytes, spent: Spent) -> bytes:
    """Write the line that closes a chunk, whose frames are ``lines``."""
    found = sum(len(frame.detections) for frame in done.frames)
    crc32 = zlib.crc32(lines)
    closing = Closing(
        chunk=done.number, frames=len(done.frames), crc32=crc32, detections=found, spent=spent, split=done.split
    )
    return _encode(closing) + b"\n"


def read_header(path: Path, line: bytes) -> Header:
    """Read the first line; raises RecordError where the file is no journal, or one of another format."""
    try:
        header = _decode_header(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(path, f"is no journal of a run: {error}") from error
    if header.journal != FORMAT:
        raise RecordError(path, f"is a journal of format {header.journal}; this version reads format {FORMAT}")
    return header


def read_process(line: bytes) -> Process | None:
    """Read a line about a process; None where it is damaged."""
    try:
        return _decode_process(line).process
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_closing(line: bytes) -> Closing | None:
    """Read the line that closes a chunk; None where it is damaged."""
    try:
        return _decode_closing(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_frame(path: Path, line: bytes) -> FrameDone:
    """Read a frame as it was written; raises RecordError."""
    try:
        read = _decode_frame(line)
        found = _unpacked(read.found) if read.found is not None else Detections.empty()
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RecordError(path, f"holds a frame that cannot be read: {error}") from error
    return FrameDone(read.frame, read.name, found, read.unreadable)


def _packed(frame: FrameDone) -> bytes:
    found = frame.detections
    if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
        raise ValueError(f"{frame.name}: the detector gave a corner or score that is no finite number")
    columns = found.boxes.astype("<f4"), found.scores.astype("<f4"), found.classes.astype("u1")
    return b"".join(column.tobytes() for column in columns)


def _unpacked(data: bytes) -> Detections:
    number = len(data) // (CORNERS + SCORE + CLASS)
    scores, classes = number * CORNERS, number * (CORNERS + SCORE)
    return Detections(
        np.frombuffer(data[:scores], "<f4").astype(np.float32).reshape(-1, 4),
        np.frombuffer(data[scores:classes], "<f4").astype(np.float32),
        np.frombuffer(data[classes:], "u1").astype(np.int64),
    )
