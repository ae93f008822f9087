"""Predictions → official scores, stored beside the runs that they belong to."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bdd100k_zoo.data.tables import check_boxes, read_labels, read_prediction_table, read_predictions
from bdd100k_zoo.errors import NoRunsError, WrongFileError
from bdd100k_zoo.evaluation.analysis import APDifference
from bdd100k_zoo.evaluation.bootstrap import (
    SEED,
    Interval,
    Intervals,
    Samples,
    Support,
    bootstrap,
    intervals_of,
    percentile_interval,
    support_of,
)
from bdd100k_zoo.evaluation.conditions import Attribute, group_frames, score_frames
from bdd100k_zoo.evaluation.matching import match_detections
from bdd100k_zoo.evaluation.official import score_with_official_tool
from bdd100k_zoo.evaluation.pairing import pair_frames
from bdd100k_zoo.evaluation.resolve_runs import (
    EvaluationSubject,
    fetch_published,
    find_runs,
    resolve_file,
    resolve_name,
)
from bdd100k_zoo.evaluation.scores import (
    OVERALL,
    SCORING_VERSION,
    Scores,
    StoredBootstrap,
    StoredInterval,
    StoredScores,
    fingerprint_file,
    read_stored_scores,
    write_stored_scores,
)
from bdd100k_zoo.evaluation.scoring import score_matches
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
    """What to evaluate, and how."""

    zoo: Zoo
    names: tuple[str, ...]
    """Models, predictions files or folders of runs; empty for every run of the split."""
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
    intervals: Intervals = field(default_factory=dict)
    """Of the AP of each class and OVERALL; empty where none were asked for, None where there is not enough for one."""
    support: Mapping[str, Support] = field(default_factory=dict)
    """Of the same."""
    samples: Samples | None = None
    conditions: Mapping[str, Scores] = field(default_factory=dict)
    """By value of the attribute that was asked for."""
    condition_support: Mapping[str, Support] = field(default_factory=dict)
    """By that value."""
    let_through: tuple[IssueSummary, ...] = ()


class _Labels:
    """The labels of a request, read when they are first needed: stored scores need only their digest."""

    def __init__(self, request: EvaluateRequest) -> None:
        self.path = request.labels
        self.fingerprint = fingerprint_file(request.labels)
        self._lenient = request.lenient

    @cached_property
    def table(self) -> LabelTable:
        return read_labels(self.path, lenient=self._lenient)


def evaluate(request: EvaluateRequest, store: Store, progress: Progress) -> list[EvaluationResult]:
    """Score everything that was asked for, in that order.

    Raises:
        NoRunsError: there is nothing to score.
        ZooError: labels or predictions cannot be scored; see ``data.tables`` and ``evaluation.pairing``.
    """
    labels = _Labels(request)
    subjects = _resolve_subjects(request, labels, store, progress)
    alone = len(subjects) == 1
    return [
        _read_result(subject, request, labels, alone=alone) or _compute_result(subject, request, labels, progress)
        for subject in subjects
    ]


def compare_results(results: Sequence[EvaluationResult]) -> list[tuple[str, str, APDifference]]:
    """Compare the first with each other one, on the same resampled frames.

    Returns:
        Name of the first, name of the other, and first minus other in overall AP; empty where no intervals were asked
        for, or where the labels hold no object. The interval of the difference is None where there are too few frames
        or objects.
    """
    if not results or not results[0].intervals or not results[0].support[OVERALL].objects:
        return []
    first, *others = results
    comparisons = []
    for other in others:
        interval = None
        if first.samples is not None and other.samples is not None:
            interval = percentile_interval(first.samples[:, -1] - other.samples[:, -1])
        points = first.scores.ap - other.scores.ap
        difference = APDifference("class", OVERALL, points, first.support[OVERALL], interval)
        comparisons.append((first.subject.name, other.subject.name, difference))
    return comparisons


def _resolve_subjects(
    request: EvaluateRequest, labels: _Labels, store: Store, progress: Progress
) -> list[EvaluationSubject]:
    zoo, split = request.zoo, request.split
    if request.published:
        return [fetch_published(name, zoo, split, store, progress) for name in request.names]
    if request.names:
        return [subject for name in request.names for subject in resolve_name(name, zoo, split, request.runs)]
    # Runs on a split, and runs on a folder of images that turn out to be the labelled frames.
    chosen = [
        run.folder
        for run in find_runs(request.runs)
        if run.record.request.split == split
        or (
            run.record.request.split is None
            and run.record.counts.images == len(labels.table.frames)
            and _has_labelled_frames(run.folder / PREDICTIONS_FILE, labels.table)
        )
    ]
    if not chosen:
        raise NoRunsError(request.runs, f"holds no run on {split}", split)
    return [resolve_file(folder / PREDICTIONS_FILE, zoo, split) for folder in sorted(chosen)]


def _has_labelled_frames(predictions: Path, labels: LabelTable) -> bool:
    return sorted(read_predictions(predictions, labels, lenient=True).frames) == sorted(labels.frames)


def _read_result(
    subject: EvaluationSubject, request: EvaluateRequest, labels: _Labels, *, alone: bool
) -> EvaluationResult | None:
    """Return the stored scores of a run; None where they are missing, outdated, or less than was asked for.

    Intervals are stored without the resamples, which a comparison needs: they serve a file ``alone``.
    """
    stored = read_stored_scores(subject.folder) if subject.folder else None
    if stored is None or request.by or (stored.engine, stored.lenient) != (request.engine, request.lenient):
        return None
    if stored.labels.sha256 != labels.fingerprint.sha256 or not stored.predictions.describes(subject.predictions):
        return None
    intervals: Mapping[str, StoredInterval] = {}
    if request.resamples:
        boot = stored.bootstrap
        if not alone or boot is None or (boot.resamples, boot.seed) != (request.resamples, SEED):
            return None
        intervals = boot.intervals
    return EvaluationResult(
        subject=subject,
        scores=Scores.from_plain(stored.scores),
        intervals={
            name: None if each.low is None or each.high is None else Interval(each.low, each.high)
            for name, each in intervals.items()
        },
        support={name: Support(each.frames, each.objects) for name, each in intervals.items()},
        let_through=stored.let_through,
    )


def _compute_result(
    subject: EvaluationSubject, request: EvaluateRequest, labels: _Labels, progress: Progress
) -> EvaluationResult:
    progress.note(f"scoring {subject.name}")
    if request.engine == "official":
        _check_official_input(subject.predictions)
        result = EvaluationResult(subject=subject, scores=score_with_official_tool(labels.path, subject.predictions))
    else:
        result = _score(subject, request, labels.table, progress)
    _store(result, request, labels)
    return result


def _check_official_input(predictions: Path) -> None:
    """Raise InputsError for a file that the official package scores 0 without any message."""
    table = read_prediction_table(predictions, lenient=True)
    if table.flat:
        raise WrongFileError(predictions, "frames with labels", "flat predictions: leave out --engine official")
    check_boxes(table)


def _score(
    subject: EvaluationSubject, request: EvaluateRequest, labels: LabelTable, progress: Progress
) -> EvaluationResult:
    predictions = read_predictions(subject.predictions, labels, lenient=request.lenient)
    paired = pair_frames(labels, predictions, lenient=request.lenient)
    matches = match_detections(paired)
    scores = score_matches(matches)
    if not (request.resamples or request.by):
        return EvaluationResult(subject=subject, scores=scores, let_through=paired.let_through)
    support = support_of(matches, range(len(matches.frames)))
    enough = request.resamples and support[OVERALL].enough
    samples = bootstrap(matches, request.resamples, progress) if enough else None
    groups = group_frames(labels, request.by) if request.by else {}
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


def _store(result: EvaluationResult, request: EvaluateRequest, labels: _Labels) -> None:
    """Write the scores beside the run that they belong to, if any."""
    if result.subject.folder is None:
        return
    intervals = {
        name: StoredInterval(*result.support[name], *(each or (None, None))) for name, each in result.intervals.items()
    }
    stored = StoredScores(
        predictions=fingerprint_file(result.subject.predictions),
        labels=labels.fingerprint,
        engine=request.engine,
        lenient=request.lenient,
        scores=result.scores.plain(),
        rules=SCORING_VERSION,
        bootstrap=StoredBootstrap(request.resamples, SEED, intervals) if intervals else None,
        let_through=result.let_through,
    )
    write_stored_scores(result.subject.folder, stored)
