"""Whether a file is the published one: digests, where they come from, and what they verify.

A file is verified by a digest that the zoo file records, that the publisher's own address has, or that the user gives,
and by a digest pinned from one of these. A mirror's digest shows only that the transfer is intact.
"""

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
PUBLISHER = "publisher"
USER = "user"
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
    """``zoo file``, where the user gives it, or the address that it was read from."""


class Unknown(NamedTuple):
    """No digest can be had."""

    reason: str


class Trust(NamedTuple):
    """The digests that the bytes of an artifact must have, and what verifies them then."""

    expected: tuple[Expected, ...]
    """Digests that they must have, all of them."""
    verified_by: str | None
    """``zoo file``, ``publisher``, ``user`` or ``its name``; None where no digest verifies them."""
    reason: str | None
    """Why they are unverified."""
    digest_address: str | None = None
    """Where the publisher's digest was read."""
    mirror_digest: str | None = None
    """Where the digest of a mirror was read, which is among those expected and verifies nothing."""


def contradiction(
    hashes: Hashes, subject: str, expected: Sequence[Expected], size: int | None
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


def recorded_digest(artifact: Artifact) -> tuple[Expected, ...]:
    """Return the digests that the zoo file or a file's name records, and those that the user gives."""
    recorded = (Expected(artifact.digest, recorder(artifact)),) if artifact.digest else ()
    return (*recorded, *(Expected(given.digest, given.source) for given in artifact.user_digests))


def recorder(artifact: Artifact) -> str:
    """Return where an artifact's own digest is recorded."""
    return FILE_NAME if artifact.what == "start-values" else ZOO_FILE


def trust_in(
    artifact: Artifact,
    pin: ledger.Entry | None,
    pin_source: str,
    published: Callable[[], Expected | Unknown],
    mirrored: Callable[[], Expected | Unknown | None],
) -> Trust:
    """Return the digests that an artifact must have: the zoo file's, else the ledger's, the user's, the publisher's.

    Args:
        artifact: what the zoo file knows.
        pin: the ledger's entry for the file that was first filed, if there was one. One of a verified file keeps the
            kind of its origin; one of an unverified file is expected too, unless a recorded digest decides.
        pin_source: what messages call it.
        published: reads the publisher's digest; called only where it decides.
        mirrored: reads the digest of the mirror that is to send the file; called only where none verifies it.
    """
    recorded = recorded_digest(artifact)
    if artifact.digest:
        return Trust(recorded, recorder(artifact), None)
    pinned = (Expected(f"sha256:{pin.sha256}", pin_source),) if pin else ()
    if pin and pin.verified_by:
        return Trust((*pinned, *recorded), pin.verified_by, None, pin.digest_address)
    if recorded:
        return Trust(recorded, USER, None)
    found = published()
    if isinstance(found, Expected):
        return Trust((*pinned, found), PUBLISHER, None, found.source)
    beside = mirrored()
    if isinstance(beside, Expected):
        return Trust((*pinned, beside), None, found.reason, mirror_digest=beside.source)
    return Trust(pinned, None, found.reason)


def published_digest(session: requests.Session, artifact: Artifact) -> Expected | Unknown:
    """Read the publisher's digest from the first of its addresses that has one."""
    unknown = []
    for address in artifact.digest_addresses:
        found = read_digest(session, address)
        if isinstance(found, Expected):
            return found
        unknown.append(found)
    return unknown[0] if unknown else Unknown("the zoo file records no digest and no address of one")


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
