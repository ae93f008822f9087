"""One model of mmdet 2 with its weights on one device: images → detections, as ``mmdet.apis`` finds them."""

from __future__ import annotations

import warnings
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from mmcv import Config
from mmcv.ops import get_compiling_cuda_version
from mmdet.apis import init_detector
from mmdet.datasets.pipelines import Compose

from bdd100k_zoo.backends.common import devices
from bdd100k_zoo.backends.common.checkpoint import load_weights
from bdd100k_zoo.backends.common.config import check_postprocessing, translate_config_errors
from bdd100k_zoo.backends.common.devices import device_errors, device_name
from bdd100k_zoo.backends.common.models import (
    FRAME_SHAPE,
    check_finite,
    check_number_of_classes,
    refuse_non_finite_outputs,
    translate_image_errors,
)
from bdd100k_zoo.backends.common.packages import stack_versions
from bdd100k_zoo.backends.common.precision import torch_defaults, use_precision
from bdd100k_zoo.backends.protocol import DetectorFacts, requested_precision
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.errors import DeviceError, PrecisionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor, nn

LIBRARY = "mmdet 2"


class PreparedImage(NamedTuple):
    """See ``inference.protocol.Prepared``."""

    shape: tuple[int, ...]
    inputs: Tensor
    """float32 [3, height, width], normalised and padded."""
    meta: dict[str, Any]


class Mmdet2Detector:
    """A built model in evaluation mode; see ``inference.protocol.Detector``."""

    batch_size = 1
    """How many images at once suit the device: more were never measured."""

    def __init__(
        self,
        model: nn.Module,
        pipeline: Compose,
        device: torch.device,
        *,
        name: str,
        blamed: bool,
        random_weights: bool = False,
    ) -> None:
        with device_errors(device):
            self._model: Any = model.to(device).eval()
        self._pipeline, self._device, self._name, self._blamed = pipeline, device, name, blamed
        refuse_non_finite_outputs(self._model, name, "fp32")
        self._facts = _facts(device, random_weights=random_weights)

    @property
    def facts(self) -> DetectorFacts:
        """What to record about this detector."""
        return self._facts

    def detect(self, image: npt.NDArray[np.uint8]) -> Detections:
        """Find objects in one image: uint8 [height, width, 3], BGR. Boxes are in that image's pixels.

        Raises:
            ImageShapeError: it is no such array, or too thin to be scaled.
            ConfigError: the model fails, and its settings are not those of the package.
            DeviceError: the device's memory does not suffice, or it fails.
            NotFiniteError: the model gives NaN or infinity.
        """
        (found,) = self.detect_prepared([self.prepare(image)])
        return found

    def prepare(self, image: npt.NDArray[np.uint8]) -> PreparedImage:
        """Do the CPU's part of one image's work; raises ImageShapeError."""
        with translate_image_errors(image):
            return _prepared(self._pipeline, image)

    def detect_prepared(self, batch: Sequence[PreparedImage]) -> list[Detections]:
        """Find objects in images of one padded shape; raises ConfigError, DeviceError, NotFiniteError as ``detect``."""
        with self._failures(), torch.no_grad(), use_precision("fp32", self._device):
            inputs = torch.stack([each.inputs for each in batch]).to(self._device)
            found = self._model(
                return_loss=False, rescale=True, img=[inputs], img_metas=[[each.meta for each in batch]]
            )
        detections = [_detections(by_class) for by_class in found]
        check_finite(detections, name=self._name, precision="fp32")
        return detections

    @contextmanager
    def _failures(self) -> Iterator[None]:
        told_as = translate_config_errors("run the model", name=self._name, library=LIBRARY)
        blamed = told_as if self._blamed else nullcontext()
        with blamed, device_errors(self._device), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about what mmdet 2 calls of it
            yield


