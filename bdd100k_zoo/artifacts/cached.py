"""What a file that stands in the cache is to an artifact: deciding apart from looking."""

from __future__ import annotations

import stat
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from bdd100k_zoo.artifacts import ledger
from bdd100k_zoo.artifacts.hashing import Hashes, hash_file
from bdd100k_zoo.artifacts.layout import ledger_path
from bdd100k_zoo.artifacts.verify import USER, contradiction, recorded_digest, recorder
from bdd100k_zoo.errors import DigestMismatchError, StorageError
from bdd100k_zoo.manifest.addresses import redacted
from bdd100k_zoo.records.files import storage_errors

if TYPE_CHECKING:
    from os import stat_result
    from pathlib import Path

    from bdd100k_zoo.artifacts.decide import Cached
    from bdd100k_zoo.artifacts.verify import Trust
    from bdd100k_zoo.manifest import Artifact


class Found(NamedTuple):
    """What stands under an artifact's name."""

    cached: Cached
    entry: ledger.Entry | None = None
    """What is known about the file; None where there is none."""
    mismatch: DigestMismatchError | None = None
    """How it is wrong."""

    @property
    def kept(self) -> ledger.Entry | None:
        """What is known about the file, where it may be taken as it is."""
        return self.entry if self.cached == "keep" else None


def judge(artifact: Artifact, entry: ledger.Entry) -> Cached:
    """Decide what a file in the cache is to an artifact, from what is known about both."""
    recorded = recorded_digest(artifact)
    hashes = Hashes(entry.size, entry.md5, entry.sha256)
    is_recorded = bool(recorded) and all(hashes.like(digest) == digest for digest, _ in recorded)
    if not is_recorded and came_from_elsewhere(artifact, entry):
        return "foreign"
    return "contradicted" if contradicts(artifact, entry, "") else "keep"


def came_from_elsewhere(artifact: Artifact, entry: ledger.Entry) -> bool:
    """Return whether a file was filed for another artifact, or for another address than any of this one's."""
    if (entry.model, entry.what) != (artifact.model, artifact.what):
        return True
    return entry.address is not None and (entry.stands_for or entry.address) not in map(redacted, artifact.addresses)


class Verification(NamedTuple):
    """Whether a cached file is verified."""

    verified_by: str | None
    """``zoo file``, ``publisher``, ``user`` or ``its name``; None if it is unverified."""
    digest_address: str | None
    """Where the publisher's digest was read that verified it."""
    reason: str | None
    """Why it is unverified."""


def verification(artifact: Artifact | None, entry: ledger.Entry) -> Verification:
    """Return what verifies a cached file: the zoo file's digest, else its ledger's, else the user's.

    Args:
        artifact: what the zoo knows; None where no model has such a file.
        entry: the file's ledger.
    """
    if artifact and (mismatch := contradicts(artifact, entry, "")):
        return Verification(
            None, None, f"expected {mismatch.expected} (from {mismatch.source}), found {mismatch.found}"
        )
    if artifact and judge(artifact, entry) == "foreign":
        mine = (entry.model, entry.what) == (artifact.model, artifact.what)
        other = f"its ledger is that of the {entry.what} of {entry.model}"
        return Verification(None, None, f"it came from {entry.address}, which the zoo does not list" if mine else other)
    if artifact and artifact.digest:
        return Verification(recorder(artifact), None, None)
    if entry.verified_by and not (artifact and came_from_elsewhere(artifact, entry)):
        return Verification(entry.verified_by, entry.digest_address, None)
    if artifact and artifact.user_digests:
        return Verification(USER, None, None)
    return Verification(None, None, entry.reason)


def contradicts(artifact: Artifact, entry: ledger.Entry, subject: str) -> DigestMismatchError | None:
    """Return how a cached file differs from the recorded digests and size, if it does."""
    hashes = Hashes(entry.size, entry.md5, entry.sha256)
    return contradiction(hashes, subject, recorded_digest(artifact), artifact.size)


