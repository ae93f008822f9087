"""One process's share of a run: which frames it computes, computing them, and merging the journals of all processes."""

from __future__ import annotations

from contextlib import closing, contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bdd100k_zoo.data.detections import PredictionsWriter
from bdd100k_zoo.errors import InvalidFileError, list_first
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.prediction.exports import remove_exports
from bdd100k_zoo.prediction.journal import Journal, journal_path, read_journals
from bdd100k_zoo.prediction.launch import SINGLE_PROCESS, ProcessRank, default_workers
from bdd100k_zoo.prediction.limits import Limits
from bdd100k_zoo.prediction.pipeline import DetectionWork, detect_chunks
from bdd100k_zoo.prediction.run import (
    PREDICTIONS_FILE,
    RUN_FILE,
    RunCounts,
    RunRecord,
    RunSeconds,
    Unreadable,
    write_run,
)
from bdd100k_zoo.prediction.run_folder import clean_run_folder, merge_lock
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bdd100k_zoo.backends.protocol import BackendDetector
    from bdd100k_zoo.data.images import Frame
    from bdd100k_zoo.prediction.journal import JournalHeader, Journals, ProcessInfo
    from bdd100k_zoo.progress import Progress

BATCHES_PER_CHUNK = 4
"""Enough that images of several shapes in one chunk still fill batches, few enough that little is computed again."""
LONG_RUN_FRAMES = 20_000
"""From this many frames on, writing the predictions file takes long enough for a progress bar."""


def chunk_size(batch_size: int) -> int:
    """Return the number of frames in a chunk: some batches, or one frame where frames are computed one by one."""
    return 1 if batch_size == 1 else BATCHES_PER_CHUNK * batch_size


