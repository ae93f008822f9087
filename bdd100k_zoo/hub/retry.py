"""How long to bear with a host: pauses between tries, and when a transfer no longer gets on."""

from __future__ import annotations

import time
from random import random
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.hub.http import FailedAttemptError

if TYPE_CHECKING:
    from collections.abc import Callable


class RetryPolicy(NamedTuple):
    """How often to try an address, and how long to pause between; in seconds."""

    tries: int = 5
    """Tries in a row that bring nothing new."""
    first: float = 0.5
    longest: float = 20.0
    """Of our own pauses, which double from ``first`` on."""
    longest_asked: float = 120.0
    """Of those that a server asks for; one that asks for more is given up for now."""

    def pause(self, failures: int, asked: float | None, chance: float) -> float | None:
        """Say how long to pause after some failures in a row; None to give up.

        Args:
            failures: how many there were, at least 1.
            asked: what the server asked for.
            chance: from 0 to 1; pauses of many clients that failed together must differ.
        """
        if failures >= self.tries or (asked is not None and asked > self.longest_asked):
            return None
        bound = min(self.longest, self.first * 2.0 ** (failures - 1))
        return max(asked or 0.0, bound * (0.5 + 0.5 * chance))


DEFAULT_RETRY_POLICY = RetryPolicy()
SHORT_RETRY_POLICY = RetryPolicy(tries=2)
"""For small files that the rest can do without, and for hosts that failed shortly before."""


class Retrier:
    """How the tries of one address go: counts failures in a row, and pauses between them."""

    def __init__(self, patience: RetryPolicy, sleep: Callable[[float], None] = time.sleep) -> None:
        self._patience = patience
        self._sleep = sleep
        self._failures = 0
        self._furthest = 0

    def bear(self, failure: FailedAttemptError, reached: int, say: Callable[[str], None]) -> None:
        """Pause before the next try, or raise the failure for good.

        Args:
            failure: what went wrong.
            reached: bytes of the file that are here. Pace.LEAST more than at the last progress are progress, and the
                count starts again; fewer are none: a server that adds a byte with each try would never be given up.
            say: told why, and how long, where the pause is long enough to wonder.
        """
        progress = reached >= self._furthest + StallDetector.LEAST and not failure.stalled
        if progress or failure.stalled:
            self._furthest = max(self._furthest, reached)
        self._failures = 1 if progress else self._failures + 1
        pause = self._patience.pause(self._failures, failure.retry_after, random())  # noqa: S311  (jitter)
        if failure.retry_after and failure.retry_after > self._patience.longest_asked:
            failure.outcome += f", and asks to be left alone for {failure.retry_after:,.0f} s"
        if not failure.passing or pause is None:
            raise failure
        if pause >= 1:
            say(f"{failure.outcome}; trying again in {pause:.0f} s")
        self._sleep(pause)


class StallDetector:
    """Notices a transfer that drips: no single wait is too long, but it does not get on."""

    WINDOW = 60.0
    """Seconds over which bytes are counted."""
    LEAST = 64 << 10
    """Bytes that must come in that time: about a thousand a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since, self._got = clock(), 0

    def count(self, amount: int) -> None:
        """Count bytes that arrived.

        Raises:
            FailedAttemptError: too few have come for too long.
        """
        self._got += amount
        now = self._clock()
        if now - self._since < self.WINDOW:
            return
        if self._got < self.LEAST:
            words = f"sent only {self._got:,} bytes in {now - self._since:.0f} s"
            raise FailedAttemptError(words, passing=True, stalled=True)
        self._since, self._got = now, 0
