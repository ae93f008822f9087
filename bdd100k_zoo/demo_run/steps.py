"""The steps of the demo: download, predict, eval, show and report on the frames that the package ships.

Nothing outside the demo's folder is written, and no request leaves this machine.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from msgspec.structs import replace

from bdd100k_zoo.backends import mmdet3
from bdd100k_zoo.data.scalabel_reader import read_label_frames
from bdd100k_zoo.demo_run.serving import serving
from bdd100k_zoo.errors import MissingPackageError, StorageError, list_first
from bdd100k_zoo.evaluation import evaluate
from bdd100k_zoo.files import storage_errors, write_atomically
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
DATA = Path(__file__).with_name("data")
"""The frames and their labels in the dataset's layout, written by ``python -m tools.demo_frames`` in a clone. The model
was trained on none of them."""
FRAMES = 24
"""Frames of val, which are detected and scored."""
TRAIN_FRAMES = 16
"""Frames of train, which the demo does not use: they let a user try ``train``."""
SPLIT = "val"
MIN_SCORE = 0.3
"""Detections with lower scores are not drawn."""


class Places:
    """The files and folders below the demo's folder."""

    def __init__(self, root: Path) -> None:
        """Create nothing."""
        self.root = root
        self.data = root / "data"
        """A dataset root, with train and val."""
        self.images = self.data / "images" / "100k" / SPLIT
        """The frames of val."""
        self.labels = self.data / "labels" / "det_20" / f"det_{SPLIT}.json"
        """Their labels."""
        self.cache = root / "cache"
        """The cache that the weights are downloaded to."""
        self.run = root / "run"
        """The predictions, with their record and scores."""
        self.pictures = root / "pictures"
        """The frames with the boxes that were detected."""
        self.report = root / "report.html"


def bundled_weights(zoo: Zoo) -> Path:
    """Return the path of the weights that the package ships."""
    return Path(unquote(urlsplit(zoo[MODEL].weights.address).path))


@contextmanager
def demo_folder(kept: Path | None) -> Iterator[Path]:
    """Yield an empty folder to work in: the one to keep, or a temporary one that is removed when the block ends.

    If the block fails, either folder is removed.

    Raises:
        StorageError: the folder to keep is not empty, or cannot be created.
    """
    folder = kept or Path(mkdtemp(prefix="bdd100k-zoo-demo-"))
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        others = sorted(folder.iterdir())
    if others:
        hint = "move them away, or choose another folder"
        raise StorageError(folder, f"is not empty; nothing was written:{list_first(others)}", hint)
    done = False
    try:
        yield folder
        done = True
    finally:
        if not (kept and done):
            rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Demo:
    """The steps of the demo, in their order."""

    zoo: Zoo
    places: Places
    progress: Progress

    def check(self) -> None:
        """Check that the packages that the steps need are installed; raises MissingPackageError."""
        mmdet3.import_backend()

    def copy_frames(self) -> int:
        """Copy the frames and labels of the package; return the number of labelled objects of val.

        Raises:
            StorageError: they cannot be read or written.
        """
        with storage_errors(DATA):
            # Only files that the package ships: file managers add others, such as .DS_Store.
            for path in (*DATA.rglob("*.jpg"), *DATA.rglob("*.json")):
                write_atomically(self.places.data / path.relative_to(DATA), path.read_bytes())
        return sum(len(frame.labels) for frame in read_label_frames(self.places.labels))

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
            record = predict.predict(predict.plan_run(request, self.progress), store, self.progress)
        if record is None:
            raise AssertionError("a single process returns the record of its run")
        return record

    def score(self) -> EvaluationResult:
        """Score the detections as the official evaluation does."""
        request = evaluate.EvaluateRequest(zoo=self.zoo, names=(str(self.places.run),), labels=self.places.labels)
        with self._store() as store:
            (evaluated,) = evaluate.evaluate(request, store, self.progress)
        return evaluated

    def draw_pictures(self) -> ShowResult:
        """Draw the detections into the frames, marked as matched, missed or false."""
        request = show.ShowRequest(
            predictions=self.places.run,
            images=(str(self.places.images),),
            out=self.places.pictures,
            labels=self.places.labels,
            min_score=MIN_SCORE,
        )
        return show.show_predictions(request, self.progress)

    def write_report(self) -> int | None:
        """Write the page; return its size in bytes, or None where the extra ``report`` is not installed."""
        request = report.ReportRequest(
            zoo=self.zoo,
            names=(str(self.places.run),),
            labels=self.places.labels,
            out=self.places.report,
            images=self.places.images,
            title="The demo: synthetic scenes",
        )
        try:
            return report.write_report(request, self.progress).size
        except MissingPackageError:
            return None

    @property
    def _file(self) -> Path:
        return bundled_weights(self.zoo)

    def _model(self, address: str) -> Model:
        """Return the model as if its weights were published at an address."""
        model = self.zoo[MODEL]
        return replace(model, weights=replace(model.weights, address=address))

    def _store(self) -> Store:
        return Store(self.places.cache, offline=False, mirrors=())
