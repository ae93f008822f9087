"""A file that the user has already → the cache, looked into before anything is copied."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import msgspec

from bdd100k_zoo.backends.selection import select_backend
from bdd100k_zoo.data.formats import decode_json
from bdd100k_zoo.errors import (
    CheckUnavailableError,
    DigestMismatchError,
    MissingPackageError,
    NoAddressError,
    RecordError,
    UnverifiedError,
)
from bdd100k_zoo.files import read_bytes, storage_errors
from bdd100k_zoo.hub.verify import recorded_digests
from bdd100k_zoo.registry.models import UserDigest

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.hub.cache import Store, StoredFile
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Artifact, ArtifactKind, Model


DIGEST_OPTION = "--digest"


def import_copy(
    model: Model, what: ArtifactKind, file: Path, store: Store, progress: Progress, *, digest: str | None = None
) -> StoredFile:
    """Copy a published file that the user has into the cache.

    Weights are checked against the model first: parameters, shapes, classes. Where the backend that can do so is not
    installed, a digest must verify them instead. Of the other files it is checked that they can be read.

    Args:
        model: whose file it is.
        what: which of its files.
        file: the copy.
        store: the cache.
        progress: where to report.
        digest: the user's digest of it, ``md5:…`` or ``sha256:…`` in lower-case hexadecimal.

    Raises:
        NoAddressError: the model publishes no such file.
        StorageError: the file cannot be read, or the cache cannot be written.
        CheckpointError, ConfigError: it is no checkpoint, or not of this model.
        UncheckableError: neither the backend nor a digest is there to check the weights.
        BrokenFileError, WrongFileError, RecordError: it is no JSON, or no zip archive.
        DigestMismatchError: it is not the file of the zoo file's digest, the user's, the ledger's or the publisher's,
            or the user's digest contradicts another that is recorded.
    """
    artifact = model.artifact(what)
    if digest is not None:
        _check_consistent(artifact, digest)
        artifact = artifact._replace(user_digests=(*artifact.user_digests, UserDigest(what, digest, DIGEST_OPTION)))
    if not artifact.addresses:
        raise NoAddressError(model.name, what)
    if what == "weights":
        return _import_weights(model, artifact, file, store, progress)
    _check_zip(file) if what == "visuals" else _check_json(file, what)
    return store.take_in(artifact, file, progress)


def _check_consistent(artifact: Artifact, digest: str) -> None:
    for recorded, source in recorded_digests(artifact):
        if recorded != digest and recorded.partition(":")[0] == digest.partition(":")[0]:
            raise DigestMismatchError(DIGEST_OPTION, recorded, digest, source)


def _import_weights(model: Model, artifact: Artifact, file: Path, store: Store, progress: Progress) -> StoredFile:
    try:
        select_backend().check_checkpoint(model.name, model.config_path, file)
    except MissingPackageError as missing:
        return _import_by_digest(artifact, file, store, progress, missing)
    return store.take_in(artifact, file, progress)


def _import_by_digest(
    artifact: Artifact, file: Path, store: Store, progress: Progress, missing: MissingPackageError
) -> StoredFile:
    progress.note(f"{missing}; a digest must verify {file} instead")
    try:
        return store.take_in(artifact, file, progress, require_digest=True)
    except UnverifiedError as unverified:
        raise CheckUnavailableError(
            artifact.model, file, unverified.reason, missing.package, missing.reason
        ) from unverified


def _check_json(file: Path, what: ArtifactKind) -> None:
    content = read_bytes(file)
    try:
        msgspec.json.decode(content, type=msgspec.Raw)
        content.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decode_json(file, content, f"the {what} of a model, in JSON")


def _check_zip(file: Path) -> None:
    try:
        with storage_errors(file), zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    # Bytes that anybody may have written can make the reader stumble in any way.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError) as error:
        raise RecordError(file, f"is no zip archive, or not whole: {error}") from error
    if not names:
        raise RecordError(file, "is a zip archive that holds nothing")
