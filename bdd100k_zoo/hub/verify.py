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
from bdd100k_zoo.files import read_chunks
from bdd100k_zoo.hub.http import open_response, read_body
from bdd100k_zoo.hub.layout import ledger_path, what_option
from bdd100k_zoo.hub.mirrors import local_path, resolve_address
from bdd100k_zoo.hub.retry import SHORT_RETRY_POLICY, FailedAttemptError, Timeouts, open_local, retry
from bdd100k_zoo.registry.addresses import is_tamper_proof, redact_address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import requests

    from bdd100k_zoo.hub.ledger import LedgerEntry
    from bdd100k_zoo.progress import Task
    from bdd100k_zoo.registry import Artifact

MAX_QUEUED_CHUNKS = 16
"""Chunks that may wait for the MD5 thread; more would only fill the memory."""


class Hashes(NamedTuple):
    """Size and digests of some bytes; digests in lower-case hexadecimal."""

    size: int
    md5: str
    sha256: str

    def digest_like(self, digest: str) -> str:
        """Return the digest of these bytes in the kind and length of another, ``md5:…`` or ``sha256:…``."""
        whole = f"md5:{self.md5}" if digest.startswith("md5:") else f"sha256:{self.sha256}"
        return whole[: len(digest)]


class Hasher:
    """Computes MD5 and SHA-256 over a stream of bytes; hashlib releases the interpreter's lock meanwhile.

    MD5, the slower one, has a thread of its own. SHA-256 is computed by the calling thread: a third thread would only
    compete with the other two and the sender on a machine of two cores. Close it, or use it as a context manager;
    ``finish`` closes it too.
    """

    def __init__(self) -> None:
        self.size = 0
        """Bytes so far."""
        self._md5 = _DigestThread("md5")
        self._sha256 = hashlib.sha256()

    def __enter__(self) -> Hasher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, chunk: bytes) -> None:
        """Add the next bytes."""
        self.size += len(chunk)
        self._md5.put(chunk)
        self._sha256.update(chunk)

    def finish(self) -> Hashes:
        """Return the digests of all bytes; none can be added after."""
        self.close()
        return Hashes(self.size, self._md5.state.hexdigest(), self._sha256.hexdigest())

    def close(self) -> None:
        """End the thread."""
        self._md5.end()


class _DigestThread(Thread):
    """Hashes chunks in their order. Ctrl-C may interrupt the calling thread anywhere: simple queues survive that."""

    def __init__(self, name: str) -> None:
        # A daemon: an interrupted process does not wait for digests that it no longer needs.
        super().__init__(name=f"digest-{name}", daemon=True)
        self.state = hashlib.new(name, usedforsecurity=False)
        self._chunks: SimpleQueue[bytes | None] = SimpleQueue()
        self._free_slots: SimpleQueue[None] = SimpleQueue()
        for _ in range(MAX_QUEUED_CHUNKS):
            self._free_slots.put(None)
        self.start()

    def run(self) -> None:
        while (chunk := self._chunks.get()) is not None:
            self.state.update(chunk)
            self._free_slots.put(None)

    def put(self, chunk: bytes) -> None:
        self._free_slots.get()
        self._chunks.put(chunk)

    def end(self) -> None:
        self._chunks.put(None)
        self.join()


def hash_file(path: Path, task: Task | None = None) -> Hashes:
    """Compute both digests of a file, advancing a progress task by its bytes.

    Raises:
        StorageError: it cannot be read.
    """
    with Hasher() as hasher:
        for chunk in read_chunks(path):
            hasher.update(chunk)
            if task:
                task.advance(len(chunk))
        return hasher.finish()


ZOO_FILE = "zoo file"
PUBLISHER = "publisher"
USER = "user"
FILE_NAME = "its name"
"""Pretrained weights of backbones are published under names that end in digits of their digest."""


