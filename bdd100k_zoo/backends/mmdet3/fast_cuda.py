"""Changes of a model with which a GPU computes the same with fewer operators, and without waiting for small copies.

A copy from ordinary memory to a GPU blocks until the GPU has done all work before it. mmdet copies many constants for
each image: the means and deviations of boxes, scale factors, anchors, the order of channels. Here they stay on the GPU.
Only modules and functions of mmdet itself are replaced, on one model: others, and training, are left as mmdet has them.
"""

from __future__ import annotations

import math
from functools import lru_cache
from types import FunctionType, MethodType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812
from mmcv import ops
from mmcv.cnn.bricks import wrappers
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.models.dense_heads import EmbeddingRPNHead
from mmdet.models.layers import bbox_nms
from mmdet.models.roi_heads import SparseRoIHead
from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder, MlvlPointGenerator
from mmdet.structures import bbox
from torch import Tensor, nn

from bdd100k_zoo.backends.common.precision import HALF_DTYPES, use_precision
from bdd100k_zoo.backends.mmdet3.fast_cpu import fuse_normalisations, patch_model, to_channels_last

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bdd100k_zoo.backends.mmdet3.fast_cpu import Undo

MAX_CONSTANTS = 256
"""Small constants that are kept: each size of images adds one or two."""
MAX_PRIORS = 4
"""Sizes of images whose anchors or points are kept; those of 1280x720 take 4 MB."""


def optimize_for_cuda(model: Any, device: torch.device, precision: str) -> bool:
    """Change a model in evaluation mode for speed on a GPU, and return whether all of it stays changed.

    What a change would break is undone; see ``fast_cpu.patch_model``.
    """
    patches: list[Callable[[Any], Undo]] = [lambda changed: keep_constants(changed, device), fuse_normalisations]
    if precision != "fp32":
        # Tensor cores read channels last. The units that compute float32 exactly may be slower in that layout.
        patches.append(to_channels_last)
    with use_precision("fp32", device):
        patched = patch_model(model, patches, device)
    if patched and precision in HALF_DTYPES:
        dtype = HALF_DTYPES[precision]
        with use_precision(precision, device):
            return patch_model(model, [lambda changed: store_short_weights(changed, dtype)], device)
    return patched


# Constants


class Constants:
    """Tensors of a few numbers on a device, each of which is copied there once."""

    def __init__(self) -> None:
        self._make = lru_cache(MAX_CONSTANTS)(_make_constant)

    def __call__(self, values: Sequence[float], like: Tensor) -> Tensor:
        """Return the numbers as a tensor [n] with the dtype and device of another one. It must not be changed."""
        return self._make(tuple(values), like.dtype, like.device)


def _make_constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # so that it can be used anywhere
        return torch.tensor(values, dtype=dtype, device=device)


def keep_constants(model: nn.Module, device: torch.device) -> Undo:
    """Keep the constants of preprocessing, anchors, box coders and post-processing on a device.

    Results are the same to the bit.
    """
    constants = Constants()
    replacements: dict[str, Callable[..., Any]] = {
        "scale_boxes": lambda boxes, factors: scale_boxes(boxes, factors, constants),
        "batched_nms": batched_nms,
        "multiclass_nms": _with_globals(bbox_nms.multiclass_nms, {"batched_nms": batched_nms}),
        "delta2bbox": lambda *arguments: delta2bbox(*arguments, constants=constants),
    }
    undos = []
    for part in model.modules():
        undos.append(_replace_methods(part, replacements))
        if type(part) is DetDataPreprocessor:
            undos.append(_flip_channels_once(part))
        elif type(part) is EmbeddingRPNHead:
            undos.append(_keep_image_sizes(part, constants))
        elif type(part) is SparseRoIHead:
            undos.append(_scale_last(part, constants))
    for owner in _attributes(model, "bbox_coder", DeltaXYWHBBoxCoder):
        undos.append(_replace_methods(owner, replacements))
    for generator in _attributes(model, "prior_generator", AnchorGenerator, MlvlPointGenerator):
        undos.append(_keep_priors(generator, device))
    return lambda: [undo() for undo in reversed(undos)]


def _attributes(model: nn.Module, name: str, *types: type) -> list[Any]:
    """Return the different values of an attribute of a model's parts that have one of some types exactly."""
    values = {id(value): value for part in model.modules() if type(value := getattr(part, name, None)) in types}
    return list(values.values())


