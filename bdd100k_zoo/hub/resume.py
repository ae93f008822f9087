"""Partial files: bytes that have arrived, and the facts that let another process resume."""

from __future__ import annotations

import os
import re
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
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

STALE_SECONDS = 120.0
"""Seconds without a new byte after which the partial file of a process on another machine counts as abandoned."""

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
    """The process that writes it; None after it was closed in order."""
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

    At the end of the block it is gone if it was moved into place or is empty; otherwise it stays for the next try.
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
                self._write_facts()  # before the file, so that nobody takes it for an abandoned one
            self._file: FileIO = open_nofollow(self.path, "r+" if adopted else "x+")
            self.size = self._file.seek(0, os.SEEK_END)
            self.is_resumed = adopted
            self._sync = BackgroundSync(self._file.fileno())
        return self

    def _adopt_abandoned(self) -> bool:
        """Take over the largest file that another process left, by renaming it."""
        for found in find_abandoned_partials(self.target):
            facts = read_partial_facts(found.path)
            if facts is not None and (facts.model, facts.what) == (self.facts.model, self.facts.what):
                # Bytes that were not on the disk when the machine went down are lost: then only a digest can tell.
                self.facts = facts if facts.boot == read_boot_id() else replace(facts, address=None)
            self._write_facts()
            with suppress(FileNotFoundError):  # somebody else was faster
                found.path.replace(self.path)
                partial_facts_path(found.path).unlink(missing_ok=True)
                return True
        return False

    def __exit__(self, *_: object) -> None:
        self._hasher.close()
        self._sync.close()
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
        """Append bytes from an address to those that are here."""
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
        self._sync.add(len(chunk))

    def hashes(self) -> Hashes:
        """Return the digests of all bytes; none can be written after."""
        self._hash_existing_bytes()
        return self._hasher.finish()

    def sync(self) -> os.stat_result:
        """Wait until everything is on the disk, and return the file's status, which moving it does not change."""
        with storage_errors(self.target):
            self._sync.close()
            os.fsync(self._file.fileno())
            return os.fstat(self._file.fileno())

    def move_into_place(self) -> None:
        """Give the file its final name."""
        with storage_errors(self.target):
            if not self._is_still_open_file():
                raise FileNotFoundError(f"{self.path.name} was taken away while it was written")
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


SYNC_BYTES = 64 << 20
"""Bytes after which what was written is sent on its way to the disk."""


class BackgroundSync:
    """Syncs an open file every SYNC_BYTES in a thread, so that the sync at its end has little left to do."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unsynced = 0
        self._due: SimpleQueue[bool] = SimpleQueue()
        self._thread: Thread | None = None

    def add(self, amount: int) -> None:
        """Count bytes that were written."""
        self._unsynced += amount
        if self._unsynced < SYNC_BYTES:
            return
        self._unsynced = 0
        if self._thread is None:
            self._thread = Thread(target=self._run, name="early-sync", daemon=True)
            self._thread.start()
        self._due.put(True)

    def _run(self) -> None:
        sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync
        while self._due.get():
            with suppress(OSError):  # the sync at the end reports it
                sync(self._descriptor)

    def close(self) -> None:
        """End the thread, before the file is closed."""
        if self._thread is not None:
            self._due.put(False)
            self._thread.join()
            self._thread = None


def find_partials(target: Path) -> list[PartialState]:
    """Return the partial files of a target, the largest first. Links do not count: what they lead to is not ours."""
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
    return [state for state in find_partials(target) if _is_abandoned(state.path, state.path)]


def _is_abandoned(partial: Path, dated: Path) -> bool:
    """Return whether no process works on a partial file; ``dated`` is the file whose time of change counts."""
    if partial in _OPEN:
        return False
    facts = read_partial_facts(partial)
    try:
        idle_seconds = time.time() - dated.stat().st_mtime
    except OSError:
        return False
    return facts is None or is_owner_gone(facts, socket.gethostname(), read_boot_id(), idle_seconds)


def remove_partials(target: Path) -> None:
    """Remove what was left beside a target that is complete now: partial files, their facts, unfinished records."""
    leftovers = [state.path for state in find_abandoned_partials(target)]
    for facts_path in target.parent.glob(f"{target.name}.*{PARTIAL_FACTS_SUFFIX}"):
        partial = facts_path.with_name(facts_path.name.removesuffix(PARTIAL_FACTS_SUFFIX) + PARTIAL_SUFFIX)
        if not partial.exists() and _is_abandoned(partial, facts_path):
            leftovers.append(facts_path)
    for unfinished in target.parent.glob(f".{target.name}.*"):
        with suppress(OSError):
            idle_seconds, facts = time.time() - unfinished.lstat().st_mtime, _read_facts(unfinished)
            # An unfinished ledger names no process; this one may be writing it in another thread.
            named = facts if facts and facts.pid not in (None, os.getpid()) else None
            gone = named and is_owner_gone(named, socket.gethostname(), read_boot_id(), idle_seconds)
            if gone or idle_seconds > STALE_SECONDS:
                leftovers.append(unfinished)
    for path in leftovers:
        with suppress(OSError):
            path.unlink()


def is_owner_gone(facts: PartialFacts, host: str, boot_id: str | None, idle_seconds: float) -> bool:
    """Return whether the process that wrote a partial file is gone, as far as this machine can know.

    Where locks work, the lock has told already; on file systems whose locks silently do nothing, this keeps two
    processes apart. What this very process works on is in ``_OPEN``.

    Args:
        facts: those of the partial file.
        host: this machine's name.
        boot_id: this machine's.
        idle_seconds: seconds since the file last changed.
    """
    if facts.pid is None:
        return True
    if facts.host != host:
        return idle_seconds > STALE_SECONDS
    return facts.boot != boot_id or facts.pid == os.getpid() or not is_process_alive(facts.pid)


def is_process_alive(pid: int) -> bool:
    """Return whether this machine has a process of that number."""
    if pid <= 0:  # the system takes these for groups of processes
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def read_boot_id() -> str | None:
    """Return what tells this start of the machine from others; None if the system does not say."""
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
