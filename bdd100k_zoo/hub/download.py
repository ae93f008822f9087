"""Download artifacts, several at once, each from the first of its addresses that sends the right file."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from functools import cached_property, partial
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from bdd100k_zoo.errors import (
    ArtifactError,
    DigestMismatchError,
    DownloadsFailedError,
    MissingPackageError,
    TransferAttempt,
    TransferError,
    UnverifiedError,
    ZooError,
)
from bdd100k_zoo.hub.layout import ledger_path, local_copy_hint, quarantine_file
from bdd100k_zoo.hub.ledger import LedgerEntry, build_ledger_entry, read_pin, write_ledger
from bdd100k_zoo.hub.mirrors import resolve_address
from bdd100k_zoo.hub.resume import PartialFile, build_partial_facts, find_partials
from bdd100k_zoo.hub.retry import FailedAttemptError
from bdd100k_zoo.hub.transfer import Meter, Transfer
from bdd100k_zoo.hub.verify import (
    ExpectedDigest,
    NoDigest,
    describe_mismatch,
    fetch_digest,
    fetch_published_digest,
    plan_verification,
    recorded_digests,
)
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.registry.addresses import is_tamper_proof, redact_address

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from typing import TypeAlias

    from bdd100k_zoo.hub.cache import Store, StoredFile
    from bdd100k_zoo.hub.mirrors import Mirror
    from bdd100k_zoo.hub.verify import VerificationPlan
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Artifact

    Outcome: TypeAlias = StoredFile | Exception
    Fetch: TypeAlias = Callable[[Artifact], StoredFile]

DownloadFailure = FailedAttemptError | DigestMismatchError | MissingPackageError


class Route(NamedTuple):
    """One address of an artifact."""

    address: str
    mirror_digest: str | None = None
    """Where a mirror has its digest of the file."""


def build_routes(artifact: Artifact, mirrors: Sequence[Mirror]) -> tuple[Route, ...]:
    """Return the published address, the alternates, then every mirror; none for a file that was never published."""
    if not artifact.addresses:
        return ()
    return (
        *(Route(address) for address in artifact.addresses),
        *(Route(mirror.address(artifact), mirror.digest_address(artifact)) for mirror in mirrors),
    )


class Download:
    """Gets one artifact into its place in the cache; the caller holds its lock."""

    def __init__(self, store: Store, artifact: Artifact, progress: Progress, *, replaces_wrong: bool) -> None:
        """Prepare a download, contacting nothing.

        Args:
            store: the cache.
            artifact: what to download.
            progress: where to report.
            replaces_wrong: a file of that name has wrong bytes; it is set aside when the right one is here.
        """
        self._store, self._artifact, self._progress = store, artifact, progress
        self._replaces_wrong = replaces_wrong
        self._path = store.path(artifact)
        self._session = store.session()
        self._pin = read_pin(self._path, artifact)

    @cached_property
    def _published_digest(self) -> ExpectedDigest | NoDigest:
        """The publisher's digest, read once for all addresses."""
        if self._store.offline:
            return NoDigest("offline mode contacts no digest's address")
        return fetch_published_digest(self._session, self._artifact)

    def _plan(self, route: Route) -> VerificationPlan:
        """Return the digests that the bytes of a route must have."""

        def mirrored() -> ExpectedDigest | NoDigest | None:
            return fetch_digest(self._session, route.mirror_digest) if route.mirror_digest else None

        pin_source = f"its ledger {ledger_path(self._path)}"
        return plan_verification(self._artifact, self._pin, pin_source, lambda: self._published_digest, mirrored)

    def from_any_source(self, *, require_digest: bool) -> LedgerEntry:
        """Take the file from the first address that sends the right one.

        Which digest verifies it does not depend on the address, so a required one that is missing ends the search.

        Raises:
            TransferError, DigestMismatchError, UnverifiedError, StorageError: see ``Store.fetch``.
        """
        failures: list[tuple[str, DownloadFailure]] = []  # by addresses without their secrets
        for route in self._store.routes(self._artifact):
            shown = redact_address(route.address)
            if failures:
                self._progress.note(f"{failures[-1][0]} {_outcome(failures[-1][1])}; trying {shown}")
            try:
                return self.from_source(route, require_digest=require_digest)
            except (FailedAttemptError, DigestMismatchError, MissingPackageError) as failure:
                if isinstance(failure, FailedAttemptError) and failure.transient:
                    self._store.failed_hosts.add(urlsplit(route.address).netloc)
                failures.append((shown, failure))
        raise self._final_error(failures)

    def from_source(self, route: Route, *, require_digest: bool) -> LedgerEntry:
        """Take the file from one address.

        Raises:
            FailedAttemptError, DigestMismatchError, UnverifiedError, StorageError: see ``Transfer.download``.
        """
        address, artifact = route.address, self._artifact
        safe = recorded_digests(artifact) or address.startswith("file://")
        if not (safe or is_tamper_proof(resolve_address(address)[0])):
            message = "was not contacted: plain http can be changed on the way, and no digest is recorded"
            raise FailedAttemptError(message)
        plan = self._plan(route)
        if require_digest and plan.verified_by is None:
            raise UnverifiedError(artifact.model, artifact.what, plan.reason or "")
        policy = self._store.retry_policy
        if urlsplit(address).netloc in self._store.failed_hosts:
            policy = policy._replace(tries=1)
        with (
            PartialFile(self._path, build_partial_facts(artifact)) as partial_file,
            Meter(self._progress, f"{artifact.model} {artifact.what}") as meter,
        ):
            transfer = Transfer(self._session, artifact, partial_file, meter, self._progress.note, policy)
            hashes = transfer.download(address, plan.expected)
            entry = build_ledger_entry(artifact, address, hashes, partial_file.sync(), plan)
            if self._replaces_wrong:
                aside = quarantine_file(self._path, keep_ledger=True)
                self._progress.note(f"the wrong file is kept as {aside}")
            write_ledger(self._path, entry)  # before its file: a ledger of other bytes is recognised by its digests
            partial_file.move_into_place()
        return entry

    def _final_error(self, failures: Sequence[tuple[str, DownloadFailure]]) -> ZooError:
        """Return what to raise after every address failed: the one kind of failure, or the list of all."""
        first = failures[0][1]
        if not isinstance(first, FailedAttemptError) and all(isinstance(each, type(first)) for _, each in failures):
            return first
        attempts = tuple(TransferAttempt(address, _outcome(failure)) for address, failure in failures)
        kept = next((state.size for state in find_partials(self._path) if state.size), 0)
        model, what = self._artifact.model, self._artifact.what
        links = "" if what == "start-values" else "`bdd100k-zoo doctor --links` checks all; "
        hint = f"the same command tries again; {links}{local_copy_hint(model, what)}"
        return TransferError(model, what, attempts, kept, hint)


