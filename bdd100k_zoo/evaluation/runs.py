"""Which scores and recorded speeds of runs are shown beside the published ones, and why the others are not.

Whatever ``table`` and ``list`` load must not import numpy.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bdd100k_zoo.errors import InvalidFileError, NoRunsError, StorageError
from bdd100k_zoo.evaluation.scores import OVERALL, SCORES_FILE, read_stored_scores
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE, RUN_FILE, read_run
from bdd100k_zoo.prediction.speeds import read_speed_summaries

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bdd100k_zoo.evaluation.scores import FileFingerprint, StoredScores
    from bdd100k_zoo.prediction.run import RunRecord


JOURNAL_PATTERN = "journal-*.jsonl"
"""Of a run's journals; written here again because ``prediction.journal`` imports numpy."""


class SkippedRecord(msgspec.Struct, frozen=True):
    """A run or a speed record that is not shown."""

    name: str
    """A run's folder, relative to that of all runs; a speed record's file and place in it."""
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class MeasuredResults(NamedTuple):
    """What is shown beside the published AP, and what is not."""

    scores: Mapping[str, StoredScores] | None = None
    """On a split, by model; None where no runs were asked for."""
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
        NoRunsError: no run below the folder has scores that can be shown.
        StorageError, InvalidFileError: the speed records cannot be read.
    """
    scores, skipped_runs = read_measured_scores(runs, models, split) if runs else (None, ())
    speeds, skipped_speeds = read_measured_speeds(speed, models) if speed else ({}, ())
    return MeasuredResults(scores, speeds, (*skipped_runs, *skipped_speeds))


def read_measured_scores(
    root: Path, models: Collection[str], split: str = "val"
) -> tuple[dict[str, StoredScores], tuple[SkippedRecord, ...]]:
    """Return the stored scores of each model that was run on a split, and the runs that are left out.

    All scores are against the same labels, see ``_choose_labels``. Of several runs of one model, the last by path
    counts.

    Raises:
        NoRunsError: no run below the folder has scores that can be shown.
    """
    reasons: dict[Path, str] = {}
    usable: dict[Path, tuple[str, StoredScores]] = {}
    names = (RUN_FILE, PREDICTIONS_FILE, SCORES_FILE, JOURNAL_PATTERN)
    for folder in sorted({path.parent for name in names for path in root.rglob(name)}):
        try:
            record, stored = _read_scored_run(folder)
            if reason := _reason_to_leave_out(record, stored, models, split):
                reasons[folder] = reason
            else:
                usable[folder] = record.request.model, stored
        except _UnusableError as error:
            reasons[folder] = str(error)
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
        raise NoRunsError(root, "holds no run with scores that can be shown", split, tuple(map(str, left_out)))
    return {model: usable[folder][1] for model, folder in chosen.items()}, left_out


def _choose_labels(labels: Sequence[FileFingerprint], split: str) -> str | None:
    """Return the digest of the labels whose scores are shown.

    Labels named like those of the split come first, then those that more runs are scored against, then those of the
    later run.
    """
    runs = Counter(each.sha256 for each in labels)
    preferred = {each.sha256: (Path(each.path).name == f"det_{split}.json", runs[each.sha256]) for each in labels}
    return max(reversed(preferred), key=preferred.__getitem__, default=None)


class _UnusableError(Exception):
    """A folder holds no run with scores; the text says why."""


def _read_scored_run(folder: Path) -> tuple[RunRecord, StoredScores]:
    """Read a finished run and its scores; raises _UnusableError."""
    if not (folder / RUN_FILE).is_file() or not (folder / PREDICTIONS_FILE).is_file():
        if any(folder.glob(JOURNAL_PATTERN)):
            raise _UnusableError("is not complete: the command that began it resumes it")
        raise _UnusableError(f"is no run: it has no {PREDICTIONS_FILE if (folder / RUN_FILE).is_file() else RUN_FILE}")
    try:
        record = read_run(folder)
    except InvalidFileError as error:
        raise _UnusableError(f"its {RUN_FILE} {error.problem}") from error
    except StorageError as error:
        raise _UnusableError(f"its {RUN_FILE} cannot be read: {error.reason}") from error
    stored = read_stored_scores(folder)
    if stored is None:
        there = (folder / SCORES_FILE).is_file()
        problem = f"its {SCORES_FILE} is unreadable or of an earlier version" if there else "is not scored"
        raise _UnusableError(f"{problem}: `bdd100k-zoo eval` scores it")
    if not stored.predictions.describes(folder / PREDICTIONS_FILE):
        raise _UnusableError(f"its scores are of another {PREDICTIONS_FILE}: `bdd100k-zoo eval` scores it again")
    return record, stored


def _reason_to_leave_out(record: RunRecord, stored: StoredScores, models: Collection[str], split: str) -> str:
    """Return why scores are not comparable with the published ones of a model; empty where they are."""
    if record.request.model not in models:
        return _not_shown(record.request.model)
    if record.request.split not in (split, None):
        return f"is on {record.request.split}, not on {split}"
    if record.weights.other:
        return f"has {record.weights.other}, not the published ones of {record.request.model}"
    if record.request.cfg_options:
        return f"has settings of its own: {', '.join(record.request.cfg_options)}"
    if _overall(stored) is None:
        return "has no AP: its labels hold no object"
    if stored.lenient and stored.let_through:
        accepted = ", ".join(f"{each.count:,} {each.kind}" for each in stored.let_through)
        return f"is scored with --lenient, which has accepted {accepted}"
    return ""


def _not_shown(model: str) -> str:
    return f"its model {model} is not among those shown"


def _overall(stored: StoredScores) -> float | None:
    return stored.scores.get("AP", {}).get(OVERALL)


def read_measured_speeds(
    path: Path, models: Collection[str]
) -> tuple[dict[str, dict[str, float]], tuple[SkippedRecord, ...]]:
    """Return images per second by device with precision and by model, and the records that are left out.

    Of several records of one model on one device in one precision, the last counts.

    Raises:
        StorageError, InvalidFileError: the records cannot be read.
    """
    reasons: dict[int, str] = {}
    shown: dict[tuple[str, str], tuple[int, float]] = {}
    for place, rate in enumerate(read_speed_summaries(path), 1):
        if rate.model not in models:
            reasons[place] = _not_shown(rate.model)
            continue
        named = "".join(character if character.isprintable() else " " for character in rate.device_name)
        by = f"({named}, {rate.precision})", rate.model
        if by in shown:
            reasons[shown[by][0]] = f"a later record is shown for {rate.model} {by[0]}"
        shown[by] = place, rate.images_per_second
    speeds: dict[str, dict[str, float]] = {}
    for (device, model), (_, images_per_second) in shown.items():
        speeds.setdefault(device, {})[model] = images_per_second
    return speeds, tuple(SkippedRecord(f"{path.name}, record {place}", reasons[place]) for place in sorted(reasons))
