"""Images → predictions file: a run that is resumed where it stopped, by one process or by several."""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bdd100k_zoo.backends.protocol import requested_precision
from bdd100k_zoo.backends.selection import select_backend
from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.errors import ArtifactError, WorkerFailedError
from bdd100k_zoo.files import sha256_of
from bdd100k_zoo.prediction.detector import build_weights_record, fetch_weights, random_weights_warning
from bdd100k_zoo.prediction.journal import JournalHeader, Journals, ProcessInfo
from bdd100k_zoo.prediction.launch import JobRequest, device_of_rank, launch_processes
from bdd100k_zoo.prediction.limits import check_limits
from bdd100k_zoo.prediction.run import RunRequest, check_same_run, compared, frames_digest, read_run, to_json_object
from bdd100k_zoo.prediction.run_folder import (
    RunFolderState,
    choose_run_folder,
    clean_run_folder,
    read_run_digest,
    read_run_folder,
    remove_journals,
    resolve_input,
    run_folder_lock,
)
from bdd100k_zoo.prediction.sharding import (
    RunShard,
    check_run_complete,
    chunk_size,
    compute_shard,
    describe_saved_frames,
    finish_run,
    merge_journals,
    report_saved_frames,
)
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bdd100k_zoo.backends.protocol import BackendDetector
    from bdd100k_zoo.data.images import FoundImages, Frame
    from bdd100k_zoo.hub.cache import Store, StoredFile
    from bdd100k_zoo.prediction.run import RunRecord
    from bdd100k_zoo.progress import Progress


@dataclass(frozen=True, kw_only=True)
class PredictRequest(JobRequest):
    """What a prediction run is asked to do; without ``out``, ``choose_run_folder`` chooses its folder."""

    images: tuple[str, ...]
    """Folders, files, glob patterns, lists and videos; see ``find_images``."""
    every: int = 1
    """Of a video, take frames 0, ``every``, 2 ``every`` …"""
    split: str | None = None
    min_score: float | None = None
    """Keep detections with at least this score, 0 to 1; None for what the model selects."""
    classes: tuple[str | int, ...] | None = None
    """Keep detections of these classes, by name, alias or index; None for all."""
    max_per_image: int | None = None
    """Keep this many of what is left, those with the highest scores; None for what the model selects."""
    weights: Path | None = None
    """A checkpoint to use instead of the published one."""
    backend: str = "auto"
    """``mmdet3``, ``mmdet2``, or ``auto`` for the one that is installed."""


class RunPlan(NamedTuple):
    """What a run is to do, as far as it is known before a model is loaded."""

    options: PredictRequest
    folder: Path
    frames: Sequence[Frame]
    asked: RunRequest
    started: datetime


def plan_run(options: PredictRequest, progress: Progress, found: FoundImages | None = None) -> RunPlan:
    """Find the images of a run and choose its folder.

    Args:
        options: what the run is asked to do.
        progress: where to report.
        found: the images of ``options.images``, or those of them to use, where several runs share them.

    Raises:
        ImagesError: there are no images, or two have the same name.
        ZooError: whatever else is in the way.
    """
    started = datetime.now(timezone.utc)
    limits = check_limits(options.min_score, options.classes, options.max_per_image)
    found = found or find_images(options.images, every=options.every)
    frames = found.frames
    asked = RunRequest(
        model=options.model.name,
        config=options.model.config,
        config_sha256=sha256_of(options.model.config_path),
        cfg_options=to_json_object(options.cfg_options),
        split=options.split,
        image_roots=tuple(map(resolve_input, options.images)),
        every=options.every,
        frames=len(frames),
        frames_sha256=frames_digest((frame.name, frame.stamp) for frame in frames),
        backend=None if options.backend == "auto" else options.backend,
        precision=requested_precision(options.precision),
        batch_size=options.batch_size,
        min_score=limits.min_score,
        classes=limits.classes,
        max_per_image=limits.max_per_image,
    )
    if (ignored := found.describe_ignored()) and _reports(options):
        progress.note(ignored)
    folder = options.out or (options.started.folder if options.started else None)
    if folder is None:
        ranks = options.place.world > 1
        folder, default = choose_run_folder(asked, ranks=ranks)
        if folder != default and not ranks and not folder.is_dir():
            progress.note(f"{default} holds a run of other images; this one is written to {folder}")
    return RunPlan(options, folder, frames, asked, started)


