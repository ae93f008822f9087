"""Runs on disk: the predictions that a name stands for, and the scores and speeds to show beside the published ones.

``table`` and ``list`` load this module, so it does not import numpy.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bdd100k_zoo.errors import InputsError, InvalidFileError, StorageError, ZooError, list_first
from bdd100k_zoo.evaluation.scores import OVERALL, SCORES_FILE, read_stored_scores
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE, RUN_FILE, read_run
from bdd100k_zoo.prediction.speeds import read_speed_summaries
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from bdd100k_zoo.evaluation.scores import FileFingerprint, StoredScores
    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.prediction.run import RunRecord
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Model, Zoo

JOURNAL_PATTERN = "journal-*.jsonl"
"""Journals of a run; repeated here because ``prediction.journal`` imports numpy."""
LABELS_PAGE = "the Detection 2020 labels are at https://doc.bdd100k.com/download.html"


@dataclass(frozen=True, kw_only=True)
class EvaluationSubject:
    """One predictions file to score."""

    name: str
    predictions: Path
    model: Model | None
    published_ap: float | None
    """In percent, on the split."""
    folder: Path | None = None
    """The run's folder, if the file belongs to a run."""
    run: RunRecord | None = None
    """The run's record, if the file belongs to a run."""
    limits: str = ""
    """The limits that the run was made with, such as ``min_score 0.3``; empty without any."""


def find_runs(root: Path, progress: Progress = NO_PROGRESS) -> Iterator[tuple[Path, RunRecord]]:
    """Yield the folders and records of the finished runs below a folder, sorted by path.

    Runs whose record cannot be read, such as those of another version, are reported and left out.
    """
    for path in sorted(root.rglob(RUN_FILE)):
        if (path.parent / PREDICTIONS_FILE).is_file():
            try:
                yield path.parent, read_run(path.parent)
            except ZooError as error:
                progress.warn(f"left out: {error}; {error.hint}")


def no_runs_error(runs: Path, problem: str, split: str) -> InputsError:
    """Return the error for a folder without a run that can be evaluated."""
    return InputsError(runs, problem, f"`bdd100k-zoo predict MODEL --split {split} --data ROOT` makes one")


def resolve_name(
    name: str, zoo: Zoo, split: str, runs: Path, progress: Progress = NO_PROGRESS
) -> list[EvaluationSubject]:
    """Return the predictions that a name stands for: a run's folder, a predictions file, or a model with all its runs.

    Args:
        name: a path, or the name of a model.
        zoo: the known models.
        split: the split of the runs and of the published APs.
        runs: folder of the runs that names of models stand for.
        progress: where runs that cannot be read are reported.

    Raises:
        UnknownNameError: it is none of these.
        InputsError: there is no run of the model on the split.
        InvalidFileError, StorageError: the run's record cannot be read.
    """
    path = Path(name)
    if (path / PREDICTIONS_FILE).is_file():
        path /= PREDICTIONS_FILE
    if path.exists() or path.suffix == ".json":
        return [resolve_file(path, zoo, split)]
    model = zoo[name]
    found = [
        resolve_file(folder / PREDICTIONS_FILE, zoo, split)
        for folder, run in find_runs(runs, progress)
        if (run.request.model, run.request.split) == (model.name, split)
    ]
    if not found:
        raise no_runs_error(runs, f"holds no run of {model.name} on {split}", split)
    return found


def resolve_single(name: str, zoo: Zoo, split: str, runs: Path) -> EvaluationSubject:
    """Return the one predictions file that a name stands for; see ``resolve_name``.

    Raises:
        InputsError: there are several runs of the model on the split, or none.
        UnknownNameError, InvalidFileError, StorageError: see ``resolve_name``.
    """
    found = resolve_name(name, zoo, split, runs)
    if len(found) > 1:
        folders = list_first([each.predictions.parent for each in found])
        raise InputsError(
            runs, f"holds {len(found)} runs of {name} on {split}:{folders}", "give the folder of one of them"
        )
    return found[0]


def check_run_split(subject: EvaluationSubject, split: str) -> None:
    """Check that predictions are not of a run on another split: its frames are other images; raises InputsError."""
    actual = subject.run.request.split if subject.run else None
    if actual not in (None, split):
        raise InputsError(
            subject.predictions,
            f"is of a run on {actual}, not on {split}",
            f"use --split {actual}, or give the predictions on {split}",
        )


def resolve_file(path: Path, zoo: Zoo, split: str) -> EvaluationSubject:
    """Return a predictions file as a subject.

    Predictions of other weights than the published ones, or with limits, have no published AP, and their name shows
    why. Raises InvalidFileError or StorageError if the record of the run beside the file cannot be read.
    """
    folder = path.parent
    if path.name != PREDICTIONS_FILE or not (folder / RUN_FILE).is_file():
        return EvaluationSubject(name=str(path), predictions=path, model=None, published_ap=None)
    record = read_run(folder)
    name, limits = record.request.model, _limits_text(record)
    other = ", ".join(filter(None, (record.weights.other, limits and "with limits")))
    model = next((each for each in zoo.known if each.name == name), None)
    return EvaluationSubject(
        name=f"{name} ({other})" if other else name,
        predictions=path,
        model=model,
        published_ap=None if other or model is None else published_ap(model, split),
        folder=folder,
        run=record,
        limits=limits,
    )


