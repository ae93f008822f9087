"""The cache: artifacts from their addresses, verified, under one root."""

from __future__ import annotations

import os
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace

from bdd100k_zoo.artifacts import ledger
from bdd100k_zoo.artifacts.cached import contradicts, current_entry, describe, judge
from bdd100k_zoo.artifacts.layout import damaged_path, default_root, file_name, partial_path
from bdd100k_zoo.artifacts.locking import locked
from bdd100k_zoo.artifacts.network import FailedAttemptError, open_session
from bdd100k_zoo.artifacts.transfer import PartialFile, receive
from bdd100k_zoo.artifacts.verify import (
    ZOO_FILE,
    Expected,
    Unknown,
    contradiction,
    hash_file,
    neighbouring_digest,
    published_digest,
    recorded_digest,
)
from bdd100k_zoo.errors import (
    Attempt,
    DigestMismatchError,
    NoAddressError,
    OfflineError,
    TransferError,
    UnverifiedError,
    ZooError,
)
from bdd100k_zoo.manifest.addresses import is_private
from bdd100k_zoo.records.files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    import requests

    from bdd100k_zoo.manifest import Artifact
    from bdd100k_zoo.progress import Progress

__all__ = ["Store", "StoredFile", "default_root"]

Failure = FailedAttemptError | DigestMismatchError | UnverifiedError


class StoredFile(Struct, frozen=True, kw_only=True):
    """One complete file of the cache."""

    path: Path
    """Absolute."""
    size: int
    """Bytes."""
    verified: bool
    verified_by: str | None
    """Where the digest came from that the file agrees with: ``zoo file`` or an address; None if unverified."""
    reason: str | None
    """Why it is unverified, in plain words; None if verified."""
    md5: str
    sha256: str
    """Lower-case hexadecimal."""
    address: str | None
    """Where the file came from; None where somebody put it into the cache."""


