"""Asking an address for a file; every way in which that fails is told in plain words."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from socket import EAI_AGAIN, gaierror
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions as urllib3_errors
from requests import exceptions as requests_errors

from bdd100k_zoo import __version__
from bdd100k_zoo.manifest.addresses import LOOPBACK, address_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

CHUNK = 1 << 20
MAX_REDIRECTS = 10
PASSING_STATUSES = {408, 425, 429, 500, 502, 503, 504}
"""What servers answer that are busy or unwell at the moment."""


class Waits(NamedTuple):
    """How long to wait for a host, in seconds."""

    connect: float
    read: float
    """Between two pieces of an answer."""


@dataclass(eq=False)
class FailedAttemptError(Exception):
    """One address failed. It stays in this room: the store turns it into an Attempt."""

    outcome: str
    """What the address did, in words that follow its name."""
    passing: bool = False
    """The same request may well succeed in a while."""
    retry_after: float | None = None
    """Seconds that the server asks to be left alone."""
    stalled: bool = False
    """It sent something, but so slowly that the transfer was given up."""

    def __str__(self) -> str:
        return self.outcome


class _PlainSession(requests.Session):
    """Leaves redirects alone: requests would read their bodies whole and look into targets that it is not to follow."""

    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[Any]:
        return iter(())


def open_session() -> requests.Session:
    """Open a session; proxies, certificates and netrc are those of the environment."""
    session = _PlainSession()
    session.headers.update({"User-Agent": f"bdd100k-zoo/{__version__}", "Accept-Encoding": "identity"})
    return session


@contextmanager
def answering(
    session: requests.Session,
    address: str,
    waits: Waits,
    *,
    headers: Mapping[str, str] | None = None,
    private_headers: Mapping[str, str] | None = None,
    accepted: Collection[int] = (HTTPStatus.OK,),
) -> Iterator[requests.Response]:
    """Ask for an address and follow its redirects; the body of the answer that ends them is still to be read.

    Args:
        session: where the connections are kept.
        address: what to ask for.
        waits: how long to wait.
        headers: sent with every request.
        private_headers: sent to the address alone, not to where it redirects: tokens.
        accepted: the statuses that are an answer; any other is a failure.

    Raises:
        FailedAttemptError: no such answer came.
    """
    response = _final_answer(session, address, waits, dict(headers or {}), dict(private_headers or {}), accepted)
    with response:
        yield response


def _final_answer(
    session: requests.Session,
    address: str,
    waits: Waits,
    headers: dict[str, str],
    private_headers: dict[str, str],
    accepted: Collection[int],
) -> requests.Response:
    asked, sent = address, headers | private_headers
    for _ in range(MAX_REDIRECTS + 1):
        response, redirect = _ask(session, asked, waits, sent)
        if redirect is None and response.status_code in accepted:
            return response
        response.close()
        if redirect is None:
            raise _refusal(response)
        asked, sent = followed(address, asked, redirect), headers
    raise FailedAttemptError(f"redirected more than {MAX_REDIRECTS} times")


def _refusal(response: requests.Response) -> FailedAttemptError:
    passing = response.status_code in PASSING_STATUSES
    asked = retry_after(response.headers.get("Retry-After", ""), datetime.now(timezone.utc)) if passing else None
    return FailedAttemptError(f"answered {_status(response.status_code)}", passing, asked)


def retry_after(value: str, now: datetime) -> float | None:
    """Read the header Retry-After, a number of seconds or a date, as seconds from now; None where it is neither."""
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    try:
        until = parsedate_to_datetime(value)
        seconds = (until.replace(tzinfo=until.tzinfo or timezone.utc) - now).total_seconds()
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds)


def _ask(
    session: requests.Session, address: str, waits: Waits, headers: Mapping[str, str]
) -> tuple[requests.Response, str | None]:
    with translated(waits):
        response = session.get(
            address, stream=True, allow_redirects=False, timeout=waits, headers=headers, proxies=_proxies(address)
        )
        try:
            return response, session.get_redirect_target(response)
        except UnicodeError:
            response.close()
            raise


def _proxies(address: str) -> dict[str, str] | None:
    """Ask this machine itself, and no proxy, which would ask another one of the same name; else as the user set it."""
    host = urlsplit(address).hostname or ""
    return {"no_proxy": host} if host in LOOPBACK else None


def followed(start: str, asked: str, redirect: str) -> str:
    """Give the address that a redirect leads to, if it may be followed.

    Redirects lead to https, or within this machine; never from the network to this machine or to plain http.

    Raises:
        FailedAttemptError: it may not.
    """
    try:
        target = urljoin(asked, redirect)
    except ValueError:
        target = redirect
    problem = address_problem(target)
    if problem:
        raise FailedAttemptError(f"redirected to no usable address: {problem}")
    if urlsplit(target).scheme == "https" or (_is_local_http(start) and _is_local_http(target)):
        return target
    raise FailedAttemptError(f"redirected to {target}, which is not https")


def _is_local_http(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme == "http" and parts.hostname in LOOPBACK


def _status(code: int) -> str:
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


def promised_length(response: requests.Response) -> int | None:
    """Give the number of bytes that an answer promises; None where it does not say."""
    length = response.headers.get("Content-Length", "")
    if "Transfer-Encoding" in response.headers or not (length.isascii() and length.isdecimal()):
        return None
    return int(length)


def chunks(response: requests.Response, waits: Waits, offset: int = 0) -> Iterator[bytes]:
    """Read a body piece by piece, as the pieces arrive and of at most CHUNK bytes.

    Args:
        response: what answered.
        waits: how long to wait for the next piece.
        offset: how many bytes of the file come before the body; messages count from the file's beginning.

    Raises:
        FailedAttemptError: the body is compressed, ended early or stopped coming.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        # What such a body unpacks to depends on the server's mood; sizes, ranges and digests are those of plain bytes.
        raise FailedAttemptError(f"sent a compressed body ({encoding[:20]!r}) although plain bytes were asked for")
    promised = promised_length(response)
    total, got = None if promised is None else promised + offset, offset
    while True:
        with translated(waits, partial(_broken_off, response, got, offset, total)):
            piece = response.raw.read1(CHUNK, decode_content=False)
        if not piece:
            return
        got += len(piece)
        yield piece


