"""Whether a file is the published one: digests, where they come from, and what they say."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.artifacts.network import CHUNK, FailedAttemptError, Waits, answering, chunks
from bdd100k_zoo.errors import DigestMismatchError
from bdd100k_zoo.manifest.addresses import is_private
from bdd100k_zoo.records.files import storage_errors

if TYPE_CHECKING:
    from pathlib import Path

    import requests

    from bdd100k_zoo.manifest import Artifact

ZOO_FILE = "zoo file"
DIGEST_WAITS = Waits(connect=5, read=10)
DIGEST_LIMIT = 64 << 10
"""Bytes of a digest file that are looked at; a longer one is none."""

_HEX = r"(?P<md5>[0-9a-fA-F]{32})"
MD5_FORMS = (
    re.compile(_HEX),
    re.compile(_HEX + r"[ \t]+\*?\S[^\r\n]*"),
    re.compile(r"MD5 ?\([^\r\n]+\) ?= ?" + _HEX),
)
"""The bare digest, as md5sum writes it (``digest  name``), and as BSD's md5 does (``MD5 (name) = digest``)."""


class Hashes(NamedTuple):
    """What was computed over some bytes; digests in lower-case hexadecimal."""

    size: int
    md5: str
    sha256: str

    def like(self, digest: str) -> str:
        """Give the digest of these bytes in the kind and form of another, ``md5:…`` or ``sha256:…``."""
        return f"md5:{self.md5}" if digest.startswith("md5:") else f"sha256:{self.sha256}"


class Hasher:
    """Computes both digests over bytes as they pass."""

    def __init__(self) -> None:
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    def update(self, chunk: bytes) -> None:
        """Take in the next bytes."""
        self.size += len(chunk)
        self._md5.update(chunk)
        self._sha256.update(chunk)

    def hashes(self) -> Hashes:
        """Give the digests of all bytes so far."""
        return Hashes(self.size, self._md5.hexdigest(), self._sha256.hexdigest())


def hash_file(path: Path) -> Hashes:
    """Compute both digests of a file.

    Raises:
        StorageError: it cannot be read.
    """
    hasher = Hasher()
    with storage_errors(path), path.open("rb") as file:
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
    return hasher.hashes()


class Expected(NamedTuple):
    """A digest that bytes must have."""

    digest: str
    """``md5:…`` or ``sha256:…``."""
    source: str
    """``zoo file``, or the address that it was read from."""


class Unknown(NamedTuple):
    """No digest can be had."""

    reason: str


def contradiction(
    hashes: Hashes, subject: str, expected: Expected | None, size: int | None
) -> DigestMismatchError | None:
    """Say how bytes differ from the digest that is expected of them and from the recorded size, if they do."""
    if expected and hashes.like(expected.digest) != expected.digest:
        return DigestMismatchError(subject, expected.digest, hashes.like(expected.digest), expected.source)
    if size is not None and hashes.size != size:
        return DigestMismatchError(subject, f"{size:,} bytes", f"{hashes.size:,} bytes", ZOO_FILE)
    return None


def recorded_digest(artifact: Artifact) -> Expected | None:
    """Give the digest that the zoo file records."""
    return Expected(artifact.digest, ZOO_FILE) if artifact.digest else None


def published_digest(session: requests.Session, artifact: Artifact) -> Expected | Unknown:
    """Give the digest that counts for every address of an artifact: the recorded one, or the publisher's."""
    recorded = recorded_digest(artifact)
    if recorded:
        return recorded
    if artifact.digest_address is None:
        return Unknown("the zoo file records no digest and no address of one")
    return read_digest(session, artifact.digest_address)


def neighbouring_digest(session: requests.Session, address: str) -> Expected | Unknown:
    """Give the digest that stands beside an address of weights: the same with ``.md5`` for ``.pth``."""
    if not address.endswith(".pth"):
        return Unknown("no address of a digest is known")
    return read_digest(session, address.removesuffix(".pth") + ".md5")


def read_digest(session: requests.Session, address: str) -> Expected | Unknown:
    """Read the digest that an address answers with."""
    try:
        md5 = parse_md5(_read_text(session, address))
    except FailedAttemptError as failure:
        return Unknown(_unknown(address, failure.outcome))
    return Expected(f"md5:{md5}", address) if md5 else Unknown(_unknown(address, "sent no MD5 digest"))


def _unknown(address: str, outcome: str) -> str:
    return f"the zoo file records no digest, and {address} {outcome}"


def _read_text(session: requests.Session, address: str) -> str:
    if not is_private(address):
        raise FailedAttemptError("is plain http, which anyone on the way can change")
    text = b""
    with answering(session, address, DIGEST_WAITS) as response:
        for chunk in chunks(response, DIGEST_WAITS, DIGEST_LIMIT + 1):
            text += chunk
            if len(text) > DIGEST_LIMIT:
                break
    return text.decode("utf-8-sig", errors="replace") if len(text) <= DIGEST_LIMIT else ""


def parse_md5(text: str) -> str | None:
    """Read the one MD5 digest of a digest file, in lower case; None where the text is anything else."""
    line = text.strip()
    found = next((match for form in MD5_FORMS if (match := form.fullmatch(line))), None)
    return found["md5"].lower() if found else None
