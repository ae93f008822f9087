"""What a file that stands in the cache is to an artifact: deciding apart from looking."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from bdd100k_zoo.artifacts import ledger
from bdd100k_zoo.artifacts.layout import ledger_path
from bdd100k_zoo.artifacts.verify import Expected, Hashes, Unknown, contradiction, hash_file, recorded_digest
from bdd100k_zoo.errors import DigestMismatchError, StorageError
from bdd100k_zoo.records.files import storage_errors

if TYPE_CHECKING:
    from os import stat_result
    from pathlib import Path

    from bdd100k_zoo.manifest import Artifact

Verdict = Literal["absent", "contradicted", "foreign", "keep"]


def judge(artifact: Artifact, entry: ledger.Entry | None) -> Verdict:
    """Decide what a file in the cache is to an artifact, from what is known about both."""
    if entry is None:
        return "absent"
    recorded = recorded_digest(artifact)
    hashes = Hashes(entry.size, entry.md5, entry.sha256)
    vouched_for = recorded is not None and hashes.like(recorded.digest) == recorded.digest
    if not vouched_for and _came_from_elsewhere(artifact, entry):
        return "foreign"
    return "contradicted" if contradicts(artifact, entry, "") else "keep"


def _came_from_elsewhere(artifact: Artifact, entry: ledger.Entry) -> bool:
    if entry.address is None:
        return False
    filed_for = entry.stands_for or entry.address
    return (entry.model, entry.what) != (artifact.model, artifact.what) or filed_for not in artifact.addresses


def contradicts(artifact: Artifact, entry: ledger.Entry, subject: str) -> DigestMismatchError | None:
    """Say how a cached file differs from the digest and size of the zoo file, if it does."""
    hashes = Hashes(entry.size, entry.md5, entry.sha256)
    return contradiction(hashes, subject, recorded_digest(artifact), artifact.size)


def current_entry(path: Path, artifact: Artifact) -> ledger.Entry | None:
    """Give the ledger entry of a file as it is now, hashing it where the ledger does not describe it."""
    facts = _facts(path)
    if facts is None:
        return None
    known = ledger.read(path)
    if isinstance(known, ledger.Entry) and known.describes(facts) and judge(artifact, known) != "contradicted":
        return known
    hashes = hash_file(path)
    entry = _reconsidered(path, artifact, known, hashes, facts)
    if judge(artifact, entry) != "contradicted":
        with suppress(StorageError):
            ledger.write(path, entry)
    return entry


def _facts(path: Path) -> stat_result | None:
    with storage_errors(path):
        return path.stat() if path.is_file() else None


def _reconsidered(
    path: Path, artifact: Artifact, known: ledger.Entry | ledger.Damaged | None, hashes: Hashes, facts: stat_result
) -> ledger.Entry:
    """Say what is known about a file that was hashed again.

    The same bytes keep their history. Other bytes than those that were downloaded or verified are an error, unless
    the zoo file's digest decides; a file that somebody put there may be replaced by its owner.
    """
    if isinstance(known, ledger.Entry):
        if known.has_bytes(hashes):
            return replace(known, size=facts.st_size, mtime_ns=facts.st_mtime_ns)
        pinned = known.address is not None or known.verified_by is not None
        if pinned and artifact.digest is None:
            source = f"its ledger {ledger_path(path)}"
            raise DigestMismatchError(str(path), f"md5:{known.md5}", f"md5:{hashes.md5}", source)
    damaged = isinstance(known, ledger.Damaged)
    how = f"its ledger {ledger_path(path)} was damaged" if damaged else "it was put into the cache by hand"
    return describe(artifact, None, hashes, facts, Unknown(f"{how}, and the zoo file records no digest"))


def describe(
    artifact: Artifact, address: str | None, hashes: Hashes, facts: stat_result, known: Expected | Unknown
) -> ledger.Entry:
    """Write down what is known about a file of an artifact; ``facts`` are those of the file that was hashed."""
    return ledger.Entry(
        model=artifact.model,
        what=artifact.what,
        address=address,
        size=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
        md5=hashes.md5,
        sha256=hashes.sha256,
        verified_by=known.source if isinstance(known, Expected) else None,
        reason=known.reason if isinstance(known, Unknown) else None,
    )
