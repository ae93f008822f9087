"""What is to be scored: predictions files, by their paths, by their runs' folders or by the models that were run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bdd100k_zoo.errors import NoLabelsError, NoRunsError
from bdd100k_zoo.evaluation.runs import find_runs
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE, RUN_FILE, read_run

if TYPE_CHECKING:
    from bdd100k_zoo.hub.cache import Store
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Model, Zoo


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
        """The run's folder, where the file is a run's."""
        return _folder_of(self.predictions)


@dataclass(frozen=True)
class SubjectFinder:
    """Where subjects are looked for."""

    zoo: Zoo
    split: str
    runs: Path
    """Folder of the runs that names of models stand for."""

    def named(self, name: str) -> list[EvaluationSubject]:
        """Give what a name stands for: a run's folder, a predictions file, or a model, of which all runs count.

        Raises:
            UnknownNameError: it is none of these.
            NoRunsError: the model was not run on the split.
            RecordError, StorageError: the run's record cannot be read.
        """
        path = Path(name)
        if (path / PREDICTIONS_FILE).is_file():
            return [self.of_run(path)]
        if path.exists() or path.suffix == ".json":
            return [self.of_file(path)]
        model = self.zoo[name]
        wanted = (model.name, self.split)
        runs = [run for run in find_runs(self.runs) if (run.record.request.model, run.record.request.split) == wanted]
        if not runs:
            raise NoRunsError(self.runs, f"holds no run of {model.name} on {self.split}", self.split)
        return [self.of_run(run.folder) for run in runs]

    def of_run(self, folder: Path) -> EvaluationSubject:
        """Return the predictions of a run."""
        return self.of_file(folder / PREDICTIONS_FILE)

    def of_file(self, path: Path) -> EvaluationSubject:
        """Return a predictions file; raises RecordError, StorageError where the record beside it cannot be read.

        Predictions of other weights than the published ones have no published AP, and their name states it.
        """
        record = read_run(folder) if (folder := _folder_of(path)) else None
        if record is None:
            return EvaluationSubject(name=str(path), predictions=path, model=None, published_ap=None)
        name, other = record.request.model, record.weights.other
        model = next((each for each in self.zoo.known if each.name == name), None)
        return EvaluationSubject(
            name=f"{name} ({other})" if other else name,
            predictions=path,
            model=model,
            published_ap=None if other else self._published_ap(model),
        )

    def published(self, name: str, store: Store, progress: Progress) -> EvaluationSubject:
        """Give the published predictions of a model, which are downloaded where they are not in the cache."""
        model = self.zoo[name]
        stored = store.fetch(model.artifact("preds"), progress)
        published = self._published_ap(model)
        kind = "published" if stored.verified else "published, unverified"
        return EvaluationSubject(
            name=f"{model.name} ({kind})", predictions=stored.path, model=model, published_ap=published
        )

    def _published_ap(self, model: Model | None) -> float | None:
        if model is None:
            return None
        return {"val": model.ap_val, "test": model.ap_test}.get(self.split)


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


def _folder_of(predictions: Path) -> Path | None:
    is_runs_own = predictions.name == PREDICTIONS_FILE and (predictions.parent / RUN_FILE).is_file()
    return predictions.parent if is_runs_own else None
