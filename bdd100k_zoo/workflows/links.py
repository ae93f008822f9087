"""Every address that the zoo and the user's mirrors name, and whether it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import asdict

from bdd100k_zoo.artifacts.links import Link, Verdict, check_links
from bdd100k_zoo.artifacts.verify import recorded_digest
from bdd100k_zoo.manifest import WHATS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bdd100k_zoo.artifacts.mirrors import Mirror
    from bdd100k_zoo.manifest import Family, Model, Zoo
    from bdd100k_zoo.progress import Progress


class CheckedLink(Verdict, frozen=True, kw_only=True):
    """How an address answered, and what it is for."""

    uses: tuple[str, ...]
    """``weights of MODEL``, ``page of AUTHOR`` and so on, in the order of the zoo."""
    file: bool
    """It is of a file that the zoo publishes, at its host or at a mirror; all others are pages for people."""


def check_zoo(zoo: Zoo, mirrors: Sequence[Mirror], progress: Progress) -> list[CheckedLink]:
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
            yield Link(mirror.address(weights), digest_known=bool(recorded_digest(weights))), f"weights of {model.name}"
    for family in zoo.families:
        yield from _pages(family)


def _published(model: Model) -> Iterator[tuple[Link, str]]:
    for what in WHATS:
        artifact = model.artifact(what)
        for address in artifact.addresses:
            yield Link(address, digest_known=bool(recorded_digest(artifact))), f"{what} of {model.name}"
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
