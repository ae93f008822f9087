"""Predictions → official scores, stored beside the runs that they belong to."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bdd100k_zoo.data.tables import check_boxes, read_labels, read_prediction_table, read_predictions
from bdd100k_zoo.data.validation import wrong_file_error
from bdd100k_zoo.evaluation.analysis import (
    APDifference,
    Attribute,
    ConditionScores,
    group_frames,
    score_conditions,
)
from bdd100k_zoo.evaluation.bootstrap import (
    SEED,
    Samples,
    Support,
    bootstrap,
    intervals_of,
    percentile_interval,
    support_of,
)
from bdd100k_zoo.evaluation.matching import match_detections
from bdd100k_zoo.evaluation.official import score_with_official_tool
from bdd100k_zoo.evaluation.pairing import pair_frames
from bdd100k_zoo.evaluation.runs import (
    EvaluationSubject,
    fetch_published,
    find_runs,
    no_runs_error,
    note_limits,
    resolve_file,
    resolve_name,
)
from bdd100k_zoo.evaluation.scores import (
    OVERALL,
    SCORING_VERSION,
    APInterval,
    Scores,
    StoredBootstrap,
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
    intervals: Mapping[str, APInterval] = field(default_factory=dict)
    """Of the AP of each class and OVERALL; empty if none were requested."""
    samples: Samples | None = None
    """APs on resampled frames, for comparisons; None without intervals, and for stored scores."""
    conditions: tuple[ConditionScores, ...] = ()
    """For each value of the attribute that was requested."""
    let_through: tuple[IssueSummary, ...] = ()
    """Issues that were accepted."""


class LabelFile:
    """A file of labels, read when they are first needed: stored scores need only its digest."""

    def __init__(self, path: Path, *, lenient: bool = False) -> None:
        """Compute the digest; raises StorageError, InputsError."""
        self.fingerprint = fingerprint_file(path)
        self._path, self._lenient = path, lenient

    @cached_property
    def table(self) -> LabelTable:
        """The labels; raises as ``read_labels`` does."""
        return read_labels(self._path, lenient=self._lenient)


def evaluate(
    request: EvaluateRequest, store: Store, progress: Progress, labels: LabelFile | None = None
) -> list[EvaluationResult]:
    """Score everything that is requested, in that order.

    Args:
        request: what to score.
        store: the cache, for published predictions.
        progress: where to report.
        labels: those of the request, where several requests share them; None to open the file.

    Raises:
        InputsError: there is nothing to score, or labels or predictions cannot be scored.
        ZooError: a file cannot be read or downloaded.
    """
    labels = labels or LabelFile(request.labels, lenient=request.lenient)
    subjects = _resolve_subjects(request, labels, store, progress)
    note_limits(subjects, progress)
    alone = len(subjects) == 1
    return [
        _read_result(subject, request, labels, alone=alone) or _compute_result(subject, request, labels, progress)
        for subject in subjects
    ]


def compare_results(results: Sequence[EvaluationResult]) -> list[APDifference]:
    """Compare the first with each other one, on the same resampled frames.

    Returns:
        First minus other in overall AP, for each other. Empty without intervals, and if the labels hold no object. The
        interval of the difference is None if there are too few frames or objects.
    """
    if not results or not results[0].intervals or not results[0].intervals[OVERALL].objects:
        return []
    first, *others = results
    support = Support(first.intervals[OVERALL].frames, first.intervals[OVERALL].objects)
    comparisons = []
    for other in others:
        interval = None
        if first.samples is not None and other.samples is not None:
            interval = percentile_interval(first.samples[:, -1] - other.samples[:, -1])
        difference = first.scores.ap - other.scores.ap
        comparisons.append(APDifference("class", OVERALL, difference, support, interval))
    return comparisons


def _resolve_subjects(
    request: EvaluateRequest, labels: LabelFile, store: Store, progress: Progress
) -> list[EvaluationSubject]:
    zoo, split = request.zoo, request.split
    if request.published:
        return [fetch_published(name, zoo, split, store, progress) for name in request.names]
    if request.names:
        return [subject for name in request.names for subject in resolve_name(name, zoo, split, request.runs, progress)]
    # Runs on the split, and runs on a folder of images that holds exactly the labelled frames.
    chosen = [
        folder / PREDICTIONS_FILE
        for folder, run in find_runs(request.runs, progress)
        if run.request.split == split
        or (
            run.request.split is None
            and run.counts.images == len(labels.table.frames)
            and _has_labelled_frames(folder / PREDICTIONS_FILE, labels.table)
        )
    ]
    if not chosen:
        raise no_runs_error(request.runs, f"holds no run on {split}", split)
    return [resolve_file(path, zoo, split) for path in chosen]


def _has_labelled_frames(predictions: Path, labels: LabelTable) -> bool:
    return sorted(read_predictions(predictions, labels, lenient=True).frames) == sorted(labels.frames)


def _read_result(
    subject: EvaluationSubject, request: EvaluateRequest, labels: LabelFile, *, alone: bool
) -> EvaluationResult | None:
    """Return the stored scores of a run; None if they are missing, outdated, or less than requested.

    Intervals are stored without the resamples, which a comparison needs: they serve a file that is evaluated alone.
    """
    stored = read_stored_scores(subject.folder) if subject.folder else None
    if stored is None or request.by or (stored.engine, stored.lenient) != (request.engine, request.lenient):
        return None
    if stored.labels.sha256 != labels.fingerprint.sha256 or not stored.predictions.describes(subject.predictions):
        return None
    intervals: Mapping[str, APInterval] = {}
    if request.resamples:
        boot = stored.bootstrap
        if not alone or boot is None or (boot.resamples, boot.seed) != (request.resamples, SEED):
            return None
        intervals = boot.intervals
    scores = Scores.from_dict(stored.scores)
    return EvaluationResult(subject=subject, scores=scores, intervals=intervals, let_through=stored.let_through)


def _compute_result(
    subject: EvaluationSubject, request: EvaluateRequest, labels: LabelFile, progress: Progress
) -> EvaluationResult:
    """Score predictions, and write the scores beside the run that they belong to, if any."""
    progress.note(f"scoring {subject.name}")
    if request.engine == "official":
        _check_official_input(subject.predictions)
        result = EvaluationResult(subject=subject, scores=score_with_official_tool(request.labels, subject.predictions))
    else:
        result = _score(subject, request, labels.table, progress)
    if subject.folder:
        stored = StoredScores(
            predictions=fingerprint_file(subject.predictions),
            labels=labels.fingerprint,
            engine=request.engine,
            lenient=request.lenient,
            scores=result.scores.to_dict(),
            rules=SCORING_VERSION,
            bootstrap=StoredBootstrap(request.resamples, SEED, result.intervals) if result.intervals else None,
            let_through=result.let_through,
        )
        write_stored_scores(subject.folder, stored)
    return result


def _check_official_input(predictions: Path) -> None:
    """Raise InputsError for a file that the official evaluator scores 0 without any message."""
    table = read_prediction_table(predictions, lenient=True)
    if table.flat:
        raise wrong_file_error(predictions, "frames with labels", "flat predictions: leave out --engine official")
    check_boxes(table)


def _score(
    subject: EvaluationSubject, request: EvaluateRequest, labels: LabelTable, progress: Progress
) -> EvaluationResult:
    predictions = read_predictions(subject.predictions, labels, lenient=request.lenient)
    paired = pair_frames(labels, predictions, lenient=request.lenient)
    matches = match_detections(paired)
    samples, intervals = None, {}
    if request.resamples:
        support = support_of(matches, range(len(matches.frames)))
        samples = bootstrap(matches, request.resamples, progress) if support[OVERALL].enough else None
        intervals = {
            name: APInterval(*support[name], *(interval or (None, None)))
            for name, interval in intervals_of(samples, support).items()
        }
    return EvaluationResult(
        subject=subject,
        scores=score_matches(matches),
        intervals=intervals,
        samples=samples,
        conditions=score_conditions(matches, group_frames(labels, request.by), {}) if request.by else (),
        let_through=paired.let_through,
    )
