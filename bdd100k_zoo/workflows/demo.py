"""The whole chain on drawn scenes: nothing outside a folder is read or written, nothing outside this machine asked."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from msgspec.structs import replace

from bdd100k_zoo.backends import mmdet3
from bdd100k_zoo.demo.serving import serving
from bdd100k_zoo.demo.writing import write_scenes
from bdd100k_zoo.errors import FilesExistError, MissingPackageError
from bdd100k_zoo.evaluation import evaluate
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.hub.cache import Store
from bdd100k_zoo.hub.download import fetch_all
from bdd100k_zoo.prediction import predict
from bdd100k_zoo.reporting import report, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bdd100k_zoo.evaluation.evaluate import EvaluationResult
    from bdd100k_zoo.hub.cache import StoredFile
    from bdd100k_zoo.prediction.run import RunRecord
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Model, Zoo
    from bdd100k_zoo.reporting.show import ShowResult

MODEL = "demo_fcos_r18_fpn"
FRAMES = 24
SEED = 1
"""Of the scenes; the model has learnt from those of seed 0, and was scored on those of val of seed 0."""
SPLIT = "val"
MIN_SCORE = 0.3
"""Detections below are left out of the pictures."""


class Places(NamedTuple):
    """Where everything stands below the demo's folder."""

    root: Path

    @property
    def data(self) -> Path:
        """The scenes, laid out as the dataset is."""
        return self.root / "data"

    @property
    def images(self) -> Path:
        """The frames."""
        return self.data / "images" / "100k" / SPLIT

    @property
    def labels(self) -> Path:
        """Their labels."""
        return self.data / "labels" / "det_20" / f"det_{SPLIT}.json"

    @property
    def cache(self) -> Path:
        """What is downloaded."""
        return self.root / "cache"

    @property
    def run(self) -> Path:
        """The predictions, with their record and scores."""
        return self.root / "run"

    @property
    def pictures(self) -> Path:
        """The frames with what was found in them."""
        return self.root / "pictures"

    @property
    def report(self) -> Path:
        """The page."""
        return self.root / "report.html"


def bundled_weights(zoo: Zoo) -> Path:
    """Find the weights that come with the package."""
    return Path(unquote(urlsplit(zoo[MODEL].weights.address).path))


@contextmanager
def demo_folder(kept: Path | None) -> Iterator[Path]:
    """Give an empty folder to work in: the one that is to be kept, or else one that is gone when the block ends.

    A block that does not end well leaves nothing behind in either.

    Raises:
        OtherFilesError: there is something in the folder that is to be kept.
        StorageError: it cannot be made.
    """
    if kept is None:
        folder = Path(mkdtemp(prefix="bdd100k-zoo-demo-"))
    else:
        folder = kept
        _make_empty(folder)
    done = False
    try:
        yield folder
        done = True
    finally:
        if not (kept and done):
            rmtree(folder, ignore_errors=True)


def _make_empty(folder: Path) -> None:
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        others = tuple(sorted(folder.iterdir()))
    if others:
        raise FilesExistError(folder, others)


@dataclass(frozen=True)
class Demo:
    """The steps of the chain, each to be taken after those before it."""

    zoo: Zoo
    places: Places
    progress: Progress

    def check(self) -> None:
        """See to what the steps need; raises MissingPackageError."""
        mmdet3.import_backend()

    def draw_scenes(self) -> int:
        """Draw frames with labels; give the number of labelled objects.

        Raises:
            StorageError: they cannot be written.
        """
        written = write_scenes(self.places.data, val=FRAMES, seed=SEED, progress=self.progress)
        return sum(len(frame.labels) for frame in written.splits[SPLIT])

    def download(self) -> StoredFile:
        """Fetch the weights from a server of this process into the folder's own cache; their digest is checked.

        Raises:
            DigestMismatchError, TransferError, StorageError: as for any download.
        """
        with serving(self._file) as address, self._store() as store:
            return fetch_all(store, [self._model(address).artifact("weights")], self.progress, require_digest=True)[0]

    def predict(self) -> RunRecord:
        """Detect what is in the frames, on the CPU."""
        request = predict.PredictRequest(
            model=self._model(f"http://127.0.0.1/{self._file.name}"),
            images=(str(self.places.images),),
            out=self.places.run,
            split=SPLIT,
            device="cpu",
        )
        with self._store() as store:
            record = predict.predict(request, store, self.progress)
        if record is None:
            raise AssertionError("one process alone does a run whole")
        return record

    def score(self) -> EvaluationResult:
        """Score the detections as the official evaluation does."""
        request = evaluate.EvaluateRequest(zoo=self.zoo, names=(str(self.places.run),), labels=self.places.labels)
        with self._store() as store:
            (evaluated,) = evaluate.evaluate(request, store, self.progress)
        return evaluated

    def draw_pictures(self) -> ShowResult:
        """Draw the detections into the frames, matched, missed and false ones apart."""
        request = show.ShowRequest(
            predictions=self.places.run,
            images=(str(self.places.images),),
            out=self.places.pictures,
            labels=self.places.labels,
            min_score=MIN_SCORE,
        )
        return show.show_predictions(request, self.progress)

    def write_report(self) -> int | None:
        """Write the page; give its size in bytes, or None where the extra ``report`` is not installed."""
        request = report.ReportRequest(
            zoo=self.zoo,
            names=(str(self.places.run),),
            labels=self.places.labels,
            out=self.places.report,
            images=self.places.images,
            title="The demo: drawn scenes",
        )
        try:
            return report.write_report(request, self.progress).size
        except MissingPackageError:
            return None

    @property
    def _file(self) -> Path:
        return bundled_weights(self.zoo)

    def _model(self, address: str) -> Model:
        """Give the model as if its weights were published at an address."""
        model = self.zoo[MODEL]
        return replace(model, weights=replace(model.weights, address=address))

    def _store(self) -> Store:
        return Store(self.places.cache, offline=False, mirrors=())
