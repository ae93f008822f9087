"""The cache: artifacts from their addresses, verified, under one root."""

from __future__ import annotations

import functools
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from bdd100k_zoo.errors import NoAddressError, OfflineError, StorageError, UnverifiedError
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.hub import ledger
from bdd100k_zoo.hub import mirrors as mirror_settings
from bdd100k_zoo.hub.decisions import (
    CacheLookup,
    DownloadState,
    decide_download,
    inspect_cached,
    read_pin,
    resolve_verification,
)
from bdd100k_zoo.hub.download import Download, Route, build_routes
from bdd100k_zoo.hub.http import FailedAttemptError, open_session
from bdd100k_zoo.hub.layout import cache_file_name, default_cache_root, ledger_path
from bdd100k_zoo.hub.locks import cache_lock
from bdd100k_zoo.hub.resume import PartialState, find_partials, remove_partials
from bdd100k_zoo.hub.retry import DEFAULT_RETRY_POLICY, RetryPolicy
from bdd100k_zoo.hub.verify import (
    PUBLISHER,
    ExpectedDigest,
    Hashes,
    NoDigest,
    VerificationPlan,
    digest_mismatch,
    fetch_digest,
    fetch_published_digest,
    hash_file,
    plan_verification,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    import requests

    from bdd100k_zoo.hub.decisions import Action
    from bdd100k_zoo.hub.mirrors import Mirror
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Artifact

__all__ = ["PartialState", "Store", "StoredFile", "default_cache_root"]


class StoredFile(Struct, frozen=True, kw_only=True):
    """One complete file of the cache."""

    path: Path
    """Absolute."""
    size: int
    """Bytes."""
    verified: bool
    verified_by: str | None
    """Whose digest the file matches: ``zoo file``, ``publisher``, ``user`` or ``its name``; None if unverified."""
    reason: str | None
    """Why it is unverified, in plain words; None if verified."""
    md5: str
    sha256: str
    """Lower-case hexadecimal."""
    address: str | None
    """Where the file came from; None where somebody put it into the cache."""
    digest_address: str | None = None
    """Where the publisher's digest was read that verified it."""
    published: bool | None = None
    """Whether its bytes are the published ones; None where no digest is known that could show it."""


class Store:
    """The cache under one root. What stands in it under its final name is complete. Threads may share a store."""

    def __init__(
        self,
        root: Path | None = None,
        *,
        offline: bool | None = None,
        mirrors: Sequence[Mirror] | None = None,
        patience: RetryPolicy = DEFAULT_RETRY_POLICY,
    ) -> None:
        """Open the cache. Nothing is written or contacted before the first fetch.

        Args:
            root: its folder; ``default_root()`` where none is given.
            offline: contact nothing; None to do as the variable BDD100K_ZOO_OFFLINE says.
            mirrors: where to ask after the addresses of the zoo; None for those of the user's settings.
            patience: how often to try an address, and how long to wait between.

        Raises:
            SettingsError: the user's settings name no usable mirror.
        """
        self.root = Path(root or default_cache_root()).absolute()
        self.offline = _offline_by_environment() if offline is None else offline
        self.mirrors = tuple(mirror_settings.configured_mirrors() if mirrors is None else mirrors)
        self._patience = patience
        self._sessions = threading.local()
        self._opened: list[requests.Session] = []
        self._troubled: set[str] = set()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the store opens new ones if it is used again."""
        for session in self._opened:
            session.close()
        self._opened.clear()
        self._sessions = threading.local()

    def path(self, artifact: Artifact) -> Path:
        """Say where an artifact stands or would stand; see ``layout.file_name`` for the names."""
        return self.root / "det" / artifact.what / cache_file_name(artifact)

    def routes(self, artifact: Artifact) -> tuple[Route, ...]:
        """Give the addresses that are asked for an artifact, in order."""
        return build_routes(artifact, self.mirrors)

    def partials(self, artifact: Artifact) -> tuple[PartialState, ...]:
        """Find what has arrived of an artifact that is not whole, the largest part first."""
        return tuple(state for state in find_partials(self.path(artifact)) if state.size)

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
        found = inspect_cached(path, artifact)
        if found.mismatch:
            raise found.mismatch
        return _stored(path, artifact, found.kept) if found.kept else None

    def fetch(self, artifact: Artifact, progress: Progress, *, require_digest: bool = False) -> StoredFile:
        """Give an artifact from the cache, or else from the first of its addresses that sends the right file.

        A file in the cache is taken as it is, and nothing is contacted. One that is wrong is set aside and fetched
        again. Of several processes or threads that ask for one artifact, one downloads, and the others wait for it.
        What a transfer that is cut short has brought stays beside the file's place, and the next one goes on from
        there.

        Raises:
            NoAddressError: the zoo lists no address, and there is no mirror.
            OfflineError: it is not in the cache, and the store is offline.
            TransferError: every address failed.
            DigestMismatchError: every address sent other bytes than the digest's (nothing of them is kept), or the
                file in the cache is wrong and no other can be had.
            UnverifiedError: ``require_digest``, and no digest can be had.
            StorageError: the cache cannot be read or written, the disk is full, or another process holds the lock.
        """
        path = self.path(artifact)
        found = inspect_cached(path, artifact)
        if found.kept is None:
            if found.cached == "foreign":
                progress.note(f"{path} came from an address that the zoo does not list any more, so it is not used")
            self._check_reachable(artifact, found)
            with cache_lock(path, progress):
                found = inspect_cached(path, artifact)
                if found.kept is None:
                    return self._download(artifact, found, progress, require_digest=require_digest)
        remove_partials(path)
        stored = _stored(path, artifact, found.kept)
        if require_digest and not stored.verified:
            return self._verified_now(artifact, stored)
        return _warn_unverified(artifact, stored, progress)

    def adopt(self, artifact: Artifact, file: Path) -> StoredFile:
        """Return what is known about a file outside the cache that is used in place of an artifact.

        It may be any file: whether it is the published one is recorded, by the digest of the zoo file, or else of a
        verified file in the cache. Nothing is copied, written or contacted.

        Raises:
            StorageError: it cannot be read.
        """
        hashes, pin = hash_file(file), read_pin(self.path(artifact), artifact)
        pin = pin if pin and pin.verified_by else None
        unknown = NoDigest("it is your own file, and no digest of the published file is known")
        trust = plan_verification(artifact, pin, "the cache", lambda: unknown, lambda: None)
        published, reason = True if trust.verified_by else None, trust.reason
        if digest_mismatch(hashes, str(file), trust.expected, artifact.size):
            published, reason = False, "it is your own file, not the published one"
        return StoredFile(
            path=file.absolute(),
            size=hashes.size,
            verified=published is True,
            verified_by=trust.verified_by if published else None,
            reason=reason,
            md5=hashes.md5,
            sha256=hashes.sha256,
            address=None,
            published=published,
        )

    def take_in(
        self, artifact: Artifact, file: Path, progress: Progress, *, require_digest: bool = False
    ) -> StoredFile:
        """Copy a file that the user has into the cache, checked as a download is.

        Raises:
            DigestMismatchError: it is not the file that the zoo file, the ledger or the publisher's digest names.
            UnverifiedError: ``require_digest``, and no digest verifies it.
            StorageError: it cannot be read, or the cache cannot be written.
        """
        with storage_errors(file):
            # realpath: Path.resolve raises RuntimeError for a link that leads to itself.
            route = Route(Path(os.path.realpath(file, strict=True)).as_uri())
        with cache_lock(self.path(artifact), progress):
            download = self._download_from((route,), artifact, inspect_cached(self.path(artifact), artifact), progress)
            try:
                entry = download.one(route, require_digest=require_digest)
            except FailedAttemptError as failure:
                raise StorageError(file, failure.outcome) from failure
            return self._filed(artifact, entry, progress)

    def _next(self, artifact: Artifact, found: CacheLookup) -> Action:
        routes = () if self.offline else self.routes(artifact)
        return decide_download(DownloadState(found.cached, address=routes[0].address if routes else None)).action

    def _check_reachable(self, artifact: Artifact, found: CacheLookup) -> None:
        if self._next(artifact, found) != "fail":
            return
        if found.mismatch:
            raise found.mismatch
        if not self.routes(artifact):
            raise NoAddressError(artifact.model, artifact.what)
        raise OfflineError(artifact.model, artifact.what, self.path(artifact))

    def _download(
        self, artifact: Artifact, found: CacheLookup, progress: Progress, *, require_digest: bool
    ) -> StoredFile:
        if self._next(artifact, found) == "refetch":
            progress.warn(f"{found.mismatch}; fetching it again")
        download = self._download_from(self.routes(artifact), artifact, found, progress)
        return self._filed(artifact, download.any(require_digest=require_digest), progress)

    def _download_from(
        self, routes: Sequence[Route], artifact: Artifact, found: CacheLookup, progress: Progress
    ) -> Download:
        path, session = self.path(artifact), self._session()
        pin = read_pin(path, artifact)

        @functools.cache  # once for all addresses
        def published() -> ExpectedDigest | NoDigest:
            if self.offline:
                return NoDigest("offline mode contacts no digest's address")
            return fetch_published_digest(session, artifact)

        def trust(route: Route) -> VerificationPlan:
            def mirrored() -> ExpectedDigest | NoDigest | None:
                return fetch_digest(session, route.mirror_digest) if route.mirror_digest else None

            return plan_verification(artifact, pin, f"its ledger {ledger_path(path)}", published, mirrored)

        return Download(
            session=session,
            artifact=artifact,
            path=path,
            routes=routes,
            trust=trust,
            replaces_wrong=found.mismatch is not None,
            progress=progress,
            patience=self._patience,
            troubled=self._troubled,
        )

    def _filed(self, artifact: Artifact, entry: ledger.LedgerEntry, progress: Progress) -> StoredFile:
        path = self.path(artifact)
        remove_partials(path)
        return _warn_unverified(artifact, _stored(path, artifact, entry), progress)

    def _verified_now(self, artifact: Artifact, stored: StoredFile) -> StoredFile:
        """Ask the publisher once more for the digest of a file that was filed when it could not be had."""
        if self.offline:
            raise UnverifiedError(artifact.model, artifact.what, stored.reason or "")
        found = fetch_published_digest(self._session(), artifact)
        if isinstance(found, NoDigest):
            raise UnverifiedError(artifact.model, artifact.what, found.reason)
        mismatch = digest_mismatch(Hashes(stored.size, stored.md5, stored.sha256), str(stored.path), (found,), None)
        if mismatch:
            raise mismatch
        entry = ledger.read_ledger(stored.path)
        if isinstance(entry, ledger.LedgerEntry) and entry.sha256 == stored.sha256:
            entry = replace(entry, verified_by=PUBLISHER, digest_address=found.source, reason=None)
            with suppress(StorageError):  # of a read-only cache
                ledger.write_ledger(stored.path, entry)
        return replace(
            stored,
            verified=True,
            verified_by=PUBLISHER,
            digest_address=found.source,
            reason=None,
            published=True,
        )

    def _session(self) -> requests.Session:
        """Give this thread's own session: requests does not promise that threads may share one."""
        if not hasattr(self._sessions, "session"):
            self._sessions.session = open_session()
            self._opened.append(self._sessions.session)
        session: requests.Session = self._sessions.session
        return session


def _warn_unverified(artifact: Artifact, stored: StoredFile, progress: Progress) -> StoredFile:
    """Warn about a file that no digest verifies."""
    if not stored.verified:
        progress.warn(f"the {artifact.what} of {artifact.model} are unverified: {stored.reason}")
    return stored


def _offline_by_environment() -> bool:
    """Read the variable as the command line reads it."""
    return os.environ.get("BDD100K_ZOO_OFFLINE", "").strip().lower() in ("1", "true", "t", "yes", "y", "on")


def _stored(path: Path, artifact: Artifact, entry: ledger.LedgerEntry) -> StoredFile:
    found = resolve_verification(artifact, entry)
    return StoredFile(
        path=path,
        size=entry.size,
        verified=found.verified_by is not None,
        verified_by=found.verified_by,
        reason=found.reason,
        md5=entry.md5,
        sha256=entry.sha256,
        address=entry.address,
        digest_address=found.digest_address,
        published=True if found.verified_by else None,
    )
