"""Which runs there are, which of their scores are shown, which recorded speeds are, and why the others are not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bdd100k_zoo.errors import NoRunsError, RecordError, StorageError, ZooError
from bdd100k_zoo.evaluation.scores import SCORES_FILE, read_stored_scores
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE, RUN_FILE, read_run
from bdd100k_zoo.prediction.speeds import read_speed_summaries

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bdd100k_zoo.evaluation.scores import FileFingerprint, StoredScores
    from bdd100k_zoo.prediction.run import RunRecord


JOURNAL_PATTERN = "journal-*.jsonl"
"""Those of a run, see ``records.journal``, which imports numpy."""


class FinishedRun(NamedTuple):
    """A finished run on disk."""

    folder: Path
    record: RunRecord


class SkippedRecord(msgspec.Struct, frozen=True):
    """A run or a speed record that is not shown."""

    name: str
    """A run's folder, below that of all runs; a speed record's file and place in it."""
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
        return None if self.scores is None else {model: _overall(kept) or 0.0 for model, kept in self.scores.items()}


def find_runs(root: Path) -> list[FinishedRun]:
    """Find the finished runs below a folder, sorted by path; what is no whole run is passed over."""
    found = []
    for path in sorted(root.rglob(RUN_FILE)):
        if not (path.parent / PREDICTIONS_FILE).is_file():
            continue
        try:
            found.append(FinishedRun(path.parent, read_run(path.parent)))
        except ZooError:
            continue
    return found


def read_measured_results(
    models: Collection[str], runs: Path | None, speed: Path | None, split: str = "val"
) -> MeasuredResults:
    """Return the scores and speeds to show of some models, and what is left out.

    Args:
        models: their names.
        runs: folder of runs; None for no scores.
        speed: file of speed records; None for no speeds.
        split: the part of the dataset that the scores are on.

    Raises:
        NoRunsError: no run below the folder has scores that can be shown.
        StorageError, RecordError: there are no speed records that can be read.
    """
    scores, without = read_measured_scores(runs, models, split) if runs else (None, ())
    speeds, beside = read_measured_speeds(speed, models) if speed else ({}, ())
    return MeasuredResults(scores, speeds, (*without, *beside))


def read_measured_scores(
    root: Path, models: Collection[str], split: str = "val"
) -> tuple[dict[str, StoredScores], tuple[SkippedRecord, ...]]:
    """Return the kept scores of each model that was run on a split, and the runs that are left out.

    All scores are against the same labels, see ``_labels_to_show``. Of several runs of one model, the last by path
    counts.

    Raises:
        NoRunsError: no run below the folder has scores that can be shown.
    """
    reasons: dict[Path, str] = {}
    usable: dict[Path, tuple[str, StoredScores]] = {}
    for folder in _run_folders(root):
        try:
            record, kept = _scored_run(folder)
            if reason := _reason_to_leave_out(record, kept, models, split):
                reasons[folder] = reason
            else:
                usable[folder] = record.request.model, kept
        except _UnusableError as error:
            reasons[folder] = str(error)
    labels = _labels_to_show([kept.labels for _, kept in usable.values()], split)
    chosen = {model: folder for folder, (model, kept) in usable.items() if kept.labels.sha256 == labels}
    for folder, (model, kept) in usable.items():
        if kept.labels.sha256 != labels:
            reasons[folder] = (
                f"is scored against {Path(kept.labels.path).name}, other labels than those of the runs shown"
            )
        elif folder != chosen[model]:
            reasons[folder] = f"{_name(chosen[model], root)} is shown for {model}"
    left_out = tuple(SkippedRecord(_name(folder, root), reasons[folder]) for folder in sorted(reasons))
    if not chosen:
        raise NoRunsError(root, "holds no run with scores that can be shown", split, tuple(map(str, left_out)))
    return {model: usable[folder][1] for model, folder in chosen.items()}, left_out


def _labels_to_show(labels: Sequence[FileFingerprint], split: str) -> str | None:
    """Return the digest of the labels that scores are shown against.

    Labels that are named as those of the split come first, then those that more runs are scored against, then those of
    the later run.
    """
    runs = Counter(each.sha256 for each in labels)
    preferred = {each.sha256: (Path(each.path).name == f"det_{split}.json", runs[each.sha256]) for each in labels}
    return max(reversed(preferred), key=preferred.__getitem__, default=None)


class _UnusableError(Exception):
    """A folder holds no run with scores; the text says why."""


def _run_folders(root: Path) -> list[Path]:
    """Find the folders that hold anything of a run of predictions, sorted by path."""
    names = (RUN_FILE, PREDICTIONS_FILE, SCORES_FILE, JOURNAL_PATTERN)
    return sorted({path.parent for name in names for path in root.rglob(name)})


def _name(folder: Path, root: Path) -> str:
    return folder.relative_to(root).as_posix()


def _scored_run(folder: Path) -> tuple[RunRecord, StoredScores]:
    """Read a finished run and its scores; raises _UnusableError."""
    if not (folder / RUN_FILE).is_file() or not (folder / PREDICTIONS_FILE).is_file():
        if any(folder.glob(JOURNAL_PATTERN)):
            raise _UnusableError("is not complete: the command that began it resumes it")
        raise _UnusableError(f"is no run: it has no {PREDICTIONS_FILE if (folder / RUN_FILE).is_file() else RUN_FILE}")
    try:
        record = read_run(folder)
    except RecordError as error:
        raise _UnusableError(f"its {RUN_FILE} {error.problem}") from error
    except StorageError as error:
        raise _UnusableError(f"its {RUN_FILE} cannot be read: {error.reason}") from error
    kept = read_stored_scores(folder)
    if kept is None:
        there = (folder / SCORES_FILE).is_file()
        problem = f"its {SCORES_FILE} is unreadable or of an earlier version" if there else "is not scored"
        raise _UnusableError(f"{problem}: `bdd100k-zoo eval` scores it")
    if not kept.predictions.describes(folder / PREDICTIONS_FILE):
        raise _UnusableError(f"its scores are of another {PREDICTIONS_FILE}: `bdd100k-zoo eval` scores it again")
    return record, kept


def _reason_to_leave_out(record: RunRecord, kept: StoredScores, models: Collection[str], split: str) -> str:
    """Return why scores cannot be set beside the published ones of a model; empty where they can."""
    request = record.request
    if request.model not in models:
        return _not_shown(request.model)
    if request.split not in (split, None):
        return f"is on {request.split}, not on {split}"
    if record.weights.other:
        return f"has {record.weights.other}, not the published ones of {request.model}"
    if request.cfg_options:
        return f"has settings of its own: {', '.join(request.cfg_options)}"
    if _overall(kept) is None:
        return "has no AP: its labels hold no object"
    if kept.lenient and kept.let_through:
        accepted = ", ".join(f"{each.count:,} {each.kind}" for each in kept.let_through)
        return f"is scored with --lenient, which has accepted {accepted}"
    return ""


def _not_shown(model: str) -> str:
    return f"its model {model} is not among those shown"


def _overall(kept: StoredScores) -> float | None:
    return kept.scores.get("AP", {}).get("OVERALL")


def read_measured_speeds(
    path: Path, models: Collection[str]
) -> tuple[dict[str, dict[str, float]], tuple[SkippedRecord, ...]]:
    """Return images per second by device with precision and by model, and the records that are left out.

    Of several records of one model on one device in one precision, the last counts.

    Raises:
        StorageError, RecordError: there are none that can be read.
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
    for (on, model), (_, images_per_second) in shown.items():
        speeds.setdefault(on, {})[model] = images_per_second
    return speeds, tuple(SkippedRecord(f"{path.name}, record {place}", reasons[place]) for place in sorted(reasons))
