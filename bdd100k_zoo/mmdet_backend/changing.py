"""Changes of a model that must leave what it computes: tried on a small image, and undone where they do not."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from mmdet.structures import DetDataSample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor, nn

    Undo = Callable[[], object]
    Step = Callable[[Any], Undo]

SIDE = 64
"""Height and width of the small image, in pixels: what every stride of a model divides."""

AGREEMENT = 1e-3
"""Largest difference of features, as a part of the largest feature. Rounding alone makes a hundredth of it."""


def change(model: Any, steps: Iterable[Step], device: torch.device) -> bool:
    """Change a model of mmdet, in evaluation mode, and say whether it stays changed.

    Its parameters are then no longer those that were loaded. A step that does not apply to it is left out; all steps
    are where the model cannot be run on a small image, as a user's own may not.
    """
    with torch.no_grad(), warnings.catch_warnings():
        # What mmdet calls in a way that torch wants otherwise is told once a process, and theirs to mend.
        warnings.simplefilter("ignore")
        image = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(device)
        try:
            expected = list(model.extract_feat(image))
        except Exception:  # noqa: BLE001  (a user's own model may refuse in any way)
            return False
        undos = [step(model) for step in steps]
        if _bears(model, image, expected):
            return True
        for undo in reversed(undos):
            undo()
    return False


def lay_channels_last(model: nn.Module) -> Undo:
    """Let the channels of a pixel lie together, in weights and in what is computed with them."""
    model.to(memory_format=torch.channels_last)
    return lambda: model.to(memory_format=torch.contiguous_format)


def agree(expected: Sequence[Tensor], found: Sequence[Tensor]) -> bool:
    """Tell whether features are the same but for rounding."""
    pairs = zip(expected, found, strict=True)
    return all(bool((a - b).abs().max() <= AGREEMENT * a.abs().max()) for a, b in pairs)


def _bears(model: Any, image: Tensor, expected: Sequence[Tensor]) -> bool:
    """Tell whether a changed model still has the features that are expected of an image, and heads that take them."""
    size = tuple(image.shape[2:])
    described = {"img_shape": size, "ori_shape": size, "pad_shape": size, "batch_input_shape": size}
    try:
        model.predict(image, [DetDataSample(metainfo={**described, "scale_factor": (1.0, 1.0)})])
        return agree(expected, list(model.extract_feat(image)))
    except Exception:  # noqa: BLE001  (see above)
        return False
