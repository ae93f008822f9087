"""Which images come when, and what chance makes of each: decided by the seed, the epoch and the image alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset, Sampler

from bdd100k_zoo.mmdet_backend.training.randomness import draw_from, number_of

if TYPE_CHECKING:
    from collections.abc import Iterator


class Order(Sampler[int]):
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
            generator = torch.Generator().manual_seed(number_of(self._seed, "order", self._epoch))
            order = torch.randperm(self._images, generator=generator).tolist()
        padded = order + order[: len(self) * self._world - self._images]
        while len(padded) < len(self) * self._world:  # fewer images than processes
            padded += order[: len(self) * self._world - len(padded)]
        mine = padded[self._rank :: self._world]
        return (self._epoch * self._images + image for image in mine[self._passed :])

    def __len__(self) -> int:
        return -(-self._images // self._world)


class Drawn(Dataset[Any]):
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
        draw_from(self._seed, "image", epoch, image)
        return self._dataset[image]
