"""Digests: computing them, where they come from, and what they verify.

A file is verified by a digest that the zoo file records, that the publisher's own address has, or that the user gives,
and by a digest pinned from one of these. A mirror's digest shows only that the transfer is intact.
"""

from __future__ import annotations

import hashlib
import re
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.errors import DigestMismatchError
from bdd100k_zoo.files import open_regular, read_chunks
from bdd100k_zoo.hub.http import FailedAttemptError, Timeouts, open_response, read_body
from bdd100k_zoo.hub.mirrors import local_path, resolve_address
from bdd100k_zoo.hub.retry import SHORT_RETRY_POLICY, Retrier
from bdd100k_zoo.registry.addresses import is_tamper_proof, redact_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import requests

    from bdd100k_zoo.hub import ledger
    from bdd100k_zoo.registry import Artifact

MAX_QUEUED_PIECES = 16
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
        for _ in range(MAX_QUEUED_PIECES):
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
        for piece in read_chunks(path):
            hasher.update(piece)
        return hasher.hashes()


ZOO_FILE = "zoo file"
PUBLISHER = "publisher"
USER = "user"
FILE_NAME = "its name"
"""Start values of backbones are published under names that end in digits of their digest."""
DIGEST_TIMEOUTS = Timeouts(connect=5, read=10)
DIGEST_LIMIT = 64 << 10
"""Bytes of a digest file that are looked at; a longer one is none."""

_HEX = r"(?P<md5>[0-9a-fA-F]{32})"
MD5_FORMS = (
    re.compile(_HEX),
    re.compile(_HEX + r"[ \t]+\*?\S[^\r\n]*"),
    re.compile(r"MD5 ?\([^\r\n]+\) ?= ?" + _HEX),
)
"""The bare digest, as md5sum writes it (``digest  name``), and as BSD's md5 does (``MD5 (name) = digest``)."""


class ExpectedDigest(NamedTuple):
    """A digest that bytes must have."""

    digest: str
    """``md5:…`` or ``sha256:…``."""
    source: str
    """``zoo file``, where the user gives it, or the address that it was read from."""


class NoDigest(NamedTuple):
    """No digest can be had."""

    reason: str


class VerificationPlan(NamedTuple):
    """The digests that the bytes of an artifact must have, and what verifies them then."""

    expected: tuple[ExpectedDigest, ...]
    """Digests that they must have, all of them."""
    verified_by: str | None
    """``zoo file``, ``publisher``, ``user`` or ``its name``; None where no digest verifies them."""
    reason: str | None
    """Why they are unverified."""
    digest_address: str | None = None
    """Where the publisher's digest was read."""
    mirror_digest: str | None = None
    """Where the digest of a mirror was read, which is among those expected and verifies nothing."""


def digest_mismatch(
    hashes: Hashes, subject: str, expected: Sequence[ExpectedDigest], size: int | None
) -> DigestMismatchError | None:
    """Return how bytes differ from the digests that are expected of them or from the recorded size; None if they fit.

    Where they have one of the digests and not another, the two contradict each other, and the error names both.
    """
    for digest, source in expected:
        if hashes.like(digest) != digest:
            fitting = next((each for each in expected if hashes.like(each.digest) == each.digest), None)
            found = hashes.like(digest) + (
                f", although {fitting.digest} (from {fitting.source}) matches" if fitting else ""
            )
            return DigestMismatchError(subject, digest, found, source)
    if size is not None and hashes.size != size:
        return DigestMismatchError(subject, f"{size:,} bytes", f"{hashes.size:,} bytes", ZOO_FILE)
    return None


def recorded_digests(artifact: Artifact) -> tuple[ExpectedDigest, ...]:
    """Return the digests that the zoo file or a file's name records, and those that the user gives."""
    recorded = (ExpectedDigest(artifact.digest, digest_origin(artifact)),) if artifact.digest else ()
    return (*recorded, *(ExpectedDigest(given.digest, given.source) for given in artifact.user_digests))


def digest_origin(artifact: Artifact) -> str:
    """Return where an artifact's own digest is recorded."""
    return FILE_NAME if artifact.what == "start-values" else ZOO_FILE


