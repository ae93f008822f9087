"""Labels and predictions in any format, Scalabel's, BDD100K's older ones or COCO's, as tables that can be scored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bdd100k_zoo.records.coco import read_coco_labels, read_coco_results
from bdd100k_zoo.records.sources import shape_of
from bdd100k_zoo.records.tables import check_boxes, read_label_table, read_prediction_table

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.records.tables import LabelTable, PredictionTable


def read_labels(path: Path, *, lenient: bool = False) -> LabelTable:
    """Read labels in any format; errors as those of ``records.tables``, its ``check_boxes`` included."""
    read = read_coco_labels if shape_of(path) == "COCO labels" else read_label_table
    table = read(path, lenient=lenient)
    return replace(table, let_through=table.let_through + check_boxes(table, lenient=lenient))


def read_predictions(path: Path, labels: LabelTable, *, lenient: bool = False) -> PredictionTable:
    """Read predictions in any format; COCO results name their images by the ids of the labels, or by file names.

    Errors as those of ``records.tables``, its ``check_boxes`` included.
    """
    if shape_of(path) == "COCO results":
        table = read_coco_results(path, labels.path, lenient=lenient)
    else:
        table = read_prediction_table(path, lenient=lenient)
    return replace(table, let_through=table.let_through + check_boxes(table, lenient=lenient))