class Store:
    """The cache under one root. What stands in it under its final name is complete."""

    def __init__(self, root: Path | None = None, *, offline: bool | None = None) -> None:
        """Open the cache. Nothing is written or contacted before the first fetch.

        Args:
            root: its folder; ``default_root()`` where none is given.
            offline: contact nothing; None to do as the variable BDD100K_ZOO_OFFLINE says.
        """
        self.root = Path(root or default_root()).absolute()
        self.offline = _offline_by_environment() if offline is None else offline
        self._session: requests.Session | None = None

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the store opens new ones if it is used again."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def path(self, artifact: Artifact) -> Path:
        """Say where an artifact stands or would stand; see ``layout.file_name`` for the names."""
        return self.root / "det" / artifact.what / file_name(artifact)

    def find(self, artifact: Artifact) -> StoredFile | None:
        """Find an artifact in the cache, contacting nothing.

        A file is hashed when it has no ledger yet, or its size or time of change are not the ledger's. A file that
        came from an address which the artifact does not list counts only if the zoo file's digest vouches for it.

        Raises:
            DigestMismatchError: the file contradicts the zoo file's digest or size, or is no longer the file that was
                downloaded. It is left where it is.
            StorageError: it cannot be read.
        """
        path = self.path(artifact)
        entry = current_entry(path, artifact)
        if entry is None or judge(artifact, entry) == "foreign":
            return None
        mismatch = contradicts(artifact, entry, str(path))
        if mismatch:
            raise mismatch
        return _stored(path, artifact, entry)

    def fetch(self, artifact: Artifact, progress: Progress, *, require_digest: bool = False) -> StoredFile:
        """Give an artifact from the cache, or else from the first of its addresses that sends the right file.

        A file in the cache is taken as it is, and nothing is contacted. Of several processes that ask for one
        artifact, one downloads, and the others wait for it.

        Raises:
            NoAddressError: the zoo lists no address.
            OfflineError: it is not in the cache, and the store is offline.
            TransferError: every address failed.
            DigestMismatchError: every address sent other bytes than the digest's (nothing of them is kept), or the
                file in the cache is not the right one (it is left where it is).
            UnverifiedError: ``require_digest``, and no digest can be had.
            StorageError: the cache cannot be read or written, the disk is full, or another process holds the lock.
        """
        stored = self.find(artifact)
        if stored is None:
            self._check_reachable(artifact, progress)
            with locked(self.path(artifact), progress):
                stored = self.find(artifact) or self._download(artifact, progress, require_digest)
        if require_digest and not stored.verified:
            raise UnverifiedError(artifact.model, artifact.what, stored.reason or "")
        return stored

    def adopt(self, artifact: Artifact, file: Path) -> StoredFile:
        """Say of a file outside the cache what is known, checked against the zoo file's digest where there is one.

        Nothing is copied, written or contacted.

        Raises:
            DigestMismatchError: the file is not the one that the zoo file records.
            StorageError: it cannot be read.
        """
        hashes = hash_file(file)
        known = recorded_digest(artifact) or Unknown("it is a file of yours, and the zoo file records no digest")
        mismatch = contradiction(hashes, str(file), recorded_digest(artifact), artifact.size)
        if mismatch:
            raise mismatch
        with storage_errors(file):
            entry = describe(artifact, None, hashes, file.stat(), known)
        return _stored(file.absolute(), artifact, entry)

    def take_in(
        self, artifact: Artifact, file: Path, progress: Progress, *, require_digest: bool = False
    ) -> StoredFile:
        """Copy a file of the user's into the cache, checked against the best digest that can be had.

        Raises:
            DigestMismatchError: it is not the file of that digest; nothing is kept of it.
            UnverifiedError: ``require_digest``, and no digest can be had.
            StorageError: it cannot be read, or the cache cannot be written.
        """
        path = self.path(artifact)
        with locked(path, progress):
            hashes = hash_file(file)
            known = self._digest_of_copy(artifact, path)
            expected = known if isinstance(known, Expected) else None
            mismatch = contradiction(hashes, str(file), expected, artifact.size)
            if mismatch:
                raise mismatch
            if require_digest and isinstance(known, Unknown):
                raise UnverifiedError(artifact.model, artifact.what, known.reason)
            with storage_errors(path):
                if path.exists() and hash_file(path) != hashes:
                    path.rename(damaged_path(path, datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")))
                if not path.exists():
                    beside = partial_path(path, uuid4().hex[:8])
                    shutil.copyfile(file, beside)
                    beside.replace(path)
                entry = describe(artifact, file.absolute().as_uri(), hashes, path.stat(), known)
            ledger.write(path, replace(entry, stands_for=artifact.addresses[0], zoo_file=str(artifact.zoo_file)))
        return _stored(path, artifact, entry)

    def _digest_of_copy(self, artifact: Artifact, path: Path) -> Expected | Unknown:
        if recorded := recorded_digest(artifact):
            return recorded
        known = ledger.read(path)
        if isinstance(known, ledger.Entry) and (known.address or known.verified_by):
            return Expected(f"sha256:{known.sha256}", "the ledger")
        if self.offline:
            return Unknown("it is a file of yours, and the zoo file records no digest")
        self._session = self._session or open_session()
        return published_digest(self._session, artifact)

    def _check_reachable(self, artifact: Artifact, progress: Progress) -> None:
        if not artifact.addresses:
            raise NoAddressError(artifact.model, artifact.what)
        path = self.path(artifact)
        if path.is_file():
            progress.note(f"{path} came from an address that the zoo does not list any more, so it is not used")
        if self.offline:
            raise OfflineError(artifact.model, artifact.what, path)

    def _download(self, artifact: Artifact, progress: Progress, require_digest: bool) -> StoredFile:
        self._session = self._session or open_session()
        published = published_digest(self._session, artifact)
        failures: list[tuple[str, Failure]] = []
        for address in artifact.addresses:
            if failures:
                progress.note(f"{failures[-1][0]} {_outcome(failures[-1][1])}; trying {address}")
            try:
                entry = self._attempt(self._session, artifact, address, published, progress, require_digest)
            except (FailedAttemptError, DigestMismatchError, UnverifiedError) as failure:
                failures.append((address, failure))
                continue
            if entry.verified_by is None:
                progress.warn(f"the {artifact.what} of {artifact.model} are unverified: {entry.reason}")
            return _stored(self.path(artifact), artifact, entry)
        raise final_error(artifact, failures)

    def _attempt(
        self,
        session: requests.Session,
        artifact: Artifact,
        address: str,
        published: Expected | Unknown,
        progress: Progress,
        require_digest: bool,
    ) -> ledger.Entry:
        if artifact.digest is None and not is_private(address):
            raise FailedAttemptError(
                "was not contacted: plain http can be changed on the way, and no digest is recorded"
            )
        known = _digest_for(session, artifact, address, published)
        if require_digest and isinstance(known, Unknown):
            raise UnverifiedError(artifact.model, artifact.what, known.reason)
        path = self.path(artifact)
        expected = known if isinstance(known, Expected) else None
        with PartialFile(partial_path(path, uuid4().hex), path) as partial:
            title = f"{artifact.model} {artifact.what}"
            hashes = receive(session, address, partial, progress, title, artifact.size)
            mismatch = contradiction(hashes, address, expected, artifact.size)
            if mismatch:
                raise mismatch
            entry = describe(artifact, address, hashes, partial.settle(), known)
            _put(path, partial, entry)
        return entry


def _offline_by_environment() -> bool:
    """Read the variable as the command line reads it."""
    return os.environ.get("BDD100K_ZOO_OFFLINE", "").strip().lower() in ("1", "true", "t", "yes", "y", "on")


def _digest_for(
    session: requests.Session, artifact: Artifact, address: str, published: Expected | Unknown
) -> Expected | Unknown:
    """Prefer the publisher's digest; where that is dead, an alternate address may have one of its own."""
    alternate = address != artifact.addresses[0]
    if isinstance(published, Unknown) and artifact.digest_address and alternate:
        neighbour = neighbouring_digest(session, address)
        return neighbour if isinstance(neighbour, Expected) else published
    return published


def _put(path: Path, partial: PartialFile, entry: ledger.Entry) -> None:
    """Move a whole file into place; at no moment does a ledger stand beside a file that it does not describe."""
    with storage_errors(path):
        path.unlink(missing_ok=True)
    ledger.write(path, entry)
    partial.move_into_place()


def _stored(path: Path, artifact: Artifact, entry: ledger.Entry) -> StoredFile:
    verified_by = ZOO_FILE if artifact.digest else entry.verified_by
    return StoredFile(
        path=path,
        size=entry.size,
        verified=verified_by is not None,
        verified_by=verified_by,
        reason=None if verified_by else entry.reason,
        md5=entry.md5,
        sha256=entry.sha256,
        address=entry.address,
    )


def _outcome(failure: Failure) -> str:
    if isinstance(failure, DigestMismatchError):
        return f"sent other bytes: expected {failure.expected} (from {failure.source}), found {failure.found}"
    if isinstance(failure, UnverifiedError):
        return f"was not contacted: {failure.reason}"
    return failure.outcome


def final_error(artifact: Artifact, failures: Sequence[tuple[str, Failure]]) -> ZooError:
    """Choose what to raise after every address failed: the one kind of failure, or the list of all."""
    first = failures[0][1]
    if not isinstance(first, FailedAttemptError) and all(isinstance(each, type(first)) for _, each in failures):
        return first
    attempts = tuple(Attempt(address, _outcome(failure)) for address, failure in failures)
    return TransferError(artifact.model, artifact.what, attempts)
