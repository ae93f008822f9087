"""The interface of a backend's detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bdd100k_zoo.data.detections import Detections


PRECISIONS = ("auto", "fp32", "tf32", "fp16", "bf16")
"""The precisions of a network: float32; float32 with factors rounded to 19 bits (TF32); 16 bits."""


def requested_precision(precision: str) -> str:
    """Return the precision for a requested one: for ``auto`` it is ``fp32`` on every device.

    A lower one would need evidence in ``docs/performance.md`` that boxes and AP stay within stated limits.
    """
    return "fp32" if precision == "auto" else precision


class DetectorFacts(Struct, frozen=True, kw_only=True):
    """The facts about a detector that a run records."""

    backend: str
    """``mmdet3`` or ``mmdet2``."""
    device: str
    """``cpu`` or ``cuda:N``."""
    device_name: str
    precision: str
    """One of ``PRECISIONS`` but ``auto``."""
    ops: str
    """The package that provides mmcv's compiled ops: ``torchvision`` or ``mmcv``."""
    optimised: bool | None = False
    """The model was changed for speed, which may change the last bits of results; None in records without it."""
    batch_size: int | None = None
    """Images at once, if a run has chosen it."""
    threads: int | None = None
    """CPU threads for one operation; None on another device."""
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
        """The padded shape; images of the same shape may share a batch."""


class BackendDetector(Protocol):
    """One model with its weights on one device."""

    @property
    def facts(self) -> DetectorFacts:
        """The facts that a run records."""

    @property
    def batch_size(self) -> int:
        """The batch size that suits the device; 1 on the CPU, where a larger one is not faster."""

    @property
    def batches_in_flight(self) -> int:
        """How many batches may be started before the first of them is finished: 1 or 2.

        At 1 only ``detect_prepared`` is called.
        """

    def detect(self, image: npt.NDArray[np.uint8]) -> Detections:
        """Return the objects in one image: uint8 [height, width, 3], BGR. Boxes are in that image's pixels."""

    def start_reader(self) -> None:
        """Set up the calling thread, which will only prepare images: it computes without other threads."""

    def prepare(self, image: npt.NDArray[np.uint8]) -> Prepared:
        """Preprocess one image on the CPU; several threads may call this at once. Raises ImagesError."""

    def detect_prepared(self, batch: Sequence[Any]) -> list[Detections]:
        """Return the objects in preprocessed images of one shape; boxes are in each image's own pixels.

        Raises:
            DeviceError: the device fails or has too little memory (``out_of_memory``). The images may be passed again,
                in smaller batches.
        """

    def start(self, batch: Sequence[Any]) -> Any:
        """Queue as much as the host need not wait for, and return what ``finish`` takes.

        Batches are finished in the order in which they are started. A started batch may be dropped.

        Raises:
            DeviceError: see ``detect_prepared``.
        """

    def finish(self, started: Any) -> list[Detections]:
        """Return what ``detect_prepared`` returns for a batch that was started. A batch may be finished once.

        Raises:
            DeviceError: see ``detect_prepared``.
        """
