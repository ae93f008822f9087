"""Predictions → official scores, kept beside the runs that they are of."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bdd100k_zoo.data.load import read_labels, read_predictions
from bdd100k_zoo.data.tables import check_boxes, read_prediction_table
from bdd100k_zoo.errors import NoRunsError, WrongFileError
from bdd100k_zoo.evaluation import official
from bdd100k_zoo.evaluation.analysis_types import APDifference, Interval, Support
from bdd100k_zoo.evaluation.bootstrap import (
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
from bdd100k_zoo.evaluation.matching import match_detections
from bdd100k_zoo.evaluation.pairing import PairedFrames, pair_frames
from bdd100k_zoo.evaluation.resolve_runs import EvaluationSubject, SubjectFinder
from bdd100k_zoo.evaluation.runs import find_runs
from bdd100k_zoo.evaluation.scores import (
    OVERALL,
    SCORING_VERSION,
    FileFingerprint,
    Scores,
    StoredBootstrap,
    StoredInterval,
    StoredScores,
    fingerprint_file,
    read_stored_scores,
    write_stored_scores,
)
from bdd100k_zoo.evaluation.scoring import score_paired
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bdd100k_zoo.data.tables import LabelTable
    from bdd100k_zoo.data.validation import IssueSummary
    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Zoo

Engine = Literal["fast", "official"]


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest:
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
class EvaluationResult:
    """A predictions file and its scores."""

    subject: EvaluationSubject
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
    let_through: tuple[IssueSummary, ...] = ()


def evaluate(request: EvaluateRequest, store: Store, progress: Progress) -> list[EvaluationResult]:
    """Score everything that was asked for, in that order.

    Raises:
        NoRunsError: there is nothing to score.
        ZooError: labels or predictions cannot be scored, see ``records.tables`` and ``evaluation.bdd100k``.
    """
    labels = _Labels(request)
    subjects = _subjects(request, labels, store, progress)
    alone = len(subjects) == 1  # a comparison needs the resamples themselves, not their intervals alone
    return [_evaluate(subject, request, labels, progress, alone=alone) for subject in subjects]


def compare_results(found: Sequence[EvaluationResult]) -> list[tuple[str, str, APDifference]]:
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


def _difference(first: EvaluationResult, other: EvaluationResult) -> APDifference:
    interval = None
    if first.samples is not None and other.samples is not None:
        interval = percentile_interval(first.samples[:, -1] - other.samples[:, -1])
    return APDifference("class", OVERALL, first.scores.ap - other.scores.ap, first.support[OVERALL], interval)


class _Labels:
    """The labels, read when they are first needed: kept scores need their digest alone."""

    def __init__(self, request: EvaluateRequest) -> None:
        self.path = request.labels
        self.facts: FileFingerprint = fingerprint_file(request.labels)
        self._lenient = request.lenient
        self._table: LabelTable | None = None

    @property
    def table(self) -> LabelTable:
        self._table = self._table or read_labels(self.path, lenient=self._lenient)
        return self._table


def _subjects(request: EvaluateRequest, labels: _Labels, store: Store, progress: Progress) -> list[EvaluationSubject]:
    finder = SubjectFinder(request.zoo, request.split, request.runs)
    if request.published:
        return [finder.published(name, store, progress) for name in request.names]
    if request.names:
        return [subject for name in request.names for subject in finder.named(name)]
    runs = find_runs(request.runs)
    chosen = [run.folder for run in runs if run.record.request.split == request.split]
    chosen += [
        run.folder
        for run in runs
        if run.record.request.split is None and run.record.counts.images == len(labels.table.frames)
        if _has_the_frames(run.folder / PREDICTIONS_FILE, labels.table)
    ]
    if not chosen:
        raise NoRunsError(request.runs, f"holds no run on {request.split}", request.split)
    return [finder.of_run(folder) for folder in sorted(chosen)]


def _has_the_frames(predictions: Path, labels: LabelTable) -> bool:
    return sorted(read_predictions(predictions, labels, lenient=True).frames) == sorted(labels.frames)


def _evaluate(
    subject: EvaluationSubject, request: EvaluateRequest, labels: _Labels, progress: Progress, *, alone: bool
) -> EvaluationResult:
    kept = _kept(subject, request, labels)
    if kept and not request.by and (not request.resamples or (alone and _has_intervals(kept, request))):
        return _from_kept(subject, kept, with_intervals=request.resamples > 0)
    progress.note(f"scoring {subject.name}")
    if request.engine == "official":
        _check_for_official(subject.predictions)
        evaluated = EvaluationResult(
            subject=subject, scores=official.score_with_official_tool(labels.path, subject.predictions)
        )
    else:
        predictions = read_predictions(subject.predictions, labels.table, lenient=request.lenient)
        evaluated = _analysed(
            subject, request, pair_frames(labels.table, predictions, lenient=request.lenient), progress
        )
    _keep(evaluated, request, labels)
    return evaluated


def _check_for_official(predictions: Path) -> None:
    """Raise InputsError for a file that the official package scores 0 without a word."""
    table = read_prediction_table(predictions, lenient=True)
    if table.flat:
        raise WrongFileError(predictions, "frames with labels", "flat predictions: leave out --engine official")
    check_boxes(table)


def _has_intervals(kept: StoredScores, request: EvaluateRequest) -> bool:
    return kept.bootstrap is not None and (kept.bootstrap.resamples, kept.bootstrap.seed) == (request.resamples, SEED)


def _from_kept(subject: EvaluationSubject, kept: StoredScores, *, with_intervals: bool) -> EvaluationResult:
    found = kept.bootstrap.intervals if kept.bootstrap and with_intervals else {}
    return EvaluationResult(
        subject=subject,
        scores=Scores.from_plain(kept.scores),
        intervals={name: _interval(each) for name, each in found.items()},
        support={name: Support(each.frames, each.objects) for name, each in found.items()},
        let_through=kept.let_through,
    )


def _interval(kept: StoredInterval) -> Interval | None:
    return None if kept.low is None or kept.high is None else Interval(kept.low, kept.high)


def _analysed(
    subject: EvaluationSubject, request: EvaluateRequest, paired: PairedFrames, progress: Progress
) -> EvaluationResult:
    scores = score_paired(paired)
    if not (request.resamples or request.by):
        return EvaluationResult(subject=subject, scores=scores, let_through=paired.let_through)
    matches = match_detections(paired)
    support = support_of(matches, range(len(matches.frames)))
    enough = request.resamples and support[OVERALL].enough
    samples = bootstrap(matches, request.resamples, progress) if enough else None
    groups = group_frames(paired.labels, request.by) if request.by else {}
    return EvaluationResult(
        subject=subject,
        scores=scores,
        intervals=intervals_of(samples, support) if request.resamples else {},
        support=support,
        samples=samples,
        conditions={value: score_frames(matches, frames) for value, frames in groups.items()},
        condition_support={value: support_of(matches, frames)[OVERALL] for value, frames in groups.items()},
        let_through=paired.let_through,
    )


def _kept(subject: EvaluationSubject, request: EvaluateRequest, labels: _Labels) -> StoredScores | None:
    kept = read_stored_scores(subject.folder) if subject.folder else None
    if kept is None or (kept.engine, kept.lenient) != (request.engine, request.lenient):
        return None
    same_labels = kept.labels.sha256 == labels.facts.sha256
    return kept if same_labels and kept.predictions.describes(subject.predictions) else None


def _keep(evaluated: EvaluationResult, request: EvaluateRequest, labels: _Labels) -> None:
    folder = evaluated.subject.folder
    if folder is None:
        return
    kept = StoredScores(
        predictions=fingerprint_file(evaluated.subject.predictions),
        labels=labels.facts,
        engine=request.engine,
        lenient=request.lenient,
        scores=evaluated.scores.plain(),
        rules=SCORING_VERSION,
        bootstrap=_kept_bootstrap(evaluated, request),
        let_through=evaluated.let_through,
    )
    write_stored_scores(folder, kept)


def _kept_bootstrap(evaluated: EvaluationResult, request: EvaluateRequest) -> StoredBootstrap | None:
    if not evaluated.intervals:
        return None
    intervals = {
        name: StoredInterval(*evaluated.support[name], *(each or (None, None)))
        for name, each in evaluated.intervals.items()
    }
    return StoredBootstrap(request.resamples, SEED, intervals)
