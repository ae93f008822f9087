"""What is in the cache: looked at, and neither hashed, changed nor contacted."""

from __future__ import annotations

import re
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.hub import ledger
from bdd100k_zoo.hub.decisions import entry_mismatch, resolve_verification
from bdd100k_zoo.hub.layout import DAMAGED_SUFFIX, LEDGER_SUFFIX, LOCK_SUFFIX, PARTIAL_FACTS_SUFFIX, PARTIAL_SUFFIX
from bdd100k_zoo.hub.resume import read_partial_facts
from bdd100k_zoo.registry.models import ARTIFACT_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import stat_result

    from bdd100k_zoo.hub.resume import PartialFacts
    from bdd100k_zoo.registry import Artifact

CacheItemKind = Literal["file", "partial", "damaged", "ledger", "other"]
CacheItemState = Literal["verified", "unverified", "wrong", "changed", "unknown"]

UNIQUE = "[0-9a-f]{8,32}"
SIDECAR_PATTERN = re.compile(
    rf"(?P<partial>.+)\.{UNIQUE}({re.escape(PARTIAL_SUFFIX)}|{re.escape(PARTIAL_FACTS_SUFFIX)})"
    rf"|\.(?P<unfinished>.+?)({re.escape(LEDGER_SUFFIX)}|\.{UNIQUE}{re.escape(PARTIAL_FACTS_SUFFIX)})\.{UNIQUE}"
    rf"|(?P<damaged>.+)\.[0-9T]+{re.escape(DAMAGED_SUFFIX)}"
)
"""What stands beside a file of the cache for some time: a transfer, a record being written, a file set aside."""


class CacheItem(Struct, frozen=True, kw_only=True):
    """One file of the cache, or one thing that is none."""

    path: Path
    target: Path
    """The file of the cache that it is, or stands beside."""
    kind: CacheItemKind
    """``file``: complete. ``partial``: on its way. ``damaged``: set aside. ``ledger``: its file is gone, and pins the
    next one. ``other``: none of ours."""
    model: str | None = None
    what: str | None = None
    size: int
    """Bytes that stand there."""
    total: int | None = None
    """Bytes that a partial file is to have, where that is known."""
    changed: str
    """When it was changed last: ISO 8601, UTC, to the second."""
    state: CacheItemState = "unknown"
    """Of a ``file``. ``wrong``: the zoo file records another; ``changed``: the ledger does; ``unknown``: no ledger.
    Of a ``ledger``, what it says of the file that is gone."""
    verified_by: str | None = None
    """``zoo file``, ``publisher`` or ``user``; None if unverified."""
    reason: str | None = None
    """Why a file is not verified, or what stands there in place of a file of ours."""
    address: str | None = None
    """Where it came from."""
    zoo_file: Path | None = None
    """The zoo file that listed its model when it was filed."""


def scan_cache(root: Path, places: Mapping[Path, Artifact]) -> tuple[CacheItem, ...]:
    """Look at every file in the folders of the cache, by kind of artifact and name; a missing cache holds none.

    Locks, and ledgers beside their files, belong to these. Links are named and not followed.

    Args:
        root: the cache.
        places: the artifacts of the zoo by the paths under which they stand.

    Raises:
        StorageError: a folder cannot be read.
    """
    return tuple(item for what in ARTIFACT_KINDS for item in _folder(root / "det" / what, what, places))


def _folder(folder: Path, what: str, places: Mapping[Path, Artifact]) -> Iterator[CacheItem]:
    facts = _facts(folder)
    if facts is None:
        return
    if not stat.S_ISDIR(facts.st_mode):
        yield _other(folder, what, facts)
        return
    with storage_errors(folder):
        paths = sorted(folder.iterdir())
    for path in paths:
        facts = _facts(path)
        if facts is None or path.name.endswith(LOCK_SUFFIX):
            continue
        if path.name.endswith(LEDGER_SUFFIX):
            target = path.with_name(path.name.removesuffix(LEDGER_SUFFIX))
            if _facts(target) is None:
                yield _ledger_alone(path, target, facts, places.get(target))
        else:
            yield from _items(path, what, facts, places)


def _facts(path: Path) -> stat_result | None:
    try:
        with storage_errors(path):
            return path.lstat()
    except StorageError as error:
        if isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)):
            return None
        raise


def _items(path: Path, what: str, facts: stat_result, places: Mapping[Path, Artifact]) -> Iterator[CacheItem]:
    beside = SIDECAR_PATTERN.fullmatch(path.name)
    if not stat.S_ISREG(facts.st_mode):
        yield _other(path, what, facts)
    elif beside is None:
        yield _file(path, what, facts, places.get(path))
    elif beside["damaged"]:
        yield _damaged(path, path.with_name(beside["damaged"]), facts, places)
    elif not _belongs_to_partial(path):
        yield _partial(path, path.with_name(beside["partial"] or beside["unfinished"]), facts, places)