def _limits_text(record: RunRecord) -> str:
    return ", ".join(f"{name} {value}" for name, value in record.request.limits.items())


def limits_note(name: str, limits: str) -> str:
    """Return the sentence about predictions of a run with limits."""
    return f"{name} was made with {limits}; the official numbers need a run with the defaults"


def note_limits(subjects: Sequence[EvaluationSubject], progress: Progress) -> None:
    """Report which predictions are of runs with limits."""
    for subject in subjects:
        if subject.limits:
            progress.note(limits_note(str(subject.predictions), subject.limits))


def describe_limits(folder: Path, name: str) -> str:
    """Return ``limits_note`` for the run in a folder; empty without limits, and without a run that can be read."""
    try:
        limits = _limits_text(read_run(folder))
    except ZooError:
        return ""
    return limits_note(name, limits) if limits else ""


def fetch_published(name: str, zoo: Zoo, split: str, store: Store, progress: Progress) -> EvaluationSubject:
    """Return the published predictions of a model; they are downloaded if they are not in the cache."""
    model = zoo[name]
    stored = store.fetch(model.artifact("preds"), progress)
    kind = "published" if stored.verified else "published, unverified"
    return EvaluationSubject(
        name=f"{model.name} ({kind})",
        predictions=stored.path,
        model=model,
        published_ap=published_ap(model, split),
    )


def find_labels_file(labels: Path | None, data: Path | None, split: str) -> Path:
    """Return the labels that were given, or those of the split below the dataset's root; raises ZooError."""
    if labels is not None:
        return labels
    root = f"--data ROOT (or BDD100K_ROOT) with labels/det_20/det_{split}.json; {LABELS_PAGE}"
    if data is None:
        problem = f"no labels of {split}: neither --labels nor the dataset's root is given"
        raise ZooError(problem, f"use --labels FILE, or {root}")
    found = data / "labels" / "det_20" / f"det_{split}.json"
    if not found.is_file():
        raise InputsError(found, f"there are no labels of {split}: the file does not exist", f"use {root}")
    return found


def published_ap(model: Model, split: str) -> float | None:
    """Return the box AP in percent that is published for a model on a split; None if none is."""
    return {"val": model.ap_val, "test": model.ap_test}.get(split)


# Scores and speeds to show


class SkippedRecord(msgspec.Struct, frozen=True):
    """A run or a speed record that is not shown."""

    name: str
    """A run's folder, relative to that of all runs; or the file of a speed record and its place in it."""
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class MeasuredResults(NamedTuple):
    """What is shown beside the published AP, and what is left out."""

    scores: Mapping[str, StoredScores] | None = None
    """On a split, by model; None if no runs were requested."""
    speeds: Mapping[str, Mapping[str, float]] = {}
    """Images per second, by device with precision and by model."""
    left_out: tuple[SkippedRecord, ...] = ()

    @property
    def aps(self) -> dict[str, float] | None:
        """The overall AP by model, in percent."""
        return None if self.scores is None else {model: _overall(each) or 0.0 for model, each in self.scores.items()}


def read_measured_results(
    models: Collection[str], runs: Path | None, speed: Path | None, split: str = "val"
) -> MeasuredResults:
    """Return the scores and speeds of some models that can be shown, and what is left out.

    Args:
        models: their names.
        runs: folder of runs; None for no scores.
        speed: file of speed records; None for no speeds.
        split: the part of the dataset that the scores are on.

    Raises:
        InputsError: no run below the folder has scores that can be shown.
        StorageError, InvalidFileError: the speed records cannot be read.
    """
    scores, skipped_runs = read_measured_scores(runs, models, split) if runs else (None, ())
    speeds, skipped_speeds = read_measured_speeds(speed, models) if speed else ({}, ())
    return MeasuredResults(scores, speeds, (*skipped_runs, *skipped_speeds))


