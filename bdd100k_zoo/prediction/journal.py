"""journal-RANK.jsonl: what the processes of a run have computed, so that nothing is computed twice.

Every rank appends to one file, which no other process writes. It holds a JSON object a line, of four kinds:

    {"journal": 2, …}   the first line: request and facts of the run, in which all its journals agree
    {"process": …}      a process opened the file, and appends from here on
    {"frame": 17, …}    the boxes of one frame, to the bit, or why its image is unreadable
    {"chunk": 2, …}     closes a chunk: the frames above, since the last chunk, are all of its frames

A chunk counts once its last line is in the file and has the number and the CRC-32 of the lines above. Whatever stands
behind the last such line, or does not fit, is ignored by readers and cut off by the next process that appends.

A chunk is handed to the operating system in one piece, so a process that is killed loses the chunk under way at most.
It is not forced onto the disk: a power cut may cost the last seconds, which the checksums show and which are computed
again. If two journals have the same chunk, the first that was read counts.
"""

from __future__ import annotations

import re
import zlib
from array import array
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from itertools import chain, groupby
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import Struct

from bdd100k_zoo.backends.protocol import DetectorFacts
from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.errors import InvalidFileError, RunMismatchError, StorageError
from bdd100k_zoo.files import open_nofollow, storage_errors
from bdd100k_zoo.prediction.run import Chunks, RunRequest, WeightsUsed, compared, differences, to_json_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

JOURNAL_FORMAT = 2
"""The number in the first line of every journal."""
JOURNAL_NAME = re.compile(r"journal-(\d+)\.jsonl")
CHUNK_PREFIX, PROCESS_PREFIX = b'{"chunk":', b'{"process":'
"""How the lines that are neither the first one nor frames begin."""

BOX_BYTES, SCORE_BYTES, CLASS_BYTES = 16, 4, 1
"""Of one detection: four float32 (little-endian), one float32, one uint8."""
NOWHERE = -1

AnyStruct = TypeVar("AnyStruct", bound=Struct)


class JournalHeader(Struct, frozen=True, kw_only=True):
    """The first line: what decides the run's predictions, and what the process that began the journal runs on."""

    journal: int = JOURNAL_FORMAT
    request: RunRequest
    facts: DetectorFacts
    weights: WeightsUsed
    chunk_size: int
    """Frames in every chunk but the last."""
    replaces: str = ""
    """SHA-256 of the run.json that was in the folder when the journal was begun, and that its run will replace."""

    @property
    def chunks(self) -> Chunks:
        """How the frames are split."""
        return Chunks(self.request.frames, self.chunk_size)

    def compared(self) -> dict[str, object]:
        """Return what must be equal in all journals of a run."""
        return compared(self.request, self.facts, self.chunk_size)


class ProcessInfo(Struct, frozen=True, kw_only=True):
    """What a process line holds."""

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
    """See ``ChunkSummary``."""


class _Format(Struct, frozen=True):
    journal: int


class _ProcessLine(Struct, frozen=True):
    process: ProcessInfo


class _FrameLine(Struct, frozen=True, omit_defaults=True):
    frame: int
    name: str
    found: bytes | None = None
    """The columns boxes, scores and classes, one after the other, in base64."""
    unreadable: str | None = None


_encode = msgspec.json.Encoder().encode
_decode_frame = msgspec.json.Decoder(_FrameLine).decode


def frame_line(frame: FrameResult) -> bytes:
    """Encode a frame.

    Raises:
        ValueError: a corner or score is not finite. JSON has no such number, so no predictions file could hold it.
    """
    if frame.unreadable is not None:
        reason = frame.unreadable.encode("utf-8", "backslashreplace").decode()
        return _encode(_FrameLine(frame.number, frame.name, unreadable=reason)) + b"\n"
    found = frame.detections
    if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
        raise ValueError(f"{frame.name}: the detector gave a corner or score that is no finite number")
    columns = found.boxes.astype("<f4"), found.scores.astype("<f4"), found.classes.astype("u1")
    return _encode(_FrameLine(frame.number, frame.name, b"".join(column.tobytes() for column in columns))) + b"\n"


def parse_frame_line(path: Path, line: bytes) -> FrameResult:
    """Decode a frame; raises InvalidFileError."""
    try:
        read = _decode_frame(line)
        data = read.found or b""
        count = len(data) // (BOX_BYTES + SCORE_BYTES + CLASS_BYTES)
        scores, classes = count * BOX_BYTES, count * (BOX_BYTES + SCORE_BYTES)
        found = Detections(
            np.frombuffer(data[:scores], "<f4").astype(np.float32).reshape(-1, 4),
            np.frombuffer(data[scores:classes], "<f4").astype(np.float32),
            np.frombuffer(data[classes:], "u1").astype(np.int64),
        )
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidFileError(path, f"holds a frame that cannot be read: {error}") from error
    return FrameResult(read.frame, read.name, found, read.unreadable)


