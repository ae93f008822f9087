"""Validation after an epoch: detections on val, scored exactly as ``eval`` scores a predictions file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bdd100k_zoo.backends.common.detector import refuse_non_finite_outputs
from bdd100k_zoo.backends.common.devices import device_errors
from bdd100k_zoo.backends.common.precision import use_precision
from bdd100k_zoo.data.tables import PredictionTable
from bdd100k_zoo.errors import DeviceError, NotFiniteError
from bdd100k_zoo.evaluation.scoring import score_predictions
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.training.distributed import all_gather_rows, all_reduce_mean, broadcast_tensors

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor

    from bdd100k_zoo.data.tables import LabelTable
    from bdd100k_zoo.evaluation.scores import Scores
    from bdd100k_zoo.prediction.launch import ProcessRank
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.training.job import TrainingObserver

# The columns of the rows that processes exchange: float64 holds the float32 of a detector exactly.
FRAME_COLUMN, CLASS_COLUMN, SCORE_COLUMN = 0, 1, 2
BOX_COLUMNS = slice(3, 7)


class Validation:
    """The images of val, this process's share of them, and their labels."""

    def __init__(
        self, loader: Any, labels: LabelTable, *, name: str, place: ProcessRank, device: torch.device, precision: str
    ) -> None:
        """Prepare validation.

        Args:
            loader: see ``loaders.build_val_loader``.
            labels: those of all images.
            name: what errors call the model.
            place: which process this is.
            device: where the model is.
            precision: how the model computes.
        """
        self._loader, self._labels, self._name = loader, labels, name
        self._place, self._device, self._precision = place, device, precision
        self._names = [loader.dataset.get_data_info(index)["img_id"] for index in range(len(loader.dataset))]
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._most: int | None = None  # images at once, once the memory did not suffice for more

    def run(self, model: Any, observer: TrainingObserver) -> Scores | None:
        """Score a model on val, by all processes together, and leave it in evaluation mode.

        Returns:
            The scores; None where one of the processes was asked to stop.

        Raises:
            InputsError: the labels cannot be scored against.
            NotFiniteError: the model gives NaN or infinity for an image of any process; all processes raise it.
        """
        model.eval()
        refuse_non_finite_outputs(model, self._name, self._precision)
        broadcast_tensors(list(model.buffers()), self._place)
        report = observer.progress if self._place.rank == 0 else NO_PROGRESS
        rows = []
        failure: NotFiniteError | None = None
        with (
            report.task("Validating", len(self._names), "images") as task,
            torch.no_grad(),
            use_precision(self._precision, self._device),
        ):
            for batch in self._loader:
                if observer.stop.asked:
                    break
                try:
                    rows += self._detect(model, batch, report)
                except NotFiniteError as error:
                    failure = error  # raised below: the others would wait for this process
                    break
                task.advance(min(len(batch["inputs"]) * self._place.world, len(self._names)))
        flags = [float(failure is not None), float(observer.stop.asked)]
        failed, stopping = all_reduce_mean(flags, self._place, self._device)
        if failed:
            raise failure or NotFiniteError(self._name, self._precision, "an image of another process")
        if stopping:
            return None
        mine = torch.cat(rows) if rows else torch.empty((0, BOX_COLUMNS.stop), dtype=torch.float64)
        found = all_gather_rows(mine, self._place, self._device).numpy()
        return score_predictions(self._labels, build_prediction_table(found, self._names, self._labels.path))

    def _detect(self, model: Any, batch: Any, report: Progress) -> list[Tensor]:
        """Return the rows of a batch; one that does not fit into the device's memory is halved, as in a run."""
        images = len(batch["inputs"])
        if self._most is None or images <= self._most:
            try:
                return self._detect_at_once(model, batch)
            except DeviceError as error:
                if not error.out_of_memory or images == 1:
                    raise
            self._most = (images + 1) // 2
            report.warn(
                f"the device has no memory for the validation of {images} images at once: batches have {self._most}"
            )
        # Outside of the except clause: there, the error would keep what was on the device.
        parts = (slice(start, start + self._most) for start in range(0, images, self._most))
        taken = [{key: batch[key][part] for key in ("inputs", "data_samples")} for part in parts]
        return [row for each in taken for row in self._detect(model, each, report)]

    def _detect_at_once(self, model: Any, batch: Any) -> list[Tensor]:
        try:
            with device_errors(self._device):
                rows = [self._rows(sample) for sample in model.val_step(batch)]
            if not all(bool(each.isfinite().all()) for each in rows):
                raise NotFiniteError(self._name, self._precision)
        except NotFiniteError as error:
            names = " or ".join(str(sample.img_id) for sample in batch["data_samples"])
            raise NotFiniteError(error.model, error.precision, names) from error
        return rows

    def _rows(self, sample: Any) -> Tensor:
        found = sample.pred_instances
        number = torch.full_like(found.scores, self._numbers[sample.img_id], dtype=torch.float64)
        columns = (number, found.labels.double(), found.scores.double())
        return torch.cat((torch.stack(columns, 1), found.bboxes.reshape(-1, 4).double()), 1).cpu()


def build_prediction_table(rows: npt.NDArray[np.float64], names: list[str], path: Path) -> PredictionTable:
    """Return the table that reading a predictions file of these detections would return.

    Args:
        rows: [n, 7]: number of the frame, class, score, and corners as a detector gives them.
        names: the frames' names, by their numbers.
        path: what errors call the predictions.
    """
    rows = rows[np.lexsort((-rows[:, SCORE_COLUMN], rows[:, CLASS_COLUMN], rows[:, FRAME_COLUMN]))]
    # As a file is written and read: x2 and y2 are the corner minus 1, and a box's width is x2 - x1 + 1. In float64 the
    # steps do not cancel out to the last bit, so they are taken one by one.
    boxes = rows[:, BOX_COLUMNS] - (0.0, 0.0, 1.0, 1.0)
    boxes[:, 2:] -= boxes[:, :2]
    boxes[:, 2:] += 1
    counts = np.bincount(rows[:, FRAME_COLUMN].astype(np.int64), minlength=len(names))
    return PredictionTable(
        path=path,
        frames=tuple(names),
        videos=(None,) * len(names),
        starts=np.concatenate((np.zeros(1, np.int64), np.cumsum(counts))),
        classes=rows[:, CLASS_COLUMN].astype(np.uint8),
        scores=rows[:, SCORE_COLUMN].copy(),
        boxes=boxes,
    )
