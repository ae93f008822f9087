"""Labels and predictions of either format, Scalabel's or COCO's, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.errors import WrongFileError
from bdd100k_zoo.records.coco import read_coco_labels, read_coco_results
from bdd100k_zoo.records.sources import COCO_LABELS, COCO_RESULTS
from bdd100k_zoo.records.tables import read_label_table, read_prediction_table

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.records.tables import LabelTable, PredictionTable


def read_labels(path: Path, *, lenient: bool = False) -> LabelTable:
    """Read labels, whichever of the formats they are in; errors as those of ``records.tables``."""
    try:
        return read_label_table(path, lenient=lenient)
    except WrongFileError as error:
        if error.found != COCO_LABELS:
            raise
    return read_coco_labels(path, lenient=lenient)


def read_predictions(path: Path, labels: LabelTable, *, lenient: bool = False) -> PredictionTable:
    """Read predictions, whichever of the formats they are in; COCO results name their images by the ids of the labels.

    Errors as those of ``records.tables``.
    """
    try:
        return read_prediction_table(path, lenient=lenient)
    except WrongFileError as error:
        if error.found != COCO_RESULTS:
            raise
    return read_coco_results(path, labels.path, lenient=lenient)
