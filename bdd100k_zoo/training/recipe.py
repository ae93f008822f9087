"""From a config of the zoo to the settings of one training: batch, learning rate, length, start values."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmdet.registry import MODELS
from mmengine.config import ConfigDict

from bdd100k_zoo.backends.common.config import DATASET_TYPE, PRETRAINED_KEYS, load_config, mmdet_default_scope
from bdd100k_zoo.backends.common.precision import resolve_precision
from bdd100k_zoo.errors import ConfigError
from bdd100k_zoo.prediction.launch import default_workers
from bdd100k_zoo.training.runner import PreciseOptimWrapper

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from mmengine.config import Config

    from bdd100k_zoo.training.train import TrainRequest

EPOCH_KEYS = ("begin", "end", "T_max", "step_size", "milestones")
"""Settings of schedulers that count epochs, where ``by_epoch`` is not false."""
FP16_WRAPPER = "AmpOptimWrapper"
"""How configs name training in fp16."""
SWITCH_HOOK = "ModeSwitchHook"
NOTHING_FROZEN: Mapping[str, object] = {"frozen_stages": -1, "norm_eval": False}


class DatasetPaths(NamedTuple):
    """Where a dataset of a config is."""

    labels: Path
    images: Path


class Recipe(NamedTuple):
    """The settings of one training; it serves one, whose builders may change the config."""

    config: Config
    device: torch.device
    precision: str
    train: DatasetPaths
    val: DatasetPaths
    epochs: int
    batch_size: int
    """Images at once in each process."""
    workers: int
    """Processes that read ahead, for each process."""
    published_batch: int
    published_rate: float
    rate: float
    start_name: str
    """What the config's backbone starts from, as the config names it; empty where it starts from random values."""

    @property
    def warm_up(self) -> int:
        """Steps over which the learning rate rises at the beginning."""
        by_step = (each for each in self.config.param_scheduler if not each.get("by_epoch", True))
        return max((int(each.end) for each in by_step if not each.get("begin") and each.get("end")), default=0)


def build_recipe(request: TrainRequest, *, precision: str, device: torch.device) -> Recipe:
    """Read a model's config and fit it to what a training is asked to do.

    A recipe in fp16 is one in fp32 on a CPU, unless ``precision`` is fp16.

    The learning rate is proportional to the batch: twice the images, twice the rate (Goyal et al., arXiv:1706.02677).

    Raises:
        ConfigError: the config cannot be read, or is not one to train by.
    """
    name, world = request.model.name, request.place.world
    config = load_config(request.model.config_path, request.cfg_options, data_root=str(request.data))
    _check(config, name)
    loader, optimizer = config.train_dataloader, config.optim_wrapper.optimizer
    batch_size = request.batch_size or int(loader.batch_size)
    published_batch = int((config.get("auto_scale_lr") or {}).get("base_batch_size", batch_size * world))
    published_rate = float(optimizer.lr)
    images = batch_size * world * int(config.optim_wrapper.get("accumulative_counts", 1))
    optimizer.lr = published_rate * images / published_batch
    published_epochs = int(config.train_cfg.max_epochs)
    epochs = request.epochs or published_epochs
    config.param_scheduler = rescale_schedulers(config.get("param_scheduler"), epochs / published_epochs)
    for hook in config.get("custom_hooks") or ():
        if hook.get("type") == SWITCH_HOOK:
            hook.begin = _scale_epochs(hook.begin, epochs / published_epochs)
    if request.precision == "auto" and device.type != "cpu" and config.optim_wrapper.get("type") == FP16_WRAPPER:
        precision = resolve_precision("fp16", device)
    config.optim_wrapper.update(type=PreciseOptimWrapper, precision=precision, device=str(device))
    start_name = pretrained_source(config)
    config.model = strip_pretrained_source(config.model, from_scratch=request.from_scratch)
    workers = request.workers
    if workers is None:
        workers = default_workers(device.type, request.place, int(loader.get("num_workers", 0)))
    return Recipe(
        config=config,
        device=device,
        precision=precision,
        train=data_files(loader, name),
        val=data_files(config.test_dataloader, name),
        epochs=epochs,
        batch_size=batch_size,
        workers=workers,
        published_batch=published_batch,
        published_rate=published_rate,
        rate=float(optimizer.lr),
        start_name=start_name,
    )