def predict(plan: RunPlan, store: Store, progress: Progress) -> RunRecord | None:
    """Run a model over images and write the run's folder: predictions file and record.

    What earlier processes of the same run have computed is not computed again; a complete run is left as it is.

    Returns:
        The run's record; None where this process is one of several, and others are not done yet.

    Raises:
        ZooError: whatever is in the way; images that cannot be read are counted instead.
    """
    request, folder = plan.options, plan.folder
    with run_folder_lock(folder, request.place.rank):
        state = _read_state(plan)
        if record := _reuse_finished(plan, state, store, progress):
            return record
        shard = RunShard(folder, plan.frames, request.place, request.workers)
        if state.journals.header and not shard.pending_chunks(state.journals.header, state.journals):
            return finish_run(shard, state.journals, progress)
        asked, weights = _fetch_weights(plan, state, store, progress)
        detector = _load_detector(request, weights, progress)
        header = _build_header(request, asked, state, weights, detector)
        if state.journals.header:
            check_same_run(folder, state.journals.header.compared(), header.compared())
        if request.fresh:
            remove_journals(folder, request.place.rank)
        load = (datetime.now(timezone.utc) - plan.started).total_seconds()
        process = ProcessInfo(started=plan.started.isoformat(timespec="seconds"), load=load)
        reports = nullcontext() if request.started else report_saved_frames(shard, progress, fresh=request.fresh)
        with reports:
            return compute_shard(detector, shard, header, process, state.journals, progress)


def merge_run(plan: RunPlan, store: Store, progress: Progress) -> RunRecord | None:
    """Merge the journals in a run's folder, wherever they were written, and compute nothing.

    Raises:
        InvalidFileError: frames are missing; they are listed.
        ZooError: whatever else is in the way.
    """
    state = _read_state(plan)
    if not state.finished:
        check_run_complete(plan.folder, state.journals, plan.frames)
    return _reuse_finished(plan, state, store, progress) or state.finished


def predict_in_processes(
    plan: RunPlan, processes: int | None, arguments: Sequence[str], store: Store, progress: Progress
) -> RunRecord | None:
    """Do what ``predict`` does, in several processes on this machine, one for each GPU.

    What can be wrong for all of them is validated once up front.

    Args:
        plan: what to do.
        processes: how many; None for as many as there are GPUs.
        arguments: those of the command line, which every process is given.
        store: the cache.
        progress: where to report.

    Raises:
        WorkerFailedError: they ended before the run was complete.
        ZooError: whatever else is in the way.
    """
    request, folder = plan.options, plan.folder
    with run_folder_lock(folder):
        state = _read_state(plan)
        if record := _reuse_finished(plan, state, store, progress):
            return record
        select_backend(request.backend).import_backend()
        from bdd100k_zoo.backends.common.devices import process_count

        number = process_count(processes, request.device)
        _fetch_weights(plan, state, store, progress)
        if request.fresh:
            remove_journals(folder)
    try:
        launch_processes(number, arguments, folder, state.replaces if request.fresh else None)
    except WorkerFailedError:
        if saved := describe_saved_frames(folder, len(plan.frames), fresh=request.fresh):
            progress.warn(saved)
        raise
    return read_run(folder)


# The steps, from what is cheap to check to what takes long


def _reports(options: PredictRequest) -> bool:
    """Return whether this process is the one of all that reports what they share."""
    return options.place.rank == 0 and not options.started


