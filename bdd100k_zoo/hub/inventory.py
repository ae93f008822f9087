"""What is in the cache: listed without hashing, changing or contacting anything."""

from __future__ import annotations

import re
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from bdd100k_zoo.errors import ArtifactError, StorageError
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.hub.layout import DAMAGED_SUFFIX, LEDGER_SUFFIX, LOCK_SUFFIX, PARTIAL_FACTS_SUFFIX, PARTIAL_SUFFIX
from bdd100k_zoo.hub.ledger import LedgerEntry, read_ledger, resolve_verification
from bdd100k_zoo.hub.resume import PartialFacts, partial_of, read_partial_facts
from bdd100k_zoo.hub.verify import describe_mismatch, recorded_mismatch
from bdd100k_zoo.registry.models import ARTIFACT_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from os import stat_result

    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.registry import Artifact, Zoo

CacheItemKind = Literal["file", "partial", "damaged", "ledger", "other"]
CacheItemState = Literal["verified", "unverified", "wrong", "changed", "unknown"]

UNIQUE = "[0-9a-f]{8,32}"
SIDECAR_PATTERN = re.compile(
    rf"(?P<partial>.+)\.{UNIQUE}({re.escape(PARTIAL_SUFFIX)}|{re.escape(PARTIAL_FACTS_SUFFIX)})"
    rf"|\.(?P<unfinished>.+?)({re.escape(LEDGER_SUFFIX)}|\.{UNIQUE}{re.escape(PARTIAL_FACTS_SUFFIX)})\.{UNIQUE}"
    rf"|(?P<damaged>.+)\.[0-9T]+{re.escape(DAMAGED_SUFFIX)}"
)
"""What is beside a file of the cache for some time: a transfer, a record being written, a file set aside."""


class CacheItem(Struct, frozen=True, kw_only=True):
    """One file in the cache, or something else that is there."""

    path: Path
    target: Path
    """The file of the cache that it is or belongs to."""
    kind: CacheItemKind
    """``file``: complete. ``partial``: a transfer. ``damaged``: set aside. ``ledger``: its file is gone, and it pins
    the next one. ``other``: not a file of the zoo."""
    model: str | None = None
    what: str | None = None
    size: int
    """Bytes on the disk."""
    total: int | None = None
    """Bytes of the whole file that a partial file is the beginning of, if known."""
    changed: str
    """When it was last modified: ISO 8601, UTC, to the second."""
    state: CacheItemState = "unknown"
    """Of a ``file``. ``wrong``: the zoo file records another; ``changed``: the ledger does; ``unknown``: no ledger.
    Of a ``ledger``, what it records about the file that is gone."""
    verified_by: str | None = None
    """``zoo file``, ``publisher`` or ``user``; None if unverified."""
    reason: str | None = None
    """Why a file is not verified, or what is there in place of a file of the zoo."""
    address: str | None = None
    """Where it came from."""
    zoo_file: Path | None = None
    """The zoo file that listed its model when it was stored."""


def artifacts_by_path(store: Store, zoo: Zoo) -> dict[Path, Artifact]:
    """Return the artifacts of the zoo by their paths in the cache."""
    artifacts = (model.artifact(what) for model in zoo.known for what in ARTIFACT_KINDS)
    return {store.path(artifact): artifact for artifact in artifacts}


def list_cache_items(store: Store, zoo: Zoo, names: Sequence[str] = ()) -> tuple[CacheItem, ...]:
    """List what the cache holds, or what it holds of some models.

    Raises:
        UnknownNameError: there is no such model.
        ArtifactError: it holds nothing of the models that are named.
        StorageError: a folder cannot be read.
    """
    wanted = {zoo[name].name for name in names}
    items = scan_cache(store.root, artifacts_by_path(store, zoo))
    if not wanted:
        return items
    found = tuple(item for item in items if item.model in wanted)
    if not found:
        raise empty_cache_error(store, wanted)
    return found


def empty_cache_error(store: Store, models: Iterable[str] = ()) -> ArtifactError:
    """Return the error for a cache that holds no file of some models, or none at all."""
    names = ", ".join(sorted(set(models)))
    return ArtifactError(
        f"the cache {store.root} holds no complete file{names and f' of {names}'}",
        "`bdd100k-zoo download MODEL` fetches one, `bdd100k-zoo cache import MODEL FILE` imports a copy",
    )


def scan_cache(root: Path, artifacts: Mapping[Path, Artifact]) -> tuple[CacheItem, ...]:
    """List every file in the folders of the cache, by kind of artifact and name; a missing cache holds none.

    Locks, and ledgers beside their files, are not listed themselves. Links are listed and not followed.

    Args:
        root: the cache.
        artifacts: those of the zoo, by their paths in the cache.

    Raises:
        StorageError: a folder cannot be read.
    """
    return tuple(item for what in ARTIFACT_KINDS for item in _scan_folder(root / "det" / what, what, artifacts))


