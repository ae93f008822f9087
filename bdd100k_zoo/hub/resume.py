"""Partial files: bytes that have arrived, with the facts that let another process resume."""

from __future__ import annotations

import os
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.files import READ_CHUNK_BYTES, open_nofollow, read_record, storage_errors, write_atomically
from bdd100k_zoo.hub.decisions import PartialInfo
from bdd100k_zoo.hub.layout import PARTIAL_FACTS_SUFFIX, PARTIAL_SUFFIX, partial_facts_path, partial_path
from bdd100k_zoo.hub.verify import Hasher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO

    from bdd100k_zoo.hub.verify import Hashes
    from bdd100k_zoo.registry import Artifact

SYNC_BYTES = 64 << 20
"""Bytes after which what was written is sent on its way to the disk."""


class BackgroundSync:
    """Syncs an open file every STRIDE bytes in a thread, so that the sync at its end has little left to do."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unsynced = 0
        self._due: SimpleQueue[bool] = SimpleQueue()
        self._thread: Thread | None = None

    def count(self, amount: int) -> None:
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
            with suppress(OSError):  # the sync at the end tells
                sync(self._descriptor)

    def close(self) -> None:
        """End the thread, before the file is closed."""
        if self._thread is not None:
            self._due.put(False)
            self._thread.join()
            self._thread = None


STALE_SECONDS = 120.0
"""Seconds without a new byte after which the partial file of a process on another machine counts as left."""


_OPEN: set[Path] = set()
"""Partial files that this process is at work on."""


class PartialFacts(Struct, frozen=True, kw_only=True):
    """Where the bytes of a partial file come from, and who is at work on it."""

    model: str
    what: str
    address: str | None
    """None where they come from several addresses."""
    etag: str | None = None
    last_modified: str | None = None
    """Only where it is a strong validator."""
    total: int | None = None
    """Bytes of the whole file."""
    host: str | None = None
    pid: int | None = None
    """The process that writes it; None when it was left in order."""
    boot: str | None = None
    """When the machine of the bytes was started: what was not yet on the disk is lost by a crash of the system."""


class PartialState(Struct, frozen=True):
    """A partial file as it lies on the disk."""

    path: Path
    size: int
    """Bytes that are there."""
    total: int | None
    """Bytes of the whole file, where known."""


class PartialFile:
    """A file under its temporary name, which nobody else has; open within the block.

    At the end of the block it is gone if it was moved into place or holds nothing, and else stays for the next try.
    """

    def __init__(self, target: Path, facts: PartialFacts) -> None:
        self.target = target
        self.facts = facts
        self.path = partial_path(target, uuid4().hex[:8])
        self.size = 0
        """Bytes in the file."""
        self.pieced = False
        """The bytes did not all come as one answer."""
        self._hasher = Hasher()

    def __enter__(self) -> PartialFile:
        _OPEN.add(self.path)
        with storage_errors(self.target):
            adopted = self._adopt_another()
            if not adopted:
                self._write_facts()  # first of all, so that nobody takes the file for one that was left
            self._file: FileIO = open_nofollow(self.path, "r+" if adopted else "x+")
            self.size = self._file.seek(0, os.SEEK_END)
            self.pieced = adopted
            self._sync = BackgroundSync(self._file.fileno())
        return self

    def _adopt_another(self) -> bool:
        """Take over the largest file that another process left, by giving it a name of our own."""
        for found in find_abandoned_partials(self.target):
            facts = read_partial_facts(found.path)
            if facts is not None and (facts.model, facts.what) == (self.facts.model, self.facts.what):
                # What was not on the disk when the machine went down is lost: only a digest can vouch for such bytes.
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
            if self.size and self._is_ours():
                self._write_facts(owned=False)
            else:
                self._remove()
        self._file.close()
        _OPEN.discard(self.path)

    @property
    def known(self) -> PartialInfo | None:
        """What ``decide`` needs to know of it; nothing while it holds no byte."""
        if not self.size:
            return None
        facts = self.facts
        return PartialInfo(self.size, facts.address, facts.etag, facts.last_modified, facts.total)

    def begin(self, facts: PartialFacts) -> None:
        """Begin anew with bytes from an address."""
        self.discard_bytes()
        self._describe(facts)

    def discard_bytes(self) -> None:
        """Drop everything that has arrived: no facts ever stand beside bytes of another file."""
        with storage_errors(self.target):
            self._file.truncate(0)
            self._file.seek(0)
        self.size, self.pieced = 0, False
        self._hasher.close()
        self._hasher = Hasher()

    def carry_on(self, address: str) -> None:
        """Go on after the bytes that are there, with others from an address."""
        self.pieced = True
        if address != self.facts.address:
            self._describe(replace(self.facts, address=None, etag=None, last_modified=None))
        self.catch_up()

    def _describe(self, facts: PartialFacts) -> None:
        self.facts = facts
        self._write_facts()

    def catch_up(self) -> None:
        """Hash the bytes of an earlier block, which were not hashed in this one."""
        with storage_errors(self.target):
            while self._hasher.size < self.size:
                wanted = min(READ_CHUNK_BYTES, self.size - self._hasher.size)
                self._hasher.update(os.pread(self._file.fileno(), wanted, self._hasher.size))

    def write(self, piece: bytes) -> None:
        """Append bytes; raises StorageError where the disk is full."""
        rest = memoryview(piece)
        with storage_errors(self.target):
            while rest:
                written = self._file.write(rest)
                rest = rest[written:]
                self.size += written
        self._hasher.update(piece)
        self._sync.count(len(piece))

    def hashes(self) -> Hashes:
        """Give the digests of all bytes; none can be written after."""
        self.catch_up()
        return self._hasher.hashes()

    def settle(self) -> os.stat_result:
        """Wait until everything is on the disk, and give the file's facts, which moving it does not change."""
        with storage_errors(self.target):
            self._sync.close()
            os.fsync(self._file.fileno())
            return os.fstat(self._file.fileno())

    def move_into_place(self) -> None:
        """Give the file its name, for good."""
        with storage_errors(self.target):
            if not self._is_ours():
                raise FileNotFoundError(f"{self.path.name} was taken away while it was written")
            self.path.replace(self.target)
            _sync_folder(self.target.parent)
        with suppress(OSError):
            partial_facts_path(self.path).unlink(missing_ok=True)

    def _remove(self) -> None:
        if self._is_ours():
            self.path.unlink(missing_ok=True)
        partial_facts_path(self.path).unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        """Tell whether the name still leads to the open file."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def _write_facts(self, *, owned: bool = True) -> None:
        facts = replace(self.facts, host=socket.gethostname(), pid=os.getpid() if owned else None, boot=read_boot_id())
        write_atomically(partial_facts_path(self.path), msgspec.json.encode(facts))


def build_partial_facts(artifact: Artifact, address: str | None = None, **known: object) -> PartialFacts:
    """Give the facts of bytes of an artifact that come from an address."""
    return PartialFacts(model=artifact.model, what=artifact.what, address=address, **known)  # type: ignore[arg-type]


def find_partials(target: Path) -> list[PartialState]:
    """Find the partial files of a target, the largest first. Links are none: what they lead to is not ours."""
    found = []
    for path in target.parent.glob(f"{target.name}.*{PARTIAL_SUFFIX}"):
        with suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                facts = read_partial_facts(path)
                found.append(PartialState(path, status.st_size, facts.total if facts else None))
    return sorted(found, key=lambda state: state.size, reverse=True)


def find_abandoned_partials(target: Path) -> Iterator[PartialState]:
    """Find the partial files of a target that nobody is at work on, the largest first."""
    return (state for state in find_partials(target) if _is_abandoned(state.path, state.path))


def _is_abandoned(partial: Path, witness: Path) -> bool:
    """Tell whether nobody is at work on a partial file; the time of the last change is that of ``witness``."""
    if partial in _OPEN:
        return False
    facts = read_partial_facts(partial)
    try:
        quiet = time.time() - witness.stat().st_mtime
    except OSError:
        return False
    return facts is None or is_owner_gone(facts, socket.gethostname(), read_boot_id(), quiet)


def remove_partials(target: Path) -> None:
    """Remove what others left beside a target that is whole now: partial files, their facts, small files halfway."""
    for state in find_abandoned_partials(target):
        _unlink(state.path)
    for facts in target.parent.glob(f"{target.name}.*{PARTIAL_FACTS_SUFFIX}"):
        partial = facts.with_name(facts.name.removesuffix(PARTIAL_FACTS_SUFFIX) + PARTIAL_SUFFIX)
        if not partial.exists() and _is_abandoned(partial, facts):
            _unlink(facts)
    for halfway in target.parent.glob(f".{target.name}.*"):
        with suppress(OSError):
            quiet, known = time.time() - halfway.lstat().st_mtime, _facts_in(halfway)
            # A ledger halfway names no process; this one may be writing in another thread.
            named = known if known and known.pid not in (None, os.getpid()) else None
            if quiet > STALE_SECONDS or (named and is_owner_gone(named, socket.gethostname(), read_boot_id(), quiet)):
                _unlink(halfway)


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def is_owner_gone(facts: PartialFacts, host: str, booted: str | None, quiet: float) -> bool:
    """Tell whether the process that owned a partial file is gone, as far as this machine can know.

    Where locks work, the lock says so already; where they silently do nothing, this keeps two processes apart. What
    this very process is at work on, it knows itself.

    Args:
        facts: those of the partial file.
        host: this machine's name.
        booted: what tells this machine's present start from others.
        quiet: seconds since the file last changed.
    """
    if facts.pid is None:
        return True
    if facts.host != host:
        return quiet > STALE_SECONDS
    return facts.boot != booted or facts.pid == os.getpid() or not is_process_alive(facts.pid)


def is_process_alive(pid: int) -> bool:
    """Tell whether this machine has a process of that number."""
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
    """Tell this start of the machine from others; None where the system does not say."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return None


def read_partial_facts(partial: Path) -> PartialFacts | None:
    """Read what stands beside a partial file; nothing where that is missing or damaged."""
    return _facts_in(partial_facts_path(partial))


def _facts_in(path: Path) -> PartialFacts | None:
    try:
        return msgspec.json.decode(read_record(path), type=PartialFacts)
    except (OSError, msgspec.DecodeError, RecursionError):
        return None


def _sync_folder(folder: Path) -> None:
    """Have the new name itself on the disk, where the system lets a folder be synced."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
