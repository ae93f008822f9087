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
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec

from bdd100k_zoo.errors import OtherRunError, RecordError, StorageError
from bdd100k_zoo.records.files import open_record, storage_errors
from bdd100k_zoo.records.journal_lines import (
    CLOSES,
    PROCESS,
    Header,
    closing_line,
    frame_line,
    header_line,
    process_line,
    read_closing,
    read_header,
    read_process,
)
from bdd100k_zoo.records.plan import differences

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO

    from bdd100k_zoo.records.journal_lines import ChunkDone, Closing, Process

NAME = re.compile(r"journal-(\d+)\.jsonl")


def journal_path(folder: Path, rank: int) -> Path:
    """Say where the journal of one rank stands in the folder of a run."""
    return folder / f"journal-{rank}.jsonl"


def rank_of(path: Path) -> int:
    """Read a rank off the path of its journal."""
    match = NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


class Scan:
    """Reads a journal from where it stopped the last time, up to the last closed chunk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: Header | None = None
        self.processes: list[Process] = []
        self.end = 0
        """Bytes up to which everything is whole."""

    def read_on(self) -> Iterator[tuple[Closing, int]]:
        """Give the chunks that have come, and at which byte of the file each begins.

        A file that is not there has none; a line that is not whole, or damaged, ends the reading.

        Raises:
            RecordError: it is no journal.
            StorageError: it cannot be read.
        """
        with storage_errors(self.path), suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self.end)
            yield from self._read(file)

    def _read(self, file: BinaryIO) -> Iterator[tuple[Closing, int]]:
        position, frames, crc32 = self.end, 0, 0
        for line in file:
            position += len(line)
            if not line.endswith(b"\n"):
                return
            if self.header and not line.startswith((CLOSES, PROCESS)):
                frames, crc32 = frames + 1, zlib.crc32(line, crc32)
                continue
            closing = read_closing(line) if line.startswith(CLOSES) else None
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
            self.header = read_header(self.path, line)
            return True
        process = read_process(line)
        if process:
            self.processes.append(process)
        return process is not None


class Journal:
    """Appends to the journal of one rank, which no other process may write at the same time."""

    def __init__(self, path: Path, header: Header, process: Process) -> None:
        """Open it, make it where there is none, and cut off what stands behind its last closed chunk.

        Raises:
            OtherRunError: it is the journal of another plan; it is left as it is.
            RecordError: it is no journal.
            StorageError: it cannot be read or written.
        """
        self.path = path
        standing = Scan(path)
        for _ in standing.read_on():
            pass
        if standing.header and (found := differences(standing.header.plan, header.plan)):
            raise OtherRunError(path.parent, found)
        with storage_errors(path):
            # No buffer: what is written is the system's to keep, whatever becomes of this process.
            self._file = open_record(path, "r+" if standing.end else "w")
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

    def write(self, done: ChunkDone) -> None:
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
        self._put(lines + closing_line(done, lines, msgspec.structs.replace(done.spent, write=encoded + self._putting)))

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
