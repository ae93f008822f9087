"""journal-RANK.jsonl: what the processes of a run have computed, so that nothing is computed twice.

Every rank appends to a file of its own, which no other process writes. It holds one JSON object per line:

    {"journal": 2, …}   the first line: request and facts of the run, which are the same in all its journals
    {"process": …}      a process has opened the file, and appends from here on
    {"frame": 17, …}    the boxes of one frame, exact to the bit, or why its image is unreadable
    {"chunk": 2, …}     closes a chunk: the frame lines above it, since the last chunk, are all of its frames

Writing: a process first cuts off what follows the last closed chunk, then appends chunk by chunk. Each chunk is one
write, so a process that is killed loses at most the chunk under way. Nothing forces the data onto the disk: a power
cut may cost the chunks of the last seconds.

Reading: a journal is read from its start to the first line that is incomplete or damaged. A chunk counts if its
closing line has the number and the CRC-32 of the frame lines above it. If two journals hold the same chunk, that of the
lower rank counts. So journals from several machines can be copied into one folder and merged.
"""

from __future__ import annotations

import re
import zlib
from array import array
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from itertools import groupby
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from bdd100k_zoo.backends.protocol import DetectorFacts
from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.errors import InvalidFileError
from bdd100k_zoo.files import open_nofollow, storage_errors
from bdd100k_zoo.prediction.pipeline import ChunkResult, FrameResult, StageSeconds
from bdd100k_zoo.prediction.run import Chunks, RunRequest, WeightsUsed, check_same_run, compared, to_json_value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOURNAL_FORMAT = 2
"""The number in the first line of every journal."""
JOURNAL_NAME = re.compile(r"journal-(\d+)\.jsonl")
FRAME_PREFIX, PROCESS_PREFIX = b'{"frame":', b'{"process":'

BOX_BYTES, SCORE_BYTES, CLASS_BYTES = 16, 4, 1
"""Of one detection: four float32 (little-endian), one float32, one uint8."""
NOT_DONE = -1

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a line that is damaged."""


class JournalHeader(Struct, frozen=True, kw_only=True):
    """The first line: what decides the run's predictions, and what computes them."""

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


class ChunkSummary(Struct, frozen=True, kw_only=True):
    """The line that closes a chunk."""

    chunk: int
    frames: int
    crc32: int
    """Of the frames' lines, line breaks included."""
    detections: int
    spent: StageSeconds
    split: Mapping[int, int]
    """See ``ChunkResult``."""


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
    """Encode a frame."""
    if frame.unreadable is not None:
        reason = frame.unreadable.encode("utf-8", "backslashreplace").decode()
        return _encode(_FrameLine(frame.number, frame.name, unreadable=reason)) + b"\n"
    found = frame.detections
    columns = found.boxes.astype("<f4"), found.scores.astype("<f4"), found.classes.astype("u1")
    return _encode(_FrameLine(frame.number, frame.name, b"".join(column.tobytes() for column in columns))) + b"\n"


def parse_frame_line(line: bytes) -> FrameResult:
    """Decode a frame of a closed chunk, whose checksum was right."""
    read = _decode_frame(line)
    data = read.found or b""
    count = len(data) // (BOX_BYTES + SCORE_BYTES + CLASS_BYTES)
    scores, classes = count * BOX_BYTES, count * (BOX_BYTES + SCORE_BYTES)
    found = Detections(
        np.frombuffer(data[:scores], "<f4").astype(np.float32).reshape(-1, 4),
        np.frombuffer(data[scores:classes], "<f4").astype(np.float32),
        np.frombuffer(data[classes:], "u1").astype(np.int64),
    )
    return FrameResult(read.frame, read.name, found, read.unreadable)


def journal_path(folder: Path, rank: int) -> Path:
    """Return the path of a rank's journal."""
    return folder / f"journal-{rank}.jsonl"


def journal_paths(folder: Path) -> dict[int, Path]:
    """Return the paths of the journals in a folder by rank, in ascending order; raises StorageError."""
    with storage_errors(folder):
        found = [(JOURNAL_NAME.fullmatch(path.name), path) for path in folder.glob("journal-*.jsonl")]
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def delete_journals(folder: Path) -> None:
    """Remove the journals in a folder; raises StorageError."""
    for path in journal_paths(folder).values():
        with storage_errors(path):
            path.unlink(missing_ok=True)


