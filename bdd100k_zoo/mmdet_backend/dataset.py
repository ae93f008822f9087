"""BDD100K's own label files as a training dataset of mmdet, under the name ``BDD100KDataset``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bdd100k_zoo.categories import ALIASES, CLASSES, IGNORED
from bdd100k_zoo.errors import RecordError
from bdd100k_zoo.mmdet_backend import import_backend
from bdd100k_zoo.records.labels import read_labels

import_backend()

from mmdet.datasets.base_det_dataset import BaseDetDataset  # noqa: E402  (not before it has ops that work)
from mmdet.registry import DATASETS  # noqa: E402

if TYPE_CHECKING:
    from bdd100k_zoo.records.labels import Label, LabelFrame

INDICES = {name: index for index, name in enumerate(CLASSES)}
INDICES |= {name: INDICES[stands_for] for name, stands_for in (*ALIASES.items(), *IGNORED.items())}


@DATASETS.register_module()
class BDD100KDataset(BaseDetDataset):  # type: ignore[misc]
    """Frames of labels (``ann_file``, see ``records.labels``) with their images (``data_prefix["img"]``).

    Frames without any box are left out of training where ``filter_cfg`` says ``filter_empty_gt``. Labels that cannot
    be read, or a box of an unknown category, raise StorageError, InputsError, FrameNameError or RecordError.
    """

    METAINFO: ClassVar[dict[str, Any]] = {"classes": CLASSES}

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read all frames, as mmdet's other datasets give them."""
        file, images = Path(self.ann_file), self.data_prefix["img"]
        return [_frame(file, images, frame) for frame in read_labels(file)]

    def filter_data(self) -> list[dict[str, Any]]:
        """Drop the frames that ``filter_cfg`` leaves out of training; raises RecordError where none is left."""
        choosing = not self.test_mode and (self.filter_cfg or {}).get("filter_empty_gt")
        kept = [frame for frame in self.data_list if frame["instances"] or not choosing]
        if not kept:
            raise RecordError(Path(self.ann_file), "holds no box to learn from" if choosing else "holds no frame")
        return kept


def _frame(file: Path, images: str, frame: LabelFrame) -> dict[str, Any]:
    found = (_instance(file, frame.name, label) for label in frame.labels if label.box2d is not None)
    return {
        "img_id": frame.name,
        "img_path": str(Path(images, frame.name)),
        "width": frame.size.width,
        "height": frame.size.height,
        "instances": [instance for instance in found if _has_area(instance["bbox"])],
    }


def _instance(file: Path, frame: str, label: Label) -> dict[str, Any]:
    """Turn a label into an instance: the detector's corners x2, y2 lie behind the last pixel, the format's on it."""
    box = label.box2d
    if label.category not in INDICES or box is None:
        problem = f"frame {frame!r}, label {label.id!r}: unknown category {label.category!r}"
        raise RecordError(file, problem)
    return {
        "bbox": [box.x1, box.y1, box.x2 + 1, box.y2 + 1],
        "bbox_label": INDICES[label.category],
        "ignore_flag": int(label.is_region or label.category in IGNORED),
    }


def _has_area(box: list[float]) -> bool:
    """Tell whether a box is at least a pixel wide and high; mmdet's COCO dataset passes over the others as well."""
    return box[2] - box[0] >= 1 and box[3] - box[1] >= 1
