"""Verify, remove and prune files of the cache."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from bdd100k_zoo.errors import (
    CheckpointError,
    ConfigError,
    DigestMismatchError,
    EmptyCacheError,
    ManifestError,
    MissingPackageError,
    StorageError,
    ZooError,
)
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.hub.inventory import artifacts_by_path, list_cache_items, scan_cache
from bdd100k_zoo.hub.layout import (
    LOCK_SUFFIX,
    PARTIAL_SUFFIX,
    ledger_path,
    lock_path,
    partial_facts_path,
    quarantine_file,
)
from bdd100k_zoo.hub.ledger import LedgerEntry, entry_mismatch, must_match_ledger, read_ledger, resolve_verification
from bdd100k_zoo.hub.locks import LOCK_HELD, cache_lock, find_owner, lock_if_free, read_recorded_owner
from bdd100k_zoo.hub.verify import digest_mismatch, hash_file, recorded_digests
from bdd100k_zoo.registry import ARTIFACT_KINDS, Model, load_zoo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bdd100k_zoo.hub.cache import Store, StoredFile
    from bdd100k_zoo.hub.inventory import CacheItem
    from bdd100k_zoo.hub.verify import Hashes
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Artifact, Zoo

WeightsCheck: TypeAlias = Callable[[Model, Path], None]
"""Checks a checkpoint against its model, as a backend does.

It raises CheckpointError if the checkpoint is none of this model, ConfigError for an unusable config, and
MissingPackageError if the backend is not installed.
"""

CheckedFileState = Literal["verified", "unverified", "damaged", "unreadable"]


class CheckedFile(Struct, frozen=True, kw_only=True):
    """One file of the cache that was read completely."""

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
    """Whether its parameters, shapes and classes are the model's; None if that was not checked."""
    problem: str | None = None
    """What is wrong with it."""
    set_aside: Path | None = None
    """The name that a damaged file has now."""


def verify_cache(
    store: Store, zoo: Zoo, names: Sequence[str], progress: Progress, *, check_weights: WeightsCheck | None = None
) -> list[CheckedFile]:
    """Read every file of the cache and compare it with the zoo file's digest and size, else with its ledger.

    A damaged file is set aside under another name. A ledger that tells what the right bytes are stays, so that the
    next file is checked against them. A file without a ledger gets one.

    Args:
        store: the cache.
        zoo: whose files they are.
        names: of which models; none for every file.
        progress: where to report.
        check_weights: checks weights against their models too; one that does not fit is set aside like a damaged one.

    Raises:
        UnknownNameError, EmptyCacheError: there is no such model, or nothing of it.
        StorageError: a folder cannot be read.
    """
    verifier = _Verifier(store, zoo, progress, check_weights)
    files = [item for item in list_cache_items(store, zoo, names) if item.kind == "file"]
    return [checked for item in files if (checked := verifier.verify(item))]


class _Verifier:
    def __init__(self, store: Store, zoo: Zoo, progress: Progress, check_weights: WeightsCheck | None) -> None:
        self._store = store
        self._artifacts = artifacts_by_path(store, zoo)
        self._models = {model.name: model for model in zoo.known}
        self._progress = progress
        self._check_weights = check_weights

    def verify(self, item: CacheItem) -> CheckedFile | None:
        """Verify a file while no other process works on it; None if it has gone meanwhile."""
        try:
            with cache_lock(item.path, self._progress, to_read=True):
                return self._verify(item) if item.path.is_file() else None
        except StorageError as error:
            self._progress.warn(f"{item.path} could not be checked: {error.reason}")
            return _checked_file(item, "unreadable", problem=str(error))

    def _verify(self, item: CacheItem) -> CheckedFile:
        path, artifact, entry = item.path, self._artifacts.get(item.path), read_ledger(item.path)
        hashes: Hashes | None = None
        try:
            if isinstance(entry, LedgerEntry) and not _was_replaced_by_hand(path, entry):
                with self._progress.task(f"{item.model} {item.what}", item.size, "bytes") as task:
                    hashes = hash_file(path, task)
                _compare(path, artifact, entry, hashes)
            checked = self._resolve(item, artifact)
            return self._check_against_model(checked) if self._check_weights else checked
        except (DigestMismatchError, CheckpointError) as error:
            return self._set_aside(item, artifact, hashes, error)

    def _resolve(self, item: CacheItem, artifact: Artifact | None) -> CheckedFile:
        """Return what verifies a file; its ledger is written or updated on the way, unless the cache is read-only."""
        found: StoredFile | LedgerEntry | None = self._store.find(artifact) if artifact else None
        if found is None:
            entry = read_ledger(item.path)
            if not isinstance(entry, LedgerEntry):
                return _checked_file(item, "unverified", reason=item.reason)
            found = resolve_verification(artifact, entry)
        state: CheckedFileState = "verified" if found.verified_by else "unverified"
        return _checked_file(item, state, verified_by=found.verified_by, reason=found.reason)

    def _check_against_model(self, checked: CheckedFile) -> CheckedFile:
        model = self._models.get(checked.model or "")
        if checked.what != "weights" or model is None or self._check_weights is None:
            return checked
        try:
            self._check_weights(model, checked.path)
        except (ConfigError, MissingPackageError) as error:
            self._progress.warn(f"{checked.path} could not be held against its model: {error}")
            return replace(checked, problem=str(error))
        return replace(checked, fits_model=True)

    def _set_aside(
        self, item: CacheItem, artifact: Artifact | None, hashes: Hashes | None, error: ZooError
    ) -> CheckedFile:
        facts: dict[str, Any] = {"problem": str(error)}
        if isinstance(error, CheckpointError):
            facts["fits_model"] = False
        try:
            aside = quarantine_file(item.path, keep_ledger=_pins_other_bytes(item.path, artifact, hashes))
        except StorageError as obstacle:
            self._progress.warn(f"{error}; it could not be set aside: {obstacle.reason}")
            return _checked_file(item, "damaged", **facts)
        self._progress.warn(f"{error}; it was set aside as {aside}")
        return _checked_file(item, "damaged", set_aside=aside, **facts)