class ExpectedDigest(NamedTuple):
    """A digest that bytes must have."""

    digest: str
    """``md5:…`` or ``sha256:…``."""
    source: str
    """``zoo file``, where the user gives it, or the address or ledger that it was read from."""
    hint: str = ""
    """What to do about other bytes, if this digest calls for something special."""


class VerificationPlan(NamedTuple):
    """The digests that the bytes of an artifact must have, and what verifies them then."""

    expected: tuple[ExpectedDigest, ...]
    """All of them must match."""
    verified_by: str | None
    """``zoo file``, ``publisher``, ``user`` or ``its name``; None if no digest verifies them."""
    reason: str | None
    """Why they are unverified."""
    digest_address: str | None = None
    """Where the publisher's digest was read."""


def digest_origin(artifact: Artifact) -> str:
    """Return where an artifact's own digest is recorded."""
    return FILE_NAME if artifact.what == "start-values" else ZOO_FILE


def recorded_digests(artifact: Artifact) -> tuple[ExpectedDigest, ...]:
    """Return the digests that the zoo file or a file's name records, and those that the user gives."""
    recorded = (ExpectedDigest(artifact.digest, digest_origin(artifact)),) if artifact.digest else ()
    return (*recorded, *(ExpectedDigest(given.digest, given.source) for given in artifact.user_digests))


def pinned_digest(path: Path, entry: LedgerEntry) -> ExpectedDigest:
    """Return the digest that the ledger of the cached file ``path`` requires of later files."""
    ledger, option = ledger_path(path), what_option(entry.what)
    return ExpectedDigest(
        f"sha256:{entry.sha256}",
        f"its ledger {ledger}",
        f"{ledger} describes the file that was there first; if you trust the new one, "
        f"`bdd100k-zoo cache rm {entry.model}{option}` forgets the first, and the same command works then",
    )


WRONG_IN_CACHE = "`bdd100k-zoo cache verify` sets it aside, and the next download is checked against the same digest"
WRONG_COPY = "it is damaged, or not the file that was recorded: give another copy, or correct the digest"


def digest_mismatch(
    hashes: Hashes, subject: str, expected: Sequence[ExpectedDigest], size: int | None, hint: str
) -> DigestMismatchError | None:
    """Return how bytes differ from the digests that are expected of them or from the recorded size; None if they match.

    If they have one of the digests and not another, the two contradict each other, and the error names both.

    Args:
        hashes: those of the bytes.
        subject: where the bytes are or come from, for the message.
        expected: all of these must match.
        size: the recorded number of bytes, if there is one.
        hint: what to do about other bytes, unless the digest that they lack has a hint of its own.
    """
    for digest, source, own_hint in expected:
        found = hashes.digest_like(digest)
        if found != digest:
            for other in expected:
                if hashes.digest_like(other.digest) == other.digest:
                    found += f", although {other.digest} (from {other.source}) matches"
                    break
            return DigestMismatchError(subject, digest, found, source, own_hint or hint)
    if size is not None and hashes.size != size:
        return DigestMismatchError(subject, f"{size:,} bytes", f"{hashes.size:,} bytes", ZOO_FILE, hint)
    return None


def recorded_mismatch(artifact: Artifact | None, hashes: Hashes, path: Path) -> DigestMismatchError | None:
    """Return how a cached file differs from the recorded digests and size; None if it does not, or none is recorded."""
    if artifact is None:
        return None
    return digest_mismatch(hashes, str(path), recorded_digests(artifact), artifact.size, WRONG_IN_CACHE)


def describe_mismatch(error: DigestMismatchError) -> str:
    """Return what was expected and found, without the name of the file."""
    return f"expected {error.expected} (from {error.source}), found {error.found}"


