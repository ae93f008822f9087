from __future__ import annotations

import errno
import gzip
import hashlib
import inspect
import socket
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
import urllib3.exceptions
from fault_host import Reply, Told, md5_of
from requests.adapters import BaseAdapter

from bdd100k_zoo import __version__
from bdd100k_zoo.artifacts import network, transfer
from bdd100k_zoo.artifacts.network import FailedAttemptError, Waits, followed, open_session, outcome
from bdd100k_zoo.artifacts.transfer import PartialFile, receive
from bdd100k_zoo.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fault_host import Host

WEB_PAGE = b"<!DOCTYPE html><html><body>moved</body></html>"


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with open_session() as session:
        yield session


@pytest.fixture
def send(session: requests.Session, tmp_path: Path, told: Told) -> Callable[..., tuple[bytes, str]]:
    """Receive an address into a partial file; give what it held, and its MD5 as computed on the way."""

    def receive_it(address: str, size: int | None = None) -> tuple[bytes, str]:
        with PartialFile(tmp_path / "x.partial", tmp_path / "x") as partial:
            hashes = receive(session, address, partial, told, "tiny_1x weights", size)
            return partial.path.read_bytes(), hashes.md5

    return receive_it


@pytest.mark.parametrize("framing", ["length", "chunked", "until-close"])
def test_a_whole_file_arrives_byte_for_byte(
    host: Host, send: Callable[..., tuple[bytes, str]], told: Told, body: bytes, framing: str, tmp_path: Path
) -> None:
    address = host.serves("/x.pth", Reply(body, framing=framing))
    assert send(address) == (body, md5_of(body))
    assert told.tasks == [("tiny_1x weights", len(body) if framing == "length" else None)]
    assert told.done == len(body)
    assert not list(tmp_path.glob("x*"))


def test_the_request_names_the_package_and_asks_for_plain_bytes(
    host: Host, send: Callable[..., tuple[bytes, str]], body: bytes
) -> None:
    send(host.serves("/x.pth", body))
    headers = host.seen_headers[0]
    assert headers["User-Agent"] == f"bdd100k-zoo/{__version__}"
    assert headers["Accept-Encoding"] == "identity"


def test_a_body_that_the_server_compresses_all_the_same_is_unpacked(
    host: Host, send: Callable[..., tuple[bytes, str]], body: bytes
) -> None:
    address = host.serves("/x.pth", Reply(gzip.compress(body), headers={"Content-Encoding": "gzip"}))
    assert send(address, len(body)) == (body, md5_of(body))


