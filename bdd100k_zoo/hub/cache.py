"""The cache: artifacts from their addresses, verified, under one root."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from bdd100k_zoo.errors import ArtifactError, OfflineError, StorageError, UnverifiedError, ZooError
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.hub.download import Download, Route, build_routes
from bdd100k_zoo.hub.http import open_session
from bdd100k_zoo.hub.layout import cache_file_name, default_cache_root, ledger_path, local_copy_hint
from bdd100k_zoo.hub.ledger import (
    CacheLookup,
    LedgerEntry,
    inspect_cached,
    read_pin,
    resolve_verification,
    write_ledger,
)
from bdd100k_zoo.hub.locks import cache_lock
from bdd100k_zoo.hub.mirrors import configured_mirrors, local_path
from bdd100k_zoo.hub.resume import PartialState, find_partials, remove_partials
from bdd100k_zoo.hub.retry import DEFAULT_RETRY_POLICY, FailedAttemptError, RetryPolicy
from bdd100k_zoo.hub.verify import (
    PUBLISHER,
    WRONG_IN_CACHE,
    digest_mismatch,
    fetch_published_digest,
    hash_file,
    plan_verification,
    recorded_digests,
)
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.registry.models import to_json_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    import requests

    from bdd100k_zoo.errors import DigestMismatchError
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
    """Where the file came from; None if it was put into the cache by hand."""
    digest_address: str | None = None
    """Where the publisher's digest that verified it was read."""
    published: bool | None = None
    """Whether its bytes are the published ones; None if no digest is known that could show it."""


