"""What is in the cache: listed without hashing, changing or contacting anything."""

from __future__ import annotations

import re
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from bdd100k_zoo.errors import EmptyCacheError, StorageError
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.hub.layout import DAMAGED_SUFFIX, LEDGER_SUFFIX, LOCK_SUFFIX, PARTIAL_FACTS_SUFFIX, PARTIAL_SUFFIX
from bdd100k_zoo.hub.ledger import LedgerEntry, entry_mismatch, read_ledger, resolve_verification
from bdd100k_zoo.hub.resume import PartialFacts, read_partial_facts
from bdd100k_zoo.hub.verify import describe_mismatch
from bdd100k_zoo.registry.models import ARTIFACT_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
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
    """``file``: complete. ``partial``: on its way. ``damaged``: set aside. ``ledger``: its file is gone, and it pins
    the next one. ``other``: none of ours."""
    model: str | None = None
    what: str | None = None
    size: int
    """Bytes on the disk."""
    total: int | None = None
    """Bytes that a partial file is to have, if known."""
    changed: str
    """When it was last modified: ISO 8601, UTC, to the second."""
    state: CacheItemState = "unknown"
    """Of a ``file``. ``wrong``: the zoo file records another; ``changed``: the ledger does; ``unknown``: no ledger.
    Of a ``ledger``, what it says of the file that is gone."""
    verified_by: str | None = None
    """``zoo file``, ``publisher`` or ``user``; None if unverified."""
    reason: str | None = None
    """Why a file is not verified, or what is there in place of a file of ours."""
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
        if path.name.endswith(LEDGER_SUFFIX):
            target = path.with_name(path.name.removesuffix(LEDGER_SUFFIX))
            if _lstat(target) is None:
                yield _ledger_item(path, what, target, status, artifacts.get(target))
            continue
        sidecar = SIDECAR_PATTERN.fullmatch(path.name)
        if not stat.S_ISREG(status.st_mode):
            yield _other_item(path, what, status)
        elif sidecar is None:
            yield _file_item(path, what, status, artifacts.get(path))
        elif sidecar["damaged"]:
            target = path.with_name(sidecar["damaged"])
            yield _damaged_item(path, what, target, status, artifacts.get(target))
        elif not (path.name.endswith(PARTIAL_FACTS_SUFFIX) and _partial_of(path).is_file()):
            target = path.with_name(sidecar["partial"] or sidecar["unfinished"])
            yield _partial_item(path, what, target, status, artifacts.get(target))


def _lstat(path: Path) -> stat_result | None:
    with storage_errors(path):
        try:
            return path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None


def _file_item(path: Path, what: str, status: stat_result, artifact: Artifact | None) -> CacheItem:
    try:
        entry = read_ledger(path)
    except StorageError as error:
        return _item("file", path, status, artifact, reason=f"its ledger cannot be read: {error.reason}")
    if entry is None and artifact is None:
        return _other_item(path, what, status, "it has no ledger, and no model of the zoo has a file of this name")
    if not isinstance(entry, LedgerEntry):
        return _item("file", path, status, artifact, reason="its ledger is damaged" if entry else "it has no ledger")
    if not entry.matches_stat(status):
        return _item(
            "file", path, status, entry, state="changed", reason="its size or time of change is not the ledger's"
        )
    if wrong := artifact and entry_mismatch(artifact, entry, str(path)):
        return _item("file", path, status, entry, state="wrong", reason=describe_mismatch(wrong))
    return _resolved_item("file", path, status, artifact, entry)


def _ledger_item(path: Path, what: str, target: Path, status: stat_result, artifact: Artifact | None) -> CacheItem:
    """Return the item of a ledger whose file is gone."""
    if not stat.S_ISREG(status.st_mode):
        return _other_item(path, what, status)
    entry = _readable_entry(target)
    if entry is None:
        item = _item("ledger", path, status, artifact, reason="it is damaged")
    else:
        item = _resolved_item("ledger", path, status, artifact, entry)
    return replace(item, target=target, what=item.what or what)


def _damaged_item(path: Path, what: str, target: Path, status: stat_result, artifact: Artifact | None) -> CacheItem:
    item = _item("damaged", path, status, _readable_entry(path) or _readable_entry(target) or artifact)
    return replace(item, target=target, what=item.what or what, zoo_file=None)


def _partial_item(path: Path, what: str, target: Path, status: stat_result, artifact: Artifact | None) -> CacheItem:
    facts = find_partial_facts(path)
    item = _item("partial", path, status, facts or artifact, total=facts.total if facts else None)
    return replace(item, target=target, what=facts.what if facts else what)


def find_partial_facts(path: Path) -> PartialFacts | None:
    """Read the facts of a partial file, given by its own name or by that of its facts."""
    return read_partial_facts(_partial_of(path) if path.name.endswith(PARTIAL_FACTS_SUFFIX) else path)


def _partial_of(facts_path: Path) -> Path:
    return facts_path.with_name(facts_path.name.removesuffix(PARTIAL_FACTS_SUFFIX) + PARTIAL_SUFFIX)


def _readable_entry(path: Path) -> LedgerEntry | None:
    try:
        entry = read_ledger(path)
    except StorageError:
        return None
    return entry if isinstance(entry, LedgerEntry) else None


def _resolved_item(
    kind: CacheItemKind, path: Path, status: stat_result, artifact: Artifact | None, entry: LedgerEntry
) -> CacheItem:
    resolved = resolve_verification(artifact, entry)
    state: CacheItemState = "verified" if resolved.verified_by else "unverified"
    return _item(kind, path, status, entry, state=state, reason=resolved.reason, verified_by=resolved.verified_by)


def _item(
    kind: CacheItemKind,
    path: Path,
    status: stat_result,
    source: LedgerEntry | PartialFacts | Artifact | None,
    **facts: Any,
) -> CacheItem:
    """Return an item whose model, kind and origin are those of its record, or of the zoo."""
    zoo_file = source.zoo_file if isinstance(source, LedgerEntry) else None
    return CacheItem(
        path=path,
        target=path,
        kind=kind,
        model=source.model if source else None,
        what=source.what if source else None,
        size=status.st_size,
        changed=datetime.fromtimestamp(status.st_mtime, timezone.utc).isoformat(timespec="seconds"),
        address=source.address if isinstance(source, (LedgerEntry, PartialFacts)) else None,
        zoo_file=Path(zoo_file) if zoo_file else None,
        **facts,
    )


def _other_item(path: Path, what: str, status: stat_result, reason: str | None = None) -> CacheItem:
    """Return the item of something that is none of our files."""
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder"}
    reason = reason or f"it is {kinds.get(stat.S_IFMT(status.st_mode), 'no ordinary file')}"
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    return replace(_item("other", path, status, None, reason=reason), what=what, size=size)
