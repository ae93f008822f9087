"""HTTP requests within limits of time and size; every failure is reported in plain words."""

from __future__ import annotations

import codecs
import io
import math
import re
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus
from http.client import HTTPResponse
from importlib.util import find_spec
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
import urllib3.exceptions as urllib3_errors
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy

from bdd100k_zoo import __version__
from bdd100k_zoo.hub.retry import STEP_BYTES, FailedAttemptError, ResponseTooLargeError, translate_network_errors
from bdd100k_zoo.registry.addresses import LOOPBACK_HOSTS, address_problem, redact_address

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from socket import socket

    from bdd100k_zoo.hub.retry import Timeouts

CHUNK_BYTES = 1 << 20
"""A body is read in pieces of at most this size; smaller ones are slower (docs/performance.md)."""
MAX_REDIRECTS = 10
TRANSIENT_STATUSES = {408, 425, 429, 500, 502, 503, 504}
"""Answers of servers that are busy or have a temporary fault."""
MAX_LENGTH_DIGITS = 18
SOCKS = ("socks4", "socks4a", "socks5", "socks5h")


class _PlainSession(requests.Session):
    """Follows no redirects: requests would read their bodies completely, and follow them anywhere."""

    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[Any]:
        return iter(())


class _BoundedStream(io.RawIOBase):
    """Reads a socket, within a limit of time and of bytes for each step.

    The timeout of a socket limits one wait for bytes only: a server that sends a byte a second would never exceed it.
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


class _ExpiringOptions:
    """Socket options that raise when connecting takes too long.

    urllib3 gives each address of a host the full timeout, one after the other, and reads these options before each.
    """

    def __init__(self, options: Collection[Any], seconds: float) -> None:
        self._options, self._end = options, monotonic() + seconds

    def __iter__(self) -> Iterator[Any]:
        if monotonic() > self._end:
            raise TimeoutError("timed out")
        return iter(self._options)


@cache
def _bounded(kind: type[Any]) -> type[Any]:
    """Return a class of urllib3's connections with the limits above."""

    class Bounded(kind):  # type: ignore[misc]
        response_class = _BoundedResponse
        socket_options: Any

        def _new_conn(self) -> Any:
            options = self.socket_options
            self.socket_options = _ExpiringOptions(options or (), 2 * self.timeout)
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


def _check_proxy(proxy: str) -> None:
    """Raise FailedAttemptError if the environment's proxy is unusable: requests would blame the address."""
    try:
        parts = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
    except urllib3_errors.LocationParseError:
        parts = urllib3.util.Url()
    shown = f"{redact_address(proxy)} of this environment"
    if parts.scheme in SOCKS and find_spec("socks") is None:
        raise FailedAttemptError(f"needs the package PySocks for the proxy {shown}: pip install PySocks")
    if parts.scheme not in ("http", "https", *SOCKS) or not parts.host:
        raise FailedAttemptError(f"was not contacted: the proxy {shown} is malformed")


def open_session() -> requests.Session:
    """Open a session; proxies, certificates and netrc are those of the environment."""
    session = _PlainSession()
    for scheme in ("https://", "http://"):
        session.mount(scheme, _BoundedAdapter())
    # "identity": sizes, ranges and digests are those of plain bytes.
    session.headers.update({"User-Agent": f"bdd100k-zoo/{__version__}", "Accept-Encoding": "identity"})
    return session


@contextmanager
def open_response(
    session: requests.Session,
    address: str,
    timeouts: Timeouts,
    *,
    headers: Mapping[str, str] | None = None,
    private_headers: Mapping[str, str] | None = None,
    accepted: Collection[int] = (HTTPStatus.OK,),
) -> Iterator[requests.Response]:
    """Request an address and follow its redirects; the body of the last answer is still unread.

    Args:
        session: whose connections to use.
        address: what to request.
        timeouts: how long to wait.
        headers: sent with every request.
        private_headers: tokens; sent to the address alone, not to where it redirects.
        accepted: the statuses that are an answer; any other is a failure.

    Raises:
        FailedAttemptError: no such answer came.
    """
    response = follow_redirects(session, "GET", address, timeouts, headers or {}, private_headers or {}, [])
    with response:
        status = response.status_code
        if status not in accepted:
            transient = status in TRANSIENT_STATUSES
            wait = retry_after(response.headers.get("Retry-After", ""), datetime.now(timezone.utc))
            raise FailedAttemptError(f"answered {describe_status(status)}", transient, wait if transient else None)
        yield response


class Hop(NamedTuple):
    """One answer on the way through redirects."""

    status: int
    target: str | None
    """Where it redirects; None for the last answer."""


def follow_redirects(
    session: requests.Session,
    method: str,
    address: str,
    timeouts: Timeouts,
    headers: Mapping[str, str],
    private_headers: Mapping[str, str],
    hops: list[Hop],
    *,
    allow_http: bool = False,
) -> requests.Response:
    """Request an address and return the answer at the end of its redirects, the body unread.

    Args:
        session: whose connections to use.
        method: GET or HEAD.
        address: what to request.
        timeouts: how long to wait.
        headers: sent with every request.
        private_headers: tokens; sent to the address alone, not to where it redirects.
        hops: receives every answer as it comes.
        allow_http: follow redirects to plain http too.

    Raises:
        FailedAttemptError: no answer came, or a redirect may not be followed.
    """
    deadline, url, sent = monotonic() + timeouts.total, address, {**headers, **private_headers}
    for _ in range(MAX_REDIRECTS + 1):
        response, redirect = _send_request(session, method, url, timeouts, sent, deadline)
        if redirect is None:
            hops.append(Hop(response.status_code, None))
            return response
        response.close()
        hops.append(Hop(response.status_code, None))
        url, sent = resolve_redirect(address, url, redirect, allow_http=allow_http), dict(headers)
        hops[-1] = hops[-1]._replace(target=url)
    raise FailedAttemptError(f"redirected more than {MAX_REDIRECTS} times")


