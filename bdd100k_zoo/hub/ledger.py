"""What is recorded beside a cached file, and what that makes the file to an artifact of the zoo."""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

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
    WRONG_IN_CACHE,
    ZOO_FILE,
    Hashes,
    VerificationPlan,
    describe_mismatch,
    digest_origin,
    hash_file,
    pinned_digest,
    recorded_digests,
    recorded_mismatch,
)
from bdd100k_zoo.registry.addresses import redact_address

if TYPE_CHECKING:
    from os import stat_result

    from bdd100k_zoo.progress import Task
    from bdd100k_zoo.registry import Artifact


class LedgerEntry(Struct, frozen=True, kw_only=True):
    """The facts about one cached file, as its ledger holds them."""

    model: str
    what: str
    address: str | None
    """Where the file came from: an address, ``file://`` for a copy; None if it was put into the cache by hand."""
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
        """Whether a later file must have the same bytes; not so if this one was put there by hand."""
        return self.address is not None or self.verified_by is not None

    def matches_stat(self, file_stat: stat_result) -> bool:
        """Return whether a file has the size and modification time of the one whose bytes were hashed."""
        return (self.size, self.mtime_ns) == (file_stat.st_size, file_stat.st_mtime_ns)

    def has_bytes(self, hashes: Hashes) -> bool:
        """Return whether bytes with these digests are those of the entry."""
        return (self.md5, self.sha256) == (hashes.md5, hashes.sha256)


def read_ledger(path: Path) -> LedgerEntry | None:
    """Read the ledger of the cached file ``path``; None if there is none, or it is damaged.

    An entry with a ``verified_by`` that this package never writes counts as that of an unverified file.

    Raises:
        StorageError: the ledger exists and may not be read.
    """
    ledger, content = ledger_path(path), b""
    with storage_errors(ledger), suppress(FileNotFoundError):
        content = read_record(ledger)
    try:
        entry = msgspec.json.decode(content, type=LedgerEntry)
    except (msgspec.DecodeError, RecursionError):
        return None
    known = {None, ZOO_FILE, PUBLISHER, USER} | ({FILE_NAME} if entry.what == "start-values" else set())
    if entry.verified_by in known:
        return entry
    reason = f"its ledger names {entry.verified_by!r} as what verified it, which verifies nothing"
    return replace(entry, verified_by=None, digest_address=None, reason=reason)


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
    return LedgerEntry(
        model=artifact.model,
        what=artifact.what,
        address=redact_address(address) if address else None,
        size=file_stat.st_size,
        mtime_ns=file_stat.st_mtime_ns,
        md5=hashes.md5,
        sha256=hashes.sha256,
        verified_by=plan.verified_by,
        reason=plan.reason,
        digest_address=plan.digest_address,
        stands_for=redact_address(artifact.addresses[0]) if artifact.addresses else None,
        zoo_file=str(artifact.zoo_file) if artifact.zoo_file else None,
    )


class CacheLookup(NamedTuple):
    """What is under an artifact's name in the cache. A file that is neither wrong nor foreign can be used."""

    entry: LedgerEntry | None = None
    """What is known about the file; None if there is no file, or neither a ledger nor a model describes it."""
    mismatch: DigestMismatchError | None = None
    """How it differs from what the zoo file or its ledger records."""
    is_foreign: bool = False
    """It came from an address that the artifact does not list."""
    has_right_ledger: bool = False
    """The bytes are wrong, and the ledger describes others, which are right as far as is known."""

    @property
    def usable_entry(self) -> LedgerEntry | None:
        """What is known about the file, if it may be used as it is."""
        return None if self.mismatch or self.is_foreign else self.entry


def is_foreign_entry(artifact: Artifact, entry: LedgerEntry) -> bool:
    """Return whether an entry is that of another artifact, or of an address that this one does not list."""
    if (entry.model, entry.what) != (artifact.model, artifact.what):
        return True
    return entry.address is not None and (entry.stands_for or entry.address) not in map(
        redact_address, artifact.addresses
    )


def classify_cached(artifact: Artifact | None, entry: LedgerEntry, path: Path) -> CacheLookup:
    """Return what the file of an entry is to an artifact, by what is known about both."""
    recorded = recorded_digests(artifact) if artifact else ()
    has_recorded = bool(recorded) and all(entry.hashes.digest_like(each.digest) == each.digest for each in recorded)
    if artifact and not has_recorded and is_foreign_entry(artifact, entry):
        return CacheLookup(entry, is_foreign=True)
    return CacheLookup(entry, recorded_mismatch(artifact, entry.hashes, path))


