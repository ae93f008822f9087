"""Visuals out of their zips, a folder a model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bdd100k_zoo.artifacts.unpack import unpack
from bdd100k_zoo.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bdd100k_zoo.artifacts.store import StoredFile
    from bdd100k_zoo.manifest import Artifact
    from bdd100k_zoo.progress import Progress


def check_room(artifacts: Sequence[Artifact], folder: Path) -> None:
    """See, before anything is downloaded, that ``folder/MODEL`` is free for the visuals of every model.

    Raises:
        StorageError: one of them is there already.
    """
    for artifact in artifacts:
        if artifact.what == "visuals" and os.path.lexists(folder / artifact.model):
            raise StorageError(folder / artifact.model, "is there already, and is left alone")


def unpack_visuals(
    artifacts: Sequence[Artifact], files: Sequence[StoredFile], folder: Path, progress: Progress
) -> None:
    """Unpack the visuals among cached files into ``folder/MODEL``; ``files`` are those of ``artifacts``, in order.

    Raises:
        UnsafeArchiveError: a zip is damaged or could harm; nothing of it is unpacked.
        StorageError: the folder is there already, or the disk is full.
    """
    for artifact, stored in dict(zip(artifacts, files, strict=True)).items():
        if artifact.what == "visuals":
            target = folder / artifact.model
            done = unpack(stored.path, target, progress=progress)
            progress.note(f"unpacked {done.count:,} files ({done.size:,} bytes) into {target}")
