from __future__ import annotations

import inspect
import socket
import ssl
import threading
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
import requests
import urllib3.exceptions
from fault_host import Reply
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import BaseAdapter

from bdd100k_zoo import __version__
from bdd100k_zoo.hub.http import open_response, open_session, read_body, resolve_redirect, retry_after
from bdd100k_zoo.hub.retry import FailedAttemptError, Timeouts, describe_network_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fault_host import Host

WAITS = Timeouts(1, 1)
NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with open_session() as session:
        yield session


@pytest.fixture
def send(session: requests.Session) -> Callable[[str], bytes]:
    """Ask for an address and read what it answers."""

    def read(address: str) -> bytes:
        with open_response(session, address, WAITS) as response:
            return b"".join(read_body(response, WAITS))

    return read


def test_a_connection_is_bounded_once_however_many_requests_it_serves(
    host: Host, session: requests.Session, send: Callable[[str], bytes]
) -> None:
    address = host.serves("/x", *[Reply(b"x")] * 3)
    lengths = set()
    for _ in range(3):
        send(address)
        pool = session.get_adapter(address).poolmanager.connection_from_url(address)
        lengths.add(len(pool.ConnectionCls.__mro__))
    assert len(lengths) == 1


def test_the_request_names_the_package_and_asks_for_plain_bytes(host: Host, send: Callable[[str], bytes]) -> None:
    send(host.serves("/x.pth", b"content"))
    headers = host.seen_headers[0]
    assert headers["User-Agent"] == f"bdd100k-zoo/{__version__}"
    assert headers["Accept-Encoding"] == "identity"


def test_private_headers_are_not_sent_to_where_an_address_redirects(host: Host, session: requests.Session) -> None:
    there = host.serves("/there", b"content")
    address = host.serves("/here", Reply(status=302, headers={"Location": there}))
    sent = {"headers": {"Range": "bytes=1-"}, "private_headers": {"Authorization": "Bearer secret"}}
    with open_response(session, address, WAITS, **sent):
        pass
    first, second = host.seen_headers
    assert (first["Authorization"], first["Range"]) == ("Bearer secret", "bytes=1-")
    assert "Authorization" not in second
    assert second["Range"] == "bytes=1-"


@pytest.mark.parametrize("framing", ["length", "chunked", "until-close"])
def test_a_complete_body_arrives_byte_for_byte(
    host: Host, send: Callable[[str], bytes], body: bytes, framing: str
) -> None:
    assert send(host.serves("/x.pth", Reply(body, framing=framing))) == body


def test_netrc_is_requested_the_password_of_a_host(
    host: Host, send: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    send(host.serves("/x.pth", b"content"))
    assert host.seen_headers[0]["Authorization"].startswith("Basic ")


@given(seconds=st.integers(0, 10**12))
def test_a_number_of_seconds_to_wait_is_read(seconds: int) -> None:
    assert retry_after(str(seconds), NOW) == float(str(seconds)[:9])


@given(seconds=st.integers(-100_000, 100_000))
def test_a_date_to_wait_for_is_read(seconds: int) -> None:
    until = NOW + timedelta(seconds=seconds)
    assert retry_after(format_datetime(until, usegmt=True), NOW) == max(0, seconds)


@given(text=st.text())
def test_any_other_retry_after_is_never_negative(text: str) -> None:
    found = retry_after(text, NOW)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (ConnectionResetError(), True),
        (ConnectionRefusedError(), True),
        (requests.exceptions.ReadTimeout(), True),
        (urllib3.exceptions.IncompleteRead(1, 2), True),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), True),
        (socket.gaierror(socket.EAI_NONAME, "no such name"), False),
        (ssl.SSLCertVerificationError(), False),
        (requests.exceptions.InvalidURL(), False),
        (UnicodeError(), False),
    ],
)
def test_transient_failures_are_distinguished_from_permanent_ones(
    session: requests.Session, error: Exception, transient: bool
) -> None:
    wrapped = requests.exceptions.ConnectionError()
    wrapped.__cause__ = error
    session.mount("http://", Raising(wrapped))
    with pytest.raises(FailedAttemptError) as caught, open_response(session, "http://127.0.0.1/x", WAITS):
        pass
    assert caught.value.transient is transient


@pytest.mark.parametrize(
    ("start", "asked", "redirect", "target"),
    [
        ("https://a.org/x", "https://a.org/x", "/y", "https://a.org/y"),
        ("https://a.org/x", "https://a.org/x", "https://b.org/y", "https://b.org/y"),
        ("http://a.org/x", "http://a.org/x", "https://b.org/y", "https://b.org/y"),
        ("http://localhost:1/x", "http://localhost:1/x", "http://127.0.0.1:2/y", "http://127.0.0.1:2/y"),
        ("http://localhost:1/x", "http://localhost:1/x", "https://b.org/y", "https://b.org/y"),
        ("https://a.org/x", "https://a.org/x", "http://a.org/y", None),
        ("https://a.org/x", "https://a.org/x", "http://127.0.0.1/y", None),
        ("http://localhost/x", "https://a.org/x", "http://a.org/y", None),
        ("http://a.org/x", "http://a.org/x", "/y", None),
        ("https://a.org/x", "https://a.org/x", "ftp://a.org/y", None),
        ("https://a.org/x", "https://a.org/x", "https:///y z", None),
    ],
)
def test_redirects_lead_to_https_or_stay_on_this_machine(
    start: str, asked: str, redirect: str, target: str | None
) -> None:
    if target is None:
        with pytest.raises(FailedAttemptError, match="redirected to"):
            resolve_redirect(start, asked, redirect)
    else:
        assert resolve_redirect(start, asked, redirect) == target


