"""Every address that an artifact may come from, in the order in which they are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.artifacts.mirrors import Mirror
    from bdd100k_zoo.manifest import Artifact


class Route(NamedTuple):
    """One address of an artifact."""

    address: str
    mirror_digest: str | None = None
    """Where a mirror has its digest of the file."""


def routes_of(artifact: Artifact, mirrors: Sequence[Mirror]) -> tuple[Route, ...]:
    """Return the published address, the alternates, then every mirror; none for a file that was never published."""
    if not artifact.addresses:
        return ()
    return (
        *(Route(address) for address in artifact.addresses),
        *(Route(mirror.address(artifact), mirror.digest_address(artifact)) for mirror in mirrors),
    )