def journal_path(folder: Path, rank: int) -> Path:
    """Return the path of a rank's journal."""
    return folder / f"journal-{rank}.jsonl"


def journal_paths(folder: Path) -> dict[int, Path]:
    """Return the paths of the journals in a folder by rank, in their order; raises StorageError."""
    with storage_errors(folder):
        found = [(JOURNAL_NAME.fullmatch(path.name), path) for path in folder.glob("journal-*.jsonl")]
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def delete_journals(folder: Path) -> None:
    """Remove the journals in a folder; raises StorageError."""
    for path in journal_paths(folder).values():
        with storage_errors(path):
            path.unlink(missing_ok=True)


class JournalReader:
    """Reads a journal from where it stopped the last time, up to the last closed chunk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: JournalHeader | None = None
        self.processes: list[ProcessInfo] = []
        self.end = 0
        """Bytes up to which everything is whole."""

    def read_on(self) -> Iterator[tuple[ChunkSummary, int]]:
        """Yield the chunks that were added, and the byte of the file at which each begins.

        A file that does not exist has none; a line that is damaged or not whole ends the reading.

        Raises:
            InvalidFileError: it is no journal.
            StorageError: it cannot be read.
        """
        with storage_errors(self.path), suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self.end)
            position, frames, crc32 = self.end, 0, 0
            for line in file:
                position += len(line)
                summary = None
                if not line.endswith(b"\n"):
                    return
                if self.header is None:
                    self.header = self._parse_header(line)
                elif line.startswith(CHUNK_PREFIX):
                    summary = _decode(line, ChunkSummary)
                    if summary is None or (summary.frames, summary.crc32) != (frames, crc32):
                        return
                elif line.startswith(PROCESS_PREFIX):
                    opened = _decode(line, _ProcessLine)
                    if opened is None or frames:
                        return
                    self.processes.append(opened.process)
                else:
                    frames, crc32 = frames + 1, zlib.crc32(line, crc32)
                    continue
                begin, self.end, frames, crc32 = self.end, position, 0, 0
                if summary:
                    yield summary, begin

    def _parse_header(self, line: bytes) -> JournalHeader:
        try:
            if (number := msgspec.json.decode(line, type=_Format).journal) != JOURNAL_FORMAT:
                problem = f"is a journal of format {number}; this version reads format {JOURNAL_FORMAT}"
                raise InvalidFileError(self.path, problem)
            return msgspec.json.decode(line, type=JournalHeader)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidFileError(self.path, f"is no journal of a run: {error}") from error


def _decode(line: bytes, kind: type[AnyStruct]) -> AnyStruct | None:
    """Decode a line; return None if it is damaged."""
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class Journal:
    """Appends to the journal of one rank, which no other process may write at the same time."""

    def __init__(self, path: Path, header: JournalHeader, process: ProcessInfo) -> None:
        """Open or create the file, and cut off what follows its last closed chunk.

        Raises:
            RunMismatchError: it is the journal of another run; it is left as it is.
            InvalidFileError: it is no journal.
            StorageError: it cannot be read or written.
        """
        self.path = path
        reader = JournalReader(path)
        for _ in reader.read_on():
            pass
        if reader.header and (found := differences(reader.header.compared(), header.compared())):
            raise RunMismatchError(path.parent, found)
        with storage_errors(path):
            # Without a buffer: what is written belongs to the system at once, whatever happens to this process.
            self._file = open_nofollow(path, "r+" if reader.end else "w")
            self._file.truncate(reader.end)
            self._file.seek(reader.end)
        self._end, self._put_seconds = reader.end, 0.0
        opened = _encode(_ProcessLine(process)) + b"\n"
        # The path of the weights may hold bytes that are no UTF-8.
        self._put(opened if reader.header else _encode(to_json_value(header)) + b"\n" + opened)

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
            InvalidFileError: a corner or score is not finite.
        """
        start = perf_counter()
        try:
            lines = b"".join(map(frame_line, done.frames))
        except ValueError as error:
            raise InvalidFileError(self.path, str(error)) from error
        # What writing these lines takes is known too late for them: the next chunk reports it.
        write = perf_counter() - start + self._put_seconds
        summary = ChunkSummary(
            chunk=done.number,
            frames=len(done.frames),
            crc32=zlib.crc32(lines),
            detections=sum(len(frame.detections) for frame in done.frames),
            spent=msgspec.structs.replace(done.spent, write=write),
            split=done.split,
        )
        self._put(lines + _encode(summary) + b"\n")

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
        self._put_seconds = perf_counter() - start


