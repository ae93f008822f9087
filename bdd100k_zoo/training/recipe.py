"""A config of the zoo to the settings of one training: batch, learning rate, length, start values."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from mmdet.registry import MODELS
from mmengine.config import ConfigDict

from bdd100k_zoo.backends.common.config import DATASET_TYPE, PRETRAINED_KEYS, load_config, mmdet_default_scope
from bdd100k_zoo.errors import ConfigError
from bdd100k_zoo.training.runner import PreciseOptimWrapper

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmengine.config import Config

    from bdd100k_zoo.training.job import BackboneInit, TrainingJob

EPOCH_KEYS = ("begin", "end", "T_max", "step_size", "milestones")
"""Settings of schedulers that count epochs, where ``by_epoch`` is not false."""
NOTHING_FROZEN: Mapping[str, object] = {"frozen_stages": -1, "norm_eval": False}


class DatasetPaths(NamedTuple):
    """Where a dataset of a config is."""

    labels: Path
    images: Path


class Recipe(NamedTuple):
    """The settings of one training."""

    config: Config
    epochs: int
    batch_size: int
    """Images at once in each process."""
    published_batch: int
    published_rate: float
    rate: float
    start_name: str
    """What the config's backbone starts from, as the config names it; empty where it names nothing."""

    @property
    def warm_up(self) -> int:
        """Steps over which the learning rate rises at the beginning."""
        by_step = (each for each in self.config.param_scheduler if not each.get("by_epoch", True))
        return max((int(each.end) for each in by_step if not each.get("begin") and each.get("end")), default=0)


def build_recipe(job: TrainingJob, *, precision: str, device: str) -> Recipe:
    """Read a job's config and fit it to the job.

    The learning rate is proportional to the batch: twice the images, twice the rate (Goyal et al., arXiv:1706.02677).

    Raises:
        ConfigError: the config cannot be read, or is not one to train by.
    """
    config = load_config(job.config_path, job.overrides, data_root=str(job.data_root))
    _check(config, job.name)
    batch_size = job.batch_size or int(config.train_dataloader.batch_size)
    published_batch = int((config.get("auto_scale_lr") or {}).get("base_batch_size", batch_size * job.place.world))
    optimizer = config.optim_wrapper.optimizer
    published_rate = float(optimizer.lr)
    images = batch_size * job.place.world * int(config.optim_wrapper.get("accumulative_counts", 1))
    optimizer.lr = published_rate * images / published_batch
    published_epochs = int(config.train_cfg.max_epochs)
    epochs = job.epochs or published_epochs
    config.param_scheduler = rescale_schedulers(config.get("param_scheduler"), epochs / published_epochs)
    config.optim_wrapper.update(type=PreciseOptimWrapper, precision=precision, device=device)
    start_name = pretrained_source(config)
    config.model = strip_pretrained_source(config.model, job.start)
    return Recipe(config, epochs, batch_size, published_batch, published_rate, float(optimizer.lr), start_name)


def rescale_schedulers(schedulers: Any, factor: float) -> list[ConfigDict]:
    """Move what schedulers do at an epoch to the same part of a longer or shorter training."""
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


def strip_pretrained_source(model: Any, start: BackboneInit) -> Any:
    """Return a model's settings with no file for its backbone to start from: building it fetches nothing.

    A backbone that starts from random values instead freezes nothing: its first stages and the statistics of its
    normalisations are learnt as well.
    """
    backbone = model.get("backbone") or {}
    named = {key: None for key in PRETRAINED_KEYS if _pretrained_file(backbone.get(key))}
    if not named:
        return model
    learnt = _unfreeze_backbone(backbone) if start.kind == "random" else {}
    return type(model)({**model, "backbone": {**backbone, **named, **learnt}})


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
    """Refuse a config that lacks what a training needs, or has settings that this package does not support."""
    for key in ("model", "train_dataloader", "train_cfg", "optim_wrapper", "test_dataloader"):
        if not config.get(key):
            raise ConfigError(name, f"has no {key}: nothing to train by")
    if not config.train_cfg.get("max_epochs"):
        raise ConfigError(name, "train_cfg.max_epochs: expected a number of epochs")
    for key in ("load_from", "resume", "activation_checkpointing", "compile"):
        if config.get(key):
            raise ConfigError(name, f"{key}: training by bdd100k-zoo has no such setting")
    if config.optim_wrapper.get("type", "OptimWrapper") != "OptimWrapper":
        raise ConfigError(name, "optim_wrapper.type: expected OptimWrapper; --precision says how to compute")
    for key in ("lr", "type"):
        if key not in (config.optim_wrapper.get("optimizer") or {}):
            raise ConfigError(name, f"optim_wrapper.optimizer has no {key}")
    data_files(cast("Any", config.train_dataloader), name)
    data_files(cast("Any", config.test_dataloader), name)
