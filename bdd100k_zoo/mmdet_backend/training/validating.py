"""How good a model is after an epoch: its detections on val, scored exactly as ``eval`` scores a predictions file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bdd100k_zoo.errors import NotFiniteError
from bdd100k_zoo.evaluation.bdd100k import score
from bdd100k_zoo.mm_common.models import refuse_non_finite_outputs
from bdd100k_zoo.mm_common.precision import arithmetic
from bdd100k_zoo.mmdet_backend.training.processes import gathered, mean, spread
from bdd100k_zoo.progress import SILENT
from bdd100k_zoo.records.tables import PredictionTable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor

    from bdd100k_zoo.inference.launch import Place
    from bdd100k_zoo.mmdet_backend.training.job import Watcher
    from bdd100k_zoo.records.scores import Scores
    from bdd100k_zoo.records.tables import LabelTable

FRAME, CLASS, SCORE = 0, 1, 2
CORNERS = slice(3, 7)


class Validation:
    """The images of val, each process's share of them, and their labels."""

    def __init__(
        self, loader: Any, labels: LabelTable, *, name: str, place: Place, device: torch.device, precision: str
    ) -> None:
        """Take what to validate on.

        Args:
            loader: see ``data.val_loader``.
            labels: those of all images.
            name: what errors call the model.
            place: which process this is.
            device: where the model is.
            precision: how it computes.
        """
        self._loader, self._labels, self._name = loader, labels, name
        self._place, self._device, self._precision = place, device, precision
        self._names = [loader.dataset.get_data_info(index)["img_id"] for index in range(len(loader.dataset))]
        self._numbers = {name: number for number, name in enumerate(self._names)}

    def run(self, model: Any, watcher: Watcher) -> Scores | None:
        """Score a model, by all processes together; its mode is evaluation afterwards.

        Returns:
            The scores; None where one of the processes was asked to stop.

        Raises:
            InputsError: the labels cannot be scored against.
            NotFiniteError: the model gives NaN or infinity for an image of any process; all processes raise it.
        """
        model.eval()
        refuse_non_finite_outputs(model, self._name, self._precision)
        spread(list(model.buffers()), self._place)
        report = watcher.progress if self._place.rank == 0 else SILENT
        rows = []
        failure: NotFiniteError | None = None
        with (
            report.task("Validating", len(self._names), "images") as task,
            torch.no_grad(),
            arithmetic(self._precision, self._device),
        ):
            for batch in self._loader:
                if watcher.stopping:
                    break
                try:
                    rows += self._detect(model, batch)
                except NotFiniteError as error:
                    failure = error  # raised below: the others would wait for this process
                    break
                task.advance(min(len(batch["inputs"]) * self._place.world, len(self._names)))
        failed, stopping = mean([float(failure is not None), float(watcher.stopping)], self._place, self._device)
        if failed:
            raise failure or NotFiniteError(self._name, self._precision, "an image of another process")
        if stopping:
            return None
        mine = torch.cat(rows) if rows else torch.empty((0, CORNERS.stop), dtype=torch.float64)
        found = gathered(mine, self._place, self._device).cpu().numpy()
        return score(self._labels, table_of(found, self._names, self._labels.path))

    def _detect(self, model: Any, batch: Any) -> list[Tensor]:
        try:
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


def table_of(rows: npt.NDArray[np.float64], names: list[str], path: Path) -> PredictionTable:
    """Make the table that a predictions file of some detections would be read as.

    Args:
        rows: [n, 7]: number of the frame, class, score, and corners as a detector gives them.
        names: the frames' names, by their numbers.
        path: what errors call the predictions.
    """
    rows = rows[np.lexsort((-rows[:, SCORE], rows[:, CLASS], rows[:, FRAME]))]
    boxes = rows[:, CORNERS] - (0.0, 0.0, 1.0, 1.0)
    boxes[:, 2:] -= boxes[:, :2]
    boxes[:, 2:] += 1
    counts = np.bincount(rows[:, FRAME].astype(np.int64), minlength=len(names))
    return PredictionTable(
        path=path,
        frames=tuple(names),
        videos=(None,) * len(names),
        starts=np.concatenate((np.zeros(1, np.int64), np.cumsum(counts))),
        classes=rows[:, CLASS].astype(np.uint8),
        scores=rows[:, SCORE].copy(),
        boxes=boxes,
    )