def rescale_schedulers(schedulers: Any, factor: float) -> list[ConfigDict]:
    """Move the epochs at which schedulers act in proportion to the length of the training."""
    listed = schedulers if isinstance(schedulers, (list, tuple)) else [schedulers] if schedulers else []
    rescaled = []
    for scheduler in listed:
        keys = EPOCH_KEYS if factor != 1 and scheduler.get("by_epoch", True) else ()
        moved = {key: _scale_epochs(scheduler[key], factor) for key in keys if key in scheduler}
        rescaled.append(ConfigDict({**scheduler, **moved}))
    return rescaled


def _scale_epochs(epochs: Any, factor: float) -> Any:
    if isinstance(epochs, (list, tuple)):
        return sorted({_scale_epochs(each, factor) for each in epochs})
    return max(1, round(epochs * factor)) if epochs else epochs


def strip_pretrained_source(model: Any, *, from_scratch: bool) -> Any:
    """Return a model's settings without the file that its backbone starts from: building it downloads nothing.

    A backbone that starts from random values instead freezes nothing: its first stages and the statistics of its
    normalisations are learned as well.
    """
    backbone = model.get("backbone") or {}
    named = {key: None for key in PRETRAINED_KEYS if _pretrained_file(backbone.get(key))}
    if not named:
        return model
    unfrozen = _unfreeze_backbone(backbone) if from_scratch else {}
    return type(model)({**model, "backbone": {**backbone, **named, **unfrozen}})


def pretrained_source(config: Config) -> str:
    """Return the name or address of the file that a config's backbone starts from; empty where it names none."""
    backbone = config.model.get("backbone") or {}
    return next(filter(None, (_pretrained_file(backbone.get(key)) for key in PRETRAINED_KEYS)), "")


def _pretrained_file(value: object) -> str:
    """Return the file that a setting names, as text or as an ``init_cfg`` of the type Pretrained."""
    if isinstance(value, str):
        return value
    return str(value.get("checkpoint", "")) if isinstance(value, dict) and value.get("type") == "Pretrained" else ""


def _unfreeze_backbone(backbone: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that freeze nothing, of those that the backbone has."""
    with mmdet_default_scope():
        kind = MODELS.get(backbone["type"])
    taken = inspect.signature(kind).parameters if kind else backbone
    settings: dict[str, Any] = {key: value for key, value in NOTHING_FROZEN.items() if key in taken}
    norm = backbone.get("norm_cfg")
    return settings | ({"norm_cfg": {**norm, "requires_grad": True}} if isinstance(norm, dict) else {})


def data_files(dataset: Any, name: str) -> DatasetPaths:
    """Return the label file and the folder of images of a dataset's settings, which may be inside wrappers.

    Raises:
        ConfigError: there is not exactly one dataset of BDD100K in them.
    """
    found = _find_datasets(dataset)
    if len(found) != 1:
        raise ConfigError(name, f"expected one {DATASET_TYPE} in a dataloader, found {len(found)}")
    (settings,) = found
    root = Path(settings.get("data_root") or "")
    images = (settings.get("data_prefix") or {}).get("img", "")
    return DatasetPaths(root / str(settings.get("ann_file", "")), root / str(images))


def _find_datasets(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, dict) and node.get("type") == DATASET_TYPE:
        return [node]
    parts = node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ()
    return [found for part in parts for found in _find_datasets(part)]


def _check(config: Config, name: str) -> None:
    """Check that a config has what a training needs, and no setting that this package does not support."""
    for key in ("model", "train_dataloader", "train_cfg", "optim_wrapper", "test_dataloader"):
        if not config.get(key):
            raise ConfigError(name, f"has no {key}: it cannot be trained")
    if not config.train_cfg.get("max_epochs"):
        raise ConfigError(name, "train_cfg.max_epochs: expected a number of epochs")
    for key in ("load_from", "resume", "activation_checkpointing", "compile"):
        if config.get(key):
            raise ConfigError(name, f"{key}: `bdd100k-zoo train` does not support this setting")
    if (kind := config.optim_wrapper.get("type", "OptimWrapper")) not in ("OptimWrapper", FP16_WRAPPER):
        raise ConfigError(name, f"optim_wrapper.type: expected OptimWrapper or {FP16_WRAPPER}, found {kind}")
    if kind == FP16_WRAPPER and (extra := sorted(config.optim_wrapper.keys() & {"dtype", "use_fsdp"})):
        raise ConfigError(name, f"optim_wrapper.{extra[0]}: not supported; set the precision with --precision")
    if not isinstance(config.optim_wrapper.get("loss_scale", {}), dict):
        raise ConfigError(name, "optim_wrapper.loss_scale: expected a dict, such as dict(init_scale=512.0)")
    for key in ("lr", "type"):
        if key not in (config.optim_wrapper.get("optimizer") or {}):
            raise ConfigError(name, f"optim_wrapper.optimizer has no {key}")
