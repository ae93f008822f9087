"""How an address can fail, in plain words, and whether and when to try it again."""

from __future__ import annotations

import ssl
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from random import random
from socket import EAI_AGAIN, gaierror
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeVar

import urllib3.exceptions as urllib3_errors
from requests import exceptions as requests_errors

from bdd100k_zoo.files import open_regular
from bdd100k_zoo.registry.addresses import redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Result = TypeVar("Result")


@dataclass(eq=False)
class FailedAttemptError(Exception):
    """One address failed. Only this package sees it: the store turns it into a TransferAttempt."""

    outcome: str
    """What the address did, in words that follow its name."""
    transient: bool = False
    """The same request may well succeed in a while."""
    retry_after: float | None = None
    """Seconds after which the server asks clients to come back."""
    stalled: bool = False
    """It sent something, but so slowly that the transfer was given up."""

    def __str__(self) -> str:
        return self.outcome


class RetryPolicy(NamedTuple):
    """How often to try an address, and how long to pause between tries; in seconds."""

    tries: int = 5
    """Tries in a row that bring nothing new."""
    first: float = 0.5
    longest: float = 20.0
    """Of our own pauses, which double from ``first`` on."""
    longest_asked: float = 120.0
    """Of pauses that a server asks for; one that asks for more is given up for now."""

    def pause_seconds(self, failures: int, retry_after: float | None, jitter: float) -> float | None:
        """Return how long to pause after some failures in a row; None to give up.

        Args:
            failures: how many there were, at least 1.
            retry_after: seconds that the server requested; None if it did not.
            jitter: from 0 to 1; clients that failed together must not all return together.
        """
        if failures >= self.tries or (retry_after is not None and retry_after > self.longest_asked):
            return None
        bound = min(self.longest, self.first * 2.0 ** (failures - 1))
        return max(retry_after or 0.0, bound * (0.5 + 0.5 * jitter))


DEFAULT_RETRY_POLICY = RetryPolicy()
SHORT_RETRY_POLICY = RetryPolicy(tries=2)
"""For small files that a download can do without."""


