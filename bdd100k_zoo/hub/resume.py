"""Partial files: bytes that have arrived, and the facts that let another process resume."""

from __future__ import annotations

import os
import re
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.files import READ_CHUNK_BYTES, open_nofollow, read_record, storage_errors, write_atomically
from bdd100k_zoo.hub.layout import PARTIAL_FACTS_SUFFIX, PARTIAL_SUFFIX, partial_facts_path, partial_path
from bdd100k_zoo.hub.verify import Hasher

if TYPE_CHECKING:
    from io import FileIO

    from bdd100k_zoo.hub.verify import Hashes
    from bdd100k_zoo.registry import Artifact

STALE_SECONDS = 300.0
"""Seconds without a new byte after which the partial file of a process on another machine counts as abandoned: longer
than the longest pause that a server may ask for, with the timeouts of the next request."""

STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]{0,500}"')
"""RFC 9110 8.8.3. A weak one (``W/"…"``) promises the same meaning, not the same bytes."""

_OPEN: set[Path] = set()
"""Partial files that this process has open."""


class PartialFacts(Struct, frozen=True, kw_only=True):
    """Where the bytes of a partial file come from, and which process writes it."""

    model: str
    what: str
    address: str | None
    """None if they come from several addresses."""
    etag: str | None = None
    last_modified: str | None = None
    """Only if it is a strong validator."""
    total: int | None = None
    """Bytes of the whole file."""
    host: str | None = None
    pid: int | None = None
    """The process that writes it; None once it is closed."""
    boot: str | None = None
    """The boot id of the machine: bytes that were not yet on the disk are lost when the system crashes."""


def build_partial_facts(artifact: Artifact, address: str | None = None, **known: object) -> PartialFacts:
    """Return the facts of bytes of an artifact that come from an address."""
    return PartialFacts(model=artifact.model, what=artifact.what, address=address, **known)  # type: ignore[arg-type]


def range_headers(
    facts: PartialFacts, kept: int, address: str, *, digest_known: bool, size: int | None
) -> dict[str, str]:
    """Decide whether to resume: return the headers that ask for the missing bytes; none to ask for the whole file.

    A transfer is resumed only if something would detect a mixture of two versions of the file: the server by the
    validator in If-Range, or the digest.

    Args:
        facts: those of the kept bytes.
        kept: how many bytes are kept.
        address: what is asked now, as it is recorded.
        digest_known: the whole file must have a digest.
        size: bytes that the zoo file records.
    """
    totals = {total for total in (facts.total, size) if total is not None}
    if not kept or len(totals) > 1 or any(kept > total for total in totals):
        return {}
    resume = {"Range": f"bytes={kept}-"}
    if address == facts.address:
        strong = facts.etag if facts.etag and STRONG_ETAG.fullmatch(facts.etag) else None
        if validator := strong or facts.last_modified:
            return resume | {"If-Range": validator}
        if kept == facts.total:
            return resume
    return resume if digest_known else {}


class PartialState(NamedTuple):
    """A partial file on the disk."""

    path: Path
    size: int
    """Bytes that are there."""
    total: int | None
    """Bytes of the whole file, if known."""