@torch_defaults()
def build_detector(
    config: Mapping[str, Any],
    *,
    name: str,
    checkpoint: Path,
    device: str = "auto",
    precision: str = "auto",
    customised: bool = False,
) -> Mmdet2Detector:
    """Build a model and load its weights, strictly; the arguments and errors are those of mmdet 3's ``build_detector``.

    ``config`` is what ``config.load_config`` gives.
    """
    target = resolve_device(device)
    resolve_precision(precision, target)
    model, pipeline = build_model(config, name=name), build_pipeline(config, name=name)
    random = load_weights(model, checkpoint, model_name=name)
    return Mmdet2Detector(model, pipeline, target, name=name, blamed=customised, random_weights=random)


@torch_defaults()
def build_model(config: Mapping[str, Any], *, name: str) -> nn.Module:
    """Build what a config describes, on the CPU and with random weights, by ``mmdet.apis.init_detector``.

    Raises:
        ConfigError: mmdet cannot build it, it could choose no boxes, or it tells other than ten classes apart.
    """
    with translate_config_errors("build the model", name=name, library=LIBRARY), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_postprocessing(config["model"], name=name)
        model: nn.Module = init_detector(Config(dict(config)), None, device="cpu")
    check_number_of_classes(model, name)
    return model


def build_pipeline(config: Mapping[str, Any], *, name: str) -> Compose:
    """Build the test pipeline for pixels in memory and try it on a grey frame; raises ConfigError."""
    with translate_config_errors("build the test pipeline", name=name, library=LIBRARY):
        pipeline = Compose(config["data"]["test"]["pipeline"])
    with translate_config_errors("run the test pipeline", name=name, library=LIBRARY):
        _prepared(pipeline, np.full((*FRAME_SHAPE, 3), 128, np.uint8))
    return pipeline


def check_config(config: Mapping[str, Any], *, name: str) -> None:
    """Check that a config's test pipeline runs and that its model can be built; raises ConfigError."""
    build_pipeline(config, name=name)
    build_model(config, name=name)


def resolve_device(wanted: str) -> torch.device:
    """Find the device that is wanted; see ``devices.resolve_device``.

    Raises:
        DeviceError: it is none, this machine lacks it, or mmcv-full was built without its ops for it.
    """
    without = get_compiling_cuda_version() == "not available"
    device = devices.resolve_device("cpu" if without and wanted == "auto" else wanted)
    if without and device.type != "cpu":
        raise DeviceError(wanted, "this mmcv-full was built for the CPU alone")
    return device


def resolve_precision(wanted: str, device: torch.device) -> str:
    """Find the precision that is wanted; raises PrecisionError where it is not fp32."""
    precision = requested_precision(wanted)
    if precision != "fp32":
        raise PrecisionError(precision, str(device), "the backend mmdet2 computes in fp32 alone")
    return precision


def _prepared(pipeline: Compose, image: npt.NDArray[np.uint8]) -> PreparedImage:
    packed = pipeline({"img": image})
    (inputs,), (meta,) = packed["img"], packed["img_metas"]
    return PreparedImage(tuple(inputs.shape[-2:]), inputs, meta.data)


def _detections(by_class: Sequence[npt.NDArray[np.float32]]) -> Detections:
    """Put the boxes of all classes in the order of their scores; of equal ones, in that of the classes."""
    rows = np.concatenate(by_class).astype(np.float32, copy=False)
    classes = np.repeat(np.arange(len(CLASSES)), [len(each) for each in by_class])
    order = np.argsort(-rows[:, 4], kind="stable")
    return Detections(rows[order, :4], rows[order, 4], classes[order])


def _facts(device: torch.device, *, random_weights: bool) -> DetectorFacts:
    return DetectorFacts(
        backend="mmdet2",
        device=str(device),
        device_name=device_name(device),
        precision="fp32",
        ops="mmcv",
        threads=torch.get_num_threads() if device.type == "cpu" else None,
        versions=stack_versions() | {"torch": str(torch.__version__)},
        random_weights=random_weights,
    )
