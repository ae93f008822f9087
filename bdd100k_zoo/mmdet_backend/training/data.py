"""Datasets of a config → loaders whose batches depend on nothing but the seed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import cv2
import torch
from mmdet.registry import DATASETS
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from bdd100k_zoo.errors import ConfigError
from bdd100k_zoo.mm_common.settings import blamed_on_settings, in_scope
from bdd100k_zoo.mmdet_backend.training.order import Drawn, Order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmengine.config import Config

    from bdd100k_zoo.inference.launch import Place

KNOWN = {"batch_size", "num_workers", "persistent_workers", "sampler", "dataset"}
"""Settings of a dataloader that are ours to heed, or to replace."""
PASSED_ON = {"drop_last", "pin_memory", "prefetch_factor", "timeout"}
"""Those that torch's loader is given."""


def train_loader(config: Config, *, name: str, batch_size: int, workers: int, seed: int, place: Place) -> Any:
    """Build the loader of training images, whose sampler is an ``Order``.

    Raises:
        ConfigError: the settings ask for another way to choose images, or mmdet cannot build them.
        RecordError: the labels hold nothing to learn.
        StorageError, FrameNameError: the labels cannot be read.
    """
    settings = config.train_dataloader
    _check_loader(settings, name)
    dataset = _dataset(settings.dataset, name)
    order = Order(
        len(dataset), seed=seed, rank=place.rank, world=place.world, shuffled=bool(settings.sampler.get("shuffle"))
    )
    extra = {key: settings[key] for key in PASSED_ON if key in settings}
    return _loader(Drawn(dataset, seed=seed), order, batch_size, workers, extra)


def val_loader(config: Config, *, name: str, batch_size: int, workers: int, place: Place) -> Any:
    """Build the loader of one process's share of the validation images, in their order; its sampler is their places.

    Raises:
        ConfigError, StorageError, FrameNameError: as for ``train_loader``.
    """
    dataset = _dataset(config.test_dataloader.dataset, name)
    images = len(dataset)
    first, end = (images * rank // place.world for rank in (place.rank, place.rank + 1))
    return _loader(dataset, range(first, end), batch_size, workers, {})


def default_workers(configured: int, device: str, processes: int) -> int:
    """Give a number of processes that read ahead: as configured, if there are cores for them; on a CPU one or none."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = max(1, cores // processes)
    return min(configured, 1 if device == "cpu" else free)


def _dataset(settings: Any, name: str) -> Any:
    with in_scope(), blamed_on_settings("build the dataset", name=name):
        dataset = DATASETS.build(settings)
        dataset.full_init()
    return dataset


def _loader(dataset: Any, sampler: Sequence[int] | Order, batch_size: int, workers: int, extra: dict[str, Any]) -> Any:
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_begin_worker,
        collate_fn=pseudo_collate,
        **extra,
    )


def _begin_worker(_: int) -> None:
    """Keep each process that reads ahead to one thread, and out of reach of what asks its whole group to end.

    Ctrl-C and launchers signal a group of processes; the one that trains takes its step to the end, and needs images.
    When that one is gone, torch ends these.
    """
    os.setpgrp()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _check_loader(settings: Any, name: str) -> None:
    if unknown := sorted(set(settings) - KNOWN - PASSED_ON):
        raise ConfigError(name, f"train_dataloader.{unknown[0]}: training by bdd100k-zoo has no such setting")
    kind = (settings.get("sampler") or {}).get("type")
    if kind != "DefaultSampler":
        raise ConfigError(name, f"train_dataloader.sampler: expected a DefaultSampler, found {kind}")