def retry(
    attempt: Callable[[], Result],
    policy: RetryPolicy,
    bytes_received: Callable[[], int] = lambda: 0,
    report: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Return what ``attempt`` returns, trying again after failures that may be over in a while.

    Args:
        attempt: requests one address.
        policy: how many failures in a row to accept, and how long to pause after each.
        bytes_received: returns how many bytes of the file have arrived. ``StallDetector.LEAST`` more than at the last
            progress are progress, and the count of failures starts again. Fewer are none: a server that adds a byte
            with each try would never be given up.
        report: receives why and how long a pause is, if it is long enough to wonder about.
        sleep: pauses for some seconds.

    Raises:
        FailedAttemptError: the last failure.
    """
    failures = furthest = 0
    while True:
        try:
            return attempt()
        except FailedAttemptError as failure:
            received = bytes_received()
            is_progress = received >= furthest + StallDetector.LEAST and not failure.stalled
            if is_progress or failure.stalled:
                furthest = max(furthest, received)
            failures = 1 if is_progress else failures + 1
            pause = policy.pause_seconds(failures, failure.retry_after, random())  # noqa: S311  (jitter)
            if failure.retry_after and failure.retry_after > policy.longest_asked:
                failure.outcome += f", and asks clients to wait {failure.retry_after:,.0f} s"
            if not failure.transient or pause is None:
                raise
            if pause >= 1:
                report(f"{failure.outcome}; trying again in {pause:.0f} s")
        sleep(pause)


@contextmanager
def open_local(path: Path) -> Iterator[BinaryIO]:
    """Open a file of this machine; failing to read it in the block raises FailedAttemptError."""
    try:
        with open_regular(path) as file:
            yield file
    except OSError as error:
        raise FailedAttemptError(f"cannot be read: {error.strerror or error}") from error


class StallDetector:
    """Detects a transfer that drips: no single wait is too long, but it makes no progress."""

    WINDOW = 60.0
    """Seconds over which bytes are counted."""
    LEAST = 64 << 10
    """Bytes that must come in that time: about a thousand a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since, self._got = clock(), 0

    def add(self, amount: int) -> None:
        """Count bytes that arrived; raise FailedAttemptError if too few have come for too long."""
        self._got += amount
        now = self._clock()
        if now - self._since < self.WINDOW:
            return
        if self._got < self.LEAST:
            message = f"sent only {self._got:,} bytes in {now - self._since:.0f} s"
            raise FailedAttemptError(message, transient=True, stalled=True)
        self._since, self._got = now, 0


class Timeouts(NamedTuple):
    """How long to wait for a host, in seconds."""

    connect: float
    """For a connection. A host of many addresses gets twice this for all of them."""
    read: float
    """For the complete head of an answer, and for each piece of its body."""

    @property
    def total(self) -> float:
        """For the head of the last answer of a chain of redirects, or for all of a small file."""
        return 2 * (self.connect + self.read)


STEP_BYTES = 2 << 20
"""Bytes that the head of an answer, or the framing of one piece of its body, may have. Heads have a few kilobytes."""


class ResponseTooLargeError(OSError):
    """A server sent more than STEP_BYTES without completing the head of its answer, or a piece of its body."""


@contextmanager
def translate_network_errors(timeouts: Timeouts, broken_off: Callable[[], str] | None = None) -> Iterator[None]:
    """Turn whatever requests, urllib3 or the sockets below them raise into a FailedAttemptError.

    Args:
        timeouts: those that were in force, for the message.
        broken_off: the message for a connection that was lost in the middle of a body.
    """
    try:
        yield
    except (requests_errors.RequestException, urllib3_errors.HTTPError, OSError, UnicodeError) as error:
        chain = list(_exception_chain(error))
        conclusive = any(isinstance(cause, PERMANENT_ERRORS) or _breaks_http(cause) for cause in chain)
        if broken_off and not conclusive and any(isinstance(cause, CONNECTION_LOST_ERRORS) for cause in chain):
            raise FailedAttemptError(broken_off(), transient=True) from error
        raise FailedAttemptError(describe_network_error(error, timeouts), transient=_is_transient(chain)) from error


def _is_transient(chain: list[BaseException]) -> bool:
    """Return whether an error may well be over in a while; not so a name or certificate that does not exist."""
    permanent = any(isinstance(cause, PERMANENT_ERRORS) for cause in chain)
    unknown_name = any(isinstance(cause, gaierror) and cause.errno != EAI_AGAIN for cause in chain)
    return not permanent and not unknown_name and any(isinstance(cause, TRANSIENT_ERRORS) for cause in chain)


def _exception_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, outermost first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def describe_network_error(error: Exception, timeouts: Timeouts) -> str:
    """Return what an address did, in plain words."""
    chain = list(_exception_chain(error))
    if any(map(_breaks_http, chain)):
        return INVALID_HTTP
    for kinds, words in ERROR_DESCRIPTIONS:
        if any(isinstance(cause, kinds) for cause in chain):
            return words.format(connect=f"{timeouts.connect:g}", read=f"{timeouts.read:g}")
    return f"failed: {redact_text(' '.join(str(error).split())) or type(error).__name__}"


def _breaks_http(cause: BaseException) -> bool:
    """Return whether http.client could not parse an answer; not so if the connection was closed."""
    return isinstance(cause, HTTPException) and not isinstance(cause, (IncompleteRead, RemoteDisconnected))


CONNECTION_LOST_ERRORS = (
    urllib3_errors.ProtocolError,
    urllib3_errors.IncompleteRead,
    requests_errors.ChunkedEncodingError,
    ConnectionResetError,
)

PERMANENT_ERRORS = (ssl.SSLCertVerificationError, requests_errors.InvalidURL, UnicodeError, ResponseTooLargeError)

INVALID_HTTP = "sent an answer that breaks the rules of HTTP"

TRANSIENT_ERRORS = (
    requests_errors.ConnectionError,
    requests_errors.Timeout,
    *CONNECTION_LOST_ERRORS,
    urllib3_errors.TimeoutError,
    urllib3_errors.ProxyError,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)

ERROR_DESCRIPTIONS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    (
        (ResponseTooLargeError,),
        f"sent {STEP_BYTES:,} bytes of headers, chunk extensions or trailers, and no end of them",
    ),
    (
        (requests_errors.ProxyError, urllib3_errors.ProxyError, requests_errors.InvalidProxyURL),
        "cannot be reached through the proxy of this environment",
    ),
    ((gaierror,), "has a host that does not resolve"),
    ((ConnectionRefusedError,), "refused the connection"),
    ((ssl.SSLCertVerificationError,), "has no certificate that this machine trusts"),
    ((requests_errors.SSLError, urllib3_errors.SSLError, ssl.SSLError), "failed to set up an encrypted connection"),
    ((requests_errors.ReadTimeout, urllib3_errors.ReadTimeoutError), "timed out after {read} s without an answer"),
    ((urllib3_errors.NewConnectionError,), "cannot be reached from here"),
    (
        (requests_errors.ConnectTimeout, urllib3_errors.ConnectTimeoutError),
        "timed out after {connect} s without a connection",
    ),
    ((requests_errors.Timeout, urllib3_errors.TimeoutError, TimeoutError), "timed out after {read} s"),
    (
        (
            requests_errors.InvalidURL,
            requests_errors.InvalidSchema,
            requests_errors.MissingSchema,
            requests_errors.URLRequired,
            urllib3_errors.LocationValueError,
            UnicodeError,
        ),
        "is not a usable address",
    ),
    ((*CONNECTION_LOST_ERRORS, requests_errors.ConnectionError), "closed the connection without an answer"),
    ((requests_errors.RetryError, urllib3_errors.MaxRetryError), "failed at every retry"),
    ((requests_errors.RequestException, urllib3_errors.HTTPError), INVALID_HTTP),
)
"""The first entry that matches any cause of an error is used: precise ones come first."""
