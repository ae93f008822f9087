"""What is to be scored: predictions files, by their paths, by their runs' folders or by the models that were run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.errors import NoLabelsError, NoRunsError, ZooError
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE, RUN_FILE, read_run

if TYPE_CHECKING:
    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.prediction.run import RunRecord
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Model, Zoo


class FinishedRun(NamedTuple):
    """A finished run on disk."""

    folder: Path
    record: RunRecord


@dataclass(frozen=True, kw_only=True)
class EvaluationSubject:
    """One predictions file to score."""

    name: str
    predictions: Path
    model: Model | None
    published_ap: float | None
    """In percent, on the split."""

    @property
    def folder(self) -> Path | None:
        """The run's folder, where the file belongs to a run."""
        return _run_folder(self.predictions)


def find_runs(root: Path) -> list[FinishedRun]:
    """Find the finished runs below a folder, sorted by path; incomplete runs are skipped."""
    found = []
    for path in sorted(root.rglob(RUN_FILE)):
        if not (path.parent / PREDICTIONS_FILE).is_file():
            continue
        try:
            found.append(FinishedRun(path.parent, read_run(path.parent)))
        except ZooError:
            continue
    return found


def resolve_name(name: str, zoo: Zoo, split: str, runs: Path) -> list[EvaluationSubject]:
    """Return the predictions that a name stands for: a run's folder, a predictions file, or a model with all its runs.

    Args:
        name: a path, or the name of a model.
        zoo: the models that are known.
        split: the split whose runs and published APs are meant.
        runs: folder of the runs that names of models stand for.

    Raises:
        UnknownNameError: it is none of these.
        NoRunsError: there is no run of the model on the split.
        InvalidFileError, StorageError: the run's record cannot be read.
    """
    path = Path(name)
    if (path / PREDICTIONS_FILE).is_file():
        return [resolve_file(path / PREDICTIONS_FILE, zoo, split)]
    if path.exists() or path.suffix == ".json":
        return [resolve_file(path, zoo, split)]
    model = zoo[name]
    wanted = (model.name, split)
    found = [run.folder for run in find_runs(runs) if (run.record.request.model, run.record.request.split) == wanted]
    if not found:
        raise NoRunsError(runs, f"holds no run of {model.name} on {split}", split)
    return [resolve_file(folder / PREDICTIONS_FILE, zoo, split) for folder in found]


def resolve_file(path: Path, zoo: Zoo, split: str) -> EvaluationSubject:
    """Return a predictions file; raises InvalidFileError, StorageError where the run's record beside it cannot be read.

    Predictions made with other weights than the published ones have no published AP, and their name says so.
    """
    record = read_run(folder) if (folder := _run_folder(path)) else None
    if record is None:
        return EvaluationSubject(name=str(path), predictions=path, model=None, published_ap=None)
    model, other = next((each for each in zoo.known if each.name == record.request.model), None), record.weights.other
    return EvaluationSubject(
        name=f"{record.request.model} ({other})" if other else record.request.model,
        predictions=path,
        model=model,
        published_ap=None if other or model is None else _published_ap(model, split),
    )


def fetch_published(name: str, zoo: Zoo, split: str, store: Store, progress: Progress) -> EvaluationSubject:
    """Return the published predictions of a model; they are downloaded where the cache lacks them."""
    model = zoo[name]
    stored = store.fetch(model.artifact("preds"), progress)
    kind = "published" if stored.verified else "published, unverified"
    return EvaluationSubject(
        name=f"{model.name} ({kind})",
        predictions=stored.path,
        model=model,
        published_ap=_published_ap(model, split),
    )


def find_labels_file(labels: Path | None, data: Path | None, split: str) -> Path:
    """Find the labels of a split; raises NoLabelsError."""
    if labels is not None:
        return labels
    if data is None:
        raise NoLabelsError(split, None)
    found = data / "labels" / "det_20" / f"det_{split}.json"
    if not found.is_file():
        raise NoLabelsError(split, found)
    return found


def _published_ap(model: Model, split: str) -> float | None:
    return {"val": model.ap_val, "test": model.ap_test}.get(split)


def _run_folder(predictions: Path) -> Path | None:
    belongs_to_run = predictions.name == PREDICTIONS_FILE and (predictions.parent / RUN_FILE).is_file()
    return predictions.parent if belongs_to_run else None
