"""One process's share of a run: which frames it computes, computing them, and merging the journals of all processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from bdd100k_zoo.data.detections import PredictionsWriter
from bdd100k_zoo.errors import UnfinishedRunError
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.prediction.journal import Journal, Journals, journal_path
from bdd100k_zoo.prediction.launch import SINGLE_PROCESS, ProcessRank
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
    from collections.abc import Sequence
    from pathlib import Path

    from bdd100k_zoo.backends.protocol import Detector
    from bdd100k_zoo.data.images import Frame
    from bdd100k_zoo.prediction.journal import JournalHeader, ProcessInfo
    from bdd100k_zoo.progress import Progress

BATCHES_PER_CHUNK = 4
"""Enough that images of several shapes in one chunk still fill batches, few enough that little is computed again."""
MAX_READERS = 8
LONG_RUN_FRAMES = 20_000
"""From this many frames on, writing the predictions file takes long enough for a progress bar."""


def chunk_size(batch_size: int) -> int:
    """Return the number of frames in a chunk: some batches, or one frame where frames are computed one by one."""
    return 1 if batch_size == 1 else BATCHES_PER_CHUNK * batch_size


def shard_chunks(chunks: int, rank: int, world: int) -> range:
    """Return the chunks of one process: contiguous, of nearly equal number, none twice and none left out."""
    return range(rank * chunks // world, (rank + 1) * chunks // world)


def default_workers(device: str) -> int:
    """Return a number of reading threads that keeps a device busy: a CPU needs no more than one."""
    return 1 if device == "cpu" else min(MAX_READERS, os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class RunShard:
    """A process's share of a run."""

    folder: Path
    frames: Sequence[Frame]
    """All of the run, sorted by name."""
    place: ProcessRank = SINGLE_PROCESS
    workers: int | None = None
    """Threads that read ahead; None for what suits the device."""
    fresh: bool = False
    """The same command would start over."""
    hushed: bool = False
    """The process that started this one reports how much is kept."""

    def pending_chunks(self, header: JournalHeader, journals: Journals) -> list[int]:
        """Return the chunks of this process that no journal has."""
        mine = shard_chunks(header.chunks.count, self.place.rank, self.place.world)
        return [chunk for chunk in mine if not journals.has(chunk)]


def compute_shard(
    detector: Detector,
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
        KeyboardInterrupt: as it came; its text reports how much is done and kept.
        ZooError: whatever is in the way. What was done is kept, and reported.
    """
    chunks, pending = header.chunks, shard.pending_chunks(header, journals)
    mine = shard_chunks(chunks.count, shard.place.rank, shard.place.world)
    total, left = (sum(len(chunks.frames_of(chunk)) for chunk in some) for some in (mine, pending))
    workers = shard.workers or default_workers(header.facts.device)
    work = DetectionWork(shard.frames, chunks, pending, header.facts.batch_size or detector.batch_size, workers)
    title = "Predicting" if shard.place.world == 1 else f"Predicting, {shard.place}"
    try:
        with (
            Journal(journal_path(shard.folder, shard.place.rank), header, process) as journal,
            progress.task(title, total, "images", done=total - left) as task,
        ):
            detect_chunks(detector, work, journal.write, progress, task)
        return finish_run(shard, journals.look(), progress)
    except KeyboardInterrupt as interrupt:
        # Of several processes that are interrupted together, only the first one reports.
        saved = "" if shard.place.rank else _describe_saved(shard, journals)
        raise type(interrupt)(f"interrupted: {saved}" if saved else "") from None
    except BaseException:
        if saved := _describe_saved(shard, journals):
            progress.warn(saved)
        raise


def finish_run(shard: RunShard, journals: Journals, progress: Progress) -> RunRecord | None:
    """Merge the journals if they are complete; otherwise report what is missing, and return None."""
    if journals.complete:
        return assemble_run(shard.folder, progress)
    missing = len(shard.frames) - journals.frames
    progress.note(
        f"{shard.place} is done; {missing:,} of {len(shard.frames):,} images still missing; the last process to end "
        f"writes {shard.folder / PREDICTIONS_FILE}, and if one has died, the same command goes on"
    )
    return None


def _describe_saved(shard: RunShard, journals: Journals) -> str:
    return "" if shard.hushed else describe_saved_frames(journals.look(), len(shard.frames), fresh=shard.fresh)


def describe_saved_frames(journals: Journals, total: int, *, fresh: bool) -> str:
    """Report how many images of an interrupted run are done, and what resumes it; empty if none are."""
    if not journals.frames:
        return ""
    command = "the same command, without --fresh," if fresh else "the same command"
    done = f"{journals.frames:,} of {total:,} images are done and kept in {journals.folder}"
    return f"{done}; {command} goes on from there"


def check_run_complete(folder: Path, journals: Journals, frames: Sequence[Frame]) -> None:
    """Check that every frame of a run is done.

    Raises:
        UnfinishedRunError: some are missing; they are listed by their numbers, from 1, and names.
    """
    if journals.complete:
        return
    gaps = journals.missing() if journals.header else [range(len(frames))]
    missing = tuple(
        f"{gap.start + 1:,} to {gap.stop:,}: {frames[gap.start].name} to {frames[gap.stop - 1].name}"
        if len(gap) > 1
        else f"{gap.stop:,}: {frames[gap.start].name}"
        for gap in gaps
    )
    raise UnfinishedRunError(folder, len(frames), missing)


def assemble_run(folder: Path, progress: Progress) -> RunRecord | None:
    """Merge complete journals: write the predictions file, then the record, then remove the journals.

    Args:
        folder: the run's folder.
        progress: where to report.

    Returns:
        The record; None if another process is doing it, or has done it.

    Raises:
        InvalidFileError: a journal is damaged.
        StorageError: the disk is full. The journals stay.
    """
    with merge_lock(folder) as is_mine:
        journals = Journals(folder).look()
        if not is_mine or journals.header is None or not journals.complete:
            progress.note(f"another process puts {folder / PREDICTIONS_FILE} together")
            return None
        start = perf_counter()
        shown = progress if journals.frames >= LONG_RUN_FRAMES else NO_PROGRESS
        unreadable = _write_predictions(folder, journals, shown)
        record = _build_record(journals, journals.header, unreadable, perf_counter() - start)
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
        # First, so that no record of another run is ever beside these predictions.
        with storage_errors(folder / RUN_FILE):
            (folder / RUN_FILE).unlink(missing_ok=True)
        writer.finish()
    except BaseException:
        writer.abandon()
        raise
    return tuple(unreadable)


def _build_record(
    journals: Journals, header: JournalHeader, unreadable: tuple[Unreadable, ...], assembling: float
) -> RunRecord:
    spent, load = journals.spent, sum(process.load for process in journals.processes)
    return RunRecord(
        request=header.request,
        weights=header.weights,
        facts=header.facts,
        counts=RunCounts(images=journals.frames, unreadable=len(unreadable), detections=journals.detections),
        seconds=RunSeconds(
            load=load,
            decode=spent.decode,
            prepare=spent.prepare,
            detect=spent.detect,
            write=spent.write,
            assemble=assembling,
            total=load + spent.wall + assembling,
        ),
        unreadable=unreadable,
        started=min(process.started for process in journals.processes),
        processes=journals.ranks,
        busy=spent.detect / spent.wall if spent.wall else None,
        split_batches=journals.split,
    )