def _checked_file(item: CacheItem, state: CheckedFileState, **facts: Any) -> CheckedFile:
    return CheckedFile(path=item.path, model=item.model, what=item.what, size=item.size, state=state, **facts)


def _was_replaced_by_hand(path: Path, entry: LedgerEntry) -> bool:
    """Return whether an unverified file was replaced by whoever put it there."""
    with storage_errors(path):
        return not entry.is_pin and not entry.matches_stat(path.stat())


def _compare(path: Path, artifact: Artifact | None, entry: LedgerEntry, hashes: Hashes) -> None:
    """Raise DigestMismatchError if bytes are not those of the recorded digests, or of the ledger if it pins them."""
    if artifact:
        mismatch = digest_mismatch(hashes, str(path), recorded_digests(artifact), artifact.size)
        if mismatch:
            raise mismatch
    if must_match_ledger(entry, artifact) and not entry.has_bytes(hashes):
        source = f"its ledger {ledger_path(path)}"
        raise DigestMismatchError(str(path), f"sha256:{entry.sha256}", f"sha256:{hashes.sha256}", source)


def _pins_other_bytes(path: Path, artifact: Artifact | None, hashes: Hashes | None) -> bool:
    """Return whether the ledger describes other bytes than the wrong ones, and none that the zoo file contradicts."""
    entry = read_ledger(path)
    if not isinstance(entry, LedgerEntry) or hashes is None or entry.has_bytes(hashes):
        return False
    return artifact is None or entry_mismatch(artifact, entry, str(path)) is None


class RemovedFile(Struct, frozen=True, kw_only=True):
    """A file that was removed from the cache, with its ledger and lock."""

    model: str
    what: str
    path: Path
    size: int
    """Bytes, without the ledger's; 0 if only a ledger or a lock was left."""


def remove_from_cache(store: Store, artifacts: Sequence[Artifact]) -> list[RemovedFile]:
    """Remove files of the cache with their ledgers and locks, so that they pin no later files.

    Partial files and files that were set aside stay; ``prune_cache`` removes them.

    Raises:
        EmptyCacheError: nothing of them is there.
        StorageError: a file cannot be removed, or another process holds its lock.
    """
    removed = []
    for artifact in artifacts:
        path = store.path(artifact)
        belongings = (path, ledger_path(path), lock_path(path))
        if not any(map(os.path.lexists, belongings)):
            continue
        with lock_if_free(path) as taken, storage_errors(path):
            if not taken:
                raise StorageError(path, LOCK_HELD)
            size = path.lstat().st_size if os.path.lexists(path) else 0
            for each in belongings:
                each.unlink(missing_ok=True)
        removed.append(RemovedFile(model=artifact.model, what=artifact.what, path=path, size=size))
    if not removed:
        raise EmptyCacheError(store.root, tuple(dict.fromkeys(artifact.model for artifact in artifacts)))
    return removed


class KeptFile(Struct, frozen=True, kw_only=True):
    """A file that stays although it looks like one to remove, or that could not be removed."""

    path: Path
    why: str


class PrunedFile(KeptFile, frozen=True, kw_only=True):
    """A file that is removed."""

    size: int
    """Bytes, with what belongs to it."""


class PruneResult(Struct, frozen=True, kw_only=True):
    """What was removed, or would be."""

    dry_run: bool
    removed: tuple[PrunedFile, ...]
    left: tuple[KeptFile, ...]
    failed: tuple[KeptFile, ...]
    """Files that could not be removed, and why."""
    freed: int
    """Bytes of what was removed."""
    locks: tuple[Path, ...]
    """Locks that no process holds, which were removed too."""


