"""One process's part in a training, from its settings to the last step."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from bdd100k_zoo.backends.common.config import mmdet_default_scope, translate_config_errors
from bdd100k_zoo.backends.common.devices import device_errors, device_name, device_of_rank, resolve_device
from bdd100k_zoo.backends.common.packages import stack_versions
from bdd100k_zoo.backends.common.precision import HALF_DTYPES, force_float32_heads, resolve_precision, torch_defaults
from bdd100k_zoo.backends.mmdet3.allocator import keep_freed_memory
from bdd100k_zoo.backends.mmdet3.detector import check_config
from bdd100k_zoo.backends.mmdet3.ops import install_ops
from bdd100k_zoo.data.tables import check_boxes, read_label_table
from bdd100k_zoo.training import checkpoints
from bdd100k_zoo.training.data import build_train_loader, build_val_loader, default_workers
from bdd100k_zoo.training.distributed import process_group
from bdd100k_zoo.training.job import TrainingFacts
from bdd100k_zoo.training.loop import TrainLoop
from bdd100k_zoo.training.recipe import build_recipe, data_files
from bdd100k_zoo.training.runner import DISABLED_HOOKS, TrainRunner, preserve_mmengine_globals, unwrap_model
from bdd100k_zoo.training.start_values import load_pretrained_backbone
from bdd100k_zoo.training.validation import Validation

if TYPE_CHECKING:
    import torch

    from bdd100k_zoo.training.job import TrainingJob, TrainingObserver
    from bdd100k_zoo.training.recipe import Recipe

VAL_BATCH_SIZE = {"cpu": 1, "cuda": 8}
"""In validation, which changes no parameter."""


def run_training(job: TrainingJob, plan: str, watcher: TrainingObserver) -> None:
    """Train a model to the end of its schedule, from the last checkpoint of its plan where there is one.

    Args:
        job: what to do.
        plan: what tells this training from another one, in a line of text.
        watcher: whom to tell; see there.

    Raises:
        Stopped: it was asked to end early, and a checkpoint holds its last step.
        ZooError: whatever is in the way, see ``errors``.
    """
    device, precision = resolve_device_and_precision(job)
    recipe = build_checked_recipe(job, precision=precision, device=str(device))
    if device.type == "cpu":
        keep_freed_memory()
    with ExitStack() as stack:
        stack.enter_context(torch_defaults())
        stack.enter_context(preserve_mmengine_globals(job.name))
        stack.enter_context(mmdet_default_scope())
        stack.enter_context(device_errors(device))
        stack.enter_context(process_group(job.place, device))
        runner = _build(_TrainingContext(job, plan, watcher, device, precision, recipe))
        stack.enter_context(watcher.gently())
        runner.train()


def resolve_device_and_precision(job: TrainingJob) -> tuple[torch.device, str]:
    """Find what a job's process computes on, and how; raises DeviceError, PrecisionError."""
    local_rank = job.place.local_rank
    device = resolve_device(job.device if local_rank is None else device_of_rank(job.device, local_rank))
    return device, resolve_precision(job.precision, device)


def build_checked_recipe(job: TrainingJob, *, precision: str, device: str) -> Recipe:
    """Make a job's recipe, and try that its model can be built; raises ConfigError."""
    recipe = build_recipe(job, precision=precision, device=device)
    check_config(recipe.config, name=job.name)
    return recipe


class _TrainingContext(NamedTuple):
    """What everything is built from."""

    job: TrainingJob
    plan: str
    watcher: TrainingObserver
    device: torch.device
    precision: str
    recipe: Recipe

    @property
    def workers(self) -> int:
        job, given = self.job, self.job.workers
        configured = int(self.recipe.config.train_dataloader.get("num_workers", 0))
        return default_workers(configured, self.device.type, job.place.world) if given is None else given


def _build(setting: _TrainingContext) -> TrainRunner:
    job, config = setting.job, setting.recipe.config
    loader = build_train_loader(
        config,
        name=job.name,
        batch_size=setting.recipe.batch_size,
        workers=setting.workers,
        seed=job.seed,
        place=job.place,
    )
    validation = _validation(setting)
    with translate_config_errors("build the training", name=job.name):
        runner = TrainRunner(
            lambda runner: _begin(setting, runner),
            device=setting.device,
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
    if setting.precision in HALF_DTYPES:
        force_float32_heads(unwrap_model(runner.model), setting.device)
    runner._train_loop = TrainLoop(
        runner,
        loader,
        epochs=setting.recipe.epochs,
        place=job.place,
        device=setting.device,
        validation=validation,
        watcher=setting.watcher,
        save=lambda runner: _save(setting, runner),
    )
    return runner


def _validation(setting: _TrainingContext) -> Validation:
    job, config = setting.job, setting.recipe.config
    loader = build_val_loader(
        config,
        name=job.name,
        batch_size=VAL_BATCH_SIZE[setting.device.type],
        workers=setting.workers,
        place=job.place,
    )
    labels = read_label_table(data_files(config.test_dataloader, job.name).labels)
    check_boxes(labels)
    return Validation(
        loader, labels, name=job.name, place=job.place, device=setting.device, precision=setting.precision
    )


def _begin(setting: _TrainingContext, runner: TrainRunner) -> None:
    """Load the last checkpoint, or else the start values, and tell what will be done."""
    job, model = setting.job, unwrap_model(runner.model)
    saved, problems = checkpoints.find_last_checkpoint(job.folder, setting.plan)
    if problems and not saved:
        raise problems[0]
    for problem in problems if job.place.rank == 0 else ():
        setting.watcher.progress.warn(f"{problem}; going on from the checkpoint before")
    if saved:
        checkpoints.restore_runner(saved, runner)
    elif job.start.path:
        load_pretrained_backbone(model.backbone, job.start.path, name=job.name)
    if job.place.rank == 0:
        setting.watcher.began(_facts(setting, runner, model))


def _save(setting: _TrainingContext, runner: TrainRunner) -> None:
    path = checkpoints.save_checkpoint(setting.job.folder, runner, setting.plan)
    setting.watcher.saved(path, runner.train_loop.iter)


def _facts(setting: _TrainingContext, runner: TrainRunner, model: Any) -> TrainingFacts:
    recipe, loop = setting.recipe, runner.train_loop
    return TrainingFacts(
        frames=len(loop.dataloader.dataset),
        epochs=recipe.epochs,
        epoch_length=len(loop.dataloader),
        batch_size=recipe.batch_size,
        processes=setting.job.place.world,
        workers=setting.workers,
        warm_up=recipe.warm_up,
        published_rate=recipe.published_rate,
        published_batch=recipe.published_batch,
        rate=recipe.rate,
        device=str(setting.device),
        device_name=device_name(setting.device),
        precision=setting.precision,
        ops=install_ops(),
        parameters=sum(each.numel() for each in model.parameters() if each.requires_grad),
        begun_at=loop.iter,
        versions=stack_versions(),
    )
