"""Models → verdicts: weights, predictions, scores and speed of each model, compared with its published AP.

One process or several do it. Several do not communicate: each computes its share of every run, and after every model
whichever process finds a run complete scores it and updates the results, under a lock. So none waits for another that
may be dead, and the last one to finish finds everything that is complete.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import isnan
from typing import TYPE_CHECKING, NamedTuple

from filelock import FileLock
from msgspec.structs import replace

from bdd100k_zoo import __version__
from bdd100k_zoo.backends.selection import select_backend
from bdd100k_zoo.errors import ArtifactError, CheckpointError, DigestMismatchError, StorageError, ZooError
from bdd100k_zoo.evaluation.evaluate import EvaluateRequest, evaluate
from bdd100k_zoo.evaluation.runs import published_ap
from bdd100k_zoo.evaluation.scores import OVERALL, fingerprint_file
from bdd100k_zoo.files import storage_errors, write_atomically
from bdd100k_zoo.hub.import_export import import_copy
from bdd100k_zoo.hub.layout import cache_file_name
from bdd100k_zoo.hub.locks import acquire_lock
from bdd100k_zoo.prediction.launch import Command, launch_processes
from bdd100k_zoo.prediction.predict import PredictRequest, plan_run, predict
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE, RUN_FILE
from bdd100k_zoo.reporting.report import ReportRequest, write_report
from bdd100k_zoo.reproduction.inputs import read_inputs
from bdd100k_zoo.reproduction.markdown import render_markdown
from bdd100k_zoo.reproduction.results import (
    REPORT_FILE,
    TABLE_FILE,
    ModelResult,
    Reproduction,
    compare_ap,
    describe_failure,
    read_results,
    write_results,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bdd100k_zoo.evaluation.evaluate import EvaluationResult
    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Model, Zoo

RESAMPLES = 1000
"""For the intervals of a reproduction on a part of the images."""
LOCK_FILE = ".lock-results"
LOCK_SECONDS = 3600.0
"""Seconds to wait for a process that scores or writes the report, which takes some seconds for each model."""


@dataclass(frozen=True, kw_only=True)
class ReproduceRequest:
    """What to reproduce, and how."""

    zoo: Zoo
    models: tuple[Model, ...]
    labels: Path
    images: str | None
    """Folder of the split's images; None to score the published predictions instead of predicting."""
    split: str
    out: Path
    """Folder of the results."""
    runs: Path
    """Folder of the runs, ``RUNS/MODEL/SPLIT``."""
    limit: int | None = None
    """Use at most so many images; None for all."""
    weights_dir: Path | None = None
    """Folder of weights, named as published, for models that are not in the cache."""
    device: str = "auto"
    precision: str = "auto"
    backend: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    command: Command = field(default_factory=lambda: Command(arguments=()))
    """What is known of other processes."""

    def run_folder(self, model: Model) -> Path:
        """Return the folder of a model's run."""
        return self.runs / model.name / (f"{self.split}-{self.limit}" if self.limit else self.split)

    def has_run(self, model: Model) -> bool:
        """Return whether that folder holds a finished run, of whatever images."""
        folder = self.run_folder(model)
        with storage_errors(folder):
            return (folder / RUN_FILE).is_file() and (folder / PREDICTIONS_FILE).is_file()


class Step(NamedTuple):
    """The state of a reproduction when something has begun or ended."""

    found: Reproduction
    running: str | None = None
    """The model that is being run."""
    done: ModelResult | None = None
    """What has just been found out, by this process."""
    reports: bool = False
    """Whether this process is the one of all that reports the results: they are complete."""


def reproduce(request: ReproduceRequest, store: Store, progress: Progress) -> Iterator[Step]:
    """Run and score every model, and write the results after each; what earlier processes have done is used.

    A model that fails is recorded and passed over. The last step has the results that this process knows of.

    Raises:
        MissingPackageError, DeviceError, SettingsError: no model can be run here.
        WorkerFailedError: the processes that were started failed.
        ZooError: there are no images or labels, or the results cannot be written.
    """
    work = _Reproducer(request, store, progress)
    yield Step(work.begin())
    if request.command.starts_processes:
        if not all(map(request.has_run, request.models)):
            work.run_in_processes()
        left = [model for model in request.models if request.has_run(model)]
    else:
        left = list(request.models)
    for model in left:
        yield Step(work.found, running=model.name)
        if result := work.run(model):
            yield Step(work.found, done=result)
        yield from work.collect()
    yield from work.collect(last=True)


