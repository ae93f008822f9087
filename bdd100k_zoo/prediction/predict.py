"""Images → predictions file: a run that goes on where it was, alone or as one of several processes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from bdd100k_zoo.backends.protocol import requested_precision
from bdd100k_zoo.backends.selection import Backend, select_backend
from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.errors import ArtifactError, NoImagesError, WorkerFailedError
from bdd100k_zoo.files import sha256_of, storage_errors
from bdd100k_zoo.prediction import launch
from bdd100k_zoo.prediction.assemble import assemble_run, check_run_complete
from bdd100k_zoo.prediction.detector import build_weights_record, fetch_weights, random_weights_warning
from bdd100k_zoo.prediction.journal import ProcessInfo
from bdd100k_zoo.prediction.journals import Journals
from bdd100k_zoo.prediction.launch import SINGLE_PROCESS, LaunchInfo, ProcessRank
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
from bdd100k_zoo.prediction.share import RunShard, complete_plan, compute_shard, describe_saved_frames, finish_run
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bdd100k_zoo.backends.protocol import Detector
    from bdd100k_zoo.data.images import Frame
    from bdd100k_zoo.hub.cache import Store, StoredFile
    from bdd100k_zoo.prediction.run import RunRecord
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Model


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """What a prediction run is asked to do."""

    model: Model
    images: tuple[str, ...]
    """Folders, files, glob patterns, lists and videos; see ``inference.images.find_images``."""
    every: int = 1
    """Of a video, take frames 0, ``every``, 2 ``every`` …"""
    out: Path | None = None
    """The run's folder; None for the one that ``run_folder.default_folder`` names."""
    split: str | None = None
    weights: Path | None = None
    """A checkpoint to use instead of the published one."""
    device: str = "auto"
    precision: str = "auto"
    backend: str = "auto"
    """``mmdet3``, ``mmdet2``, or ``auto`` for the one that is installed."""
    batch_size: int | None = None
    """Images at once; None for what suits the device."""
    workers: int | None = None
    """Threads that read ahead; None for what suits the device."""
    cfg_options: Mapping[str, object] = field(default_factory=dict)
    fresh: bool = False
    """Start over, and replace whatever run stands in the folder."""
    place: ProcessRank = SINGLE_PROCESS
    """Which process of how many this one is."""
    started: LaunchInfo | None = None
    """What the process that started this one has seen to; None where a user started it."""

    @property
    def folder(self) -> Path:
        """The run's folder; raises StorageError."""
        return self.out or default_run_folder(self.model.name, self.images, self.split)

    def plan(self, frames: Sequence[Frame]) -> RunPlan:
        """What tells this run from another one, as far as it is known before it starts; raises StorageError."""
        return RunPlan(
            model=self.model.name,
            config_sha256=sha256_of(self.model.config_path),
            cfg_options=options_text(self.cfg_options),
            every=self.every,
            split=self.split,
            image_roots=tuple(map(resolve_input, self.images)),
            frames=len(frames),
            frames_sha256=frames_digest((frame.name, frame.stamp) for frame in frames),
            backend=UNSET if self.backend == "auto" else self.backend,
            precision=requested_precision(self.precision),
            batch_size=self.batch_size or UNSET,
        )


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
        standing = run.standing()
        return run.from_what_stands(standing) or run.compute(standing)


def merge_run(request: PredictRequest, store: Store, progress: Progress) -> RunRecord | None:
    """Put a run together from the journals in its folder, wherever they were written, and compute nothing.

    Raises:
        UnfinishedRunError: frames are missing; they are named.
        ZooError: whatever else is in the way.
    """
    run = _Run(request, store, progress)
    with storage_errors(run.folder):
        there = run.folder.is_dir()
    standing = run.standing() if there else RunFolderState(Journals(run.folder))
    if not standing.finished:
        check_run_complete(run.folder, standing.journals, run.frames)
    return run.from_what_stands(standing) or standing.finished


def predict_in_processes(
    request: PredictRequest, processes: int | None, arguments: Sequence[str], store: Store, progress: Progress
) -> RunRecord | None:
    """Do as ``predict`` does, by several processes on this machine, one for each GPU.

    What can be wrong for all of them is seen to before.

    Args:
        request: what to do.
        processes: how many; None for as many as there are GPUs.
        arguments: those of the command line, which every process is given.
        store: the cache.
        progress: where to report.

    Raises:
        ProcessesError: they ended before the run was complete.
        ZooError: whatever else is in the way.
    """
    run = _Run(request, store, progress)
    with run_folder_lock(run.folder):
        standing = run.standing()
        if record := run.from_what_stands(standing):
            return record
        number = run.processes(processes)
        run.prepare(standing)
        if request.fresh:
            remove_journals(run.folder)
    status = launch.launch_processes(number, arguments, standing.replaces if request.fresh else None)
    if status:
        run.say_kept()
        raise WorkerFailedError(run.folder, status)
    return read_run(run.folder)


def split_image_folder(root: Path, split: str) -> str:
    """Give the image folder of a split below a dataset root; raises NoImagesError, StorageError."""
    folder = root / "images" / "100k" / split
    with storage_errors(folder):
        found = folder.is_dir()
    if not found:
        raise NoImagesError(str(folder), "does not exist; a BDD100K root holds images/100k/val and images/100k/test")
    return str(folder)


