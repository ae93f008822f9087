"""What is recorded beside a cached file, and what that makes the file to an artifact of the zoo."""

from __future__ import annotations

import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from bdd100k_zoo.errors import DigestMismatchError, StorageError
from bdd100k_zoo.files import read_record, storage_errors, write_atomically
from bdd100k_zoo.hub.layout import ledger_path
from bdd100k_zoo.hub.verify import (
    FILE_NAME,
    PUBLISHER,
    USER,
    ZOO_FILE,
    Hashes,
    VerificationPlan,
    describe_mismatch,
    digest_mismatch,
    digest_origin,
    hash_file,
    recorded_digests,
)
from bdd100k_zoo.registry.addresses import redact_address

if TYPE_CHECKING:
    from os import stat_result
    from pathlib import Path

    from bdd100k_zoo.registry import Artifact


class LedgerEntry(Struct, frozen=True, kw_only=True):
    """The facts about one cached file, as its ledger holds them."""

    model: str
    what: str
    address: str | None
    """Where the file came from: an address, ``file://`` for a copy; None if somebody put it into the cache by hand."""
    size: int
    mtime_ns: int
    md5: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    verified_by: str | None
    """Whose digest verified the file: ``zoo file``, ``publisher``, ``user`` or ``its name``; None if unverified."""
    reason: str | None
    """Why it is unverified."""
    digest_address: str | None = None
    """Where the publisher's digest that verified it was read."""
    stands_for: str | None = None
    """The artifact's first address at that time; distinguishes a mirror's copy from another artifact's file."""
    zoo_file: str | None = None
    """The zoo file that listed the model at that time."""

    @property
    def hashes(self) -> Hashes:
        """The size and digests of the file."""
        return Hashes(self.size, self.md5, self.sha256)

    @property
    def is_pin(self) -> bool:
        """Whether a later file must have the same bytes; not so if somebody put this one there by hand."""
        return self.address is not None or self.verified_by is not None

    def matches_stat(self, file_stat: stat_result) -> bool:
        """Return whether a file has the size and modification time of the one whose bytes were hashed."""
        return (self.size, self.mtime_ns) == (file_stat.st_size, file_stat.st_mtime_ns)

    def has_bytes(self, hashes: Hashes) -> bool:
        """Return whether bytes with these digests are those of the entry."""
        return (self.md5, self.sha256) == (hashes.md5, hashes.sha256)


class DamagedLedger:
    """A ledger that exists and cannot be read."""


def read_ledger(path: Path) -> LedgerEntry | DamagedLedger | None:
    """Read the ledger of the cached file ``path``; None if there is none.

    An entry with a ``verified_by`` that this package never writes counts as that of an unverified file.

    Raises:
        StorageError: the ledger exists and may not be read.
    """
    ledger = ledger_path(path)
    try:
        with storage_errors(ledger), suppress(FileNotFoundError):
            entry = msgspec.json.decode(read_record(ledger), type=LedgerEntry)
            known = {None, ZOO_FILE, PUBLISHER, USER} | ({FILE_NAME} if entry.what == "start-values" else set())
            if entry.verified_by in known:
                return entry
            reason = f"its ledger says that it was verified by {entry.verified_by!r}, which verifies nothing"
            return replace(entry, verified_by=None, digest_address=None, reason=reason)
    except (msgspec.DecodeError, RecursionError):
        return DamagedLedger()
    return None


def write_ledger(path: Path, entry: LedgerEntry) -> None:
    """Replace the ledger of the cached file ``path``.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    write_atomically(ledger_path(path), msgspec.json.format(msgspec.json.encode(entry), indent=2))


def build_ledger_entry(
    artifact: Artifact, address: str | None, hashes: Hashes, file_stat: stat_result, plan: VerificationPlan
) -> LedgerEntry:
    """Return the entry for a file that was hashed and verified by a plan; ``file_stat`` is that of the file."""
    reason = plan.reason
    if plan.mirror_digest:
        reason = f"{reason}; it matches the mirror's digest {plan.mirror_digest}, which shows only an intact transfer"
    return LedgerEntry(
        model=artifact.model,
        what=artifact.what,
        address=redact_address(address) if address else None,
        size=file_stat.st_size,
        mtime_ns=file_stat.st_mtime_ns,
        md5=hashes.md5,
        sha256=hashes.sha256,
        verified_by=plan.verified_by,
        reason=None if plan.verified_by else reason,
        digest_address=plan.digest_address,
        stands_for=redact_address(artifact.addresses[0]) if artifact.addresses else None,
        zoo_file=str(artifact.zoo_file) if artifact.zoo_file else None,
    )


CachedState = Literal["absent", "keep", "foreign", "contradicted", "changed"]
"""What a file under its final name is to an artifact.

``keep``: the right file. ``foreign``: it came from an address that the artifact does not list. ``contradicted``: it is
not what the zoo file records. ``changed``: it is no longer the file that was downloaded.
"""


class CacheLookup(NamedTuple):
    """What was found under an artifact's name."""

    cached: CachedState
    entry: LedgerEntry | None = None
    """What is known about the file; None if there is none."""
    mismatch: DigestMismatchError | None = None
    """What is wrong with it."""

    @property
    def usable_entry(self) -> LedgerEntry | None:
        """What is known about the file, if it may be used as it is."""
        return self.entry if self.cached == "keep" else None


def entry_mismatch(artifact: Artifact, entry: LedgerEntry, subject: str) -> DigestMismatchError | None:
    """Return how a cached file differs from the recorded digests and size, if it does."""
    return digest_mismatch(entry.hashes, subject, recorded_digests(artifact), artifact.size)


