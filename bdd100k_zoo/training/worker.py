"""One process's part in a training: from its settings to the last step."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bdd100k_zoo.backends.common.config import mmdet_default_scope, translate_config_errors
from bdd100k_zoo.backends.common.devices import cuda_count, device_errors, device_name, resolve_device
from bdd100k_zoo.backends.common.packages import stack_versions
from bdd100k_zoo.backends.common.precision import HALF_DTYPES, force_float32_boxes, resolve_precision, torch_defaults
from bdd100k_zoo.backends.mmdet3.detector import check_config
from bdd100k_zoo.backends.mmdet3.fast_cpu import keep_freed_memory
from bdd100k_zoo.backends.mmdet3.ops import install_ops
from bdd100k_zoo.data.tables import check_boxes, read_label_table
from bdd100k_zoo.prediction.launch import device_of_rank
from bdd100k_zoo.training.checkpoints import find_last_checkpoint, restore_runner, save_checkpoint
from bdd100k_zoo.training.distributed import agree_on_step, process_group
from bdd100k_zoo.training.job import TrainingFacts
from bdd100k_zoo.training.loaders import build_train_loader, build_val_loader
from bdd100k_zoo.training.loop import TrainingStopped, TrainLoop
from bdd100k_zoo.training.recipe import build_recipe
from bdd100k_zoo.training.runner import DISABLED_HOOKS, TrainRunner, preserve_mmengine_globals, unwrap_model
from bdd100k_zoo.training.start_values import load_pretrained_backbone
from bdd100k_zoo.training.validation import Validation

if TYPE_CHECKING:
    from bdd100k_zoo.training.job import TrainingJob
    from bdd100k_zoo.training.recipe import Recipe
    from bdd100k_zoo.training.train import TrainRequest

VAL_BATCH_SIZE = {"cpu": 1, "cuda": 8}
"""Images at once in validation, by kind of device: as for detectors, since the batch changes no parameter here."""


def resolve_recipe(request: TrainRequest) -> Recipe:
    """Return the settings of a training, and check that its model can be built on its device in its precision.

    No data is read or downloaded.

    Raises:
        ConfigError, DeviceError: see their descriptions.
    """
    device = resolve_device(device_of_rank(request.device, request.place, cuda_count(), os.environ))
    recipe = build_recipe(request, precision=resolve_precision(request.precision, device), device=device)
    check_config(recipe.config, name=request.model.name)
    return recipe


def train_model(job: TrainingJob) -> bool:
    """Train a model to the end of its schedule, from the last checkpoint of its plan where there is one.

    Returns:
        Whether the schedule is complete; else it was asked to stop, and a checkpoint holds its last step.

    Raises:
        ZooError: whatever fails, see ``errors``.
    """
    device, place = job.recipe.device, job.request.place
    if device.type == "cpu":
        keep_freed_memory()
    with ExitStack() as stack:
        stack.enter_context(torch_defaults())
        stack.enter_context(preserve_mmengine_globals(job.request.model.name))
        stack.enter_context(mmdet_default_scope())
        stack.enter_context(device_errors(device))
        stack.enter_context(process_group(place, device))
        runner = _build_runner(job)
        stack.enter_context(job.observer.stop.deferred())
        try:
            runner.train()
        except TrainingStopped:
            return False
    return True


def _build_runner(job: TrainingJob) -> TrainRunner:
    request, recipe, config = job.request, job.recipe, job.recipe.config
    name, place, device, workers = request.model.name, request.place, recipe.device, recipe.workers
    loader = build_train_loader(
        config, name=name, batch_size=recipe.batch_size, workers=workers, seed=request.seed, place=place
    )
    val_loader = build_val_loader(
        config, name=name, batch_size=VAL_BATCH_SIZE[device.type], workers=workers, place=place
    )
    labels = read_label_table(recipe.val.labels)
    check_boxes(labels)
    with translate_config_errors("build the training", name=name):
        runner = TrainRunner(
            lambda runner: _load_start(job, runner),
            device=device,
            place=place,
            seed=request.seed,
            model=config.model,
            work_dir=str(request.folder),
            train_dataloader=loader,
            train_cfg={},
            optim_wrapper=config.optim_wrapper,
            param_scheduler=list(config.param_scheduler) or None,
            default_hooks=dict(DISABLED_HOOKS),
            custom_hooks=config.get("custom_hooks"),
            default_scope="mmdet",
            experiment_name=f"training in {request.folder}",
            cfg=config,
        )
    if recipe.precision in HALF_DTYPES:
        force_float32_boxes(unwrap_model(runner.model), device)
    runner._train_loop = TrainLoop(
        runner,
        loader,
        epochs=recipe.epochs,
        place=place,
        device=device,
        validation=Validation(val_loader, labels, name=name, place=place, device=device, precision=recipe.precision),
        observer=job.observer,
        save=lambda: save_checkpoint(request.folder, runner, job.plan),
    )
    return runner


def _load_start(job: TrainingJob, runner: TrainRunner) -> None:
    """Load the last checkpoint, or else the start values, and report what will be done."""
    saved, problems = find_last_checkpoint(job.request.folder, job.plan)
    agree_on_step(saved.step if saved else None, job.request.folder, job.request.place, job.recipe.device)
    if problems and not saved:
        raise problems[0]
    is_first = job.request.place.rank == 0
    for problem in problems if is_first else ():
        job.observer.progress.warn(f"{problem}; resuming from the checkpoint before it")
    if saved:
        restore_runner(saved, runner)
    elif job.start:
        load_pretrained_backbone(unwrap_model(runner.model).backbone, job.start, name=job.request.model.name)
    if is_first:
        job.observer.began(_facts(job.recipe, runner))


def _facts(recipe: Recipe, runner: TrainRunner) -> TrainingFacts:
    loop = runner.train_loop
    return TrainingFacts(
        frames=len(loop.dataloader.dataset),
        epoch_length=len(loop.dataloader),
        parameters=sum(each.numel() for each in unwrap_model(runner.model).parameters() if each.requires_grad),
        learning_rate=recipe.rate,
        published_learning_rate=recipe.published_rate,
        published_batch=recipe.published_batch,
        warm_up=recipe.warm_up,
        device=str(recipe.device),
        device_name=device_name(recipe.device),
        ops=install_ops(),
        workers=recipe.workers,
        versions=stack_versions(),
        begun_at=loop.iter,
    )