def read_measured_scores(
    root: Path, models: Collection[str], split: str = "val"
) -> tuple[dict[str, StoredScores], tuple[SkippedRecord, ...]]:
    """Return the stored scores of each model that was run on a split, and the runs that are left out.

    All scores are against the same labels, see ``_choose_labels``. Of several runs of one model, the last by path is
    used.

    Raises:
        InputsError: no run below the folder has scores that can be shown.
    """
    reasons: dict[Path, str] = {}
    usable: dict[Path, tuple[str, StoredScores]] = {}
    names = (RUN_FILE, PREDICTIONS_FILE, SCORES_FILE, JOURNAL_PATTERN)
    for folder in sorted({path.parent for name in names for path in root.rglob(name)}):
        found = _read_scored_run(folder, models, split)
        if isinstance(found, str):
            reasons[folder] = found
        else:
            usable[folder] = found
    labels = _choose_labels([stored.labels for _, stored in usable.values()], split)
    chosen = {model: folder for folder, (model, stored) in usable.items() if stored.labels.sha256 == labels}
    for folder, (model, stored) in usable.items():
        if stored.labels.sha256 != labels:
            name = Path(stored.labels.path).name
            reasons[folder] = f"is scored against {name}, other labels than those of the runs shown"
        elif folder != chosen[model]:
            reasons[folder] = f"{chosen[model].relative_to(root).as_posix()} is shown for {model}"
    left_out = tuple(SkippedRecord(folder.relative_to(root).as_posix(), reasons[folder]) for folder in sorted(reasons))
    if not chosen:
        problem = "\n  ".join(("holds no run with scores that can be shown", *map(str, left_out)))
        raise InputsError(root, problem, f"`bdd100k-zoo eval --split {split}` scores every run")
    return {model: usable[folder][1] for model, folder in chosen.items()}, left_out


def _choose_labels(labels: Sequence[FileFingerprint], split: str) -> str | None:
    """Return the digest of the labels whose scores are shown.

    Labels with the file name of the split are preferred, then those that more runs are scored against, then those of
    the later run.
    """
    runs = Counter(each.sha256 for each in labels)
    preferred = {each.sha256: (Path(each.path).name == f"det_{split}.json", runs[each.sha256]) for each in labels}
    return max(reversed(preferred), key=preferred.__getitem__, default=None)


def _read_scored_run(folder: Path, models: Collection[str], split: str) -> tuple[str, StoredScores] | str:
    """Return the model and the scores of a finished run, or why they cannot be shown beside the published ones."""
    if not (folder / RUN_FILE).is_file() or not (folder / PREDICTIONS_FILE).is_file():
        if any(folder.glob(JOURNAL_PATTERN)):
            return "is not complete: the command that began it resumes it"
        return f"is no run: it has no {PREDICTIONS_FILE if (folder / RUN_FILE).is_file() else RUN_FILE}"
    try:
        record = read_run(folder)
    except InvalidFileError as error:
        return f"its {RUN_FILE} {error.problem}"
    except StorageError as error:
        return f"its {RUN_FILE} cannot be read: {error.reason}"
    stored = read_stored_scores(folder)
    if stored is None:
        exists = (folder / SCORES_FILE).is_file()
        problem = f"its {SCORES_FILE} is unreadable or of an earlier version" if exists else "is not scored"
        return f"{problem}: `bdd100k-zoo eval` scores it"
    if not stored.predictions.describes(folder / PREDICTIONS_FILE):
        return f"its scores are of another {PREDICTIONS_FILE}: `bdd100k-zoo eval` scores it again"
    request, other = record.request, record.weights.other
    if request.model not in models:
        return f"its model {request.model} is not among those shown"
    if request.split not in (split, None):
        return f"is on {request.split}, not on {split}"
    if other:
        return f"has {other}, not the published ones of {request.model}"
    if request.cfg_options:
        return f"has other settings: {', '.join(request.cfg_options)}"
    if request.limits:
        return f"was made with {_limits_text(record)}"
    if _overall(stored) is None:
        return "has no AP: its labels hold no object"
    if stored.lenient and stored.let_through:
        accepted = ", ".join(f"{each.count:,} {each.kind}" for each in stored.let_through)
        return f"is scored with --lenient, which accepted {accepted}"
    return request.model, stored


def _overall(stored: StoredScores) -> float | None:
    return stored.scores.get("AP", {}).get(OVERALL)


def read_measured_speeds(
    path: Path, models: Collection[str]
) -> tuple[dict[str, dict[str, float]], tuple[SkippedRecord, ...]]:
    """Return images per second by device with precision and by model, and the records that are left out.

    Of several records of one model on one device in one precision, the last is used.

    Raises:
        StorageError, InvalidFileError: the records cannot be read.
    """
    reasons: dict[int, str] = {}
    places: dict[tuple[str, str], int] = {}
    speeds: dict[str, dict[str, float]] = {}
    for place, rate in enumerate(read_speed_summaries(path), 1):
        if rate.model not in models:
            reasons[place] = f"its model {rate.model} is not among those shown"
            continue
        name = "".join(character if character.isprintable() else " " for character in rate.device_name)
        device = f"({name}, {rate.precision})"
        if (device, rate.model) in places:
            reasons[places[device, rate.model]] = f"a later record is shown for {rate.model} {device}"
        places[device, rate.model] = place
        speeds.setdefault(device, {})[rate.model] = rate.images_per_second
    return speeds, tuple(SkippedRecord(f"{path.name}, record {place}", reasons[place]) for place in sorted(reasons))