def _broken_off(response: requests.Response, got: int, offset: int, total: int | None) -> str:
    """Count what arrived, with what urllib3 read and did not hand out any more."""
    return ended(max(got, offset + response.raw.tell()), total)


def ended(got: int, total: int | None) -> str:
    """Say that a body ended early."""
    if total is None:
        return f"ended after {got:,} bytes, before the end of the file"
    return f"ended after {got:,} of {total:,} bytes"


@contextmanager
def translated(waits: Waits, broken_off: Callable[[], str] | None = None) -> Iterator[None]:
    """Turn whatever requests, urllib3 or the sockets below them raise into a FailedAttemptError."""
    try:
        yield
    except (requests_errors.RequestException, urllib3_errors.HTTPError, OSError, UnicodeError) as error:
        if broken_off and any(isinstance(cause, BROKEN_OFF) for cause in causes(error)):
            raise FailedAttemptError(broken_off(), passing=True) from error
        raise FailedAttemptError(outcome(error, waits), passing=is_passing(error)) from error


def is_passing(error: Exception) -> bool:
    """Tell whether what went wrong may well be over in a while: not so a name or certificate that is not there."""
    chain = list(causes(error))
    lasting = any(isinstance(cause, LASTING) for cause in chain)
    unknown_name = any(isinstance(cause, gaierror) and cause.errno != EAI_AGAIN for cause in chain)
    return not lasting and not unknown_name and any(isinstance(cause, PASSING) for cause in chain)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Give an error and what it arose from, outermost first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def outcome(error: Exception, waits: Waits) -> str:
    """Say in plain words what an address did."""
    chain = list(causes(error))
    for kinds, words in OUTCOMES:
        if any(isinstance(cause, kinds) for cause in chain):
            return words.format(connect=f"{waits.connect:g}", read=f"{waits.read:g}")
    return f"failed: {' '.join(str(error).split()) or type(error).__name__}"


BROKEN_OFF = (
    urllib3_errors.ProtocolError,
    urllib3_errors.IncompleteRead,
    requests_errors.ChunkedEncodingError,
    ConnectionResetError,
)

LASTING = (ssl.SSLCertVerificationError, requests_errors.InvalidURL, UnicodeError)

PASSING = (
    requests_errors.ConnectionError,
    requests_errors.Timeout,
    *BROKEN_OFF,
    urllib3_errors.TimeoutError,
    urllib3_errors.ProxyError,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)

OUTCOMES: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
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
    ((requests_errors.TooManyRedirects,), "redirected too often"),
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
    ((requests_errors.ContentDecodingError, urllib3_errors.DecodeError), "sent a body that does not decode"),
    ((*BROKEN_OFF, requests_errors.ConnectionError), "closed the connection without an answer"),
    ((requests_errors.RetryError, urllib3_errors.MaxRetryError), "failed at every retry"),
    (
        (
            requests_errors.HTTPError,
            requests_errors.InvalidHeader,
            requests_errors.InvalidJSONError,
            requests_errors.StreamConsumedError,
            requests_errors.UnrewindableBodyError,
            urllib3_errors.HTTPError,
        ),
        "sent an answer that breaks the rules of HTTP",
    ),
)
"""The first entry that fits any cause of an error speaks: so precise ones come first."""
