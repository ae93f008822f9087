"""Check whether the addresses of the zoo and of the user's mirrors answer."""

from __future__ import annotations

import os
from collections import deque
from http import HTTPStatus
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import asdict

from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.hub.http import (
    MAX_REDIRECTS,
    describe_status,
    is_web_page,
    join_redirect,
    open_session,
    resolve_redirect,
    send_request,
)
from bdd100k_zoo.hub.mirrors import local_path, resolve_address
from bdd100k_zoo.hub.retry import FailedAttemptError, Timeouts
from bdd100k_zoo.hub.verify import recorded_digests
from bdd100k_zoo.registry import ARTIFACT_KINDS
from bdd100k_zoo.registry.addresses import LOOPBACK_HOSTS, address_problem, is_tamper_proof, redact_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import requests

    from bdd100k_zoo.hub.mirrors import Mirror
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Family, Model, Zoo

THREADS = 16
PER_HOST = 4
MAX_HOST_FAILURES = 3
"""Addresses of a host that bring no answer at all before the others are given up with them."""
LINK_TIMEOUTS = Timeouts(connect=5, read=10)
MAX_FAILED_SECONDS = 120.0
"""Seconds spent on addresses of a host that brought no answer, after which its other addresses are given up."""
PERMANENT_REDIRECTS = (HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.PERMANENT_REDIRECT)
CONCLUSIVE_STATUSES = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
"""What a server says of HEAD that it would say of GET too; any other refusal may be of HEAD alone."""
FIRST_BYTE = {"Range": "bytes=0-0"}

Item = TypeVar("Item")
LinkState = Literal["alive", "moved", "dead"]


class Link(NamedTuple):
    """An address to ask for."""

    address: str
    page: bool = False
    """For people to read: plain http is all right for it, and so is a web page."""
    digest_known: bool = False
    """Bytes that come over plain http would be told from others."""


class LinkResult(Struct, frozen=True, kw_only=True):
    """How an address answered."""

    address: str
    host: str
    """With the port, where one is given; ``this machine`` for folders, ``hf://ORG/REPO`` for Hugging Face."""
    state: LinkState
    """``moved``: it redirects for good; redirects for the moment are followed and count as alive."""
    outcome: str
    """How it failed, in words that follow the address; empty unless dead."""
    moved_to: str | None
    milliseconds: int | None
    """Until the answer, redirects included; None where it was not asked."""


class _LinkRequest(NamedTuple):
    link: Link
    url: str
    """What to ask for over HTTP."""
    headers: dict[str, str]
    """For the host of ``url`` alone."""


class _Host:
    """The addresses of one host that are still to be asked for, and how it has behaved."""

    def __init__(self) -> None:
        self.queue: deque[_LinkRequest] = deque()
        self.answered = False
        self.failures: list[str] = []
        self.lost = 0.0
        """Seconds that the failures took."""

    def given_up(self) -> str:
        """Return how the host fails where it is no longer asked; nothing as long as it is."""
        never = len(self.failures) >= MAX_HOST_FAILURES and not self.answered
        return self.failures[0] if never or self.lost >= MAX_FAILED_SECONDS else ""


def check_links(links: Sequence[Link], progress: Progress, timeouts: Timeouts = LINK_TIMEOUTS) -> list[LinkResult]:
    """Ask for every address, and give a verdict on each, in order.

    A host that does not answer at all is asked a few times; its other addresses get the verdict of the first.

    Args:
        links: the addresses, each once.
        progress: told of each address that is done.
        timeouts: how long to wait for a host.
    """
    verdicts: dict[str, LinkResult] = {}
    hosts: dict[str, _Host] = {}
    with progress.task("Checking", len(links), "links") as task:
        for link in links:
            ready = _prepare_request(link)
            if isinstance(ready, LinkResult):
                verdicts[link.address] = ready
                task.advance(1)
            else:
                hosts.setdefault(urlsplit(ready.url).netloc, _Host()).queue.append(ready)
        for verdict in _asked_all(list(hosts.values()), timeouts):
            verdicts[verdict.address] = verdict
            task.advance(1)
    return [verdicts[link.address] for link in links]