def _outcome(failure: DownloadFailure) -> str:
    if isinstance(failure, DigestMismatchError):
        return f"sent other bytes: {describe_mismatch(failure)}"
    if isinstance(failure, MissingPackageError):
        return f"was not contacted: {failure}"
    return failure.outcome


JOBS = 4
"""Files that are transferred at once by default."""


def fetch_all(
    store: Store,
    artifacts: Sequence[Artifact],
    progress: Progress,
    *,
    require_digest: bool = False,
    jobs: int = JOBS,
) -> list[StoredFile]:
    """Fetch every artifact once, continuing after a failure, so that one dead address does not hold up the rest.

    An interrupt ends it at once and leaves the threads behind: the process may end in the middle of any transfer,
    because what has arrived can be resumed.

    Args:
        store: the cache.
        artifacts: what to fetch; one that is listed twice counts once.
        progress: where to report, from several threads.
        require_digest: refuse a file that no digest verifies.
        jobs: how many to fetch at once; with 1, or for a single artifact, the calling thread does it.

    Returns:
        The files in the order of ``artifacts``.

    Raises:
        ArtifactError: the failure, if one file was asked for.
        DownloadsFailedError: all failures, if several were.
        StorageError: the cache cannot be written or read; no further file was started.
        KeyboardInterrupt: with a message of which files are complete and which are partly here.
    """
    wanted = list(dict.fromkeys(artifacts))
    fetch = partial(store.fetch, progress=progress, require_digest=require_digest)
    outcomes: dict[Artifact, Outcome] = {}
    overall = (progress if len(wanted) > 1 else NO_PROGRESS).task("Downloading", len(wanted), "files")
    try:
        with overall as task, closing(_fetch_each(fetch, wanted, jobs)) as results:
            for artifact, outcome in results:
                outcomes[artifact] = outcome
                task.advance(int(not isinstance(outcome, Exception)))
    except KeyboardInterrupt as interrupt:
        raise type(interrupt)(_describe_interrupt(store, wanted, outcomes)) from interrupt
    for outcome in outcomes.values():
        if isinstance(outcome, Exception) and not isinstance(outcome, ArtifactError):
            raise outcome
    ordered = [outcomes[artifact] for artifact in wanted]
    files = [outcome for outcome in ordered if not isinstance(outcome, Exception)]
    failures = tuple(outcome for outcome in ordered if isinstance(outcome, ArtifactError))
    if failures and len(wanted) == 1:
        raise failures[0]
    if failures:
        raise DownloadsFailedError(failures, tuple(stored.path for stored in files))
    return files


