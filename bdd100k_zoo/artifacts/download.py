"""One artifact from the first of its addresses that sends the right file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bdd100k_zoo.artifacts import ledger
from bdd100k_zoo.artifacts.cached import describe
from bdd100k_zoo.artifacts.mirrors import opened
from bdd100k_zoo.artifacts.network import FailedAttemptError
from bdd100k_zoo.artifacts.partial import PartialFile, facts_for, partials_of
from bdd100k_zoo.artifacts.quarantine import set_aside
from bdd100k_zoo.artifacts.transfer import Meter, Transfer
from bdd100k_zoo.artifacts.verify import recorded_digest
from bdd100k_zoo.errors import (
    Attempt,
    DigestMismatchError,
    MissingPackageError,
    TransferError,
    UnverifiedError,
    ZooError,
)
from bdd100k_zoo.manifest.addresses import is_private, redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import requests

    from bdd100k_zoo.artifacts.patience import Patience
    from bdd100k_zoo.artifacts.routes import Route
    from bdd100k_zoo.artifacts.verify import Trust
    from bdd100k_zoo.manifest import Artifact
    from bdd100k_zoo.progress import Progress

Failure = FailedAttemptError | DigestMismatchError | MissingPackageError


@dataclass(frozen=True)
class Download:
    """What it takes to get one artifact into its place; the caller holds its lock."""

    session: requests.Session
    artifact: Artifact
    path: Path
    """Where the file is to stand."""
    routes: Sequence[Route]
    trust: Callable[[Route], Trust]
    """Says what the bytes from an address must have."""
    replaces_wrong: bool
    """A file stands there whose bytes are wrong: it is set aside when the right one is here."""
    progress: Progress
    patience: Patience
    troubled: set[str]
    """Hosts that failed shortly before: they are tried once more, not again and again."""

    def any(self, *, require_digest: bool) -> ledger.Entry:
        """Take the file from the first address that sends the right one.

        Which digest verifies it does not depend on the address, so a required one that is missing ends the search.

        Raises:
            TransferError, DigestMismatchError, UnverifiedError, StorageError: see ``Store.fetch``.
        """
        failures: list[tuple[str, Failure]] = []  # addresses without their secrets
        for route in self.routes:
            if failures:
                self.progress.note(f"{failures[-1][0]} {_outcome(failures[-1][1])}; trying {redacted(route.address)}")
            try:
                return self.one(route, require_digest=require_digest)
            except (FailedAttemptError, DigestMismatchError, MissingPackageError) as failure:
                if isinstance(failure, FailedAttemptError) and failure.passing:
                    self.troubled.add(urlsplit(route.address).netloc)
                failures.append((redacted(route.address), failure))
        raise final_error(self.artifact, self.path, failures)

    def one(self, route: Route, *, require_digest: bool) -> ledger.Entry:
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
            PartialFile(self.path, facts_for(self.artifact)) as partial,
            Meter(self.progress, title) as meter,
        ):
            hashes = self._transfer(partial, meter, route).receive(route.address, trust.expected)
            entry = describe(self.artifact, route.address, hashes, partial.settle(), trust)
            self._put(partial, entry)
        return entry

    def _put(self, partial: PartialFile, entry: ledger.Entry) -> None:
        """Move the file into place, in one step; a ledger that comes before its file is told by its digests."""
        if self.replaces_wrong:
            aside = set_aside(self.path, keep_ledger=True)
            self.progress.note(f"the wrong file is kept as {aside}")
        ledger.write(self.path, entry)
        partial.move_into_place()

    def _transfer(self, partial: PartialFile, meter: Meter, route: Route) -> Transfer:
        host = urlsplit(route.address).netloc
        patience = self.patience._replace(tries=1) if host in self.troubled else self.patience
        return Transfer(self.session, self.artifact, partial, meter, self.progress.note, patience)

    def _refuse_plain_http(self, address: str) -> None:
        recorded = recorded_digest(self.artifact)
        if not recorded and not (address.startswith("file://") or is_private(opened(address)[0])):
            raise FailedAttemptError(
                "was not contacted: plain http can be changed on the way, and no digest is recorded"
            )


def _outcome(failure: Failure) -> str:
    if isinstance(failure, DigestMismatchError):
        return f"sent other bytes: expected {failure.expected} (from {failure.source}), found {failure.found}"
    if isinstance(failure, MissingPackageError):
        return f"was not contacted: {failure}"
    return failure.outcome


def final_error(artifact: Artifact, path: Path, failures: Sequence[tuple[str, Failure]]) -> ZooError:
    """Choose what to raise after every address failed: the one kind of failure, or the list of all."""
    first = failures[0][1]
    if not isinstance(first, FailedAttemptError) and all(isinstance(each, type(first)) for _, each in failures):
        return first
    attempts = tuple(Attempt(address, _outcome(failure)) for address, failure in failures)
    kept = next((state.size for state in partials_of(path) if state.size), 0)
    return TransferError(artifact.model, artifact.what, attempts, kept)
