"""From the datasets of a config to loaders whose batches depend on the seed alone.

All random numbers (the order of an epoch, the flip of an image, the boxes that a head samples in a step) come from
generators that are seeded by the seed and the position in the training. So a resumed training gets the same random
numbers as an uninterrupted one, with any number of reading processes, and checkpoints need no state of a generator.
"""

from __future__ import annotations

import copy
import hashlib
import os
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.dataset import Compose, pseudo_collate
from torch.utils.data import DataLoader, Dataset, Sampler

from bdd100k_zoo.backends.common.config import mmdet_default_scope, translate_config_errors
from bdd100k_zoo.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mmengine.config import Config

    from bdd100k_zoo.prediction.launch import ProcessRank

HANDLED_KEYS = {"batch_size", "num_workers", "persistent_workers", "sampler", "dataset"}
"""Settings of a dataloader that this module reads, or replaces."""
FORWARDED_KEYS = {"drop_last", "pin_memory", "prefetch_factor", "timeout"}
"""Those that are passed on to torch's loader."""


MAX_SOCKET_PATH = 107
"""Bytes of a Unix socket's path on Linux, without the terminating zero."""


def derive_seed(*key: object) -> int:
    """Return a number of 63 bits for a key, as ``derive_seed(seed, "order", epoch)``."""
    text = "/".join(map(str, key)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def seed_rngs(*key: object) -> None:
    """Seed the generators of Python, numpy and torch (on all devices) by a key."""
    number = derive_seed(*key)
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)


class ResumableSampler(Sampler[int]):
    """The images of an epoch for one of several processes, each as ``epoch · images + image``.

    An epoch is a permutation, extended by its own beginning until all processes get equally many images. Step k of all
    processes together uses the images that step k of a single process would use with the same total batch.
    """

    def __init__(self, images: int, *, seed: int, rank: int, world: int, shuffled: bool) -> None:
        self._images, self._seed, self._rank, self._world, self._shuffled = images, seed, rank, world, shuffled
        self._epoch = self._consumed = 0

    def set_epoch(self, epoch: int, consumed: int = 0) -> None:
        """Set the epoch of the next iteration, and how many of its images this process has already used."""
        self._epoch, self._consumed = epoch, consumed

    def __iter__(self) -> Iterator[int]:
        order = list(range(self._images))
        if self._shuffled:
            generator = torch.Generator().manual_seed(derive_seed(self._seed, "order", self._epoch))
            order = torch.randperm(self._images, generator=generator).tolist()
        total = len(self) * self._world
        while len(order) < total:  # more than once where there are fewer images than processes
            order += order[: min(self._images, total - len(order))]
        mine = order[self._rank :: self._world]
        return (self._epoch * self._images + image for image in mine[self._consumed :])

    def __len__(self) -> int:
        return -(-self._images // self._world)


class SeededDataset(Dataset[Any]):
    """A dataset whose items are those of a sampler: the transforms of an image are seeded by its epoch and index.

    Attributes:
        metainfo: the dataset's own.
    """

    def __init__(self, dataset: Any, *, seed: int) -> None:
        self._dataset, self._seed = dataset, seed
        self._later: tuple[int, Any] | None = None  # the epoch from which another dataset is read, and that dataset
        self.metainfo = dataset.metainfo

    def switch_pipeline(self, epoch: int, pipeline: Sequence[dict[str, Any]]) -> None:
        """Apply other transforms from an epoch on, counted from 0, in place of those of the outermost dataset."""
        later = copy.copy(self._dataset)
        with mmdet_default_scope():
            built = [TRANSFORMS.build(step) for step in pipeline]
        # mmdet's MultiImageMixDataset keeps a list, its other datasets a Compose.
        later.pipeline = built if isinstance(later.pipeline, list) else Compose(built)
        if hasattr(later, "pipeline_types"):
            later.pipeline_types = [step["type"] for step in pipeline]
        self._later = epoch, later

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        epoch, image = divmod(index, len(self._dataset))
        seed_rngs(self._seed, "image", epoch, image)
        if self._later is not None and epoch >= self._later[0]:
            return self._later[1][image]
        return self._dataset[image]


def build_train_loader(
    config: Config, *, name: str, batch_size: int, workers: int, seed: int, place: ProcessRank
) -> Any:
    """Build the loader of training images, whose sampler is a ``ResumableSampler``.

    Raises:
        ConfigError: the settings need another sampler, or mmdet cannot build them.
        InvalidFileError: no frame of the labels can be trained on.
        StorageError, InvalidFileError: the labels cannot be read.
    """
    settings = config.train_dataloader
    if unknown := sorted(set(settings) - HANDLED_KEYS - FORWARDED_KEYS):
        raise ConfigError(name, f"train_dataloader.{unknown[0]}: `bdd100k-zoo train` does not support this setting")
    if (kind := (settings.get("sampler") or {}).get("type")) != "DefaultSampler":
        raise ConfigError(name, f"train_dataloader.sampler: expected a DefaultSampler, found {kind}")
    dataset = _build_dataset(settings.dataset, name)
    shuffled = bool(settings.sampler.get("shuffle"))
    sampler = ResumableSampler(len(dataset), seed=seed, rank=place.rank, world=place.world, shuffled=shuffled)
    forwarded = {key: settings[key] for key in FORWARDED_KEYS if key in settings}
    return _build_loader(SeededDataset(dataset, seed=seed), sampler, batch_size, workers, **forwarded)


def build_val_loader(config: Config, *, name: str, batch_size: int, workers: int, place: ProcessRank) -> Any:
    """Build the loader of one process's share of the validation images, in order; its sampler is their indices.

    Raises:
        ConfigError, StorageError, InvalidFileError: as ``build_train_loader``.
    """
    dataset = _build_dataset(config.test_dataloader.dataset, name)
    first, end = (len(dataset) * rank // place.world for rank in (place.rank, place.rank + 1))
    return _build_loader(dataset, range(first, end), batch_size, workers)


def _build_dataset(settings: Any, name: str) -> Any:
    with mmdet_default_scope(), translate_config_errors("build the dataset", name=name):
        dataset = DATASETS.build(settings)
        dataset.full_init()
    return dataset


def _build_loader(
    dataset: Any, sampler: Sequence[int] | ResumableSampler, batch_size: int, workers: int, **settings: Any
) -> Any:
    if workers:
        _check_temporary_folder()
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_init_worker,
        collate_fn=pseudo_collate,
        **settings,
    )


def _check_temporary_folder() -> None:
    """Check that reading processes can send their tensors; raises StorageError.

    They do so through a socket in the temporary folder. If its path is longer than a socket's may be, torch loses the
    tensors without an error, and training waits forever.
    """
    folder = Path(tempfile.gettempdir())
    if len(os.fsencode(folder / "pymp-01234567" / "listener-01234567")) > MAX_SOCKET_PATH:
        raise StorageError(
            folder,
            "the path is too long for the sockets of reading processes",
            "set TMPDIR to a folder with a shorter path, or read in the training process with --workers 0",
        )


def _init_worker(_: int) -> None:
    """Limit a reading process to one thread, and give it a process group of its own.

    Ctrl-C and launchers signal a whole group. The training process then finishes its step, for which it still needs
    images. torch ends the reading processes when the training process has ended.
    """
    os.setpgrp()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