def shard_chunks(chunks: int, rank: int, world: int) -> range:
    """Return the chunks of one process: contiguous, of nearly equal number, none twice and none left out."""
    return range(rank * chunks // world, (rank + 1) * chunks // world)


class RunShard(NamedTuple):
    """A process's share of a run."""

    folder: Path
    frames: Sequence[Frame]
    """All of the run, sorted by name."""
    place: ProcessRank = SINGLE_PROCESS
    workers: int | None = None
    """Threads that read ahead; None for ``default_workers``."""

    def chunks(self, header: JournalHeader) -> range:
        """Return the chunks of this process."""
        return shard_chunks(header.chunks.count, self.place.rank, self.place.world)

    def pending_chunks(self, header: JournalHeader, journals: Journals) -> list[int]:
        """Return the chunks of this process that no journal has."""
        return [chunk for chunk in self.chunks(header) if not journals.has(chunk)]


def compute_shard(
    detector: BackendDetector,
    shard: RunShard,
    header: JournalHeader,
    process: ProcessInfo,
    journals: Journals,
    progress: Progress,
) -> RunRecord | None:
    """Compute the frames of a share that are not done yet; merge the journals if no other process has any left.

    Args:
        detector: what finds the objects.
        shard: which frames, and where.
        header: all that decides the predictions.
        process: what to record about this process.
        journals: what was done when the process began.
        progress: where to report.

    Returns:
        The run's record; None while other processes are not done.

    Raises:
        ZooError: whatever is in the way. What was done is kept.
    """
    chunks, pending = header.chunks, shard.pending_chunks(header, journals)
    total, left = (sum(len(chunks.frames_of(chunk)) for chunk in some) for some in (shard.chunks(header), pending))
    workers = shard.workers or default_workers(header.facts.device, shard.place)
    batch_size, asked = header.facts.batch_size or detector.batch_size, header.request
    limits = Limits(asked.min_score, asked.classes, asked.max_per_image)
    work = DetectionWork(shard.frames, chunks, pending, batch_size, workers, limits)
    title = "Predicting" if shard.place.world == 1 else f"Predicting, {shard.place}"
    with (
        Journal(journal_path(shard.folder, shard.place.rank), header, process) as journal,
        progress.task(title, total, "images", done=total - left) as task,
        closing(detect_chunks(detector, work, progress, task)) as results,
    ):
        for result in results:
            journal.write(result)
    return finish_run(shard, read_journals(shard.folder), progress)


@contextmanager
def report_saved_frames(shard: RunShard, progress: Progress, *, fresh: bool = False) -> Iterator[None]:
    """Where the block fails, warn how many images of the run are done, and what resumes it; so in an interrupt's text.

    ``fresh`` states that the same command would start over.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        # Of several processes that are interrupted together, only the first one reports.
        saved = "" if shard.place.rank else describe_saved_frames(shard.folder, len(shard.frames), fresh=fresh)
        raise type(interrupt)(f"interrupted: {saved}" if saved else "") from None
    except BaseException:
        if saved := describe_saved_frames(shard.folder, len(shard.frames), fresh=fresh):
            progress.warn(saved)
        raise


def describe_saved_frames(folder: Path, total: int, *, fresh: bool) -> str:
    """Return how many images of an interrupted run are done, and what resumes it; empty if none are."""
    done = read_journals(folder).frames
    if not done:
        return ""
    command = "the same command, without --fresh," if fresh else "the same command"
    return f"{done:,} of {total:,} images are done and kept in {folder}; {command} resumes from there"


def finish_run(shard: RunShard, journals: Journals, progress: Progress) -> RunRecord | None:
    """Merge the journals if they are complete; otherwise report how many images are missing, and return None."""
    if journals.complete:
        return merge_journals(shard.folder, progress)
    missing = len(shard.frames) - journals.frames
    progress.note(
        f"{shard.place} is done; {missing:,} of {len(shard.frames):,} images are still missing; the last process "
        f"to end writes {shard.folder / PREDICTIONS_FILE}, and if one was killed, the same command resumes its share"
    )
    return None


def check_run_complete(folder: Path, journals: Journals, frames: Sequence[Frame]) -> None:
    """Check that every frame of a run is done.

    Raises:
        InvalidFileError: some are missing; they are listed by their numbers, from 1, and names.
    """
    if journals.complete:
        return
    gaps = journals.missing() if journals.header else [range(len(frames))]
    missing = [
        f"{gap.start + 1:,} to {gap.stop:,}: {frames[gap.start].name} to {frames[gap.stop - 1].name}"
        if len(gap) > 1
        else f"{gap.stop:,}: {frames[gap.start].name}"
        for gap in gaps
    ]
    raise InvalidFileError(
        folder,
        f"{sum(map(len, gaps)):,} of {len(frames):,} frames are missing:{list_first(missing, what='ranges')}",
        "the same command without --merge computes them; or copy the other journals into the folder",
    )


def merge_journals(folder: Path, progress: Progress) -> RunRecord | None:
    """Merge complete journals: write the predictions file, then the record, then remove the journals.

    Args:
        folder: the run's folder.
        progress: where to report.

    Returns:
        The record; None if another process is merging them, or has merged them.

    Raises:
        StorageError: the disk is full. The journals stay.
    """
    with merge_lock(folder) as is_mine:
        journals = read_journals(folder)
        if not is_mine or not journals.complete:
            progress.note(f"another process merges the journals into {folder / PREDICTIONS_FILE}")
            return None
        start = perf_counter()
        shown = progress if journals.frames >= LONG_RUN_FRAMES else NO_PROGRESS
        unreadable = _write_predictions(folder, journals, shown)
        record = _build_record(journals, unreadable, perf_counter() - start)
        write_run(folder, record)
        clean_run_folder(folder)
    return record


def _write_predictions(folder: Path, journals: Journals, progress: Progress) -> tuple[Unreadable, ...]:
    """Write the predictions file, remove the record of another run, and return the unreadable images."""
    writer, unreadable = PredictionsWriter(folder / PREDICTIONS_FILE), []
    try:
        with progress.task("Writing", journals.frames, "images") as task:
            for frame in journals.in_order():
                writer.write(frame.name, frame.detections)
                if frame.unreadable is not None:
                    unreadable.append(Unreadable(frame.name, frame.unreadable))
                task.advance(1)
        # First, so that no record or export of another run is ever beside these predictions.
        with storage_errors(folder / RUN_FILE):
            (folder / RUN_FILE).unlink(missing_ok=True)
        remove_exports(folder)
        writer.finish()
    except BaseException:
        writer.abandon()
        raise
    return tuple(unreadable)


def _build_record(journals: Journals, unreadable: tuple[Unreadable, ...], merging: float) -> RunRecord:
    header, spent, load = journals.headers[0], journals.spent, sum(process.load for process in journals.processes)
    stages = {name: seconds for name, seconds in msgspec.structs.asdict(spent).items() if name != "wall"}
    return RunRecord(
        request=header.request,
        weights=header.weights,
        facts=header.facts,
        counts=RunCounts(images=journals.frames, unreadable=len(unreadable), detections=journals.detections),
        seconds=RunSeconds(**stages, load=load, assemble=merging, total=load + spent.wall + merging),
        unreadable=unreadable,
        started=min(process.started for process in journals.processes),
        processes=journals.ranks,
        busy=spent.detect / spent.wall if spent.wall else None,
        split_batches=journals.split,
    )
