"""Images → predictions file: a run that is resumed where it stopped, by one process or by several."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec

from bdd100k_zoo.backends.protocol import requested_precision
from bdd100k_zoo.backends.selection import select_backend
from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.errors import ArtifactError, NoImagesError, WorkerFailedError
from bdd100k_zoo.files import sha256_of, storage_errors
from bdd100k_zoo.prediction.detector import build_weights_record, fetch_weights, random_weights_warning
from bdd100k_zoo.prediction.journal import JournalHeader, Journals, ProcessInfo
from bdd100k_zoo.prediction.launch import JobRequest, launch_processes
from bdd100k_zoo.prediction.run import RunRequest, compared, frames_digest, read_run, to_json_object
from bdd100k_zoo.prediction.run_folder import (
    RunFolderState,
    check_same_run,
    clean_run_folder,
    default_run_folder,
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
    chunk_size,
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
        raise WorkerFailedError(
            f"the processes that shared the run in {run.folder} ended with status {status}",
            "the first error above says why; the same command resumes with what is missing",
            status,
        )
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

    def __init__(self, options: PredictRequest, store: Store, progress: Progress) -> None:
        self._started, self._clock = datetime.now(timezone.utc), perf_counter()
        self._options, self._store, self._progress = options, store, progress
        self.frames = find_images(options.images, every=options.every)
        self.folder = options.folder
        self._request = RunRequest(
            model=options.model.name,
            config=options.model.config,
            config_sha256=sha256_of(options.model.config_path),
            cfg_options=to_json_object(options.cfg_options),
            split=options.split,
            image_roots=tuple(map(resolve_input, options.images)),
            every=options.every,
            frames=len(self.frames),
            frames_sha256=frames_digest((frame.name, frame.stamp) for frame in self.frames),
            backend=None if options.backend == "auto" else options.backend,
            precision=requested_precision(options.precision),
            batch_size=options.batch_size,
        )
        self._shard = RunShard(
            folder=self.folder,
            frames=self.frames,
            place=options.place,
            workers=options.workers,
            fresh=options.fresh,
            hushed=options.started is not None,
        )

    @property
    def backend(self) -> Backend:
        """What computes. A finished run needs none, so it is not chosen earlier; raises BackendError."""
        return select_backend(self._options.backend)

    def read_folder(self) -> RunFolderState:
        """Read what the folder holds; with --fresh, as if it were empty."""
        if self._options.fresh:
            return RunFolderState(Journals(self.folder), replaces=read_run_digest(self.folder))
        started = self._options.started
        return read_run_folder(self.folder, compared(self._request), started.replaceable if started else None)

    def reuse_finished(self, state: RunFolderState) -> RunRecord | None:
        """Return the run if nothing is left to be computed; neither a model nor weights are loaded to find out."""
        if state.finished and state.finished.request.frames_sha256:
            self._check_known_weights(state)
            self._progress.note(f"{self.folder} holds this run already, complete; --fresh makes it again")
            clean_run_folder(self.folder)
            return state.finished
        if not state.journals.complete:
            return None
        self._check_known_weights(state)
        return assemble_run(self.folder, self._progress)

    def _check_known_weights(self, state: RunFolderState) -> None:
        """Compare a run's weights with the given or cached ones; without either, nothing is downloaded to compare."""
        artifact, stored = self._options.model.artifact("weights"), None
        if self._options.weights:
            stored = self._store.adopt(artifact, self._options.weights)
        else:
            with suppress(ArtifactError):
                stored = self._store.find(artifact)
        if stored:
            self._add_known(state, weights_sha256=stored.sha256)

    def _add_known(self, state: RunFolderState, **known: object) -> None:
        """Add to the request what is known by now, and compare it again; raises RunMismatchError."""
        self._request = msgspec.structs.replace(self._request, **known)
        check_same_run(self.folder, state.existing, compared(self._request))

    def compute(self, state: RunFolderState) -> RunRecord | None:
        """Compute what is left of this process's share."""
        options, journals = self._options, state.journals
        if journals.header and not self._shard.pending_chunks(journals.header, journals):
            return finish_run(self._shard, journals, self._progress)
        weights = self.prepare(state)
        detector = self._load(weights)
        if detector.facts.random_weights and options.place.rank == 0:
            self._progress.warn(random_weights_warning(weights))
        header = self._header(state, weights, detector)
        if journals.header:
            check_same_run(self.folder, journals.header.compared(), header.compared())
        if options.fresh:
            remove_journals(self.folder, options.place.rank)
        process = ProcessInfo(started=self._started.isoformat(timespec="seconds"), load=perf_counter() - self._clock)
        return compute_shard(detector, self._shard, header, process, journals, self._progress)

    def prepare(self, state: RunFolderState) -> StoredFile:
        """Check what is cheap to check, then fetch the weights and return them."""
        options, images = self._options, len(self.frames)
        reports = options.place.rank == 0 and not options.started  # one process for all
        if reports:
            so_far = f", {state.journals.frames:,} of them done already" if state.journals.frames else ""
            plural = "" if images == 1 else "s"
            self._progress.note(f"{options.model.name} on {images:,} image{plural}{so_far} → {self.folder}")
        self._add_known(state, backend=self.backend.NAME)
        self.backend.check(options.model.config_path, self._device(), options.cfg_options, options.precision)
        weights = fetch_weights(options.model, options.weights, self._store, self._progress if reports else NO_PROGRESS)
        self._add_known(state, weights_sha256=weights.sha256)
        return weights

    def _load(self, weights: StoredFile) -> Detector:
        options, model = self._options, self._options.model
        return self.backend.load(
            model.name, model.config_path, weights.path, self._device(), options.cfg_options, options.precision
        )

    def _device(self) -> str:
        """Return the device to use: of several processes on a machine, each has its own GPU."""
        local_rank = self._options.place.local_rank
        if local_rank is None:
            return self._options.device
        self.backend.import_backend()
        from bdd100k_zoo.backends.common.devices import device_of_rank

        return device_of_rank(self._options.device, local_rank)

    def _header(self, state: RunFolderState, weights: StoredFile, detector: Detector) -> JournalHeader:
        """Return what decides the predictions: the request, and the facts of the loaded detector."""
        begun = state.journals.header
        size = self._options.batch_size or (begun and begun.facts.batch_size) or detector.batch_size
        return JournalHeader(
            request=self._request,
            facts=msgspec.structs.replace(detector.facts, batch_size=size),
            weights=build_weights_record(weights, detector.facts),
            chunk_size=chunk_size(size),
            replaces=state.replaces,
        )