class JournalEntry(NamedTuple):
    """The header, a process or a closed chunk of a journal, and the bytes that it takes in the file."""

    content: JournalHeader | ProcessInfo | ChunkSummary
    begin: int
    """Of a chunk: where its first frame is."""
    end: int


def read_journal(path: Path) -> Iterator[JournalEntry]:
    """Yield the entries of a journal up to the first line that is incomplete or damaged.

    A file that does not exist has none.

    Raises:
        InvalidFileError: it is no journal.
        StorageError: it cannot be read.
    """
    with storage_errors(path), suppress(FileNotFoundError), path.open("rb") as file:
        begin = end = frames = crc32 = 0
        first = b""
        header: JournalHeader
        content: JournalHeader | ProcessInfo | ChunkSummary
        for line in file:
            end += len(line)
            if not line.endswith(b"\n"):
                return
            if begin == 0:
                content = header = _parse_header(path, line)
            elif line.startswith(FRAME_PREFIX):
                first = first or line
                frames, crc32 = frames + 1, zlib.crc32(line, crc32)
                continue
            else:
                try:
                    content = (
                        msgspec.json.decode(line, type=_ProcessLine).process
                        if line.startswith(PROCESS_PREFIX)
                        else msgspec.json.decode(line, type=ChunkSummary)
                    )
                except DECODE_ERRORS:
                    return
            expected = (content.frames, content.crc32) if isinstance(content, ChunkSummary) else (0, 0)
            if (frames, crc32) != expected:
                return
            if isinstance(content, ChunkSummary) and not _closes(content, first, header.chunks):
                return
            yield JournalEntry(content, begin, end)
            begin, frames, crc32, first = end, 0, 0, b""


def _closes(summary: ChunkSummary, first_line: bytes, chunks: Chunks) -> bool:
    """Return whether a summary has the number of the chunk that its frames belong to: no checksum covers the number."""
    places = chunks.frames_of(summary.chunk)
    return len(places) == summary.frames > 0 and _decode_frame(first_line).frame == places.start


def _parse_header(path: Path, line: bytes) -> JournalHeader:
    try:
        if (number := msgspec.json.decode(line, type=_Format).journal) != JOURNAL_FORMAT:
            problem = f"is a journal of format {number}; this version reads format {JOURNAL_FORMAT}"
            hint = "finish the run with the version that began it, or start over with --fresh"
            raise InvalidFileError(path, problem, hint)
        return msgspec.json.decode(line, type=JournalHeader)
    except DECODE_ERRORS as error:
        raise InvalidFileError(
            path, f"is not a journal of a run: {error}", "move the file out of the folder"
        ) from error


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
        self._end, self._append_seconds = 0, 0.0
        for entry in read_journal(path):
            if isinstance(entry.content, JournalHeader):
                check_same_run(path, entry.content.compared(), header.compared())
            self._end = entry.end
        with storage_errors(path):
            # Unbuffered: what is written belongs to the system at once, whatever happens to this process.
            self._file = open_nofollow(path, "a")
            self._file.truncate(self._end)
        # The path of the weights may hold bytes that are not UTF-8.
        first = b"" if self._end else _encode(to_json_value(header)) + b"\n"
        self._append(first + _encode(_ProcessLine(process)) + b"\n")

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, done: ChunkResult) -> None:
        """Append a chunk; raises StorageError, and leaves the file as it was, where the disk is full."""
        start = perf_counter()
        lines = b"".join(map(frame_line, done.frames))
        # How long appending these lines takes is known too late for their summary: the next chunk reports it.
        write = perf_counter() - start + self._append_seconds
        summary = ChunkSummary(
            chunk=done.number,
            frames=len(done.frames),
            crc32=zlib.crc32(lines),
            detections=sum(len(frame.detections) for frame in done.frames),
            spent=msgspec.structs.replace(done.spent, write=write),
            split=done.split,
        )
        self._append(lines + _encode(summary) + b"\n")

    def _append(self, data: bytes) -> None:
        rest, start = memoryview(data), perf_counter()
        with storage_errors(self.path):
            try:
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError:
                with suppress(OSError):
                    self._file.truncate(self._end)
                raise
        self._end += len(data)
        self._append_seconds = perf_counter() - start


