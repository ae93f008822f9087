"""scores.json: the scores of a run, kept beside it so that nothing is scored twice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.records.files import pieces_of, storage_errors, write_whole
from bdd100k_zoo.records.findings import LetThrough
from bdd100k_zoo.records.sources import json_files

if TYPE_CHECKING:
    from pathlib import Path

SCORES = "scores.json"


class FileFacts(msgspec.Struct, frozen=True):
    """Which file it was."""

    path: str
    size: int
    """Bytes."""
    mtime_ns: int
    sha256: str

    def describes(self, path: Path) -> bool:
        """Tell whether a file is still that one; it is hashed only if its size is the same and its time is not."""
        try:
            status = path.stat()
        except OSError:
            return False
        if status.st_size != self.size:
            return False
        return status.st_mtime_ns == self.mtime_ns or sha256_of(path) == self.sha256


RULES = 2
"""Raised whenever a file may score otherwise than before, or not at all: scores kept by older rules are not used."""


class KeptInterval(msgspec.Struct, frozen=True):
    """A 95 % interval of an AP, in percent, and what it is computed from."""

    frames: int
    """Of a class: those that hold an object of it."""
    objects: int
    low: float | None
    """None, as ``high``, where there is not enough for an interval."""
    high: float | None


class KeptBootstrap(msgspec.Struct, frozen=True):
    """Intervals by bootstrap over frames."""

    resamples: int
    seed: int
    intervals: Mapping[str, KeptInterval]
    """Of the AP of each class and OVERALL."""


class KeptScores(msgspec.Struct, frozen=True, kw_only=True):
    """The scores of one predictions file against one labels file."""

    predictions: FileFacts
    labels: FileFacts
    engine: str
    lenient: bool
    scores: Mapping[str, Mapping[str, float | None]]
    """By metric and class, in percent; None for a class without labels. ``OVERALL`` is the mean."""
    rules: int = 1
    """Of reading and scoring, see ``RULES``."""
    bootstrap: KeptBootstrap | None = None
    let_through: tuple[LetThrough, ...] = ()


def facts_of(path: Path) -> FileFacts:
    """Describe a file, or the JSON files of a folder as one; raises StorageError, WrongFileError."""
    files = json_files(path)
    with storage_errors(path):
        status = [file.stat() for file in files]
    size, changed = sum(each.st_size for each in status), max(each.st_mtime_ns for each in status)
    return FileFacts(str(path), size, changed, sha256_of(*files))


def sha256_of(*paths: Path) -> str:
    """Give the SHA-256 of files, one after the other, in lower-case hexadecimal; raises StorageError."""
    digest = hashlib.sha256()
    for path in paths:
        for piece in pieces_of(path):
            digest.update(piece)
    return digest.hexdigest()


def write_kept(folder: Path, kept: KeptScores) -> None:
    """Keep scores in the folder of a run; raises StorageError."""
    write_whole(folder / SCORES, msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")


def read_kept(folder: Path) -> KeptScores | None:
    """Give the scores that are kept in a run's folder; None where there are none, or none that can be read."""
    try:
        with storage_errors(folder / SCORES):
            kept = msgspec.json.decode((folder / SCORES).read_bytes(), type=KeptScores)
    except (StorageError, msgspec.DecodeError, RecursionError):
        return None
    return kept if kept.rules == RULES else None
