"""journal-RANK.jsonl: what one process of a run has done, chunk by chunk, so that nothing is done twice.

The first line holds the plan; every process that goes on with the file adds a line about itself. Then come frames, a
line each with the detections to the bit, and after those of a chunk a line that closes it, with their checksum. Only
closed chunks count. Lines are the system's to keep as soon as a chunk is closed: a process that is killed takes nothing
with it. They are not forced onto the disk, so that a power cut may cost the last seconds; what it leaves damaged is cut
off and done again.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.errors import RecordError, RunMismatchError, StorageError
from bdd100k_zoo.files import open_nofollow, storage_errors
from bdd100k_zoo.prediction.run import RunPlan, WeightsUsed, run_plan_differences, to_json_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO

JOURNAL_FORMAT = 1
"""What the first line of every journal says; other numbers are for formats to come."""

CORNERS_BYTES, SCORE_BYTES, CLASS_BYTES = 16, 4, 1
"""Bytes of one box: four float32 (little-endian), one float32, one uint8."""


class JournalHeader(Struct, frozen=True, kw_only=True):
    """The first line."""

    journal: int = JOURNAL_FORMAT
    plan: RunPlan
    replaces: str = ""
    """SHA-256 of the run.json that stood in the folder when the journal was begun, and that its run is to replace."""


class ProcessInfo(Struct, frozen=True, kw_only=True):
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


class StageSeconds(Struct, frozen=True, kw_only=True):
    """Seconds that a chunk took, by stage."""

    decode: float = 0.0
    prepare: float = 0.0
    detect: float = 0.0
    write: float = 0.0
    wall: float = 0.0
    """Since the chunk before was done."""

    def __add__(self, other: StageSeconds) -> StageSeconds:
        return StageSeconds(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class ChunkSummary(Struct, frozen=True, kw_only=True):
    """The line that closes a chunk."""

    chunk: int
    frames: int
    crc32: int
    """Of the frames' lines, line breaks included."""
    detections: int
    spent: StageSeconds
    split: Mapping[int, int]
    """Batches that were halved because the device had no memory for them: how many, by size."""


class FrameResult(NamedTuple):
    """One frame's result."""

    number: int
    """Its place in the sorted list of all frames, from 0."""
    name: str
    detections: Detections
    unreadable: str | None = None
    """Why the image could not be read; it has no detections then."""


class ChunkResult(NamedTuple):
    """A whole chunk's results."""

    number: int
    frames: Sequence[FrameResult]
    spent: StageSeconds = StageSeconds()
    split: Mapping[int, int] = {}
    """See ``Closing``."""


class _ProcessLine(Struct, frozen=True):
    process: ProcessInfo


class _FrameLine(Struct, frozen=True, omit_defaults=True):
    frame: int
    name: str
    found: bytes | None = None
    unreadable: str | None = None


CHUNK_PREFIX, PROCESS_PREFIX = b'{"chunk":', b'{"process":'
"""How the lines begin that are no frames."""

_encode = msgspec.json.Encoder().encode
_decode_header = msgspec.json.Decoder(JournalHeader).decode
_decode_process = msgspec.json.Decoder(_ProcessLine).decode
_decode_closing = msgspec.json.Decoder(ChunkSummary).decode
_decode_frame = msgspec.json.Decoder(_FrameLine).decode


def header_line(header: JournalHeader) -> bytes:
    """Write the first line."""
    return _encode(header) + b"\n"


def process_line(process: ProcessInfo) -> bytes:
    """Write the line about a process, whatever bytes its paths hold."""
    return _encode(to_json_value(_ProcessLine(process))) + b"\n"


def frame_line(frame: FrameResult) -> bytes:
    """Write a frame.

    Raises:
        ValueError: a corner or score is not finite: JSON has no such number, so no predictions file could hold it.
    """
    if frame.unreadable is not None:
        reason = frame.unreadable.encode("utf-8", "backslashreplace").decode()
        return _encode(_FrameLine(frame.number, frame.name, unreadable=reason)) + b"\n"
    return _encode(_FrameLine(frame.number, frame.name, found=_packed(frame))) + b"\n"


def chunk_line(done: ChunkResult, lines: bytes, spent: StageSeconds) -> bytes:
    """Write the line that closes a chunk, whose frames are ``lines``."""
    found = sum(len(frame.detections) for frame in done.frames)
    crc32 = zlib.crc32(lines)
    closing = ChunkSummary(
        chunk=done.number, frames=len(done.frames), crc32=crc32, detections=found, spent=spent, split=done.split
    )
    return _encode(closing) + b"\n"


