"""What goes into and out of the cache by hand: copies imported, a mirror exported, digests recorded in a zoo file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
from msgspec import Struct

from bdd100k_zoo.data.formats import decode_json
from bdd100k_zoo.errors import (
    CheckUnavailableError,
    DigestMismatchError,
    EmptyCacheError,
    FilesExistError,
    MissingPackageError,
    NoAddressError,
    StorageError,
    UnverifiedError,
)
from bdd100k_zoo.files import read_bytes, read_chunks, storage_errors, write_atomically
from bdd100k_zoo.hub.archive import check_zip
from bdd100k_zoo.hub.inventory import artifacts_by_path, list_cache_items
from bdd100k_zoo.hub.layout import mirror_digest_path, mirror_path
from bdd100k_zoo.hub.verify import Hasher, describe_mismatch, hash_file, parse_md5, recorded_digests
from bdd100k_zoo.registry import ArtifactKind, load_zoo
from bdd100k_zoo.registry.editing import insert_digests
from bdd100k_zoo.registry.models import DigestAndSize, UserDigest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.hub.cache import Store, StoredFile
    from bdd100k_zoo.hub.maintenance import WeightsCheck
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Artifact, Model, Zoo

DIGEST_OPTION = "--digest"


def import_copy(
    model: Model,
    what: ArtifactKind,
    file: Path,
    store: Store,
    progress: Progress,
    *,
    check_weights: WeightsCheck,
    digest: str | None = None,
) -> StoredFile:
    """Copy a published file that the user has into the cache.

    Weights are checked against the model first: parameters, shapes, classes. If the backend that can do so is not
    installed, a digest must verify them instead. Other files are checked to be readable.

    Args:
        model: whose file it is.
        what: which of its files.
        file: the copy.
        store: the cache.
        progress: where to report.
        check_weights: checks a checkpoint against its model.
        digest: the user's digest of it, ``md5:…`` or ``sha256:…`` in lower-case hexadecimal.

    Raises:
        NoAddressError: the model publishes no such file.
        StorageError: the file cannot be read, or the cache cannot be written.
        CheckpointError, ConfigError: it is no checkpoint, or not of this model.
        CheckUnavailableError: neither the backend nor a digest is available to check the weights.
        BrokenFileError, WrongFileError, InvalidFileError: it is no JSON, or no zip archive.
        DigestMismatchError: it is not the file of the zoo file's digest, the user's, the ledger's or the publisher's,
            or the user's digest contradicts another that is recorded.
    """
    artifact = model.artifact(what)
    if digest is not None:
        for recorded, source in recorded_digests(artifact):
            if recorded != digest and recorded.partition(":")[0] == digest.partition(":")[0]:
                raise DigestMismatchError(DIGEST_OPTION, recorded, digest, source)
        artifact = artifact._replace(user_digests=(*artifact.user_digests, UserDigest(what, digest, DIGEST_OPTION)))
    if not artifact.addresses:
        raise NoAddressError(model.name, what)
    if what == "visuals":
        check_zip(file)
    elif what != "weights":
        _check_json(file, what)
    else:
        try:
            check_weights(model, file)
        except MissingPackageError as missing:
            progress.note(f"{missing}; a digest must verify {file} instead")
            try:
                return store.import_file(artifact, file, progress, require_digest=True)
            except UnverifiedError as unverified:
                raise CheckUnavailableError(
                    model.name, file, unverified.reason, missing.package, missing.reason
                ) from unverified
    return store.import_file(artifact, file, progress)


def _check_json(file: Path, what: ArtifactKind) -> None:
    content = read_bytes(file)
    try:
        msgspec.json.decode(content, type=msgspec.Raw)
        content.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decode_json(file, content, f"the {what} of a model, in JSON")  # raises what is wrong, or accepts the file


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

    A file is hashed while it is copied, and left out if it is no longer the one of its ledger. Equal files that are in
    the folder already are kept; the index keeps listing those of earlier exports. ``names`` chooses models, none all;
    ``include_unverified`` exports files that no digest verifies too, and the index marks them.

    Raises:
        UnknownNameError, EmptyCacheError: there is no such model, or no file of it.
        FilesExistError: the folder holds other files under these names; nothing was written.
        StorageError: a file cannot be read or written.
    """
    chosen, left_out = _choose_files(store, zoo, names, include_unverified=include_unverified)
    if not chosen and not left_out:
        raise EmptyCacheError(store.root, tuple(names))
    present = _find_present(folder, chosen)
    index = _read_index(folder)
    exported: list[MirrorFile] = []
    written = 0
    for artifact, stored in chosen:
        path = mirror_path(artifact)
        if path not in present:
            if problem := _copy_verified(stored, folder / path, f"{artifact.model} {artifact.what}", progress):
                left_out.append(SkippedFile(stored.path, problem, damaged=True))
                continue
            written += 1
        digest_file = folder / mirror_digest_path(artifact)
        if not digest_file.is_file():
            write_atomically(digest_file, f"{stored.md5}  {stored.path.name}\n".encode())
        exported.append(
            MirrorFile(
                model=artifact.model,
                what=artifact.what,
                path=path,
                size=stored.size,
                md5=stored.md5,
                sha256=stored.sha256,
                verified=stored.verified,
                verified_by=stored.verified_by,
            )
        )
        if not stored.verified:
            reason = f"are unverified, and listed as such: {stored.reason}"
            progress.warn(f"the {artifact.what} of {artifact.model} {reason}")
    if exported:
        index |= {file.path: file for file in exported}
        document = MirrorIndex(tuple(index[path] for path in sorted(index)))
        write_atomically(folder / MIRROR_INDEX, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    return ExportResult(folder=folder.absolute(), files=tuple(exported), written=written, left_out=tuple(left_out))


def _choose_files(
    store: Store, zoo: Zoo, names: Sequence[str], *, include_unverified: bool
) -> tuple[list[tuple[Artifact, StoredFile]], list[SkippedFile]]:
    """Return the files to export, and the others with the reason."""
    chosen: list[tuple[Artifact, StoredFile]] = []
    left_out: list[SkippedFile] = []
    artifacts = artifacts_by_path(store, zoo)
    for item in list_cache_items(store, zoo, names):
        if item.kind != "file":
            continue
        artifact = artifacts.get(item.path)
        if artifact is None:
            left_out.append(SkippedFile(item.path, "no model of the zoo has a file of this name", damaged=False))
            continue
        try:
            stored = store.find(artifact)
        except (DigestMismatchError, StorageError) as error:
            reason = error.reason if isinstance(error, StorageError) else describe_mismatch(error)
            left_out.append(SkippedFile(item.path, reason, damaged=True))
            continue
        if stored is None:
            reason = item.reason or f"the zoo does not list {item.address}"
            left_out.append(SkippedFile(item.path, reason, damaged=False))
        elif not (stored.verified or include_unverified):
            reason = f"it is unverified: {stored.reason}"
            left_out.append(SkippedFile(item.path, reason, damaged=False, unverified=True))
        else:
            chosen.append((artifact, stored))
    return chosen, left_out


def _find_present(folder: Path, chosen: Sequence[tuple[Artifact, StoredFile]]) -> set[str]:
    """Return the paths whose files are in the folder already; raise FilesExistError if others are in their place."""
    present: set[str] = set()
    others: list[Path] = []
    for artifact, stored in chosen:
        path, digest_file = mirror_path(artifact), folder / mirror_digest_path(artifact)
        if os.path.lexists(folder / path):
            same = hash_file(folder / path).sha256 == stored.sha256
            present.add(path) if same else others.append(folder / path)
        if os.path.lexists(digest_file):
            with storage_errors(digest_file):
                text = digest_file.read_bytes().decode(errors="replace")
            if parse_md5(text) != stored.md5:
                others.append(digest_file)
    if others:
        raise FilesExistError(folder, tuple(others))
    return present


def _read_index(folder: Path) -> dict[str, MirrorFile]:
    """Return what an earlier export lists and the folder still has, by path."""
    path = folder / MIRROR_INDEX
    if not os.path.lexists(path):
        return {}
    try:
        with storage_errors(path):
            listed = msgspec.json.decode(path.read_bytes(), type=MirrorIndex).files
    except (msgspec.DecodeError, RecursionError) as error:
        raise FilesExistError(folder, (path,)) from error
    return {file.path: file for file in listed if (folder / file.path).is_file()}


def _copy_verified(stored: StoredFile, target: Path, title: str, progress: Progress) -> str:
    """Copy a file, hashing it on the way; return why it is left out, or nothing if the copy is in place."""
    beside = target.with_name(f".{target.name}.{uuid4().hex}")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with Hasher() as hasher, beside.open("xb") as copy, progress.task(title, stored.size, "bytes") as task:
                for chunk in read_chunks(stored.path):
                    hasher.update(chunk)
                    copy.write(chunk)
                    task.advance(len(chunk))
                copy.flush()
                os.fsync(copy.fileno())
                found = hasher.finish().sha256
            if found != stored.sha256:
                return f"expected sha256:{stored.sha256} (from its ledger), found sha256:{found}"
            beside.replace(target)
        except StorageError as error:  # of the file in the cache
            return error.reason
        finally:
            beside.unlink(missing_ok=True)
    return ""


class CachedDigest(Struct, frozen=True, kw_only=True):
    """The digests and size of one file in the cache."""

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
    """Return a zoo that lists a zoo file, loading it beside the others if needed; raises ManifestError."""
    return zoo if Path(os.path.realpath(file)) in zoo.files else load_zoo(*zoo_files, file)


def read_cached_digests(store: Store, zoo: Zoo) -> list[CachedDigest]:
    """Return the digests and sizes of the complete files in the cache of the zoo's models.

    Raises:
        EmptyCacheError: there is none.
        DigestMismatchError: a file contradicts the digest or size that the zoo file records, or its ledger.
        StorageError: a file cannot be read.
    """
    artifacts = artifacts_by_path(store, zoo)
    found: list[CachedDigest] = []
    for item in list_cache_items(store, zoo):
        artifact = artifacts.get(item.path)
        if artifact and item.kind == "file" and (stored := store.find(artifact)):
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

    What is recorded already and agrees stays, and so do comments and layout of the file. The digest of an unverified
    file would make every copy of that file count as verified, so it is recorded only with ``include_unverified``.

    Raises:
        EmptyCacheError, DigestMismatchError, StorageError: as ``read_cached_digests``; nothing was written.
        ManifestError: the layout of the file cannot be edited; nothing was written.
    """
    file = Path(os.path.realpath(file))
    listed = {model.name for model in zoo.models if model.zoo_file == file}
    found = read_cached_digests(store, zoo)
    new = [each for each in found if each.model in listed and not each.recorded]
    unverified = [each for each in new if each.verified_by is None]
    refused = [] if include_unverified else unverified
    new = [each for each in new if each not in refused]
    if new:
        known: dict[str, dict[ArtifactKind, DigestAndSize]] = {}
        for each in new:
            known.setdefault(each.model, {})[each.what] = DigestAndSize(f"sha256:{each.sha256}", each.size)
        with storage_errors(file):
            text = file.read_bytes().decode()
        write_atomically(file, insert_digests(file, text, known).encode(), follow_links=True)
    for each in unverified:
        consequence = (
            "their digest is not recorded" if refused else "any copy with the digest recorded now counts as verified"
        )
        progress.warn(f"the {each.what} of {each.model} are unverified; {consequence}")
    return RecordedDigests(
        file=file,
        recorded=tuple(new),
        already=sum(each.recorded and each.model in listed for each in found),
        left_out=sum(each.model not in listed for each in found),
        unverified=tuple(refused),
    )
