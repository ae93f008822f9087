"""Changes of a model, and of the allocator, with which a CPU computes the same in less time."""

from __future__ import annotations

import ctypes
import itertools
import re
import sys
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from mmdet.structures import DetDataSample
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bdd100k_zoo.backends.common.devices import read_cpuinfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Undo = Callable[[], object]
    Patch = Callable[[Any], Undo]

PROBE_SIZE = 64
"""Height and width of the test image, in pixels: a multiple of every stride of a model."""

FEATURE_TOLERANCE = 1e-3
"""Largest difference of features, relative to the largest feature. Rounding causes a hundredth of it."""


def patch_model(model: Any, patches: Iterable[Patch], device: torch.device) -> bool:
    """Change a model of mmdet in evaluation mode, and return whether it stays changed.

    Its parameters are then no longer those that were loaded. The changes are undone if the model no longer computes the
    same features of a small image, or fails. A user's own model that cannot process a small image is not changed.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates some of what mmdet calls
        image = torch.randn(1, 3, PROBE_SIZE, PROBE_SIZE, generator=torch.Generator().manual_seed(0)).to(device)
        try:
            expected = list(model.extract_feat(image))
        except Exception:  # noqa: BLE001  (a user's own model may fail in any way)
            return False
        undos = [patch(model) for patch in patches]
        if _still_matches(model, image, expected):
            return True
        for undo in reversed(undos):
            undo()
    return False


def to_channels_last(model: nn.Module) -> Undo:
    """Store weights channels last, so that features become channels last as well."""
    model.to(memory_format=torch.channels_last)
    return lambda: model.to(memory_format=torch.contiguous_format)


def features_match(expected: Sequence[Tensor], found: Sequence[Tensor]) -> bool:
    """Return whether features are the same except for rounding."""
    pairs = zip(expected, found, strict=True)
    return all(bool((a - b).abs().max() <= FEATURE_TOLERANCE * a.abs().max()) for a, b in pairs)


def _still_matches(model: Any, image: Tensor, expected: Sequence[Tensor]) -> bool:
    """Return whether a changed model still computes the expected features, and its heads run on them."""
    size = tuple(image.shape[2:])
    described = {"img_shape": size, "ori_shape": size, "pad_shape": size, "batch_input_shape": size}
    try:
        model.predict(image, [DetDataSample(metainfo={**described, "scale_factor": (1.0, 1.0)})])
        return features_match(expected, list(model.extract_feat(image)))
    except Exception:  # noqa: BLE001  (see above)
        return False


MIN_LINEAR_WEIGHTS = 2**20
"""Fully connected layers with fewer weights are not changed: their time does not matter."""


def optimize_for_cpu(model: Any) -> bool:
    """Change a model for speed on the CPU, and return whether it stays changed; see ``patch_model``."""
    patches = (fuse_normalisations, to_channels_last, _convolve_channels_last, _use_onednn_linears)
    return patch_model(model, patches, torch.device("cpu"))


def fuse_normalisations(model: Any) -> Undo:
    """Fold the batch normalisations of the backbone and the neck into the convolutions before them."""
    parts = [part for part in (model.backbone, getattr(model, "neck", None)) if part]
    pairs = [pair for part in parts for pair in _find_conv_norm_pairs(part)]
    undos = [_fuse(*pair) for pair in pairs]
    return lambda: [undo() for undo in undos]


def _find_conv_norm_pairs(part: nn.Module) -> Iterator[tuple[nn.Module, str, Any, nn.Conv2d]]:
    """Yield normalisations that directly follow a convolution in a block: (block, name, norm, convolution)."""
    for block in part.modules():
        for (_, conv), (name, norm) in itertools.pairwise(block.named_children()):
            if type(conv) is not nn.Conv2d or not isinstance(norm, _BatchNorm) or norm.running_mean is None:
                continue
            if norm.affine and conv.out_channels == norm.num_features and conv.weight.dtype == torch.float32:
                yield block, name, norm, conv


def _fuse(block: nn.Module, name: str, norm: Any, conv: nn.Conv2d) -> Undo:
    """Fold a normalisation into the convolution before it, in float64."""
    weight, bias = conv.weight, conv.bias
    factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = (0 if bias is None else bias.double()) - norm.running_mean.double()
    conv.weight = nn.Parameter((weight.double() * factor.view(-1, 1, 1, 1)).float(), requires_grad=False)
    conv.bias = nn.Parameter((shift * factor + norm.bias.double()).float(), requires_grad=False)
    setattr(block, name, nn.Identity())

    def undo() -> None:
        conv.weight, conv.bias = weight, bias
        setattr(block, name, norm)

    return undo


def _convolve_channels_last(model: nn.Module) -> Undo:
    """Lay out the features of modulated deformable convolutions channels last, which DyHead does not do itself."""
    from mmcv.ops import ModulatedDeformConv2d  # once the backend has provided its ops

    def lay_out(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        features, *others = inputs
        return features.contiguous(memory_format=torch.channels_last), *others

    layers = [part for part in model.modules() if isinstance(part, ModulatedDeformConv2d)]
    handles = [layer.register_forward_pre_hook(lay_out) for layer in layers]
    return lambda: [handle.remove() for handle in handles]


def _use_onednn_linears(model: nn.Module) -> Undo:
    """Compute large fully connected layers with oneDNN on AMD, where MKL does not use AVX-512 (docs/performance.md)."""
    large = [part for part in model.modules() if type(part) is nn.Linear and part.weight.numel() >= MIN_LINEAR_WEIGHTS]
    for linear in large if _is_amd_with_avx512() else ():
        if forward := onednn_forward(linear):
            linear.__dict__["forward"] = forward
    return lambda: [linear.__dict__.pop("forward", None) for linear in large]


def onednn_forward(linear: nn.Linear) -> Callable[[Tensor], Tensor] | None:
    """Return a layer's forward function with torch's private oneDNN ops; None if this torch has none that agree."""
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
    except (AttributeError, RuntimeError, TypeError):  # another version of torch
        return None


def _is_amd_with_avx512() -> bool:
    is_amd = re.search(r"^vendor_id\s*:\s*AuthenticAMD$", read_cpuinfo(), re.MULTILINE) is not None
    return is_amd and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


MALLOPT_PARAMETERS = {
    -3: 2**30,  # M_MMAP_THRESHOLD: smaller blocks come from the heap
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD: the heap keeps its free end up to this
    -2: 2**26,  # M_TOP_PAD: the heap grows by this much more than requested
}
"""Parameters of mallopt(3), in bytes, by their number in malloc.h."""


@cache
def keep_freed_memory() -> bool:
    """Make glibc's allocator keep the memory that is freed between images, and return whether this is glibc.

    By default it maps every tensor above some megabytes anew, so that the kernel zeroes it page by page, and unmaps it
    when it is freed. Afterwards the process keeps its peak memory, and some more because of fragmentation.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):  # musl has a mallopt that does nothing, or none
        return False
    taken = [library.mallopt(parameter, value) == 1 for parameter, value in MALLOPT_PARAMETERS.items()]
    return all(taken)
