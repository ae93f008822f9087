"""Download artifacts, several at once, each from the first of its addresses that sends the right file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from bdd100k_zoo.errors import (
    DigestMismatchError,
    MissingPackageError,
    TransferAttempt,
    TransferError,
    UnverifiedError,
    ZooError,
)
from bdd100k_zoo.hub import ledger
from bdd100k_zoo.hub.decisions import build_ledger_entry
from bdd100k_zoo.hub.http import FailedAttemptError
from bdd100k_zoo.hub.layout import quarantine_file
from bdd100k_zoo.hub.mirrors import resolve_address
from bdd100k_zoo.hub.resume import PartialFile, build_partial_facts, find_partials
from bdd100k_zoo.hub.transfer import Meter, Transfer
from bdd100k_zoo.hub.verify import recorded_digests
from bdd100k_zoo.registry.addresses import is_tamper_proof, redact_address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import requests

    from bdd100k_zoo.hub.mirrors import Mirror
    from bdd100k_zoo.hub.retry import RetryPolicy
    from bdd100k_zoo.hub.verify import VerificationPlan
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Artifact


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


DownloadFailure = FailedAttemptError | DigestMismatchError | MissingPackageError


@dataclass(frozen=True)
class Download:
    """What it takes to get one artifact into its place; the caller holds its lock."""

    session: requests.Session
    artifact: Artifact
    path: Path
    """Where the file is to stand."""
    routes: Sequence[Route]
    trust: Callable[[Route], VerificationPlan]
    """Says what the bytes from an address must have."""
    replaces_wrong: bool
    """A file stands there whose bytes are wrong: it is set aside when the right one is here."""
    progress: Progress
    patience: RetryPolicy
    troubled: set[str]
    """Hosts that failed shortly before: they are tried once more, not again and again."""

    def any(self, *, require_digest: bool) -> ledger.LedgerEntry:
        """Take the file from the first address that sends the right one.

        Which digest verifies it does not depend on the address, so a required one that is missing ends the search.

        Raises:
            TransferError, DigestMismatchError, UnverifiedError, StorageError: see ``Store.fetch``.
        """
        failures: list[tuple[str, DownloadFailure]] = []  # addresses without their secrets
        for route in self.routes:
            if failures:
                self.progress.note(
                    f"{failures[-1][0]} {_outcome(failures[-1][1])}; trying {redact_address(route.address)}"
                )
            try:
                return self.one(route, require_digest=require_digest)
            except (FailedAttemptError, DigestMismatchError, MissingPackageError) as failure:
                if isinstance(failure, FailedAttemptError) and failure.passing:
                    self.troubled.add(urlsplit(route.address).netloc)
                failures.append((redact_address(route.address), failure))
        raise final_error(self.artifact, self.path, failures)

    def one(self, route: Route, *, require_digest: bool) -> ledger.LedgerEntry:
        """Take the file from one address.

        Raises:
            FailedAttemptError, DigestMismatchError, UnverifiedError, StorageError: see ``Transfer.receive``.
        """
        self._refuse_plain_http(route.address)
        trust = self.trust(route)
        if require_digest and trust.verified_by is None:
            raise UnverifiedError(self.artifact.model, self.artifact.what, trust.reason or "")
        title = f"{self.artifact.model} {self.artifact.what}"
        with (
            PartialFile(self.path, build_partial_facts(self.artifact)) as partial,
            Meter(self.progress, title) as meter,
        ):
            hashes = self._transfer(partial, meter, route).receive(route.address, trust.expected)
            entry = build_ledger_entry(self.artifact, route.address, hashes, partial.settle(), trust)
            self._put(partial, entry)
        return entry

    def _put(self, partial: PartialFile, entry: ledger.LedgerEntry) -> None:
        """Move the file into place, in one step; a ledger that comes before its file is told by its digests."""
        if self.replaces_wrong:
            aside = quarantine_file(self.path, keep_ledger=True)
            self.progress.note(f"the wrong file is kept as {aside}")
        ledger.write_ledger(self.path, entry)
        partial.move_into_place()

    def _transfer(self, partial: PartialFile, meter: Meter, route: Route) -> Transfer:
        host = urlsplit(route.address).netloc
        patience = self.patience._replace(tries=1) if host in self.troubled else self.patience
        return Transfer(self.session, self.artifact, partial, meter, self.progress.note, patience)

    def _refuse_plain_http(self, address: str) -> None:
        recorded = recorded_digests(self.artifact)
        if not recorded and not (address.startswith("file://") or is_tamper_proof(resolve_address(address)[0])):
            raise FailedAttemptError(
                "was not contacted: plain http can be changed on the way, and no digest is recorded"
            )


def _outcome(failure: DownloadFailure) -> str:
    if isinstance(failure, DigestMismatchError):
        return f"sent other bytes: expected {failure.expected} (from {failure.source}), found {failure.found}"
    if isinstance(failure, MissingPackageError):
        return f"was not contacted: {failure}"
    return failure.outcome


def final_error(artifact: Artifact, path: Path, failures: Sequence[tuple[str, DownloadFailure]]) -> ZooError:
    """Choose what to raise after every address failed: the one kind of failure, or the list of all."""
    first = failures[0][1]
    if not isinstance(first, FailedAttemptError) and all(isinstance(each, type(first)) for _, each in failures):
        return first
    attempts = tuple(TransferAttempt(address, _outcome(failure)) for address, failure in failures)
    kept = next((state.size for state in find_partials(path) if state.size), 0)
    return TransferError(artifact.model, artifact.what, attempts, kept)
