"""Heads of mmdet that select the boxes of all images of a batch at once, for GPUs; see docs/batched-heads.md.

mmdet's heads select boxes image by image, and a GPU waits for the CPU dozens of times in each batch. The functions here
apply the same operators in the same order to the whole batch. They never ask for the number of boxes of an image:
results have as many rows for each image, and the rows beyond its own boxes, which come last, have the score ``PADDING``.
``detect_complete`` removes them.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.detectors import SingleStageDetector, TwoStageDetector
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder, DistancePointBBoxCoder
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import nms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bdd100k_zoo.data.detections import Detections

PADDING = -1.0
"""The score of rows beyond an image's own boxes."""

INCOMPLETE = -2.0
"""The score of all rows of an image for which candidates that were left out could have changed the result."""

PREFIX = 1024
"""How many of the best candidates of an image the final suppression compares. A box is suppressed by better ones only,
so the first 1,024 decide the first 100 results, unless fewer than 100 of them remain."""

IMAGES_PER_CALL = 8
"""How many images one suppression compares. Its time and memory grow with the square: at 8, the 4,800 proposals of
each take 180 MB."""

MAX_PROPOSALS_PER_LEVEL = 1000
"""The largest ``nms_pre`` of a first stage, all of whose candidates are compared."""

LARGEST_LOG_RATIO = float(np.abs(np.log(16 / 1000)))
"""What ``DeltaXYWHBBoxCoder`` limits changes of width and height to."""

_by_image: ContextVar[bool] = ContextVar("_by_image", default=False)
"""Whether heads use mmdet's own methods, in spite of ``batch_heads``."""


# Which models


def batch_heads(model: Any) -> bool:
    """Make a model's heads select the boxes of a batch at once, and return whether they do.

    Heads that are trained, and models that ``is_supported`` does not know, keep mmdet's own methods. Only
    ``detect_complete`` may read the results of the model afterwards.

    Args:
        model: built, and changed in place. Heads must not have been made to return float32 yet.
    """
    if not is_supported(model):
        return False
    constants = _Constants()
    if isinstance(model, SingleStageDetector):
        _replace(model.bbox_head, "predict_by_feat", partial(_predict_dense, constants, model.bbox_head))
        return True
    _replace(model.rpn_head, "predict_by_feat", partial(_predict_dense, constants, model.rpn_head))
    _replace(model.roi_head, "predict_bbox", partial(_predict_regions, constants, model.roi_head))
    for part in model.roi_head.modules():
        if isinstance(part, SingleRoIExtractor):
            _replace(part, "forward", partial(_pool, constants, part))
    return True


def is_supported(model: Any) -> bool:
    """Return whether a model's methods and settings are those that this module mirrors."""
    if isinstance(model, SingleStageDetector):
        return _inherits(model, SingleStageDetector, "predict") and _supports_dense(model.bbox_head, BaseDenseHead)
    return (
        isinstance(model, TwoStageDetector)
        and _inherits(model, TwoStageDetector, "predict")
        and model.with_rpn
        and model.with_bbox
        and not model.with_mask
        and _supports_dense(model.rpn_head, RPNHead)
        and model.rpn_head.test_cfg.nms_pre <= MAX_PROPOSALS_PER_LEVEL
        and _supports_regions(model.roi_head)
    )


def _inherits(part: Any, owner: type, *methods: str) -> bool:
    """Return whether the methods of an object are those of a class, which no subclass replaces."""
    return all(getattr(type(part), name, None) is getattr(owner, name) for name in methods)


def _supports_dense(head: Any, owner: type) -> bool:
    return (
        _inherits(head, BaseDenseHead, "predict", "predict_by_feat")
        and _inherits(head, owner, "_predict_by_feat_single", "_bbox_post_process")
        and head.use_sigmoid_cls
        and not getattr(head.loss_cls, "custom_cls_channels", False)
        and not getattr(head.prior_generator, "use_box_type", False)
        and _supports_coder(head.bbox_coder)
        and head.test_cfg.get("nms_pre", -1) > 0
        and _supports_selection(head.test_cfg)
    )


