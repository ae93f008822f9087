"""One model with its weights on one device: images → detections, through mmdet's own pipeline and heads."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmdet.registry import MODELS

from bdd100k_zoo.backends.common.checkpoint import load_weights
from bdd100k_zoo.backends.common.config import (
    check_postprocessing,
    mmdet_default_scope,
    translate_config_errors,
    without_pretrained,
)
from bdd100k_zoo.backends.common.devices import device_errors, device_name, resolve_device
from bdd100k_zoo.backends.common.models import (
    FRAME_SHAPE,
    check_finite,
    check_number_of_classes,
    refuse_non_finite_outputs,
)
from bdd100k_zoo.backends.common.packages import stack_versions
from bdd100k_zoo.backends.common.precision import (
    HALF_DTYPES,
    force_float32_heads,
    resolve_precision,
    torch_defaults,
    use_precision,
)
from bdd100k_zoo.backends.mmdet3.allocator import keep_freed_memory
from bdd100k_zoo.backends.mmdet3.fast_cpu import optimize_for_cpu, patch_model, to_channels_last
from bdd100k_zoo.backends.mmdet3.ops import install_ops
from bdd100k_zoo.backends.mmdet3.preprocessing import (
    PreparedImage,
    build_pipeline,
    collate_batch,
    padding_divisor,
    preprocess_batch,
    preprocess_image,
    split_detections,
)
from bdd100k_zoo.backends.protocol import DetectorFacts
from bdd100k_zoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from mmcv.transforms import Compose
    from mmengine.config import Config
    from torch import nn

    from bdd100k_zoo.data.detections import Detections


class MmdetDetector:
    """A built model in evaluation mode; see ``inference.protocol.Detector``."""

    def __init__(
        self,
        model: nn.Module,
        pipeline: Compose,
        device: torch.device,
        *,
        name: str,
        customised: bool,
        precision: str = "fp32",
        as_built: bool = False,
        random_weights: bool = False,
    ) -> None:
        with device_errors(device):
            self._model: Any = model.to(device).eval()
            optimised = not as_built and _speed_up(self._model, device, precision)
        if precision in HALF_DTYPES:
            force_float32_heads(self._model, device)
        refuse_non_finite_outputs(self._model, name, precision)
        self._pipeline = pipeline
        self._divisor = padding_divisor(model)
        self._device = device
        self._name = name
        self._customised = customised
        self._precision = precision
        self._facts = _facts(device, precision, optimised=optimised, random_weights=random_weights)

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

    @property
    def batch_size(self) -> int:
        """How many images at once suit the device."""
        return 1 if self._device.type == "cpu" else 8

    def prepare(self, image: npt.NDArray[np.uint8]) -> PreparedImage:
        """Do the CPU's part of one image's work; raises ImageShapeError."""
        return preprocess_image(self._pipeline, image, self._divisor, pinned=self._device.type == "cuda")

    def detect_prepared(self, batch: Sequence[PreparedImage]) -> list[Detections]:
        """Find objects in images of one padded shape; raises ConfigError, DeviceError, NotFiniteError as ``detect``."""
        with self._failures(), torch.inference_mode(), use_precision(self._precision, self._device):
            found = split_detections(self._model.test_step(collate_batch(batch, self._device)))
        check_finite(found, name=self._name, precision=self._precision)
        return found

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """With the package's own settings, what mmdet stumbles over is no user's fault and told as it is."""
        blamed = translate_config_errors("run the model", name=self._name) if self._customised else nullcontext()
        with blamed, device_errors(self._device):
            yield


@torch_defaults()
def build_detector(
    config: Config,
    *,
    name: str,
    checkpoint: Path,
    device: str = "auto",
    precision: str = "auto",
    customised: bool = False,
    as_built: bool = False,
) -> MmdetDetector:
    """Build a model and load its weights, strictly.

    Args:
        config: what ``config.load_config`` gives.
        name: what errors call the model.
        checkpoint: the weights.
        device: see ``devices.resolve_device``.
        precision: see ``precision.resolve_precision``.
        customised: some settings are a user's; what fails later is blamed on them.
        as_built: compute by the layers that mmdet builds, without what makes them faster.

    Raises:
        DeviceError: the device is not there, or its memory does not suffice.
        PrecisionError: it does not have the precision.
        ConfigError: the config describes no model, or one of other than ten classes.
        StorageError, CheckpointError: see ``checkpoint``.
    """
    target = resolve_device(device)
    used = resolve_precision(precision, target)
    model, pipeline = build_model(config, name=name), build_pipeline(config, name=name)
    random = load_weights(model, checkpoint, model_name=name)
    return MmdetDetector(
        model,
        pipeline,
        target,
        name=name,
        customised=customised,
        precision=used,
        as_built=as_built,
        random_weights=random,
    )


def build_model(config: Config, *, name: str = "model") -> nn.Module:
    """Build what a config describes, with random weights: no start values are fetched from anywhere.

    Raises:
        ConfigError: mmdet cannot build it, it could choose no boxes, or it tells other than ten classes apart.
    """
    with mmdet_default_scope(), translate_config_errors("build the model", name=name):
        settings = without_pretrained(config.model)
        check_postprocessing(settings, name=name)
        model: nn.Module = MODELS.build(settings)
    check_number_of_classes(model, name)
    model.cfg = config
    return model


@torch_defaults()
def check_config(config: Config, *, name: str) -> None:
    """Check that a config's test pipeline and preprocessing run and that its model can be built.

    Raises:
        ConfigError: they do not, or it cannot.
    """
    batch = preprocess_batch(build_pipeline(config, name=name), [np.zeros((*FRAME_SHAPE, 3), np.uint8)])
    with mmdet_default_scope(), translate_config_errors("prepare an image for the model", name=name):
        if preprocessor := config.model.get("data_preprocessor"):
            MODELS.build(preprocessor)(batch)
    build_meta_model(config, name=name)


@torch_defaults()
def build_meta_model(config: Config, *, name: str) -> nn.Module:
    """Build what a config describes, where possible without memory behind its parameters; raises ConfigError."""
    try:
        with torch.device("meta"):
            return build_model(config, name=name)
    except ConfigError:
        # Some backbones compute with values while they are built, which only memory holds.
        return build_model(config, name=name)


def _speed_up(model: nn.Module, device: torch.device, precision: str) -> bool:
    with use_precision("fp32", device):
        if device.type == "cpu":
            keep_freed_memory()
            return optimize_for_cpu(model)
        # The layout in which tensor cores take numbers; what computes float32 exactly may be slower in it.
        return precision != "fp32" and patch_model(model, (to_channels_last,), device)


def _facts(device: torch.device, precision: str, *, optimised: bool, random_weights: bool) -> DetectorFacts:
    return DetectorFacts(
        backend="mmdet3",
        device=str(device),
        device_name=device_name(device),
        precision=precision,
        optimised=optimised,
        ops=install_ops(),
        threads=torch.get_num_threads() if device.type == "cpu" else None,
        versions=stack_versions() | {"torch": str(torch.__version__)},
        random_weights=random_weights,
    )
