"""Detectors with either version of mmdet, and checks of their models, images and results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from bdd100k_zoo.backends.common.config import describe_error, translate_config_errors
from bdd100k_zoo.backends.common.devices import compute_in_this_thread, device_errors, device_name
from bdd100k_zoo.backends.common.packages import stack_versions
from bdd100k_zoo.backends.common.precision import HALF_DTYPES, force_float32_boxes, use_precision
from bdd100k_zoo.backends.protocol import DetectorFacts
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.errors import ConfigError, ImagesError, NotFiniteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt
    from torch import nn

    from bdd100k_zoo.data.detections import Detections


FRAME_SHAPE = (720, 1280)
"""Height and width of a frame of BDD100K, in pixels."""


@contextmanager
def translate_image_errors(image: Any) -> Iterator[None]:
    """Check that a value is an image in memory, and report errors of the test pipeline in the block.

    Raises:
        ImagesError: it is not a non-empty uint8 [height, width, 3], or the pipeline fails.
    """
    is_array = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
    if not (is_array and image.shape[2] == 3 and image.size):
        raise _refused_image(image, "expected a numpy array, uint8 [height, width, 3] in BGR order, not empty")
    try:
        yield
    # ``build_pipeline`` has run it on a frame, so the image is the cause, whatever error OpenCV raises.
    except Exception as error:
        raise _refused_image(image, f"the test pipeline cannot process it ({describe_error(error)})") from error


def _refused_image(image: object, problem: str) -> ImagesError:
    kind = type(image)
    found = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    if isinstance(image, np.ndarray):
        found = f"{image.dtype} {list(image.shape)}"
    hint = "pass the path of an image file, or an array as `cv2.imread` returns it; leave out very thin images"
    return ImagesError(f"{found}: {problem}", hint)


def check_number_of_classes(model: nn.Module, name: str) -> None:
    """Check that a model's heads have ten classes; raises ConfigError."""
    # The first stage of a two-stage detector separates objects from background, with a num_classes of its own.
    head = getattr(model, "roi_head", None) or getattr(model, "bbox_head", None) or model
    numbers = (getattr(part, "num_classes", None) for part in head.modules())
    found = sorted({number for number in numbers if isinstance(number, int)})
    if found != [len(CLASSES)]:
        named = ", ".join(map(str, found)) or "none"
        raise ConfigError(name, f"expected heads of {len(CLASSES)} classes, found num_classes {named}")


def refuse_non_finite_outputs(model: nn.Module, name: str, precision: str) -> None:
    """Make the heads of a model check their raw outputs before post-processing, in evaluation mode.

    Heads compare scores with a threshold, which NaN never exceeds: the boxes would be missing silently.

    Args:
        model: changed in place; a second call changes nothing.
        name: what errors call the model.
        precision: the one it computes in.
    """
    head: Any
    for head in model.modules():
        for method in ("predict_by_feat", "get_bboxes"):  # of mmdet 3 and mmdet 2
            chosen = getattr(head, method, None)
            if chosen and not hasattr(chosen, "checks_outputs"):
                setattr(head, method, _with_checked_outputs(head, chosen, name, precision))


def _with_checked_outputs(head: nn.Module, choose: Callable[..., Any], name: str, precision: str) -> Callable[..., Any]:
    def checked(*arguments: Any, **named: Any) -> Any:
        if not head.training:
            outputs = _tensors((arguments, tuple(named.values())))
            # A sum is finite only if all its terms are; float64 does not overflow. All outputs are checked at once,
            # because each check waits for the GPU.
            sums = [each.sum(dtype=torch.float64).to(outputs[0].device) for each in outputs]
            if sums and not torch.stack(sums).isfinite().all():
                raise NotFiniteError(name, precision)
        return choose(*arguments, **named)

    checked.checks_outputs = True  # type: ignore[attr-defined]
    return checked


def _tensors(node: Any) -> list[torch.Tensor]:
    if isinstance(node, torch.Tensor):
        return [node] if node.is_floating_point() else []
    return [each for part in node for each in _tensors(part)] if isinstance(node, (list, tuple)) else []


class BaseDetector(ABC):
    """A model in evaluation mode; see ``protocol.BackendDetector``."""

    BACKEND: ClassVar[str]
    LIBRARY: ClassVar[str] = "mmdet"
    """What errors call mmdet."""
    GPU_BATCH_SIZE: ClassVar[int] = 1
    GPU_BATCHES_IN_FLIGHT: ClassVar[int] = 1

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
            force_float32_boxes(self._model, device)
        refuse_non_finite_outputs(self._model, name, precision)
        self._pipeline, self._device, self._precision = pipeline, device, precision
        self._name, self._customised = name, customised
        self.batches_in_flight = 1 if device.type == "cpu" else self.GPU_BATCHES_IN_FLIGHT
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

    def start_reader(self) -> None:
        """Set up the calling thread, which will only prepare images: it computes without other threads."""
        compute_in_this_thread()

    @abstractmethod
    def prepare(self, image: npt.NDArray[np.uint8]) -> Any:
        """Preprocess one image on the CPU; raises ImagesError."""

    def _start_model(self, batch: Sequence[Any]) -> Any:
        """Queue what the host need not wait for, and return what ``_run_model`` takes: here, the images themselves."""
        return batch

    @abstractmethod
    def _run_model(self, started: Any) -> list[Detections]:
        """Run the model on preprocessed images of one padded shape, or what is left of it."""

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
        return self.finish(self.start(batch))

    def start(self, batch: Sequence[Any]) -> Any:
        """Queue the network for images of one padded shape, where the host need not wait; see ``BackendDetector``."""
        with self._translate_errors(), use_precision(self._precision, self._device):
            return self._start_model(batch)

    def finish(self, started: Any) -> list[Detections]:
        """Return the objects in a batch that was started; raises ConfigError, DeviceError, NotFiniteError."""
        with self._translate_errors(), use_precision(self._precision, self._device):
            found = self._run_model(started)
        if not all(np.isfinite(each.boxes).all() and np.isfinite(each.scores).all() for each in found):
            raise NotFiniteError(self._name, self._precision)
        return found

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Report failures. Those of mmdet with the package's own settings are bugs, and are not translated."""
        settings = translate_config_errors("run the model", name=self._name, library=self.LIBRARY)
        with settings if self._customised else nullcontext(), device_errors(self._device):
            yield