def _asked_all(hosts: list[_Host], timeouts: Timeouts) -> Iterator[LinkResult]:
    """Let each host have up to PER_HOST threads, and every host one before any has a second.

    The threads are daemons: whoever interrupts does not have to wait for hosts that say nothing.
    """
    turns = deque(host for turn in range(PER_HOST) for host in hosts if turn < len(host.queue))
    done: SimpleQueue[LinkResult | BaseException] = SimpleQueue()
    total = sum(len(host.queue) for host in hosts)
    for _ in range(min(THREADS, len(turns))):
        Thread(target=_work, args=(turns, done, timeouts), daemon=True).start()
    try:
        for _ in range(total):
            verdict = done.get()
            if isinstance(verdict, BaseException):
                raise verdict
            yield verdict
    finally:
        for host in hosts:
            host.queue.clear()


def _work(turns: deque[_Host], done: SimpleQueue[LinkResult | BaseException], timeouts: Timeouts) -> None:
    try:
        while host := _next(turns):
            with open_session() as session:
                while question := _next(host.queue):
                    done.put(_verdict(session, host, question, timeouts))
    except BaseException as error:  # noqa: BLE001  (raised again where the verdicts are awaited)
        done.put(error)


def _next(queue: deque[Item]) -> Item | None:
    try:
        return queue.popleft()
    except IndexError:
        return None


def _prepare_request(link: Link) -> _LinkRequest | LinkResult:
    """Say what to ask for, or give the verdict on an address for which nobody need be, or may be, asked."""
    try:
        if path := local_path(link.address):
            return _link_result(link, "" if os.path.isfile(path) else "has no such file", 0)  # noqa: PTH113  (never raises)
        url, headers = resolve_address(link.address)
    except ZooError as error:
        return _link_result(link, f"was not contacted: {error}")
    if not (link.page or link.digest_known or is_tamper_proof(url)):
        return _link_result(link, "was not contacted: plain http can be changed on the way, and no digest is recorded")
    return _LinkRequest(link, url, headers)


def _link_result(link: Link, outcome: str, milliseconds: int | None = None, moved_to: str | None = None) -> LinkResult:
    return LinkResult(
        address=link.address,
        host=_host_of(link.address),
        state="dead" if outcome else "moved" if moved_to else "alive",
        outcome=outcome,
        moved_to=redact_address(moved_to) if moved_to else None,
        milliseconds=milliseconds,
    )