def look(path: Path, artifact: Artifact) -> Found:
    """Say what stands under a path as it is now, hashing it where the ledger does not describe it.

    Raises:
        StorageError: it cannot be read.
    """
    facts = _facts(path)
    if facts is None:
        return Found("absent")
    known = ledger.read(path)
    if isinstance(known, ledger.Entry) and known.describes(facts) and judge(artifact, known) != "contradicted":
        return Found(judge(artifact, known), known)
    return _look_again(path, artifact, known, hash_file(path), facts)


def _look_again(
    path: Path, artifact: Artifact, known: ledger.Entry | ledger.Damaged | None, hashes: Hashes, facts: stat_result
) -> Found:
    """Say what a file is that was hashed again.

    The same bytes keep their history. Other bytes than those that were downloaded or verified are wrong, unless the
    zoo file's digest decides, or the user's where nothing else verified them; a file that somebody put there may be
    replaced by its owner.
    """
    if isinstance(known, ledger.Entry) and known.has_bytes(hashes):
        entry = replace(known, size=facts.st_size, mtime_ns=facts.st_mtime_ns)
    elif isinstance(known, ledger.Entry) and known.is_pin and pins(known, artifact):
        expected, found, source = f"md5:{known.md5}", f"md5:{hashes.md5}", f"its ledger {ledger_path(path)}"
        return Found("changed", known, DigestMismatchError(str(path), expected, found, source))
    else:
        damaged = isinstance(known, ledger.Damaged)
        how = f"its ledger {ledger_path(path)} was damaged" if damaged else "it was put into the cache by hand"
        entry = _entry(artifact, None, hashes, facts, None, f"{how}, and the zoo file records no digest")
    cached = judge(artifact, entry)
    if cached == "contradicted":
        return Found(cached, entry, contradicts(artifact, entry, str(path)))
    with suppress(StorageError):
        ledger.write(path, entry)
    return Found(cached, entry)


def pins(known: ledger.Entry, artifact: Artifact | None) -> bool:
    """Return whether a file must have the bytes of its ledger, as no recorded digest decides instead.

    The zoo file's digest always does; the user's does where nothing verified the file of the ledger.
    """
    if artifact is None:
        return True
    return artifact.digest is None and not (artifact.user_digests and known.verified_by is None)


def _facts(path: Path) -> stat_result | None:
    with storage_errors(path):
        try:
            facts = path.stat()
        except FileNotFoundError:
            return None
    if not stat.S_ISREG(facts.st_mode):
        raise StorageError(path, "is no file, and stands where one is to be")
    return facts


def pinned(path: Path, artifact: Artifact) -> ledger.Entry | None:
    """Give the ledger's entry of the file that was first filed for an artifact, which any later one must equal."""
    known = ledger.read(path)
    if isinstance(known, ledger.Entry) and known.is_pin and not came_from_elsewhere(artifact, known):
        return known
    return None


def describe(artifact: Artifact, address: str | None, hashes: Hashes, facts: stat_result, trust: Trust) -> ledger.Entry:
    """Return the ledger's entry for a file of an artifact; ``facts`` are those of the file that was hashed."""
    reason = trust.reason
    if trust.mirror_digest:
        reason = f"{reason}; it matches the mirror's digest {trust.mirror_digest}, which shows only an intact transfer"
    entry = _entry(artifact, address, hashes, facts, trust.verified_by, reason)
    return replace(entry, digest_address=trust.digest_address)


def _entry(
    artifact: Artifact,
    address: str | None,
    hashes: Hashes,
    facts: stat_result,
    verified_by: str | None,
    reason: str | None,
) -> ledger.Entry:
    return ledger.Entry(
        model=artifact.model,
        what=artifact.what,
        address=redacted(address) if address else None,
        size=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
        md5=hashes.md5,
        sha256=hashes.sha256,
        verified_by=verified_by,
        reason=None if verified_by else reason,
        stands_for=next(map(redacted, artifact.addresses), None),
        zoo_file=str(artifact.zoo_file) if artifact.zoo_file else None,
    )
