"""The cache → a folder that can be served, shared or uploaded as a mirror of the published host."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import msgspec
from msgspec import Struct

from bdd100k_zoo.errors import DigestMismatchError, EmptyCacheError, FilesExistError, StorageError
from bdd100k_zoo.files import read_chunks, storage_errors, write_atomically
from bdd100k_zoo.hub.layout import mirror_digest_path, mirror_path
from bdd100k_zoo.hub.maintenance import artifacts_by_path, list_cache_items
from bdd100k_zoo.hub.verify import Hasher, hash_file, parse_md5

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.hub.cache import Store, StoredFile
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Artifact, Zoo

MIRROR_INDEX = "index.json"


class MirrorFile(Struct, frozen=True, kw_only=True):
    """One file of a mirror, as its index lists it."""

    model: str
    what: str
    path: str
    """Relative to the mirror's base, with forward slashes."""
    size: int
    """Bytes."""
    md5: str
    sha256: str
    """Lower-case hexadecimal."""
    verified: bool
    verified_by: str | None
    """``zoo file``, ``publisher`` or ``user``; None if unverified."""


class MirrorIndex(Struct, frozen=True):
    """What a mirror holds."""

    files: tuple[MirrorFile, ...]


class SkippedFile(Struct, frozen=True):
    """A file of the cache that is not in the mirror."""

    path: Path
    reason: str
    damaged: bool
    """Whether the reason is that its bytes are wrong."""
    unverified: bool = False
    """Whether the reason is that no digest verifies it."""


class ExportResult(Struct, frozen=True, kw_only=True):
    """What an export did."""

    folder: Path
    files: tuple[MirrorFile, ...]
    """Those of this export; the index may list earlier ones too."""
    written: int
    """How many of them were copied; the others were there already."""
    left_out: tuple[SkippedFile, ...]


def export_mirror(
    store: Store,
    zoo: Zoo,
    folder: Path,
    names: Sequence[str],
    progress: Progress,
    *,
    include_unverified: bool = False,
) -> ExportResult:
    """Copy the complete files of the cache into the layout of the published host, each with its MD5 beside it.

    A file is hashed while it is copied, and left out where it is no longer the one of its ledger. Files of the folder
    that are equal already are kept; the index goes on listing those of earlier exports.

    Args:
        store: the cache.
        zoo: whose files they are.
        folder: where the mirror is or is to be.
        names: of which models; none for every file.
        progress: where to report.
        include_unverified: export files that no digest verifies too; the index marks them.

    Raises:
        UnknownNameError, EmptyCacheError: there is no such model, or no file of it.
        OtherFilesError: the folder holds other files under these names; nothing was written.
        StorageError: a file cannot be read or written.
    """
    candidates, left_out = _candidates(store, zoo, names, include_unverified=include_unverified)
    if not candidates and not left_out:
        raise EmptyCacheError(store.root, tuple(names))
    standing = _standing(folder, candidates)
    earlier = _earlier(folder)
    export = _Export(folder, standing, progress)
    for candidate in candidates:
        export.add(candidate)
    if export.files:
        _write_index(folder, earlier, export.files)
    return ExportResult(
        folder=folder.absolute(),
        files=tuple(export.files),
        written=export.written,
        left_out=(*left_out, *export.left_out),
    )


class _Candidate(NamedTuple):
    artifact: Artifact
    stored: StoredFile

    @property
    def listed(self) -> MirrorFile:
        return MirrorFile(
            model=self.artifact.model,
            what=self.artifact.what,
            path=mirror_path(self.artifact),
            size=self.stored.size,
            md5=self.stored.md5,
            sha256=self.stored.sha256,
            verified=self.stored.verified,
            verified_by=self.stored.verified_by,
        )


def _candidates(
    store: Store, zoo: Zoo, names: Sequence[str], *, include_unverified: bool
) -> tuple[list[_Candidate], list[SkippedFile]]:
    """Find the files of the zoo's artifacts to export, and why others are left out."""
    candidates: list[_Candidate] = []
    left_out: list[SkippedFile] = []
    known = artifacts_by_path(store, zoo)
    for item in list_cache_items(store, zoo, names):
        if item.kind != "file":
            continue
        artifact = known.get(item.path)
        if artifact is None:
            left_out.append(SkippedFile(item.path, "no model of the zoo has a file of this name", False))
            continue
        try:
            stored = store.find(artifact)
        except DigestMismatchError as error:
            left_out.append(SkippedFile(item.path, _difference(error), True))
            continue
        except StorageError as error:
            left_out.append(SkippedFile(item.path, error.reason, True))
            continue
        if stored is None:
            left_out.append(SkippedFile(item.path, item.reason or f"the zoo does not list {item.address}", False))
        elif not (stored.verified or include_unverified):
            reason = f"it is unverified: {stored.reason}"
            left_out.append(SkippedFile(item.path, reason, damaged=False, unverified=True))
        else:
            candidates.append(_Candidate(artifact, stored))
    return candidates, left_out


