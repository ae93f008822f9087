"""evaluate, compare: predictions → official scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.api.arguments import (
    check_at_least,
    check_choice,
    dataset_root,
    optional_path,
    prediction_names,
)
from bdd100k_zoo.display import resolve_progress
from bdd100k_zoo.errors import ZooError, list_first
from bdd100k_zoo.evaluation import evaluate as job
from bdd100k_zoo.evaluation.analysis import APDifference, Attribute, ConditionScores
from bdd100k_zoo.evaluation.bootstrap import Interval, Support
from bdd100k_zoo.evaluation.runs import find_labels_file
from bdd100k_zoo.evaluation.scores import OVERALL, APInterval, Scores
from bdd100k_zoo.files import write_atomically
from bdd100k_zoo.hub.cache import Store
from bdd100k_zoo.registry import Model, load_zoo
from bdd100k_zoo.reporting.score_tables import difference_statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bdd100k_zoo.api.arguments import AnyPath, AnyPredictions
    from bdd100k_zoo.data.validation import IssueSummary
    from bdd100k_zoo.display import AnyProgress
    from bdd100k_zoo.registry import Zoo


class Evaluation(Scores, frozen=True, kw_only=True):
    """The scores of one predictions file, with what they were computed from."""

    name: str
    """The model that made the predictions, or the file."""
    predictions: Path
    labels: Path
    model: Model | None
    """None if it is not known."""
    published_ap: float | None
    """The model's published overall AP on the split, in percent; None if there is none."""
    intervals: Mapping[str, APInterval]
    """95 % intervals of the AP of each class and OVERALL, in percent; empty if none were requested."""
    conditions: Mapping[str, ConditionScores]
    """For each value of the attribute that was requested: its ``scores``, with the numbers of frames and objects."""
    accepted: tuple[IssueSummary, ...]
    """Faults of the files that ``lenient`` accepted."""

    __repr__ = Scores.__repr__  # msgspec would write one with all fields
    __str__ = Scores.__str__


@dataclass(frozen=True)
class Comparison:
    """Two predictions files scored against the same labels; printed as a sentence."""

    a: Evaluation
    b: Evaluation
    difference: float
    """Overall AP of the first minus that of the second, in percent."""
    interval: Interval | None
    """95 % interval of the difference, on the same resampled frames; None if there are too few frames or objects."""
    support: Support
    """Numbers of frames and labelled objects."""

    @property
    def better(self) -> Evaluation | None:
        """The one that is better beyond chance: the interval excludes zero. None if these frames cannot tell."""
        if not self._difference.beyond_chance:
            return None
        return self.a if self.difference > 0 else self.b

    @property
    def _difference(self) -> APDifference:
        return APDifference("class", OVERALL, self.difference, self.support, self.interval)

    def __str__(self) -> str:
        names = self.a.name, self.b.name
        if names[0] == names[1]:
            names = str(self.a.predictions), str(self.b.predictions)
        return difference_statement(*names, self._difference)


def evaluate(
    predictions: AnyPredictions,
    labels: AnyPath | None = None,
    *,
    split: str = "val",
    data: AnyPath | None = None,
    runs: AnyPath = "runs",
    out: AnyPath | None = None,
    engine: job.Engine = "fast",
    lenient: bool = False,
    published: bool = False,
    confidence: bool = False,
    resamples: int = 1000,
    by: Attribute | None = None,
    zoo: Zoo | None = None,
    offline: bool | None = None,
    progress: AnyProgress = None,
) -> Evaluation:
    """Score predictions exactly as the official evaluation does.

    The scores of a run are stored in its folder as ``scores.json``, and read from there while nothing has changed.

    Args:
        predictions: a predictions file, a run, or a model with one run on the split.
        labels: labels; by default ``labels/det_20/det_SPLIT.json`` below the dataset's root.
        split: the split of runs, labels and published APs.
        data: root of the dataset; by default that of BDD100K_ROOT.
        runs: where the runs of models are.
        out: write the scores to this file in the official format.
        engine: ``fast``, or ``official`` for the official packages; both give the same scores.
        lenient: accept what the official evaluator accepts; see ``Evaluation.accepted``.
        published: score the published predictions of a model, downloaded if need be.
        confidence: add 95 % intervals by bootstrap over frames.
        resamples: how many, at least 100.
        by: also score the frames of each value of ``weather``, ``scene`` or ``timeofday``.
        zoo: the known models; None for ``load_zoo()``.
        offline: contact nothing; None to follow BDD100K_ZOO_OFFLINE.
        progress: None, True for bars, or a ``Progress``.

    Raises:
        InputsError: there is nothing to score, or labels or predictions cannot be scored.
        UnknownNameError: there is neither a file nor a model of that name.
        ZooError: any other failure.
    """
    found = evaluate_all(
        (predictions,),
        labels,
        split=split,
        data=data,
        runs=runs,
        engine=engine,
        lenient=lenient,
        published=published,
        resamples=resamples if confidence else 0,
        by=by,
        zoo=zoo,
        offline=offline,
        progress=progress,
    )
    (scores,) = _one_for_each(found.evaluations, (predictions,), split)
    if out is not None:
        write_atomically(Path(out), scores.official_json(), follow_links=True)
    return scores


