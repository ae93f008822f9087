"""One process's part in a training: from its settings to the last step."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.backends.common.config import mmdet_default_scope, translate_config_errors
from bdd100k_zoo.backends.common.devices import device_errors, device_name, device_of_rank, resolve_device
from bdd100k_zoo.backends.common.packages import stack_versions
from bdd100k_zoo.backends.common.precision import HALF_DTYPES, force_float32_heads, resolve_precision, torch_defaults
from bdd100k_zoo.backends.mmdet3.detector import check_config
from bdd100k_zoo.backends.mmdet3.fast_cpu import keep_freed_memory
from bdd100k_zoo.backends.mmdet3.ops import install_ops
from bdd100k_zoo.data.tables import check_boxes, read_label_table
from bdd100k_zoo.training.checkpoints import find_last_checkpoint, restore_runner, save_checkpoint
from bdd100k_zoo.training.distributed import process_group
from bdd100k_zoo.training.job import TrainingFacts
from bdd100k_zoo.training.loaders import build_train_loader, build_val_loader, default_workers
from bdd100k_zoo.training.loop import TrainingStopped, TrainLoop
from bdd100k_zoo.training.recipe import build_recipe, data_files
from bdd100k_zoo.training.runner import DISABLED_HOOKS, TrainRunner, preserve_mmengine_globals, unwrap_model
from bdd100k_zoo.training.start_values import load_pretrained_backbone
from bdd100k_zoo.training.validation import Validation

if TYPE_CHECKING:
    import torch

    from bdd100k_zoo.training.job import TrainingJob, TrainingObserver
    from bdd100k_zoo.training.recipe import DatasetPaths, Recipe

VAL_BATCH_SIZE = {"cpu": 1, "cuda": 8}
"""Images at once in validation, by kind of device: as for detectors, since the batch changes no parameter here."""


class TrainingPreview(NamedTuple):
    """What a job will do, known before any data is read or downloaded for it."""

    train: DatasetPaths
    val: DatasetPaths
    start_name: str
    """What the config's backbone starts from, as the config names it; empty where it starts from random values."""
    epochs: int
    batch_size: int
    """Images at once in each process."""
    precision: str


class _Context(NamedTuple):
    """What everything is built from."""

    job: TrainingJob
    plan: str
    observer: TrainingObserver
    device: torch.device
    precision: str
    recipe: Recipe
    workers: int


def preview_training(job: TrainingJob) -> TrainingPreview:
    """Read a job's settings, and check that its model can be built on its device in its precision.

    Raises:
        ConfigError, DeviceError: see their descriptions.
    """
    _, precision, recipe = _resolve(job)
    return TrainingPreview(
        train=data_files(recipe.config.train_dataloader, job.name),
        val=data_files(recipe.config.test_dataloader, job.name),
        start_name=recipe.start_name,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        precision=precision,
    )


def train_model(job: TrainingJob, plan: str, observer: TrainingObserver) -> bool:
    """Train a model to the end of its schedule, from the last checkpoint of its plan where there is one.

    Args:
        job: what to do.
        plan: what identifies the training, in a line of text.
        observer: is told of every step.

    Returns:
        Whether the schedule is complete; else it was asked to stop, and a checkpoint holds its last step.

    Raises:
        ZooError: whatever fails, see ``errors``.
    """
    device, precision, recipe = _resolve(job)
    if device.type == "cpu":
        keep_freed_memory()
    configured = int(recipe.config.train_dataloader.get("num_workers", 0))
    workers = default_workers(configured, device.type, job.place.world) if job.workers is None else job.workers
    with ExitStack() as stack:
        stack.enter_context(torch_defaults())
        stack.enter_context(preserve_mmengine_globals(job.name))
        stack.enter_context(mmdet_default_scope())
        stack.enter_context(device_errors(device))
        stack.enter_context(process_group(job.place, device))
        runner = _build_runner(_Context(job, plan, observer, device, precision, recipe, workers))
        stack.enter_context(observer.gently())
        try:
            runner.train()
        except TrainingStopped:
            return False
    return True