class PartialFile:
    """A file under a temporary name that no other process has; open within the block.

    At the end of the block it is deleted if it is empty, and kept for the next try if it was not moved into place.
    """

    def __init__(self, target: Path, facts: PartialFacts) -> None:
        self.target = target
        self.facts = facts
        self.path = partial_path(target, uuid4().hex[:8])
        self.size = 0
        """Bytes in the file."""
        self.is_resumed = False
        """The bytes did not all come in one answer."""
        self._hasher = Hasher()

    def __enter__(self) -> PartialFile:
        _OPEN.add(self.path)
        with storage_errors(self.target):
            adopted = self._adopt_abandoned()
            if not adopted:
                self._write_facts()  # before the file, or another process might take it for an abandoned one
            self._file: FileIO = open_nofollow(self.path, "r+" if adopted else "x+")
            self.size = self._file.seek(0, os.SEEK_END)
            self.is_resumed = adopted
        return self

    def _adopt_abandoned(self) -> bool:
        """Take over the largest file that another process left, by renaming it."""
        for found in find_abandoned_partials(self.target):
            facts = read_partial_facts(found.path)
            if facts is not None and (facts.model, facts.what) == (self.facts.model, self.facts.what):
                # Bytes that were not on the disk when the machine went down are lost, which only a digest detects.
                self.facts = facts if facts.boot == read_boot_id() else replace(facts, address=None)
            self._write_facts()
            with suppress(FileNotFoundError):  # another process was faster
                found.path.replace(self.path)
                partial_facts_path(found.path).unlink(missing_ok=True)
                return True
        return False

    def __exit__(self, *_: object) -> None:
        self._hasher.close()
        with suppress(OSError, StorageError):  # a full disk must not hide what went wrong before
            if self.size and self._is_still_open_file():
                self._write_facts(owned=False)
            else:
                if self._is_still_open_file():
                    self.path.unlink(missing_ok=True)
                partial_facts_path(self.path).unlink(missing_ok=True)
        self._file.close()
        _OPEN.discard(self.path)

    def restart(self, facts: PartialFacts) -> None:
        """Start again with bytes from an address."""
        self.discard_bytes()
        self.facts = facts
        self._write_facts()

    def discard_bytes(self) -> None:
        """Drop everything that has arrived; before new facts are written, so that they never describe other bytes."""
        with storage_errors(self.target):
            self._file.truncate(0)
            self._file.seek(0)
        self.size, self.is_resumed = 0, False
        self._hasher.close()
        self._hasher = Hasher()

    def resume(self, address: str) -> None:
        """Prepare to append bytes from an address to those that are here."""
        self.is_resumed = True
        if address != self.facts.address:
            self.facts = replace(self.facts, address=None, etag=None, last_modified=None)
            self._write_facts()
        self._hash_existing_bytes()

    def _hash_existing_bytes(self) -> None:
        """Hash bytes that this object did not write."""
        with storage_errors(self.target):
            while self._hasher.size < self.size:
                wanted = min(READ_CHUNK_BYTES, self.size - self._hasher.size)
                self._hasher.update(os.pread(self._file.fileno(), wanted, self._hasher.size))

    def write(self, chunk: bytes) -> None:
        """Append bytes; raises StorageError if the disk is full."""
        rest = memoryview(chunk)
        with storage_errors(self.target):
            while rest:
                written = self._file.write(rest)
                rest = rest[written:]
                self.size += written
        self._hasher.update(chunk)

    def hashes(self) -> Hashes:
        """Return the digests of all bytes; none can be written after."""
        self._hash_existing_bytes()
        return self._hasher.finish()

    def sync(self) -> os.stat_result:
        """Wait until everything is on the disk, and return the file's status, which moving it does not change."""
        with storage_errors(self.target):
            os.fsync(self._file.fileno())
            return os.fstat(self._file.fileno())

    def move_into_place(self) -> None:
        """Move the file to its final name."""
        with storage_errors(self.target):
            if not self._is_still_open_file():
                raise FileNotFoundError(f"{self.path.name} was removed or replaced while it was written")
            self.path.replace(self.target)
            with suppress(OSError):  # of systems that sync no folders
                folder = os.open(self.target.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
        with suppress(OSError):
            partial_facts_path(self.path).unlink(missing_ok=True)

    def _is_still_open_file(self) -> bool:
        """Return whether the name still leads to the open file."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def _write_facts(self, *, owned: bool = True) -> None:
        facts = replace(self.facts, host=socket.gethostname(), pid=os.getpid() if owned else None, boot=read_boot_id())
        write_atomically(partial_facts_path(self.path), msgspec.json.encode(facts))


def find_partials(target: Path) -> list[PartialState]:
    """Return the partial files of a target, the largest first. Links are left out: their targets lie elsewhere."""
    found = []
    for path in target.parent.glob(f"{target.name}.*{PARTIAL_SUFFIX}"):
        with suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                facts = read_partial_facts(path)
                found.append(PartialState(path, status.st_size, facts.total if facts else None))
    return sorted(found, key=lambda state: state.size, reverse=True)


def find_abandoned_partials(target: Path) -> list[PartialState]:
    """Return the partial files of a target that no process works on, the largest first."""
    return [state for state in find_partials(target) if not find_owner(state.path)]


def find_owner(path: Path) -> str:
    """Return which live process works on a partial file, given by its name or that of its facts; empty if none does.

    Where locks work, they have decided already. On file systems whose locks silently do nothing, this keeps two
    processes apart.
    """
    partial = partial_of(path)
    if partial in _OPEN:
        return "this process works on it"
    facts = read_partial_facts(partial)
    try:
        idle_seconds = time.time() - path.stat().st_mtime
    except OSError:
        return "it has just changed"
    return describe_owner(facts, socket.gethostname(), read_boot_id(), idle_seconds) if facts else ""


def describe_owner(facts: PartialFacts, host: str, boot_id: str | None, idle_seconds: float) -> str:
    """Return which live process writes a partial file, as far as this machine can know; empty if none does.

    Args:
        facts: those of the partial file.
        host: this machine's name.
        boot_id: this machine's.
        idle_seconds: seconds since the file last changed.
    """
    if facts.pid is None:
        return ""
    if facts.host != host:
        return f"process {facts.pid} on {facts.host} may work on it" if idle_seconds <= STALE_SECONDS else ""
    # What this very process works on is in _OPEN; another process with its number has ended.
    gone = facts.boot not in (None, boot_id) or facts.pid == os.getpid() or not is_process_alive(facts.pid)
    return "" if gone else f"process {facts.pid} works on it"


def remove_partials(target: Path) -> None:
    """Remove partial files, their facts and unfinished records beside a complete target, unless a process uses them."""
    leftovers = []
    for state in find_abandoned_partials(target):
        leftovers += [state.path, partial_facts_path(state.path)]
    for facts_path in target.parent.glob(f"{target.name}.*{PARTIAL_FACTS_SUFFIX}"):
        if not partial_of(facts_path).exists() and not find_owner(facts_path):
            leftovers.append(facts_path)
    for unfinished in target.parent.glob(f".{target.name}.*"):
        with suppress(OSError):
            idle_seconds, facts = time.time() - unfinished.lstat().st_mtime, _read_facts(unfinished)
            # An unfinished ledger names no process; this one may be writing it in another thread.
            named = facts if facts and facts.pid not in (None, os.getpid()) else None
            gone = named and not describe_owner(named, socket.gethostname(), read_boot_id(), idle_seconds)
            if gone or idle_seconds > STALE_SECONDS:
                leftovers.append(unfinished)
    for path in leftovers:
        with suppress(OSError):
            path.unlink()


def is_process_alive(pid: int) -> bool:
    """Return whether this machine has a process of that number."""
    if pid <= 0:  # the system takes these for groups of processes
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        pass
    return True


def partial_of(path: Path) -> Path:
    """Return the partial file of a path, which is its own or that of its facts."""
    return path.with_name(path.name.removesuffix(".json"))


def read_boot_id() -> str | None:
    """Return what identifies this start of the machine; None if the system does not report it."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return None


def read_partial_facts(partial: Path) -> PartialFacts | None:
    """Read the facts beside a partial file; None if they are missing or damaged."""
    return _read_facts(partial_facts_path(partial))


def _read_facts(path: Path) -> PartialFacts | None:
    try:
        return msgspec.json.decode(read_record(path), type=PartialFacts)
    except (OSError, msgspec.DecodeError, RecursionError):
        return None
