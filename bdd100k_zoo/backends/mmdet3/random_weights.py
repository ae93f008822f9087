"""Random weights for a model, to test or to time it without its trained weights."""

from __future__ import annotations

import math
import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from bdd100k_zoo.backends.common.checkpoint import save_random_state_dict
from bdd100k_zoo.backends.common.config import is_package_config, load_config, translate_config_errors
from bdd100k_zoo.backends.common.precision import torch_defaults, use_precision
from bdd100k_zoo.backends.mmdet3 import import_backend

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    from torch import Tensor


HEAD_OUTPUT_STATS: Mapping[str, tuple[float, float]] = {
    "rpn_cls": (1.0, 0.0),
    "rpn_reg": (0.05, 0.0),
    "fc_cls": (2.0, 0.0),
    "fc_reg": (0.05, 0.0),
    # The focal loss starts from a score of 0.01.
    "retina_cls": (1.0, -4.6),
    "retina_reg": (0.05, 0.0),
    "conv_cls": (1.0, -4.6),
    # Logarithms of the distances from a point to a box's sides, in pixels.
    "conv_reg": (0.2, 4.0),
    "conv_centerness": (1.0, 0.0),
    "atss_cls": (1.0, -4.6),
    "atss_reg": (0.05, 0.0),
    "atss_centerness": (1.0, 0.0),
}
"""The standard deviation and the mean that the outputs of heads are scaled to, by the names of their last layers."""

RESIDUAL_SCALE = 0.3
"""Weight of each residual branch in the sum: rounding must not grow with depth more than in a trained model."""


def save_random_weights(config_path: Path, path: Path, seed: int = 0) -> None:
    """Write a checkpoint of the values that a model is initialised with, in the form of the published ones.

    Raises:
        MissingPackageError, ConfigError: the model cannot be built.
        StorageError: the file cannot be written.
    """
    import_backend()
    from bdd100k_zoo.backends.mmdet3.detector import build_model

    with torch_defaults(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(load_config(config_path))
    save_random_state_dict(model.state_dict(), path)


def save_calibrated_random_weights(config_path: Path, image: npt.NDArray[np.uint8], path: Path, seed: int = 0) -> None:
    """Write a checkpoint of random weights that find boxes in an image; see ``init_calibrated_random_weights``.

    Args:
        config_path: the model's config.
        image: uint8 [height, width, 3], BGR.
        path: the file to write.
        seed: see ``init_calibrated_random_weights``.

    Raises:
        MissingPackageError, ConfigError: the model cannot be built, or a user's own model fails.
        StorageError: the file cannot be written.
    """
    import_backend()
    from bdd100k_zoo.backends.mmdet3.detector import build_model, build_pipeline, preprocess_batch

    config, name = load_config(config_path), str(config_path)
    with torch_defaults():
        model = build_model(config, name=name)
    batch = preprocess_batch(build_pipeline(config, name=name), [image])
    with nullcontext() if is_package_config(config_path) else translate_config_errors("run the model", name=name):
        init_calibrated_random_weights(model, batch, seed)
    save_random_state_dict(model.state_dict(), path)


def init_calibrated_random_weights(model: Any, batch: Mapping[str, Any], seed: int = 0) -> None:
    """Set random weights in a model of mmdet, which then finds boxes of many sizes and scores, like a trained one.

    Args:
        model: changed in place, and left in evaluation mode.
        batch: an image, as ``test_step`` takes it, by which features are normalised and outputs scaled.
        seed: equal seeds give equal weights, except for the rounding of sums over the image.
    """
    with use_precision("fp32", next(model.parameters()).device), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for name, parameter in model.named_parameters():
            parameter.copy_(_random_like(name, parameter))
        for block in (part for part in model.modules() if hasattr(part, "downsample")):
            # A residual block of ResNet; the stages of Swin Transformer have no normalisation of that name.
            if norm := getattr(block, "norm3", getattr(block, "norm2", None)):
                norm.weight.fill_(RESIDUAL_SCALE)
        model.eval()
        handles = [_normalise_once(part) for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
        named = ((name.rpartition(".")[2], part) for name, part in model.named_modules())
        handles += [_rescale_once(part, *HEAD_OUTPUT_STATS[name]) for name, part in named if name in HEAD_OUTPUT_STATS]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # see fast_cpu.patch_model
            model.test_step(batch)
    for handle in handles:
        handle.remove()


def _random_like(name: str, like: Tensor) -> Tensor:
    if name.endswith("init_proposal_bboxes.weight"):  # centre and size, as fractions of the image
        return 0.2 + 0.5 * torch.rand_like(like)
    if name.endswith(".gamma"):  # the factors of ConvNeXt's residual branches
        return torch.full_like(like, RESIDUAL_SCALE)
    if like.dim() < 2:
        return torch.ones_like(like) if name.endswith(("weight", "scale")) else torch.zeros_like(like)
    gain = 0.2 if "conv_offset" in name else 1.0
    return torch.randn_like(like) * gain * math.sqrt(2 / like[0].numel())


def _normalise_once(norm: Any) -> Any:
    """Make a layer take its statistics from the first batch, and return the hook's handle."""

    def take(_: object, inputs: tuple[Tensor]) -> None:
        handle.remove()
        (features,) = inputs
        norm.running_mean.copy_(features.mean((0, 2, 3)))
        norm.running_var.copy_(features.var((0, 2, 3), unbiased=False).clamp(min=1e-6))

    handle = norm.register_forward_pre_hook(take)
    return handle


def _rescale_once(layer: Any, std: float, mean: float) -> Any:
    """Scale a layer so that the first batch's outputs have a mean and a deviation, and return the hook's handle."""

    def rescale(_: object, __: object, output: Tensor) -> Tensor:
        handle.remove()
        each = output.movedim(1 if output.dim() == 4 else -1, 0).flatten(1)
        factor = std / each.std(1).clamp(min=1e-6)
        layer.weight.mul_(factor.view(-1, *[1] * (layer.weight.dim() - 1)))
        layer.bias.sub_(each.mean(1)).mul_(factor).add_(mean)
        shape = (-1, 1, 1) if output.dim() == 4 else (-1,)
        return (output - each.mean(1).view(shape)) * factor.view(shape) + mean

    handle = layer.register_forward_hook(rescale)
    return handle