def describe_status(code: int) -> str:
    """Return a status with its phrase, if it has one."""
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


def retry_after(value: str, now: datetime) -> float | None:
    """Parse the header Retry-After, a number of seconds or a date, as seconds from now; None if it is neither."""
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    try:
        until = parsedate_to_datetime(value)
        seconds = (until.replace(tzinfo=until.tzinfo or timezone.utc) - now).total_seconds()
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds)


def _send_request(
    session: requests.Session,
    method: str,
    address: str,
    timeouts: Timeouts,
    headers: Mapping[str, str],
    deadline: float,
) -> tuple[requests.Response, str | None]:
    """Return the answer to one request, its body unread, and where it redirects.

    ``deadline`` is when the head of the answer must have come, by the monotonic clock.

    Raises:
        FailedAttemptError: no answer came.
    """
    remaining = deadline - monotonic()
    if remaining <= 0:
        raise FailedAttemptError(f"did not end its redirects within {timeouts.total:g} s", transient=True)
    host = urlsplit(address).hostname or ""
    with translate_network_errors(timeouts):
        response = session.request(
            method,
            address,
            stream=True,
            allow_redirects=False,
            timeout=(min(timeouts.connect, remaining), min(timeouts.read, remaining)),
            headers=headers,
            # A proxy would ask another machine of this name.
            proxies={"no_proxy": host} if host in LOOPBACK_HOSTS else None,
        )
        try:
            return response, session.get_redirect_target(response)
        except UnicodeError:
            response.close()
            raise


def resolve_redirect(start: str, asked: str, redirect: str, *, allow_http: bool = False) -> str:
    """Return the address that a redirect leads to, if it may be followed.

    Redirects lead to https, or within this machine; never from the network to this machine. They lead to plain http
    only if ``allow_http``, for pages that people read.

    Raises:
        FailedAttemptError: it may not be followed.
    """
    try:
        target = urljoin(asked, redirect)
    except ValueError:
        target = redirect
    if problem := address_problem(target):
        raise FailedAttemptError(f"redirected to no usable address: {problem}")
    parts = urlsplit(target)
    is_public = allow_http and parts.hostname not in LOOPBACK_HOSTS
    if parts.scheme == "https" or is_public or (_is_local_http(start) and _is_local_http(target)):
        return target
    raise FailedAttemptError(f"redirected to {redact_address(target)}, which is not https")


def _is_local_http(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS


HTML_START = re.compile(rb"<(!--|!doctype|\?xml|[a-z]{3})", re.IGNORECASE)
"""How web pages start, and no published file does: those are zip archives, pickles or JSON."""


def is_web_page(content_type: str, start: bytes = b"") -> bool:
    """Return whether an answer is a web page, by its content type or the start of its body."""
    if content_type.strip().lower().startswith(("text/html", "application/xhtml+xml")):
        return True
    wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = start.decode("utf-16", errors="replace").encode() if wide else start.removeprefix(codecs.BOM_UTF8)
    return HTML_START.match(text.lstrip()) is not None


def read_content_length(response: requests.Response) -> int | None:
    """Return the number of bytes that an answer promises; None if it promises none.

    Raises:
        FailedAttemptError: the number has so many digits that it cannot be a size.
    """
    length = response.headers.get("Content-Length", "")
    if "Transfer-Encoding" in response.headers or not (length.isascii() and length.isdecimal()):
        return None
    if len(length) > MAX_LENGTH_DIGITS:
        raise FailedAttemptError(f"announces an impossible size: a Content-Length of {len(length):,} digits")
    return int(length)


def read_body(
    response: requests.Response, timeouts: Timeouts, offset: int = 0, *, deadline_seconds: float = math.inf
) -> Iterator[bytes]:
    """Yield a body in chunks of at most CHUNK_BYTES, as they arrive.

    Args:
        response: what answered.
        timeouts: how long to wait for the next chunk.
        offset: how many bytes of the file come before the body; messages count from the start of the file.
        deadline_seconds: seconds in which all of it must come; large files have a least pace instead.

    Raises:
        FailedAttemptError: the body is compressed, ended early or stopped coming.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise FailedAttemptError(f"sent a compressed body ({encoding[:20]!r}) although plain bytes were requested")
    promised = read_content_length(response)
    total, got = None if promised is None else promised + offset, offset

    def broken_off() -> str:
        # Count what arrived, with what urllib3 read and did not hand out any more.
        return truncation_message(max(got, offset + response.raw.tell()), total)

    end = monotonic() + deadline_seconds
    while True:
        if monotonic() > end:
            message = f"did not send all of it within {deadline_seconds:g} s"
            raise FailedAttemptError(message, transient=True, stalled=True)
        with translate_network_errors(timeouts, broken_off):
            chunk = response.raw.read1(CHUNK_BYTES, decode_content=False)
        if not chunk:
            return
        got += len(chunk)
        yield chunk


def truncation_message(got: int, total: int | None) -> str:
    """Return the message for a body that ended early."""
    if total is None:
        return f"ended after {got:,} bytes, before the end of the file"
    return f"ended after {got:,} of {total:,} bytes"