def parse_header_line(path: Path, line: bytes) -> JournalHeader:
    """Read the first line; raises RecordError where the file is no journal, or one of another format."""
    try:
        header = _decode_header(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(path, f"is no journal of a run: {error}") from error
    if header.journal != JOURNAL_FORMAT:
        raise RecordError(path, f"is a journal of format {header.journal}; this version reads format {JOURNAL_FORMAT}")
    return header


def parse_process_line(line: bytes) -> ProcessInfo | None:
    """Read a line about a process; None where it is damaged."""
    try:
        return _decode_process(line).process
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def parse_chunk_line(line: bytes) -> ChunkSummary | None:
    """Read the line that closes a chunk; None where it is damaged."""
    try:
        return _decode_closing(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def parse_frame_line(path: Path, line: bytes) -> FrameResult:
    """Read a frame as it was written; raises RecordError."""
    try:
        read = _decode_frame(line)
        found = _unpacked(read.found) if read.found is not None else Detections.empty()
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RecordError(path, f"holds a frame that cannot be read: {error}") from error
    return FrameResult(read.frame, read.name, found, read.unreadable)


def _packed(frame: FrameResult) -> bytes:
    found = frame.detections
    if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
        raise ValueError(f"{frame.name}: the detector gave a corner or score that is no finite number")
    columns = found.boxes.astype("<f4"), found.scores.astype("<f4"), found.classes.astype("u1")
    return b"".join(column.tobytes() for column in columns)


def _unpacked(data: bytes) -> Detections:
    number = len(data) // (CORNERS_BYTES + SCORE_BYTES + CLASS_BYTES)
    scores, classes = number * CORNERS_BYTES, number * (CORNERS_BYTES + SCORE_BYTES)
    return Detections(
        np.frombuffer(data[:scores], "<f4").astype(np.float32).reshape(-1, 4),
        np.frombuffer(data[scores:classes], "<f4").astype(np.float32),
        np.frombuffer(data[classes:], "u1").astype(np.int64),
    )


JOURNAL_NAME = re.compile(r"journal-(\d+)\.jsonl")


def journal_path(folder: Path, rank: int) -> Path:
    """Say where the journal of one rank stands in the folder of a run."""
    return folder / f"journal-{rank}.jsonl"


def rank_of(path: Path) -> int:
    """Read a rank off the path of its journal."""
    match = JOURNAL_NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


class JournalReader:
    """Reads a journal from where it stopped the last time, up to the last closed chunk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: JournalHeader | None = None
        self.processes: list[ProcessInfo] = []
        self.end = 0
        """Bytes up to which everything is whole."""

    def read_on(self) -> Iterator[tuple[ChunkSummary, int]]:
        """Give the chunks that have come, and at which byte of the file each begins.

        A file that is not there has none; a line that is not whole, or damaged, ends the reading.

        Raises:
            RecordError: it is no journal.
            StorageError: it cannot be read.
        """
        with storage_errors(self.path), suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self.end)
            yield from self._read(file)

    def _read(self, file: BinaryIO) -> Iterator[tuple[ChunkSummary, int]]:
        position, frames, crc32 = self.end, 0, 0
        for line in file:
            position += len(line)
            if not line.endswith(b"\n"):
                return
            if self.header and not line.startswith((CHUNK_PREFIX, PROCESS_PREFIX)):
                frames, crc32 = frames + 1, zlib.crc32(line, crc32)
                continue
            closing = parse_chunk_line(line) if line.startswith(CHUNK_PREFIX) else None
            if closing and (closing.frames, closing.crc32) != (frames, crc32):
                return
            if not closing and (frames or not self._take(line)):
                return
            begin, self.end, frames, crc32 = self.end, position, 0, 0
            if closing:
                yield closing, begin

    def _take(self, line: bytes) -> bool:
        """Take a line that stands before a chunk; tells whether it is whole."""
        if self.header is None:
            self.header = parse_header_line(self.path, line)
            return True
        process = parse_process_line(line)
        if process:
            self.processes.append(process)
        return process is not None


class Journal:
    """Appends to the journal of one rank, which no other process may write at the same time."""

    def __init__(self, path: Path, header: JournalHeader, process: ProcessInfo) -> None:
        """Open it, make it where there is none, and cut off what stands behind its last closed chunk.

        Raises:
            OtherRunError: it is the journal of another plan; it is left as it is.
            RecordError: it is no journal.
            StorageError: it cannot be read or written.
        """
        self.path = path
        standing = JournalReader(path)
        for _ in standing.read_on():
            pass
        if standing.header and (found := run_plan_differences(standing.header.plan, header.plan)):
            raise RunMismatchError(path.parent, found)
        with storage_errors(path):
            # No buffer: what is written is the system's to keep, whatever becomes of this process.
            self._file = open_nofollow(path, "r+" if standing.end else "w")
            self._file.truncate(standing.end)
            self._file.seek(standing.end)
        self._end, self._putting = standing.end, 0.0  # the seconds that the last lines took are told by the next
        self._put((b"" if standing.header else header_line(header)) + process_line(process))

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, done: ChunkResult) -> None:
        """Append a chunk.

        Raises:
            StorageError: the disk is full.
            RecordError: a corner or score is not finite.
        """
        start = perf_counter()
        try:
            lines = b"".join(map(frame_line, done.frames))
        except ValueError as error:
            raise RecordError(self.path, str(error)) from error
        encoded = perf_counter() - start
        self._put(lines + chunk_line(done, lines, msgspec.structs.replace(done.spent, write=encoded + self._putting)))

    def _put(self, data: bytes) -> None:
        """Append whole lines, or nothing."""
        rest, start = memoryview(data), perf_counter()
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._end)
                self._file.seek(self._end)
            raise StorageError(self.path, error.strerror or str(error)) from error
        self._end += len(data)
        self._putting = perf_counter() - start