class Store:
    """The cache under one root. A file under its final name is complete. Threads may share a store."""

    def __init__(
        self,
        root: Path | None = None,
        *,
        offline: bool | None = None,
        mirrors: Sequence[Mirror] | None = None,
        retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
    ) -> None:
        """Open the cache. Nothing is written or contacted before the first fetch.

        Args:
            root: its folder; None for ``default_cache_root()``.
            offline: contact nothing, and use ``file://`` addresses only; None to follow BDD100K_ZOO_OFFLINE.
            mirrors: where to ask after the addresses of the zoo; None for those of the user's settings.
            retry_policy: how often to try an address, and how long to pause between tries.

        Raises:
            SettingsError: the user's settings name no usable mirror.
        """
        self.root = Path(root or default_cache_root()).absolute()
        if offline is None:  # the values that the command line's option accepts too
            value = os.environ.get("BDD100K_ZOO_OFFLINE", "").strip().lower()
            offline = value in ("1", "true", "t", "yes", "y", "on")
        self.offline = offline
        self.mirrors = tuple(configured_mirrors() if mirrors is None else mirrors)
        self.retry_policy = retry_policy
        self._sessions = threading.local()
        self._opened: list[requests.Session] = []
        self.failed_hosts: set[str] = set()
        """Hosts that failed shortly before: their next addresses are tried once each."""

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the store opens new ones if it is used again."""
        for session in self._opened:
            session.close()
        self._opened.clear()
        self._sessions = threading.local()

    def path(self, artifact: Artifact) -> Path:
        """Return where an artifact is or would be; see ``layout.cache_file_name`` for the names."""
        return self.root / "det" / artifact.what / cache_file_name(artifact)

    def routes(self, artifact: Artifact) -> tuple[Route, ...]:
        """Return the addresses of an artifact, in the order in which they are tried."""
        return build_routes(artifact, self.mirrors)

    def usable_routes(self, artifact: Artifact) -> tuple[Route, ...]:
        """Return the addresses to try for an artifact, in order; offline those of files on this machine alone."""
        return tuple(each for each in self.routes(artifact) if not self.offline or each.address.startswith("file://"))

    def partials(self, artifact: Artifact) -> tuple[PartialState, ...]:
        """Return the partial files of an artifact, the largest first."""
        return tuple(state for state in find_partials(self.path(artifact)) if state.size)

    def find(self, artifact: Artifact) -> StoredFile | None:
        """Return an artifact from the cache, contacting nothing; None if it is not there.

        A file is hashed if it has no ledger yet, or its size or modification time are not the ledger's. A file that
        came from an address that the artifact does not list counts only if a recorded digest verifies it. Without a
        recorded digest, a copy of a file of this machine counts only as long as that file is the same.

        Raises:
            DigestMismatchError: the file contradicts the zoo file's digest or size, or is no longer the file that was
                downloaded. It is left where it is.
            StorageError: it cannot be read.
        """
        path = self.path(artifact)
        found = inspect_cached(path, artifact)
        if found.mismatch:
            raise found.mismatch
        if found.usable_entry and changed_source(artifact, found.usable_entry):
            return None
        return _describe_stored(path, artifact, found.usable_entry) if found.usable_entry else None

    def fetch(self, artifact: Artifact, progress: Progress, *, require_digest: bool = False) -> StoredFile:
        """Return an artifact from the cache, or else from the first of its addresses that sends the right file.

        A file in the cache is used as it is, and nothing is contacted. A wrong one is set aside and fetched again. Of
        several processes or threads that ask for one artifact, one downloads, and the others wait for it. What an
        interrupted transfer has brought stays beside the file's place, and the next one resumes it.

        Raises:
            ArtifactError: the zoo lists no address.
            OfflineError: it is not in the cache, and the store is offline and has no ``file://`` address for it.
            TransferError: every address failed.
            DigestMismatchError: every address sent other bytes than the digest's (nothing of them is kept), or the
                file in the cache is wrong and no other is available.
            UnverifiedError: ``require_digest``, and no digest is available.
            StorageError: the cache cannot be read or written, the disk is full, or another process holds the lock.
        """
        path = self.path(artifact)
        found = inspect_cached(path, artifact)
        entry = found.usable_entry
        if entry and (source := changed_source(artifact, entry)):
            progress.note(f"{source} has changed, and replaces its copy in the cache")
            with cache_lock(path, progress), storage_errors(path):
                ledger_path(path).unlink(missing_ok=True)
                path.unlink(missing_ok=True)
            found, entry = CacheLookup(), None
        if entry is None:
            if found.is_foreign:
                progress.note(f"{path} came from an address that the zoo does not list any more, so it is not used")
            self._check_reachable(artifact, found.mismatch)
            with cache_lock(path, progress):
                found = inspect_cached(path, artifact)  # another process may have fetched it meanwhile
                entry = found.usable_entry
                if entry is None:
                    if found.mismatch:
                        progress.warn(f"{found.mismatch}; fetching it again")
                    download = Download(self, artifact, progress, replaces_wrong=found.mismatch is not None)
                    entry = download.from_any_source(require_digest=require_digest)
        remove_partials(path)
        if require_digest and resolve_verification(artifact, entry).verified_by is None:
            entry = self._verify_again(artifact, entry)
        return _describe_stored(path, artifact, entry, progress)

    def import_file(
        self, artifact: Artifact, file: Path, progress: Progress, *, require_digest: bool = False
    ) -> StoredFile:
        """Copy a file that the user has into the cache, verified as a download is.

        Raises:
            DigestMismatchError: it is not the file that the zoo file, the ledger or the publisher's digest names.
            UnverifiedError: ``require_digest``, and no digest verifies it.
            StorageError: it cannot be read, or the cache cannot be written.
        """
        path = self.path(artifact)
        with storage_errors(file):
            # realpath: Path.resolve raises RuntimeError for a link that leads to itself.
            route = Route(Path(os.path.realpath(file, strict=True)).as_uri())
        with cache_lock(path, progress):
            wrong = inspect_cached(path, artifact).mismatch is not None
            download = Download(self, artifact, progress, replaces_wrong=wrong)
            try:
                entry = download.from_source(route, require_digest=require_digest)
            except FailedAttemptError as failure:
                raise StorageError(file, failure.outcome) from failure
            remove_partials(path)
            return _describe_stored(path, artifact, entry, progress)

    def adopt(self, artifact: Artifact, file: Path) -> StoredFile:
        """Return what is known about a file outside the cache that is used in place of an artifact.

        It may be any file: whether it is the published one is recorded, by the digest of the zoo file, or else of a
        verified file in the cache. Nothing is copied, written or contacted.

        Raises:
            StorageError: it cannot be read.
        """
        hashes, pin = hash_file(file), read_pin(self.path(artifact), artifact)
        pin = pin if pin and pin.verified_by else None
        unknown = "it is your own file, and no digest of the published file is known"
        plan = plan_verification(artifact, pin, self.path(artifact), lambda: unknown, lambda: None)
        published, reason = True if plan.verified_by else None, plan.reason
        if digest_mismatch(hashes, str(file), plan.expected, artifact.size, ""):
            published, reason = False, "it is your own file, not the published one"
        return StoredFile(
            path=file.absolute(),
            size=hashes.size,
            verified=published is True,
            verified_by=plan.verified_by if published else None,
            reason=reason,
            md5=hashes.md5,
            sha256=hashes.sha256,
            address=None,
            published=published,
        )

    def _check_reachable(self, artifact: Artifact, mismatch: DigestMismatchError | None) -> None:
        """Raise what is wrong if no address may be asked."""
        model, what = artifact.model, artifact.what
        if not artifact.addresses:
            raise mismatch or no_address_error(model, what)
        if not self.usable_routes(artifact):
            raise mismatch or OfflineError(
                f"the {what} of {model} are not in the cache ({self.path(artifact)}), and offline mode "
                "contacts nothing",
                f"run it once without --offline (and BDD100K_ZOO_OFFLINE); {local_copy_hint(model, what)}",
            )

    def _verify_again(self, artifact: Artifact, entry: LedgerEntry) -> LedgerEntry:
        """Ask once more for the publisher's digest of a file that was stored while it was not available."""
        path = self.path(artifact)
        found = entry.reason or "" if self.offline else fetch_published_digest(self.session(), artifact)
        if isinstance(found, str):
            raise UnverifiedError(artifact.model, artifact.what, found)
        if mismatch := digest_mismatch(entry.hashes, str(path), (found,), None, WRONG_IN_CACHE):
            raise mismatch
        entry = replace(entry, verified_by=PUBLISHER, digest_address=found.source, reason=None)
        with suppress(StorageError):  # of a read-only cache
            write_ledger(path, entry)
        return entry

    def session(self) -> requests.Session:
        """Return this thread's own session: requests does not promise that threads may share one."""
        if not hasattr(self._sessions, "session"):
            self._sessions.session = open_session()
            self._opened.append(self._sessions.session)
        session: requests.Session = self._sessions.session
        return session


