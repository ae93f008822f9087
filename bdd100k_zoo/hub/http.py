"""Asking an address for a file within limits of time and size; every failure is reported in plain words."""

from __future__ import annotations

import codecs
import io
import math
import re
import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cache, partial
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, IncompleteRead, RemoteDisconnected
from importlib.util import find_spec
from socket import EAI_AGAIN, gaierror
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
import urllib3.exceptions as urllib3_errors
from requests import exceptions as requests_errors
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy

from bdd100k_zoo import __version__
from bdd100k_zoo.registry.addresses import LOOPBACK_HOSTS, address_problem, redact_address, redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from socket import socket

CHUNK_BYTES = 1 << 20
MAX_REDIRECTS = 10
TRANSIENT_STATUSES = {408, 425, 429, 500, 502, 503, 504}
"""What servers answer that are busy or unwell at the moment."""


STEP_BYTES = 2 * CHUNK_BYTES
"""Bytes that the head of an answer, or what frames one piece of its body, may have. Heads have a few kilobytes."""
LENGTH_DIGITS = 18


class Timeouts(NamedTuple):
    """How long to wait for a host, in seconds."""

    connect: float
    """For a connection. A host of many addresses gets twice this for all of them."""
    read: float
    """For the whole head of an answer, and for each piece of its body."""

    @property
    def whole(self) -> float:
        """For the head of the last answer of a chain of redirects, or for all of a small file."""
        return 2 * (self.connect + self.read)


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


class ResponseTooLargeError(OSError):
    """A server sent more than STEP_BYTES without completing the head of its answer, or a piece of its body."""


