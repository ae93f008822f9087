"""Changes of a model that let a CPU compute the same in less time."""

from __future__ import annotations

import itertools
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from mmdet.structures import DetDataSample
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Undo = Callable[[], object]
    Step = Callable[[Any], Undo]
    from collections.abc import Callable, Iterator

PROBE_SIZE = 64
"""Height and width of the small image, in pixels: what every stride of a model divides."""

FEATURE_TOLERANCE = 1e-3
"""Largest difference of features, as a part of the largest feature. Rounding alone makes a hundredth of it."""


def patch_model(model: Any, steps: Iterable[Step], device: torch.device) -> bool:
    """Change a model of mmdet, in evaluation mode, and say whether it stays changed.

    Its parameters are then no longer those that were loaded. A step that does not apply to it is left out; all steps
    are where the model cannot be run on a small image, as a user's own may not.
    """
    with torch.no_grad(), warnings.catch_warnings():
        # What mmdet calls in a way that torch wants otherwise is told once a process, and theirs to mend.
        warnings.simplefilter("ignore")
        image = torch.randn(1, 3, PROBE_SIZE, PROBE_SIZE, generator=torch.Generator().manual_seed(0)).to(device)
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


def to_channels_last(model: nn.Module) -> Undo:
    """Let the channels of a pixel lie together, in weights and in what is computed with them."""
    model.to(memory_format=torch.channels_last)
    return lambda: model.to(memory_format=torch.contiguous_format)


def features_match(expected: Sequence[Tensor], found: Sequence[Tensor]) -> bool:
    """Tell whether features are the same but for rounding."""
    pairs = zip(expected, found, strict=True)
    return all(bool((a - b).abs().max() <= FEATURE_TOLERANCE * a.abs().max()) for a, b in pairs)


def _bears(model: Any, image: Tensor, expected: Sequence[Tensor]) -> bool:
    """Tell whether a changed model still has the features that are expected of an image, and heads that take them."""
    size = tuple(image.shape[2:])
    described = {"img_shape": size, "ori_shape": size, "pad_shape": size, "batch_input_shape": size}
    try:
        model.predict(image, [DetDataSample(metainfo={**described, "scale_factor": (1.0, 1.0)})])
        return features_match(expected, list(model.extract_feat(image)))
    except Exception:  # noqa: BLE001  (see above)
        return False


MIN_LINEAR_WEIGHTS = 2**20
"""Fully connected layers of fewer weights than this are left as they are."""


def optimize_for_cpu(model: Any) -> bool:
    """Change a model on the CPU as ``changing.change`` does, and say whether it stays changed."""
    return patch_model(model, (_fuse_normalisations, to_channels_last, _give_linears_to_onednn), torch.device("cpu"))


class _Pair(NamedTuple):
    """A convolution, and a batch normalisation that follows it and can be computed with it."""

    parent: nn.Module
    name: str
    """What the parent calls the normalisation."""
    norm: Any
    conv: nn.Conv2d
    weight: Any
    bias: Any

    def fuse(self) -> None:
        """Compute both by the convolution."""
        norm, bias = self.norm, torch.zeros(()) if self.bias is None else self.bias
        factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = self.weight.double() * factor.view(-1, 1, 1, 1)
        shift = (bias.double() - norm.running_mean.double()) * factor + norm.bias.double()
        self.conv.weight = nn.Parameter(weight.float(), requires_grad=False)
        self.conv.bias = nn.Parameter(shift.float(), requires_grad=False)
        setattr(self.parent, self.name, nn.Identity())

    def separate(self) -> None:
        """Compute each by itself, as it was."""
        self.conv.weight, self.conv.bias = self.weight, self.bias
        setattr(self.parent, self.name, self.norm)


def _fuse_normalisations(model: Any) -> Undo:
    pairs = [pair for part in (model.backbone, getattr(model, "neck", None)) if part for pair in _pairs(part)]
    for pair in pairs:
        pair.fuse()
    return lambda: [pair.separate() for pair in pairs]


def _pairs(part: nn.Module) -> Iterator[_Pair]:
    """Find the pairs by the order in which blocks name their layers."""
    for parent in part.modules():
        for (_, conv), (name, norm) in itertools.pairwise(parent.named_children()):
            if type(conv) is not nn.Conv2d or not isinstance(norm, _BatchNorm) or norm.running_mean is None:
                continue
            if norm.affine and conv.out_channels == norm.num_features and conv.weight.dtype == torch.float32:
                yield _Pair(parent, name, norm, conv, conv.weight, conv.bias)


def _give_linears_to_onednn(model: nn.Module) -> Undo:
    """Let oneDNN compute the large fully connected layers where MKL would not use the processor's widest registers."""
    large = [part for part in model.modules() if type(part) is nn.Linear and part.weight.numel() >= MIN_LINEAR_WEIGHTS]
    for linear in large if _is_amd_with_avx512() else ():
        if forward := onednn_forward(linear):
            linear.__dict__["forward"] = forward
    return lambda: [linear.__dict__.pop("forward", None) for linear in large]


def onednn_forward(linear: nn.Linear) -> Callable[[Tensor], Tensor] | None:
    """Give a forward function of a layer by torch's private oneDNN ops; none where they are gone or do not agree."""
    ops, plain = torch.ops.mkldnn, linear.forward
    sample = torch.randn(2, linear.in_features, generator=torch.Generator().manual_seed(0))

    def forward(inputs: Tensor) -> Tensor:
        fits = inputs.dim() == 2 and inputs.dtype == torch.float32 and len(inputs)
        if not fits or torch.is_autocast_enabled("cpu"):
            return plain(inputs)
        product: Tensor = ops._linear_pointwise(inputs, weight, linear.bias, "none", [], "")
        return product

    try:
        weight = ops._reorder_linear_weight(linear.weight.detach())
        return forward if features_match([plain(sample)], [forward(sample)]) else None
    except (AttributeError, RuntimeError, TypeError):  # of another torch
        return None


def _is_amd_with_avx512() -> bool:
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    is_amd = re.search(r"^vendor_id\s*:\s*AuthenticAMD$", described, re.M) is not None
    return is_amd and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
