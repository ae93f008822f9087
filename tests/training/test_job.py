from __future__ import annotations

import pytest

from bdd100k_zoo.training.job import GracefulStop


def test_outside_of_what_ends_gently_an_interrupt_comes_at_once() -> None:
    stop = GracefulStop()
    with pytest.raises(KeyboardInterrupt):
        stop.ask(KeyboardInterrupt())
    assert not stop.asked


def test_inside_the_first_one_waits_and_the_second_does_not() -> None:
    stop, first = GracefulStop(), KeyboardInterrupt()
    with stop.deferred():
        stop.ask(first)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            stop.ask(KeyboardInterrupt())
    assert stop.interrupt is first