def plan_verification(
    artifact: Artifact,
    pin: LedgerEntry | None,
    path: Path,
    published: Callable[[], ExpectedDigest | str],
    mirrored: Callable[[], ExpectedDigest | str | None],
) -> VerificationPlan:
    """Return the digests that an artifact must have: the zoo file's, else the ledger's, the user's, the publisher's.

    Args:
        artifact: what the zoo file records.
        pin: the ledger's entry of the file that was first stored, if there was one. That of a verified file keeps the
            kind of its origin; that of an unverified file is expected too, unless a recorded digest decides.
        path: the artifact's place in the cache.
        published: reads the publisher's digest, or returns why there is none; called only if it decides.
        mirrored: reads the digest of the mirror that is to send the file; called only if no other digest is available.
    """
    recorded = recorded_digests(artifact)
    if artifact.digest:
        return VerificationPlan(recorded, digest_origin(artifact), None)
    pinned = (pinned_digest(path, pin),) if pin else ()
    if pin and pin.verified_by:
        return VerificationPlan((*pinned, *recorded), pin.verified_by, None, pin.digest_address)
    if recorded:
        return VerificationPlan(recorded, USER, None)
    found = published()
    if isinstance(found, ExpectedDigest):
        return VerificationPlan((*pinned, found), PUBLISHER, None, found.source)
    of_mirror = mirrored()
    if isinstance(of_mirror, ExpectedDigest):
        shown = f"it matches the mirror's digest {of_mirror.source}, which shows only that the transfer is intact"
        return VerificationPlan((*pinned, of_mirror), None, f"{found}; {shown}")
    return VerificationPlan(pinned, None, found)


DIGEST_TIMEOUTS = Timeouts(connect=5, read=10)
MAX_DIGEST_BYTES = 64 << 10
"""Bytes of a digest file that are read; a longer one is none."""

_HEX = r"(?P<md5>[0-9a-fA-F]{32})"
MD5_FORMS = (
    re.compile(_HEX),
    re.compile(_HEX + r"[ \t]+\*?\S[^\r\n]*"),
    re.compile(r"MD5 ?\([^\r\n]+\) ?= ?" + _HEX),
)
"""The bare digest, as md5sum writes it (``digest  name``), and as BSD's md5 does (``MD5 (name) = digest``)."""


def fetch_published_digest(session: requests.Session, artifact: Artifact) -> ExpectedDigest | str:
    """Read the publisher's digest from the first of its addresses that has one, or return why there is none."""
    failures = []
    for address in artifact.digest_addresses:
        found = fetch_digest(session, address)
        if isinstance(found, ExpectedDigest):
            return found
        failures.append(found)
    return failures[0] if failures else "the zoo file records no digest and no address of one"


def fetch_digest(session: requests.Session, address: str) -> ExpectedDigest | str:
    """Read the MD5 digest that an address has, or return why there is none."""
    shown = redact_address(address)
    try:
        md5 = parse_md5(retry(lambda: _read_text(session, address), SHORT_RETRY_POLICY))
        outcome = "sent no MD5 digest"
    except FailedAttemptError as failure:
        md5, outcome = None, failure.outcome
    return ExpectedDigest(f"md5:{md5}", shown) if md5 else f"the zoo file records no digest, and {shown} {outcome}"


def _read_text(session: requests.Session, address: str) -> str:
    """Read a digest file; one that is too long to be one reads as empty."""
    content = b""
    if source := local_path(address):
        with open_local(source) as file:
            content = file.read(MAX_DIGEST_BYTES + 1)
    else:
        url, private_headers = resolve_address(address)
        if not is_tamper_proof(url):
            raise FailedAttemptError("is plain http, which anyone on the way can change")
        with open_response(session, url, DIGEST_TIMEOUTS, private_headers=private_headers) as response:
            for chunk in read_body(response, DIGEST_TIMEOUTS, deadline_seconds=DIGEST_TIMEOUTS.total):
                content += chunk
                if len(content) > MAX_DIGEST_BYTES:
                    break
    return content.decode("utf-8-sig", errors="replace") if len(content) <= MAX_DIGEST_BYTES else ""


def parse_md5(text: str) -> str | None:
    """Return the one MD5 digest of a digest file, in lower case; None if the text is anything else."""
    line = text.strip()
    found = next((match for form in MD5_FORMS if (match := form.fullmatch(line))), None)
    return found["md5"].lower() if found else None