class _Reproducer:
    """The work of one process."""

    def __init__(self, request: ReproduceRequest, store: Store, progress: Progress) -> None:
        self.request, self.store, self.progress = request, store, progress
        if folder := request.weights_dir:
            with storage_errors(folder):
                if not folder.is_dir():
                    raise StorageError(folder, "is no folder", "give the folder that holds the weights")
        with storage_errors(request.out):
            request.out.mkdir(parents=True, exist_ok=True)
        self.inputs = read_inputs(request.images, request.labels, request.limit, request.out)
        self.to_score: list[Model] = []
        """Models that this process has run, or its share of them, and whose scores it has not seen."""
        self.found: Reproduction

    @property
    def is_alone(self) -> bool:
        """Whether no other process works on the same runs: this one may discard what it finds."""
        command = self.request.command
        return command.place.world == 1 and command.started is None

    def begin(self) -> Reproduction:
        """Write the results as far as they are known: those of an earlier call, if it was asked for the same.

        What failed then is tried again. Of several processes only the first one forgets it, which finds the earlier
        call finished: a later one would forget what another has just recorded.
        """
        with self._lock():
            known = self._read()
            if self.is_alone or known.finished:
                rows = (
                    ModelResult(model=each.model, published_ap=each.published_ap) if each.measured_ap is None else each
                    for each in known.models
                )
                known = replace(known, models=tuple(rows))
            self._write(replace(known, finished=False))
            return self.found

    def run(self, model: Model) -> ModelResult | None:
        """Predict what is missing of a model's run; return the result if there can be no scores."""
        published = published_ap(model, self.request.split)
        if published is None:
            reason = f"no AP on {self.request.split} is published"
            return self._record(ModelResult(model=model.name, published_ap=None, reason=reason))
        try:
            if self.request.images is not None:
                self._predict(model)
        except Exception as error:  # noqa: BLE001  (a night's work on other models must not end with one model)
            return self._record(describe_failure(model.name, published, error))
        self.to_score.append(model)
        return None

    def run_in_processes(self) -> None:
        """Start this command line in several processes, and wait; raises WorkerFailedError."""
        request = self.request
        select_backend(request.backend).import_backend()
        from bdd100k_zoo.backends.common.devices import process_count

        processes = process_count(request.command.processes, request.device)
        launch_processes(processes, request.command.arguments, request.out)

    def collect(self, *, last: bool = False) -> Iterator[Step]:
        """Score what is complete and not scored yet, and yield the results that no other process has recorded.

        At the end, wait for other processes that do so; where no model is left, write the page.
        """
        steps, reports = [], False
        repeats = self.is_alone and not self.request.command.starts_processes
        with self._lock(wait=last) as is_mine:
            if is_mine:
                self.found = self._read()
                for model in list(self.to_score):
                    if result := self._score(model):
                        self.to_score.remove(model)
                        if repeats or result != self.found[model.name]:
                            self._write(self.found.with_result(result))
                            steps.append(Step(self.found, done=result))
                if last and self.request.command.started is None and self.found.is_complete:
                    reports = self.is_alone or not self.found.finished
                    self._write_report()
                    self._write(replace(self.found, finished=True))
        yield from steps
        if last:
            yield Step(self.found, reports=reports)

    # Files

    @contextmanager
    def _lock(self, *, wait: bool = True) -> Iterator[bool]:
        lock = FileLock(self.request.out / LOCK_FILE)
        with storage_errors(self.request.out):
            taken = acquire_lock(lock, LOCK_SECONDS if wait else 0.0)
        try:
            yield taken
        finally:
            lock.release()

    def _read(self) -> Reproduction:
        """Return the results on disk for the requested models, and nothing of another request."""
        request = self.request
        empty = Reproduction(
            version=__version__,
            split=request.split,
            limit=request.limit,
            published_predictions=request.images is None,
            labels=str(request.labels),
            models=tuple(
                ModelResult(model=model.name, published_ap=published_ap(model, self.request.split))
                for model in request.models
            ),
        )
        known = read_results(request.out)
        if known is None or replace(known, models=(), reported=(), finished=False) != replace(empty, models=()):
            return empty
        kept = {(each.model, each.published_ap): each for each in known.models}
        rows = (kept.get((each.model, each.published_ap), each) for each in empty.models)
        return replace(empty, models=tuple(rows), reported=known.reported, finished=known.finished)

    def _record(self, result: ModelResult) -> ModelResult:
        with self._lock():
            self._write(self._read().with_result(result))
        return result

    def _write(self, found: Reproduction) -> None:
        self.found = found
        write_results(self.request.out, found)
        text = render_markdown(found, self.request.zoo)
        write_atomically(self.request.out / TABLE_FILE, text.encode())

    def _write_report(self) -> None:
        """Write the page over all runs, unless it is there."""
        measured = [each for each in self.found.models if each.predictions and each.predictions_sha256]
        shown = tuple(each.predictions_sha256 or "" for each in measured)
        page = self.request.out / REPORT_FILE
        if not measured or (shown == self.found.reported and page.is_file()):
            return
        request = ReportRequest(
            zoo=self.request.zoo,
            names=tuple(each.predictions or "" for each in measured),
            labels=self.inputs.labels_path,
            out=page,
            split=self.request.split,
            title="Reproduction of the published tables",
            resamples=RESAMPLES if self.request.limit else 0,
        )
        try:
            write_report(request, self.progress)
        except ZooError as error:
            self.progress.warn(f"{page} is not written: {error}; {error.hint}")
        else:
            self.found = replace(self.found, reported=shown)

    # One model

    def _predict(self, model: Model) -> None:
        request, command = self.request, self.request.command
        options = PredictRequest(
            model=model,
            images=(request.images or "",),
            split=None if request.limit else request.split,
            out=request.run_folder(model),
            device=request.device,
            precision=request.precision,
            backend=request.backend,
            batch_size=request.batch_size,
            workers=request.workers,
            place=command.place,
            started=command.started,
        )
        plan = plan_run(options, self.progress, self.inputs.images)
        if request.weights_dir and not request.has_run(model):
            self._import_weights(model, request.weights_dir)
        gc.collect()  # the heads of the model before refer to themselves, and would stay in the device's memory
        predict(plan, self.store, self.progress)

    def _import_weights(self, model: Model, folder: Path) -> None:
        """Import a model's weights from the user's folder, if they are there and not in the cache."""
        artifact = model.artifact("weights")
        file = folder / cache_file_name(artifact)
        with suppress(DigestMismatchError):  # of a wrong file in the cache, which the import replaces
            if self.store.find(artifact):
                return
        with storage_errors(file):
            if not file.is_file():
                return
        backend = select_backend(self.request.backend)
        try:
            import_copy(
                model,
                "weights",
                file,
                self.store,
                self.progress,
                check_weights=lambda model, path: backend.check_checkpoint(model.name, model.config_path, path),
            )
        except CheckpointError as error:
            raise ArtifactError(str(error), error.hint) from error

    def _score(self, model: Model) -> ModelResult | None:
        """Return the scores of a model beside the published AP; None while its run is not complete."""
        request = self.request
        is_published = request.images is None
        if not is_published and not request.has_run(model):
            return None
        asked = EvaluateRequest(
            zoo=request.zoo,
            names=(model.name if is_published else str(request.run_folder(model)),),
            labels=self.inputs.labels_path,
            split=request.split,
            published=is_published,
            resamples=RESAMPLES if request.limit else 0,
        )
        try:
            (scored,) = evaluate(asked, self.store, self.progress, self.inputs.labels)
            return self._describe(model, scored)
        except Exception as error:  # noqa: BLE001  (as above)
            return describe_failure(
                model.name, published_ap(model, self.request.split), error, is_published=is_published
            )

    def _describe(self, model: Model, scored: EvaluationResult) -> ModelResult:
        published, ap, run = published_ap(model, self.request.split), scored.scores.ap, scored.subject.run
        if run and run.weights.other:
            hint = "move that folder away, or choose another --runs"
            raise ZooError(f"{scored.subject.folder} holds a run with {run.weights.other}", hint)
        if published is None or isnan(ap):
            raise ZooError("there is no AP: the labels hold no object", "check that these are the labels of the split")
        difference, verdict = compare_ap(ap, published)
        overall = scored.intervals.get(OVERALL)
        interval = (overall.low, overall.high) if overall and None not in (overall.low, overall.high) else None
        predictions = scored.subject.predictions
        result = ModelResult(
            model=model.name,
            published_ap=published,
            verdict=None if self.request.limit else verdict,
            measured_ap=ap,
            difference=difference,
            interval=interval,  # type: ignore[arg-type]
            predictions=str(predictions),
            predictions_sha256=fingerprint_file(predictions).sha256,
        )
        if run is None:
            stored = self.store.find(model.artifact("preds"))
            return replace(result, verified_by=stored.verified_by if stored else None)
        counts, seconds = run.counts, run.seconds.detect
        unreadable = f"{counts.unreadable:,} of {counts.images:,} images could not be read" if counts.unreadable else ""
        return replace(
            result,
            reason=unreadable,
            hint="replace these images, which run.json lists" if unreadable else "",
            images=counts.images,
            images_per_second=(counts.images - counts.unreadable) / seconds if seconds else None,
            device=run.facts.device_name or run.facts.device,
            precision=run.facts.precision,
            weights_sha256=run.weights.sha256,
            verified_by=run.weights.verified_by,
        )
