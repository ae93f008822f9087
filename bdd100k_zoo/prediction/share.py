"""One process's share of a run: what no journal holds yet is computed, and the last process puts the run together."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from bdd100k_zoo.prediction.assemble import assemble_run
from bdd100k_zoo.prediction.journal import Journal, JournalHeader, journal_path
from bdd100k_zoo.prediction.launch import SINGLE_PROCESS, ProcessRank
from bdd100k_zoo.prediction.pipeline import DetectionWork, detect_chunks
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE
from bdd100k_zoo.prediction.sharding import chunk_size, shard_chunks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bdd100k_zoo.backends.protocol import Detector, DetectorFacts
    from bdd100k_zoo.data.images import Frame
    from bdd100k_zoo.prediction.journal import ProcessInfo
    from bdd100k_zoo.prediction.journals import Journals
    from bdd100k_zoo.prediction.run import RunPlan, RunRecord
    from bdd100k_zoo.progress import Progress

MAX_READERS = 8


@dataclass(frozen=True, kw_only=True)
class RunShard:
    """A process's part in a run."""

    folder: Path
    frames: Sequence[Frame]
    """All of the run, sorted by name."""
    place: ProcessRank = SINGLE_PROCESS
    workers: int | None = None
    """Threads that read ahead; None for what suits the device."""
    cfg_options: Mapping[str, object] = field(default_factory=dict)
    replaces: str = ""
    """See ``journal_lines.Header``."""
    fresh: bool = False
    """The same command would start over."""
    hushed: bool = False
    """The process that started this one says how much is kept."""

    def left(self, plan: RunPlan, journals: Journals) -> list[int]:
        """Give the chunks of this process that no journal holds."""
        mine = shard_chunks(plan.chunks.count, self.place.rank, self.place.world)
        return [chunk for chunk in mine if not journals.has(chunk)]

    def kept(self, journals: Journals) -> str:
        """Say what is kept of a run that is cut short; nothing where another process says it."""
        return "" if self.hushed else describe_saved_frames(journals.look(), len(self.frames), fresh=self.fresh)


def complete_plan(known: RunPlan, facts: DetectorFacts, batch_size: int) -> RunPlan:
    """Add to a plan what only a loaded detector tells."""
    kind = facts.device.partition(":")[0]
    return msgspec.structs.replace(
        known,
        backend=facts.backend,
        device=f"{kind} ({facts.device_name})" if facts.device_name else kind,
        ops=facts.ops,
        precision=facts.precision,
        optimised=facts.optimised,
        batch_size=batch_size,
        chunk_size=chunk_size(batch_size),
        threads=facts.threads,
        versions={name: version for name, version in facts.versions.items() if name != "python"},
    )


def default_workers(device: str) -> int:
    """Give a number of reading threads that keeps a device busy: a CPU needs no more than one."""
    return 1 if device == "cpu" else min(MAX_READERS, os.cpu_count() or 1)


def compute_shard(
    detector: Detector, part: RunShard, plan: RunPlan, process: ProcessInfo, journals: Journals, progress: Progress
) -> RunRecord | None:
    """Compute the frames of a share that are not done yet; put the run together if no other process has any left.

    Args:
        detector: what finds the objects.
        part: which frames, and where.
        plan: all that the run is made by.
        process: what to record about this process.
        journals: what was done when the process began.
        progress: where to report.

    Returns:
        The run's record; None where other processes are not done yet.

    Raises:
        KeyboardInterrupt: as it came, and says how much is done and kept.
        ZooError: whatever is in the way. What was done is kept, and said to be.
    """
    todo = part.left(plan, journals)
    mine = shard_chunks(plan.chunks.count, part.place.rank, part.place.world)
    total, left = (sum(len(plan.chunks.frames_of(chunk)) for chunk in chunks) for chunks in (mine, todo))
    title = "Predicting" if part.place.world == 1 else f"Predicting, {part.place}"
    work = DetectionWork(
        part.frames, plan.chunks, todo, _batch_size(plan), part.workers or default_workers(process.device)
    )
    path = journal_path(part.folder, part.place.rank)
    try:
        with (
            Journal(path, JournalHeader(plan=plan, replaces=part.replaces), process) as journal,
            progress.task(title, total, "images", done=total - left) as task,
        ):
            detect_chunks(detector, work, journal.write, progress, task)
        return finish_run(part, journals.look(), progress)
    except KeyboardInterrupt as interrupt:
        # Of several processes that are interrupted together, one speaks.
        kept = "" if part.place.rank else part.kept(journals)
        raise type(interrupt)(f"interrupted: {kept}" if kept else "") from None
    except BaseException:
        if kept := part.kept(journals):
            progress.warn(kept)
        raise


def finish_run(part: RunShard, journals: Journals, progress: Progress) -> RunRecord | None:
    """Put the run together if its journals are complete; say what is missing otherwise, and give None."""
    if journals.complete:
        return assemble_run(part.folder, part.cfg_options, progress)
    missing = len(part.frames) - journals.frames
    progress.note(
        f"{part.place} is done; {missing:,} of {len(part.frames):,} images still missing; the last process to end "
        f"writes {part.folder / PREDICTIONS_FILE}, and if one has died, the same command goes on"
    )
    return None


def _batch_size(plan: RunPlan) -> int:
    if not isinstance(plan.batch_size, int):
        raise TypeError("a detector's plan has a batch size")
    return plan.batch_size


def describe_saved_frames(journals: Journals, total: int, *, fresh: bool) -> str:
    """Say how many images are done of a run that is cut short, and what goes on with it; nothing where none are."""
    if not journals.frames:
        return ""
    command = "the same command, without --fresh," if fresh else "the same command"
    done = f"{journals.frames:,} of {total:,} images are done and kept in {journals.folder}"
    return f"{done}; {command} goes on from there"
