"""Verify, remove and prune files of the cache."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from bdd100k_zoo.errors import (
    CheckpointError,
    ConfigError,
    ManifestError,
    MissingPackageError,
    StorageError,
    ZooError,
)
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.hub.inventory import artifacts_by_path, empty_cache_error, list_cache_items, scan_cache
from bdd100k_zoo.hub.layout import (
    LOCK_SUFFIX,
    PARTIAL_SUFFIX,
    ledger_path,
    lock_path,
    partial_facts_path,
    quarantine_file,
)
from bdd100k_zoo.hub.ledger import inspect_cached, resolve_verification
from bdd100k_zoo.hub.locks import LOCK_HELD, cache_lock, lock_if_free
from bdd100k_zoo.hub.resume import find_owner
from bdd100k_zoo.registry import ARTIFACT_KINDS, Model, load_zoo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.hub.inventory import CacheItem
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
    """The new name of a damaged file."""


def verify_cache(
    store: Store, zoo: Zoo, names: Sequence[str], progress: Progress, *, check_weights: WeightsCheck | None = None
) -> list[CheckedFile]:
    """Read every file of the cache and compare it with the zoo file's digest and size, else with its ledger.

    A damaged file is set aside under another name. Its ledger stays if it describes the right bytes, so that the next
    file is checked against them. A file without a ledger gets one.

    Args:
        store: the cache.
        zoo: whose files they are.
        names: of which models; none for every file.
        progress: where to report.
        check_weights: checks weights against their models too; one that does not fit is set aside like a damaged one.

    Raises:
        UnknownNameError, ArtifactError: there is no such model, or nothing of it.
        StorageError: a folder cannot be read.
    """
    artifacts = artifacts_by_path(store, zoo)
    models = {model.name: model for model in zoo.known}
    checked_files = []
    for item in list_cache_items(store, zoo, names):
        if item.kind != "file":
            continue
        try:
            with cache_lock(item.path, progress, to_read=True):
                if not item.path.is_file():  # it was removed meanwhile
                    continue
                checked = _verify_file(item, artifacts.get(item.path), progress)
                model = models.get(checked.model or "")
                if check_weights and model and checked.what == "weights" and checked.state != "damaged":
                    checked = _check_against_model(item, checked, model, check_weights, progress)
        except StorageError as error:
            progress.warn(f"{item.path} could not be checked: {error.reason}")
            checked = _checked_file(item, "unreadable", problem=str(error))
        checked_files.append(checked)
    return checked_files


def _verify_file(item: CacheItem, artifact: Artifact | None, progress: Progress) -> CheckedFile:
    """Hash a file whose lock is held, and compare it with what is recorded; set it aside if it is damaged."""
    with progress.task(f"{item.model} {item.what}", item.size, "bytes") as task:
        found = inspect_cached(item.path, artifact, rehash=True, task=task)
    if found.mismatch:
        return _set_aside(item, found.mismatch, progress, keep_ledger=found.has_right_ledger)
    if found.entry is None:
        return _checked_file(item, "unverified", reason=item.reason)
    entry = resolve_verification(artifact, found.entry)
    state: CheckedFileState = "verified" if entry.verified_by else "unverified"
    return _checked_file(item, state, verified_by=entry.verified_by, reason=entry.reason)


def _check_against_model(
    item: CacheItem, checked: CheckedFile, model: Model, check_weights: WeightsCheck, progress: Progress
) -> CheckedFile:
    try:
        check_weights(model, item.path)
    except CheckpointError as error:
        return _set_aside(item, error, progress, keep_ledger=False, fits_model=False)
    except (ConfigError, MissingPackageError) as error:
        progress.warn(f"{item.path} could not be checked against its model: {error}")
        return replace(checked, problem=str(error))
    return replace(checked, fits_model=True)


def _set_aside(item: CacheItem, error: ZooError, progress: Progress, *, keep_ledger: bool, **facts: Any) -> CheckedFile:
    aside = None
    try:
        aside = quarantine_file(item.path, keep_ledger=keep_ledger)
    except StorageError as obstacle:
        progress.warn(f"{error}; it could not be set aside: {obstacle.reason}")
    else:
        progress.warn(f"{error}; it was set aside as {aside}")
    return _checked_file(item, "damaged", problem=str(error), set_aside=aside, **facts)


def _checked_file(item: CacheItem, state: CheckedFileState, **facts: Any) -> CheckedFile:
    return CheckedFile(path=item.path, model=item.model, what=item.what, size=item.size, state=state, **facts)


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
        ArtifactError: nothing of them is there.
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
                raise StorageError(path, LOCK_HELD, "wait until that process is done, and give the same command again")
            size = path.lstat().st_size if os.path.lexists(path) else 0
            for each in belongings:
                each.unlink(missing_ok=True)
        removed.append(RemovedFile(model=artifact.model, what=artifact.what, path=path, size=size))
    if not removed:
        raise empty_cache_error(store, (artifact.model for artifact in artifacts))
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
    process works on stays, and so do files that are not the zoo's. Nothing outside ``det/`` in the cache is touched.

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
                owner = _remove_unless_owned(item, dry_run=dry_run)
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
                if free and not dry_run:  # removed while it is held: a process that waits for it creates another
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
    except OSError as error:
        return isinstance(error, (FileNotFoundError, NotADirectoryError))
    return False


def _with_sidecar(item: CacheItem) -> list[Path]:
    """Return a file and what goes with it: the facts of a partial file, the ledger of another."""
    is_partial = item.path.name.endswith(PARTIAL_SUFFIX)
    sidecar = partial_facts_path(item.path) if is_partial else ledger_path(item.path)
    return [item.path, *([sidecar] if sidecar.is_file() else [])]


def _remove_unless_owned(item: CacheItem, *, dry_run: bool) -> str:
    """Remove a file, unless this is a dry run; return which live process works on it instead, if one does."""
    lock = lock_path(item.target)
    # A dry run creates no lock.
    with nullcontext(True) if dry_run and not lock.exists() else lock_if_free(item.target) as taken:
        if not taken:
            return LOCK_HELD
        owner = find_owner(item.path) if item.kind == "partial" else ""
        if not owner and not dry_run:
            for path in (*_with_sidecar(item), lock):
                with storage_errors(path):
                    path.unlink(missing_ok=True)
    return owner


def _list_locks(folder: Path) -> list[Path]:
    with storage_errors(folder):
        return sorted(path for path in folder.glob(f"*{LOCK_SUFFIX}") if path.is_file() and not path.is_symlink())
