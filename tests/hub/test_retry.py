from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.hub.retry import DEFAULT_RETRY_POLICY, FailedAttemptError, Retrier, RetryPolicy, StallDetector

chances = st.floats(0, 1)


@given(failures=st.integers(1, 20), asked=st.none() | st.floats(0, 1e6), chance=chances)
def test_pauses_are_bounded_and_never_shorter_than_what_the_server_asks(
    failures: int, asked: float | None, chance: float
) -> None:
    pause = DEFAULT_RETRY_POLICY.pause_seconds(failures, asked, chance)
    if pause is None:
        assert failures >= DEFAULT_RETRY_POLICY.tries or (asked or 0) > DEFAULT_RETRY_POLICY.longest_asked
    else:
        assert (asked or 0) <= pause <= max(DEFAULT_RETRY_POLICY.longest, DEFAULT_RETRY_POLICY.longest_asked)
        assert pause >= DEFAULT_RETRY_POLICY.first / 2


@given(failures=st.integers(1, 3), chance=chances)
def test_pauses_grow(failures: int, chance: float) -> None:
    first, second = (DEFAULT_RETRY_POLICY.pause_seconds(number, None, chance) for number in (failures, failures + 1))
    assert first is not None
    assert second is not None
    assert second == pytest.approx(2 * first)


def _course(tries: int = 3) -> tuple[Retrier, list[float]]:
    slept: list[float] = []
    return Retrier(RetryPolicy(tries=tries), slept.append), slept


def _bear(course: Retrier, reached: int = 0, **facts: object) -> None:
    course.wait_or_raise(FailedAttemptError("failed", **{"transient": True, **facts}), reached, lambda _: None)


def test_the_last_try_raises_and_does_not_sleep() -> None:
    course, slept = _course()
    _bear(course)
    _bear(course)
    with pytest.raises(FailedAttemptError):
        _bear(course)
    assert len(slept) == 2


def test_progress_begins_the_count_again() -> None:
    course, slept = _course()
    for pieces in (1, 1, 2, 2, 3, 3):
        _bear(course, pieces * StallDetector.LEAST)
    with pytest.raises(FailedAttemptError):
        _bear(course, 3 * StallDetector.LEAST)
    assert len(slept) == 6


def test_a_few_bytes_with_each_try_are_no_progress() -> None:
    course, _ = _course()
    _bear(course, 1)
    _bear(course, 2)
    with pytest.raises(FailedAttemptError):
        _bear(course, 3)


def test_few_bytes_with_each_try_add_up_to_progress() -> None:
    course, slept = _course()
    for pieces in range(1, 20):
        _bear(course, pieces * StallDetector.LEAST // 2)
    assert len(slept) == 19


def test_bytes_that_came_before_are_no_progress() -> None:
    course, _ = _course()
    _bear(course, 10)
    _bear(course, 0)
    with pytest.raises(FailedAttemptError):
        _bear(course, 9)


def test_dripping_is_no_progress() -> None:
    course, _ = _course()
    _bear(course, 1, stalled=True)
    _bear(course, 2, stalled=True)
    with pytest.raises(FailedAttemptError):
        _bear(course, 3, stalled=True)


def test_what_will_not_pass_is_raised_at_once() -> None:
    course, slept = _course()
    with pytest.raises(FailedAttemptError):
        _bear(course, transient=False)
    assert slept == []


def test_a_server_that_asks_for_an_hour_is_given_up_and_quoted() -> None:
    course, slept = _course()
    with pytest.raises(FailedAttemptError, match="left alone for 3,600 s"):
        _bear(course, retry_after=3600.0)
    assert slept == []


def test_a_long_pause_is_said() -> None:
    said: list[str] = []
    course = Retrier(RetryPolicy(first=8), lambda _: None)
    course.wait_or_raise(FailedAttemptError("answered 503", transient=True), 0, said.append)
    assert said[0].startswith("answered 503; trying again in ")


@given(
    amounts=st.lists(st.integers(0, 2 * StallDetector.LEAST), min_size=1, max_size=20),
    seconds=st.floats(0.1, 2 * StallDetector.WINDOW),
)
def test_a_transfer_is_given_up_once_too_little_came_in_a_window(amounts: list[int], seconds: float) -> None:
    now = 0.0
    pace = StallDetector(lambda: now)
    since, got = 0.0, 0
    for amount in amounts:
        now += seconds
        got += amount
        if now - since >= StallDetector.WINDOW and got < StallDetector.LEAST:
            with pytest.raises(FailedAttemptError) as caught:
                pace.add(amount)
            assert caught.value.stalled
            assert caught.value.transient
            return
        pace.add(amount)
        if now - since >= StallDetector.WINDOW:
            since, got = now, 0
