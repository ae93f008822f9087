"""What made a predictions file, as pairs of words for a card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.evaluation.scores import OVERALL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bdd100k_zoo.data.validation import IssueSummary
    from bdd100k_zoo.evaluation.analysis_types import Analysis, Interval
    from bdd100k_zoo.evaluation.scores import FileFingerprint
    from bdd100k_zoo.prediction.run import RunRecord
    from bdd100k_zoo.registry import Family, Model

CardRows = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class ReportRun:
    """A predictions file that a report is on, and all that is known of it."""

    name: str
    predictions: FileFingerprint
    analysis: Analysis
    published_ap: float | None
    """In percent, on the split of the labels."""
    model: Model | None = None
    family: Family | None = None
    record: RunRecord | None = None
    """What made the file, where that is known."""
    let_through: tuple[IssueSummary, ...] = ()

    @property
    def ap(self) -> float:
        """The overall AP, in percent."""
        return self.analysis.scores.ap

    @property
    def interval(self) -> Interval | None:
        """Of the overall AP."""
        return self.analysis.intervals.get(OVERALL)


class Card(NamedTuple):
    """What is known of a run."""

    facts: CardRows
    """What most readers want."""
    more: CardRows
    """What it takes to tell two runs apart, or to make one again."""


def images_per_second(record: RunRecord | None) -> float | None:
    """Give how many images the device took in a second, of one process; None where that is not recorded."""
    if record is None or not record.seconds.detect:
        return None
    return (record.counts.images - record.counts.unreadable) / record.seconds.detect


def build_run_card(run: ReportRun) -> Card:
    """Tell what made a predictions file; the file alone where nothing else is known."""
    facts, more = list(_of_model(run)), list(_of_file(run))
    if run.record:
        facts += _of_run(run.record)
        more = [*_of_weights(run.record), *_of_settings(run.record), *more]
    return Card(tuple(facts), tuple(more))


def _of_model(run: ReportRun) -> Iterator[tuple[str, str]]:
    if run.model:
        training = f"{run.model.schedule} schedule" + (", multi-scale" if run.model.multi_scale_training else "")
        yield "family", run.family.title if run.family else run.model.family
        yield "backbone", run.model.backbone
        yield "training", training


def _of_run(record: RunRecord) -> Iterator[tuple[str, str]]:
    weights = record.weights
    verified = f"verified by the {weights.verified_by}" if weights.verified else "unverified: no digest verifies them"
    yield "weights", f"{weights.other}, not the published ones" if weights.other else verified
    yield "device", f"{record.facts.device_name}, {record.facts.precision}"
    if speed := images_per_second(record):
        yield "seconds per image", f"{1 / speed:.3g} (the device at work)"
    if record.counts.unreadable:
        yield "unreadable images", f"{record.counts.unreadable:,} of {record.counts.images:,}, with empty frames"


def _of_weights(record: RunRecord) -> Iterator[tuple[str, str]]:
    weights = record.weights
    yield "weights", f"{PurePath(weights.path).name}, {weights.size:,} bytes"
    yield "SHA-256", weights.sha256
    yield "MD5", weights.md5
    if weights.address:
        yield "from", weights.address
    if weights.unverified_because:
        yield "unverified because", weights.unverified_because


def _of_settings(record: RunRecord) -> Iterator[tuple[str, str]]:
    request, facts = record.request, record.facts
    yield "config", f"{PurePath(request.config).name}, SHA-256 {request.config_sha256}"
    if request.cfg_options:
        yield "overrides", ", ".join(f"{key}={value}" for key, value in request.cfg_options.items())
    batch = f", batches of {facts.batch_size}" if facts.batch_size else ""
    processes = f", {record.processes} processes" if record.processes > 1 else ""
    yield "backend", f"{facts.backend}, ops of {facts.ops}, {facts.device}{batch}{processes}"
    yield "versions", ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    yield "images", f"{record.counts.images:,}" + (f" of {request.split}" if request.split else "")
    yield "started", record.started


def _of_file(run: ReportRun) -> Iterator[tuple[str, str]]:
    yield "predictions", run.predictions.path
    yield "their SHA-256", run.predictions.sha256
