"""Images → predictions file: a run that is resumed where it stopped, by one process or by several."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from bdd100k_zoo.backends.protocol import requested_precision
from bdd100k_zoo.backends.selection import select_backend
from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.errors import ArtifactError, NoImagesError, WorkerFailedError
from bdd100k_zoo.files import sha256_of, storage_errors
from bdd100k_zoo.prediction.detector import build_weights_record, fetch_weights, random_weights_warning
from bdd100k_zoo.prediction.journal import Journals, ProcessInfo
from bdd100k_zoo.prediction.launch import JobRequest, launch_processes
from bdd100k_zoo.prediction.run import RunPlan, frames_digest, options_text, read_run
from bdd100k_zoo.prediction.run_folder import (
    RunFolderState,
    check_same_plan,
    clean_run_folder,
    default_run_folder,
    plan_from_record,
    read_run_digest,
    read_run_folder,
    remove_journals,
    resolve_input,
    run_folder_lock,
)
from bdd100k_zoo.prediction.sharding import (
    RunShard,
    assemble_run,
    check_run_complete,
    complete_plan,
    compute_shard,
    describe_saved_frames,
    finish_run,
)
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bdd100k_zoo.backends.protocol import Detector
    from bdd100k_zoo.backends.selection import Backend
    from bdd100k_zoo.hub.cache import Store, StoredFile
    from bdd100k_zoo.prediction.run import RunRecord
    from bdd100k_zoo.progress import Progress


@dataclass(frozen=True, kw_only=True)
class PredictRequest(JobRequest):
    """What a prediction run is asked to do; without ``out``, ``default_run_folder`` names its folder."""

    images: tuple[str, ...]
    """Folders, files, glob patterns, lists and videos; see ``find_images``."""
    every: int = 1
    """Of a video, take frames 0, ``every``, 2 ``every`` …"""
    split: str | None = None
    weights: Path | None = None
    """A checkpoint to use instead of the published one."""
    backend: str = "auto"
    """``mmdet3``, ``mmdet2``, or ``auto`` for the one that is installed."""

    @property
    def folder(self) -> Path:
        """The run's folder; raises StorageError."""
        return self.out or default_run_folder(self.model.name, self.images, self.split)


def predict(request: PredictRequest, store: Store, progress: Progress) -> RunRecord | None:
    """Run a model over images and write the run's folder: predictions file and record.

    What earlier processes of the same run have done is not done again; a run that is complete is left as it is.

    Returns:
        The run's record; None where this process is one of several, and others are not done yet.

    Raises:
        ZooError: whatever is in the way; images that cannot be read are counted instead.
    """
    run = _Run(request, store, progress)
    with run_folder_lock(run.folder, request.place.rank):
        state = run.read_folder()
        return run.reuse_finished(state) or run.compute(state)


def merge_run(request: PredictRequest, store: Store, progress: Progress) -> RunRecord | None:
    """Merge the journals in a run's folder, wherever they were written, and compute nothing.

    Raises:
        UnfinishedRunError: frames are missing; they are listed.
        ZooError: whatever else is in the way.
    """
    run = _Run(request, store, progress)
    with storage_errors(run.folder):
        exists = run.folder.is_dir()
    state = run.read_folder() if exists else RunFolderState(Journals(run.folder))
    if not state.finished:
        check_run_complete(run.folder, state.journals, run.frames)
    return run.reuse_finished(state) or state.finished


def predict_in_processes(
    request: PredictRequest, processes: int | None, arguments: Sequence[str], store: Store, progress: Progress
) -> RunRecord | None:
    """Do what ``predict`` does, in several processes on this machine, one for each GPU.

    What can be wrong for all of them is validated once up front.

    Args:
        request: what to do.
        processes: how many; None for as many as there are GPUs.
        arguments: those of the command line, which every process is given.
        store: the cache.
        progress: where to report.

    Raises:
        WorkerFailedError: they ended before the run was complete.
        ZooError: whatever else is in the way.
    """
    run = _Run(request, store, progress)
    with run_folder_lock(run.folder):
        state = run.read_folder()
        if record := run.reuse_finished(state):
            return record
        run.backend.import_backend()
        from bdd100k_zoo.backends.common.devices import process_count

        number = process_count(processes, request.device)
        run.prepare(state)
        if request.fresh:
            remove_journals(run.folder)
    if status := launch_processes(number, arguments, state.replaces if request.fresh else None):
        saved = describe_saved_frames(Journals(run.folder).look(), len(run.frames), fresh=request.fresh)
        if saved:
            progress.warn(saved)
        raise WorkerFailedError(run.folder, status)
    return read_run(run.folder)


def split_image_folder(root: Path, split: str) -> str:
    """Return the image folder of a split below a dataset root; raises NoImagesError, StorageError."""
    folder = root / "images" / "100k" / split
    with storage_errors(folder):
        found = folder.is_dir()
    if not found:
        raise NoImagesError(str(folder), "does not exist; a BDD100K root holds images/100k/val and images/100k/test")
    return str(folder)