def _scan_folder(folder: Path, what: str, artifacts: Mapping[Path, Artifact]) -> Iterator[CacheItem]:
    status = _lstat(folder)
    if status is None:
        return
    if not stat.S_ISDIR(status.st_mode):
        yield _other_item(folder, what, status)
        return
    with storage_errors(folder):
        paths = sorted(folder.iterdir())
    for path in paths:
        status = _lstat(path)
        if status is None or path.name.endswith(LOCK_SUFFIX):
            continue
        is_ledger = path.name.endswith(LEDGER_SUFFIX)
        target = path.with_name(path.name.removesuffix(LEDGER_SUFFIX))
        if is_ledger and _lstat(target) is not None:
            continue
        sidecar = SIDECAR_PATTERN.fullmatch(path.name)
        if sidecar and not is_ledger:
            target = path.with_name(sidecar["partial"] or sidecar["unfinished"] or sidecar["damaged"])
        artifact = artifacts.get(target)
        if not stat.S_ISREG(status.st_mode):
            yield _other_item(path, what, status)
        elif is_ledger:
            entry = _readable_entry(target)
            facts = _describe_entry(artifact, entry) if entry else {"reason": "it is damaged"}
            yield _item("ledger", path, target, status, what, entry or artifact, **facts)
        elif sidecar is None:
            yield _file_item(path, status, what, artifact)
        elif sidecar["damaged"]:
            source = _readable_entry(path) or _readable_entry(target) or artifact
            yield _item("damaged", path, target, status, what, source)
        elif not (path.name.endswith(PARTIAL_FACTS_SUFFIX) and partial_of(path).is_file()):
            partial = read_partial_facts(partial_of(path))
            total = partial.total if partial else None
            yield _item("partial", path, target, status, what, partial or artifact, total=total)


def _lstat(path: Path) -> stat_result | None:
    with storage_errors(path):
        try:
            return path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None


def _file_item(path: Path, status: stat_result, what: str, artifact: Artifact | None) -> CacheItem:
    try:
        entry = read_ledger(path)
    except StorageError as error:
        reason = f"its ledger cannot be read: {error.reason}"
        return _item("file", path, path, status, what, artifact, reason=reason)
    if entry is None:
        has_ledger = _lstat(path.with_name(path.name + LEDGER_SUFFIX)) is not None
        if artifact is None and not has_ledger:
            reason = "it has no ledger, and no model of the zoo has a file of this name"
            return _other_item(path, what, status, reason)
        reason = "its ledger is damaged" if has_ledger else "it has no ledger"
        return _item("file", path, path, status, what, artifact, reason=reason)
    facts: dict[str, Any]
    if not entry.matches_stat(status):
        facts = {"state": "changed", "reason": "its size or modification time differs from its ledger"}
    elif wrong := recorded_mismatch(artifact, entry.hashes, path):
        facts = {"state": "wrong", "reason": describe_mismatch(wrong)}
    else:
        facts = _describe_entry(artifact, entry)
    return _item("file", path, path, status, what, entry, **facts)


def _readable_entry(path: Path) -> LedgerEntry | None:
    try:
        return read_ledger(path)
    except StorageError:
        return None


def _describe_entry(artifact: Artifact | None, entry: LedgerEntry) -> dict[str, Any]:
    entry = resolve_verification(artifact, entry)
    state = "verified" if entry.verified_by else "unverified"
    return {"state": state, "reason": entry.reason, "verified_by": entry.verified_by}


def _item(
    kind: CacheItemKind,
    path: Path,
    target: Path,
    status: stat_result,
    what: str,
    source: LedgerEntry | PartialFacts | Artifact | None,
    **facts: Any,
) -> CacheItem:
    """Return an item whose model, kind and origin are those of its record, or of the zoo."""
    zoo_file = source.zoo_file if isinstance(source, LedgerEntry) else None
    return CacheItem(
        path=path,
        target=target,
        kind=kind,
        model=source.model if source else None,
        what=source.what if source else what,
        size=status.st_size if stat.S_ISREG(status.st_mode) else 0,
        changed=datetime.fromtimestamp(status.st_mtime, timezone.utc).isoformat(timespec="seconds"),
        address=source.address if isinstance(source, (LedgerEntry, PartialFacts)) else None,
        zoo_file=Path(zoo_file) if zoo_file else None,
        **facts,
    )


def _other_item(path: Path, what: str, status: stat_result, reason: str | None = None) -> CacheItem:
    """Return the item of something that is not a file of the zoo."""
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder"}
    reason = reason or f"it is {kinds.get(stat.S_IFMT(status.st_mode), 'not a regular file')}"
    return _item("other", path, path, status, what, None, reason=reason)
