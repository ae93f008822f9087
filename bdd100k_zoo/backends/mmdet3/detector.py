"""Models of mmdet 3, built and run with mmdet's own pipelines and heads."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.registry import MODELS
from torch.overrides import TorchFunctionMode

from bdd100k_zoo.backends.common.config import (
    check_postprocessing,
    mmdet_default_scope,
    translate_config_errors,
    without_pretrained,
)
from bdd100k_zoo.backends.common.config import load_config as load_config
from bdd100k_zoo.backends.common.detector import (
    FRAME_SHAPE,
    BaseDetector,
    check_number_of_classes,
    translate_image_errors,
)
from bdd100k_zoo.backends.common.devices import resolve_device as resolve_device
from bdd100k_zoo.backends.common.precision import resolve_precision as resolve_precision
from bdd100k_zoo.backends.common.precision import torch_defaults, use_precision
from bdd100k_zoo.backends.mmdet3.batched_heads import batch_heads, complete_detections
from bdd100k_zoo.backends.mmdet3.fast_cpu import keep_freed_memory, optimize_for_cpu
from bdd100k_zoo.backends.mmdet3.fast_cuda import optimize_for_cuda
from bdd100k_zoo.backends.mmdet3.streams import OneStream, StartedBatch, split_after_features, streams_for
from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from mmengine.config import Config
    from torch import Tensor, nn

REQUIRED_META_KEYS = ("img_shape", "scale_factor")
"""The metadata by which heads scale boxes back to the image's pixels."""


class PreparedImage(NamedTuple):
    """See ``protocol.Prepared``."""

    shape: tuple[int, ...]
    inputs: Tensor
    """uint8 [3, height, width], not padded yet."""
    data_sample: Any


class MmdetDetector(BaseDetector):
    """A model of mmdet 3."""

    BACKEND = "mmdet3"
    GPU_BATCH_SIZE = 8
    GPU_BATCHES_IN_FLIGHT = 2

    def __init__(self, model: nn.Module, pipeline: Any, device: torch.device, **settings: Any) -> None:
        """See ``BaseDetector``."""
        super().__init__(model, pipeline, device, **settings)
        self._streams: OneStream | None = None
        if self.batches_in_flight > 1 and split_after_features(model):
            self._streams = streams_for(device)
        else:
            self.batches_in_flight = 1

    def prepare(self, image: npt.NDArray[np.uint8]) -> PreparedImage:
        """Preprocess one image on the CPU; raises ImagesError."""
        preprocessor = getattr(self._model, "data_preprocessor", None)
        divisor = getattr(preprocessor, "pad_size_divisor", 1)
        return preprocess_image(self._pipeline, image, max(divisor, 1), pinned=self._device.type == "cuda")

    @torch.inference_mode()
    def _start_model(self, batch: Sequence[PreparedImage]) -> Sequence[PreparedImage] | StartedBatch:
        if self._streams is None:
            return batch
        with self._streams.copying() as copies:
            data = collate_batch(batch, self._device)
            copies += data["inputs"]
        data = self._model.data_preprocessor(data, False)
        features = tuple(self._model.extract_feat(data["inputs"]))
        return StartedBatch(features, data["data_samples"], self._streams, self._streams.mark(features))

    @torch.inference_mode()
    def _run_model(self, started: Sequence[PreparedImage] | StartedBatch) -> list[Detections]:
        model = self._model
        if not isinstance(started, StartedBatch):
            return complete_detections(lambda: split_detections(model.test_step(collate_batch(started, self._device))))
        with started.streams.selecting(started.ready):
            return complete_detections(lambda: split_detections(model.predict(started.features, started.data_samples)))

    def _speed_up(self, device: torch.device, precision: str) -> bool:
        if device.type != "cpu":
            optimised = optimize_for_cuda(self._model, device, precision)
            return batch_heads(self._model) or optimised
        keep_freed_memory()
        with use_precision("fp32", device):
            return optimize_for_cpu(self._model)


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
        with torch.device("meta"), _LinspaceWithValues():
            return build_model(config, name=name)
    except ConfigError:
        # Some backbones of users compute with the values of parameters while they are built.
        return build_model(config, name=name)


class _LinspaceWithValues(TorchFunctionMode):
    """Inside the block, ``torch.linspace`` returns values on the meta device too: drop path rates are made from it."""

    def __torch_function__(
        self, function: Any, _: object, arguments: Sequence[Any] = (), settings: dict[str, Any] | None = None
    ) -> Any:
        device = {"device": "cpu"} if function is torch.linspace else {}
        return function(*arguments, **device, **(settings or {}))


