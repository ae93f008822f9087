"""Images made ready one by one, put together into batches of one padded shape, and taken apart again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from bdd100k_zoo.boxes import Detections
from bdd100k_zoo.mmdet_backend.pipeline import batch_of

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def prepare(pipeline: Compose, image: npt.NDArray[np.uint8], divisor: int, *, pinned: bool = False) -> PreparedImage:
    """Run the test pipeline on one image.

    Args:
        pipeline: see ``pipeline.build_pipeline``.
        image: uint8 [height, width, 3], BGR.
        divisor: the model pads to multiples of it.
        pinned: put the pixels where a GPU fetches them by itself, if there is room for more memory of that kind.

    Raises:
        ImageShapeError: the pipeline cannot take the image.
    """
    batch = batch_of(pipeline, [image])
    (inputs,), (data_sample,) = batch["inputs"], batch["data_samples"]
    shape = tuple(-(-side // divisor) * divisor for side in inputs.shape[-2:])
    if pinned:
        with suppress(RuntimeError):
            inputs = inputs.pin_memory()
    return PreparedImage(shape, inputs, data_sample)


def together(images: Sequence[PreparedImage], device: torch.device) -> dict[str, Any]:
    """Make a batch, as a model's ``test_step`` takes it, and have its pixels copied to the device as they are.

    The copies are not waited for: the device does what it is told in order, and torch leaves pinned memory alone until
    they are done. What follows there, in float32, is the model's: order of channels, normalisation, padding.
    """
    return {
        "inputs": [image.inputs.to(device, non_blocking=True) for image in images],
        "data_samples": [image.data_sample for image in images],
    }


def apart(samples: Sequence[Any]) -> list[Detections]:
    """Make detections of what ``test_step`` gives, by one copy from the device for the whole batch."""
    found = [sample.pred_instances for sample in samples]
    boxes = torch.cat([each.bboxes.reshape(-1, 4) for each in found]).float()
    scores = torch.cat([each.scores for each in found]).to(boxes)
    classes = torch.cat([each.labels for each in found]).to(boxes)  # small whole numbers, which float32 holds exactly
    rows = torch.cat((boxes, scores[:, None], classes[:, None]), 1).cpu().numpy()
    ends = np.cumsum([len(each.scores) for each in found])
    return [
        Detections(part[:, :4].copy(), part[:, 4].copy(), part[:, 5].astype(np.int64))
        for part in np.split(rows, ends[:-1])
    ]
