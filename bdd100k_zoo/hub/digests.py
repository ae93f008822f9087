"""What the cache holds → the digests and sizes that a zoo file records."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from bdd100k_zoo.errors import EmptyCacheError
from bdd100k_zoo.files import storage_errors, write_atomically
from bdd100k_zoo.hub.maintenance import artifacts_by_path, list_cache_items
from bdd100k_zoo.registry import ArtifactKind, load_zoo
from bdd100k_zoo.registry.editing import insert_digests
from bdd100k_zoo.registry.models import DigestAndSize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Zoo


class CachedDigest(Struct, frozen=True, kw_only=True):
    """How to know one file that the cache holds."""

    model: str
    what: ArtifactKind
    size: int
    """Bytes."""
    md5: str
    sha256: str
    """Lower-case hexadecimal."""
    verified_by: str | None
    """``zoo file``, ``publisher`` or ``user``; None if it is unverified."""
    recorded: bool
    """Whether the zoo file has its digest and size already."""


class RecordedDigests(Struct, frozen=True, kw_only=True):
    """What was recorded in a zoo file."""

    file: Path
    recorded: tuple[CachedDigest, ...]
    already: int
    """Files whose digest and size it had."""
    left_out: int
    """Files of models that it does not list."""
    unverified: tuple[CachedDigest, ...]
    """Files that no digest verifies, whose digests were not recorded."""


def load_zoo_with(zoo: Zoo, file: Path, zoo_files: Sequence[Path]) -> Zoo:
    """Give a zoo in which a zoo file is listed, loading it beside the others where needed; raises ManifestError."""
    return zoo if _resolved(file) in zoo.files else load_zoo(*zoo_files, file)


def read_cached_digests(store: Store, zoo: Zoo) -> list[CachedDigest]:
    """Give the digests and sizes of the complete files that the cache holds of the zoo's models.

    Raises:
        EmptyCacheError: there is none.
        DigestMismatchError: a file contradicts the digest or size that the zoo file records, or its ledger.
        StorageError: a file cannot be read.
    """
    known = artifacts_by_path(store, zoo)
    found: list[CachedDigest] = []
    for item in list_cache_items(store, zoo):
        artifact = known.get(item.path)
        stored = store.find(artifact) if artifact and item.kind == "file" else None
        if artifact and stored:
            found.append(
                CachedDigest(
                    model=artifact.model,
                    what=artifact.what,
                    size=stored.size,
                    md5=stored.md5,
                    sha256=stored.sha256,
                    verified_by=stored.verified_by,
                    recorded=artifact.digest is not None and artifact.size is not None,
                )
            )
    if not found:
        raise EmptyCacheError(store.root, ())
    return found


def write_digests(
    store: Store, zoo: Zoo, file: Path, progress: Progress, *, include_unverified: bool = False
) -> RecordedDigests:
    """Record the SHA-256 and the size of every complete, verified file of the cache in a zoo file of the zoo.

    What is recorded already and agrees stays as it is. Comments and layout of the file stay too. The digest of an
    unverified file would make every copy of that file count as verified, so it is recorded only if that is asked for.

    Args:
        store: the cache.
        zoo: whose files they are.
        file: a zoo file of that zoo.
        progress: where to report.
        include_unverified: record the digests of files that no digest verifies too.

    Raises:
        EmptyCacheError, DigestMismatchError, StorageError: as ``seen``; nothing was written.
        ManifestError: the file is laid out in a way that cannot be edited; nothing was written.
    """
    here = _resolved(file)
    listed = {model.name for model in zoo.models if model.zoo_file == here}
    found = read_cached_digests(store, zoo)
    new = [each for each in found if each.model in listed and not each.recorded]
    unverified = [each for each in new if each.verified_by is None]
    refused = [] if include_unverified else unverified
    new = [each for each in new if each not in refused]
    if new:
        _write(here, new)
    for each in unverified:
        consequence = (
            "their digest is not recorded" if refused else "any copy with the digest recorded now counts as verified"
        )
        progress.warn(f"the {each.what} of {each.model} are unverified; {consequence}")
    already = sum(each.recorded and each.model in listed for each in found)
    left_out = sum(each.model not in listed for each in found)
    return RecordedDigests(
        file=here, recorded=tuple(new), already=already, left_out=left_out, unverified=tuple(refused)
    )


def _write(file: Path, new: Sequence[CachedDigest]) -> None:
    known: dict[str, dict[ArtifactKind, DigestAndSize]] = {}
    for each in new:
        known.setdefault(each.model, {})[each.what] = DigestAndSize(f"sha256:{each.sha256}", each.size)
    with storage_errors(file):
        text = file.read_bytes().decode()
    write_atomically(file, insert_digests(file, text, known).encode(), follow_links=True)


def _resolved(file: Path) -> Path:
    return Path(os.path.realpath(file))
