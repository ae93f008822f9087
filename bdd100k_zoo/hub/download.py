"""Download artifacts, several at once, each from the first of its addresses that sends the right file."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from dataclasses import dataclass
from functools import partial
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
from bdd100k_zoo.hub.layout import quarantine_file
from bdd100k_zoo.hub.ledger import LedgerEntry, build_ledger_entry, write_ledger
from bdd100k_zoo.hub.mirrors import resolve_address
from bdd100k_zoo.hub.resume import PartialFile, build_partial_facts, find_partials
from bdd100k_zoo.hub.retry import FailedAttemptError
from bdd100k_zoo.hub.transfer import Meter, Transfer
from bdd100k_zoo.hub.verify import describe_mismatch, recorded_digests
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.registry.addresses import is_tamper_proof, redact_address

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    import requests

    from bdd100k_zoo.hub.cache import Store, StoredFile
    from bdd100k_zoo.hub.mirrors import Mirror
    from bdd100k_zoo.hub.retry import RetryPolicy
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


@dataclass(frozen=True)
class Download:
    """Gets one artifact into its place in the cache; the caller holds its lock."""

    session: requests.Session
    artifact: Artifact
    path: Path
    """The final name of the file."""
    routes: Sequence[Route]
    plan: Callable[[Route], VerificationPlan]
    """Returns what the bytes of a route must have."""
    replaces_wrong: bool
    """A file of that name has wrong bytes: it is set aside when the right one is here."""
    progress: Progress
    retry_policy: RetryPolicy
    failed_hosts: set[str]
    """Hosts that failed shortly before: they are tried once, not again and again."""

    def from_any_source(self, *, require_digest: bool) -> LedgerEntry:
        """Take the file from the first address that sends the right one.

        Which digest verifies it does not depend on the address, so a required one that is missing ends the search.

        Raises:
            TransferError, DigestMismatchError, UnverifiedError, StorageError: see ``Store.fetch``.
        """
        failures: list[tuple[str, DownloadFailure]] = []  # by addresses without their secrets
        for route in self.routes:
            shown = redact_address(route.address)
            if failures:
                self.progress.note(f"{failures[-1][0]} {_outcome(failures[-1][1])}; trying {shown}")
            try:
                return self.from_source(route, require_digest=require_digest)
            except (FailedAttemptError, DigestMismatchError, MissingPackageError) as failure:
                if isinstance(failure, FailedAttemptError) and failure.transient:
                    self.failed_hosts.add(urlsplit(route.address).netloc)
                failures.append((shown, failure))
        raise self._final_error(failures)

    def from_source(self, route: Route, *, require_digest: bool) -> LedgerEntry:
        """Take the file from one address.

        Raises:
            FailedAttemptError, DigestMismatchError, UnverifiedError, StorageError: see ``Transfer.download``.
        """
        address, artifact = route.address, self.artifact
        safe = recorded_digests(artifact) or address.startswith("file://")
        if not (safe or is_tamper_proof(resolve_address(address)[0])):
            message = "was not contacted: plain http can be changed on the way, and no digest is recorded"
            raise FailedAttemptError(message)
        plan = self.plan(route)
        if require_digest and plan.verified_by is None:
            raise UnverifiedError(artifact.model, artifact.what, plan.reason or "")
        failed = urlsplit(address).netloc in self.failed_hosts
        policy = self.retry_policy._replace(tries=1) if failed else self.retry_policy
        with (
            PartialFile(self.path, build_partial_facts(artifact)) as partial_file,
            Meter(self.progress, f"{artifact.model} {artifact.what}") as meter,
        ):
            transfer = Transfer(self.session, artifact, partial_file, meter, self.progress.note, policy)
            hashes = transfer.download(address, plan.expected)
            entry = build_ledger_entry(artifact, address, hashes, partial_file.sync(), plan)
            if self.replaces_wrong:
                aside = quarantine_file(self.path, keep_ledger=True)
                self.progress.note(f"the wrong file is kept as {aside}")
            write_ledger(self.path, entry)  # before its file: a ledger of other bytes is recognised by its digests
            partial_file.move_into_place()
        return entry

    def _final_error(self, failures: Sequence[tuple[str, DownloadFailure]]) -> ZooError:
        """Return what to raise after every address failed: the one kind of failure, or the list of all."""
        first = failures[0][1]
        if not isinstance(first, FailedAttemptError) and all(isinstance(each, type(first)) for _, each in failures):
            return first
        attempts = tuple(TransferAttempt(address, _outcome(failure)) for address, failure in failures)
        kept = next((state.size for state in find_partials(self.path) if state.size), 0)
        return TransferError(self.artifact.model, self.artifact.what, attempts, kept)


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