class _Run:
    """One process's work on a request: its steps, from what is cheap to check to what takes long."""

    def __init__(self, request: PredictRequest, store: Store, progress: Progress) -> None:
        self._started, self._clock = datetime.now(timezone.utc), perf_counter()
        self._request, self._store, self._progress = request, store, progress
        self.frames = find_images(request.images, every=request.every)
        self.folder = request.folder
        self._plan = RunPlan(
            model=request.model.name,
            config_sha256=sha256_of(request.model.config_path),
            cfg_options=options_text(request.cfg_options),
            every=request.every,
            split=request.split,
            image_roots=tuple(map(resolve_input, request.images)),
            frames=len(self.frames),
            frames_sha256=frames_digest((frame.name, frame.stamp) for frame in self.frames),
            backend=UNSET if request.backend == "auto" else request.backend,
            precision=requested_precision(request.precision),
            batch_size=request.batch_size or UNSET,
        )

    def read_folder(self) -> RunFolderState:
        """Read what the folder holds; with --fresh, as if it were empty."""
        if self._request.fresh:
            return RunFolderState(Journals(self.folder), replaces=read_run_digest(self.folder))
        started = self._request.started
        return read_run_folder(self.folder, self._plan, started.replaceable if started else None)

    def reuse_finished(self, state: RunFolderState) -> RunRecord | None:
        """Return the run if nothing is left to be computed."""
        if state.finished and state.finished.frames_sha256:
            self._check_weights(plan_from_record(state.finished))
            self._progress.note(f"{self.folder} holds this run already, complete; --fresh makes it again")
            clean_run_folder(self.folder)
            return state.finished
        if not (state.journals.plan and state.journals.complete):
            return None
        self._check_weights(state.journals.plan)
        return assemble_run(self.folder, self._request.cfg_options, self._progress)

    def _check_weights(self, existing: RunPlan) -> None:
        """Compare a run's weights with the given or cached ones; without either, nothing is downloaded to compare."""
        artifact, stored = self._request.model.artifact("weights"), None
        if self._request.weights:
            stored = self._store.adopt(artifact, self._request.weights)
        else:
            with suppress(ArtifactError):
                stored = self._store.find(artifact)
        self._check_plan(existing, weights_sha256=stored.sha256 if stored else UNSET)

    def _check_plan(self, existing: RunPlan | None, **known: object) -> None:
        """Compare the plan, with what is known by now, with an existing one; raises RunMismatchError."""
        if existing:
            check_same_plan(self.folder, existing, msgspec.structs.replace(self._plan, **known))

    def compute(self, state: RunFolderState) -> RunRecord | None:
        """Compute what is left of this process's share."""
        request, journals = self._request, state.journals
        shard = RunShard(
            folder=self.folder,
            frames=self.frames,
            place=request.place,
            workers=request.workers,
            cfg_options=request.cfg_options,
            replaces=state.replaces,
            fresh=request.fresh,
            hushed=request.started is not None,
        )
        if journals.plan and not shard.pending_chunks(journals.plan, journals):
            return finish_run(shard, journals, self._progress)
        weights = self.prepare(state)
        detector = self._load(weights)
        if detector.facts.random_weights and request.place.rank == 0:
            self._progress.warn(random_weights_warning(weights))
        begun_with = journals.plan.batch_size if journals.plan else UNSET
        size = request.batch_size or (detector.batch_size if begun_with is UNSET else begun_with)
        known = msgspec.structs.replace(self._plan, weights_sha256=weights.sha256)
        plan = complete_plan(known, detector.facts, size)
        if journals.plan:
            check_same_plan(self.folder, journals.plan, plan)
        if request.fresh:
            remove_journals(self.folder, request.place.rank)
        process = ProcessInfo(
            config=request.model.config,
            weights=build_weights_record(weights, detector.facts),
            device=detector.facts.device,
            device_name=detector.facts.device_name,
            versions=detector.facts.versions,
            started=self._started.isoformat(timespec="seconds"),
            load=perf_counter() - self._clock,
        )
        return compute_shard(detector, shard, plan, process, journals, self._progress)

    def prepare(self, state: RunFolderState) -> StoredFile:
        """Check what is cheap to check, then fetch the weights and return them."""
        request, images = self._request, len(self.frames)
        reports = request.place.rank == 0 and not request.started  # one process for all
        if reports:
            so_far = f", {state.journals.frames:,} of them done already" if state.journals.frames else ""
            plural = "" if images == 1 else "s"
            self._progress.note(f"{request.model.name} on {images:,} image{plural}{so_far} → {self.folder}")
        backend = self.backend
        self._check_plan(state.plan, backend=backend.NAME)
        backend.check(request.model.config_path, self._device(), request.cfg_options, request.precision)
        weights = fetch_weights(request.model, request.weights, self._store, self._progress if reports else NO_PROGRESS)
        self._check_plan(state.plan, weights_sha256=weights.sha256)
        return weights

    @property
    def backend(self) -> Backend:
        """What computes; raises BackendError."""
        return select_backend(self._request.backend)

    def _load(self, weights: StoredFile) -> Detector:
        request, model = self._request, self._request.model
        return self.backend.load(
            model.name, model.config_path, weights.path, self._device(), request.cfg_options, request.precision
        )

    def _device(self) -> str:
        """Return the device to use: of several processes on a machine, each has its own GPU."""
        local_rank = self._request.place.local_rank
        if local_rank is None:
            return self._request.device
        self.backend.import_backend()
        from bdd100k_zoo.backends.common.devices import device_of_rank

        return device_of_rank(self._request.device, local_rank)