def _replace_methods(owner: Any, replacements: Mapping[str, Callable[..., Any]]) -> Undo:
    """Make those methods of an object that mmdet defines and that call certain functions call others instead."""
    replaced = []
    for name in dir(type(owner)):
        method = getattr(type(owner), name)
        is_known = isinstance(method, FunctionType) and method.__module__.startswith("mmdet.")
        if is_known and name not in vars(owner) and any(each in replacements for each in method.__code__.co_names):
            owner.__dict__[name] = MethodType(_with_globals(method, replacements), owner)
            replaced.append(name)
    return lambda: [owner.__dict__.pop(name) for name in replaced]


def _with_globals(function: Any, replacements: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """Return a function that finds other values by some global names."""
    known = {name: value for name, value in replacements.items() if name in function.__globals__}
    names = function.__globals__ | known
    copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _flip_channels_once(preprocessor: Any) -> Undo:
    """Make preprocessing stack images of one size as uint8, and reverse the channels by a flip.

    mmdet selects the channels by indices, which it copies to the GPU for each image.
    """
    plain, flips = preprocessor.forward, preprocessor._channel_conversion

    def forward(data: Mapping[str, Any], training: bool = False) -> Any:
        images = data["inputs"]
        if isinstance(images, (list, tuple)) and len({image.shape for image in images}) == 1:
            images = torch.stack(tuple(images))
            images = images.flip(1) if flips else images
        elif flips:
            images = [image.flip(0) for image in images]
        return plain({**data, "inputs": images}, training)

    def undo() -> None:
        del preprocessor.forward
        preprocessor._channel_conversion = flips

    preprocessor.forward, preprocessor._channel_conversion = forward, False
    return undo


def _keep_priors(generator: Any, device: torch.device) -> Undo:
    """Keep base anchors on a device, and the anchors or points of the last sizes of images."""
    anchors, plain = getattr(generator, "base_anchors", None), generator.grid_priors

    @lru_cache(MAX_PRIORS)
    def make(sizes: tuple[tuple[int, int], ...], settings: tuple[tuple[str, Any], ...]) -> list[Tensor]:
        with torch.inference_mode(False), torch.no_grad():
            priors: list[Tensor] = plain(sizes, **dict(settings))
        return priors

    def grid_priors(featmap_sizes: Sequence[Sequence[int]], **settings: Any) -> list[Tensor]:
        sizes = tuple((int(height), int(width)) for height, width in featmap_sizes)
        return list(make(sizes, tuple(sorted(settings.items()))))

    if anchors is not None:
        generator.base_anchors = [each.to(device) for each in anchors]
    generator.grid_priors = grid_priors

    def undo() -> None:
        del generator.grid_priors
        if anchors is not None:
            generator.base_anchors = anchors

    return undo


def _keep_image_sizes(head: Any, constants: Constants) -> Undo:
    """Make the proposals of Sparse R-CNN from sizes of images that are kept."""
    plain = head._decode_init_proposals

    def decode(x: Sequence[Tensor], batch_data_samples: Any) -> Any:
        # All that this method does with the features is to make a tensor [1, 4] of each size.
        like = SimpleNamespace(new_tensor=lambda rows: constants(rows[0], x[0])[None])
        return plain((like,), batch_data_samples)

    head._decode_init_proposals = decode
    return lambda: delattr(head, "_decode_init_proposals")


def _scale_last(head: Any, constants: Constants) -> Undo:
    """Make Sparse R-CNN, which suppresses no boxes, return them in the network's pixels, and scale them here."""
    plain = head.predict_bbox

    def predict_bbox(features: Any, metas: Any, proposals: Any, *, rescale: bool = False, **named: Any) -> Any:
        results = plain(features, metas, proposals, rescale=False, **named)
        for result, meta in zip(results, metas, strict=True):
            if rescale:
                result.bboxes = result.bboxes / constants([*meta["scale_factor"]] * 2, result.bboxes)
        return results

    head.predict_bbox = predict_bbox
    return lambda: delattr(head, "predict_bbox")


def scale_boxes(boxes: Any, factors: Sequence[float], constants: Constants) -> Any:
    """Scale boxes [n, 4k] by factors for x and y, as ``mmdet.structures.bbox.scale_boxes`` does."""
    if not isinstance(boxes, Tensor):
        return bbox.scale_boxes(boxes, factors)
    return boxes * constants([*factors] * (boxes.size(-1) // 2), boxes)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, nms_cfg: Any, class_agnostic: bool = False) -> Any:
    """Suppress boxes [n, 4] of the same index, as ``mmcv.ops.batched_nms`` does, which copies the number 1 to the GPU.

    Returns:
        The boxes that are left, with their scores [k, 5], and their indices [k].
    """
    if nms_cfg is None or class_agnostic or nms_cfg.get("class_agnostic") or boxes.size(-1) != 4 or not len(boxes):
        return ops.batched_nms(boxes, scores, idxs, nms_cfg, class_agnostic)
    shifts = idxs.to(boxes) * (boxes.max() + 1)
    settings = {**nms_cfg, "class_agnostic": True}
    left, indices = ops.batched_nms(boxes + shifts[:, None], scores, idxs, settings)
    return torch.cat((boxes[indices], left[:, -1:]), 1), indices


def delta2bbox(
    rois: Tensor,
    deltas: Tensor,
    means: Sequence[float],
    stds: Sequence[float],
    max_shape: Sequence[int] | None = None,
    wh_ratio_clip: float = 16 / 1000,
    clip_border: bool = True,
    add_ctr_clamp: bool = False,
    ctr_clamp: int = 32,
    *,
    constants: Constants,
) -> Tensor:
    """Decode boxes: shift and scale regions [n, 4] by deltas [n, 4k]; corners in pixels, [n, 4k].

    The arguments, and the order of all roundings, are those of the function of this name in mmdet.
    """
    shape = deltas.shape
    if not len(deltas):
        return deltas
    deltas = deltas.reshape(-1, 4)
    deltas = deltas * constants(stds, deltas) + constants(means, deltas)
    rois = rois.repeat(1, shape[1] // 4).reshape(-1, 4)
    sizes = rois[:, 2:] - rois[:, :2]
    shifts, scales = sizes * deltas[:, :2], deltas[:, 2:]
    limit = abs(math.log(wh_ratio_clip))
    shifts = shifts.clamp(-ctr_clamp, ctr_clamp) if add_ctr_clamp else shifts
    scales = scales.clamp(None if add_ctr_clamp else -limit, limit)
    centres = (rois[:, :2] + rois[:, 2:]) * 0.5 + shifts
    halves = sizes * scales.exp() * 0.5
    boxes = torch.cat((centres - halves, centres + halves), 1)
    if clip_border and max_shape is not None:
        boxes[:, 0::2].clamp_(0, max_shape[1])
        boxes[:, 1::2].clamp_(0, max_shape[0])
    return boxes.reshape(shape)


# 16 bits

LAYERS = (nn.Conv2d, nn.Linear, nn.modules.linear.NonDynamicallyQuantizableLinear, wrappers.Conv2d, wrappers.Linear)
"""Layers, exactly of these types, whose weights autocast converts whenever they are used."""


def store_short_weights(model: nn.Module, dtype: torch.dtype) -> Undo:
    """Convert weights to 16 bits that autocast would convert in each batch, to the same numbers.

    Boxes, and all normalisations but those of groups, remain in float32. Afterwards the model runs under autocast only.
    """
    undos = []
    for part in model.modules():
        if type(part) in LAYERS:
            undos.append(_convert(part, ("weight", "bias"), dtype))
        elif type(part) is nn.MultiheadAttention:
            undos.append(_convert(part, ("in_proj_weight", "in_proj_bias"), dtype))
        elif type(part) is nn.GroupNorm:
            undos += [_convert(part, ("weight", "bias"), dtype), _normalise_groups_in(part, dtype)]
    return lambda: [undo() for undo in reversed(undos)]


def _convert(part: nn.Module, names: Sequence[str], dtype: torch.dtype) -> Undo:
    before = {name: parameter for name in names if (parameter := getattr(part, name)) is not None}
    for name, parameter in before.items():
        setattr(part, name, nn.Parameter(parameter.detach().to(dtype), requires_grad=False))
    return lambda: part._parameters.update(before)


def _normalise_groups_in(norm: nn.GroupNorm, dtype: torch.dtype) -> Undo:
    """Make a layer read and write 16 bits, in the layout of its input; sums inside the kernel are float32.

    Autocast would convert the input to float32, and the result would be NCHW, which the next convolution converts.
    """

    def forward(features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            normalised = F.group_norm(features.to(dtype), norm.num_groups, norm.weight, norm.bias, norm.eps)
        last = features.is_contiguous(memory_format=torch.channels_last)
        return normalised.contiguous(memory_format=torch.channels_last) if last else normalised

    norm.__dict__["forward"] = forward
    return lambda: norm.__dict__.pop("forward")
