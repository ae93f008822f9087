"""What prediction needs of a backend's detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bdd100k_zoo.data.detections import Detections


PRECISIONS = ("auto", "fp32", "tf32", "fp16", "bf16")
"""How a network may compute: in float32; in float32 with factors rounded to 19 bits (TF32); in 16 bits."""


def requested_precision(precision: str) -> str:
    """Return the precision for a wanted one: for ``auto`` it is ``fp32``, whatever the device.

    It may become a lower one only where ``docs/performance.md`` shows that boxes and AP stay within stated limits.
    """
    return "fp32" if precision == "auto" else precision


class DetectorFacts(Struct, frozen=True, kw_only=True):
    """What a run records about the detector that made it."""

    backend: str
    """``mmdet3`` or ``mmdet2``."""
    device: str
    """``cpu`` or ``cuda:N``."""
    device_name: str
    precision: str
    """One of ``PRECISIONS`` but ``auto``."""
    ops: str
    """The package that serves mmcv's compiled ops: ``torchvision`` or ``mmcv``."""
    optimised: bool | None = False
    """The model was changed for speed, which may change the last bits of results; None in records without it."""
    batch_size: int | None = None
    """Images at once, where a run has chosen it."""
    threads: int | None = None
    """Threads of the CPU for one operation; None on another device."""
    versions: Mapping[str, str]
    """Version by package, Python included."""
    random_weights: bool = False
    """The checkpoint's metadata states that its weights are random."""

    @property
    def device_kind(self) -> str:
        """The device's kind and name, without its number."""
        kind = self.device.partition(":")[0]
        return f"{kind} ({self.device_name})" if self.device_name else kind


class Prepared(Protocol):
    """One image, preprocessed on the CPU."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The padded shape: images of one shape may share a batch."""


class Detector(Protocol):
    """One model with its weights on one device."""

    @property
    def facts(self) -> DetectorFacts:
        """What a run records about this detector."""

    @property
    def batch_size(self) -> int:
        """How many images at once suit the device; 1 on the CPU, where more are not faster."""

    def detect(self, image: npt.NDArray[np.uint8]) -> Detections:
        """Return the objects in one image: uint8 [height, width, 3], BGR. Boxes are in that image's pixels."""

    def prepare(self, image: npt.NDArray[np.uint8]) -> Prepared:
        """Preprocess one image on the CPU; several threads may call this at once. Raises ImageShapeError."""

    def detect_prepared(self, batch: Sequence[Any]) -> list[Detections]:
        """Return the objects in preprocessed images of one shape; boxes are in each image's own pixels.

        Raises:
            DeviceError: the device's memory does not suffice (``out_of_memory``), or it fails. The images may be passed
                again, in smaller batches.
        """