class Journals:
    """All journals in the folder of a run: which chunks are done, and their frames in order.

    It holds two numbers for every chunk in memory, and nothing for a frame.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frames = 0
        """Frames that are done."""
        self.detections = 0
        self.spent = StageSeconds()
        self.split: Counter[int] = Counter()
        """See ``ChunkSummary``."""
        self.header: JournalHeader | None = None
        """That of the first journal, which the others agree with; None without a journal."""
        self._readers: list[JournalReader] = []
        self._begins = array("q")
        """The byte at which each chunk begins in its file; NOWHERE for one that is not done."""
        self._owners = array("H")
        """The place of each chunk's file in ``_readers``."""

    @property
    def headers(self) -> list[JournalHeader]:
        """The first lines of the journals."""
        return [reader.header for reader in self._readers if reader.header]

    @property
    def processes(self) -> list[ProcessInfo]:
        """All processes that have appended, by journal."""
        return [process for reader in self._readers for process in reader.processes]

    @property
    def ranks(self) -> int:
        """The number of ranks that computed any of the chunks."""
        return len({owner for begin, owner in zip(self._begins, self._owners, strict=True) if begin != NOWHERE})

    @property
    def complete(self) -> bool:
        """Whether every chunk of the run is done."""
        return self.header is not None and NOWHERE not in self._begins

    def look(self) -> Journals:
        """Read what was added since the last look; return itself.

        Raises:
            RunMismatchError: two journals are of different runs.
            InvalidFileError: a file is no journal.
            StorageError: one cannot be read.
        """
        known = {reader.path for reader in self._readers}
        self._readers += [JournalReader(path) for path in journal_paths(self.folder).values() if path not in known]
        for owner, reader in enumerate(self._readers):
            chunks = reader.read_on()
            first = next(chunks, None)  # reads the header, too
            self._check_header(reader)
            for summary, begin in chain([first] if first else [], chunks):
                self._count(summary, begin, owner)
        return self

    def has(self, chunk: int) -> bool:
        """Return whether a chunk is done."""
        return chunk < len(self._begins) and self._begins[chunk] != NOWHERE

    def missing(self) -> list[range]:
        """Return the places of the frames that are not done, in as few ranges as there are gaps."""
        gaps: list[range] = []
        for chunk in range(len(self._begins)):
            if self.header and not self.has(chunk):
                frames = self.header.chunks.frames_of(chunk)
                joins = gaps and gaps[-1].stop == frames.start
                start = gaps.pop().start if joins else frames.start
                gaps.append(range(start, frames.stop))
        return gaps

    def in_order(self) -> Iterator[FrameResult]:
        """Yield every frame that is done, in the order of the run.

        Raises:
            InvalidFileError: a frame cannot be read, or is not the one that belongs there.
            StorageError: a journal cannot be read.
        """
        for owner, chunks in groupby(range(len(self._begins)), self._owners.__getitem__):
            path = self._readers[owner].path
            with storage_errors(path), path.open("rb") as file:
                for chunk in filter(self.has, chunks):
                    file.seek(self._begins[chunk])
                    for number in self.header.chunks.frames_of(chunk) if self.header else ():
                        frame = parse_frame_line(path, file.readline())
                        if frame.number != number:
                            raise InvalidFileError(path, f"holds frame {frame.number} in the place of frame {number}")
                        yield frame

    def _check_header(self, reader: JournalReader) -> None:
        """Compare a journal's header with that of the first journal, whose chunks are counted."""
        if reader.header is None or reader.header is self.header:
            return
        if self.header is None:
            self.header = reader.header
            self._begins = array("q", [NOWHERE]) * self.header.chunks.count
            self._owners = array("H", [0]) * self.header.chunks.count
        elif found := differences(self.header.compared(), reader.header.compared()):
            raise RunMismatchError(self.folder, tuple(f"{reader.path.name}: {each}" for each in found))

    def _count(self, summary: ChunkSummary, begin: int, owner: int) -> None:
        if not 0 <= summary.chunk < len(self._begins):
            raise InvalidFileError(self._readers[owner].path, f"holds chunk {summary.chunk} of {len(self._begins)}")
        if not self.has(summary.chunk):
            self._begins[summary.chunk], self._owners[summary.chunk] = begin, owner
            self.frames += summary.frames
            self.detections += summary.detections
            self.spent += summary.spent
            self.split.update(summary.split)