def _fetch_each(fetch: Fetch, wanted: Sequence[Artifact], jobs: int) -> Generator[tuple[Artifact, Outcome], None, None]:
    """Yield what became of each artifact as soon as it is known."""
    waiting = deque(wanted)
    workers = min(jobs, len(wanted))
    if workers <= 1:
        yield from _fetch_in_turn(fetch, waiting)
        return
    results: SimpleQueue[tuple[Artifact, Outcome] | None] = SimpleQueue()

    def work() -> None:
        try:
            for result in _fetch_in_turn(fetch, waiting):
                results.put(result)
        finally:
            results.put(None)

    for number in range(workers):
        # Daemons: the process must not wait at its end for a server that says nothing.
        Thread(target=work, name=f"fetch-{number}", daemon=True).start()
    try:
        for _ in range(workers):
            yield from iter(results.get, None)
    finally:
        waiting.clear()  # after an interrupt no further file is started


def _fetch_in_turn(fetch: Fetch, waiting: deque[Artifact]) -> Generator[tuple[Artifact, Outcome], None, None]:
    while True:
        try:
            artifact = waiting.popleft()
        except IndexError:
            return
        try:
            yield artifact, fetch(artifact)
        except Exception as failure:  # noqa: BLE001  (raised again by fetch_all)
            if not isinstance(failure, ArtifactError):
                waiting.clear()
            yield artifact, failure


def _describe_interrupt(store: Store, wanted: Sequence[Artifact], outcomes: Mapping[Artifact, Outcome]) -> str:
    """Return the message of what an interrupt leaves behind."""
    missing = [artifact for artifact in wanted if isinstance(outcomes.get(artifact, OSError()), Exception)]
    message = f"interrupted: {len(wanted) - len(missing)} of {len(wanted)} files are whole"
    parts = []
    for artifact in missing:
        for largest in store.partials(artifact)[:1]:
            of_total = "" if largest.total is None else f" of {largest.total:,}"
            parts.append(f"{artifact.model} {artifact.what}: {largest.size:,}{of_total} bytes")
    if not parts:
        return f"{message}; the same command goes on from there"
    return "\n  ".join((f"{message}, partly here:", *parts)) + "\nthe same command goes on from there"