class _BoundedStream(io.RawIOBase):
    """Reads a socket, within a limit of time and of bytes for each step.

    The timeout of a socket limits one wait for bytes alone: a server that sends a byte a second would never exceed it.
    """

    def __init__(self, sock: socket, raw: io.RawIOBase) -> None:
        self._sock, self._raw = sock, raw
        self._seconds = sock.gettimeout()
        self.begin_step()

    def begin_step(self) -> None:
        """Allow the full time and number of bytes again."""
        self._end = None if self._seconds is None else monotonic() + self._seconds
        self._left = STEP_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._left <= 0:
            raise ResponseTooLargeError
        if self._end is not None:
            remaining = self._end - monotonic()
            if remaining <= 0:
                raise TimeoutError("timed out")
            self._sock.settimeout(remaining)
        got = self._raw.readinto(buffer)
        self._left -= got or 0
        return got

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(HTTPResponse):
    """An answer whose head, and each piece of whose body, must come within the timeout of its socket.

    http.client itself waits without end for a head that comes byte by byte, for the answer after any number of
    ``100 Continue``, and for the end of chunk extensions and trailers.
    """

    def __init__(self, sock: socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._stream = _BoundedStream(sock, self.fp.detach())
        self.fp = io.BufferedReader(self._stream)

    def read1(self, n: int = -1) -> bytes:
        self._stream.begin_step()
        return super().read1(n)


class _Expiring:
    """Socket options for as long as connecting may take.

    urllib3 gives each address of a host the whole timeout, one after the other, and reads these options before each.
    """

    def __init__(self, options: Collection[Any], seconds: float) -> None:
        self._options, self._end = options, monotonic() + seconds

    def __iter__(self) -> Iterator[Any]:
        if monotonic() > self._end:
            raise TimeoutError("timed out")
        return iter(self._options)


@cache
def _bounded(kind: type[Any]) -> type[Any]:
    """Return a kind of urllib3's connections with the limits above."""

    class Bounded(kind):  # type: ignore[misc]
        response_class = _BoundedResponse
        socket_options: Any

        def _new_conn(self) -> Any:
            options = self.socket_options
            self.socket_options = _Expiring(options or (), 2 * self.timeout)
            try:
                return super()._new_conn()
            finally:
                self.socket_options = options

    return Bounded


class _BoundedAdapter(HTTPAdapter):
    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        if proxy := select_proxy(request.url or "", proxies):
            _check_proxy(proxy)
        pool: Any = super().get_connection_with_tls_context(request, verify, proxies, cert)
        if pool.ConnectionCls.response_class is not _BoundedResponse:  # a pool is kept from one request to the next
            pool.ConnectionCls = _bounded(pool.ConnectionCls)
        return pool


SOCKS = ("socks4", "socks4a", "socks5", "socks5h")


def _check_proxy(proxy: str) -> None:
    """Raise FailedAttemptError where the proxy of the environment cannot be used: requests blames the address."""
    try:
        parts = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
    except urllib3_errors.LocationParseError:
        parts = urllib3.util.Url()
    if parts.scheme in SOCKS and find_spec("socks") is None:
        words = (
            f"needs the package PySocks for the proxy {redact_address(proxy)} of this environment: pip install PySocks"
        )
    elif parts.scheme not in ("http", "https", *SOCKS) or not parts.host:
        words = f"was not contacted: the proxy {redact_address(proxy)} of this environment is malformed"
    else:
        return
    raise FailedAttemptError(words)


def open_session() -> requests.Session:
    """Open a session; proxies, certificates and netrc are those of the environment."""
    session = _PlainSession()
    for scheme in ("https://", "http://"):
        session.mount(scheme, _BoundedAdapter())
    session.headers.update({"User-Agent": f"bdd100k-zoo/{__version__}", "Accept-Encoding": "identity"})
    return session


@contextmanager
def open_response(
    session: requests.Session,
    address: str,
    waits: Timeouts,
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
    sent, deadline = dict(headers or {}), monotonic() + waits.whole
    asked, private = address, dict(private_headers or {})
    for _ in range(MAX_REDIRECTS + 1):
        response, redirect = send_request(session, "GET", asked, waits, sent | private, deadline)
        if redirect is None and response.status_code in accepted:
            with response:
                yield response
            return
        response.close()
        if redirect is None:
            raise _refusal(response)
        asked, private = resolve_redirect(address, asked, redirect), {}
    raise FailedAttemptError(f"redirected more than {MAX_REDIRECTS} times")


def _refusal(response: requests.Response) -> FailedAttemptError:
    passing = response.status_code in TRANSIENT_STATUSES
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


def send_request(
    session: requests.Session,
    method: str,
    address: str,
    waits: Timeouts,
    headers: Mapping[str, str],
    deadline: float,
) -> tuple[requests.Response, str | None]:
    """Return the answer to one request, its body unread, and where it redirects.

    Args:
        session: where the connections are kept.
        method: of HTTP.
        address: what to ask for.
        waits: how long to wait.
        headers: what to send.
        deadline: when the head of the answer must have come, by the monotonic clock.

    Raises:
        FailedAttemptError: no answer came.
    """
    remaining = deadline - monotonic()
    if remaining <= 0:
        raise FailedAttemptError(f"did not end its redirects within {waits.whole:g} s", passing=True)
    with translate_network_errors(waits):
        response = session.request(
            method,
            address,
            stream=True,
            allow_redirects=False,
            timeout=(min(waits.connect, remaining), min(waits.read, remaining)),
            headers=headers,
            proxies=_proxies(address),
        )
        try:
            return response, session.get_redirect_target(response)
        except UnicodeError:
            response.close()
            raise


def _proxies(address: str) -> dict[str, str] | None:
    """Ask this machine itself, and no proxy, which would ask another one of the same name; else as the user set it."""
    host = urlsplit(address).hostname or ""
    return {"no_proxy": host} if host in LOOPBACK_HOSTS else None


def resolve_redirect(start: str, asked: str, redirect: str) -> str:
    """Return the address that a redirect leads to, if it may be followed.

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
    raise FailedAttemptError(f"redirected to {redact_address(target)}, which is not https")


def _is_local_http(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS


def _status(code: int) -> str:
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


HTML_START = re.compile(rb"<(!--|!doctype|\?xml|[a-z]{3})", re.IGNORECASE)
"""How web pages begin, and no file that is published: those are zip archives, pickles or JSON."""


def is_web_page(content_type: str, start: bytes = b"") -> bool:
    """Return whether an answer is a web page, by what it is labelled as or how its body starts."""
    if content_type.strip().lower().startswith(("text/html", "application/xhtml+xml")):
        return True
    wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = start.decode("utf-16", errors="replace").encode() if wide else start.removeprefix(codecs.BOM_UTF8)
    return HTML_START.match(text.lstrip()) is not None


def read_content_length(response: requests.Response) -> int | None:
    """Return the number of bytes that an answer promises; None where it does not say.

    Raises:
        FailedAttemptError: the number has so many digits that it cannot be one of bytes, nor be read as a number.
    """
    length = response.headers.get("Content-Length", "")
    if "Transfer-Encoding" in response.headers or not (length.isascii() and length.isdecimal()):
        return None
    if len(length) > LENGTH_DIGITS:
        raise FailedAttemptError(f"announces an impossible size: a Content-Length of {len(length):,} digits")
    return int(length)


def read_body(
    response: requests.Response, waits: Timeouts, offset: int = 0, *, within: float = math.inf
) -> Iterator[bytes]:
    """Read a body piece by piece, as the pieces arrive and of at most CHUNK bytes.

    Args:
        response: what answered.
        waits: how long to wait for the next piece.
        offset: how many bytes of the file come before the body; messages count from the file's beginning.
        within: seconds in which all of it must come; large files have a least pace instead.

    Raises:
        FailedAttemptError: the body is compressed, ended early or stopped coming.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        # What such a body unpacks to depends on the server's mood; sizes, ranges and digests are those of plain bytes.
        raise FailedAttemptError(f"sent a compressed body ({encoding[:20]!r}) although plain bytes were asked for")
    promised = read_content_length(response)
    total, got = None if promised is None else promised + offset, offset
    end = monotonic() + within
    while True:
        if monotonic() > end:
            raise FailedAttemptError(f"did not send all of it within {within:g} s", passing=True, stalled=True)
        with translate_network_errors(waits, partial(_broken_off, response, got, offset, total)):
            piece = response.raw.read1(CHUNK_BYTES, decode_content=False)
        if not piece:
            return
        got += len(piece)
        yield piece


def _broken_off(response: requests.Response, got: int, offset: int, total: int | None) -> str:
    """Count what arrived, with what urllib3 read and did not hand out any more."""
    return truncation_message(max(got, offset + response.raw.tell()), total)


def truncation_message(got: int, total: int | None) -> str:
    """Say that a body ended early."""
    if total is None:
        return f"ended after {got:,} bytes, before the end of the file"
    return f"ended after {got:,} of {total:,} bytes"


@contextmanager
def translate_network_errors(waits: Timeouts, broken_off: Callable[[], str] | None = None) -> Iterator[None]:
    """Turn whatever requests, urllib3 or the sockets below them raise into a FailedAttemptError."""
    try:
        yield
    except (requests_errors.RequestException, urllib3_errors.HTTPError, OSError, UnicodeError) as error:
        breaks_rules = any(
            isinstance(cause, PERMANENT_ERRORS) or _breaks_http(cause) for cause in exception_chain(error)
        )
        if (
            broken_off
            and not breaks_rules
            and any(isinstance(cause, CONNECTION_LOST_ERRORS) for cause in exception_chain(error))
        ):
            raise FailedAttemptError(broken_off(), passing=True) from error
        raise FailedAttemptError(describe_network_error(error, waits), passing=is_transient(error)) from error


def is_transient(error: Exception) -> bool:
    """Tell whether what went wrong may well be over in a while: not so a name or certificate that is not there."""
    chain = list(exception_chain(error))
    lasting = any(isinstance(cause, PERMANENT_ERRORS) for cause in chain)
    unknown_name = any(isinstance(cause, gaierror) and cause.errno != EAI_AGAIN for cause in chain)
    return not lasting and not unknown_name and any(isinstance(cause, TRANSIENT_ERRORS) for cause in chain)


def exception_chain(error: BaseException) -> Iterator[BaseException]:
    """Give an error and what it arose from, outermost first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def describe_network_error(error: Exception, waits: Timeouts) -> str:
    """Say in plain words what an address did."""
    chain = list(exception_chain(error))
    if any(map(_breaks_http, chain)):
        return INVALID_HTTP
    for kinds, words in ERROR_DESCRIPTIONS:
        if any(isinstance(cause, kinds) for cause in chain):
            return words.format(connect=f"{waits.connect:g}", read=f"{waits.read:g}")
    return f"failed: {redact_text(' '.join(str(error).split())) or type(error).__name__}"


def _breaks_http(cause: BaseException) -> bool:
    """Return whether http.client could not read an answer: not so where the connection was closed."""
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
    ((*CONNECTION_LOST_ERRORS, requests_errors.ConnectionError), "closed the connection without an answer"),
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
        INVALID_HTTP,
    ),
)
"""The first entry that fits any cause of an error speaks: so precise ones come first."""
