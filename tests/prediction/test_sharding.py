"""Shares and batches: nothing twice, nothing left out, nothing that depends on who computes."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.prediction.sharding import batch_by_shape, chunk_size, shard_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator

sizes = st.integers(1, 40)
counts = st.integers(0, 500)
worlds = st.integers(1, 70)


@given(chunks=counts, world=worlds)
def test_shares_are_contiguous_unpadded_and_nearly_equal(chunks: int, world: int) -> None:
    shares = [shard_chunks(chunks, rank, world) for rank in range(world)]
    assert list(chain.from_iterable(shares)) == list(range(chunks))
    lengths = {len(each) for each in shares}
    assert max(lengths) - min(lengths) <= 1


def test_a_chunk_is_one_frame_where_frames_are_computed_one_by_one_and_four_batches_elsewhere() -> None:
    assert [chunk_size(size) for size in (1, 2, 8, 32)] == [1, 8, 32, 128]


shapes = st.lists(st.sampled_from(["wide", "tall", "square"]), max_size=60)


@given(shapes=shapes, size=sizes)
def test_every_item_is_in_one_batch_of_its_shape_and_in_order(shapes: list[str], size: int) -> None:
    found = list(batch_by_shape(((shape, (shape, place)) for place, shape in enumerate(shapes)), size))
    assert sorted(place for batch in found for _, place in batch) == list(range(len(shapes)))
    for shape in set(shapes):
        of_shape = [batch for batch in found if batch[0][0] == shape]
        assert {each for batch in of_shape for each, _ in batch} == {shape}
        places = [place for batch in of_shape for _, place in batch]
        assert places == [place for place, each in enumerate(shapes) if each == shape]
        assert [len(batch) for batch in of_shape[:-1]] == [size] * (len(of_shape) - 1)
        assert 0 < len(of_shape[-1]) <= size


@given(shapes=shapes, size=sizes)
def test_a_full_batch_is_given_before_the_next_item_is_asked_for(shapes: list[str], size: int) -> None:
    asked = 0

    def items() -> Iterator[tuple[str, int]]:
        nonlocal asked
        for place, shape in enumerate(shapes):
            asked = place + 1
            yield shape, place

    for batch in batch_by_shape(items(), size):
        if len(batch) == size and asked < len(shapes):
            assert batch[-1] == asked - 1
