"""Models of mmdet 2, built and run as ``mmdet.apis`` does it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from mmcv import Config
from mmcv.ops import get_compiling_cuda_version
from mmdet.apis import init_detector
from mmdet.datasets.pipelines import Compose

from bdd100k_zoo.backends.common import devices
from bdd100k_zoo.backends.common.config import check_postprocessing, translate_config_errors
from bdd100k_zoo.backends.common.detector import (
    FRAME_SHAPE,
    BaseDetector,
    check_number_of_classes,
    translate_image_errors,
)
from bdd100k_zoo.backends.common.precision import torch_defaults, unsupported_precision
from bdd100k_zoo.backends.mmdet2 import MMDET2
from bdd100k_zoo.backends.mmdet2.config import load_config as load_config
from bdd100k_zoo.backends.protocol import requested_precision
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from torch import Tensor, nn

LIBRARY = "mmdet 2"
"""What errors call it."""


class PreparedImage(NamedTuple):
    """See ``protocol.Prepared``."""

    shape: tuple[int, ...]
    inputs: Tensor
    """float32 [3, height, width], normalised and padded."""
    meta: dict[str, Any]


class MmdetDetector(BaseDetector):
    """A model of mmdet 2."""

    BACKEND = "mmdet2"
    LIBRARY = LIBRARY

    def prepare(self, image: npt.NDArray[np.uint8]) -> PreparedImage:
        """Preprocess one image on the CPU; raises ImagesError."""
        with translate_image_errors(image):
            return preprocess_image(self._pipeline, image)

    @torch.no_grad()
    def _run_model(self, batch: Sequence[PreparedImage]) -> list[Detections]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch deprecates some of what mmdet 2 calls
            inputs = torch.stack([each.inputs for each in batch]).to(self._device)
            metas = [each.meta for each in batch]
            found = self._model(return_loss=False, rescale=True, img=[inputs], img_metas=[metas])
        return [concatenate_classes(by_class) for by_class in found]


@torch_defaults()
def build_model(config: Mapping[str, Any], *, name: str) -> nn.Module:
    """Build the model of a config (see ``config.load_config``) by ``mmdet.apis``, on the CPU with random weights.

    Raises:
        ConfigError: mmdet cannot build it, its post-processing settings do not fit, or it does not have ten classes.
        MissingPackageError: it has a backbone of mmcls, which is not installed.
    """
    if str(config["model"].get("backbone", {}).get("type")).startswith("mmcls."):
        MMDET2.import_package("mmcls.models")
    with warnings.catch_warnings(), translate_config_errors("build the model", name=name, library=LIBRARY):
        warnings.simplefilter("ignore")
        check_postprocessing(config["model"], name=name)
        model: nn.Module = init_detector(Config(dict(config)), None, device="cpu")
    check_number_of_classes(model, name)
    return model


build_meta_model = build_model
"""mmdet 2 always allocates memory for parameters."""


def build_pipeline(config: Mapping[str, Any], *, name: str) -> Compose:
    """Build the test pipeline for images in memory and run it on a grey frame; raises ConfigError."""
    with translate_config_errors("build the test pipeline", name=name, library=LIBRARY):
        pipeline = Compose(config["data"]["test"]["pipeline"])
    with translate_config_errors("run the test pipeline", name=name, library=LIBRARY):
        preprocess_image(pipeline, np.full((*FRAME_SHAPE, 3), 128, np.uint8))
    return pipeline


def check_config(config: Mapping[str, Any], *, name: str) -> None:
    """Check that a config's test pipeline runs and that its model can be built; raises ConfigError."""
    build_pipeline(config, name=name)
    build_model(config, name=name)


def resolve_device(wanted: str) -> torch.device:
    """Return the device to use; see ``devices.resolve_device``. ``auto`` is the CPU if mmcv-full has no CUDA ops.

    Raises:
        DeviceError: there is no such device, or mmcv-full was built without ops for it.
    """
    cpu_only = get_compiling_cuda_version() == "not available"
    device = devices.resolve_device("cpu" if cpu_only and wanted == "auto" else wanted)
    if cpu_only and device.type != "cpu":
        raise DeviceError(wanted, "this mmcv-full was built for the CPU only")
    return device


def resolve_precision(wanted: str, device: torch.device) -> str:
    """Return the precision to use; raises DeviceError if it is not fp32."""
    precision = requested_precision(wanted)
    if precision != "fp32":
        raise unsupported_precision(precision, device, "the backend mmdet2 only computes in fp32")
    return precision


def preprocess_image(pipeline: Compose, image: npt.NDArray[np.uint8]) -> PreparedImage:
    """Run the test pipeline on one image."""
    packed = pipeline({"img": image})
    (inputs,), (meta,) = packed["img"], packed["img_metas"]
    return PreparedImage(tuple(inputs.shape[-2:]), inputs, meta.data)


def concatenate_classes(by_class: Sequence[npt.NDArray[np.float32]]) -> Detections:
    """Merge the rows (x1, y1, x2, y2, score) of all classes by descending score; of equal scores, in class order."""
    rows = np.concatenate(by_class).astype(np.float32, copy=False)
    classes = np.repeat(np.arange(len(CLASSES)), [len(each) for each in by_class])
    order = np.argsort(-rows[:, 4], kind="stable")
    return Detections(rows[order, :4], rows[order, 4], classes[order])
