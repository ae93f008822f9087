"""Every address that an artifact may come from, in the order in which they are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.artifacts.verify import Expected, Unknown, read_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import requests

    from bdd100k_zoo.artifacts.mirrors import Mirror
    from bdd100k_zoo.manifest import Artifact


class Route(NamedTuple):
    """One address of an artifact, and where a digest stands beside it."""

    address: str
    digest_address: str | None


def routes_of(artifact: Artifact, mirrors: Sequence[Mirror]) -> tuple[Route, ...]:
    """Give the published address, the alternates, then every mirror; none of a file that was never published."""
    if not artifact.addresses:
        return ()
    return (
        Route(artifact.addresses[0], artifact.digest_address),
        *(Route(address, _neighbour(artifact, address)) for address in artifact.addresses[1:]),
        *(Route(mirror.address(artifact), mirror.digest_address(artifact)) for mirror in mirrors),
    )


def _neighbour(artifact: Artifact, address: str) -> str | None:
    """Alternates of weights are published as the first address is: with the digest under ``.md5`` for ``.pth``."""
    if artifact.digest_address and address.endswith(".pth"):
        return address.removesuffix(".pth") + ".md5"
    return None


class DigestReader:
    """Reads the digests beside addresses, each once."""

    def __init__(self, session: requests.Session, routes: Sequence[Route]) -> None:
        self._session, self._routes = session, routes
        self._read: dict[str, Expected | Unknown] = {}

    def for_route(self, route: Route) -> Expected | Unknown:
        """Give the digest that counts for what an address sends.

        The publisher's word counts for every copy of the file. Where that cannot be had, a copy may come with a digest
        of its own, which vouches that it arrived as it stands there.
        """
        found = list(self._until(route))
        known = next((each for each in found if isinstance(each, Expected)), None)
        return known or (found[0] if found else Unknown("the zoo file records no digest and no address of one"))

    def _until(self, route: Route) -> Iterator[Expected | Unknown]:
        for each in self._routes[: self._routes.index(route) + 1]:
            if each.digest_address is None:
                continue
            if each.digest_address not in self._read:
                self._read[each.digest_address] = read_digest(self._session, each.digest_address)
            yield self._read[each.digest_address]
            if isinstance(self._read[each.digest_address], Expected):
                return
