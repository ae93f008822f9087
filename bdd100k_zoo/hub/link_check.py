"""Check whether the addresses of the zoo and of the user's mirrors answer."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from http import HTTPStatus
from itertools import takewhile
from time import monotonic
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct

from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.hub.download import PLAIN_HTTP_REFUSED, run_in_threads
from bdd100k_zoo.hub.http import Hop, describe_status, follow_redirects, is_web_page, open_session
from bdd100k_zoo.hub.mirrors import local_path, resolve_address
from bdd100k_zoo.hub.retry import FailedAttemptError, Timeouts
from bdd100k_zoo.hub.verify import recorded_digests
from bdd100k_zoo.registry import ARTIFACT_KINDS
from bdd100k_zoo.registry.addresses import is_tamper_proof, redact_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import requests

    from bdd100k_zoo.hub.mirrors import Mirror
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Zoo

THREADS = 16
PER_HOST = 4
"""Requests to one host at once: checking the whole zoo should not burden a server."""
MAX_HOST_FAILURES = 3
"""Addresses of a host without any answer, after which its other addresses are not requested."""
LINK_TIMEOUTS = Timeouts(connect=5, read=10)
MAX_FAILED_SECONDS = 120.0
"""Seconds spent on addresses of a host without an answer, after which its other addresses are not requested."""
PERMANENT_REDIRECTS = (HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.PERMANENT_REDIRECT)
CONCLUSIVE_STATUSES = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
"""Answers to HEAD that a server would give to GET too; any other refusal may be of HEAD alone."""


class Link(NamedTuple):
    """An address to check."""

    address: str
    page: bool = False
    """For people to read: plain http is accepted, and so is a web page."""
    digest_known: bool = False
    """A digest would detect bytes that were changed on the way over plain http."""
    uses: tuple[str, ...] = ()
    """``weights of MODEL``, ``page of AUTHOR`` and so on, in the order of the zoo."""


class CheckedLink(Struct, frozen=True, kw_only=True):
    """How an address answered, and what it is for."""

    address: str
    host: str
    """With the port, if one is given; ``this machine`` for folders, ``hf://ORG/REPO`` for Hugging Face."""
    state: Literal["alive", "moved", "dead"]
    """``moved``: it redirects permanently; temporary redirects are followed and count as alive."""
    outcome: str
    """How it failed, in words that follow the address; empty unless dead."""
    moved_to: str | None
    milliseconds: int | None
    """Until the answer, redirects included; None if it was not requested."""
    uses: tuple[str, ...]
    file: bool
    """It is that of a published file, at its host or at a mirror; all others are pages for people."""


class _Host:
    """The links of one host that are still to be checked, each with what to request, and how the host has behaved."""

    def __init__(self) -> None:
        self.queue: deque[tuple[Link, str, dict[str, str]]] = deque()
        self.answered = False
        self.failures: list[str] = []
        self.failed_seconds = 0.0

    def give_up_reason(self) -> str:
        """Return how the host fails once it is given up; empty before."""
        never = len(self.failures) >= MAX_HOST_FAILURES and not self.answered
        return self.failures[0] if never or self.failed_seconds >= MAX_FAILED_SECONDS else ""


def check_links(links: Sequence[Link], progress: Progress, timeouts: Timeouts = LINK_TIMEOUTS) -> list[CheckedLink]:
    """Request every address, and return the results in order.

    A host that does not answer at all is tried a few times; its other addresses get the result of the first. Up to
    PER_HOST threads check the links of a host, and every host has one before any has a second.

    Args:
        links: the addresses, each once.
        progress: advanced with each address.
        timeouts: how long to wait for a host.
    """
    results: dict[str, CheckedLink] = {}
    hosts: dict[str, _Host] = {}

    def check_host(host: _Host) -> Iterator[CheckedLink]:
        with open_session() as session, suppress(IndexError):  # no link of this host is left
            while True:
                yield _check_link(session, host, *host.queue.popleft(), timeouts)

    with progress.task("Checking", len(links), "links") as task:
        for link in links:
            request = _prepare_request(link)
            if isinstance(request, CheckedLink):
                results[link.address] = request
                task.advance(1)
            else:
                hosts.setdefault(urlsplit(request[0]).netloc, _Host()).queue.append((link, *request))
        turns = deque(host for turn in range(PER_HOST) for host in hosts.values() if turn < len(host.queue))
        try:
            for result in run_in_threads(check_host, turns, min(THREADS, len(turns))):
                results[result.address] = result
                task.advance(1)
        finally:
            for host in hosts.values():
                host.queue.clear()
    return [results[link.address] for link in links]


