"""Images and labels → a model, by the recipe of a model of the zoo."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from bdd100k_zoo import training
from bdd100k_zoo.backends import mmdet3
from bdd100k_zoo.data.images import check_image_complete
from bdd100k_zoo.data.scalabel_reader import read_label_frames
from bdd100k_zoo.data.validation import printable
from bdd100k_zoo.errors import (
    LabelledImagesError,
    NoCheckpointError,
    NoLabelsError,
    RunMismatchError,
    UnreadableImageError,
    WorkerFailedError,
)
from bdd100k_zoo.files import sha256_of, storage_errors
from bdd100k_zoo.prediction.launch import JobRequest, ProcessRank, launch_processes
from bdd100k_zoo.prediction.run import differences, options_text
from bdd100k_zoo.prediction.run_folder import run_folder_lock
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.training.job import BackboneInit, TrainingJob
from bdd100k_zoo.training.log import TrainingLog
from bdd100k_zoo.training.record import (
    TrainingPlan,
    TrainingRecord,
    has_checkpoint,
    read_training,
    remove_training_files,
    remove_unfinished_files,
)
from bdd100k_zoo.training.start_values import fetch_start_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.data.scalabel import LabelFrame
    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.training.job import GracefulStop, TrainingFacts

IMAGE_READERS = 8


@dataclass(frozen=True, kw_only=True)
class TrainRequest(JobRequest):
    """What a training is asked to do; without ``out``, its folder is runs/MODEL/train."""

    data: Path
    """Root of the dataset: images/100k/{train,val} and labels/det_20/det_{train,val}.json."""
    epochs: int | None = None
    seed: int = 0
    pretrained: Path | None = None
    """The file that the backbone starts from."""
    from_scratch: bool = False
    resume: bool = False
    """There must be a checkpoint to resume from."""
    command: str = ""
    """The command that resumes it."""

    @property
    def folder(self) -> Path:
        """The training's folder."""
        return self.out or Path("runs", self.model.name, "train")


def train(request: TrainRequest, store: Store, progress: Progress, stop: GracefulStop) -> TrainingRecord | None:
    """Train a model, and write the training's folder: weights, checkpoints, record, metrics, picture.

    What an earlier process of the same training has done is not done again; one that is complete is left as it is.

    Returns:
        The training's record; None where another process writes it.

    Raises:
        KeyboardInterrupt: it was asked to stop, and a checkpoint has its last step; the text says how to resume.
        ZooError: whatever is in the way.
    """
    with run_folder_lock(request.folder, request.place.rank):
        return _Training(request, store, progress).train_here(stop)


def train_in_processes(
    request: TrainRequest, processes: int | None, arguments: Sequence[str], store: Store, progress: Progress
) -> TrainingRecord | None:
    """Do what ``train`` does, in several processes on this machine, one for each GPU.

    Args:
        request: what to do.
        processes: how many; None for as many as there are GPUs.
        arguments: those of the command line, which every process is given.
        store: the cache.
        progress: where to report.

    Raises:
        WorkerFailedError: they ended before the training was complete.
        ZooError: whatever else is in the way.
    """
    mmdet3.import_backend()
    from bdd100k_zoo.backends.common.devices import process_count

    number = process_count(processes, request.device)
    with run_folder_lock(request.folder):
        found = _Training(request, store, progress, processes=number).prepare()
    if found:
        return found
    if status := launch_processes(number, arguments):
        raise WorkerFailedError(
            f"the processes that shared the run in {request.folder} ended with status {status}",
            "the first error above says why; the same command resumes with what is missing",
            status,
        )
    return read_training(request.folder)