def compare(
    a: AnyPredictions,
    b: AnyPredictions,
    labels: AnyPath | None = None,
    *,
    split: str = "val",
    data: AnyPath | None = None,
    runs: AnyPath = "runs",
    lenient: bool = False,
    published: bool = False,
    resamples: int = 1000,
    zoo: Zoo | None = None,
    offline: bool | None = None,
    progress: AnyProgress = None,
) -> Comparison:
    """Compare two predictions files in overall AP, as ``eval --confidence`` does: is one better beyond chance?

    Args:
        a: a predictions file, a run, or a model with one run on the split.
        b: another.
        labels: those of both; this and all other arguments are as for ``evaluate``.
        split: the split of runs and labels.
        data: root of the dataset; by default that of BDD100K_ROOT.
        runs: where the runs of models are.
        lenient: accept what the official evaluator accepts.
        published: compare the published predictions of two models.
        resamples: bootstrap resamples of the frames, at least 100.
        zoo: the known models; None for ``load_zoo()``.
        offline: contact nothing; None to follow BDD100K_ZOO_OFFLINE.
        progress: None, True for bars, or a ``Progress``.

    Raises:
        InputsError: labels or predictions cannot be scored.
        ZooError: any other failure.
    """
    found = evaluate_all(
        (a, b),
        labels,
        split=split,
        data=data,
        runs=runs,
        lenient=lenient,
        published=published,
        resamples=resamples,
        zoo=zoo,
        offline=offline,
        progress=progress,
    )
    first, second = _one_for_each(found.evaluations, (a, b), split)
    if not found.comparisons:  # the labels hold no object
        return Comparison(first, second, float("nan"), None, Support(first.intervals[OVERALL].frames, 0))
    return found.comparisons[0]


class Evaluations(NamedTuple):
    """The scores of several predictions files, and the comparisons of the first with each other one."""

    evaluations: tuple[Evaluation, ...]
    comparisons: tuple[Comparison, ...]
    """Empty without intervals, and if the labels hold no object."""


def evaluate_all(
    predictions: Sequence[AnyPredictions] = (),
    labels: AnyPath | None = None,
    *,
    split: str = "val",
    data: AnyPath | None = None,
    runs: AnyPath = "runs",
    engine: job.Engine = "fast",
    lenient: bool = False,
    published: bool = False,
    resamples: int = 0,
    by: Attribute | None = None,
    zoo: Zoo | None = None,
    offline: bool | None = None,
    progress: AnyProgress = None,
) -> Evaluations:
    """Score predictions files, and all runs of models, on the same labels.

    Without any, all runs of the split are scored. ``resamples`` is 0 for no intervals and comparisons; the other
    arguments are those of ``evaluate``.

    Raises:
        InputsError: there is nothing to score, or labels or predictions cannot be scored.
        UnknownNameError: there is neither a file nor a model of a name.
        ZooError: any other failure.
    """
    check_choice("engine", engine, job.Engine)
    if by is not None:
        check_choice("by", by, Attribute)
    if engine == "official" and (resamples or by or lenient):
        raise ZooError("confidence, by and lenient need the engine fast", "leave out engine")
    check_at_least(100, resamples=resamples or None)
    request = job.EvaluateRequest(
        zoo=load_zoo() if zoo is None else zoo,
        names=prediction_names(predictions),
        split=split,
        labels=find_labels_file(optional_path(labels), dataset_root(data), split),
        runs=Path(runs),
        engine=engine,
        lenient=lenient,
        published=published,
        resamples=resamples,
        by=by,
    )
    with Store(offline=offline) as store:
        results = job.evaluate(request, store, resolve_progress(progress))
    scored = tuple(_describe(request, each) for each in results)
    compared = tuple(
        Comparison(scored[0], other, each.points, each.interval, each.support)
        for other, each in zip(scored[1:], job.compare_results(results), strict=False)
    )
    return Evaluations(scored, compared)


def _one_for_each(
    found: tuple[Evaluation, ...], predictions: Sequence[AnyPredictions], split: str
) -> tuple[Evaluation, ...]:
    """Return what was found if it is one predictions file for each that was given; raises ZooError."""
    if len(found) != len(predictions):
        files = list_first([each.predictions for each in found])
        names = " and ".join(prediction_names(predictions))
        raise ZooError(f"{names}: there are several runs on {split}:{files}", "give the folder of one of them")
    return found


def _describe(request: job.EvaluateRequest, found: job.EvaluationResult) -> Evaluation:
    return Evaluation(
        found.scores.by_metric,
        name=found.subject.name,
        predictions=found.subject.predictions,
        labels=request.labels,
        model=found.subject.model,
        published_ap=found.subject.published_ap,
        intervals=found.intervals,
        conditions={condition.value: condition for condition in found.conditions},
        accepted=found.let_through,
    )
