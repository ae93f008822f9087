"""One process's part in a training, from its settings to the last step."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from bdd100k_zoo.mm_common.devices import device_errors, device_name, device_of_rank, resolve_device
from bdd100k_zoo.mm_common.precision import SHORT, let_heads_give_float32, resolve_precision, usual_defaults
from bdd100k_zoo.mm_common.settings import blamed_on_settings, in_scope
from bdd100k_zoo.mm_common.versions import versions
from bdd100k_zoo.mmdet_backend.allocator import keep_freed_memory
from bdd100k_zoo.mmdet_backend.detector import check_config
from bdd100k_zoo.mmdet_backend.ops import install
from bdd100k_zoo.mmdet_backend.training import saving
from bdd100k_zoo.mmdet_backend.training.contained import contained
from bdd100k_zoo.mmdet_backend.training.data import default_workers, train_loader, val_loader
from bdd100k_zoo.mmdet_backend.training.job import Facts
from bdd100k_zoo.mmdet_backend.training.loop import Loop
from bdd100k_zoo.mmdet_backend.training.processes import together
from bdd100k_zoo.mmdet_backend.training.runner import NO_HOOKS, TrainRunner, unwrapped
from bdd100k_zoo.mmdet_backend.training.settings import data_files, make_recipe
from bdd100k_zoo.mmdet_backend.training.start_values import load_start_values
from bdd100k_zoo.mmdet_backend.training.validating import Validation
from bdd100k_zoo.records.tables import check_boxes, read_label_table

if TYPE_CHECKING:
    import torch

    from bdd100k_zoo.mmdet_backend.training.job import Job, Watcher
    from bdd100k_zoo.mmdet_backend.training.settings import Recipe

IMAGES_AT_ONCE = {"cpu": 1, "cuda": 8}
"""In validation, which changes no parameter."""


def train(job: Job, plan: str, watcher: Watcher) -> None:
    """Train a model to the end of its schedule, from the last checkpoint of its plan where there is one.

    Args:
        job: what to do.
        plan: what tells this training from another one, in a line of text.
        watcher: whom to tell; see there.

    Raises:
        Stopped: it was asked to end early, and a checkpoint holds its last step.
        ZooError: whatever is in the way, see ``errors``.
    """
    device, precision = device_and_precision(job)
    recipe = checked_recipe(job, precision=precision, device=str(device))
    if device.type == "cpu":
        keep_freed_memory()
    with ExitStack() as stack:
        stack.enter_context(usual_defaults())
        stack.enter_context(contained(job.name))
        stack.enter_context(in_scope())
        stack.enter_context(device_errors(device))
        stack.enter_context(together(job.place, device))
        runner = _build(_Setting(job, plan, watcher, device, precision, recipe))
        stack.enter_context(watcher.gently())
        runner.train()


def device_and_precision(job: Job) -> tuple[torch.device, str]:
    """Find what a job's process computes on, and how; raises DeviceError, PrecisionError."""
    local_rank = job.place.local_rank
    device = resolve_device(job.device if local_rank is None else device_of_rank(job.device, local_rank))
    return device, resolve_precision(job.precision, device)


def checked_recipe(job: Job, *, precision: str, device: str) -> Recipe:
    """Make a job's recipe, and try that its model can be built; raises ConfigError."""
    recipe = make_recipe(job, precision=precision, device=device)
    check_config(recipe.config, name=job.name)
    return recipe


class _Setting(NamedTuple):
    """What everything is built from."""

    job: Job
    plan: str
    watcher: Watcher
    device: torch.device
    precision: str
    recipe: Recipe

    @property
    def workers(self) -> int:
        job, given = self.job, self.job.workers
        configured = int(self.recipe.config.train_dataloader.get("num_workers", 0))
        return default_workers(configured, self.device.type, job.place.world) if given is None else given


def _build(setting: _Setting) -> TrainRunner:
    job, config = setting.job, setting.recipe.config
    loader = train_loader(
        config,
        name=job.name,
        batch_size=setting.recipe.batch_size,
        workers=setting.workers,
        seed=job.seed,
        place=job.place,
    )
    validation = _validation(setting)
    with blamed_on_settings("build the training", name=job.name):
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
            default_hooks=dict(NO_HOOKS),
            custom_hooks=config.get("custom_hooks"),
            default_scope="mmdet",
            experiment_name=f"training in {job.folder}",
            cfg=config,
        )
    if setting.precision in SHORT:
        let_heads_give_float32(unwrapped(runner.model), setting.device)
    runner._train_loop = Loop(
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


def _validation(setting: _Setting) -> Validation:
    job, config = setting.job, setting.recipe.config
    loader = val_loader(
        config,
        name=job.name,
        batch_size=IMAGES_AT_ONCE[setting.device.type],
        workers=setting.workers,
        place=job.place,
    )
    labels = read_label_table(data_files(config.test_dataloader, job.name).labels)
    check_boxes(labels)
    return Validation(
        loader, labels, name=job.name, place=job.place, device=setting.device, precision=setting.precision
    )


def _begin(setting: _Setting, runner: TrainRunner) -> None:
    """Load the last checkpoint, or else the start values, and tell what will be done."""
    job, model = setting.job, unwrapped(runner.model)
    saved, problems = saving.find_last(job.folder, setting.plan)
    if problems and not saved:
        raise problems[0]
    for problem in problems if job.place.rank == 0 else ():
        setting.watcher.progress.warn(f"{problem}; going on from the checkpoint before")
    if saved:
        saving.restore(saved, runner)
    elif job.start.path:
        load_start_values(model.backbone, job.start.path, name=job.name)
    if job.place.rank == 0:
        setting.watcher.began(_facts(setting, runner, model))


def _save(setting: _Setting, runner: TrainRunner) -> None:
    path = saving.save(setting.job.folder, runner, setting.plan)
    setting.watcher.saved(path, runner.train_loop.iter)


def _facts(setting: _Setting, runner: TrainRunner, model: Any) -> Facts:
    recipe, loop = setting.recipe, runner.train_loop
    return Facts(
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
        ops=install(),
        parameters=sum(each.numel() for each in model.parameters() if each.requires_grad),
        begun_at=loop.iter,
        versions=versions(),
    )
