"""Import copies into the cache, export it as a mirror, and record its digests in a zoo file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from bdd100k_zoo.data.formats import decode_json
from bdd100k_zoo.errors import (
    ArtifactError,
    DigestMismatchError,
    MissingPackageError,
    StorageError,
    UnverifiedError,
    list_first,
)
from bdd100k_zoo.files import atomic_writer, read_bytes, read_chunks, storage_errors, write_atomically
from bdd100k_zoo.hub.archive import check_zip
from bdd100k_zoo.hub.cache import no_address_error
from bdd100k_zoo.hub.inventory import artifacts_by_path, empty_cache_error, list_cache_items
from bdd100k_zoo.hub.layout import mirror_digest_path, mirror_path
from bdd100k_zoo.hub.verify import (
    WRONG_IN_CACHE,
    ExpectedDigest,
    Hasher,
    describe_mismatch,
    digest_mismatch,
    hash_file,
    parse_md5,
    recorded_digests,
)
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
        StorageError: the file cannot be read, or the cache cannot be written.
        CheckpointError, ConfigError: it is no checkpoint, or not of this model.
        ArtifactError: the model publishes no such file, or neither the backend nor a digest is available to check it.
        InputsError, InvalidFileError: it is no JSON, or no zip archive.
        DigestMismatchError: it is not the file of the zoo file's digest, the user's, the ledger's or the publisher's,
            or the user's digest contradicts another that is recorded.
    """
    artifact = model.artifact(what)
    if digest is not None:
        for recorded, source, _ in recorded_digests(artifact):
            if recorded != digest and recorded.partition(":")[0] == digest.partition(":")[0]:
                hint = "correct the one that is wrong: the two contradict each other"
                raise DigestMismatchError(DIGEST_OPTION, recorded, digest, source, hint)
        artifact = artifact._replace(user_digests=(*artifact.user_digests, UserDigest(what, digest, DIGEST_OPTION)))
    if not artifact.addresses:
        raise no_address_error(model.name, what)
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
                raise ArtifactError(
                    f"{file} was not imported as the weights of {model.name}: {unverified.reason}; and checking it "
                    f"against the model needs {missing.package}, which cannot be imported: {missing.reason}",
                    f"`pip install 'bdd100k-zoo[{missing.extra}]'` lets the same command check the file; "
                    "or give a digest you trust: --digest sha256:…",
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


class FileDigests(Struct, frozen=True, kw_only=True):
    """The digests and size of one file."""

    model: str
    what: ArtifactKind
    size: int
    """Bytes."""
    md5: str
    sha256: str
    """Lower-case hexadecimal."""
    verified_by: str | None
    """``zoo file``, ``publisher`` or ``user``; None if unverified."""


class MirrorFile(FileDigests, frozen=True, kw_only=True):
    """One file of a mirror, as its index lists it."""

    path: str
    """Relative to the mirror's base, with forward slashes."""
    verified: bool


class CachedDigest(FileDigests, frozen=True, kw_only=True):
    """One file in the cache."""

    recorded: bool
    """Whether the zoo file has its digest and size already."""


def _digests_of(artifact: Artifact, stored: StoredFile) -> dict[str, Any]:
    known = {name: getattr(stored, name) for name in ("size", "md5", "sha256", "verified_by")}
    return {"model": artifact.model, "what": artifact.what, **known}


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
        UnknownNameError, ArtifactError: there is no such model, or no file of it.
        StorageError: a file cannot be read or written, or the folder has other files under these names. Of those,
            nothing was written.
    """
    chosen, left_out = _choose_files(store, zoo, names, include_unverified=include_unverified)
    if not chosen and not left_out:
        raise empty_cache_error(store, names)
    present = _find_present(folder, chosen)
    index = _read_index(folder)
    exported: list[MirrorFile] = []
    written = 0
    for artifact, stored in chosen:
        path = mirror_path(artifact)
        if path not in present:
            try:
                _copy_verified(stored, folder / path, f"{artifact.model} {artifact.what}", progress)
            except (DigestMismatchError, StorageError) as error:
                if isinstance(error, StorageError) and error.path != stored.path:
                    raise
                left_out.append(_damaged_file(stored.path, error))
                continue
            written += 1
        digest_file = folder / mirror_digest_path(artifact)
        if not digest_file.is_file():
            write_atomically(digest_file, f"{stored.md5}  {stored.path.name}\n".encode())
        exported.append(MirrorFile(path=path, verified=stored.verified, **_digests_of(artifact, stored)))
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
            left_out.append(_damaged_file(item.path, error))
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


def _damaged_file(path: Path, error: DigestMismatchError | StorageError) -> SkippedFile:
    reason = error.reason if isinstance(error, StorageError) else describe_mismatch(error)
    return SkippedFile(path, reason, damaged=True)


def _find_present(folder: Path, chosen: Sequence[tuple[Artifact, StoredFile]]) -> set[str]:
    """Return the paths whose files are in the folder already; raise StorageError if others are in their place."""
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
        raise _others_exist(folder, others)
    return present


def _others_exist(folder: Path, paths: Sequence[Path]) -> StorageError:
    return StorageError(
        folder,
        f"holds other files under these names; nothing was written:{list_first(paths)}",
        "move them away, or choose another folder",
    )


def _read_index(folder: Path) -> dict[str, MirrorFile]:
    """Return what an earlier export lists and the folder still has, by path."""
    path = folder / MIRROR_INDEX
    if not os.path.lexists(path):
        return {}
    try:
        with storage_errors(path):
            listed = msgspec.json.decode(path.read_bytes(), type=MirrorIndex).files
    except (msgspec.DecodeError, RecursionError) as error:
        raise _others_exist(folder, [path]) from error
    return {file.path: file for file in listed if (folder / file.path).is_file()}


def _copy_verified(stored: StoredFile, target: Path, title: str, progress: Progress) -> None:
    """Copy a file of the cache, hashing it on the way; a file that is not the one of its ledger gets no name."""
    with (
        atomic_writer(target) as copy,
        Hasher() as hasher,
        progress.task(title, stored.size, "bytes") as task,
    ):
        for chunk in read_chunks(stored.path):
            hasher.update(chunk)
            copy.write(chunk)
            task.advance(len(chunk))
        expected = (ExpectedDigest(f"sha256:{stored.sha256}", "its ledger"),)
        if mismatch := digest_mismatch(hasher.finish(), str(stored.path), expected, None, WRONG_IN_CACHE):
            raise mismatch


class RecordedDigests(Struct, frozen=True, kw_only=True):
    """What was recorded in a zoo file."""

    file: Path
    recorded: tuple[CachedDigest, ...]
    already: int
    """Files whose digest and size it recorded before."""
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
        ArtifactError: there is none.
        DigestMismatchError: a file contradicts the digest or size that the zoo file records, or its ledger.
        StorageError: a file cannot be read.
    """
    artifacts = artifacts_by_path(store, zoo)
    found: list[CachedDigest] = []
    for item in list_cache_items(store, zoo):
        artifact = artifacts.get(item.path)
        if artifact and item.kind == "file" and (stored := store.find(artifact)):
            recorded = artifact.digest is not None and artifact.size is not None
            found.append(CachedDigest(recorded=recorded, **_digests_of(artifact, stored)))
    if not found:
        raise empty_cache_error(store)
    return found


def write_digests(
    store: Store, zoo: Zoo, file: Path, progress: Progress, *, include_unverified: bool = False
) -> RecordedDigests:
    """Record the SHA-256 and the size of every complete, verified file of the cache in a zoo file of the zoo.

    What is recorded already and agrees stays, and so do comments and layout of the file. The digest of an unverified
    file would make every copy of that file count as verified, so it is recorded only with ``include_unverified``.

    Raises:
        ArtifactError, DigestMismatchError, StorageError: as ``read_cached_digests``; nothing was written.
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
