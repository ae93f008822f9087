"""Where else files may be had, and how an address is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from bdd100k_zoo.artifacts.layout import mirror_digest_path, mirror_path

if TYPE_CHECKING:
    from bdd100k_zoo.manifest import Artifact


class Mirror(NamedTuple):
    """A copy of the published host, with its layout."""

    base: str

    def address(self, artifact: Artifact) -> str:
        """Say where the mirror keeps an artifact."""
        return f"{self.base}/{quote(mirror_path(artifact))}"

    def digest_address(self, artifact: Artifact) -> str:
        """Say where the mirror keeps an artifact's digest."""
        return f"{self.base}/{quote(mirror_digest_path(artifact))}"


def configured() -> tuple[Mirror, ...]:
    """Give the mirrors of the user's settings."""
    return ()


def opened(address: str) -> tuple[str, dict[str, str]]:
    """Say what to ask for over HTTP, and with which headers of its own."""
    return address, {}


def local_path(address: str) -> Path | None:
    """Give the file of this machine that an address names."""
    return Path(unquote(urlsplit(address).path)) if address.startswith("file://") else None
