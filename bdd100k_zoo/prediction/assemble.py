"""Journals → predictions file and record."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from bdd100k_zoo.data.detections import PredictionsWriter
from bdd100k_zoo.errors import UnfinishedRunError
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.prediction.journals import Journals
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
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bdd100k_zoo.data.images import Frame
    from bdd100k_zoo.prediction.run import RunPlan
    from bdd100k_zoo.progress import Progress, Task

LONG_RUN_FRAMES = 20_000
"""Frames from which on putting them together takes long enough for a bar."""


def assemble_run(folder: Path, options: Mapping[str, object], progress: Progress) -> RunRecord | None:
    """Put a run together whose journals are complete: predictions file, then record; then the journals go.

    Args:
        folder: the run's folder.
        options: the settings that were overridden, as the record is to hold them.
        progress: where to report.

    Returns:
        The record; None where another process is doing it, or has done it.

    Raises:
        RecordError: a journal is damaged.
        StorageError: the disk is full. The journals stay.
    """
    with merge_lock(folder) as mine:
        journals = Journals(folder).look()
        if not mine or journals.plan is None or not journals.complete:
            progress.note(f"another process puts {folder / PREDICTIONS_FILE} together")
            return None
        record = _write(folder, journals, journals.plan, options, progress)
        clean_run_folder(folder)
    return record


def missing_frames(journals: Journals, frames: Sequence[Frame]) -> tuple[str, ...]:
    """Say which frames of a run are not done, by their numbers from 1 and their names."""
    gaps = journals.missing() if journals.plan else [range(len(frames))]
    return tuple(
        f"{gap.start + 1:,} to {gap.stop:,}: {frames[gap.start].name} to {frames[gap.stop - 1].name}"
        if len(gap) > 1
        else f"{gap.stop:,}: {frames[gap.start].name}"
        for gap in gaps
    )


def check_run_complete(folder: Path, journals: Journals, frames: Sequence[Frame]) -> None:
    """Raise UnfinishedRunError where frames are missing, and name them."""
    if not (journals.plan and journals.complete):
        raise UnfinishedRunError(folder, len(frames), missing_frames(journals, frames))


def _write(
    folder: Path, journals: Journals, plan: RunPlan, options: Mapping[str, object], progress: Progress
) -> RunRecord:
    start = perf_counter()
    shown = progress if plan.frames >= LONG_RUN_FRAMES else NO_PROGRESS
    writer = PredictionsWriter(folder / PREDICTIONS_FILE)
    try:
        with shown.task("Writing", plan.frames, "images") as task:
            unreadable = _copy(journals, writer, task)
        with storage_errors(folder / RUN_FILE):  # the record of another run must never stand beside these predictions
            (folder / RUN_FILE).unlink(missing_ok=True)
        writer.finish()
    except BaseException:
        writer.abandon()
        raise
    record = _record(journals, plan, options, unreadable, perf_counter() - start)
    write_run(folder, record)
    return record


def _copy(journals: Journals, writer: PredictionsWriter, task: Task) -> tuple[Unreadable, ...]:
    unreadable = []
    for frame in journals.in_order():
        writer.write(frame.name, frame.detections)
        if frame.unreadable is not None:
            unreadable.append(Unreadable(frame.name, frame.unreadable))
        task.advance(1)
    return tuple(unreadable)


def _record(
    journals: Journals,
    plan: RunPlan,
    options: Mapping[str, object],
    unreadable: tuple[Unreadable, ...],
    assembling: float,
) -> RunRecord:
    first, spent = journals.processes[0], journals.spent
    load = sum(process.load for process in journals.processes)
    known = msgspec.structs.asdict(plan)
    return RunRecord(
        model=plan.model,
        config=first.config,
        config_sha256=known["config_sha256"],
        cfg_options=options,
        weights=first.weights,
        backend=known["backend"],
        device=first.device,
        device_name=first.device_name,
        precision=known["precision"],
        optimised=None if plan.optimised is UNSET else plan.optimised,
        ops=known["ops"],
        versions=first.versions,
        split=plan.split,
        image_roots=plan.image_roots,
        every=plan.every,
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
        frames_sha256=known["frames_sha256"],
        batch_size=known["batch_size"],
        threads=known["threads"],
        processes=journals.ranks,
        busy=spent.detect / spent.wall if spent.wall else None,
        split_batches=journals.split,
    )
