"""The config's test pipeline for pixels in memory, tried before it is used, and what it can be given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from mmcv.transforms import Compose

from bdd100k_zoo.errors import ConfigError
from bdd100k_zoo.mm_common.images import FRAME, blamed_on_image
from bdd100k_zoo.mm_common.settings import blamed_on_settings, in_scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from mmengine.config import Config

READ_BY_HEADS = ("img_shape", "scale_factor")
"""What heads read of an image's description to bring boxes back into its pixels."""


def build_pipeline(config: Config, *, name: str = "model") -> Compose:
    """Build the config's test pipeline for images that are decoded already and have no labels, and try it.

    Raises:
        ConfigError: there is none, mmdet cannot build it, or it does not make what a model reads.
    """
    with in_scope(), blamed_on_settings("build the test pipeline", name=name):
        pipeline = Compose(pipeline_for_arrays(config.test_dataloader.dataset.pipeline))
    with blamed_on_settings("run the test pipeline", name=name):
        packed = pipeline({"img": np.full((*FRAME, 3), 128, np.uint8), "img_id": 0})
    _check_packed(packed, name)
    return pipeline


def pipeline_for_arrays(steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Let a pipeline start from ``img`` in place of a file, and ask for no annotations."""
    kept = [dict(step) for step in steps if _name(step) != "LoadAnnotations"]
    return [_from_array(step) if _name(step) == "LoadImageFromFile" else step for step in kept]


def batch_of(pipeline: Compose, images: Sequence[npt.NDArray[np.uint8]]) -> dict[str, Any]:
    """Make a batch of images.

    Raises:
        ImageShapeError: one is no image in memory, or the pipeline cannot take one of its shape.
    """
    packed = [_packed(pipeline, image) for image in images]
    return {key: [one[key] for one in packed] for key in ("inputs", "data_samples")}


def _packed(pipeline: Compose, image: npt.NDArray[np.uint8]) -> dict[str, Any]:
    with blamed_on_image(image):
        packed: dict[str, Any] = pipeline({"img": image, "img_id": 0})
        return packed


def _check_packed(packed: object, name: str) -> None:
    if not isinstance(packed, dict) or not {"inputs", "data_samples"} <= packed.keys():
        raise ConfigError(name, "the test pipeline packs nothing for a model: expected PackDetInputs as its last step")
    absent = [key for key in READ_BY_HEADS if key not in packed["data_samples"].metainfo_keys()]
    if absent:
        problem = f"the test pipeline gives no {' and no '.join(absent)}"
        raise ConfigError(name, f"{problem}: expected a Resize, and both among the meta_keys of PackDetInputs")


def _from_array(step: dict[str, Any]) -> dict[str, Any]:
    return {"type": "mmdet.LoadImageFromNDArray", "to_float32": step.get("to_float32", False)}


def _name(step: dict[str, Any]) -> str:
    """A transform's name without the library's: ``mmdet.Resize`` and ``Resize`` are one."""
    kind = step["type"]
    return str(kind).rpartition(".")[2] if isinstance(kind, str) else str(kind.__name__)
