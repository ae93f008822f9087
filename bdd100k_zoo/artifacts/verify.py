"""Whether a file is the published one: digests, where they come from, and what they say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.artifacts.mirrors import local_path, opened
from bdd100k_zoo.artifacts.network import FailedAttemptError, Waits, answering, chunks
from bdd100k_zoo.artifacts.patience import HASTY, Course
from bdd100k_zoo.errors import DigestMismatchError
from bdd100k_zoo.manifest.addresses import is_private, redacted
from bdd100k_zoo.records.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import requests

    from bdd100k_zoo.artifacts import ledger
    from bdd100k_zoo.artifacts.hashing import Hashes
    from bdd100k_zoo.manifest import Artifact

ZOO_FILE = "zoo file"
FILE_NAME = "its name"
"""Start values of backbones are published under names that end in digits of their digest."""
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


class Expected(NamedTuple):
    """A digest that bytes must have."""

    digest: str
    """``md5:…`` or ``sha256:…``."""
    source: str
    """``zoo file``, or the address that it was read from."""


class Unknown(NamedTuple):
    """No digest can be had."""

    reason: str


class Trust(NamedTuple):
    """What the bytes of an artifact must have, and who vouches for them then."""

    expected: tuple[Expected, ...]
    """Digests that they must have, all of them."""
    verified_by: str | None
    """Where the digest comes from that verifies them; None where there is none."""
    reason: str | None
    """Why they are unverified."""


def contradiction(
    hashes: Hashes, subject: str, expected: Sequence[Expected], size: int | None
) -> DigestMismatchError | None:
    """Say how bytes differ from the digests that are expected of them and from the recorded size, if they do."""
    for digest, source in expected:
        if hashes.like(digest) != digest:
            return DigestMismatchError(subject, digest, hashes.like(digest), source)
    if size is not None and hashes.size != size:
        return DigestMismatchError(subject, f"{size:,} bytes", f"{hashes.size:,} bytes", ZOO_FILE)
    return None


def recorded_digest(artifact: Artifact) -> tuple[Expected, ...]:
    """Give the digest that the zoo file records, or a file's name, if one does."""
    return (Expected(artifact.digest, recorder(artifact)),) if artifact.digest else ()


def recorder(artifact: Artifact) -> str:
    """Say where the digest stands that an artifact is known to have."""
    return FILE_NAME if artifact.what == "start-values" else ZOO_FILE


def trust_in(
    artifact: Artifact, pin: ledger.Entry | None, pin_source: str, published: Callable[[], Expected | Unknown]
) -> Trust:
    """Say what the bytes of an artifact must have: the zoo file speaks first, then the ledger, then the publisher.

    Args:
        artifact: what the zoo file knows.
        pin: the ledger's entry for the file that was first filed, if there was one.
        pin_source: what messages call it.
        published: reads the publisher's digest; called only where it decides.
    """
    if recorded := recorded_digest(artifact):
        return Trust(recorded, recorder(artifact), None)
    pinned = (Expected(f"sha256:{pin.sha256}", pin_source),) if pin else ()
    if pin and pin.verified_by:
        return Trust(pinned, pin.verified_by, None)
    found = published()
    if isinstance(found, Unknown):
        return Trust(pinned, None, found.reason)
    return Trust((*pinned, found), found.source, None)


def read_digest(session: requests.Session, address: str) -> Expected | Unknown:
    """Read the digest that an address answers with."""
    course = Course(HASTY)
    while True:
        try:
            md5 = parse_md5(_read_text(session, address))
        except FailedAttemptError as failure:
            try:
                course.bear(failure, 0, lambda _: None)
            except FailedAttemptError:
                return Unknown(_unknown(address, failure.outcome))
        else:
            return (
                Expected(f"md5:{md5}", redacted(address)) if md5 else Unknown(_unknown(address, "sent no MD5 digest"))
            )


def _unknown(address: str, outcome: str) -> str:
    return f"the zoo file records no digest, and {redacted(address)} {outcome}"


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
    url, private = opened(address)
    if not is_private(url):
        raise FailedAttemptError("is plain http, which anyone on the way can change")
    with answering(session, url, DIGEST_WAITS, private_headers=private) as response:
        yield from chunks(response, DIGEST_WAITS, within=DIGEST_WAITS.whole)


def parse_md5(text: str) -> str | None:
    """Read the one MD5 digest of a digest file, in lower case; None where the text is anything else."""
    line = text.strip()
    found = next((match for form in MD5_FORMS if (match := form.fullmatch(line))), None)
    return found["md5"].lower() if found else None
