"""What is in the cache, and whether it is what it should be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from bdd100k_zoo.backends.selection import select_backend
from bdd100k_zoo.errors import (
    CheckpointError,
    ConfigError,
    DigestMismatchError,
    EmptyCacheError,
    MissingPackageError,
    StorageError,
    ZooError,
)
from bdd100k_zoo.files import read_chunks, storage_errors
from bdd100k_zoo.hub import ledger
from bdd100k_zoo.hub.decisions import entry_mismatch, must_match_ledger, resolve_verification
from bdd100k_zoo.hub.inventory import scan_cache
from bdd100k_zoo.hub.layout import ledger_path, lock_path, quarantine_file
from bdd100k_zoo.hub.locks import LOCK_HELD, cache_lock, lock_if_free
from bdd100k_zoo.hub.verify import Hasher, digest_mismatch, recorded_digests
from bdd100k_zoo.registry import ARTIFACT_KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.hub.inventory import CacheItem
    from bdd100k_zoo.hub.verify import Hashes
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Artifact, Zoo


CheckedFileState = Literal["verified", "unverified", "damaged", "unreadable"]


class CheckedFile(Struct, frozen=True, kw_only=True):
    """One file of the cache that was read through."""

    path: Path
    model: str | None
    what: str | None
    size: int
    """Bytes."""
    state: CheckedFileState
    verified_by: str | None = None
    reason: str | None = None
    """Why it is unverified."""
    fits_model: bool | None = None
    """Whether its parameters, shapes and classes are the model's; None where that was not looked at."""
    problem: str | None = None
    """What is wrong with it."""
    set_aside: Path | None = None
    """The name that a damaged file has now."""


def artifacts_by_path(store: Store, zoo: Zoo) -> dict[Path, Artifact]:
    """Give the artifacts of the zoo by the paths under which they stand in the cache."""
    artifacts = (model.artifact(what) for model in zoo.known for what in ARTIFACT_KINDS)
    return {store.path(artifact): artifact for artifact in artifacts}


def list_cache_items(store: Store, zoo: Zoo, names: Sequence[str] = ()) -> tuple[CacheItem, ...]:
    """Look at what the cache holds, or holds of some models.

    Raises:
        UnknownNameError: there is no such model.
        EmptyCacheError: it holds nothing of the models that are named.
        StorageError: a folder cannot be read.
    """
    wanted = {zoo[name].name for name in names}
    items = scan_cache(store.root, artifacts_by_path(store, zoo))
    if not wanted:
        return items
    found = tuple(item for item in items if item.model in wanted)
    if not found:
        raise EmptyCacheError(store.root, tuple(sorted(wanted)))
    return found


def verify_cache(
    store: Store, zoo: Zoo, names: Sequence[str], progress: Progress, *, deep: bool = False
) -> list[CheckedFile]:
    """Read every file of the cache through and compare it with the zoo file's digest and size, else with its ledger.

    What is damaged is set aside under another name. A ledger that tells what the right bytes are stays, so that the
    next file is held to them. A file without a ledger gets one.

    Args:
        store: the cache.
        zoo: whose files they are.
        names: of which models; none for every file.
        progress: where to report.
        deep: hold weights against their models too; one that does not fit is set aside like a damaged one.

    Raises:
        UnknownNameError, EmptyCacheError: there is no such model, or nothing of it.
        MissingPackageError: ``deep``, and the extra that it needs is not installed.
        StorageError: a folder cannot be read.
    """
    if deep:
        select_backend().import_backend()
    files = [item for item in list_cache_items(store, zoo, names) if item.kind == "file"]
    examiner = _Examiner(store, zoo, progress, deep=deep)
    return [checked for item in files if (checked := examiner.examine(item))]


class RemovedFile(Struct, frozen=True, kw_only=True):
    """A file that was removed from the cache, with its ledger and lock."""

    model: str
    what: str
    path: Path
    size: int
    """Bytes, without the ledger's; 0 where only a ledger or a lock was left."""


def remove_from_cache(store: Store, artifacts: Sequence[Artifact]) -> list[RemovedFile]:
    """Remove files of the cache with their ledgers and locks, so that nothing of them is expected of later files.

    Partial files and files that were set aside stay; ``prune`` removes them.

    Raises:
        EmptyCacheError: nothing of them is there.
        StorageError: a file cannot be removed, or another process holds its lock.
    """
    removed = [gone for artifact in artifacts if (gone := _remove(store.path(artifact), artifact))]
    if not removed:
        raise EmptyCacheError(store.root, tuple(dict.fromkeys(artifact.model for artifact in artifacts)))
    return removed


def _remove(path: Path, artifact: Artifact) -> RemovedFile | None:
    belongings = (path, ledger_path(path), lock_path(path))
    if not any(map(os.path.lexists, belongings)):
        return None
    with lock_if_free(path) as taken, storage_errors(path):
        if not taken:
            raise StorageError(path, LOCK_HELD)
        size = path.lstat().st_size if os.path.lexists(path) else 0
        for each in belongings:
            each.unlink(missing_ok=True)
    return RemovedFile(model=artifact.model, what=artifact.what, path=path, size=size)