def _read_state(plan: RunPlan) -> RunFolderState:
    """Return what the folder holds; with --fresh, as if it were empty."""
    folder, started = plan.folder, plan.options.started
    if plan.options.fresh:
        return RunFolderState(Journals(), replaces=read_run_digest(folder))
    return read_run_folder(folder, compared(plan.asked), started.replaceable if started else None)


def _reuse_finished(plan: RunPlan, state: RunFolderState, store: Store, progress: Progress) -> RunRecord | None:
    """Return the run if nothing is left to compute; no model is loaded and no weights are downloaded to find out."""
    # Version 0.1.0 recorded no digest of the images: nothing shows that they are still the same.
    finished = state.finished if state.finished and state.finished.request.frames_sha256 else None
    if not (finished or state.journals.complete):
        return None
    options, folder = plan.options, plan.folder
    artifact, stored = options.model.artifact("weights"), None
    if options.weights:
        stored = store.adopt(artifact, options.weights)
    else:
        with suppress(ArtifactError):
            stored = store.find(artifact)
    if stored:
        _check_asked(plan, state, weights_sha256=stored.sha256)
    if not finished:
        return merge_journals(folder, progress)
    progress.note(f"{folder} holds this run already, complete; --fresh makes it again")
    clean_run_folder(folder)
    return finished


def _check_asked(plan: RunPlan, state: RunFolderState, **known: object) -> RunRequest:
    """Return the request with what is known by now; raises RunMismatchError if the folder's run differs in it."""
    asked = msgspec.structs.replace(plan.asked, **known)
    check_same_run(plan.folder, state.existing, compared(asked))
    return asked


def _fetch_weights(
    plan: RunPlan, state: RunFolderState, store: Store, progress: Progress
) -> tuple[RunRequest, StoredFile]:
    """Check what is cheap to check, then return the request, complete by now, and the weights."""
    options, done = plan.options, state.journals.frames
    backend = select_backend(options.backend)
    reports = _reports(options)
    if reports:
        images = f"{len(plan.frames):,} image{'' if len(plan.frames) == 1 else 's'}"
        so_far = f", {done:,} of them done already" if done else ""
        progress.note(f"{options.model.name} on {images}{so_far} → {plan.folder}")
    _check_asked(plan, state, backend=backend.NAME)
    backend.check(options.model.config_path, _device(options), options.cfg_options, options.precision)
    weights = fetch_weights(options.model, options.weights, store, progress if reports else NO_PROGRESS)
    return _check_asked(plan, state, backend=backend.NAME, weights_sha256=weights.sha256), weights


def _load_detector(options: PredictRequest, weights: StoredFile, progress: Progress) -> BackendDetector:
    model, backend = options.model, select_backend(options.backend)
    device = _device(options)
    detector = backend.load(model.name, model.config_path, weights.path, device, options.cfg_options, options.precision)
    if detector.facts.random_weights and options.place.rank == 0:
        progress.warn(random_weights_warning(weights))
    return detector


def _device(options: PredictRequest) -> str:
    """Return the device to use: of several processes on a machine, each has its own GPU; raises DeviceError."""
    if options.place.world == 1:
        return options.device
    select_backend(options.backend).import_backend()
    from bdd100k_zoo.backends.common.devices import cuda_count

    return device_of_rank(options.device, options.place, cuda_count(), os.environ)


def _build_header(
    options: PredictRequest, asked: RunRequest, state: RunFolderState, weights: StoredFile, detector: BackendDetector
) -> JournalHeader:
    """Return what decides the predictions: the request, and the facts of the loaded detector."""
    begun = state.journals.header
    size = options.batch_size or (begun and begun.facts.batch_size) or detector.batch_size
    return JournalHeader(
        request=asked,
        facts=msgspec.structs.replace(detector.facts, batch_size=size),
        weights=build_weights_record(weights, detector.facts),
        chunk_size=chunk_size(size),
        replaces=state.replaces,
    )