def _host_of(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme == "hf":
        return "/".join(address.split("/")[:4])
    return parts.netloc if parts.scheme in ("http", "https") else "this machine"


def _verdict(session: requests.Session, host: _Host, question: _LinkRequest, timeouts: Timeouts) -> LinkResult:
    if outcome := host.given_up():
        return _link_result(question.link, outcome)
    start = monotonic()
    asking = _LinkCheck(session, host, question, timeouts)
    try:
        outcome = asking.outcome()
    except FailedAttemptError as failure:
        outcome = failure.outcome
        host.failures.append(outcome)
        host.lost += monotonic() - start
    return _link_result(question.link, outcome, round(1000 * (monotonic() - start)), asking.moved_to)


class _LinkCheck:
    """One address that is asked for, and where that leads."""

    def __init__(self, session: requests.Session, host: _Host, question: _LinkRequest, timeouts: Timeouts) -> None:
        self._session, self._host, self._question, self._timeouts = session, host, question, timeouts
        self.moved_to: str | None = None

    def outcome(self) -> str:
        """Ask for the head, and where that is refused for the first byte; say what is wrong with the answer."""
        status, kind = self._final("HEAD", {})
        if status >= HTTPStatus.BAD_REQUEST and status not in CONCLUSIVE_STATUSES:
            status, kind = self._final("GET", FIRST_BYTE)
        if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            return f"answered {describe_status(status)}"
        return "sent a web page, not a file" if is_web_page(kind) and not self._question.link.page else ""

    def _final(self, method: str, headers: dict[str, str]) -> tuple[int, str]:
        """Give the status and the type of content at the end of all redirects."""
        url, for_good, deadline = self._question.url, True, monotonic() + self._timeouts.total
        private, self.moved_to = self._question.headers, None
        for _ in range(MAX_REDIRECTS + 1):
            status, kind, redirect = self._ask(method, url, headers | private, deadline)
            if redirect is None:
                return status, kind
            target = _followed(self._question, url, redirect)
            for_good = for_good and status in PERMANENT_REDIRECTS
            self.moved_to = target if for_good else self.moved_to
            private = private if urlsplit(target)[:2] == urlsplit(url)[:2] else {}
            url = target
        raise FailedAttemptError(f"redirected more than {MAX_REDIRECTS} times")

    def _ask(self, method: str, url: str, headers: dict[str, str], deadline: float) -> tuple[int, str, str | None]:
        response, redirect = send_request(self._session, method, url, self._timeouts, headers, deadline)
        with response:
            self._host.answered = True
            return response.status_code, response.headers.get("Content-Type", ""), redirect


def _followed(question: _LinkRequest, asked: str, redirect: str) -> str:
    """Follow redirects as downloads do; those of pages may lead to plain http too, but never to this machine."""
    try:
        return resolve_redirect(question.url, asked, redirect)
    except FailedAttemptError:
        target = join_redirect(asked, redirect)
        if question.link.page and not address_problem(target) and urlsplit(target).hostname not in LOOPBACK_HOSTS:
            return target
        raise


class CheckedLink(LinkResult, frozen=True, kw_only=True):
    """How an address answered, and what it is for."""

    uses: tuple[str, ...]
    """``weights of MODEL``, ``page of AUTHOR`` and so on, in the order of the zoo."""
    file: bool
    """It is of a file that the zoo publishes, at its host or at a mirror; all others are pages for people."""


def check_zoo_links(zoo: Zoo, mirrors: Sequence[Mirror], progress: Progress) -> list[CheckedLink]:
    """Check every address once, in the order of the zoo: files, copies at mirrors, then papers, code and people."""
    links = list(_merged(_all_links(zoo, mirrors)))
    verdicts = check_links([link for link, _ in links], progress)
    return [
        CheckedLink(**asdict(verdict), uses=uses, file=not link.page)
        for (link, uses), verdict in zip(links, verdicts, strict=True)
    ]


def _all_links(zoo: Zoo, mirrors: Sequence[Mirror]) -> Iterator[tuple[Link, str]]:
    for model in zoo.models:
        yield from _published(model)
    for mirror in mirrors:
        for model in zoo.models:
            weights = model.artifact("weights")
            yield (
                Link(mirror.address(weights), digest_known=bool(recorded_digests(weights))),
                f"weights of {model.name}",
            )
    for family in zoo.families:
        yield from _pages(family)


def _published(model: Model) -> Iterator[tuple[Link, str]]:
    for what in ARTIFACT_KINDS:
        artifact = model.artifact(what)
        for address in artifact.addresses:
            yield Link(address, digest_known=bool(recorded_digests(artifact))), f"{what} of {model.name}"
        for address in artifact.digest_addresses:
            yield Link(address), f"MD5 of {model.name}"


def _pages(family: Family) -> Iterator[tuple[Link, str]]:
    yield Link(family.paper.address, page=True), f"paper of {family.title}"
    if family.code:
        yield Link(family.code, page=True), f"code of {family.title}"
    for author in family.authors:
        if author.page:
            yield Link(author.page, page=True), f"page of {author.name}"


def _merged(links: Iterator[tuple[Link, str]]) -> Iterator[tuple[Link, tuple[str, ...]]]:
    """Put together what names one address; where that is of a file too, it is held to the rules for files."""
    named: dict[str, list[tuple[Link, str]]] = {}
    for link, use in links:
        named.setdefault(link.address, []).append((link, use))
    for address, entries in named.items():
        page = all(link.page for link, _ in entries)
        digest_known = all(link.digest_known for link, _ in entries)
        yield Link(address, page, digest_known), tuple(dict.fromkeys(use for _, use in entries))