class Journals:
    """All journals in the folder of a run: which chunks are done, and their frames in order.

    It holds two numbers for every chunk in memory, and nothing for a frame.
    """

    def __init__(self) -> None:
        """Hold no chunk; ``read_journals`` adds those of a folder."""
        self.frames = 0
        """Frames that are done."""
        self.detections = 0
        self.spent = StageSeconds()
        self.split: Counter[int] = Counter()
        """See ``ChunkResult``."""
        self.headers: list[JournalHeader] = []
        """The first lines of the journals; they agree in what decides the predictions."""
        self.processes: list[ProcessInfo] = []
        """All processes that have appended, by journal."""
        self._paths: list[Path] = []
        self._begins = array("q")
        """The byte at which each chunk begins in its file; NOT_DONE for one that is not done."""
        self._owners = array("H")
        """The place of each chunk's file in ``_paths``."""

    @property
    def header(self) -> JournalHeader | None:
        """The first line of the first journal; None without a journal."""
        return self.headers[0] if self.headers else None

    @property
    def ranks(self) -> int:
        """The number of ranks that computed any of the chunks."""
        return len({owner for begin, owner in zip(self._begins, self._owners, strict=True) if begin != NOT_DONE})

    @property
    def complete(self) -> bool:
        """Whether every chunk of the run is done."""
        return bool(self.headers) and NOT_DONE not in self._begins

    def has(self, chunk: int) -> bool:
        """Return whether a chunk is done."""
        return chunk < len(self._begins) and self._begins[chunk] != NOT_DONE

    def missing(self) -> list[range]:
        """Return the places of the frames that are not done, in as few ranges as there are gaps."""
        gaps: list[range] = []
        for chunk in range(len(self._begins)):
            if not self.has(chunk):
                frames = self.headers[0].chunks.frames_of(chunk)
                joins = gaps and gaps[-1].stop == frames.start
                start = gaps.pop().start if joins else frames.start
                gaps.append(range(start, frames.stop))
        return gaps

    def in_order(self) -> Iterator[FrameResult]:
        """Yield every frame that is done, in the order of the run; raises StorageError."""
        for owner, chunks in groupby(range(len(self._begins)), self._owners.__getitem__):
            path = self._paths[owner]
            with storage_errors(path), path.open("rb") as file:
                for chunk in filter(self.has, chunks):
                    file.seek(self._begins[chunk])
                    for _ in self.headers[0].chunks.frames_of(chunk):
                        yield parse_frame_line(file.readline())

    def add(self, path: Path) -> None:
        """Add the entries of a journal; raises as ``read_journals`` does."""
        self._paths.append(path)
        for content, begin, _ in read_journal(path):
            if isinstance(content, JournalHeader):
                self._add_header(content, path)
            elif isinstance(content, ProcessInfo):
                self.processes.append(content)
            elif not self.has(content.chunk):
                self._begins[content.chunk], self._owners[content.chunk] = begin, len(self._paths) - 1
                self.frames += content.frames
                self.detections += content.detections
                self.spent += content.spent
                self.split.update(content.split)

    def _add_header(self, header: JournalHeader, path: Path) -> None:
        if not self.headers:
            self._begins = array("q", [NOT_DONE]) * header.chunks.count
            self._owners = array("H", [0]) * header.chunks.count
        else:
            check_same_run(path, self.headers[0].compared(), header.compared())
        self.headers.append(header)


def read_journals(folder: Path) -> Journals:
    """Read all journals in a folder.

    Raises:
        RunMismatchError: two journals are of different runs.
        InvalidFileError: a file is no journal.
        StorageError: one cannot be read.
    """
    journals = Journals()
    for path in journal_paths(folder).values():
        journals.add(path)
    return journals