def is_foreign_entry(artifact: Artifact, entry: LedgerEntry) -> bool:
    """Return whether an entry is that of another artifact, or of an address that this one does not list."""
    if (entry.model, entry.what) != (artifact.model, artifact.what):
        return True
    return entry.address is not None and (entry.stands_for or entry.address) not in map(
        redact_address, artifact.addresses
    )


def classify_cached(artifact: Artifact, entry: LedgerEntry) -> CachedState:
    """Return what the file of an entry is to an artifact, by what is known about both."""
    recorded = recorded_digests(artifact)
    has_recorded = bool(recorded) and all(entry.hashes.digest_like(digest) == digest for digest, _ in recorded)
    if not has_recorded and is_foreign_entry(artifact, entry):
        return "foreign"
    return "contradicted" if entry_mismatch(artifact, entry, "") else "keep"


def resolve_verification(artifact: Artifact | None, entry: LedgerEntry) -> LedgerEntry:
    """Return an entry whose ``verified_by``, ``digest_address`` and ``reason`` are those of today.

    The zoo file's digest decides, else the ledger's entry, else the user's digest.

    Args:
        artifact: what the zoo records now; None if no model has such a file.
        entry: the file's ledger.
    """
    if artifact and (mismatch := entry_mismatch(artifact, entry, "")):
        return _unverified(entry, describe_mismatch(mismatch))
    foreign = artifact is not None and is_foreign_entry(artifact, entry)
    if artifact and foreign and not recorded_digests(artifact):
        if (entry.model, entry.what) == (artifact.model, artifact.what):
            return _unverified(entry, f"it came from {entry.address}, which the zoo does not list")
        return _unverified(entry, f"its ledger is that of the {entry.what} of {entry.model}")
    if artifact and artifact.digest:
        return replace(entry, verified_by=digest_origin(artifact), digest_address=None, reason=None)
    if entry.verified_by and not foreign:
        return replace(entry, reason=None)
    if artifact and artifact.user_digests:
        return replace(entry, verified_by=USER, digest_address=None, reason=None)
    return _unverified(entry, entry.reason)


def _unverified(entry: LedgerEntry, reason: str | None) -> LedgerEntry:
    return replace(entry, verified_by=None, digest_address=None, reason=reason)


def must_match_ledger(entry: LedgerEntry, artifact: Artifact | None) -> bool:
    """Return whether a file must have the bytes of its ledger, because no recorded digest decides instead.

    The zoo file's digest always decides; the user's does if nothing verified the file of the ledger.
    """
    if artifact is None:
        return True
    return artifact.digest is None and not (artifact.user_digests and entry.verified_by is None)


def read_pin(path: Path, artifact: Artifact) -> LedgerEntry | None:
    """Read the entry of the file that was first stored for an artifact, which any later file must equal."""
    entry = read_ledger(path)
    if isinstance(entry, LedgerEntry) and entry.is_pin and not is_foreign_entry(artifact, entry):
        return entry
    return None


def inspect_cached(path: Path, artifact: Artifact) -> CacheLookup:
    """Return what is under a path now, hashing the file if its ledger does not describe it.

    Raises:
        StorageError: it cannot be read.
    """
    with storage_errors(path):
        try:
            file_stat = path.stat()
        except FileNotFoundError:
            return CacheLookup("absent")
    if not stat.S_ISREG(file_stat.st_mode):
        raise StorageError(path, "is no file, and stands where one is to be")
    entry = read_ledger(path)
    if isinstance(entry, LedgerEntry) and entry.matches_stat(file_stat):
        cached = classify_cached(artifact, entry)
        if cached != "contradicted":
            return CacheLookup(cached, entry)
    return _inspect_rehashed(path, artifact, entry, hash_file(path), file_stat)


def _inspect_rehashed(
    path: Path, artifact: Artifact, entry: LedgerEntry | DamagedLedger | None, hashes: Hashes, file_stat: stat_result
) -> CacheLookup:
    """Return what a file is that was hashed again, and update its ledger unless the file is wrong.

    The same bytes keep their history. Other bytes than those that were downloaded or verified are wrong, unless the
    zoo file's digest decides, or the user's if nothing else verified them. A file that somebody put into the cache by
    hand may be replaced by hand.
    """
    if isinstance(entry, LedgerEntry) and entry.has_bytes(hashes):
        entry = replace(entry, size=file_stat.st_size, mtime_ns=file_stat.st_mtime_ns)
    elif isinstance(entry, LedgerEntry) and entry.is_pin and must_match_ledger(entry, artifact):
        source = f"its ledger {ledger_path(path)}"
        mismatch = DigestMismatchError(str(path), f"md5:{entry.md5}", f"md5:{hashes.md5}", source)
        return CacheLookup("changed", entry, mismatch)
    else:
        damaged = isinstance(entry, DamagedLedger)
        how = f"its ledger {ledger_path(path)} was damaged" if damaged else "it was put into the cache by hand"
        plan = VerificationPlan((), None, f"{how}, and the zoo file records no digest")
        entry = build_ledger_entry(artifact, None, hashes, file_stat, plan)
    cached = classify_cached(artifact, entry)
    if cached == "contradicted":
        return CacheLookup(cached, entry, entry_mismatch(artifact, entry, str(path)))
    with suppress(StorageError):  # of a read-only cache
        write_ledger(path, entry)
    return CacheLookup(cached, entry)
