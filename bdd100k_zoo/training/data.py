"""Datasets of a config to loaders whose batches depend on nothing but the seed.

Whatever is drawn at random — the order of an epoch, the flip of an image, the boxes that a head samples in a step — is
drawn from a state that is made of the seed and of where the training is. So a training that goes on from a checkpoint
draws what the unbroken one would have drawn, with however many processes that read ahead, and a checkpoint needs to
hold no state of any generator: its seed and counters are the state.
"""

from __future__ import annotations

import hashlib
import os
import random
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from mmdet.registry import DATASETS
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader, Dataset, Sampler

from bdd100k_zoo.backends.common.config import mmdet_default_scope, translate_config_errors
from bdd100k_zoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mmengine.config import Config

    from bdd100k_zoo.prediction.launch import ProcessRank


def derive_seed(*place: object) -> int:
    """Give a number of 63 bits that stands for a place, as ``number_of(seed, "order", epoch)``."""
    text = "/".join(map(str, place)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def seed_rngs(*place: object) -> None:
    """Let Python, numpy and torch (on all devices) draw from here on what belongs to a place."""
    number = derive_seed(*place)
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)


class ResumableSampler(Sampler[int]):
    """Gives each of several processes its images of an epoch, as tickets: ``epoch · images + image``.

    Every epoch is a permutation, lengthened by its beginning until each process has equally many; step k of all
    processes together takes what step k of one process with their batch would.
    """

    def __init__(self, images: int, *, seed: int, rank: int, world: int, shuffled: bool) -> None:
        self._images, self._seed, self._rank, self._world, self._shuffled = images, seed, rank, world, shuffled
        self._epoch = self._passed = 0

    def begin(self, epoch: int, passed: int = 0) -> None:
        """Choose the epoch that the next iteration is of, and how many images of it this process has had already."""
        self._epoch, self._passed = epoch, passed

    def __iter__(self) -> Iterator[int]:
        order = list(range(self._images))
        if self._shuffled:
            generator = torch.Generator().manual_seed(derive_seed(self._seed, "order", self._epoch))
            order = torch.randperm(self._images, generator=generator).tolist()
        padded = order + order[: len(self) * self._world - self._images]
        while len(padded) < len(self) * self._world:  # fewer images than processes
            padded += order[: len(self) * self._world - len(padded)]
        mine = padded[self._rank :: self._world]
        return (self._epoch * self._images + image for image in mine[self._passed :])

    def __len__(self) -> int:
        return -(-self._images // self._world)


class SeededDataset(Dataset[Any]):
    """A dataset by tickets: an image's transforms draw what belongs to it in its epoch, in whatever process they run.

    Attributes:
        metainfo: the dataset's own.
    """

    def __init__(self, dataset: Any, *, seed: int) -> None:
        self._dataset, self._seed = dataset, seed
        self.metainfo = dataset.metainfo

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, ticket: int) -> Any:
        epoch, image = divmod(ticket, len(self._dataset))
        seed_rngs(self._seed, "image", epoch, image)
        return self._dataset[image]


HANDLED_KEYS = {"batch_size", "num_workers", "persistent_workers", "sampler", "dataset"}
"""Settings of a dataloader that are ours to heed, or to replace."""
FORWARDED_KEYS = {"drop_last", "pin_memory", "prefetch_factor", "timeout"}
"""Those that torch's loader is given."""


def build_train_loader(
    config: Config, *, name: str, batch_size: int, workers: int, seed: int, place: ProcessRank
) -> Any:
    """Build the loader of training images, whose sampler is an ``Order``.

    Raises:
        ConfigError: the settings ask for another way to choose images, or mmdet cannot build them.
        RecordError: the labels hold nothing to learn.
        StorageError, FrameNameError: the labels cannot be read.
    """
    settings = config.train_dataloader
    _check_loader(settings, name)
    dataset = _dataset(settings.dataset, name)
    order = ResumableSampler(
        len(dataset), seed=seed, rank=place.rank, world=place.world, shuffled=bool(settings.sampler.get("shuffle"))
    )
    extra = {key: settings[key] for key in FORWARDED_KEYS if key in settings}
    return _loader(SeededDataset(dataset, seed=seed), order, batch_size, workers, extra)


def build_val_loader(config: Config, *, name: str, batch_size: int, workers: int, place: ProcessRank) -> Any:
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
    with mmdet_default_scope(), translate_config_errors("build the dataset", name=name):
        dataset = DATASETS.build(settings)
        dataset.full_init()
    return dataset


def _loader(
    dataset: Any, sampler: Sequence[int] | ResumableSampler, batch_size: int, workers: int, extra: dict[str, Any]
) -> Any:
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
    if unknown := sorted(set(settings) - HANDLED_KEYS - FORWARDED_KEYS):
        raise ConfigError(name, f"train_dataloader.{unknown[0]}: training by bdd100k-zoo has no such setting")
    kind = (settings.get("sampler") or {}).get("type")
    if kind != "DefaultSampler":
        raise ConfigError(name, f"train_dataloader.sampler: expected a DefaultSampler, found {kind}")