FAULTS = {
    "missing": (Reply(b"no", status=404), "answered 404 Not Found"),
    "server error": (Reply(b"no", status=503), "answered 503 Service Unavailable"),
    "made-up status": (Reply(b"no", status=799), "answered 799"),
    "no content": (Reply(status=204), "answered 204 No Content"),
    "a part": (Reply(b"part", status=206), "answered 206 Partial Content"),
    "redirect to nowhere": (Reply(status=302), "answered 302 Found"),
    "cut": (Reply(b"a" * 1234, promised=5678), "ended after 1,234 of 5,678 bytes"),
    "cut in chunks": (Reply(b"a" * 1234, framing="chunked-cut"), "ended after 1,234 bytes, before the end of the file"),
    "empty": (Reply(b""), "sent an empty file"),
    "web page": (Reply(WEB_PAGE, headers={"Content-Type": "text/html; charset=utf-8"}), "sent a web page, not a file"),
    "unlabelled web page": (Reply(b"\n " + WEB_PAGE), "sent a web page, not a file"),
    "broken gzip": (Reply(b"no gzip", headers={"Content-Encoding": "gzip"}), "sent a body that does not decode"),
    "redirect to a file": (
        Reply(status=302, headers={"Location": "file:///etc/passwd"}),
        "redirected to no usable address: expected an address https://HOST/…, found 'file:///etc/passwd'",
    ),
    "redirect to plain http": (
        Reply(status=302, headers={"Location": "http://models.example.org/x.pth"}),
        "redirected to http://models.example.org/x.pth, which is not https",
    ),
    "redirect that no address can be": (
        Reply(status=302, headers={"Location": "http://[oops/x.pth"}),
        "redirected to no usable address: 'http://[oops/x.pth' is malformed: Invalid IPv6 URL",
    ),
    "redirect in no known encoding": (Reply(status=302, headers={"Location": "/\xff"}), "is not a usable address"),
    "redirect in a loop": (Reply(status=302, headers={"Location": "/x.pth"}), "redirected more than 10 times"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_in_plain_words_and_leaves_nothing(
    host: Host, send: Callable[..., tuple[bytes, str]], fault: str, tmp_path: Path
) -> None:
    reply, words = FAULTS[fault]
    with pytest.raises(FailedAttemptError) as caught:
        send(host.serves("/x.pth", reply))
    assert caught.value.outcome == words
    assert not list(tmp_path.glob("x*"))


@pytest.mark.parametrize("framing", ["length", "chunked", "until-close"])
def test_a_file_that_is_shorter_than_recorded_is_refused(
    host: Host, send: Callable[..., tuple[bytes, str]], body: bytes, framing: str
) -> None:
    size = len(body) + 1
    with pytest.raises(FailedAttemptError) as caught:
        send(host.serves("/x.pth", Reply(body, framing=framing)), size)
    assert caught.value.outcome == f"has a file of {len(body):,} bytes; the zoo file records {size:,}"


def test_a_body_of_unknown_length_is_given_up_once_it_exceeds_the_recorded_size(
    host: Host, send: Callable[..., tuple[bytes, str]], told: Told, body: bytes
) -> None:
    with pytest.raises(FailedAttemptError, match="sent more than the 1,000 bytes"):
        send(host.serves("/x.pth", Reply(body, framing="chunked")), 1000)
    assert told.done == 0


def test_a_file_of_another_length_is_refused_before_its_body(
    host: Host, send: Callable[..., tuple[bytes, str]], told: Told, body: bytes
) -> None:
    with pytest.raises(FailedAttemptError, match="the zoo file records 1,000"):
        send(host.serves("/x.pth", body), 1000)
    assert told.tasks == []


def test_redirects_within_this_machine_are_followed(
    host: Host, send: Callable[..., tuple[bytes, str]], body: bytes
) -> None:
    host.serves("/here/x.pth", body)
    host.serves("/there", Reply(status=307, headers={"Location": f"{host.address}/here/x.pth"}))
    address = host.serves("/x.pth", Reply(b"moved", status=301, headers={"Location": "../there"}))
    assert send(address) == (body, md5_of(body))


def test_the_body_of_a_redirect_is_not_waited_for(
    host: Host, send: Callable[..., tuple[bytes, str]], body: bytes
) -> None:
    there = host.serves("/there", body)
    endless = Reply(b"moved", status=302, headers={"Location": there}, promised=1 << 40, stalls=True)
    assert send(host.serves("/x.pth", endless)) == (body, md5_of(body))


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
            followed(start, asked, redirect)
    else:
        assert followed(start, asked, redirect) == target


def test_a_dead_port_refused_the_connection(dead_address: str, send: Callable[..., tuple[bytes, str]]) -> None:
    with pytest.raises(FailedAttemptError, match=r"^refused the connection$"):
        send(f"{dead_address}/x.pth")


def test_an_unknown_host_does_not_resolve(
    send: Callable[..., tuple[bytes, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_such_name(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    with pytest.raises(FailedAttemptError, match=r"^has a host that does not resolve$"):
        send("https://models.invalid/x.pth")


def test_a_dead_proxy_is_called_so(
    host: Host, dead_address: str, send: Callable[..., tuple[bytes, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", dead_address)
    with pytest.raises(FailedAttemptError, match="proxy"):
        send("https://models.example.org/x.pth")


def test_a_host_without_tls_cannot_be_asked_over_https(host: Host, send: Callable[..., tuple[bytes, str]]) -> None:
    with pytest.raises(FailedAttemptError, match="failed to set up an encrypted connection"):
        send(host.address.replace("http:", "https:") + "/x.pth")


def test_a_certificate_that_is_not_trusted_is_told_from_other_failures_of_tls() -> None:
    error = requests.exceptions.SSLError("details")
    assert outcome(error, Waits(1, 1)) == "failed to set up an encrypted connection"
    error.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    assert outcome(error, Waits(1, 1)) == "has no certificate that this machine trusts"


def test_a_missing_certificate_file_is_a_failed_attempt(
    host: Host, send: Callable[..., tuple[bytes, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
    with pytest.raises(FailedAttemptError, match=r"/no/such/bundle\.pem"):
        send(host.address.replace("http:", "https:") + "/x.pth")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(silent=True), "timed out after 0.2 s without an answer"),
        (Reply(b"a", promised=2, stalls=True), "timed out"),
    ],
)
def test_a_silent_host_times_out(
    host: Host, send: Callable[..., tuple[bytes, str]], monkeypatch: pytest.MonkeyPatch, reply: Reply, words: str
) -> None:
    monkeypatch.setattr(transfer, "WAITS", Waits(0.2, 0.2))
    with pytest.raises(FailedAttemptError, match=words):
        send(host.serves("/x.pth", reply))


def test_a_host_that_hangs_up_closed_the_connection(send: Callable[..., tuple[bytes, str]]) -> None:
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
    session: requests.Session, send: Callable[..., tuple[bytes, str]], kind: type[Exception]
) -> None:
    session.mount("http://", Raising(_raised(kind)))
    with pytest.raises(FailedAttemptError) as caught:
        send("http://127.0.0.1/x.pth")
    assert caught.value.outcome


@pytest.mark.parametrize("kind", [*REQUESTS_ERRORS, *URLLIB3_ERRORS])
def test_every_error_of_the_network_libraries_has_words_of_its_own(kind: type[Exception]) -> None:
    assert not outcome(_raised(kind), Waits(1, 1)).startswith("failed:")


def test_a_programming_error_is_not_taken_for_a_dead_host(
    session: requests.Session, send: Callable[..., tuple[bytes, str]]
) -> None:
    session.mount("http://", Raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        send("http://127.0.0.1/x.pth")


def test_an_interrupted_transfer_leaves_nothing(
    host: Host, session: requests.Session, tmp_path: Path, body: bytes
) -> None:
    class Interrupting(Told):
        def advance(self, amount: int) -> None:
            assert (tmp_path / "x.partial").stat().st_size == amount
            raise KeyboardInterrupt

    address = host.serves("/x.pth", body)
    with pytest.raises(KeyboardInterrupt), PartialFile(tmp_path / "x.partial", tmp_path / "x") as partial:
        receive(session, address, partial, Interrupting(), "tiny_1x weights", None)
    assert not list(tmp_path.glob("x*"))


def test_a_device_that_is_full_is_a_storage_error(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("only Linux has a device that is always full")

    class AlwaysFull(PartialFile):
        def __enter__(self) -> PartialFile:
            self._file = full.open("wb", buffering=0)
            return self

    with pytest.raises(StorageError) as caught, AlwaysFull(tmp_path / "x.partial", tmp_path / "x") as partial:
        partial.write(b"one byte too many")
    assert caught.value.path == tmp_path / "x"
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC


def test_both_digests_are_those_of_the_bytes_that_were_written(
    host: Host, session: requests.Session, tmp_path: Path, body: bytes, told: Told
) -> None:
    with PartialFile(tmp_path / "x.partial", tmp_path / "x") as partial:
        hashes = receive(session, host.serves("/x.pth", body), partial, told, "", None)
        partial.settle()
        partial.move_into_place()
    written = (tmp_path / "x").read_bytes()
    assert hashes == (len(written), md5_of(written), hashlib.sha256(written).hexdigest())
    assert len(written) > network.CHUNK
