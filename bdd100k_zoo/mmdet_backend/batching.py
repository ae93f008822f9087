"""Images made ready one by one, and put together into batches of one padded shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bdd100k_zoo.mmdet_backend.pipeline import batch_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    from mmcv.transforms import Compose
    from torch import Tensor, nn


class PreparedImage(NamedTuple):
    """See ``inference.protocol.Prepared``."""

    shape: tuple[int, ...]
    inputs: Tensor
    """uint8 [3, height, width], not padded yet."""
    data_sample: Any


def divisor_of(model: nn.Module) -> int:
    """Give the number of pixels to whose multiples a model pads its images; 1 where it tells none that could be."""
    divisor = getattr(getattr(model, "data_preprocessor", None), "pad_size_divisor", 1)
    return divisor if isinstance(divisor, int) and divisor > 0 else 1


def prepare(pipeline: Compose, image: npt.NDArray[np.uint8], divisor: int) -> PreparedImage:
    """Run the test pipeline on one image, which the model pads to multiples of ``divisor``; raises ImageShapeError."""
    batch = batch_of(pipeline, [image])
    (inputs,), (data_sample,) = batch["inputs"], batch["data_samples"]
    shape = tuple(-(-side // divisor) * divisor for side in inputs.shape[-2:])
    return PreparedImage(shape, inputs, data_sample)


def together(images: Sequence[PreparedImage]) -> dict[str, Any]:
    """Make a batch, as a model's ``test_step`` takes it."""
    return {
        "inputs": [image.inputs for image in images],
        "data_samples": [image.data_sample for image in images],
    }
