"""Asking an address for a file; every way in which that fails is told in plain words."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from socket import gaierror
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions as urllib3_errors
from requests import exceptions as requests_errors

from bdd100k_zoo import __version__
from bdd100k_zoo.manifest.addresses import LOOPBACK, address_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK = 1 << 20
MAX_REDIRECTS = 10


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
def answering(session: requests.Session, address: str, waits: Waits) -> Iterator[requests.Response]:
    """Ask for an address and follow its redirects; the body of the 200 that ends them is still to be read.

    Raises:
        FailedAttemptError: no such answer came.
    """
    response = _final_answer(session, address, waits)
    with response:
        yield response


def _final_answer(session: requests.Session, address: str, waits: Waits) -> requests.Response:
    asked = address
    for _ in range(MAX_REDIRECTS + 1):
        response, redirect = _ask(session, asked, waits)
        if redirect is None and response.status_code == HTTPStatus.OK:
            return response
        response.close()
        if redirect is None:
            raise FailedAttemptError(f"answered {_status(response.status_code)}")
        asked = followed(address, asked, redirect)
    raise FailedAttemptError(f"redirected more than {MAX_REDIRECTS} times")


def _ask(session: requests.Session, address: str, waits: Waits) -> tuple[requests.Response, str | None]:
    with translated(waits):
        response = session.get(address, stream=True, allow_redirects=False, timeout=waits)
        try:
            return response, session.get_redirect_target(response)
        except UnicodeError:
            response.close()
            raise


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
    """Give the number of bytes of the file that an answer promises; None where it does not say."""
    headers = response.headers
    if "Transfer-Encoding" in headers or headers.get("Content-Encoding", "identity").lower() != "identity":
        return None
    length = headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdecimal() else None


def chunks(response: requests.Response, waits: Waits, size: int = CHUNK) -> Iterator[bytes]:
    """Read a body piece by piece, decoded where the server insisted on an encoding.

    Raises:
        FailedAttemptError: the body ended early or stopped coming.
    """
    total, got = promised_length(response), 0
    pieces = response.iter_content(size)
    while True:
        with translated(waits, partial(_broken_off, response, got, total)):
            piece = next(pieces, b"")
        if not piece:
            return
        got += len(piece)
        yield piece


def _broken_off(response: requests.Response, got: int, total: int | None) -> str:
    """Count what arrived, with what urllib3 read and did not hand out any more."""
    return ended(max(got, response.raw.tell()), total)


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
            raise FailedAttemptError(broken_off()) from error
        raise FailedAttemptError(outcome(error, waits)) from error


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
