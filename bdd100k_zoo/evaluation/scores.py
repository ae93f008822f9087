"""Scores: 12 metrics by 10 classes and OVERALL; ``scores.json``, which stores them beside a run.

``table`` and ``list`` load this module, so it does not import numpy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isnan
from typing import TYPE_CHECKING

import msgspec

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.formats import json_files
from bdd100k_zoo.data.validation import IssueSummary
from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.files import read_bytes, sha256_of, storage_errors, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""In the official order. The digits of AP are IoU thresholds, those of AR detections per image; s, m, l are areas."""
OVERALL = "OVERALL"
SCORES_FILE = "scores.json"
SCORING_VERSION = 2
"""Increased when a change of the code can change the scores of a file; stored scores of other versions are not used."""


class MetricScores(msgspec.Struct, frozen=True):
    """One metric, in percent; NaN where there is nothing to score."""

    by_class: tuple[float, ...]
    """In the order of ``CLASSES``."""
    overall: float

    def __getitem__(self, name: str) -> float:
        """Return the number of a class, or of ``OVERALL``; raises KeyError."""
        if name == OVERALL:
            return self.overall
        if name not in CLASSES:
            raise KeyError(f"{name!r} is none of {', '.join((*CLASSES, OVERALL))}")
        return self.by_class[CLASSES.index(name)]


class Scores(msgspec.Struct, frozen=True):
    """All 132 numbers, in percent: ``scores.ap``, ``scores["AP50"]["car"]``; printed as the official table.

    Two ``Scores`` are equal to the last bit if and only if their ``official_json()`` is equal.
    """

    by_metric: Mapping[str, MetricScores]
    """In the order of ``METRICS``."""

    def __getitem__(self, metric: str) -> MetricScores:
        """Return one of ``METRICS``; raises KeyError."""
        return self.by_metric[metric]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(AP {self.ap:.2f})"

    def __str__(self) -> str:
        """Return the official table as text: a line per class and for OVERALL, in percent with two decimals."""
        rows = [("", *METRICS), *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (
            [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
            for first, *rest in rows
        )
        return "\n".join(" ".join(line) for line in lines)

    def _repr_html_(self) -> str:
        """Return the official table for notebooks."""
        head = "".join(f"<th>{metric}</th>" for metric in ("", *METRICS))
        rows = ("".join(f"<td>{cell}</td>" for cell in row) for row in self._rows())
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody></table>"
        )

    def _rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the official table; a dash where there is nothing to score."""
        return [
            (name, *("–" if isnan(self[metric][name]) else f"{self[metric][name]:.2f}" for metric in METRICS))
            for name in (*CLASSES, OVERALL)
        ]

    @property
    def ap(self) -> float:
        """The overall AP, in percent."""
        return self["AP"].overall

    def official_json(self) -> bytes:
        """Return the file that the official command writes, byte for byte: indented by 2, NaN as literal ``NaN``."""
        document = {
            metric: [dict(zip(CLASSES, scores.by_class, strict=True)), {OVERALL: scores.overall}]
            for metric, scores in self.by_metric.items()
        }
        return json.dumps(document, indent=2).encode()

    def to_dict(self) -> dict[str, dict[str, float | None]]:
        """Return the numbers by metric, then by class and OVERALL, with None in place of NaN: valid in any JSON."""
        return {
            metric: {
                name: None if isnan(value) else value
                for name, value in zip((*CLASSES, OVERALL), (*scores.by_class, scores.overall), strict=True)
            }
            for metric, scores in self.by_metric.items()
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Mapping[str, float | None]]) -> Scores:
        """Reverse ``to_dict``; raises KeyError where a metric or class is missing."""
        by_metric = {}
        for metric in METRICS:
            numbers = {name: float("nan" if value is None else value) for name, value in plain[metric].items()}
            by_metric[metric] = MetricScores(tuple(numbers[name] for name in CLASSES), numbers[OVERALL])
        return cls(by_metric)


def parse_official_scores(document: Mapping[str, list[dict[str, float]]]) -> Scores:
    """Build scores from the document that the official evaluator returns; raises KeyError, TypeError or ValueError."""
    return Scores.from_dict({metric: {**classes, **overall} for metric, (classes, overall) in document.items()})


class FileFingerprint(msgspec.Struct, frozen=True):
    """Identifies the file that scores were computed from."""

    path: str
    size: int
    """Bytes."""
    mtime_ns: int
    sha256: str

    def describes(self, path: Path) -> bool:
        """Return whether a file is unchanged; it is hashed only if its size is the same and its time differs."""
        try:
            status = path.stat()
        except OSError:
            return False
        if status.st_size != self.size:
            return False
        return status.st_mtime_ns == self.mtime_ns or sha256_of(path) == self.sha256


class APInterval(msgspec.Struct, frozen=True):
    """A 95 % interval of an AP, in percent, with the numbers of frames and objects that it is computed from."""

    frames: int
    """Of a class: the frames with an object of it."""
    objects: int
    low: float | None
    """None, like ``high``, if there are too few frames or objects for an interval."""
    high: float | None


class StoredBootstrap(msgspec.Struct, frozen=True):
    """Intervals from a bootstrap over frames."""

    resamples: int
    seed: int
    intervals: Mapping[str, APInterval]
    """Of the AP of each class and OVERALL."""


class StoredScores(msgspec.Struct, frozen=True, kw_only=True):
    """The scores of one predictions file against one labels file."""

    predictions: FileFingerprint
    labels: FileFingerprint
    engine: str
    """``fast`` for the scorer of this package, ``official`` for the official packages."""
    lenient: bool
    scores: Mapping[str, Mapping[str, float | None]]
    """By metric, then by class and OVERALL, the mean; in percent, None for a class without labels."""
    rules: int = 1
    """The ``SCORING_VERSION`` that they were computed with."""
    bootstrap: StoredBootstrap | None = None
    let_through: tuple[IssueSummary, ...] = ()


def fingerprint_file(path: Path) -> FileFingerprint:
    """Return the fingerprint of a file, or of the JSON files of a folder together; raises StorageError, InputsError."""
    files = json_files(path)
    with storage_errors(path):
        status = [file.stat() for file in files]
    size, changed = sum(each.st_size for each in status), max(each.st_mtime_ns for each in status)
    return FileFingerprint(str(path), size, changed, sha256_of(*files))


def write_stored_scores(folder: Path, scores: StoredScores) -> None:
    """Write scores into the folder of a run; raises StorageError."""
    write_atomically(folder / SCORES_FILE, msgspec.json.format(msgspec.json.encode(scores), indent=2) + b"\n")


def read_stored_scores(folder: Path) -> StoredScores | None:
    """Read the scores in a run's folder; return None if there are none, or none of this ``SCORING_VERSION``."""
    try:
        stored = msgspec.json.decode(read_bytes(folder / SCORES_FILE), type=StoredScores)
    except (StorageError, msgspec.DecodeError, RecursionError):
        return None
    return stored if stored.rules == SCORING_VERSION else None