def resolve_verification(artifact: Artifact | None, entry: LedgerEntry) -> LedgerEntry:
    """Return an entry whose ``verified_by``, ``digest_address`` and ``reason`` are up to date.

    The zoo file's digest decides, else the ledger's entry, else the user's digest.

    Args:
        artifact: what the zoo records now; None if no model has such a file.
        entry: the file's ledger.
    """
    if artifact is None:
        return replace(entry, reason=None) if entry.verified_by else entry
    foreign = is_foreign_entry(artifact, entry)
    verified_by, digest_address, reason = None, None, entry.reason
    if mismatch := recorded_mismatch(artifact, entry.hashes, Path()):
        reason = describe_mismatch(mismatch)
    elif foreign and not recorded_digests(artifact):
        same_file = (entry.model, entry.what) == (artifact.model, artifact.what)
        reason = f"its ledger is that of the {entry.what} of {entry.model}"
        if same_file:
            reason = f"it came from {entry.address}, which the zoo does not list"
    elif artifact.digest:
        verified_by = digest_origin(artifact)
    elif entry.verified_by and not foreign:
        verified_by, digest_address = entry.verified_by, entry.digest_address
    elif artifact.user_digests:
        verified_by = USER
    return replace(
        entry, verified_by=verified_by, digest_address=digest_address, reason=None if verified_by else reason
    )


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
    return entry if entry and entry.is_pin and not is_foreign_entry(artifact, entry) else None


def inspect_cached(
    path: Path, artifact: Artifact | None, *, rehash: bool = False, task: Task | None = None
) -> CacheLookup:
    """Return what is under a path now, and update its ledger unless the file is wrong.

    The file is hashed if its ledger does not describe it. The same bytes keep their history. Other bytes than those
    that were downloaded or verified are wrong, unless the zoo file's digest decides, or the user's if nothing else
    verified them. A file that was put into the cache by hand may be replaced by hand.

    Args:
        path: the file.
        artifact: what the zoo records; None if no model has such a file.
        rehash: hash the file even if its size and modification time are the ledger's.
        task: advanced while the file is hashed.

    Raises:
        StorageError: it cannot be read.
    """
    with storage_errors(path):
        try:
            file_stat = path.stat()
        except FileNotFoundError:
            return CacheLookup()
    if not stat.S_ISREG(file_stat.st_mode):
        raise StorageError(path, "is not a regular file, and is in the place of one")
    entry = ledger = read_ledger(path)
    is_unchanged = entry is not None and entry.matches_stat(file_stat)
    if entry and is_unchanged and not rehash:
        found = classify_cached(artifact, entry, path)
        if not found.mismatch:
            return found
    hashes = hash_file(path, task)
    if entry and entry.has_bytes(hashes):
        entry = replace(entry, size=file_stat.st_size, mtime_ns=file_stat.st_mtime_ns)
    elif entry and (entry.is_pin or is_unchanged) and must_match_ledger(entry, artifact):
        pin = pinned_digest(path, entry)
        mismatch = DigestMismatchError(str(path), pin.digest, f"sha256:{hashes.sha256}", pin.source, WRONG_IN_CACHE)
        right = recorded_mismatch(artifact, entry.hashes, path) is None
        return CacheLookup(entry, mismatch, has_right_ledger=right)
    elif artifact:
        damaged = entry is None and ledger_path(path).exists()
        how = f"its ledger {ledger_path(path)} was damaged" if damaged else "it was put into the cache by hand"
        plan = VerificationPlan((), None, f"{how}, and the zoo file records no digest")
        entry = build_ledger_entry(artifact, None, hashes, file_stat, plan)
    else:
        return CacheLookup()
    found = classify_cached(artifact, entry, path)
    if found.mismatch:
        is_right = (
            ledger is not None
            and ledger.is_pin
            and not ledger.has_bytes(hashes)
            and recorded_mismatch(artifact, ledger.hashes, path) is None
        )
        return found._replace(has_right_ledger=is_right)
    with suppress(StorageError):  # of a read-only cache
        write_ledger(path, entry)
    return found