def _belongs_to_partial(path: Path) -> bool:
    partial = path.name.removesuffix(PARTIAL_FACTS_SUFFIX) + PARTIAL_SUFFIX
    return path.name.endswith(PARTIAL_FACTS_SUFFIX) and path.with_name(partial).is_file()


def _file(path: Path, what: str, facts: stat_result, artifact: Artifact | None) -> CacheItem:
    try:
        known = ledger.read_ledger(path)
    except StorageError as error:
        return _described(path, artifact, facts, "unknown", f"its ledger cannot be read: {error.reason}")
    if known is None and artifact is None:
        return _other(path, what, facts, "it has no ledger, and no model of the zoo has a file of this name")
    if not isinstance(known, ledger.LedgerEntry):
        return _described(path, artifact, facts, "unknown", "its ledger is damaged" if known else "it has no ledger")
    return _recorded(path, artifact, facts, known)


def _described(
    path: Path,
    artifact: Artifact | None,
    facts: stat_result,
    state: CacheItemState,
    reason: str | None,
    known: ledger.LedgerEntry | None = None,
    verified_by: str | None = None,
) -> CacheItem:
    source = known or artifact
    return CacheItem(
        path=path,
        target=path,
        kind="file",
        model=source.model if source else None,
        what=source.what if source else None,
        size=facts.st_size,
        changed=_time(facts),
        state=state,
        verified_by=verified_by,
        reason=reason,
        address=known.address if known else None,
        zoo_file=Path(known.zoo_file) if known and known.zoo_file else None,
    )


def _recorded(path: Path, artifact: Artifact | None, facts: stat_result, known: ledger.LedgerEntry) -> CacheItem:
    if not known.describes(facts):
        return _described(path, artifact, facts, "changed", "its size or time of change is not the ledger's", known)
    wrong = entry_mismatch(artifact, known, str(path)) if artifact else None
    if wrong:
        reason = f"expected {wrong.expected} (from {wrong.source}), found {wrong.found}"
        return _described(path, artifact, facts, "wrong", reason, known)
    found = resolve_verification(artifact, known)
    state: CacheItemState = "verified" if found.verified_by else "unverified"
    return _described(path, artifact, facts, state, found.reason, known, found.verified_by)


def _ledger_alone(path: Path, target: Path, facts: stat_result, artifact: Artifact | None) -> CacheItem:
    if not stat.S_ISREG(facts.st_mode):
        return _other(path, path.parent.name, facts)
    known = _entry(target)
    if known is None:
        item = _described(path, artifact, facts, "unknown", "it is damaged")
    else:
        found = resolve_verification(artifact, known)
        state: CacheItemState = "verified" if found.verified_by else "unverified"
        item = _described(path, artifact, facts, state, found.reason, known, found.verified_by)
    return replace(item, kind="ledger", target=target, what=item.what or path.parent.name)


def _damaged(path: Path, target: Path, facts: stat_result, places: Mapping[Path, Artifact]) -> CacheItem:
    known = next((entry for entry in map(_entry, (path, target)) if entry), None) or places.get(target)
    return CacheItem(
        path=path,
        target=target,
        kind="damaged",
        model=known.model if known else None,
        what=known.what if known else path.parent.name,
        size=facts.st_size,
        changed=_time(facts),
        address=known.address if isinstance(known, ledger.LedgerEntry) else None,
    )


def _entry(path: Path) -> ledger.LedgerEntry | None:
    try:
        known = ledger.read_ledger(path)
    except StorageError:
        return None
    return known if isinstance(known, ledger.LedgerEntry) else None


def _partial(path: Path, target: Path, facts: stat_result, places: Mapping[Path, Artifact]) -> CacheItem:
    recorded = find_partial_facts(path)
    source = recorded or places.get(target)
    return CacheItem(
        path=path,
        target=target,
        kind="partial",
        model=source.model if source else None,
        what=recorded.what if recorded else path.parent.name,
        size=facts.st_size,
        total=recorded.total if recorded else None,
        changed=_time(facts),
        address=recorded.address if recorded else None,
    )


def find_partial_facts(path: Path) -> PartialFacts | None:
    """Read what is recorded about a partial file, given by its own name or by that of its facts."""
    name = path.name
    return read_partial_facts(
        path.with_name(name.removesuffix(PARTIAL_FACTS_SUFFIX) + PARTIAL_SUFFIX)
        if name.endswith(PARTIAL_FACTS_SUFFIX)
        else path
    )


def _other(path: Path, what: str, facts: stat_result, reason: str | None = None) -> CacheItem:
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder"}
    reason = reason or f"it is {kinds.get(stat.S_IFMT(facts.st_mode), 'no ordinary file')}"
    size = facts.st_size if stat.S_ISREG(facts.st_mode) else 0
    return CacheItem(path=path, target=path, kind="other", what=what, size=size, changed=_time(facts), reason=reason)


def _time(facts: stat_result) -> str:
    return datetime.fromtimestamp(facts.st_mtime, timezone.utc).isoformat(timespec="seconds")