class _Examiner:
    def __init__(self, store: Store, zoo: Zoo, progress: Progress, *, deep: bool) -> None:
        self._store = store
        self._places = artifacts_by_path(store, zoo)
        self._models = {model.name: model for model in zoo.known}
        self._progress = progress
        self._deep = deep

    def examine(self, item: CacheItem) -> CheckedFile | None:
        """Examine a file while nothing else works on it; None where it is gone meanwhile."""
        try:
            with cache_lock(item.path, self._progress, to_read=True):
                return self._examine(item) if item.path.is_file() else None
        except StorageError as error:
            self._progress.warn(f"{item.path} could not be checked: {error.reason}")
            return _build_checked_file(item, "unreadable", problem=str(error))

    def _examine(self, item: CacheItem) -> CheckedFile:
        artifact, known = self._places.get(item.path), ledger.read_ledger(item.path)
        hashes: Hashes | None = None
        try:
            if isinstance(known, ledger.LedgerEntry) and not _replaced_by_hand(item.path, known):
                hashes = self._read_through(item)
                _compare(item.path, artifact, known, hashes)
            checked = self._trust(item, artifact)
            return self._held_against_model(checked) if self._deep else checked
        except (DigestMismatchError, CheckpointError) as error:
            return self._reject(item, artifact, hashes, error)

    def _read_through(self, item: CacheItem) -> Hashes:
        with Hasher() as hasher, self._progress.task(f"{item.model} {item.what}", item.size, "bytes") as task:
            for piece in read_chunks(item.path):
                hasher.update(piece)
                task.advance(len(piece))
            return hasher.hashes()

    def _trust(self, item: CacheItem, artifact: Artifact | None) -> CheckedFile:
        """Return what verifies a file; its ledger is written or updated on the way, unless the cache is read-only."""
        stored = self._store.find(artifact) if artifact else None
        if stored:
            state: CheckedFileState = "verified" if stored.verified else "unverified"
            return _build_checked_file(item, state, verified_by=stored.verified_by, reason=stored.reason)
        known = ledger.read_ledger(item.path)
        if not isinstance(known, ledger.LedgerEntry):
            return _build_checked_file(item, "unverified", reason=item.reason)
        found = resolve_verification(artifact, known)
        state = "verified" if found.verified_by else "unverified"
        return _build_checked_file(item, state, verified_by=found.verified_by, reason=found.reason)

    def _held_against_model(self, checked: CheckedFile) -> CheckedFile:
        model = self._models.get(checked.model or "")
        if checked.what != "weights" or model is None:
            return checked
        try:
            select_backend().check_checkpoint(model.name, model.config_path, checked.path)
        except (ConfigError, MissingPackageError) as error:
            self._progress.warn(f"{checked.path} could not be held against its model: {error}")
            return replace(checked, problem=str(error))
        return replace(checked, fits_model=True)

    def _reject(
        self, item: CacheItem, artifact: Artifact | None, hashes: Hashes | None, error: ZooError
    ) -> CheckedFile:
        fits = False if isinstance(error, CheckpointError) else None
        try:
            aside = quarantine_file(item.path, keep_ledger=_tells_the_right_bytes(item.path, artifact, hashes))
        except StorageError as obstacle:
            self._progress.warn(f"{error}; it could not be set aside: {obstacle.reason}")
            return _build_checked_file(item, "damaged", problem=str(error), fits_model=fits)
        self._progress.warn(f"{error}; it was set aside as {aside}")
        return _build_checked_file(item, "damaged", problem=str(error), fits_model=fits, set_aside=aside)


def _build_checked_file(item: CacheItem, state: CheckedFileState, **facts: Any) -> CheckedFile:
    return CheckedFile(path=item.path, model=item.model, what=item.what, size=item.size, state=state, **facts)


def _replaced_by_hand(path: Path, known: ledger.LedgerEntry) -> bool:
    """Return whether an unverified file was replaced by whoever put it there."""
    with storage_errors(path):
        return known.address is None and known.verified_by is None and not known.describes(path.stat())


def _compare(path: Path, artifact: Artifact | None, known: ledger.LedgerEntry, hashes: Hashes) -> None:
    """Raise DigestMismatchError where bytes are not those of the recorded digests, or of the ledger if it pins them."""
    recorded = recorded_digests(artifact) if artifact else ()
    mismatch = digest_mismatch(hashes, str(path), recorded, artifact.size if artifact else None)
    if mismatch:
        raise mismatch
    if must_match_ledger(known, artifact) and not known.has_bytes(hashes):
        source = f"its ledger {ledger_path(path)}"
        raise DigestMismatchError(str(path), f"sha256:{known.sha256}", f"sha256:{hashes.sha256}", source)


def _tells_the_right_bytes(path: Path, artifact: Artifact | None, hashes: Hashes | None) -> bool:
    """Tell whether the ledger describes other bytes than the wrong ones, and none that the zoo file contradicts."""
    known = ledger.read_ledger(path)
    if not isinstance(known, ledger.LedgerEntry) or (hashes is None or known.has_bytes(hashes)):
        return False
    return artifact is None or entry_mismatch(artifact, known, str(path)) is None
