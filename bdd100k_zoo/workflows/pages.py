"""Where pages are written: a page of ours is replaced, anything else is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.errors import OtherFilesError
from bdd100k_zoo.records.files import storage_errors

if TYPE_CHECKING:
    from pathlib import Path

MARK = b'<meta name="generator" content="bdd100k-zoo '
"""Stands near the beginning of every page of ours."""


def check_free(path: Path) -> None:
    """See that nothing but a page of ours stands under a name; raises OtherFilesError, StorageError."""
    with storage_errors(path):
        if not path.exists():
            return
        with path.open("rb") as file:
            start = file.read(4096)
    if MARK not in start:
        raise OtherFilesError(path.parent, (path,))
