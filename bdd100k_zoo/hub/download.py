"""Download artifacts, several at once, each from the first of its addresses that sends the right file."""

from __future__ import annotations

from collections import deque
from contextlib import closing, suppress
from functools import cached_property
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import urlsplit

from bdd100k_zoo.errors import (
    ArtifactError,
    DigestMismatchError,
    MissingPackageError,
    TransferAttempt,
    TransferError,
    UnverifiedError,
    ZooError,
)
from bdd100k_zoo.hub.layout import local_copy_hint, quarantine_file
from bdd100k_zoo.hub.ledger import LedgerEntry, build_ledger_entry, read_pin, write_ledger
from bdd100k_zoo.hub.mirrors import resolve_address
from bdd100k_zoo.hub.resume import PartialFile, build_partial_facts, find_partials
from bdd100k_zoo.hub.retry import FailedAttemptError
from bdd100k_zoo.hub.transfer import Meter, Transfer
from bdd100k_zoo.hub.verify import (
    ExpectedDigest,
    describe_mismatch,
    fetch_digest,
    fetch_published_digest,
    plan_verification,
    recorded_digests,
)
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.registry.addresses import is_tamper_proof, redact_address

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from bdd100k_zoo.hub.cache import Store, StoredFile
    from bdd100k_zoo.hub.mirrors import Mirror
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Artifact

Item = TypeVar("Item")
Result = TypeVar("Result")
DownloadFailure = FailedAttemptError | DigestMismatchError | MissingPackageError


PLAIN_HTTP_REFUSED = "was not contacted: plain http can be changed on the way, and no digest is recorded"


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
    """Downloads one artifact into its place in the cache; the caller holds its lock."""

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
    def _published_digest(self) -> ExpectedDigest | str:
        """The publisher's digest, read once for all addresses."""
        if self._store.offline:
            return "offline mode contacts no digest's address"
        return fetch_published_digest(self._session, self._artifact)

    def from_any_source(self, *, require_digest: bool) -> LedgerEntry:
        """Download the file from the first address that sends the right one.

        Which digest verifies it does not depend on the address, so a required one that is missing ends the search.

        Raises:
            TransferError, DigestMismatchError, UnverifiedError, StorageError: see ``Store.fetch``.
        """
        failures: list[tuple[str, DownloadFailure]] = []  # by addresses without their secrets
        for route in self._store.usable_routes(self._artifact):
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
        """Download the file from one address.

        Raises:
            FailedAttemptError, DigestMismatchError, UnverifiedError, StorageError: see ``Transfer.download``.
        """
        address, artifact = route.address, self._artifact
        safe = recorded_digests(artifact) or address.startswith("file://")
        if not (safe or is_tamper_proof(resolve_address(address)[0])):
            raise FailedAttemptError(PLAIN_HTTP_REFUSED)
        plan = plan_verification(
            artifact,
            self._pin,
            self._path,
            lambda: self._published_digest,
            lambda: fetch_digest(self._session, route.mirror_digest) if route.mirror_digest else None,
        )
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
        ArtifactError: the failure, if one file was requested; all failures in one error, if several were.
        StorageError: the cache cannot be written or read; no further file was started.
        KeyboardInterrupt: with a message of which files are complete and which are partly here.
    """
    wanted = list(dict.fromkeys(artifacts))
    waiting = deque(wanted)

    def fetch(artifact: Artifact) -> Iterator[tuple[Artifact, StoredFile | ArtifactError]]:
        try:
            yield artifact, store.fetch(artifact, progress, require_digest=require_digest)
        except ArtifactError as failure:
            yield artifact, failure
        except BaseException:
            waiting.clear()
            raise

    outcomes: dict[Artifact, StoredFile | ArtifactError] = {}
    overall = (progress if len(wanted) > 1 else NO_PROGRESS).task("Downloading", len(wanted), "files")
    try:
        with overall as task, closing(run_in_threads(fetch, waiting, min(jobs, len(wanted)))) as results:
            for artifact, outcome in results:
                outcomes[artifact] = outcome
                task.advance(int(not isinstance(outcome, ArtifactError)))
    except KeyboardInterrupt as interrupt:
        raise type(interrupt)(_describe_interrupt(store, wanted, outcomes)) from interrupt
    ordered = [outcomes[artifact] for artifact in wanted]
    failures = [outcome for outcome in ordered if isinstance(outcome, ArtifactError)]
    files = [outcome for outcome in ordered if not isinstance(outcome, ArtifactError)]
    if failures and len(wanted) == 1:
        raise failures[0]
    if failures:
        failed = "".join(f"\n- {failure}" for failure in failures)
        arrived = "".join(f"\n  {stored.path}" for stored in files)
        raise ArtifactError(
            f"{len(failures)} of {len(wanted)} files could not be downloaded:{failed}"
            + (arrived and f"\nin the cache:{arrived}"),
            f"the same command tries only what is missing; {local_copy_hint()}",
        )
    return files


def run_in_threads(
    work: Callable[[Item], Iterable[Result]], waiting: deque[Item], count: int
) -> Generator[Result, None, None]:
    """Yield what ``work`` yields for each item as it comes, and raise what it raises once all threads have ended.

    The threads are daemons, so that an interrupted process does not wait for a server that sends nothing.

    Args:
        work: does the work for one item.
        waiting: the items. Threads take them from the left; once it is empty or cleared, no further work starts.
        count: how many threads; with 1, the calling thread does it all.
    """
    if count <= 1:
        while waiting:
            yield from work(waiting.popleft())
        return
    results: SimpleQueue[Result | None] = SimpleQueue()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with suppress(IndexError):  # no item is left
                while True:
                    for result in work(waiting.popleft()):
                        results.put(result)
        except BaseException as error:  # noqa: BLE001  (raised again below)
            errors.append(error)
        results.put(None)  # this thread has ended

    for number in range(count):
        Thread(target=run, name=f"hub-{number}", daemon=True).start()
    try:
        for _ in range(count):
            yield from iter(results.get, None)
    finally:
        waiting.clear()  # after an interrupt no further work starts
    if errors:
        raise errors[0]


def _describe_interrupt(store: Store, wanted: Sequence[Artifact], outcomes: Mapping[Artifact, object]) -> str:
    """Return the message of what an interrupt leaves behind."""
    missing = [artifact for artifact in wanted if isinstance(outcomes.get(artifact, OSError()), Exception)]
    message = f"interrupted: {len(wanted) - len(missing)} of {len(wanted)} files are complete"
    parts = []
    for artifact in missing:
        for largest in store.partials(artifact)[:1]:
            of_total = "" if largest.total is None else f" of {largest.total:,}"
            parts.append(f"{artifact.model} {artifact.what}: {largest.size:,}{of_total} bytes")
    if not parts:
        return f"{message}; the same command resumes"
    return "\n  ".join((f"{message}, partly here:", *parts)) + "\nthe same command resumes from there"
