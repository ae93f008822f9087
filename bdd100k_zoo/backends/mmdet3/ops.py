"""The compiled ops of mmcv that these models call, provided by torchvision if mmcv was installed without any.

The Python half of ``mmcv.ops`` loads its compiled half while it is imported. It gets an object on which every op raises
an error that names the op; then the few functions that are needed are replaced. Functions are replaced rather than
the compiled module, because torchvision's functions already have gradients.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import torch
from torchvision import ops as vision

from bdd100k_zoo.backends.mmdet3 import cpu_ops
from bdd100k_zoo.errors import BackendError, MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

OpsProvider = Literal["mmcv", "torchvision"]
IntOrPair = int | tuple[int, ...]


@cache
def install_ops() -> OpsProvider:
    """Make ``mmcv.ops`` work, and return the package that provides its ops. Must be called before mmdet is imported.

    A compiled mmcv is left unchanged.

    Raises:
        MissingPackageError: mmcv is missing, or its compiled half does not load.
    """
    try:
        if importlib.util.find_spec("mmcv._ext") is not None:
            importlib.import_module("mmcv._ext")
            return "mmcv"
        with _without_compiled_ops():
            importlib.import_module("mmcv.ops")
    except ImportError as error:
        raise MissingPackageError("mmcv", "predict", str(error)) from error
    _replace_ops()
    return "torchvision"


def unsupported_op(op: str, detail: str = "") -> BackendError:
    """Return the error for an op, or an argument of one, that torchvision does not provide."""
    return BackendError(
        f"mmcv's op {op!r} is not supported here" + (f": {detail}" if detail else ""),
        "a compiled mmcv 2.1.0 provides it: https://mmcv.readthedocs.io",
    )


class UnavailableOps:
    """A replacement for mmcv's compiled module, in which every op raises BackendError."""

    def __getattr__(self, op: str) -> Callable[..., NoReturn]:
        if op.startswith("__"):
            raise AttributeError(op)

        def refuse(*_: object, **__: object) -> NoReturn:
            raise unsupported_op(op)

        return refuse


