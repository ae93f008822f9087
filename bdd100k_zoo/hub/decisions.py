"""What a cached file is to an artifact, and what to do next for it: decided without acting."""

from __future__ import annotations

import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec.structs import replace

from bdd100k_zoo.errors import DigestMismatchError, StorageError
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.hub import ledger
from bdd100k_zoo.hub.layout import ledger_path
from bdd100k_zoo.hub.verify import USER, Hashes, digest_mismatch, digest_origin, hash_file, recorded_digests
from bdd100k_zoo.registry.addresses import redact_address

if TYPE_CHECKING:
    from os import stat_result
    from pathlib import Path

    from bdd100k_zoo.hub.verify import VerificationPlan
    from bdd100k_zoo.registry import Artifact

CachedState = Literal["absent", "keep", "foreign", "contradicted", "changed"]
"""What a file under its final name is to an artifact.

``foreign`` came from an address that the artifact does not list; ``contradicted`` is not what the zoo file records;
``changed`` is no longer the file that was downloaded.
"""

STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]{0,500}"')
"""RFC 9110 8.8.3. A weak one (``W/"…"``) promises the same meaning, not the same bytes; what is none of both cannot be
sent back."""

Action = Literal["keep", "resume", "restart", "refetch", "fail"]


class PartialInfo(NamedTuple):
    """What is known about the bytes of an earlier transfer."""

    size: int
    """Bytes that are there."""
    address: str | None
    """Where they came from; None where from several."""
    etag: str | None
    last_modified: str | None
    """Only where it is a strong validator."""
    total: int | None
    """Bytes that the whole file was to have."""


class DownloadState(NamedTuple):
    """All that the next step depends on."""

    cached: CachedState
    partial: PartialInfo | None = None
    address: str | None = None
    """The address whose turn it is; None where none may be asked."""
    digest: str | None = None
    """What the whole file must have, if anything says so."""
    size: int | None = None
    """Bytes that the zoo file records."""


class DownloadDecision(NamedTuple):
    """The next step.

    keep: the cached file is right. resume: ask for the bytes from ``offset`` on. restart: ask for all bytes, and
    begin anew what is partly there. refetch: the cached file is wrong; get another, and set it aside when that is here.
    fail: nothing may be asked.
    """

    action: Action
    offset: int = 0
    validator: str | None = None
    """What If-Range must hold, so that bytes of another version of the file are never put together."""


def decide_download(known: DownloadState) -> DownloadDecision:
    """Say what to do next; see Decision."""
    if known.cached == "keep":
        return DownloadDecision("keep")
    if known.address is None:
        return DownloadDecision("fail")
    if known.cached in ("contradicted", "changed"):
        return DownloadDecision("refetch")
    if known.partial is None or not _fits(known.partial, known.size):
        return DownloadDecision("restart")
    return _continuation(known.partial, known.address, digest_known=known.digest is not None)


def _fits(partial: PartialInfo, size: int | None) -> bool:
    """Tell whether bytes can be the beginning of a file of the recorded size."""
    totals = [total for total in (partial.total, size) if total is not None]
    return partial.size > 0 and all(partial.size <= total for total in totals) and len(set(totals)) <= 1


def _continuation(partial: PartialInfo, address: str, *, digest_known: bool) -> DownloadDecision:
    """Continue where something will tell a mixture of two files: the server by its validator, or the digest."""
    resume = DownloadDecision("resume", partial.size)
    if address != partial.address:
        return resume if digest_known else DownloadDecision("restart")
    strong = partial.etag if partial.etag and STRONG_ETAG.fullmatch(partial.etag) else None
    if validator := strong or partial.last_modified:
        return resume._replace(validator=validator)
    return resume if digest_known or partial.size == partial.total else DownloadDecision("restart")


class CacheLookup(NamedTuple):
    """What stands under an artifact's name."""

    cached: CachedState
    entry: ledger.LedgerEntry | None = None
    """What is known about the file; None where there is none."""
    mismatch: DigestMismatchError | None = None
    """How it is wrong."""

    @property
    def kept(self) -> ledger.LedgerEntry | None:
        """What is known about the file, where it may be taken as it is."""
        return self.entry if self.cached == "keep" else None


def classify_cached(artifact: Artifact, entry: ledger.LedgerEntry) -> CachedState:
    """Decide what a file in the cache is to an artifact, from what is known about both."""
    recorded = recorded_digests(artifact)
    hashes = Hashes(entry.size, entry.md5, entry.sha256)
    is_recorded = bool(recorded) and all(hashes.like(digest) == digest for digest, _ in recorded)
    if not is_recorded and is_foreign_entry(artifact, entry):
        return "foreign"
    return "contradicted" if entry_mismatch(artifact, entry, "") else "keep"


def is_foreign_entry(artifact: Artifact, entry: ledger.LedgerEntry) -> bool:
    """Return whether a file was filed for another artifact, or for another address than any of this one's."""
    if (entry.model, entry.what) != (artifact.model, artifact.what):
        return True
    return entry.address is not None and (entry.stands_for or entry.address) not in map(
        redact_address, artifact.addresses
    )