# Images


def build_pipeline(config: Config, *, name: str = "model") -> Compose:
    """Build the config's test pipeline for decoded images without labels, and run it on a grey frame.

    Raises:
        ConfigError: there is none, mmdet cannot build it, or its output lacks a value that a model reads.
    """
    with mmdet_default_scope(), translate_config_errors("build the test pipeline", name=name):
        pipeline = Compose(pipeline_for_arrays(config.test_dataloader.dataset.pipeline))
    with translate_config_errors("run the test pipeline", name=name):
        packed = pipeline({"img": np.full((*FRAME_SHAPE, 3), 128, np.uint8), "img_id": 0})
    if not isinstance(packed, dict) or not {"inputs", "data_samples"} <= packed.keys():
        raise ConfigError(name, "the test pipeline packs nothing for a model: expected PackDetInputs as its last step")
    absent = [key for key in REQUIRED_META_KEYS if key not in packed["data_samples"].metainfo_keys()]
    if absent:
        problem = f"the test pipeline gives no {' and no '.join(absent)}"
        raise ConfigError(name, f"{problem}: expected a Resize, and both among the meta_keys of PackDetInputs")
    return pipeline


def pipeline_for_arrays(steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a pipeline's steps with ``img`` in place of a file, and without annotations."""
    return [
        {"type": "mmdet.LoadImageFromNDArray", "to_float32": step.get("to_float32", False)}
        if _name(step) == "LoadImageFromFile"
        else dict(step)
        for step in steps
        if _name(step) != "LoadAnnotations"
    ]


def preprocess_batch(pipeline: Compose, images: Sequence[npt.NDArray[np.uint8]]) -> dict[str, Any]:
    """Run the test pipeline on images, and return a batch as a model's ``test_step`` takes it.

    Raises:
        ImagesError: one is not an image in memory, or the pipeline fails on it.
    """
    packed = []
    for image in images:
        with translate_image_errors(image):
            packed.append(pipeline({"img": image, "img_id": 0}))
    return {key: [one[key] for one in packed] for key in ("inputs", "data_samples")}


def _name(step: dict[str, Any]) -> str:
    """Return a transform's name without the scope: ``mmdet.Resize`` and ``Resize`` are the same."""
    kind = step["type"]
    return str(kind).rpartition(".")[2] if isinstance(kind, str) else str(kind.__name__)


def preprocess_image(
    pipeline: Compose, image: npt.NDArray[np.uint8], divisor: int, *, pinned: bool = False
) -> PreparedImage:
    """Run the test pipeline on one image.

    Args:
        pipeline: see ``build_pipeline``.
        image: uint8 [height, width, 3], BGR.
        divisor: the model pads height and width to a multiple of it.
        pinned: put the pixels in pinned memory, which a GPU reads asynchronously, if there is enough of it.

    Raises:
        ImagesError: the pipeline cannot process the image.
    """
    batch = preprocess_batch(pipeline, [image])
    (inputs,), (data_sample,) = batch["inputs"], batch["data_samples"]
    shape = tuple(-(-side // divisor) * divisor for side in inputs.shape[-2:])
    if pinned:
        with suppress(RuntimeError):
            inputs = inputs.pin_memory()
    return PreparedImage(shape, inputs, data_sample)


def collate_batch(images: Sequence[PreparedImage], device: torch.device) -> dict[str, Any]:
    """Return a batch as a model's ``test_step`` takes it, with its uint8 pixels copied to the device.

    The copies are asynchronous: the device works in order, and torch does not reuse pinned memory before they are done.
    The model itself then swaps channels, normalises and pads in float32.
    """
    return {
        "inputs": [image.inputs.to(device, non_blocking=True) for image in images],
        "data_samples": [image.data_sample for image in images],
    }


def split_detections(samples: Sequence[Any]) -> list[Detections]:
    """Return the detections of a batch's results, with one copy from the device for the whole batch."""
    found = [sample.pred_instances for sample in samples]
    boxes = torch.cat([each.bboxes.reshape(-1, 4) for each in found]).float()
    scores = torch.cat([each.scores for each in found]).to(boxes)
    classes = torch.cat([each.labels for each in found]).to(boxes)  # small integers: float32 holds them exactly
    rows = torch.cat((boxes, scores[:, None], classes[:, None]), 1).cpu().numpy()
    ends = np.cumsum([len(each.scores) for each in found])
    return [
        Detections(part[:, :4].copy(), part[:, 4].copy(), part[:, 5].astype(np.int64))
        for part in np.split(rows, ends[:-1])
    ]