def _describe_stored(
    path: Path, artifact: Artifact, entry: LedgerEntry, progress: Progress = NO_PROGRESS
) -> StoredFile:
    """Return what is known about a file of the cache; a warning reports one that is unverified."""
    entry = resolve_verification(artifact, entry)
    verified = entry.verified_by is not None
    if not verified:
        progress.warn(f"the {artifact.what} of {artifact.model} are unverified: {entry.reason}")
    return StoredFile(
        path=path,
        size=entry.size,
        verified=verified,
        verified_by=entry.verified_by,
        reason=entry.reason,
        md5=entry.md5,
        sha256=entry.sha256,
        address=entry.address,
        digest_address=entry.digest_address,
        published=True if verified else None,
    )


def changed_source(artifact: Artifact, entry: LedgerEntry) -> Path | None:
    """Return the file of this machine that a cached file is an outdated copy of; None if it is up to date or no copy.

    A user's zoo file may name a checkpoint that is trained further. Where a digest is recorded, that decides instead.
    """
    source = local_path(artifact.addresses[0]) if artifact.addresses else None
    if source is None or recorded_digests(artifact) or entry.address != artifact.addresses[0]:
        return None
    try:
        return None if entry.has_bytes(hash_file(source)) else source
    except StorageError:  # it is gone: the copy is what there is
        return None


def no_address_error(model: str, what: str) -> ArtifactError:
    """Return the error for an artifact that is not published."""
    return ArtifactError(
        f"the zoo lists no address for the {what} of {model}", f"`bdd100k-zoo info {model}` shows what is published"
    )


def describe_cached(found: StoredFile | ZooError | None) -> dict[str, Any]:
    """Return what is known of a file in the cache, or what is wrong with it, as JSON writes it."""
    if found is None:
        return {"cached": False}
    if isinstance(found, ZooError):
        return {"cached": True, "wrong": str(found)}
    return {"cached": True, **to_json_values(found)}
