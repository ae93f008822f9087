"""Both digests of bytes, computed beside whatever else is done with them."""

from __future__ import annotations

import hashlib
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.records.files import pieces_of

if TYPE_CHECKING:
    from pathlib import Path

WAITING = 16
"""Pieces that may wait for a digest; more would only fill the memory."""


class Hashes(NamedTuple):
    """What was computed over some bytes; digests in lower-case hexadecimal."""

    size: int
    md5: str
    sha256: str

    def like(self, digest: str) -> str:
        """Give the digest of these bytes in the kind and length of another, ``md5:…`` or ``sha256:…``."""
        whole = f"md5:{self.md5}" if digest.startswith("md5:") else f"sha256:{self.sha256}"
        return whole[: len(digest)]


class Hasher:
    """Computes both digests over bytes as they pass; hashlib releases the interpreter meanwhile.

    MD5, the slower one, has a thread of its own. SHA-256 is computed by the thread that gives the bytes: a third thread
    would only take turns with the other two and the sender on a machine of two cores. Close it, or use it as a context
    manager; ``hashes`` closes it too.
    """

    def __init__(self) -> None:
        self.size = 0
        """Bytes that were given so far."""
        self._md5 = _DigestThread("md5")
        self._sha256 = hashlib.sha256()

    def __enter__(self) -> Hasher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, piece: bytes) -> None:
        """Take in the next bytes."""
        self.size += len(piece)
        self._md5.give(piece)
        self._sha256.update(piece)

    def hashes(self) -> Hashes:
        """Give the digests of all bytes that were given; none can be given after."""
        self.close()
        return Hashes(self.size, self._md5.state.hexdigest(), self._sha256.hexdigest())

    def close(self) -> None:
        """End the thread."""
        self._md5.end()


class _DigestThread(Thread):
    """Hashes pieces in their order. Ctrl-C may strike the giving thread anywhere: simple queues are whole even then."""

    def __init__(self, name: str) -> None:
        # Daemons: a process that is interrupted does not wait for digests that nobody will read.
        super().__init__(name=f"digest-{name}", daemon=True)
        self.state = hashlib.new(name, usedforsecurity=False)
        self._pieces: SimpleQueue[bytes | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(WAITING):
            self._room.put(None)
        self.start()

    def run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self.state.update(piece)
            self._room.put(None)

    def give(self, piece: bytes) -> None:
        self._room.get()
        self._pieces.put(piece)

    def end(self) -> None:
        self._pieces.put(None)
        self.join()


def hash_file(path: Path) -> Hashes:
    """Compute both digests of a file.

    Raises:
        StorageError: it cannot be read.
    """
    with Hasher() as hasher:
        for piece in pieces_of(path):
            hasher.update(piece)
        return hasher.hashes()
