"""What is known about a cached file, kept beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from bdd100k_zoo.files import read_record, storage_errors, write_atomically
from bdd100k_zoo.hub.layout import ledger_path
from bdd100k_zoo.hub.verify import FILE_NAME, PUBLISHER, USER, ZOO_FILE

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from bdd100k_zoo.hub.verify import Hashes


class LedgerEntry(Struct, frozen=True, kw_only=True):
    """The facts about one cached file."""

    model: str
    what: str
    address: str | None
    """Where the file came from: an address, ``file://`` for a copy; None where somebody put it into the cache."""
    size: int
    mtime_ns: int
    md5: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    verified_by: str | None
    """Whose digest verified the file: ``zoo file``, ``publisher``, ``user`` or ``its name``; None: nobody's."""
    reason: str | None
    """Why it is unverified."""
    digest_address: str | None = None
    """Where the publisher's digest was read that verified it."""
    stands_for: str | None = None
    """The artifact's first address when the file was filed; tells a mirror's copy from another artifact's file."""
    zoo_file: str | None = None
    """The zoo file that listed the model then."""

    @property
    def is_pin(self) -> bool:
        """Whether a later file must have the same bytes: not so where somebody put this one there by hand."""
        return self.address is not None or self.verified_by is not None

    def describes(self, facts: os.stat_result) -> bool:
        """Tell whether a file is, by its size and time of change, the one whose bytes were hashed."""
        return (self.size, self.mtime_ns) == (facts.st_size, facts.st_mtime_ns)

    def has_bytes(self, hashes: Hashes) -> bool:
        """Tell whether bytes with these hashes are those of the entry."""
        return (self.md5, self.sha256) == (hashes.md5, hashes.sha256)


class DamagedLedger:
    """A ledger that is there and cannot be read."""


def read_ledger(path: Path) -> LedgerEntry | DamagedLedger | None:
    """Read the ledger of the cached file ``path``; None where there is none.

    An entry that says it was verified by anything else than this package writes is that of an unverified file.

    Raises:
        StorageError: the ledger is there and may not be read.
    """
    ledger = ledger_path(path)
    try:
        with storage_errors(ledger):
            content = _content(ledger)
        return None if content is None else _checked(msgspec.json.decode(content, type=LedgerEntry))
    except (msgspec.DecodeError, RecursionError):
        return DamagedLedger()


def _checked(entry: LedgerEntry) -> LedgerEntry:
    kinds = {None, ZOO_FILE, PUBLISHER, USER} | ({FILE_NAME} if entry.what == "start-values" else set())
    if entry.verified_by in kinds:
        return entry
    reason = f"its ledger says that it was verified by {entry.verified_by!r}, which verifies nothing"
    return replace(entry, verified_by=None, digest_address=None, reason=reason)


def _content(ledger: Path) -> bytes | None:
    try:
        return read_record(ledger)
    except FileNotFoundError:
        return None


def write_ledger(path: Path, entry: LedgerEntry) -> None:
    """Replace the ledger of the cached file ``path``.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    write_atomically(ledger_path(path), msgspec.json.format(msgspec.json.encode(entry), indent=2))
