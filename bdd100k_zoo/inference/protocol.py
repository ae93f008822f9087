"""What the runner asks of a backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bdd100k_zoo.boxes import Detections


class DetectorFacts(Struct, frozen=True, kw_only=True):
    """What a run records about the detector that made it."""

    backend: str
    """``mmdet3`` or ``mmdet2``."""
    device: str
    """``cpu`` or ``cuda:N``."""
    device_name: str
    precision: str
    ops: str
    """Who serves mmcv's compiled ops: ``torchvision`` or ``mmcv``."""
    versions: Mapping[str, str]
    """Version by package, Python included."""


class Detector(Protocol):
    """One model with its weights on one device."""

    @property
    def facts(self) -> DetectorFacts:
        """What to record about this detector."""

    def detect(self, image: npt.NDArray[np.uint8]) -> Detections:
        """Find objects in one image: uint8 [height, width, 3], BGR. Boxes are in that image's pixels."""