def _resolve(job: TrainingJob) -> tuple[torch.device, str, Recipe]:
    """Return a job's device, precision and recipe, and check that its model can be built."""
    local_rank = job.place.local_rank
    device = resolve_device(job.device if local_rank is None else device_of_rank(job.device, local_rank))
    precision = resolve_precision(job.precision, device)
    recipe = build_recipe(job, precision=precision, device=str(device))
    check_config(recipe.config, name=job.name)
    return device, precision, recipe


def _build_runner(context: _Context) -> TrainRunner:
    job, recipe, config = context.job, context.recipe, context.recipe.config
    loader = build_train_loader(
        config,
        name=job.name,
        batch_size=recipe.batch_size,
        workers=context.workers,
        seed=job.seed,
        place=job.place,
    )
    validation = _build_validation(context)
    with translate_config_errors("build the training", name=job.name):
        runner = TrainRunner(
            lambda runner: _load_start(context, runner),
            device=context.device,
            place=job.place,
            seed=job.seed,
            model=config.model,
            work_dir=str(job.folder),
            train_dataloader=loader,
            train_cfg={},
            optim_wrapper=config.optim_wrapper,
            param_scheduler=list(config.param_scheduler) or None,
            default_hooks=dict(DISABLED_HOOKS),
            custom_hooks=config.get("custom_hooks"),
            default_scope="mmdet",
            experiment_name=f"training in {job.folder}",
            cfg=config,
        )
    if context.precision in HALF_DTYPES:
        force_float32_heads(unwrap_model(runner.model), context.device)
    runner._train_loop = TrainLoop(
        runner,
        loader,
        epochs=recipe.epochs,
        place=job.place,
        device=context.device,
        validation=validation,
        observer=context.observer,
        save=lambda runner: context.observer.saved(
            save_checkpoint(job.folder, runner, context.plan), runner.train_loop.iter
        ),
    )
    return runner


def _build_validation(context: _Context) -> Validation:
    job, config, device = context.job, context.recipe.config, context.device
    loader = build_val_loader(
        config, name=job.name, batch_size=VAL_BATCH_SIZE[device.type], workers=context.workers, place=job.place
    )
    labels = read_label_table(data_files(config.test_dataloader, job.name).labels)
    check_boxes(labels)
    return Validation(loader, labels, name=job.name, place=job.place, device=device, precision=context.precision)


def _load_start(context: _Context, runner: TrainRunner) -> None:
    """Load the last checkpoint, or else the start values, and report what will be done."""
    job, observer = context.job, context.observer
    saved, problems = find_last_checkpoint(job.folder, context.plan)
    if problems and not saved:
        raise problems[0]
    for problem in problems if job.place.rank == 0 else ():
        observer.progress.warn(f"{problem}; going on from the checkpoint before")
    if saved:
        restore_runner(saved, runner)
    elif job.start.path:
        load_pretrained_backbone(unwrap_model(runner.model).backbone, job.start.path, name=job.name)
    if job.place.rank == 0:
        observer.began(_facts(context, runner))


def _facts(context: _Context, runner: TrainRunner) -> TrainingFacts:
    recipe, loop = context.recipe, runner.train_loop
    return TrainingFacts(
        frames=len(loop.dataloader.dataset),
        epochs=recipe.epochs,
        epoch_length=len(loop.dataloader),
        batch_size=recipe.batch_size,
        processes=context.job.place.world,
        workers=context.workers,
        warm_up=recipe.warm_up,
        published_rate=recipe.published_rate,
        published_batch=recipe.published_batch,
        rate=recipe.rate,
        device=str(context.device),
        device_name=device_name(context.device),
        precision=context.precision,
        ops=install_ops(),
        parameters=sum(each.numel() for each in unwrap_model(runner.model).parameters() if each.requires_grad),
        begun_at=loop.iter,
        versions=stack_versions(),
    )
