"""The files that backbones start from, into the cache."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bdd100k_zoo.manifest import Artifact
from bdd100k_zoo.manifest.addresses import redacted
from bdd100k_zoo.mmdet_backend.training.start_names import address_of

if TYPE_CHECKING:
    from bdd100k_zoo.artifacts.store import Store
    from bdd100k_zoo.progress import Progress

TORCHVISION = "https://download.pytorch.org/models/"
SHORT_DIGEST = re.compile(r"-([0-9a-f]{8})\.pth")
"""torchvision's file names end in the first eight digits of the file's SHA-256."""


def fetch_start_values(name: str, store: Store, progress: Progress) -> Path:
    """Give the file that a config names as its backbone's start values, from the cache or else from its address.

    Args:
        name: as a config names them: ``torchvision://resnet50``, an address, or a path.
        store: the cache.
        progress: where to report.

    Raises:
        ConfigError: nothing is known of that name.
        ArtifactError, StorageError: the file cannot be had, or is not the one that its name tells the digest of.
    """
    address = address_of(name)
    if address is None:
        return Path(name.removeprefix("file://"))
    stem, told = redacted(address).rpartition("/")[2].removesuffix(".pth"), SHORT_DIGEST.search(address)
    digest = f"sha256:{told[1]}" if told and address.startswith(TORCHVISION) else None
    with store:
        return store.fetch(Artifact(stem, "start-values", (address,), digest, None), progress).path