def prune_cache(store: Store, zoo: Zoo, *, dry_run: bool = False, ledgers: bool = False) -> PruneResult:
    """Remove partial files, files that were set aside, files that no model of the zoo names, and stale locks.

    A file that a zoo file named when it was stored stays, if that zoo file still exists and names it. What a live
    process works on stays, and what is none of ours. Nothing outside ``det/`` in the cache is touched.

    Args:
        store: the cache.
        zoo: whose files stay.
        dry_run: remove nothing, and report what would be removed.
        ledgers: remove ledgers without a file too, so that a later file may have other bytes.

    Raises:
        StorageError: a folder cannot be read.
    """
    artifacts = artifacts_by_path(store, zoo)

    @functools.cache
    def artifacts_of_zoo(file: Path) -> Mapping[Path, Artifact] | None:
        try:
            return artifacts_by_path(store, load_zoo(file))
        except ManifestError:
            return None

    locks = [lock for what in ARTIFACT_KINDS for lock in _list_locks(store.root / "det" / what)]
    removed, left, failed = list[PrunedFile](), list[KeptFile](), list[KeptFile]()
    for item in scan_cache(store.root, artifacts):
        decision, why = _decide(item, artifacts, artifacts_of_zoo, ledgers=ledgers)
        try:
            if decision == "remove":
                with storage_errors(item.path):
                    size = sum(path.lstat().st_size for path in _with_sidecar(item))
                owner = find_owner(item) if dry_run else _remove_unless_owned(item)
                if not owner:
                    removed.append(PrunedFile(path=item.path, why=why, size=size))
                    continue
                decision, why = "leave", owner
            if decision == "leave":
                left.append(KeptFile(path=item.path, why=why))
        except StorageError as error:
            failed.append(KeptFile(path=item.path, why=error.reason))
    stale_locks = []
    for lock in locks:
        try:
            with lock_if_free(lock.with_name(lock.name.removesuffix(LOCK_SUFFIX))) as free, storage_errors(lock):
                if free and not dry_run:  # removed while it is held: whoever waits for it notices, and makes another
                    lock.unlink(missing_ok=True)
            stale_locks += [lock] if free else []
        except StorageError as error:
            failed.append(KeptFile(path=lock, why=error.reason))
    return PruneResult(
        dry_run=dry_run,
        removed=tuple(removed),
        left=tuple(left),
        failed=tuple(failed),
        freed=sum(file.size for file in removed),
        locks=tuple(stale_locks),
    )


UNLISTED_REASON = "no model of the zoo names it"


def _decide(
    item: CacheItem,
    artifacts: Mapping[Path, Artifact],
    artifacts_of_zoo: Callable[[Path], Mapping[Path, Artifact] | None],
    *,
    ledgers: bool,
) -> tuple[Literal["remove", "leave", "keep"], str]:
    """Decide what to do with an item of the cache, and why; what to keep is not reported.

    Args:
        item: what is in the cache.
        artifacts: those of the zoo, by their paths in the cache.
        artifacts_of_zoo: returns those of a zoo file; None if it cannot be loaded.
        ledgers: remove ledgers without a file.
    """
    if item.kind == "partial":
        return "remove", "left over from a transfer"
    if item.kind == "damaged":
        return "remove", "was set aside as damaged"
    if item.kind == "ledger":
        if ledgers:
            return "remove", "its file is gone"
        return "leave", "its file is gone, and a later one must have the same bytes; --ledgers removes it"
    if item.path in artifacts and item.kind == "file":
        return "keep", ""
    if item.kind == "other" or item.state == "unknown":
        return "leave", item.reason or ""
    if item.zoo_file is None or _is_gone(item.zoo_file):
        return "remove", UNLISTED_REASON
    named = artifacts_of_zoo(item.zoo_file)
    if named is None:
        return "leave", f"its zoo file {item.zoo_file} cannot be loaded"
    return ("keep", "") if item.path in named else ("remove", UNLISTED_REASON)


def _is_gone(file: Path) -> bool:
    """Return whether there surely is no such file; one that cannot be examined may exist."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _with_sidecar(item: CacheItem) -> list[Path]:
    """Return a file and what goes with it: the facts of a partial file, the ledger of another."""
    is_partial = item.path.name.endswith(PARTIAL_SUFFIX)
    sidecar = partial_facts_path(item.path) if is_partial else ledger_path(item.path)
    return [item.path, *([sidecar] if sidecar.is_file() else [])]


def _remove_unless_owned(item: CacheItem) -> str:
    """Remove a file, or return which live process works on it."""
    with lock_if_free(item.target) as taken:
        owner = read_recorded_owner(item) if taken else LOCK_HELD
        if not owner:
            for path in (*_with_sidecar(item), lock_path(item.target)):
                with storage_errors(path):
                    path.unlink(missing_ok=True)
    return owner


def _list_locks(folder: Path) -> list[Path]:
    with storage_errors(folder):
        return sorted(path for path in folder.glob(f"*{LOCK_SUFFIX}") if path.is_file() and not path.is_symlink())