class _Training:
    """One process's work on a request: its steps, from what is cheap to check to what takes long."""

    def __init__(self, request: TrainRequest, store: Store, progress: Progress, processes: int | None = None) -> None:
        self._request, self._store = request, store
        self._progress = NO_PROGRESS if request.place.rank else progress
        self._folder = request.folder
        place = request.place if processes is None else ProcessRank(0, processes, None)
        self._job = TrainingJob(
            name=request.model.name,
            config_path=request.model.config_path,
            overrides=request.cfg_options,
            data_root=request.data,
            folder=self._folder,
            start=BackboneInit("random" if request.from_scratch else "config"),
            epochs=request.epochs,
            batch_size=request.batch_size,
            workers=request.workers,
            seed=request.seed,
            precision=request.precision,
            device=request.device,
            place=place,
        )
        self._outline = training.preview_training(self._job)
        self._reports = place.rank == 0 and not request.started

    def train_here(self, stop: GracefulStop) -> TrainingRecord | None:
        """Train in this process."""
        if found := self.prepare():
            return found
        plan = self._plan()
        with TrainingLog(self._folder, lambda facts: self._begun(plan, facts), self._progress, stop) as log:
            if training.train_model(self._job, plan.digest, log):
                return log.finish() if self._request.place.rank == 0 else None
        raise self._interrupt(stop, log.steps)

    def prepare(self) -> TrainingRecord | None:
        """Check all that can be wrong; return the training's record if nothing is left to do."""
        request = self._request
        for split, files in (("train", self._outline.train), ("val", self._outline.val)):
            with storage_errors(files.labels):
                if not files.labels.is_file():
                    raise NoLabelsError(split, files.labels)
        self._job = self._job._replace(start=self._start_values())
        plan = self._plan()
        existing = None if request.fresh else read_training(self._folder)
        if existing:
            if found := differences(existing.plan.compared(), plan.compared()):
                raise RunMismatchError(self._folder, found)
            if existing.finished:
                self._progress.note(f"{self._folder} holds this training already, complete; --fresh makes it again")
                return existing
        if request.resume and not has_checkpoint(self._folder):
            raise NoCheckpointError(self._folder)
        if self._reports:
            self._check_data()
            remove_unfinished_files(self._folder)
            if request.fresh:
                remove_training_files(self._folder)
        return None

    def _check_data(self) -> None:
        for files in (self._outline.train, self._outline.val):
            frames = read_label_frames(files.labels)
            check_images(files.labels, frames, files.images, self._progress)
            if files == self._outline.train:  # those of val are refused, as ``eval`` refuses them
                report_reversed_boxes(files.labels, frames, self._progress)

    def _start_values(self) -> BackboneInit:
        request = self._request
        if request.from_scratch:
            return BackboneInit("random")
        if request.pretrained:
            return BackboneInit("file", request.pretrained)
        if not self._outline.start_name:
            return BackboneInit("config")
        if has_checkpoint(self._folder) and not request.fresh:
            return BackboneInit("named")
        return BackboneInit("named", fetch_start_values(self._outline.start_name, self._store, self._progress))

    def _plan(self) -> TrainingPlan:
        request, outline = self._request, self._outline
        return TrainingPlan(
            model=request.model.name,
            config_sha256=sha256_of(request.model.config_path),
            cfg_options=options_text(request.cfg_options),
            train_labels_sha256=sha256_of(outline.train.labels),
            val_labels_sha256=sha256_of(outline.val.labels),
            start=self._start_in_plan(),
            epochs=outline.epochs,
            batch_size=outline.batch_size,
            processes=self._job.place.world,
            seed=request.seed,
            precision=outline.precision,
        )

    def _begun(self, plan: TrainingPlan, facts: TrainingFacts) -> TrainingRecord:
        """Report what will be done, and return the record to begin with."""
        self._report_start(facts)
        existing = read_training(self._folder)
        record = TrainingRecord(
            plan=plan,
            config=self._request.model.config,
            cfg_options=self._request.cfg_options,
            data_root=str(self._request.data),
            start=self._start_in_words(),
            frames=facts.frames,
            epoch_length=facts.epoch_length,
            parameters=facts.parameters,
            learning_rate=facts.rate,
            published_learning_rate=facts.published_rate,
            published_batch=facts.published_batch,
            device=facts.device,
            device_name=facts.device_name,
            ops=facts.ops,
            workers=facts.workers,
            versions=facts.versions,
            command=self._request.command,
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        if existing and facts.begun_at:
            resumed = {name: getattr(existing, name) for name in ("started", "epochs", "seconds", "best_epoch")}
            return replace(record, **resumed)
        return record

    def _report_start(self, facts: TrainingFacts) -> None:
        batch = facts.batch_size * facts.processes
        scaled = (
            ""
            if batch == facts.published_batch
            else f"; {facts.published_rate:g} for a batch of {facts.published_batch}"
        )
        self._progress.note(
            f"{self._request.model.name} on {facts.frames:,} images, {_plural(facts.epochs, 'epoch')} of "
            f"{_plural(facts.epoch_length, 'step')} → {self._folder}"
        )
        self._progress.note(f"backbone: {self._start_in_words()}")
        self._progress.note(f"learning rate {facts.rate:g} for a batch of {batch}{scaled}")
        if 2 * facts.warm_up > (total := facts.epochs * facts.epoch_length):
            self._progress.warn(f"the learning rate rises over {facts.warm_up:,} steps, and there are {total:,}")
        if facts.begun_at:
            self._progress.note(f"going on after step {facts.begun_at:,}")

    def _start_in_plan(self) -> str:
        """Return the start values as the plan has them: known without a download, which may no longer be possible."""
        start = self._job.start
        if start.kind == "named":
            return self._outline.start_name
        return f"sha256:{sha256_of(start.path)}" if start.path else start.kind

    def _start_in_words(self) -> str:
        start, named = self._job.start, self._outline.start_name
        if start.kind == "named":
            return f"from {named}"
        if start.path:
            return f"from {start.path}"
        return f"from random values, in place of {named}" if named else "from random values, as its config says"

    def _interrupt(self, stop: GracefulStop, steps: int) -> KeyboardInterrupt:
        kind = type(stop.interrupt) if stop.interrupt else KeyboardInterrupt
        command = self._request.command or "the same command"
        return kind(f"interrupted after step {steps:,}, which is kept; this goes on from there:\n  {command}")


def _plural(number: int, name: str) -> str:
    return f"{number:,} {name}" + ("" if number == 1 else "s")


def check_images(labels: Path, frames: Sequence[LabelFrame], images: Path, progress: Progress) -> None:
    """Check the beginning and the end of every image of a label file, and decode those that end unexpectedly.

    Args:
        labels: the label file.
        frames: its frames.
        images: the folder that the frames' names are relative to.
        progress: where to report.

    Raises:
        LabelledImagesError: some are missing, or no whole JPEG or PNG.
    """
    names = [frame.name for frame in frames]
    with (
        progress.task(f"Checking images of {labels.stem}", len(names), "images") as task,
        ThreadPoolExecutor(IMAGE_READERS) as readers,
    ):
        problems = []
        for problem in readers.map(lambda name: _problem(images / name), names):
            problems += [problem] if problem else []
            task.advance(1)
    if problems:
        raise LabelledImagesError(labels, len(names), tuple(problems))


def report_reversed_boxes(labels: Path, frames: Sequence[LabelFrame], progress: Progress) -> None:
    """Warn about boxes with x2 < x1 or y2 < y1, which ``eval`` refuses in labels and training ignores."""
    found = [
        f"frame {printable(frame.name)}: label {printable(label.id)} (no. {place})"
        for frame in frames
        for place, label in enumerate(frame.labels, 1)
        if (box := label.box2d) and (box.x2 < box.x1 or box.y2 < box.y1)
    ]
    if found:
        boxes = "1 box has" if len(found) == 1 else f"{len(found):,} boxes have"
        progress.warn(f"{labels}: {boxes} x2 < x1 or y2 < y1 and will not be trained on; the first: {found[0]}")


def _problem(path: Path) -> str:
    try:
        check_image_complete(path)
    except UnreadableImageError as error:
        return str(error)
    return ""