class Verification(NamedTuple):
    """Whether a cached file is verified."""

    verified_by: str | None
    """``zoo file``, ``publisher``, ``user`` or ``its name``; None if it is unverified."""
    digest_address: str | None
    """Where the publisher's digest was read that verified it."""
    reason: str | None
    """Why it is unverified."""


def resolve_verification(artifact: Artifact | None, entry: ledger.LedgerEntry) -> Verification:
    """Return what verifies a cached file: the zoo file's digest, else its ledger's, else the user's.

    Args:
        artifact: what the zoo knows; None where no model has such a file.
        entry: the file's ledger.
    """
    if artifact and (mismatch := entry_mismatch(artifact, entry, "")):
        return Verification(
            None, None, f"expected {mismatch.expected} (from {mismatch.source}), found {mismatch.found}"
        )
    if artifact and classify_cached(artifact, entry) == "foreign":
        mine = (entry.model, entry.what) == (artifact.model, artifact.what)
        other = f"its ledger is that of the {entry.what} of {entry.model}"
        return Verification(None, None, f"it came from {entry.address}, which the zoo does not list" if mine else other)
    if artifact and artifact.digest:
        return Verification(digest_origin(artifact), None, None)
    if entry.verified_by and not (artifact and is_foreign_entry(artifact, entry)):
        return Verification(entry.verified_by, entry.digest_address, None)
    if artifact and artifact.user_digests:
        return Verification(USER, None, None)
    return Verification(None, None, entry.reason)


def entry_mismatch(artifact: Artifact, entry: ledger.LedgerEntry, subject: str) -> DigestMismatchError | None:
    """Return how a cached file differs from the recorded digests and size, if it does."""
    hashes = Hashes(entry.size, entry.md5, entry.sha256)
    return digest_mismatch(hashes, subject, recorded_digests(artifact), artifact.size)


def inspect_cached(path: Path, artifact: Artifact) -> CacheLookup:
    """Say what stands under a path as it is now, hashing it where the ledger does not describe it.

    Raises:
        StorageError: it cannot be read.
    """
    facts = _facts(path)
    if facts is None:
        return CacheLookup("absent")
    known = ledger.read_ledger(path)
    if (
        isinstance(known, ledger.LedgerEntry)
        and known.describes(facts)
        and classify_cached(artifact, known) != "contradicted"
    ):
        return CacheLookup(classify_cached(artifact, known), known)
    return _inspect_rehashed(path, artifact, known, hash_file(path), facts)


def _inspect_rehashed(
    path: Path,
    artifact: Artifact,
    known: ledger.LedgerEntry | ledger.DamagedLedger | None,
    hashes: Hashes,
    facts: stat_result,
) -> CacheLookup:
    """Say what a file is that was hashed again.

    The same bytes keep their history. Other bytes than those that were downloaded or verified are wrong, unless the
    zoo file's digest decides, or the user's where nothing else verified them; a file that somebody put there may be
    replaced by its owner.
    """
    if isinstance(known, ledger.LedgerEntry) and known.has_bytes(hashes):
        entry = replace(known, size=facts.st_size, mtime_ns=facts.st_mtime_ns)
    elif isinstance(known, ledger.LedgerEntry) and known.is_pin and must_match_ledger(known, artifact):
        expected, found, source = f"md5:{known.md5}", f"md5:{hashes.md5}", f"its ledger {ledger_path(path)}"
        return CacheLookup("changed", known, DigestMismatchError(str(path), expected, found, source))
    else:
        damaged = isinstance(known, ledger.DamagedLedger)
        how = f"its ledger {ledger_path(path)} was damaged" if damaged else "it was put into the cache by hand"
        entry = _entry(artifact, None, hashes, facts, None, f"{how}, and the zoo file records no digest")
    cached = classify_cached(artifact, entry)
    if cached == "contradicted":
        return CacheLookup(cached, entry, entry_mismatch(artifact, entry, str(path)))
    with suppress(StorageError):
        ledger.write_ledger(path, entry)
    return CacheLookup(cached, entry)


def must_match_ledger(known: ledger.LedgerEntry, artifact: Artifact | None) -> bool:
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


def read_pin(path: Path, artifact: Artifact) -> ledger.LedgerEntry | None:
    """Give the ledger's entry of the file that was first filed for an artifact, which any later one must equal."""
    known = ledger.read_ledger(path)
    if isinstance(known, ledger.LedgerEntry) and known.is_pin and not is_foreign_entry(artifact, known):
        return known
    return None


def build_ledger_entry(
    artifact: Artifact, address: str | None, hashes: Hashes, facts: stat_result, trust: VerificationPlan
) -> ledger.LedgerEntry:
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
) -> ledger.LedgerEntry:
    return ledger.LedgerEntry(
        model=artifact.model,
        what=artifact.what,
        address=redact_address(address) if address else None,
        size=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
        md5=hashes.md5,
        sha256=hashes.sha256,
        verified_by=verified_by,
        reason=None if verified_by else reason,
        stands_for=next(map(redact_address, artifact.addresses), None),
        zoo_file=str(artifact.zoo_file) if artifact.zoo_file else None,
    )
