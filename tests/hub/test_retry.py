from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.hub.retry import DEFAULT_RETRY_POLICY, FailedAttemptError, RetryPolicy, StallDetector, retry

chances = st.floats(0, 1)


@given(failures=st.integers(1, 20), asked=st.none() | st.floats(0, 1e6), chance=chances)
def test_pauses_are_bounded_and_never_shorter_than_retry_after(
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


def _retry(*received: int, tries: int = 3, **facts: Any) -> list[float]:
    """Fail once after each of these numbers of received bytes, then succeed; return the pauses."""
    slept: list[float] = []
    left = list(received)

    def attempt() -> None:
        if left:
            raise FailedAttemptError("failed", **{"transient": True, **facts})

    retry(attempt, RetryPolicy(tries=tries), lambda: left.pop(0), sleep=slept.append)
    return slept


def test_the_last_try_raises() -> None:
    assert len(_retry(0, 0)) == 2
    with pytest.raises(FailedAttemptError):
        _retry(0, 0, 0)


def test_progress_restarts_the_count() -> None:
    reached = [pieces * StallDetector.LEAST for pieces in (1, 1, 2, 2, 3, 3)]
    assert len(_retry(*reached)) == 6
    with pytest.raises(FailedAttemptError):
        _retry(*reached, reached[-1])


def test_a_few_bytes_with_each_try_are_no_progress() -> None:
    with pytest.raises(FailedAttemptError):
        _retry(1, 2, 3)


def test_few_bytes_with_each_try_add_up_to_progress() -> None:
    assert len(_retry(*(pieces * StallDetector.LEAST // 2 for pieces in range(1, 20)))) == 19


def test_bytes_that_came_before_are_no_progress() -> None:
    with pytest.raises(FailedAttemptError):
        _retry(10, 0, 9)


def test_a_stalled_transfer_makes_no_progress() -> None:
    with pytest.raises(FailedAttemptError):
        _retry(*(pieces * StallDetector.LEAST for pieces in (1, 2, 3)), stalled=True)


def test_a_permanent_failure_is_raised_at_once() -> None:
    with pytest.raises(FailedAttemptError):
        _retry(0, transient=False)


def test_a_server_that_asks_for_an_hour_is_given_up_and_quoted() -> None:
    with pytest.raises(FailedAttemptError, match="asks clients to wait 3,600 s"):
        _retry(0, retry_after=3600.0)


def test_a_long_pause_is_reported() -> None:
    reported: list[str] = []
    answers = iter([FailedAttemptError("answered 503", transient=True), None])

    def attempt() -> None:
        if error := next(answers):
            raise error

    retry(attempt, RetryPolicy(first=8), report=reported.append, sleep=lambda _: None)
    assert reported[0].startswith("answered 503; trying again in ")


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