def _supports_regions(roi_head: Any) -> bool:
    if isinstance(roi_head, CascadeRoIHead):
        heads, extractors = [*roi_head.bbox_head], [*roi_head.bbox_roi_extractor]
        known = _inherits(roi_head, CascadeRoIHead, "predict", "predict_bbox", "_refine_roi")
        known = known and all(head.reg_class_agnostic for head in heads)
    else:
        heads, extractors = [roi_head.bbox_head], [roi_head.bbox_roi_extractor]
        known = _inherits(roi_head, StandardRoIHead, "predict", "predict_bbox")
    methods = ("predict_by_feat", "_predict_by_feat_single", "regress_by_class")
    return (
        known
        and all(_inherits(each, SingleRoIExtractor, "forward") for each in extractors)
        and all(_inherits(head, BBoxHead, *methods) and head.with_cls and head.with_reg for head in heads)
        and not any(head.custom_cls_channels or head.custom_activation for head in heads)
        and all(_supports_coder(head.bbox_coder) for head in heads)
        and _supports_selection(roi_head.test_cfg)
    )


def _supports_coder(coder: Any) -> bool:
    is_known = type(coder) in (DeltaXYWHBBoxCoder, DistancePointBBoxCoder)
    # Clipped boxes have no negative coordinates, which the shifts of classes and images rely on.
    return is_known and coder.clip_border and not coder.use_box_type and not getattr(coder, "add_ctr_clamp", False)


def _supports_selection(cfg: Any) -> bool:
    """Return whether settings ask for plain NMS and a limited number of boxes."""
    suppression = {"type": "nms", **(cfg.get("nms") or {})}
    is_plain = suppression["type"] == "nms" and suppression.keys() == {"type", "iou_threshold"}
    return is_plain and 0 < cfg.get("max_per_img", -1) <= PREFIX


def _replace(module: Any, name: str, batched: Callable[..., Any]) -> None:
    """Replace a method of a module, but in training and inside ``mmdet_heads``."""
    original = getattr(module, name)

    def choose(*arguments: Any, **named: Any) -> Any:
        method = original if module.training or _by_image.get() else batched
        return method(*arguments, **named)

    # ``refuse_non_finite_outputs`` would wait for the GPU; here NaN becomes the score of an image's boxes instead.
    choose.checks_outputs = True  # type: ignore[attr-defined]
    setattr(module, name, choose)


# Results


@contextmanager
def mmdet_heads() -> Iterator[None]:
    """Let heads use mmdet's own methods inside the block, in this thread."""
    token = _by_image.set(True)
    try:
        yield
    finally:
        _by_image.reset(token)


def detect_complete(
    detect: Callable[[Sequence[Any]], list[Detections]], images: Sequence[Any], found: list[Detections] | None = None
) -> list[Detections]:
    """Return the detections of images as mmdet's heads select them.

    Args:
        detect: runs the model on images and returns its detections, with padding.
        images: what it takes.
        found: what it returned for them, if it has run.

    Images whose result may be incomplete are detected again with mmdet's own methods.
    """
    found = detect(images) if found is None else found
    incomplete = [place for place, each in enumerate(found) if (each.scores == INCOMPLETE).any()]
    found = [each[~(each.scores < 0)] for each in found]  # NaN is kept, and refused by the caller
    if incomplete:
        with mmdet_heads():
            again = detect([images[place] for place in incomplete])
        for place, each in zip(incomplete, again, strict=True):
            found[place] = each
    return found


# Selection


class _Constants:
    """Tensors that every batch needs: copying them to a GPU each time would wait for it."""

    def __init__(self) -> None:
        self.tensor = lru_cache(maxsize=128)(_tensor)
        self.countdown = lru_cache(maxsize=32)(_countdown)
        self.priors = lru_cache(maxsize=8)(_priors)

    def limits(self, metas: Sequence[dict[str, Any]], like: Tensor) -> Tensor:
        """Return the largest x1, y1, x2, y2 of images: [images, 1, 4]."""
        each = tuple(((width, height, width, height),) for height, width in (meta["img_shape"][:2] for meta in metas))
        return self.tensor(each, like.dtype, like.device)

    def factors(self, metas: Sequence[dict[str, Any]], like: Tensor) -> Tensor:
        """Return by what boxes are multiplied to be in the pixels of the original images: [images, 1, 4]."""
        each = tuple((tuple(1 / factor for factor in meta["scale_factor"]) * 2,) for meta in metas)
        return self.tensor(each, like.dtype, like.device)


