"""Which frames are computed together, which process computes them, and one process's share of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

Item = TypeVar("Item")

BATCHES_PER_CHUNK = 4
"""Enough that images of several shapes in one chunk still fill batches, few enough that little is done again."""


def chunk_size(batch_size: int) -> int:
    """Give the number of frames in a chunk: one where they are computed one by one, else some batches."""
    return 1 if batch_size == 1 else BATCHES_PER_CHUNK * batch_size


def shard_chunks(chunks: int, rank: int, world: int) -> range:
    """Give the chunks of one process: contiguous, of nearly equal number, none twice and none left out."""
    return range(rank * chunks // world, (rank + 1) * chunks // world)


def batch_by_shape(items: Iterable[tuple[Hashable, Item]], size: int) -> Iterator[list[Item]]:
    """Group one chunk's items by shape, in stable order, into batches of at most ``size``.

    A batch is given as soon as it is full, what is left at the end. Which items share one depends on nothing but their
    order.

    Args:
        items: shape and item.
        size: items in a full batch.
    """
    waiting: dict[Hashable, list[Item]] = {}
    for shape, item in items:
        batch = waiting.setdefault(shape, [])
        batch.append(item)
        if len(batch) == size:
            yield waiting.pop(shape)
    yield from waiting.values()