class _Run:
    """One process's work on a request, from what is cheap to check to what takes long."""

    def __init__(self, request: PredictRequest, store: Store, progress: Progress) -> None:
        self.started, self._clock = datetime.now(timezone.utc), perf_counter()
        self._request, self._store, self._progress = request, store, progress
        self.frames = find_images(request.images, every=request.every)
        self.folder = request.folder
        self._plan = request.plan(self.frames)

    def standing(self) -> RunFolderState:
        """Look at the folder; with --fresh, as if nothing stood there."""
        if self._request.fresh:
            return RunFolderState(Journals(self.folder), replaces=read_run_digest(self.folder))
        started = self._request.started
        return read_run_folder(self.folder, self._plan, started.replaceable if started else None)

    def from_what_stands(self, standing: RunFolderState) -> RunRecord | None:
        """Give the run where nothing is left to be computed; None where something is."""
        if standing.finished and standing.finished.frames_sha256:
            self._check_weights(plan_from_record(standing.finished))
            self._progress.note(f"{self.folder} holds this run already, complete; --fresh makes it again")
            clean_run_folder(self.folder)
            return standing.finished
        if not (standing.journals.plan and standing.journals.complete):
            return None
        self._check_weights(standing.journals.plan)
        return assemble_run(self.folder, self._request.cfg_options, self._progress)

    def compute(self, standing: RunFolderState) -> RunRecord | None:
        """Compute what is left of this process's share."""
        journals, part = standing.journals, self._part(standing)
        if journals.plan and not part.left(journals.plan, journals):
            return finish_run(part, journals, self._progress)
        weights = self.prepare(standing)
        detector = self._load(weights)
        if detector.facts.random_weights and self._request.place.rank == 0:
            self._progress.warn(random_weights_warning(weights))
        plan = self._full_plan(detector, weights, journals.plan)
        if self._request.fresh:
            remove_journals(self.folder, self._request.place.rank)
        return compute_shard(detector, part, plan, self._process(weights, detector), journals, self._progress)

    def prepare(self, standing: RunFolderState) -> StoredFile:
        """See to what is cheap to check first and what is downloaded last; give the weights."""
        request, images = self._request, len(self.frames)
        speaks = request.place.rank == 0 and not request.started  # one for all
        if speaks:
            so_far = f", {standing.journals.frames:,} of them done already" if standing.journals.frames else ""
            plural = "" if images == 1 else "s"
            self._progress.note(f"{request.model.name} on {images:,} image{plural}{so_far} → {self.folder}")
        backend = self._backend()
        if standing.plan:
            check_same_plan(self.folder, standing.plan, msgspec.structs.replace(self._plan, backend=backend.NAME))
        backend.check(request.model.config_path, self._device(), request.cfg_options, request.precision)
        weights = fetch_weights(request.model, request.weights, self._store, self._progress if speaks else NO_PROGRESS)
        if standing.plan:
            check_same_plan(
                self.folder, standing.plan, msgspec.structs.replace(self._plan, weights_sha256=weights.sha256)
            )
        return weights

    def processes(self, wanted: int | None) -> int:
        """Give the number of processes to start: one for each GPU that is wanted, or as many as are wanted on the CPU.

        Raises:
            DeviceError: there are fewer GPUs.
        """
        self._backend().import_backend()
        from bdd100k_zoo.backends.common.devices import process_count

        return process_count(wanted, self._request.device)

    def say_kept(self) -> None:
        """Say how much is done of a run whose processes have ended early."""
        journals = Journals(self.folder).look()
        if kept := describe_saved_frames(journals, len(self.frames), fresh=self._request.fresh):
            self._progress.warn(kept)

    def _part(self, standing: RunFolderState) -> RunShard:
        request = self._request
        return RunShard(
            folder=self.folder,
            frames=self.frames,
            place=request.place,
            workers=request.workers,
            cfg_options=request.cfg_options,
            replaces=standing.replaces,
            fresh=request.fresh,
            hushed=request.started is not None,
        )

    def _backend(self) -> Backend:
        """Give the backend to compute with; raises BackendError."""
        return select_backend(self._request.backend)

    def _load(self, weights: StoredFile) -> Detector:
        request, model = self._request, self._request.model
        return self._backend().load(
            model.name, model.config_path, weights.path, self._device(), request.cfg_options, request.precision
        )

    def _full_plan(self, detector: Detector, weights: StoredFile, standing: RunPlan | None) -> RunPlan:
        """Add what the detector tells to the plan, and hold the standing one against it; raises OtherRunError."""
        known = msgspec.structs.replace(self._plan, weights_sha256=weights.sha256)
        begun_with = standing.batch_size if standing else UNSET
        size = self._request.batch_size or (begun_with if isinstance(begun_with, int) else detector.batch_size)
        full = complete_plan(known, detector.facts, size)
        if standing:
            check_same_plan(self.folder, standing, full)
        return full

    def _device(self) -> str:
        """Give the device to ask for: of several processes on a machine, each its own GPU."""
        local_rank = self._request.place.local_rank
        if local_rank is None:
            return self._request.device
        self._backend().import_backend()
        from bdd100k_zoo.backends.common.devices import device_of_rank

        return device_of_rank(self._request.device, local_rank)

    def _check_weights(self, standing: RunPlan) -> None:
        """Hold a run's weights against those that are at hand; where none are, nothing is downloaded to find out."""
        artifact = self._request.model.artifact("weights")
        stored = None
        if self._request.weights:
            stored = self._store.adopt(artifact, self._request.weights)
        else:
            with suppress(ArtifactError):
                stored = self._store.find(artifact)
        known = stored.sha256 if stored else UNSET
        check_same_plan(self.folder, standing, msgspec.structs.replace(self._plan, weights_sha256=known))

    def _process(self, weights: StoredFile, detector: Detector) -> ProcessInfo:
        return ProcessInfo(
            config=self._request.model.config,
            weights=build_weights_record(weights, detector.facts),
            device=detector.facts.device,
            device_name=detector.facts.device_name,
            versions=detector.facts.versions,
            started=self.started.isoformat(timespec="seconds"),
            load=perf_counter() - self._clock,
        )