def _tensor(values: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def _countdown(number: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.arange(number - 1, -1, -1, device=device)


def _priors(generator: Any, sizes: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the priors of all levels: [n, 4] boxes or [n, 2] points."""
    with torch.inference_mode(False):
        return torch.cat(generator.grid_priors(sizes, dtype=dtype, device=device))


def _order_keys(constants: _Constants, scores: Tensor, valid: Tensor | None) -> Tensor:
    """Return unique keys, int64 [images, n], whose descending order is a stable sort of scores; -1 where invalid.

    Scores must not be negative: their bits are then in the order of their values. Equal scores keep their order.
    """
    keys = scores.view(torch.int32).long().bitwise_left_shift_(32)
    keys.bitwise_or_(constants.countdown(scores.shape[1], scores.device))
    return keys if valid is None else keys.masked_fill_(~valid, -1)


def _take(values: Tensor, places: Tensor) -> Tensor:
    """Return rows of [images, n, c] at places [images, k]."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[-1]))


def _not_finite(*outputs: Tensor) -> Tensor:
    """Return for each image [images] NaN if outputs [images, ...] are not all finite, else 0."""
    sums = [each.flatten(1).sum(1, dtype=torch.float64) for each in outputs]  # which does not overflow
    return torch.stack(sums).sum(0).mul_(0).float()


def _select(
    constants: _Constants,
    candidates: tuple[Tensor, Tensor, Tensor, Tensor],
    cfg: Any,
    verdict: Tensor,
    prefix: int = PREFIX,
) -> tuple[Tensor, Tensor, Tensor]:
    """Suppress overlapping boxes, and return the best boxes, scores and groups of each image, padded.

    Args:
        constants: of the model.
        candidates: boxes [images, n, 4], not negative; scores [images, n], not negative; whether mmdet would list them;
            their classes or pyramid levels, between which boxes do not suppress each other. All are in mmdet's order.
        cfg: settings of the head.
        verdict: [images], 0 or NaN; NaN becomes the score of all boxes.
        prefix: compare at most so many of the best of each image.
    """
    boxes, scores, valid, groups = candidates
    boxes = boxes.masked_fill(~valid[..., None], 0)
    # As ``mmcv.ops.batched_nms``, which rounds these shifts to float32: the rounding decides which boxes overlap.
    shifts = groups.to(boxes) * (boxes.amax((1, 2)) + 1)[:, None]
    most, number = cfg.max_per_img, boxes.shape[1]
    is_whole = number <= prefix
    if not is_whole:
        number, total = prefix, valid.sum(1)
        keys, places = _order_keys(constants, scores, valid).topk(number, dim=1)
        boxes, valid = _take(boxes, places), keys >= 0
        scores, shifts, groups = scores.gather(1, places), shifts.gather(1, places), groups.gather(1, places)
    keep = _suppress(boxes + shifts[..., None], scores, valid, cfg.nms.iou_threshold)
    if not is_whole:
        complete = (keep.sum(1) >= most) | (total <= number)
        verdict = verdict.masked_fill(~complete, INCOMPLETE) + verdict  # NaN stays
    keys, places = _order_keys(constants, scores, keep).topk(min(most, number), dim=1)
    best = scores.gather(1, places).masked_fill(keys < 0, PADDING)
    verdict = verdict[:, None]
    return _take(boxes, places), torch.where(verdict == 0, best, verdict), groups.gather(1, places)


def _suppress(boxes: Tensor, scores: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Return which boxes remain, [images, n] as ``valid``, with one call and one wait for several images.

    Images are shifted apart in float64, in which the shifts change no coordinate. mmcv computes overlaps in float32: at
    the threshold the result can differ, see docs/batched-heads.md.
    """
    below = np.float32(threshold)
    below = below if below <= threshold else np.nextafter(below, np.float32(-1))
    # What float32 would round to a value above the threshold is above it.
    threshold = (float(below) + float(np.nextafter(below, np.float32(2)))) / 2
    remaining = []
    for some, their, real in zip(*(each.split(IMAGES_PER_CALL) for each in (boxes, scores, valid)), strict=True):
        images = torch.arange(len(some), dtype=torch.float64, device=boxes.device)
        apart = some.double() + (images * (some.amax() + 1))[:, None, None]
        kept = nms(apart.flatten(0, 1), their.masked_fill(~real, PADDING).flatten().double(), threshold)
        remaining.append(torch.zeros_like(real).flatten().index_fill_(0, kept, True).view_as(real) & real)
    return torch.cat(remaining) if len(remaining) > 1 else remaining[0]


def _decode(constants: _Constants, coder: Any, priors: Tensor, changes: Tensor, limits: Tensor) -> Tensor:
    """Return boxes [images, n, 4] of priors and the network's output, as ``delta2bbox`` and ``distance2bbox`` do."""
    if isinstance(coder, DistancePointBBoxCoder):
        corners = torch.cat([priors - changes[..., :2], priors + changes[..., 2:]], -1)
    else:
        means, stds = (
            constants.tensor(tuple(each), changes.dtype, changes.device) for each in (coder.means, coder.stds)
        )
        changes = changes * stds + means
        sides = priors[..., 2:] - priors[..., :2]
        centres = (priors[..., :2] + priors[..., 2:]) * 0.5 + sides * changes[..., :2]
        halves = sides * changes[..., 2:].clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp() * 0.5
        corners = torch.cat([centres - halves, centres + halves], -1)
    return corners.clamp(min=0).minimum(limits)


# Heads


def _predict_dense(
    constants: _Constants,
    head: Any,
    cls_scores: Sequence[Tensor],
    bbox_preds: Sequence[Tensor],
    score_factors: Sequence[Tensor] | None = None,
    *,
    batch_img_metas: Sequence[dict[str, Any]],
    rescale: bool = False,
) -> list[InstanceData]:
    """Do what ``BaseDenseHead.predict_by_feat`` does, or ``RPNHead``'s."""
    cfg, images, classes = head.test_cfg, len(batch_img_metas), head.cls_out_channels
    is_rpn = isinstance(head, RPNHead)
    logits, changes = _flatten(cls_scores, images, 1).squeeze(-1), _flatten(bbox_preds, images, 4)
    sizes = tuple(tuple(each.shape[-2:]) for each in cls_scores)
    priors = constants.priors(head.prior_generator, sizes, changes.dtype, changes.device)
    all_scores = logits.sigmoid()
    keys = _order_keys(constants, all_scores, None if is_rpn else all_scores > cfg.get("score_thr", 0))

    # The best of each level; places count through all levels.
    lengths = [each.shape[1:].numel() for each in cls_scores]
    best = [each.topk(min(cfg.nms_pre, each.shape[1]), dim=1) for each in keys.split(lengths, 1)]
    levels = tuple(level for level, each in enumerate(best) for _ in range(each.indices.shape[1]))
    starts = tuple(sum(lengths[:level]) for level in levels)
    places = torch.cat([each.indices for each in best], 1) + constants.tensor(starts, torch.int64, keys.device)
    valid = torch.cat([each.values for each in best], 1) >= 0
    at = places if classes == 1 else places.div(classes, rounding_mode="floor")
    scores = all_scores.gather(1, places)
    if is_rpn:
        groups = constants.tensor(levels, torch.int64, keys.device).expand(images, -1)
    else:
        groups = places - at * classes

    limits = constants.limits(batch_img_metas, changes)
    boxes = _decode(constants, head.bbox_coder, priors[at], _take(changes, at), limits)
    if rescale:
        boxes = boxes * constants.factors(batch_img_metas, boxes)
    outputs = [logits, changes]
    if score_factors is not None:
        factors = _flatten(score_factors, images, 1).squeeze(-1)
        outputs.append(factors)
        scores = scores * factors.gather(1, at).sigmoid()
    if (least := cfg.get("min_bbox_size", -1)) >= 0:
        valid = valid & (boxes[..., 2:] - boxes[..., :2] > least).all(-1)

    # A first stage needs more boxes than the prefix, so all are compared.
    prefix = scores.shape[1] if is_rpn else PREFIX
    candidates = (boxes, scores, valid, groups)
    boxes, scores, labels = _select(constants, candidates, cfg, _not_finite(*outputs), prefix)
    return _by_images(boxes, scores, torch.zeros_like(labels) if is_rpn else labels)


def _flatten(levels: Sequence[Tensor], images: int, channels: int) -> Tensor:
    """Return [images, n, channels] of the outputs of all levels, each [images, priors·channels, height, width]."""
    return torch.cat([each.permute(0, 2, 3, 1).reshape(images, -1, channels) for each in levels], 1)


def _by_images(boxes: Tensor, scores: Tensor, labels: Tensor) -> list[InstanceData]:
    return [InstanceData(bboxes=b, scores=s, labels=k) for b, s, k in zip(boxes, scores, labels, strict=True)]


def _predict_regions(
    constants: _Constants,
    roi_head: Any,
    x: Sequence[Tensor],
    batch_img_metas: Sequence[dict[str, Any]],
    rpn_results_list: Sequence[InstanceData],
    rcnn_test_cfg: Any,
    rescale: bool = False,
) -> list[InstanceData]:
    """Do what ``predict_bbox`` of ``StandardRoIHead`` and of ``CascadeRoIHead`` does, for padded proposals."""
    boxes = torch.stack([each.bboxes for each in rpn_results_list])
    proposal_scores = torch.stack([each.scores for each in rpn_results_list])
    images, number = boxes.shape[:2]
    indices = constants.tensor(tuple(range(images)), boxes.dtype, boxes.device)[:, None, None].expand(-1, number, -1)
    limits = constants.limits(batch_img_metas, boxes)

    if isinstance(roi_head, CascadeRoIHead):
        stages = [(head, partial(roi_head._bbox_forward, stage)) for stage, head in enumerate(roi_head.bbox_head)]
    else:
        stages = [(roi_head.bbox_head, roi_head._bbox_forward)]
    logits: list[Tensor] = []
    for head, forward in stages:
        if logits:  # only cascades have another stage, which starts from the boxes of the one before
            boxes = _decode(constants, coder, boxes, changes, limits)
        found = forward(x, torch.cat([indices, boxes], -1).flatten(0, 1))
        logits.append(found["cls_score"].reshape(images, number, -1))
        changes, coder = found["bbox_pred"].reshape(images, number, -1), head.bbox_coder
    with torch.autocast(boxes.device.type, enabled=False):
        mean = logits[0] if len(logits) == 1 else sum(logits) / float(len(logits))
        scores = mean.softmax(-1)[..., :-1].flatten(1)
        classes = 1 if head.reg_class_agnostic else head.num_classes
        boxes = boxes[:, :, None].expand(-1, -1, classes, -1).flatten(1, 2)
        boxes = _decode(constants, coder, boxes, changes.reshape(images, -1, 4), limits)
        if rescale:
            boxes = boxes * constants.factors(batch_img_metas, boxes)
        boxes = boxes.view(images, number, classes, 4).expand(-1, -1, head.num_classes, -1).flatten(1, 2)
        labels = constants.tensor(tuple(range(head.num_classes)) * number, torch.int64, boxes.device)
        # A row of padding is no proposal. NaN is the score of proposals from outputs that are not finite.
        real = ~(proposal_scores < 0)
        valid = (scores > rcnn_test_cfg.score_thr).view(images, number, -1) & real[..., None]
        candidates = (boxes, scores, valid.flatten(1), labels.expand(images, -1))
        verdict = _not_finite(*logits, changes, proposal_scores)
        return _by_images(*_select(constants, candidates, rcnn_test_cfg, verdict))


def _pool(
    constants: _Constants, extractor: Any, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None
) -> Tensor:
    """Do what ``SingleRoIExtractor.forward`` does, with one wait for all levels.

    Returns the features [k, c, height, width] of rois [k, 5].
    """
    rois = rois.type_as(feats[0])
    levels = extractor.map_roi_levels(rois, len(feats))
    if roi_scale_factor is not None:
        rois = extractor.roi_rescale(rois, roi_scale_factor)
    order = levels.argsort(stable=True)
    others = constants.tensor(tuple(range(len(feats) - 1)), torch.int64, rois.device)  # all levels but the last
    sizes = (levels[:, None] == others).sum(0).cpu().tolist()
    pooled = feats[0].new_empty(len(rois), extractor.out_channels, *extractor.roi_layers[0].output_size)
    for layer, features, places in zip(
        extractor.roi_layers, feats, order.split([*sizes, len(rois) - sum(sizes)]), strict=False
    ):
        if len(places):
            pooled.index_copy_(0, places, layer(features, rois[places]))
    return pooled
