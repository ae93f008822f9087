"""The parts of a detector that both versions of mmdet share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from bdd100k_zoo.backends.common.config import translate_config_errors
from bdd100k_zoo.backends.common.devices import device_errors, device_name
from bdd100k_zoo.backends.common.models import check_finite, refuse_non_finite_outputs
from bdd100k_zoo.backends.common.packages import stack_versions
from bdd100k_zoo.backends.common.precision import HALF_DTYPES, force_float32_heads, use_precision
from bdd100k_zoo.backends.protocol import DetectorFacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import numpy.typing as npt
    from torch import nn

    from bdd100k_zoo.data.detections import Detections


class BaseDetector(ABC):
    """A model in evaluation mode; see ``protocol.Detector``."""

    BACKEND: ClassVar[str]
    LIBRARY: ClassVar[str] = "mmdet"
    """What errors call mmdet."""
    GPU_BATCH_SIZE: ClassVar[int] = 1

    def __init__(
        self,
        model: nn.Module,
        pipeline: Any,
        device: torch.device,
        *,
        name: str,
        customised: bool,
        precision: str = "fp32",
        as_built: bool = False,
        random_weights: bool = False,
    ) -> None:
        """Move a model to its device, and change it in place for speed and for its precision.

        Args:
            model: with its weights.
            pipeline: the test pipeline.
            device: where to compute.
            name: what errors call the model.
            customised: some settings are a user's; if the model fails, they are named as the cause.
            precision: how the network computes.
            as_built: compute with the layers that mmdet builds, without the changes that make them faster.
            random_weights: the checkpoint states that its weights are random.

        Raises:
            DeviceError: the device fails or has too little memory.
        """
        with device_errors(device):
            self._model: Any = model.to(device).eval()
            optimised = not as_built and self._speed_up(device, precision)
        if precision in HALF_DTYPES:
            force_float32_heads(self._model, device)
        refuse_non_finite_outputs(self._model, name, precision)
        self._pipeline, self._device, self._precision = pipeline, device, precision
        self._name, self._customised = name, customised
        self.facts = DetectorFacts(
            backend=self.BACKEND,
            device=str(device),
            device_name=device_name(device),
            precision=precision,
            optimised=optimised,
            ops="mmcv" if find_spec("mmcv._ext") else "torchvision",  # as ``mmdet3.ops.install_ops`` decides
            threads=torch.get_num_threads() if device.type == "cpu" else None,
            versions=stack_versions() | {"torch": str(torch.__version__)},
            random_weights=random_weights,
        )

    @property
    def batch_size(self) -> int:
        """The batch size that suits the device."""
        return 1 if self._device.type == "cpu" else self.GPU_BATCH_SIZE

    @abstractmethod
    def prepare(self, image: npt.NDArray[np.uint8]) -> Any:
        """Preprocess one image on the CPU; raises ImagesError."""

    @abstractmethod
    def _run_model(self, batch: Sequence[Any]) -> list[Detections]:
        """Run the model on preprocessed images of one padded shape."""

    def _speed_up(self, device: torch.device, precision: str) -> bool:  # noqa: ARG002
        """Change the model for speed, and return whether it was changed."""
        return False

    def detect(self, image: npt.NDArray[np.uint8]) -> Detections:
        """Return the objects in one image: uint8 [height, width, 3], BGR. Boxes are in that image's pixels.

        Raises:
            ImagesError: it is not such an array, or too thin to be scaled.
            ConfigError: the model fails, and its settings are not those of the package.
            DeviceError: the device fails or has too little memory.
            NotFiniteError: the model returns NaN or infinity.
        """
        (found,) = self.detect_prepared([self.prepare(image)])
        return found

    def detect_prepared(self, batch: Sequence[Any]) -> list[Detections]:
        """Return the objects in images of one padded shape; raises ConfigError, DeviceError, NotFiniteError."""
        with self._translate_errors(), use_precision(self._precision, self._device):
            found = self._run_model(batch)
        check_finite(found, name=self._name, precision=self._precision)
        return found

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Report failures. Those of mmdet with the package's own settings are bugs, and are not translated."""
        settings = translate_config_errors("run the model", name=self._name, library=self.LIBRARY)
        with settings if self._customised else nullcontext(), device_errors(self._device):
            yield
