"""All journals in the folder of a run: which chunks are done, whoever did them, and their frames in order."""

from __future__ import annotations

from array import array
from collections import Counter
from typing import TYPE_CHECKING

from bdd100k_zoo.errors import RecordError, RunMismatchError
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.prediction.journal import JOURNAL_NAME, JournalReader, StageSeconds, parse_frame_line
from bdd100k_zoo.prediction.run import run_plan_differences

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bdd100k_zoo.prediction.journal import ChunkSummary, FrameResult, JournalHeader, ProcessInfo
    from bdd100k_zoo.prediction.run import RunPlan

NOWHERE = -1


def journal_paths(folder: Path) -> list[Path]:
    """Find the journals in a folder, by rank; raises StorageError."""
    with storage_errors(folder):
        found = [(JOURNAL_NAME.fullmatch(path.name), path) for path in folder.glob("journal-*.jsonl")]
    return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]


class Journals:
    """What the journals in a folder hold together: of a chunk that several hold, the first that was seen counts.

    Memory holds two numbers for every chunk, and none for a frame.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frames = 0
        """How many are done."""
        self.detections = 0
        self.spent = StageSeconds()
        self.split: Counter[int] = Counter()
        """See ``journal_lines.Closing``."""
        self.plan: RunPlan | None = None
        """What all journals share; None where there is none."""
        self._scans: dict[Path, JournalReader] = {}
        self._paths: list[Path] = []
        self._at_work: set[int] = set()
        self._begins = array("q")
        """Of every chunk, the byte at which it begins in its file; NOWHERE for one that is not done."""
        self._owners = array("H")
        """Of every chunk that is done, the place of its file in ``_paths``."""

    @property
    def headers(self) -> list[JournalHeader]:
        """Give the first lines of all journals that are begun."""
        return [scan.header for scan in self._scans.values() if scan.header]

    @property
    def processes(self) -> list[ProcessInfo]:
        """Give all processes that have written, by journal."""
        return [process for scan in self._scans.values() for process in scan.processes]

    @property
    def ranks(self) -> int:
        """Count the ranks that did any of the chunks."""
        return len(self._at_work)

    @property
    def complete(self) -> bool:
        """Whether every chunk of the plan is done."""
        return self.plan is not None and NOWHERE not in self._begins

    def look(self) -> Journals:
        """Read what has come since the last look.

        Raises:
            OtherRunError: two journals are of different plans.
            RecordError: a file is no journal.
            StorageError: one cannot be read.
        """
        for path in journal_paths(self.folder):
            if path not in self._scans:
                self._scans[path] = JournalReader(path)
                self._paths.append(path)
            scan, owner = self._scans[path], self._paths.index(path)
            for closing, begin in scan.read_on():
                self._agree(scan)
                self._count(closing, begin, owner)
            self._agree(scan)
        return self

    def has(self, chunk: int) -> bool:
        """Tell whether a chunk is done."""
        return chunk < len(self._begins) and self._begins[chunk] != NOWHERE

    def missing(self) -> list[range]:
        """Give the places of the frames that are not done, as few ranges as there are gaps."""
        gaps: list[range] = []
        if self.plan is None:
            return gaps
        for chunk in range(self.plan.chunks.count):
            if not self.has(chunk):
                frames = self.plan.chunks.frames_of(chunk)
                joins = gaps and gaps[-1].stop == frames.start
                start = gaps.pop().start if joins else frames.start
                gaps.append(range(start, frames.stop))
        return gaps

    def in_order(self) -> Iterator[FrameResult]:
        """Give every frame that is done, in the order of the plan.

        Raises:
            RecordError: a frame cannot be read, or is not the one that belongs there.
            StorageError: a journal cannot be read.
        """
        begin = 0
        while begin < len(self._begins):
            end = self._end_of_stretch(begin)
            yield from self._stretch(range(begin, end))
            begin = end

    def remove(self) -> None:
        """Remove the journals; raises StorageError."""
        for path in journal_paths(self.folder):
            with storage_errors(path):
                path.unlink(missing_ok=True)

    def _agree(self, scan: JournalReader) -> None:
        """Hold a journal's plan against the first that was met, which the chunks are those of."""
        if scan.header is None or scan.header.plan is self.plan:
            return
        if self.plan is None:
            self.plan = scan.header.plan
            self._begins = array("q", [NOWHERE]) * self.plan.chunks.count
            self._owners = array("H", [0]) * self.plan.chunks.count
        elif found := run_plan_differences(self.plan, scan.header.plan):
            raise RunMismatchError(self.folder, tuple(f"{scan.path.name}: {each}" for each in found))

    def _count(self, closing: ChunkSummary, begin: int, owner: int) -> None:
        if not 0 <= closing.chunk < len(self._begins):
            raise RecordError(self._paths[owner], f"holds chunk {closing.chunk} of {len(self._begins)}")
        if self.has(closing.chunk):
            return
        self._begins[closing.chunk], self._owners[closing.chunk] = begin, owner
        self._at_work.add(owner)
        self.frames += closing.frames
        self.detections += closing.detections
        self.spent += closing.spent
        self.split.update(closing.split)

    def _end_of_stretch(self, begin: int) -> int:
        """Give the first chunk behind ``begin`` that stands in another file."""
        end = begin + 1
        while end < len(self._begins) and self._owners[end] == self._owners[begin]:
            end += 1
        return end

    def _stretch(self, chunks: range) -> Iterator[FrameResult]:
        path = self._paths[self._owners[chunks.start]]
        with storage_errors(path), path.open("rb") as file:
            for chunk in filter(self.has, chunks):
                file.seek(self._begins[chunk])
                for number in self.plan.chunks.frames_of(chunk) if self.plan else ():
                    frame = parse_frame_line(path, file.readline())
                    if frame.number != number:
                        raise RecordError(path, f"holds frame {frame.number} in the place of frame {number}")
                    yield frame
