"""Models of mmdet 3, built and run with mmdet's own pipelines and heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from mmdet.registry import MODELS

from bdd100k_zoo.backends.common.config import (
    check_postprocessing,
    load_config,
    mmdet_default_scope,
    translate_config_errors,
    without_pretrained,
)
from bdd100k_zoo.backends.common.detector import BaseDetector
from bdd100k_zoo.backends.common.devices import resolve_device
from bdd100k_zoo.backends.common.models import FRAME_SHAPE, check_number_of_classes
from bdd100k_zoo.backends.common.precision import resolve_precision, torch_defaults, use_precision
from bdd100k_zoo.backends.mmdet3.allocator import keep_freed_memory
from bdd100k_zoo.backends.mmdet3.fast_cpu import optimize_for_cpu, patch_model, to_channels_last
from bdd100k_zoo.backends.mmdet3.preprocessing import (
    PreparedImage,
    build_pipeline,
    collate_batch,
    padding_divisor,
    preprocess_batch,
    preprocess_image,
    split_detections,
)
from bdd100k_zoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from mmengine.config import Config
    from torch import nn

    from bdd100k_zoo.data.detections import Detections

__all__ = [
    "MmdetDetector",
    "build_meta_model",
    "build_model",
    "build_pipeline",
    "check_config",
    "load_config",
    "resolve_device",
    "resolve_precision",
]


class MmdetDetector(BaseDetector):
    """A model of mmdet 3."""

    BACKEND = "mmdet3"
    GPU_BATCH_SIZE = 8

    def prepare(self, image: npt.NDArray[np.uint8]) -> PreparedImage:
        """Preprocess one image on the CPU; raises ImagesError."""
        divisor = padding_divisor(self._model)
        return preprocess_image(self._pipeline, image, divisor, pinned=self._device.type == "cuda")

    @torch.inference_mode()
    def _run_model(self, batch: Sequence[PreparedImage]) -> list[Detections]:
        return split_detections(self._model.test_step(collate_batch(batch, self._device)))

    def _speed_up(self, device: torch.device, precision: str) -> bool:
        with use_precision("fp32", device):
            if device.type == "cpu":
                keep_freed_memory()
                return optimize_for_cpu(self._model)
            # Tensor cores read channels last. The units that compute float32 exactly may be slower in that layout.
            return precision != "fp32" and patch_model(self._model, (to_channels_last,), device)


def build_model(config: Config, *, name: str = "model") -> nn.Module:
    """Build the model of a config with random weights; no pretrained weights are downloaded.

    Raises:
        ConfigError: mmdet cannot build it, its post-processing settings do not fit, or it does not have ten classes.
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
    """Check that a config's test pipeline and preprocessing run and that its model can be built; raises ConfigError."""
    batch = preprocess_batch(build_pipeline(config, name=name), [np.zeros((*FRAME_SHAPE, 3), np.uint8)])
    with mmdet_default_scope(), translate_config_errors("prepare an image for the model", name=name):
        if preprocessor := config.model.get("data_preprocessor"):
            MODELS.build(preprocessor)(batch)
    build_meta_model(config, name=name)


@torch_defaults()
def build_meta_model(config: Config, *, name: str) -> nn.Module:
    """Build the model of a config, if possible on torch's meta device, without memory; raises ConfigError."""
    try:
        with torch.device("meta"):
            return build_model(config, name=name)
    except ConfigError:
        # Some backbones compute with the values of parameters while they are built.
        return build_model(config, name=name)