def _difference(error: DigestMismatchError) -> str:
    return f"expected {error.expected} (from {error.source}), found {error.found}"


def _standing(folder: Path, candidates: Sequence[_Candidate]) -> set[str]:
    """Give the paths whose files stand in the folder already; raises OtherFilesError where others do."""
    standing: set[str] = set()
    others: list[Path] = []
    for artifact, stored in candidates:
        path, digest = mirror_path(artifact), folder / mirror_digest_path(artifact)
        if os.path.lexists(folder / path):
            same = hash_file(folder / path).sha256 == stored.sha256
            standing.add(path) if same else others.append(folder / path)
        if os.path.lexists(digest) and parse_md5(_text(digest)) != stored.md5:
            others.append(digest)
    if others:
        raise FilesExistError(folder, tuple(others))
    return standing


def _text(path: Path) -> str:
    with storage_errors(path):
        return path.read_bytes().decode(errors="replace")


def _earlier(folder: Path) -> tuple[MirrorFile, ...]:
    """Give what an earlier export lists and the folder still has."""
    path = folder / MIRROR_INDEX
    try:
        with storage_errors(path):
            content = path.read_bytes() if os.path.lexists(path) else b'{"files": []}'
        listed = msgspec.json.decode(content, type=MirrorIndex).files
    except (msgspec.DecodeError, RecursionError) as error:
        raise FilesExistError(folder, (path,)) from error
    return tuple(entry for entry in listed if (folder / entry.path).is_file())


class _Export:
    def __init__(self, folder: Path, standing: set[str], progress: Progress) -> None:
        self._folder = folder
        self._standing = standing
        self._progress = progress
        self.files: list[MirrorFile] = []
        self.left_out: list[SkippedFile] = []
        self.written = 0

    def add(self, candidate: _Candidate) -> None:
        """Copy one file, unless it stands there, with its digest."""
        artifact, stored = candidate
        listed = candidate.listed
        if listed.path not in self._standing:
            if problem := self._copy(stored, self._folder / listed.path, f"{artifact.model} {artifact.what}"):
                self.left_out.append(SkippedFile(stored.path, problem, True))
                return
            self.written += 1
        self._write_digest(artifact, stored)
        self.files.append(listed)
        if not stored.verified:
            self._progress.warn(
                f"the {artifact.what} of {artifact.model} are unverified, and listed as such: {stored.reason}"
            )

    def _write_digest(self, artifact: Artifact, stored: StoredFile) -> None:
        path = self._folder / mirror_digest_path(artifact)
        if not path.is_file():
            write_atomically(path, f"{stored.md5}  {stored.path.name}\n".encode())

    def _copy(self, stored: StoredFile, target: Path, title: str) -> str:
        """Copy a file under another name first; say what keeps it from getting its own, nothing where it has it."""
        beside = target.with_name(f".{target.name}.{uuid4().hex}")
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with (
                    Hasher() as hasher,
                    beside.open("xb") as copy,
                    self._progress.task(title, stored.size, "bytes") as task,
                ):
                    for piece in read_chunks(stored.path):
                        hasher.update(piece)
                        copy.write(piece)
                        task.advance(len(piece))
                    copy.flush()
                    os.fsync(copy.fileno())
                    found = hasher.hashes().sha256
                if found != stored.sha256:
                    return f"expected sha256:{stored.sha256} (from its ledger), found sha256:{found}"
                beside.replace(target)
            except StorageError as error:
                return error.reason
            finally:
                beside.unlink(missing_ok=True)
        return ""


def _write_index(folder: Path, earlier: Sequence[MirrorFile], files: Sequence[MirrorFile]) -> None:
    listed = {entry.path: entry for entry in (*earlier, *files)}
    index = MirrorIndex(tuple(listed[path] for path in sorted(listed)))
    write_atomically(folder / MIRROR_INDEX, msgspec.json.format(msgspec.json.encode(index), indent=2) + b"\n")
