"""What the cache holds in vain: partial files, files that were set aside, files that no model names, stale locks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from bdd100k_zoo.errors import ManifestError, StorageError
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.hub.inventory import scan_cache
from bdd100k_zoo.hub.layout import LOCK_SUFFIX, PARTIAL_SUFFIX, ledger_path, lock_path, partial_facts_path
from bdd100k_zoo.hub.locks import LOCK_HELD, find_owner, list_locks, lock_if_free, read_recorded_owner, remove_lock
from bdd100k_zoo.hub.maintenance import artifacts_by_path
from bdd100k_zoo.registry import ARTIFACT_KINDS, load_zoo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.hub.inventory import CacheItem
    from bdd100k_zoo.registry import Artifact, Zoo

PruneDecision = Literal["remove", "leave", "keep"]

UNLISTED_REASON = "no model of the zoo names it"


class PrunedFile(Struct, frozen=True, kw_only=True):
    """A file that is removed."""

    path: Path
    why: str
    size: int
    """Bytes, with what belongs to it."""


class KeptFile(Struct, frozen=True, kw_only=True):
    """A file that stays, and could be taken for one to be removed."""

    path: Path
    why: str


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
    """Locks that no process holds, and that were removed too."""


def prune_cache(store: Store, zoo: Zoo, *, dry_run: bool = False, ledgers: bool = False) -> PruneResult:
    """Remove partial files, files that were set aside, files that no model of the zoo names, and stale locks.

    A file that a zoo file named when it was filed stays, if that zoo file still is there and names it. What a live
    process works on stays, and what is none of ours. Nothing outside ``det/`` in the cache is touched.

    Args:
        store: the cache.
        zoo: whose files stay.
        dry_run: remove nothing, and report what would be.
        ledgers: remove ledgers without a file too, so that a later file may be another than the one they describe.

    Raises:
        StorageError: a folder cannot be read.
    """
    names = _Names(artifacts_by_path(store, zoo), store, ledgers=ledgers)
    locks = [lock for what in ARTIFACT_KINDS for lock in list_locks(store.root / "det" / what)]
    removed, left, failed = list[PrunedFile](), list[KeptFile](), list[KeptFile]()
    for item in scan_cache(store.root, names.places):
        verdict, why = names.judge(item)
        if verdict == "leave":
            left.append(KeptFile(path=item.path, why=why))
        if verdict != "remove":
            continue
        try:
            outcome = _try(item, why, dry_run=dry_run)
        except StorageError as error:
            failed.append(KeptFile(path=item.path, why=error.reason))
            continue
        if isinstance(outcome, PrunedFile):
            removed.append(outcome)
        else:
            left.append(outcome)
    freed = sum(removal.size for removal in removed)
    stale = _stale_locks(locks, failed, dry_run=dry_run)
    return PruneResult(
        dry_run=dry_run, removed=tuple(removed), left=tuple(left), failed=tuple(failed), freed=freed, locks=tuple(stale)
    )


def _stale_locks(locks: Sequence[Path], failed: list[KeptFile], *, dry_run: bool) -> list[Path]:
    """Remove and return the locks that no process holds; those that cannot be removed are added to ``failed``."""
    gone = []
    for lock in locks:
        target = lock.with_name(lock.name.removesuffix(LOCK_SUFFIX))
        try:
            if dry_run:
                with lock_if_free(target) as taken:
                    stale = taken
            else:
                stale = remove_lock(target)
        except StorageError as error:
            failed.append(KeptFile(path=lock, why=error.reason))
            continue
        if stale:
            gone.append(lock)
    return gone


class _Names:
    """Which files of the cache the zoo names, and the zoo files that were in use when files were filed."""

    def __init__(self, places: Mapping[Path, Artifact], store: Store, *, ledgers: bool) -> None:
        self.places = places
        self._ledgers = ledgers
        self._store = store
        self._loaded: dict[Path, Mapping[Path, Artifact] | None] = {}

    def judge(self, item: CacheItem) -> tuple[PruneDecision, str]:
        """Decide what to do with something in the cache, and why."""
        if item.kind == "partial":
            return "remove", "left over from a transfer"
        if item.kind == "damaged":
            return "remove", "was set aside as damaged"
        if item.kind == "ledger":
            if self._ledgers:
                return "remove", "its file is gone"
            return "leave", "its file is gone, and a later one must have the same bytes; --ledgers removes it"
        if item.kind == "other":
            return "leave", item.reason or ""
        return ("keep", "") if item.path in self.places else self._judge_unnamed(item)

    def _judge_unnamed(self, item: CacheItem) -> tuple[PruneDecision, str]:
        if item.state == "unknown":
            return "leave", item.reason or ""
        if item.zoo_file is None or _is_gone(item.zoo_file):
            return "remove", UNLISTED_REASON
        named = self._named_in(item.zoo_file)
        if named is None:
            return "leave", f"its zoo file {item.zoo_file} cannot be loaded"
        return ("keep", "") if item.path in named else ("remove", UNLISTED_REASON)

    def _named_in(self, file: Path) -> Mapping[Path, Artifact] | None:
        if file not in self._loaded:
            try:
                self._loaded[file] = artifacts_by_path(self._store, load_zoo(file))
            except ManifestError:
                self._loaded[file] = None
        return self._loaded[file]


def _is_gone(file: Path) -> bool:
    """Tell whether there surely is no such file: one that cannot be looked at may be there."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _try(item: CacheItem, why: str, *, dry_run: bool) -> PrunedFile | KeptFile:
    with storage_errors(item.path):
        size = sum(path.lstat().st_size for path in _with_belongings(item))
    owner = find_owner(item) if dry_run else _remove(item)
    if owner:
        return KeptFile(path=item.path, why=owner)
    return PrunedFile(path=item.path, why=why, size=size)


def _with_belongings(item: CacheItem) -> list[Path]:
    """Return a file and what goes with it: the facts of a partial file, the ledger of another."""
    beside = partial_facts_path(item.path) if item.path.name.endswith(PARTIAL_SUFFIX) else ledger_path(item.path)
    return [item.path, *([beside] if beside.is_file() else [])]


def _remove(item: CacheItem) -> str:
    """Remove a file, or say which live process works on it."""
    with lock_if_free(item.target) as taken:
        if not taken:
            return LOCK_HELD
        if owner := read_recorded_owner(item):
            return owner
        for path in (*_with_belongings(item), lock_path(item.target)):
            with storage_errors(path):
                path.unlink(missing_ok=True)
    return ""
