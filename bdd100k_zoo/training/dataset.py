"""BDD100K's own label files as a training dataset of mmdet, under the name ``BDD100KDataset``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bdd100k_zoo.backends.mmdet3 import import_backend
from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES, IGNORED_CLASSES
from bdd100k_zoo.data.scalabel import is_crowd, to_bbox
from bdd100k_zoo.data.scalabel_reader import read_label_frames
from bdd100k_zoo.errors import InvalidFileError

import_backend()  # before mmdet is imported, which needs working ops

from mmdet.datasets.base_det_dataset import BaseDetDataset  # noqa: E402
from mmdet.registry import DATASETS  # noqa: E402

if TYPE_CHECKING:
    from bdd100k_zoo.data.scalabel import Bbox, ImageSize, Label, LabelFrame

CLASS_INDICES = {name: index for index, name in enumerate(CLASSES)}
CLASS_INDICES |= {
    name: CLASS_INDICES[stands_for] for name, stands_for in (*CLASS_ALIASES.items(), *IGNORED_CLASSES.items())
}


@DATASETS.register_module()
class BDD100KDataset(BaseDetDataset):  # type: ignore[misc]
    """Frames of labels (``ann_file``, see ``data.scalabel``) with their images (``data_prefix["img"]``).

    Boxes are clipped to their frame. Those that mmdet's ``CocoDataset`` drops are dropped here too: boxes outside the
    frame, or less than a pixel wide or high. Training leaves out frames whose shorter side is less than ``min_size`` of
    ``filter_cfg`` and, with ``filter_empty_gt``, frames without a remaining box (``CocoDataset`` trains on frames of
    which it has dropped all boxes). A file that cannot be read, or a box of an unknown category, raises StorageError,
    InputsError or InvalidFileError.
    """

    METAINFO: ClassVar[dict[str, Any]] = {"classes": CLASSES}

    def load_data_list(self) -> list[dict[str, Any]]:
        """Return all frames, in the form of mmdet's other datasets."""
        file, images = Path(self.ann_file), self.data_prefix["img"]
        return [_frame(file, images, frame) for frame in read_label_frames(file)]

    def filter_data(self) -> list[dict[str, Any]]:
        """Return the frames that ``filter_cfg`` keeps for training; raises InvalidFileError where none is left."""
        settings = {} if self.test_mode else self.filter_cfg or {}
        without_empty, min_size = settings.get("filter_empty_gt", False), settings.get("min_size", 0)
        kept = [
            frame
            for frame in self.data_list
            if (frame["instances"] or not without_empty) and min(frame["width"], frame["height"]) >= min_size
        ]
        if not kept:
            problem = (
                "no frame that a model can be trained on: expected a box inside a frame" if settings else "no frame"
            )
            raise InvalidFileError(Path(self.ann_file), f"holds {problem}")
        return kept


def _frame(file: Path, images: str, frame: LabelFrame) -> dict[str, Any]:
    found = (_instance(file, frame, label) for label in frame.labels if label.box2d is not None)
    return {
        "img_id": frame.name,
        "img_path": str(Path(images, frame.name)),
        "width": frame.size.width,
        "height": frame.size.height,
        "instances": [instance for instance in found if instance],
    }


def _instance(file: Path, frame: LabelFrame, label: Label) -> dict[str, Any] | None:
    """Return a label as an instance of mmdet; None if its box is dropped."""
    if label.category not in CLASS_INDICES or label.box2d is None:
        problem = f"frame {frame.name!r}, label {label.id!r}: unknown category {label.category!r}"
        raise InvalidFileError(file, problem)
    if (corners := clip_box(to_bbox(label.box2d), frame.size)) is None:
        return None
    return {
        "bbox": corners,
        "bbox_label": CLASS_INDICES[label.category],
        "ignore_flag": int(is_crowd(label.category, label.attributes)),
    }


def clip_box(box: Bbox, size: ImageSize) -> list[float] | None:
    """Return the part of a box inside a frame as x1, y1, x2, y2, where x2 and y2 are behind the last pixel.

    None for the boxes that ``parse_data_info`` of mmdet's ``CocoDataset`` drops. It does not clip boxes itself: Resize
    does, in every training pipeline.
    """
    x1, x2 = max(box.x, 0), min(box.x + box.width, size.width)
    y1, y2 = max(box.y, 0), min(box.y + box.height, size.height)
    overlap = max(0, x2 - x1) * max(0, y2 - y1)
    return [x1, y1, x2, y2] if overlap and box.width >= 1 and box.height >= 1 else None
