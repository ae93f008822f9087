"""Images and labels → a model, by the recipe of a model of the zoo.

Importing this module imports neither torch nor mmdet; its functions do.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bdd100k_zoo.backends import mmdet3
from bdd100k_zoo.data.image_files import check_image_complete
from bdd100k_zoo.data.scalabel_reader import read_label_frames
from bdd100k_zoo.data.validation import printable
from bdd100k_zoo.errors import ImagesError, InputsError, InvalidFileError, UnreadableImageError, list_first
from bdd100k_zoo.files import sha256_of, storage_errors
from bdd100k_zoo.prediction.launch import JobRequest, ProcessRank, launch_processes
from bdd100k_zoo.prediction.run import check_same_run, options_text
from bdd100k_zoo.prediction.run_folder import run_folder_lock
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.training.job import TrainingJob
from bdd100k_zoo.training.record import (
    TrainingPlan,
    TrainingRecord,
    list_checkpoints,
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
    from bdd100k_zoo.training.job import GracefulStop
    from bdd100k_zoo.training.recipe import Recipe

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
    """The backbone starts from random values."""
    resume: bool = False
    """There must be a checkpoint to resume from."""
    command: str = ""
    """The command that resumes it."""

    @property
    def folder(self) -> Path:
        """The training's folder."""
        return self.out or Path("runs", self.model.name, "train")


def train(request: TrainRequest, store: Store, progress: Progress, stop: GracefulStop) -> TrainingRecord | None:
    """Train a model, and write the training's folder: weights, checkpoints, record, metrics, learning curve.

    What earlier processes of the same training have computed is not computed again; a complete one is left as it is.

    Returns:
        The training's record; None where another process writes it.

    Raises:
        KeyboardInterrupt: it was asked to stop, and a checkpoint has its last step; the text says how to resume.
        ZooError: whatever is in the way.
    """
    is_first = request.place.rank == 0
    progress = progress if is_first else NO_PROGRESS
    with run_folder_lock(request.folder, request.place.rank):
        recipe = _resolve_recipe(request)
        plan = _make_plan(request, recipe)
        if finished := _find_finished(request, plan, progress):
            return finished
        start = _prepare(request, recipe, store, progress)
        from bdd100k_zoo.training.log import TrainingLog
        from bdd100k_zoo.training.worker import train_model

        with TrainingLog(request, plan, _describe_start(request, recipe), progress, stop) as log:
            if train_model(TrainingJob(request, recipe, start, plan.digest, log)):
                return log.finish() if is_first else None
    command = request.command or "the same command"
    kept = f"interrupted after step {log.steps:,}, which is saved; to resume:\n  {command}"
    raise type(stop.interrupt or KeyboardInterrupt())(kept if is_first else "")


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
    request = replace(request, place=ProcessRank(0, number, 0, number))
    with run_folder_lock(request.folder):
        recipe = _resolve_recipe(request)
        if finished := _find_finished(request, _make_plan(request, recipe), progress):
            return finished
        _prepare(request, recipe, store, progress)
    launch_processes(number, arguments, request.folder)
    return read_training(request.folder)


# The steps, from what is cheap to check to what takes long


def _resolve_recipe(request: TrainRequest) -> Recipe:
    mmdet3.import_backend()
    from bdd100k_zoo.training.worker import resolve_recipe

    recipe = resolve_recipe(request)
    for split, files in (("train", recipe.train), ("val", recipe.val)):
        with storage_errors(files.labels):
            if not files.labels.is_file():
                raise InputsError(
                    files.labels,
                    f"does not exist, and training needs the labels of {split}",
                    "--data names the folder that holds images/100k and labels/det_20; "
                    "the Detection 2020 labels are at https://doc.bdd100k.com/download.html",
                )
    return recipe


def _make_plan(request: TrainRequest, recipe: Recipe) -> TrainingPlan:
    start = recipe.start_name or "config"
    if request.from_scratch:
        start = "random"
    elif request.pretrained:
        start = f"sha256:{sha256_of(request.pretrained)}"
    return TrainingPlan(
        model=request.model.name,
        config_sha256=sha256_of(request.model.config_path),
        cfg_options=options_text(request.cfg_options),
        train_labels_sha256=sha256_of(recipe.train.labels),
        val_labels_sha256=sha256_of(recipe.val.labels),
        start=start,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        processes=request.place.world,
        seed=request.seed,
        precision=recipe.precision,
    )


def _describe_start(request: TrainRequest, recipe: Recipe) -> str:
    if request.pretrained:
        return f"from {request.pretrained}"
    if request.from_scratch and recipe.start_name:
        return f"from random values, in place of {recipe.start_name}"
    return f"from {recipe.start_name}" if recipe.start_name else "from random values, as its config says"


def _find_finished(request: TrainRequest, plan: TrainingPlan, progress: Progress) -> TrainingRecord | None:
    """Return the training in the folder if it is complete; raise RunMismatchError if it is another one."""
    existing = None if request.fresh else read_training(request.folder)
    if not existing:
        return None
    check_same_run(request.folder, existing.plan.compared(), plan.compared())
    if not existing.finished:
        return None
    progress.note(f"{request.folder} holds this training already, complete; --fresh makes it again")
    return existing


def _prepare(request: TrainRequest, recipe: Recipe, store: Store, progress: Progress) -> Path | None:
    """Return the file of start values, once what is needed is there; the first process also checks the data."""
    has_checkpoint = bool(list_checkpoints(request.folder))
    if request.resume and not has_checkpoint:
        hint = "leave out --resume to start there, or name the folder with --out"
        raise InvalidFileError(request.folder, "holds no checkpoint to resume from", hint)
    start = None if request.from_scratch else request.pretrained
    if recipe.start_name and not (start or request.from_scratch or (has_checkpoint and not request.fresh)):
        start = fetch_start_values(recipe.start_name, store, progress)
    if request.place.rank == 0 and not request.started:
        for files in (recipe.train, recipe.val):
            frames = read_label_frames(files.labels)
            check_images(files.labels, frames, files.images, progress)
            if files == recipe.train:  # those of val are refused, as ``eval`` refuses them
                report_reversed_boxes(files.labels, frames, progress)
        remove_unfinished_files(request.folder)
        if request.fresh:
            remove_training_files(request.folder)
    return start


def check_images(labels: Path, frames: Sequence[LabelFrame], images: Path, progress: Progress) -> None:
    """Check the beginning and the end of every image of a label file, and decode those that end unexpectedly.

    Args:
        labels: the label file.
        frames: its frames.
        images: the folder that the frames' names are relative to.
        progress: where to report.

    Raises:
        ImagesError: some are missing, or are not complete image files.
    """
    problems = []
    with (
        progress.task(f"Checking images of {labels.stem}", len(frames), "images") as task,
        ThreadPoolExecutor(IMAGE_READERS) as readers,
    ):
        for problem in readers.map(lambda frame: _find_problem(images / frame.name), frames):
            problems += [problem] if problem else []
            task.advance(1)
    if problems:
        raise ImagesError(
            f"{len(problems):,} of {len(frames):,} images of {labels} cannot be read:{list_first(problems)}",
            "download or unpack the images again; --data names the folder that holds images/100k and labels/det_20",
        )


def _find_problem(path: Path) -> str:
    try:
        check_image_complete(path)
    except UnreadableImageError as error:
        return str(error)
    return ""


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
        progress.warn(f"{labels}: {boxes} x2 < x1 or y2 < y1 and are ignored in training; the first: {found[0]}")
