"""Serve one file over HTTP on this machine, as a publisher does."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

from bdd100k_zoo.files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from socket import socket


@contextmanager
def serving(file: Path) -> Iterator[str]:
    """Serve a file, and nothing else, on the loopback interface for as long as the block runs.

    Yields:
        Its address, ``http://127.0.0.1:PORT/NAME``, on a port that is free.

    Raises:
        StorageError: the file cannot be read.
    """
    with storage_errors(file):
        content = file.read_bytes()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, f"/{file.name}", content)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{file.name}"
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    def __init__(
        self, path: str, content: bytes, request: socket, client: tuple[str, int], server: ThreadingHTTPServer
    ) -> None:
        self._path, self._content = path, content
        super().__init__(request, client, server)

    def do_GET(self) -> None:
        if self.path != self._path:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(self._content)))
        self.end_headers()
        self.wfile.write(self._content)

    def log_message(self, *_: object) -> None:
        """Log nothing."""
