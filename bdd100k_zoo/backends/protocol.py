"""What the runner asks of a backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bdd100k_zoo.data.detections import Detections


PRECISIONS = ("auto", "fp32", "tf32", "fp16", "bf16")
"""How a network may compute: in float32, exactly; in float32 whose factors are rounded to 19 bits; in 16 bits."""


def requested_precision(precision: str) -> str:
    """Give the precision that a wanted one stands for: ``auto`` for ``fp32``, whatever the device.

    It may stand for less only where ``docs/performance.md`` shows that boxes and AP stay within stated limits.
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
    """Who serves mmcv's compiled ops: ``torchvision`` or ``mmcv``."""
    optimised: bool | None = False
    """The model was changed for speed, in ways that may change last bits; None in records that do not tell."""
    batch_size: int | None = None
    """Images at once, where a run has chosen it."""
    threads: int | None = None
    """Threads of the CPU that one operation is spread over; None where another device computes."""
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
    """One image, made ready for a detector on the CPU."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The padded shape: images of one shape may share a batch."""


class Detector(Protocol):
    """One model with its weights on one device."""

    @property
    def facts(self) -> DetectorFacts:
        """What to record about this detector."""

    @property
    def batch_size(self) -> int:
        """How many images at once suit the device; 1 on the CPU, which gains nothing by more."""

    def detect(self, image: npt.NDArray[np.uint8]) -> Detections:
        """Find objects in one image: uint8 [height, width, 3], BGR. Boxes are in that image's pixels."""

    def prepare(self, image: npt.NDArray[np.uint8]) -> Prepared:
        """Do the CPU's part of one image's work; several threads may call it at once. Raises ImageShapeError."""

    def detect_prepared(self, batch: Sequence[Any]) -> list[Detections]:
        """Find objects in images of one shape that ``prepare`` gave; boxes are in each image's own pixels.

        Raises:
            DeviceError: the device's memory does not suffice (``out_of_memory``), or it fails. The same images may be
                given again, in smaller batches.
        """