def test_a_dead_port_refused_the_connection(dead_address: str, send: Callable[[str], bytes]) -> None:
    with pytest.raises(FailedAttemptError, match=r"^refused the connection$"):
        send(f"{dead_address}/x.pth")


def test_an_unknown_host_does_not_resolve(send: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    with pytest.raises(FailedAttemptError, match=r"^has a host that does not resolve$"):
        send("https://models.invalid/x.pth")


def test_a_dead_proxy_is_reported_as_such(
    host: Host, dead_address: str, send: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", dead_address)
    with pytest.raises(FailedAttemptError, match="proxy"):
        send("https://models.example.org/x.pth")


def test_this_machine_is_asked_past_any_proxy(
    host: Host, dead_address: str, send: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, dead_address)
    assert send(host.serves("/x.pth", b"here")) == b"here"


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port of this machine that accepts no connection and refuses none: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as stack:
        for _ in range(5):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_host_of_many_addresses_is_given_up_before_each_was_waited_for(
    send: Callable[[str], bytes], deaf_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0

    class Counting(socket.socket):
        def connect(self, address: object) -> None:
            nonlocal tried
            tried += 1
            super().connect(address)

    listed = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", deaf_port))] * 100
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: listed)
    monkeypatch.setattr(socket, "socket", Counting)
    monkeypatch.setitem(globals(), "WAITS", Timeouts(0.1, 1))
    with pytest.raises(FailedAttemptError, match=r"^timed out after 0.1 s without a connection$"):
        send(f"http://localhost:{deaf_port}/x.pth")
    assert 1 < tried < 10


@pytest.mark.parametrize("scheme", ["socks4", "socks5", "socks5h", "SOCKS5"])
def test_a_socks_proxy_without_its_package_is_named(
    send: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    if find_spec("socks"):
        pytest.skip("PySocks is installed")
    monkeypatch.setenv("all_proxy", f"{scheme}://me:secret@127.0.0.1:1080")
    expected = (
        f"needs the package PySocks for the proxy {scheme}://***@127.0.0.1:1080 of this environment: "
        "pip install PySocks"
    )
    with pytest.raises(FailedAttemptError) as caught:
        send("https://models.example.org/x.pth")
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    "proxy", ["ftp://me:secret@proxy:1", "http://", "http://me:secret@[::1", "http://me:secret@a:port"]
)
def test_a_malformed_proxy_is_named_and_the_address_not_blamed(
    send: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(FailedAttemptError) as caught:
        send("https://models.example.org/x.pth")
    shown = proxy.replace("me:secret", "***")
    assert str(caught.value) == f"was not contacted: the proxy {shown} of this environment is malformed"


def test_a_host_without_tls_cannot_be_asked_over_https(host: Host, send: Callable[[str], bytes]) -> None:
    with pytest.raises(FailedAttemptError, match="failed to set up an encrypted connection"):
        send(host.address.replace("http:", "https:") + "/x.pth")


def test_an_untrusted_certificate_is_distinguished_from_other_failures_of_tls() -> None:
    error = requests.exceptions.SSLError("details")
    assert describe_network_error(error, Timeouts(1, 1)) == "failed to set up an encrypted connection"
    error.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    assert describe_network_error(error, Timeouts(1, 1)) == "has no certificate that this machine trusts"


def test_a_missing_certificate_file_is_a_failed_attempt(
    host: Host, send: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
    with pytest.raises(FailedAttemptError, match=r"/no/such/bundle\.pem"):
        send(host.address.replace("http:", "https:") + "/x.pth")


def test_a_host_that_hangs_up_closed_the_connection(send: Callable[[str], bytes]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(FailedAttemptError, match=r"^closed the connection without an answer$"):
            send(f"http://127.0.0.1:{listener.getsockname()[1]}/x.pth")
        thread.join()


def _classes(module: object, base: type[Exception]) -> list[type[Exception]]:
    found = {kind for _, kind in inspect.getmembers(module, inspect.isclass) if issubclass(kind, base)}
    return sorted(found - {base, Warning}, key=lambda kind: kind.__name__)


REQUESTS_ERRORS = _classes(requests.exceptions, requests.exceptions.RequestException)
URLLIB3_ERRORS = _classes(urllib3.exceptions, urllib3.exceptions.HTTPError)


class Raising(BaseAdapter):
    """Stands where requests talks to the network, and raises."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def send(self, *_: object, **__: object) -> requests.Response:
        raise self.error

    def close(self) -> None:
        pass


def _raised(kind: type[Exception]) -> Exception:
    error = kind.__new__(kind)
    error.args = ("details",)
    return error


@pytest.mark.parametrize("kind", [*REQUESTS_ERRORS, *URLLIB3_ERRORS, OSError, UnicodeError])
def test_no_error_of_the_network_libraries_is_forgotten(
    session: requests.Session, send: Callable[[str], bytes], kind: type[Exception]
) -> None:
    session.mount("http://", Raising(_raised(kind)))
    with pytest.raises(FailedAttemptError) as caught:
        send("http://127.0.0.1/x.pth")
    assert caught.value.outcome


@pytest.mark.parametrize("kind", [*REQUESTS_ERRORS, *URLLIB3_ERRORS])
def test_every_error_of_the_network_libraries_has_words_of_its_own(kind: type[Exception]) -> None:
    assert not describe_network_error(_raised(kind), Timeouts(1, 1)).startswith("failed:")


def test_a_programming_error_is_not_taken_for_a_dead_host(
    session: requests.Session, send: Callable[[str], bytes]
) -> None:
    session.mount("http://", Raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        send("http://127.0.0.1/x.pth")