class NmsOps(UnavailableOps):
    """The compiled ops of ``mmcv.ops.nms``, of which plain NMS works."""

    def nms(self, boxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
        """Select boxes [n, 4] (corners) as mmcv's op does: indices [k], best score first.

        With ``offset`` 1 a box includes its last pixel: widths and heights are larger by one than the corners imply.
        """
        dtype = _compute_dtype(torch.promote_types(boxes.dtype, scores.dtype))
        if offset:  # rare; otherwise skipped, because copying these numbers to a GPU waits for it
            boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
        kept: Tensor = vision.nms(boxes.to(dtype), scores.to(dtype), iou_threshold)
        return kept


@contextmanager
def _without_compiled_ops() -> Iterator[None]:
    loader: Any = importlib.import_module("mmcv.utils.ext_loader")
    original = loader.load_ext
    loader.load_ext = lambda _name, _functions: UnavailableOps()
    try:
        yield
    finally:
        loader.load_ext = original


def _replace_ops() -> None:
    sys.modules["mmcv.ops.nms"].ext_module = NmsOps()  # type: ignore[attr-defined]
    modules = [module for path, module in sys.modules.items() if f"{path}.".startswith("mmcv.ops.")]
    for home, function in (
        ("roi_align", roi_align),
        ("deform_conv", deform_conv2d),
        ("modulated_deform_conv", modulated_deform_conv2d),
        ("focal_loss", sigmoid_focal_loss),
    ):
        name = function.__name__
        original = getattr(sys.modules[f"mmcv.ops.{home}"], name)
        for module in modules:  # several import it by name
            if getattr(module, name, None) is original:
                setattr(module, name, function)


def roi_align(
    input: Tensor,  # noqa: A002  (mmcv's name)
    rois: Tensor,
    output_size: IntOrPair,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    pool_mode: str = "avg",
    aligned: bool = True,
) -> Tensor:
    """Pool features [n, c, h, w] in regions [k, 5] (image index, then corners) to [k, c, *output_size].

    The arguments are those of ``mmcv.ops.roi_align``; the only supported pooling mode is ``avg``.
    """
    if pool_mode != "avg":
        raise unsupported_op("roi_align", f"expected the pool_mode 'avg', found {pool_mode!r}")
    dtype = _compute_dtype(input.dtype)
    features, regions, size = input.to(dtype), rois.to(dtype), _pair(output_size)
    fast = cpu_ops.supports_roi_align(features, regions)
    pool = cpu_ops.roi_align_channels_last if fast else vision.roi_align
    pooled: Tensor = pool(features, regions, size, spatial_scale, sampling_ratio, aligned)
    return pooled.to(input.dtype)


def deform_conv2d(
    input: Tensor,  # noqa: A002  (mmcv's name)
    offset: Tensor,
    weight: Tensor,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    deform_groups: int = 1,
    bias: bool = False,
    im2col_step: int = 32,  # noqa: ARG001  (mmcv's images at a time; they do not change the result)
) -> Tensor:
    """Convolve [n, c, h, w] at displaced points; offsets [n, deform_groups·kernel·2, h', w'] are (y, x) pairs.

    The arguments are those of ``mmcv.ops.deform_conv2d``, which has no bias either.
    """
    if bias:
        raise unsupported_op("deform_conv2d", "it has no bias")
    return modulated_deform_conv2d(input, offset, None, weight, None, stride, padding, dilation, groups, deform_groups)


def modulated_deform_conv2d(
    input: Tensor,  # noqa: A002  (mmcv's name)
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    deform_groups: int = 1,
) -> Tensor:
    """Convolve as ``deform_conv2d`` does, with each point weighted by a mask [n, deform_groups·kernel, h', w'].

    The arguments are those of ``mmcv.ops.modulated_deform_conv2d``. Offsets and masks may be larger than the output, as
    in DyHead, which convolves one level with the offsets of another; see ``_read_as_size``.
    """
    # torchvision infers both numbers of groups from the shapes.
    expected = weight.size(1) * groups, 2 * weight.size(2) * weight.size(3) * deform_groups
    found = input.size(1), offset.size(1)
    if found != expected:
        problem = "expected {} channels and {} offsets, found {} and {}".format(*expected, *found)
        raise unsupported_op("deform_conv2d", problem)
    # In mixed precision only the offsets have 16 bits; mmcv computes in their type.
    dtype = _compute_dtype(offset.dtype)
    features, offset_, weight = (tensor.to(dtype) for tensor in (input, offset, weight))
    bias, mask = (None if tensor is None else tensor.to(dtype) for tensor in (bias, mask))
    spacing = (_pair(stride), _pair(padding), _pair(dilation))
    size = _output_size(features, weight, *spacing)
    if mask is not None:
        offset_, mask = _read_as_size(offset_, size), _read_as_size(mask, size)
    elif offset_.shape[2:] != size:
        problem = "expected offsets of {}x{}, found {}x{}".format(*size, *offset_.shape[2:])
        raise unsupported_op("deform_conv2d", problem)
    fast = cpu_ops.supports_deform_conv2d(features, offset_, weight)
    convolve = cpu_ops.deform_conv2d_channels_last if fast else vision.deform_conv2d
    convolved: Tensor = convolve(features, offset_, weight, bias, *spacing, mask)
    last = input.is_contiguous(memory_format=torch.channels_last) and not input.is_contiguous()
    # torchvision's op returns NCHW on a GPU, which the next convolution would have to convert.
    return convolved.to(offset.dtype, memory_format=torch.channels_last if last else torch.preserve_format)


def _output_size(
    features: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int]:
    """Return the height and width of a convolution's output."""
    lengths = zip(features.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    height, width = ((n + 2 * pad - step * (kernel - 1) - 1) // move + 1 for n, kernel, move, pad, step in lengths)
    return height, width


def _read_as_size(tensor: Tensor, size: tuple[int, int]) -> Tensor:
    """Read offsets or masks [n, c, h, w] as mmcv does, as [n, c, *size].

    mmcv's kernels do not compare the sizes. Of each image they read the first c·h'·w' values, row by row and channel by
    channel, as if they were laid out for the output's height h' and width w'. Published weights were trained that way:
    cropped or resized offsets give other boxes. With fewer values mmcv would read beyond the end: BackendError.
    """
    if tensor.shape[2:] == size:
        return tensor
    values = tensor.size(1) * size[0] * size[1]
    if tensor.shape[1:].numel() < values:
        problem = "expected offsets and masks of at least {}x{}, found {}x{}".format(*size, *tensor.shape[2:])
        raise unsupported_op("modulated_deform_conv2d", problem)
    return tensor.flatten(1)[:, :values].view(-1, tensor.size(1), *size)


def sigmoid_focal_loss(
    input: Tensor,  # noqa: A002  (mmcv's name)
    target: Tensor,
    gamma: float = 2.0,
    alpha: float = 0.25,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Focal loss of logits [n, c] for class indices [n], where c or more means background.

    The arguments are those of ``mmcv.ops.sigmoid_focal_loss``, whose mean is the sum over all entries divided by n.
    Class weights and an alpha below 0 are not supported.
    """
    if weight is not None or alpha < 0:
        raise unsupported_op("sigmoid_focal_loss", "expected no class weights, and an alpha of 0 or more")
    classes = torch.arange(input.size(1), device=input.device)
    one_hot = (target.unsqueeze(1) == classes).to(input.dtype)
    loss: Tensor = vision.sigmoid_focal_loss(input, one_hot, alpha, gamma, "none")
    if reduction == "none":
        return loss
    return loss.sum() / input.size(0) if reduction == "mean" else loss.sum()


def _compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type to compute in: float32 for 16-bit floats, for which torchvision lacks some kernels."""
    return torch.float32 if dtype.itemsize < torch.float32.itemsize else dtype


def _pair(value: IntOrPair) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    return first, second
