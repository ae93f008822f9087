"""Scores: 12 metrics by 10 classes and OVERALL, as the official evaluation gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isnan
from typing import TYPE_CHECKING

import msgspec

from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.records.files import storage_errors

if TYPE_CHECKING:
    from pathlib import Path

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""In the official order. The digits of AP are IoU thresholds, those of AR detections per image; s, m, l are areas."""
OVERALL = "OVERALL"


class MetricScores(msgspec.Struct, frozen=True):
    """One metric, in percent; NaN where there is nothing to score."""

    by_class: tuple[float, ...]
    """In the order of ``categories.CLASSES``."""
    overall: float


class Scores(msgspec.Struct, frozen=True):
    """All 132 numbers. Two of them are equal to the last bit exactly where their ``official_json()`` is equal."""

    by_metric: Mapping[str, MetricScores]
    """In the order of ``METRICS``."""

    def __getitem__(self, metric: str) -> MetricScores:
        return self.by_metric[metric]

    @property
    def ap(self) -> float:
        """The overall AP, in percent."""
        return self["AP"].overall

    def official_json(self) -> bytes:
        """The file that the official command writes, byte for byte: indented by 2, NaN as the literal ``NaN``."""
        document = {
            metric: [dict(zip(CLASSES, scores.by_class, strict=True)), {OVERALL: scores.overall}]
            for metric, scores in self.by_metric.items()
        }
        return json.dumps(document, indent=2).encode()

    def plain(self) -> dict[str, dict[str, float | None]]:
        """By metric, then by class and OVERALL, with None in place of NaN: fit for any JSON."""
        return {
            metric: {
                name: None if isnan(value) else value
                for name, value in zip((*CLASSES, OVERALL), (*scores.by_class, scores.overall), strict=True)
            }
            for metric, scores in self.by_metric.items()
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Mapping[str, float | None]]) -> Scores:
        """Undo ``plain``; raises KeyError where a metric or class is missing."""
        nan = float("nan")
        numbers = {
            metric: {name: nan if value is None else float(value) for name, value in plain[metric].items()}
            for metric in METRICS
        }
        return cls(
            {
                metric: MetricScores(tuple(by_name[name] for name in CLASSES), by_name[OVERALL])
                for metric, by_name in numbers.items()
            }
        )


def read_official_scores(path: Path) -> Scores:
    """Read a file that the official command, or ``Scores.official_json``, wrote.

    Raises:
        StorageError: the file cannot be read.
        RecordError: it is no such file.
    """
    with storage_errors(path):
        content = path.read_bytes()
    try:
        return from_official(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(path, "is no file of official detection scores") from error


def from_official(document: Mapping[str, list[dict[str, float]]]) -> Scores:
    """Make scores of the official document; raises KeyError, TypeError or ValueError where it is none."""
    return Scores.from_plain({metric: {**classes, **overall} for metric, (classes, overall) in document.items()})
