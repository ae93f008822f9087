"""Files whose bytes are wrong are set aside, never deleted."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from bdd100k_zoo.artifacts.layout import damaged_path, ledger_path
from bdd100k_zoo.records.files import storage_errors

if TYPE_CHECKING:
    from pathlib import Path


def set_aside(path: Path, *, keep_ledger: bool) -> Path:
    """Rename a file of the cache, whose lock the caller holds, so that its name is free; give its new name.

    Args:
        path: the file.
        keep_ledger: its ledger tells what the right bytes are, and stays to hold the next file to them. Otherwise it
            goes with the file.

    Raises:
        StorageError: the folder cannot be written.
    """
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
    while (aside := damaged_path(path, stamp)).exists():
        stamp += "T"
    with storage_errors(path):
        path.rename(aside)
        if not keep_ledger and ledger_path(path).is_file():
            ledger_path(path).rename(ledger_path(aside))
    return aside
