"""Chance that is the same everywhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tools.scenes.rng import Rng


def test_a_seed_gives_the_numbers_that_it_gave_elsewhere():
    rng = Rng(7)
    assert [rng.integer(0, 999) for _ in range(8)] == [463, 399, 289, 664, 205, 429, 422, 583]
    assert rng.integers(100, (2, 3)).tolist() == [[90, 24, 71], [30, 89, 39]]


@given(seed=st.integers(0, 2**70))
def test_numbers_stay_in_their_ranges(seed):
    rng = Rng(seed)
    assert all(2 <= rng.integer(2, 4) <= 4 for _ in range(50))
    assert all(-1 <= rng.between(-1, 3) <= 3 for _ in range(50))
    assert all(0 <= rng.uniform() < 1 for _ in range(50))


def test_all_of_a_range_is_met():
    rng = Rng(1)
    assert {rng.integer(2, 4) for _ in range(200)} == {2, 3, 4}
    assert {rng.choice("abc") for _ in range(200)} == {*"abc"}


def test_weights_are_kept_to():
    rng = Rng(2)
    drawn = [rng.weighted({"often": 9.0, "seldom": 1.0, "never": 0.0}) for _ in range(2000)]
    assert 1700 < drawn.count("often") < 1900
    assert "never" not in drawn


def test_different_seeds_differ():
    assert Rng(1).uniform() != Rng(2).uniform() != Rng((1, 2)).uniform()
