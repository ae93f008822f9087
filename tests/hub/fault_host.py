"""A server on this machine that answers as a test requires, a Progress that records, and artifacts to request."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from bdd100k_zoo.hub.retry import RetryPolicy
from bdd100k_zoo.registry import Artifact

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Reply:
    """How the server answers one path."""

    body: bytes = field(default=b"", repr=False)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    promised: int | None = None
    """The Content-Length, where it is to differ from the body's."""
    framing: str = "length"
    """``length``, ``chunked``, ``until-close``; ``chunked-cut`` never sends the last chunk."""
    silent: bool = False
    """Send nothing until the test is over."""
    stalls: bool = False
    """Send the body, then nothing more until the test is over."""
    cut: int | None = None
    """Hang up after so many bytes of the body."""
    etag: str | None = None
    ranges: str = "ignored"
    """``honoured``; ``shifted`` starts one byte early and says so; ``unlabelled`` says nothing; ``disguised`` honours
    the range and sends other bytes; ``unsatisfied`` answers 416; ``endless`` says that the file has no known size."""
    slow: float = 0.0
    """Seconds to wait after every 64 KiB, or after each ``forever``."""
    forever: bytes = field(default=b"", repr=False)
    """Send the body as all there is of an answer, status line included, then this again and again."""
    head_status: int | None = None
    """The status of the answer to HEAD, where it is to differ."""


class Host:
    """The server: replies by path, one after the other (the last again and again), and what was asked of it."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.server = server
        self.replies: dict[str, list[Reply]] = {}
        self.asked: Counter[str] = Counter()
        self.seen_headers: list[dict[str, str]] = []
        self.over = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def serves(self, path: str, *replies: Reply | bytes) -> str:
        self.replies[path] = [reply if isinstance(reply, Reply) else Reply(reply) for reply in replies]
        return self.address + path

    def next_reply(self, path: str) -> Reply:
        waiting = self.replies.get(path, [Reply(b"nothing here", status=404)])
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    host: Host

    def do_GET(self) -> None:
        self.host.asked[self.path] += 1
        self.host.seen_headers.append(dict(self.headers))
        self.close_connection = True
        with suppress(ConnectionError):
            self._answer(self._ranged(self.host.next_reply(self.path)))

    def _ranged(self, reply: Reply) -> Reply:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not asked or reply.ranges == "ignored" or reply.status != 200:
            return reply
        if self.headers.get("If-Range", reply.etag) != reply.etag:
            return reply
        return replace(reply, **_part(reply, int(asked[1])))

    def do_HEAD(self) -> None:
        self.host.asked[f"HEAD {self.path}"] += 1
        self.do_GET()

    def _answer(self, reply: Reply) -> None:
        if reply.silent:
            self.host.over.wait()
            return
        if reply.forever:
            self._send_forever(reply)
            return
        heads = self.command == "HEAD" and reply.head_status
        (self.send_response_only if "Date" in reply.headers else self.send_response)(heads or reply.status)
        tag = {"ETag": reply.etag} if reply.etag else {}
        for name, value in {"Connection": "close", **tag, **self._framing(reply), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(reply)
        if reply.stalls:
            self.wfile.flush()
            self.host.over.wait()

    def _send_forever(self, reply: Reply) -> None:
        self.wfile.write(reply.body)
        while not self.host.over.wait(reply.slow):
            self.wfile.write(reply.forever)

    def _framing(self, reply: Reply) -> dict[str, str]:
        if reply.framing.startswith("chunked"):
            return {"Transfer-Encoding": "chunked"}
        if reply.framing == "until-close":
            return {}
        return {"Content-Length": str(len(reply.body) if reply.promised is None else reply.promised)}

    def _send_body(self, reply: Reply) -> None:
        if reply.framing.startswith("chunked"):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(reply.body), reply.body))
            if reply.framing == "chunked":
                self.wfile.write(b"0\r\n\r\n")
            return
        body = reply.body[: reply.cut]
        if not reply.slow:
            self.wfile.write(body)
            return
        for start in range(0, len(body), 1 << 16):
            self.wfile.write(body[start : start + (1 << 16)])
            self.wfile.flush()
            self.host.over.wait(reply.slow)

    def log_message(self, *_: object) -> None:
        pass


def _part(reply: Reply, start: int) -> dict[str, Any]:
    total = len(reply.body)
    if reply.ranges == "unsatisfied":
        return {"status": 416, "body": b"", "headers": reply.headers | {"Content-Range": f"bytes */{total}"}}
    first = start - 1 if reply.ranges == "shifted" else start
    size = "*" if reply.ranges == "endless" else str(total)
    label = {} if reply.ranges == "unlabelled" else {"Content-Range": f"bytes {first}-{total - 1}/{size}"}
    body = reply.body[first:]
    body = body[::-1] if reply.ranges == "disguised" else body
    return {"status": 206, "body": body, "headers": label | reply.headers}


class QuietServer(ThreadingHTTPServer):
    daemon_threads = False  # so that closing the server waits for its threads, and none outlives a test


@contextmanager
def running_host() -> Iterator[Host]:
    handler = type("BoundHandler", (Handler,), {})
    server = QuietServer(("127.0.0.1", 0), handler)
    host = Host(server)
    handler.host = host  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield host
    finally:
        host.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Told:
    """A Progress that remembers its messages and tasks."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.tasks: list[tuple[str, int | None]] = []
        self.done = 0

    @contextmanager
    def task(self, title: str, total: int | None, unit: str, done: int = 0) -> Iterator[Told]:
        self.tasks.append((title, total))
        self.done = done
        yield self

    def advance(self, amount: int) -> None:
        self.done += amount

    def restart(self, done: int, total: int | None) -> None:
        self.done = done

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


HASTE = RetryPolicy(tries=3, first=0.001, longest=0.001)
"""Tries as often as it takes to see the rule, and does not wait."""


def artifact_of(*addresses: str, model: str = "tiny_1x", **known: object) -> Artifact:
    facts = {"what": "weights", "digest": None, "size": None, **known}
    return Artifact(model=model, addresses=addresses, **facts)  # type: ignore[arg-type]


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
