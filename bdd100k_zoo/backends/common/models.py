"""Checks of a model, its images and its results, for both versions of mmdet."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bdd100k_zoo.backends.common.config import describe_error
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.errors import ConfigError, ImagesError, NotFiniteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import nn

    from bdd100k_zoo.data.detections import Detections

FRAME_SHAPE = (720, 1280)
"""Height and width of a frame of BDD100K, in pixels."""


@contextmanager
def translate_image_errors(image: Any) -> Iterator[None]:
    """Check that a value is an image in memory, and report errors of the test pipeline in the block.

    Raises:
        ImagesError: it is not a non-empty uint8 [height, width, 3], or the pipeline fails.
    """
    is_array = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
    if not (is_array and image.shape[2] == 3 and image.size):
        raise _refused_image(image, "expected a numpy array, uint8 [height, width, 3] in BGR order, not empty")
    try:
        yield
    # ``build_pipeline`` has run it on a frame, so the image is the cause, whatever error OpenCV raises.
    except Exception as error:
        raise _refused_image(image, f"the test pipeline cannot process it ({describe_error(error)})") from error


def _refused_image(image: object, problem: str) -> ImagesError:
    kind = type(image)
    found = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    if isinstance(image, np.ndarray):
        found = f"{image.dtype} {list(image.shape)}"
    hint = "pass the path of a JPEG or PNG file, or an array as `cv2.imread` returns it; leave out very thin images"
    return ImagesError(f"{found}: {problem}", hint)


def check_number_of_classes(model: nn.Module, name: str) -> None:
    """Check that a model's heads have ten classes; raises ConfigError."""
    # The first stage of a two-stage detector separates objects from background, with a num_classes of its own.
    head = getattr(model, "roi_head", None) or getattr(model, "bbox_head", None) or model
    numbers = (getattr(part, "num_classes", None) for part in head.modules())
    found = sorted({number for number in numbers if isinstance(number, int)})
    if found != [len(CLASSES)]:
        named = ", ".join(map(str, found)) or "none"
        raise ConfigError(name, f"expected heads of {len(CLASSES)} classes, found num_classes {named}")


def read_normalisation(model: nn.Module) -> dict[str, tuple[float, ...]]:
    """Return mean and std of a model's config, by the names that checkpoints give them."""
    config: Any = getattr(model, "cfg", None) or {}
    settings = config.get("model", {}).get("data_preprocessor")
    if not settings:  # a config of mmdet 2, which normalises in a step of its test pipeline
        steps = config.get("data", {}).get("test", {}).get("pipeline", ())
        nested = (step for each in steps for step in (each, *each.get("transforms", ())))
        settings = next((step for step in nested if step.get("type") == "Normalize"), {})
    pairs = ((name, settings.get(name)) for name in ("mean", "std"))
    return {f"data_preprocessor.{name}": tuple(map(float, numbers)) for name, numbers in pairs if numbers is not None}


def refuse_non_finite_outputs(model: nn.Module, name: str, precision: str) -> None:
    """Make the heads of a model check their raw outputs before post-processing, in evaluation mode.

    Heads compare scores with a threshold, which NaN never exceeds: the boxes would be missing silently.

    Args:
        model: changed in place; a second call changes nothing.
        name: what errors call the model.
        precision: the one it computes in.
    """
    head: Any
    for head in model.modules():
        for method in ("predict_by_feat", "get_bboxes"):  # of mmdet 3 and mmdet 2
            chosen = getattr(head, method, None)
            if chosen and not hasattr(chosen, "checks_outputs"):
                setattr(head, method, _with_checked_outputs(head, chosen, name, precision))


def _with_checked_outputs(head: nn.Module, choose: Callable[..., Any], name: str, precision: str) -> Callable[..., Any]:
    def checked(*arguments: Any, **named: Any) -> Any:
        if not head.training:
            outputs = _tensors((arguments, tuple(named.values())))
            # A sum is finite only if all its terms are; float64 does not overflow. All outputs are checked at once,
            # because each check waits for the GPU.
            sums = [each.sum(dtype=torch.float64).to(outputs[0].device) for each in outputs]
            if sums and not torch.stack(sums).isfinite().all():
                raise NotFiniteError(name, precision)
        return choose(*arguments, **named)

    checked.checks_outputs = True  # type: ignore[attr-defined]
    return checked


def _tensors(node: Any) -> list[torch.Tensor]:
    if isinstance(node, torch.Tensor):
        return [node] if node.is_floating_point() else []
    return [each for part in node for each in _tensors(part)] if isinstance(node, (list, tuple)) else []


def check_finite(found: Sequence[Detections], *, name: str, precision: str) -> None:
    """Check that all scores and corners are finite; raises NotFiniteError."""
    if not all(np.isfinite(each.boxes).all() and np.isfinite(each.scores).all() for each in found):
        raise NotFiniteError(name, precision)