def _prepare_request(link: Link) -> tuple[str, dict[str, str]] | CheckedLink:
    """Return the URL and private headers to request, or the result if nothing needs to, or may, be requested."""
    try:
        if path := local_path(link.address):
            return _result(link, "" if os.path.isfile(path) else "has no such file", 0)  # noqa: PTH113  (never raises)
        url, private_headers = resolve_address(link.address)
    except ZooError as error:
        return _result(link, f"was not contacted: {error}")
    if not (link.page or link.digest_known or is_tamper_proof(url)):
        return _result(link, PLAIN_HTTP_REFUSED)
    return url, private_headers


def _result(link: Link, outcome: str, milliseconds: int | None = None, moved_to: str | None = None) -> CheckedLink:
    parts = urlsplit(link.address)
    host = "this machine" if parts.scheme == "file" else parts.netloc
    return CheckedLink(
        address=link.address,
        host="/".join(link.address.split("/")[:4]) if parts.scheme == "hf" else host,
        state="dead" if outcome else "moved" if moved_to else "alive",
        outcome=outcome,
        moved_to=redact_address(moved_to) if moved_to else None,
        milliseconds=milliseconds,
        uses=link.uses,
        file=not link.page,
    )


def _check_link(
    session: requests.Session, host: _Host, link: Link, url: str, private_headers: dict[str, str], timeouts: Timeouts
) -> CheckedLink:
    if outcome := host.give_up_reason():
        return _result(link, outcome)
    start, hops = monotonic(), list[Hop]()

    def request(method: str, headers: dict[str, str]) -> tuple[int, str]:
        """Return the status and the content type at the end of all redirects."""
        hops.clear()
        answer = follow_redirects(session, method, url, timeouts, headers, private_headers, hops, allow_http=link.page)
        with answer:
            return answer.status_code, answer.headers.get("Content-Type", "")

    try:
        status, content_type = request("HEAD", {})
        if status >= HTTPStatus.BAD_REQUEST and status not in CONCLUSIVE_STATUSES:
            status, content_type = request("GET", {"Range": "bytes=0-0"})
        if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            outcome = f"answered {describe_status(status)}"
        elif is_web_page(content_type) and not link.page:
            outcome = "sent a web page, not a file"
    except FailedAttemptError as failure:
        outcome = failure.outcome
        host.failures.append(outcome)
        host.failed_seconds += monotonic() - start
    host.answered = host.answered or bool(hops)
    moved = [hop.target for hop in takewhile(lambda hop: hop.status in PERMANENT_REDIRECTS, hops)]
    return _result(link, outcome, round(1000 * (monotonic() - start)), moved[-1] if moved else None)


def check_zoo_links(zoo: Zoo, mirrors: Sequence[Mirror], progress: Progress) -> list[CheckedLink]:
    """Check every address once, in the order of the zoo: files, copies at mirrors, then papers, code and people.

    An address that several things share is checked by the strictest of their rules.
    """
    by_address: dict[str, list[Link]] = {}
    for link in _list_links(zoo, mirrors):
        by_address.setdefault(link.address, []).append(link)
    links = [
        Link(
            address,
            page=all(link.page for link in same),
            digest_known=all(link.digest_known for link in same),
            uses=tuple(dict.fromkeys(use for link in same for use in link.uses)),
        )
        for address, same in by_address.items()
    ]
    return check_links(links, progress)


def _list_links(zoo: Zoo, mirrors: Sequence[Mirror]) -> Iterator[Link]:
    for model in zoo.models:
        for what in ARTIFACT_KINDS:
            artifact, uses = model.artifact(what), (f"{what} of {model.name}",)
            for address in artifact.addresses:
                yield Link(address, digest_known=bool(recorded_digests(artifact)), uses=uses)
            for address in artifact.digest_addresses:
                yield Link(address, uses=(f"MD5 of {model.name}",))
    for mirror in mirrors:
        for model in zoo.models:
            weights, uses = model.artifact("weights"), (f"weights of {model.name}",)
            yield Link(mirror.address(weights), digest_known=bool(recorded_digests(weights)), uses=uses)
    for family in zoo.families:
        if family.paper:
            yield Link(family.paper.address, page=True, uses=(f"paper of {family.title}",))
        if family.code:
            yield Link(family.code, page=True, uses=(f"code of {family.title}",))
        for author in family.authors:
            if author.page:
                yield Link(author.page, page=True, uses=(f"page of {author.name}",))