def plan_verification(
    artifact: Artifact,
    pin: ledger.LedgerEntry | None,
    pin_source: str,
    published: Callable[[], ExpectedDigest | NoDigest],
    mirrored: Callable[[], ExpectedDigest | NoDigest | None],
) -> VerificationPlan:
    """Return the digests that an artifact must have: the zoo file's, else the ledger's, the user's, the publisher's.

    Args:
        artifact: what the zoo file knows.
        pin: the ledger's entry for the file that was first filed, if there was one. One of a verified file keeps the
            kind of its origin; one of an unverified file is expected too, unless a recorded digest decides.
        pin_source: what messages call it.
        published: reads the publisher's digest; called only where it decides.
        mirrored: reads the digest of the mirror that is to send the file; called only where none verifies it.
    """
    recorded = recorded_digests(artifact)
    if artifact.digest:
        return VerificationPlan(recorded, digest_origin(artifact), None)
    pinned = (ExpectedDigest(f"sha256:{pin.sha256}", pin_source),) if pin else ()
    if pin and pin.verified_by:
        return VerificationPlan((*pinned, *recorded), pin.verified_by, None, pin.digest_address)
    if recorded:
        return VerificationPlan(recorded, USER, None)
    found = published()
    if isinstance(found, ExpectedDigest):
        return VerificationPlan((*pinned, found), PUBLISHER, None, found.source)
    beside = mirrored()
    if isinstance(beside, ExpectedDigest):
        return VerificationPlan((*pinned, beside), None, found.reason, mirror_digest=beside.source)
    return VerificationPlan(pinned, None, found.reason)


def fetch_published_digest(session: requests.Session, artifact: Artifact) -> ExpectedDigest | NoDigest:
    """Read the publisher's digest from the first of its addresses that has one."""
    unknown = []
    for address in artifact.digest_addresses:
        found = fetch_digest(session, address)
        if isinstance(found, ExpectedDigest):
            return found
        unknown.append(found)
    return unknown[0] if unknown else NoDigest("the zoo file records no digest and no address of one")


def fetch_digest(session: requests.Session, address: str) -> ExpectedDigest | NoDigest:
    """Read the digest that an address answers with."""
    course = Retrier(SHORT_RETRY_POLICY)
    while True:
        try:
            md5 = parse_md5(_read_text(session, address))
        except FailedAttemptError as failure:
            try:
                course.bear(failure, 0, lambda _: None)
            except FailedAttemptError:
                return NoDigest(_unknown(address, failure.outcome))
        else:
            return (
                ExpectedDigest(f"md5:{md5}", redact_address(address))
                if md5
                else NoDigest(_unknown(address, "sent no MD5 digest"))
            )


def _unknown(address: str, outcome: str) -> str:
    return f"the zoo file records no digest, and {redact_address(address)} {outcome}"


def _read_text(session: requests.Session, address: str) -> str:
    text = b""
    for piece in _digest_pieces(session, address):
        text += piece
        if len(text) > DIGEST_LIMIT:
            return ""
    return text.decode("utf-8-sig", errors="replace")


def _digest_pieces(session: requests.Session, address: str) -> Iterator[bytes]:
    if source := local_path(address):
        try:
            with open_regular(source) as file:
                yield file.read(DIGEST_LIMIT + 1)
        except OSError as error:
            raise FailedAttemptError(f"cannot be read: {error.strerror or error}") from error
        return
    url, private = resolve_address(address)
    if not is_tamper_proof(url):
        raise FailedAttemptError("is plain http, which anyone on the way can change")
    with open_response(session, url, DIGEST_TIMEOUTS, private_headers=private) as response:
        yield from read_body(response, DIGEST_TIMEOUTS, within=DIGEST_TIMEOUTS.whole)


def parse_md5(text: str) -> str | None:
    """Read the one MD5 digest of a digest file, in lower case; None where the text is anything else."""
    line = text.strip()
    found = next((match for form in MD5_FORMS if (match := form.fullmatch(line))), None)
    return found["md5"].lower() if found else None
