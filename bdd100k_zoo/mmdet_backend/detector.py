"""One model with its weights on one device: images → detections, through mmdet's own pipeline and heads."""

from __future__ import annotations

import platform
import warnings
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from bdd100k_zoo.boxes import Detections
from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.errors import ConfigError
from bdd100k_zoo.inference.protocol import DetectorFacts
from bdd100k_zoo.mmdet_backend.checkpoint import check_classes, load_strictly, read_checkpoint
from bdd100k_zoo.mmdet_backend.config import without_pretrained
from bdd100k_zoo.mmdet_backend.devices import device_name, full_precision, resolve_device
from bdd100k_zoo.mmdet_backend.ops import install

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from mmengine.config import Config
    from torch import nn

SCOPE = "mmdet"
DISTRIBUTIONS = ("mmdet", "mmengine", "mmcv", "mmcv-lite", "torchvision")


class MmdetDetector:
    """A built model in evaluation mode; see ``inference.protocol.Detector``."""

    def __init__(self, model: nn.Module, pipeline: Compose, device: torch.device) -> None:
        self._model: Any = model.to(device).eval()
        self._pipeline = pipeline
        self._facts = _facts(device)

    @property
    def facts(self) -> DetectorFacts:
        """What to record about this detector."""
        return self._facts

    def detect(self, image: npt.NDArray[np.uint8]) -> Detections:
        """Find objects in one image: uint8 [height, width, 3], BGR. Boxes are in that image's pixels."""
        packed = self._pipeline({"img": image, "img_id": 0})
        batch = {"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]}
        with torch.inference_mode(), full_precision():
            (sample,) = self._model.test_step(batch)
        found = sample.pred_instances
        return Detections(
            found.bboxes.cpu().numpy().astype(np.float32, copy=False).reshape(-1, 4),
            found.scores.cpu().numpy().astype(np.float32, copy=False),
            found.labels.cpu().numpy().astype(np.int64, copy=False),
        )


def build_detector(config: Config, *, name: str, checkpoint: Path, device: str = "auto") -> MmdetDetector:
    """Build a model and load its weights, strictly.

    Raises:
        DeviceError: the device is not there.
        ConfigError: the config describes no model, or one of other than ten classes.
        StorageError, CheckpointError: see ``checkpoint``.
    """
    target = resolve_device(device)
    model, pipeline = build_model(config, name=name), build_pipeline(config, name=name)
    weights = read_checkpoint(checkpoint)
    check_classes(weights.classes, path=checkpoint)
    load_strictly(model, weights.state_dict, model_name=name, path=checkpoint)
    return MmdetDetector(model, pipeline, target)


def build_model(config: Config, *, name: str = "model") -> nn.Module:
    """Build what a config describes, with random weights: no start values are fetched from anywhere.

    Raises:
        ConfigError: mmdet cannot build it, or it tells other than ten classes apart.
    """
    with _building("model", name):
        model: nn.Module = MODELS.build(without_pretrained(config.model))
    _check_number_of_classes(model, name)
    model.cfg = config
    return model


def build_pipeline(config: Config, *, name: str = "model") -> Compose:
    """Build the config's test pipeline for images that are decoded already and have no labels.

    Raises:
        ConfigError: there is none, or mmdet cannot build it.
    """
    with _building("test pipeline", name):
        return Compose(pipeline_for_arrays(config.test_dataloader.dataset.pipeline))


def pipeline_for_arrays(steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Let a pipeline start from ``img`` in place of a file, and ask for no annotations."""
    kept = [dict(step) for step in steps if _name(step) != "LoadAnnotations"]
    return [_from_array(step) if _name(step) == "LoadImageFromFile" else step for step in kept]


def _from_array(step: dict[str, Any]) -> dict[str, Any]:
    return {"type": "mmdet.LoadImageFromNDArray", "to_float32": step.get("to_float32", False)}


def _name(step: dict[str, Any]) -> str:
    """A transform's name without the library's: ``mmdet.Resize`` and ``Resize`` are one."""
    kind = step["type"]
    return str(kind).rpartition(".")[2] if isinstance(kind, str) else str(kind.__name__)


@contextmanager
def _building(part: str, name: str) -> Iterator[None]:
    """Let mmengine's registries look into mmdet's, inside only (their scope is global), and name what fails.

    That mmdet itself uses names which mmengine deprecates is theirs to mend, and not shown.
    """
    try:
        with DefaultScope.overwrite_default_scope(SCOPE), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    # What settings that do not fit make mmdet's constructors raise.
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise ConfigError(name, f"mmdet cannot build the {part}: {' '.join(str(error).split())}") from error


def _check_number_of_classes(model: nn.Module, name: str) -> None:
    # The first stage of a two-stage detector tells apart objects and background: it has a number of its own.
    head = getattr(model, "roi_head", None) or getattr(model, "bbox_head", None) or model
    numbers = (getattr(part, "num_classes", None) for part in head.modules())
    found = sorted({number for number in numbers if isinstance(number, int)})
    if found != [len(CLASSES)]:
        named = ", ".join(map(str, found)) or "none"
        raise ConfigError(name, f"expected heads of {len(CLASSES)} classes, found num_classes {named}")


def _facts(device: torch.device) -> DetectorFacts:
    return DetectorFacts(
        backend="mmdet3",
        device=str(device),
        device_name=device_name(device),
        precision="fp32",
        ops=install(),
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    found = {name: version for name in DISTRIBUTIONS if (version := _version(name))}
    return {"python": platform.python_version(), "torch": str(torch.__version__), **found}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
