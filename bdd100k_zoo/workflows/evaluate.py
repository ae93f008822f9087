"""Predictions → official scores, kept beside the runs that they are of."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bdd100k_zoo.errors import NoRunsError, WrongFileError
from bdd100k_zoo.evaluation import official
from bdd100k_zoo.evaluation.analysis import (
    SEED,
    Attribute,
    Samples,
    bootstrap,
    group_frames,
    intervals_of,
    percentile_interval,
    score_frames,
    support_of,
)
from bdd100k_zoo.evaluation.bdd100k import score_paired
from bdd100k_zoo.evaluation.matching import match
from bdd100k_zoo.evaluation.pairing import Paired, pair
from bdd100k_zoo.records.analyses import Difference, Interval, Support
from bdd100k_zoo.records.kept import (
    RULES,
    FileFacts,
    KeptBootstrap,
    KeptInterval,
    KeptScores,
    facts_of,
    read_kept,
    write_kept,
)
from bdd100k_zoo.records.run import PREDICTIONS
from bdd100k_zoo.records.scores import OVERALL, Scores
from bdd100k_zoo.records.tables import check_boxes, read_prediction_table
from bdd100k_zoo.workflows.inputs import read_labels, read_predictions
from bdd100k_zoo.workflows.measured import find_runs
from bdd100k_zoo.workflows.subjects import Finder, Subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bdd100k_zoo.artifacts.store import Store
    from bdd100k_zoo.manifest import Zoo
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.records.findings import LetThrough
    from bdd100k_zoo.records.tables import LabelTable

Engine = Literal["fast", "official"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What an evaluation is asked to do."""

    zoo: Zoo
    names: tuple[str, ...]
    """Models, predictions files or folders of runs; none for every run of the split."""
    labels: Path
    split: str = "val"
    runs: Path = Path("runs")
    engine: Engine = "fast"
    lenient: bool = False
    published: bool = False
    """Score the models' published predictions."""
    resamples: int = 0
    """For intervals; 0 for none."""
    by: Attribute | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A predictions file and its scores."""

    subject: Subject
    scores: Scores
    intervals: Mapping[str, Interval | None] = field(default_factory=dict)
    """Of the AP of each class and OVERALL; empty where none were asked for, None where there is not enough for one."""
    support: Mapping[str, Support] = field(default_factory=dict)
    """Of the same."""
    samples: Samples | None = None
    conditions: Mapping[str, Scores] = field(default_factory=dict)
    """By value of the attribute that was asked for."""
    condition_support: Mapping[str, Support] = field(default_factory=dict)
    """By that value."""
    let_through: tuple[LetThrough, ...] = ()


def evaluate(request: Request, store: Store, progress: Progress) -> list[Evaluated]:
    """Score everything that was asked for, in that order.

    Raises:
        NoRunsError: there is nothing to score.
        ZooError: labels or predictions cannot be scored, see ``records.tables`` and ``evaluation.bdd100k``.
    """
    labels = _Labels(request)
    subjects = _subjects(request, labels, store, progress)
    alone = len(subjects) == 1  # a comparison needs the resamples themselves, not their intervals alone
    return [_evaluate(subject, request, labels, progress, alone=alone) for subject in subjects]


def compare(found: Sequence[Evaluated]) -> list[tuple[str, str, Difference]]:
    """Compare each but the first with the first, on the same resampled frames.

    Returns:
        Name of the first, name of the other, and first minus other in overall AP; none where no intervals were asked
        for, or where the labels hold no object. The interval of the difference is None where there are too few frames
        or objects.
    """
    if not found or not found[0].intervals or not found[0].support[OVERALL].objects:
        return []
    first, *others = found
    return [(first.subject.name, other.subject.name, _difference(first, other)) for other in others]


def _difference(first: Evaluated, other: Evaluated) -> Difference:
    interval = None
    if first.samples is not None and other.samples is not None:
        interval = percentile_interval(first.samples[:, -1] - other.samples[:, -1])
    return Difference("class", OVERALL, first.scores.ap - other.scores.ap, first.support[OVERALL], interval)


class _Labels:
    """The labels, read when they are first needed: kept scores need their digest alone."""

    def __init__(self, request: Request) -> None:
        self.path = request.labels
        self.facts: FileFacts = facts_of(request.labels)
        self._lenient = request.lenient
        self._table: LabelTable | None = None

    @property
    def table(self) -> LabelTable:
        self._table = self._table or read_labels(self.path, lenient=self._lenient)
        return self._table


def _subjects(request: Request, labels: _Labels, store: Store, progress: Progress) -> list[Subject]:
    finder = Finder(request.zoo, request.split, request.runs)
    if request.published:
        return [finder.published(name, store, progress) for name in request.names]
    if request.names:
        return [subject for name in request.names for subject in finder.named(name)]
    runs = find_runs(request.runs)
    chosen = [run.folder for run in runs if run.record.split == request.split]
    chosen += [
        run.folder
        for run in runs
        if run.record.split is None and run.record.counts.images == len(labels.table.frames)
        if _has_the_frames(run.folder / PREDICTIONS, labels.table)
    ]
    if not chosen:
        raise NoRunsError(request.runs, f"holds no run on {request.split}", request.split)
    return [finder.of_run(folder) for folder in sorted(chosen)]


def _has_the_frames(predictions: Path, labels: LabelTable) -> bool:
    return sorted(read_predictions(predictions, labels, lenient=True).frames) == sorted(labels.frames)


def _evaluate(subject: Subject, request: Request, labels: _Labels, progress: Progress, *, alone: bool) -> Evaluated:
    kept = _kept(subject, request, labels)
    if kept and not request.by and (not request.resamples or (alone and _has_intervals(kept, request))):
        return _from_kept(subject, kept, with_intervals=request.resamples > 0)
    progress.note(f"scoring {subject.name}")
    if request.engine == "official":
        _check_for_official(subject.predictions)
        evaluated = Evaluated(subject=subject, scores=official.score(labels.path, subject.predictions))
    else:
        predictions = read_predictions(subject.predictions, labels.table, lenient=request.lenient)
        evaluated = _analysed(subject, request, pair(labels.table, predictions, lenient=request.lenient), progress)
    _keep(evaluated, request, labels)
    return evaluated


def _check_for_official(predictions: Path) -> None:
    """Raise InputsError for a file that the official package scores 0 without a word."""
    table = read_prediction_table(predictions, lenient=True)
    if table.flat:
        raise WrongFileError(predictions, "frames with labels", "flat predictions: leave out --engine official")
    check_boxes(table)


def _has_intervals(kept: KeptScores, request: Request) -> bool:
    return kept.bootstrap is not None and (kept.bootstrap.resamples, kept.bootstrap.seed) == (request.resamples, SEED)


def _from_kept(subject: Subject, kept: KeptScores, *, with_intervals: bool) -> Evaluated:
    found = kept.bootstrap.intervals if kept.bootstrap and with_intervals else {}
    return Evaluated(
        subject=subject,
        scores=Scores.from_plain(kept.scores),
        intervals={name: _interval(each) for name, each in found.items()},
        support={name: Support(each.frames, each.objects) for name, each in found.items()},
        let_through=kept.let_through,
    )


def _interval(kept: KeptInterval) -> Interval | None:
    return None if kept.low is None or kept.high is None else Interval(kept.low, kept.high)


def _analysed(subject: Subject, request: Request, paired: Paired, progress: Progress) -> Evaluated:
    scores = score_paired(paired)
    if not (request.resamples or request.by):
        return Evaluated(subject=subject, scores=scores, let_through=paired.let_through)
    matches = match(paired)
    support = support_of(matches, range(len(matches.frames)))
    enough = request.resamples and support[OVERALL].enough
    samples = bootstrap(matches, request.resamples, progress) if enough else None
    groups = group_frames(paired.labels, request.by) if request.by else {}
    return Evaluated(
        subject=subject,
        scores=scores,
        intervals=intervals_of(samples, support) if request.resamples else {},
        support=support,
        samples=samples,
        conditions={value: score_frames(matches, frames) for value, frames in groups.items()},
        condition_support={value: support_of(matches, frames)[OVERALL] for value, frames in groups.items()},
        let_through=paired.let_through,
    )


def _kept(subject: Subject, request: Request, labels: _Labels) -> KeptScores | None:
    kept = read_kept(subject.folder) if subject.folder else None
    if kept is None or (kept.engine, kept.lenient) != (request.engine, request.lenient):
        return None
    same_labels = kept.labels.sha256 == labels.facts.sha256
    return kept if same_labels and kept.predictions.describes(subject.predictions) else None


def _keep(evaluated: Evaluated, request: Request, labels: _Labels) -> None:
    folder = evaluated.subject.folder
    if folder is None:
        return
    kept = KeptScores(
        predictions=facts_of(evaluated.subject.predictions),
        labels=labels.facts,
        engine=request.engine,
        lenient=request.lenient,
        scores=evaluated.scores.plain(),
        rules=RULES,
        bootstrap=_kept_bootstrap(evaluated, request),
        let_through=evaluated.let_through,
    )
    write_kept(folder, kept)


def _kept_bootstrap(evaluated: Evaluated, request: Request) -> KeptBootstrap | None:
    if not evaluated.intervals:
        return None
    intervals = {
        name: KeptInterval(*evaluated.support[name], *(each or (None, None)))
        for name, each in evaluated.intervals.items()
    }
    return KeptBootstrap(request.resamples, SEED, intervals)
