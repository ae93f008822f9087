"""What a detector found in one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.categories import CLASSES


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes of one image, in the pixel coordinates of the image as it is shown (after any EXIF rotation)."""

    boxes: npt.NDArray[np.float32]
    """[n, 4]: x1, y1, x2, y2 of the corners, in pixels; x2 and y2 are the right and lower border, exclusive."""
    scores: npt.NDArray[np.float32]
    """[n]: confidence from 0 to 1."""
    classes: npt.NDArray[np.int64]
    """[n]: indices into ``categories.CLASSES``."""

    def __post_init__(self) -> None:
        """Check shapes and types: a mix-up here would be silent everywhere else."""
        _expect("boxes", self.boxes, np.float32, (len(self.boxes), 4))
        _expect("scores", self.scores, np.float32, (len(self.boxes),))
        _expect("classes", self.classes, np.int64, (len(self.boxes),))
        if len(self) and not 0 <= self.classes.min() <= self.classes.max() < len(CLASSES):
            raise ValueError(f"classes: expected indices from 0 to {len(CLASSES) - 1}")

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def empty(cls) -> Detections:
        """No detections at all."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def _expect(name: str, array: npt.NDArray[np.generic], dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        expected = f"{np.dtype(dtype)} {list(shape)}"
        raise ValueError(f"{name}: expected {expected}, found {array.dtype} {list(array.shape)}")
