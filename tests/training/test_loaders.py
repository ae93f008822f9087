from __future__ import annotations

import random
import tempfile
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.training.loaders import ResumableSampler, SeededDataset, _build_loader, seed_rngs

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = st.integers(1, 40)


def tickets(images: int, world: int, epoch: int, passed: int = 0, *, seed: int = 0, shuffled: bool = True) -> list[Any]:
    orders = [ResumableSampler(images, seed=seed, rank=rank, world=world, shuffled=shuffled) for rank in range(world)]
    for order in orders:
        order.set_epoch(epoch, passed)
    return [list(order) for order in orders]


@given(IMAGES, st.integers(1, 9), st.integers(0, 3))
def test_every_process_gets_equally_many_and_together_they_get_every_image(images: int, world: int, epoch: int) -> None:
    shares = tickets(images, world, epoch)
    assert {len(share) for share in shares} == {-(-images // world)}
    counts = Counter(ticket - epoch * images for share in shares for ticket in share)
    assert counts.keys() == set(range(images))
    assert max(counts.values()) - min(counts.values()) <= 1


@given(IMAGES, st.integers(1, 4), st.integers(1, 4))
def test_processes_take_together_what_one_with_their_batch_takes(images: int, world: int, batch: int) -> None:
    (alone,) = tickets(images, 1, 0)
    shares = tickets(images, world, 0)
    for step in range(images // (batch * world)):
        together = {ticket for share in shares for ticket in share[step * batch : (step + 1) * batch]}
        assert together == set(alone[step * batch * world : (step + 1) * batch * world])


@given(IMAGES, st.integers(1, 3), st.data())
def test_an_epoch_that_resumes_gives_what_was_left_of_it(images: int, world: int, data: Any) -> None:
    passed = data.draw(st.integers(0, -(-images // world)))
    whole, left = tickets(images, world, 2), tickets(images, world, 2, passed)
    assert left == [share[passed:] for share in whole]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(ticket % 30 for ticket in tickets(30, 1, *place)[0]) for place in ((0,), (1,), (2,))}
    other = tuple(tickets(30, 1, 0, seed=1)[0])
    assert len(orders | {other}) == 4
    assert tickets(30, 1, 1, shuffled=False) == [list(range(30, 60))]


class Chance:
    """A dataset whose images are what its transforms would draw."""

    metainfo: dict[str, Any] = {}  # noqa: RUF012

    def __len__(self) -> int:
        return 6

    def __getitem__(self, image: int) -> tuple[float, ...]:
        drawn = (random.random(), float(np.random.rand()), float(torch.rand(())))
        return image, *drawn


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_of_an_epoch_draws_the_same_whoever_reads_it(workers: int) -> None:
    order = ResumableSampler(6, seed=5, rank=0, world=1, shuffled=True)
    loader = DataLoader(
        SeededDataset(Chance(), seed=5),
        batch_size=1,
        sampler=order,
        num_workers=workers,
        collate_fn=lambda batch: batch[0],
    )
    seed_rngs("anything")
    order.set_epoch(1)
    found = list(loader)
    assert sorted(image for image, *_ in found) == list(range(6))
    for image, *drawn in found:
        seed_rngs(5, "image", 1, image)
        assert drawn == list(Chance()[image][1:])


def test_places_draw_apart() -> None:
    drawn = set()
    for place in ((0, "image", 1, 2), (0, "image", 12), (0, "step", 1, 2), (1, "image", 1, 2)):
        seed_rngs(*place)
        drawn.add((random.random(), float(np.random.rand()), float(torch.rand(()))))
    assert len(drawn) == 4


def test_a_temporary_folder_whose_path_is_too_long_for_sockets_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 100)))
    with pytest.raises(StorageError, match="the path is too long for the sockets of reading processes") as caught:
        _build_loader([0, 1], range(2), 1, 1)
    assert "set TMPDIR to a folder with a shorter path" in caught.value.hint
    assert [int(batch[0]) for batch in _build_loader([0, 1], range(2), 1, 0)] == [0, 1]
