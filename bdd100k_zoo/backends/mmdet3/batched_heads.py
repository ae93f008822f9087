"""Heads of mmdet that select the boxes of all images of a batch at once, for GPUs; see docs/batched-heads.md.

mmdet's heads select boxes image by image, and a GPU waits for the CPU dozens of times in each batch. The functions here
apply the same operators in the same order to the whole batch, and never ask how many boxes an image has: results have
as many rows for each image, and the rows beyond its own boxes, which come last, have the score ``PADDING``.
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
from torch import Tensor, nn
from torchvision.ops import nms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bdd100k_zoo.data.detections import Detections

    Cache = Callable[..., Any]
    Metas = Sequence[dict[str, Any]]

PADDING = -1.0
"""The score of rows beyond an image's own boxes."""
INCOMPLETE = -2.0
"""The score of all rows of an image for which candidates that were left out could have changed the result."""
PREFIX = 1024
"""How many of the best candidates of an image are compared, but in a first stage. Only better boxes suppress a box, so
these decide the first 100 results, unless fewer than 100 of them remain."""
MAX_PROPOSALS_PER_LEVEL = 1000
"""The largest ``nms_pre`` of a first stage, where all candidates are compared."""
IMAGES_PER_CALL = 8
"""How many images one suppression compares. Memory grows with the square: 180 MB for 8 times 4,800 candidates."""
LARGEST_LOG_RATIO = float(np.abs(np.log(16 / 1000)))  # as in ``delta2bbox``

split: Callable[..., tuple[Tensor, ...]] = torch.split
_by_image: ContextVar[bool] = ContextVar("_by_image", default=False)
"""Whether heads use mmdet's own methods, in spite of ``batch_heads``."""


def batch_heads(model: Any) -> bool:
    """Make a model's heads select the boxes of a batch at once, and return whether they do.

    Heads that are trained, and models that ``is_supported`` does not know, keep mmdet's own methods. Only
    ``complete_detections`` may read the results. Heads must not have been made to return float32 yet.
    """
    if not is_supported(model):
        return False
    cache = _new_cache()
    if isinstance(model, SingleStageDetector):
        _replace(model.bbox_head, "predict_by_feat", partial(_predict_dense, cache, model.bbox_head))
        return True
    _replace(model.rpn_head, "predict_by_feat", partial(_predict_dense, cache, model.rpn_head))
    _replace(model.roi_head, "predict_bbox", partial(_predict_regions, cache, model.roi_head))
    for part in _listed(model.roi_head.bbox_roi_extractor):
        _replace(part, "forward", partial(_pool, part))
    return True


def is_supported(model: Any) -> bool:
    """Return whether a model's methods and settings are those that this module mirrors."""
    if isinstance(model, SingleStageDetector):
        return _inherits(model, SingleStageDetector, "predict") and _supports_dense(model.bbox_head, BaseDenseHead)
    return (
        isinstance(model, TwoStageDetector)
        and _inherits(model, TwoStageDetector, "predict")
        and (model.with_rpn, model.with_bbox, model.with_mask) == (True, True, False)
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
    is_cascade = isinstance(roi_head, CascadeRoIHead)
    owner, own = (CascadeRoIHead, ("_refine_roi",)) if is_cascade else (StandardRoIHead, ())
    return (
        _inherits(roi_head, owner, "predict", "predict_bbox", *own)
        and all(
            _supports_boxes(head) and (head.reg_class_agnostic or not is_cascade)
            for head in _listed(roi_head.bbox_head)
        )
        and all(_inherits(part, SingleRoIExtractor, "forward") for part in _listed(roi_head.bbox_roi_extractor))
        and _supports_selection(roi_head.test_cfg)
    )


def _listed(part: Any) -> list[Any]:
    """Return the parts of all stages: only cascades have a list of them."""
    return [*part] if isinstance(part, nn.ModuleList) else [part]


def _supports_boxes(head: Any) -> bool:
    known = _inherits(head, BBoxHead, "predict_by_feat", "_predict_by_feat_single", "regress_by_class")
    plain = known and head.with_cls and head.with_reg and not (head.custom_cls_channels or head.custom_activation)
    return plain and _supports_coder(head.bbox_coder)


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


@contextmanager
def mmdet_heads() -> Iterator[None]:
    """Let heads use mmdet's own methods inside the block, in this thread."""
    token = _by_image.set(True)
    try:
        yield
    finally:
        _by_image.reset(token)


def complete_detections(detect: Callable[[], list[Detections]]) -> list[Detections]:
    """Return the detections of a batch without padding.

    ``detect`` runs the model on it. It is called again, with mmdet's own heads, if some images are incomplete.
    """
    found = detect()
    incomplete = [bool((each.scores == INCOMPLETE).any()) for each in found]
    if any(incomplete):
        with mmdet_heads():
            exact = detect()
        found = [other if again else each for each, other, again in zip(found, exact, incomplete, strict=True)]
    return [each[~(each.scores < 0)] for each in found]  # NaN stays, and the caller raises NotFiniteError


def _new_cache() -> Cache:
    """Return a function that calls another, and keeps the last 64 results: copies to a GPU would wait for it."""

    @lru_cache(maxsize=64)
    def make_once(make: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        with torch.inference_mode(False):
            return make(*arguments, **named)

    return make_once


def _limits(cache: Cache, metas: Metas, like: Tensor) -> Any:
    """Return the largest x1, y1, x2, y2 of images: [images, 1, 4]."""
    values = tuple(((*meta["img_shape"][1::-1], *meta["img_shape"][1::-1]),) for meta in metas)
    return cache(torch.tensor, values, dtype=like.dtype, device=like.device)


def _to_original(cache: Cache, boxes: Tensor, metas: Metas) -> Tensor:
    """Return boxes [images, n, 4] in the pixels of the original images."""
    factors = tuple((tuple(1 / factor for factor in meta["scale_factor"]) * 2,) for meta in metas)
    scaled: Tensor = boxes * cache(torch.tensor, factors, dtype=boxes.dtype, device=boxes.device)
    return scaled


def _order_keys(cache: Cache, scores: Tensor, valid: Tensor | None) -> Tensor:
    """Return unique keys, int64 [images, n], whose descending order is a stable sort of scores; -1 where invalid.

    Scores must not be negative: their bits are then in the order of their values. Equal scores keep their order.
    """
    keys = scores.view(torch.int32).long().bitwise_left_shift_(32)
    keys.bitwise_or_(cache(torch.arange, scores.shape[1] - 1, -1, -1, device=scores.device))
    return keys if valid is None else keys.masked_fill_(~valid, -1)


def _take(values: Tensor, places: Tensor) -> Tensor:
    """Return rows of [images, n, c] at places [images, k]."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[-1]))


def _not_finite(*outputs: Tensor) -> Tensor:
    """Return for each image [images] NaN if outputs [images, ...] are not all finite, else 0."""
    sums = [each.flatten(1).sum(1, dtype=torch.float64) for each in outputs]  # which does not overflow
    return torch.stack(sums).sum(0).mul_(0).float()


def _select(
    cache: Cache, candidates: tuple[Tensor, ...], cfg: Any, verdict: Tensor, prefix: int = PREFIX
) -> list[InstanceData]:
    """Suppress overlapping boxes, and return the best of each image, padded. Their labels are the groups.

    Candidates are boxes [images, n, 4], and [images, n] each: scores, whether mmdet would list them, and their groups
    (classes or levels), whose boxes do not suppress each other. None is negative, and all are in mmdet's order. Of each
    image at most ``prefix`` are compared. A verdict [images] of NaN, not 0, becomes the score of an image's boxes.
    """
    boxes, scores, valid, groups = candidates
    boxes = boxes.masked_fill(~valid[..., None], 0)
    # As ``mmcv.ops.batched_nms``, which rounds these shifts to float32: the rounding decides which boxes overlap.
    shifts = groups.to(boxes) * (boxes.amax((1, 2)) + 1)[:, None]
    most, number = cfg.max_per_img, boxes.shape[1]
    is_whole = number <= prefix
    if not is_whole:
        number, total = prefix, valid.sum(1)
        keys, places = _order_keys(cache, scores, valid).topk(number, dim=1)
        boxes, valid = _take(boxes, places), keys >= 0
        scores, shifts, groups = scores.gather(1, places), shifts.gather(1, places), groups.gather(1, places)
    keep = _suppress(boxes + shifts[..., None], scores, valid, cfg.nms.iou_threshold)
    if not is_whole:
        complete = (keep.sum(1) >= most) | (total <= number)
        verdict = verdict.masked_fill(~complete, INCOMPLETE) + verdict  # NaN stays
    keys, places = _order_keys(cache, scores, keep).topk(min(most, number), dim=1)
    best = scores.gather(1, places).masked_fill(keys < 0, PADDING)
    best = torch.where(verdict[:, None] == 0, best, verdict[:, None])
    rows = zip(_take(boxes, places), best, groups.gather(1, places), strict=True)
    return [InstanceData(bboxes=corners, scores=score, labels=label) for corners, score, label in rows]


def _suppress(boxes: Tensor, scores: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Return which boxes remain, [images, n] as ``valid``, with one call and one wait for several images.

    Images are shifted apart in float64, in which the shifts change no coordinate. mmcv computes overlaps in float32: at
    the threshold the result can differ, see docs/batched-heads.md.
    """
    # What float32 rounds to a value above the threshold is suppressed.
    below = np.float32(threshold)
    below = below if float(below) <= threshold else np.nextafter(below, np.float32(-1))
    threshold = (float(below) + float(np.nextafter(below, np.float32(2)))) / 2
    remaining = []
    parts = (split(each, IMAGES_PER_CALL) for each in (boxes, scores, valid))
    for some, their, real in zip(*parts, strict=True):
        images = torch.arange(len(some), dtype=torch.float64, device=boxes.device)
        apart = some.double() + (images * (some.amax() + 1))[:, None, None]
        kept = nms(apart.flatten(0, 1), their.masked_fill(~real, PADDING).flatten().double(), threshold)
        remaining.append(torch.zeros_like(real).flatten().index_fill_(0, kept, True).view_as(real) & real)
    return torch.cat(remaining) if len(remaining) > 1 else remaining[0]


def _decode(cache: Cache, coder: Any, priors: Tensor, changes: Tensor, limits: Tensor) -> Tensor:
    """Return boxes [images, n, 4] of priors and the network's output, as ``delta2bbox`` and ``distance2bbox`` do."""
    if isinstance(coder, DistancePointBBoxCoder):
        corners = torch.cat([priors - changes[..., :2], priors + changes[..., 2:]], -1)
    else:
        means, stds = (cache(torch.tensor, tuple(each), device=changes.device) for each in (coder.means, coder.stds))
        changes = changes * stds + means
        sides = priors[..., 2:] - priors[..., :2]
        centres = (priors[..., :2] + priors[..., 2:]) * 0.5 + sides * changes[..., :2]
        halves = sides * changes[..., 2:].clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp() * 0.5
        corners = torch.cat([centres - halves, centres + halves], -1)
    return corners.clamp(min=0).minimum(limits)


def _predict_dense(
    cache: Cache,
    head: Any,
    cls_scores: Sequence[Tensor],
    bbox_preds: Sequence[Tensor],
    score_factors: Sequence[Tensor] | None = None,
    *,
    batch_img_metas: Metas,
    rescale: bool = False,
) -> list[InstanceData]:
    """Do what ``BaseDenseHead.predict_by_feat`` does, or ``RPNHead``'s."""
    cfg, images, classes = head.test_cfg, len(batch_img_metas), head.cls_out_channels
    is_rpn = isinstance(head, RPNHead)
    logits, changes = _flatten(cls_scores, images, 1).squeeze(-1), _flatten(bbox_preds, images, 4)
    sizes = tuple(tuple(each.shape[-2:]) for each in cls_scores)
    priors = torch.cat(cache(head.prior_generator.grid_priors, sizes, dtype=changes.dtype, device=changes.device))
    all_scores = logits.sigmoid()
    keys = _order_keys(cache, all_scores, None if is_rpn else all_scores > cfg.get("score_thr", 0))

    # The best of each level; places count through all levels.
    lengths = [each.shape[1:].numel() for each in cls_scores]
    best = [each.topk(min(cfg.nms_pre, each.shape[1]), dim=1) for each in split(keys, lengths, 1)]
    levels = tuple(level for level, each in enumerate(best) for _ in range(each.indices.shape[1]))
    starts = tuple(sum(lengths[:level]) for level in levels)
    places = torch.cat([each.indices for each in best], 1) + cache(torch.tensor, starts, device=keys.device)
    valid = torch.cat([each.values for each in best], 1) >= 0
    at = places if classes == 1 else places.div(classes, rounding_mode="floor")
    scores = all_scores.gather(1, places)
    by_level = cache(torch.tensor, levels, device=keys.device).expand(images, -1)
    groups = by_level if is_rpn else places - at * classes

    limits = _limits(cache, batch_img_metas, changes)
    boxes = _decode(cache, head.bbox_coder, priors[at], _take(changes, at), limits)
    if rescale:
        boxes = _to_original(cache, boxes, batch_img_metas)
    factors = [_flatten(score_factors, images, 1).squeeze(-1)] if score_factors is not None else []
    for factor in factors:
        scores = scores * factor.gather(1, at).sigmoid()
    if (least := cfg.get("min_bbox_size", -1)) >= 0:
        valid = valid & (boxes[..., 2:] - boxes[..., :2] > least).all(-1)

    prefix = scores.shape[1] if is_rpn else PREFIX
    return _select(cache, (boxes, scores, valid, groups), cfg, _not_finite(logits, changes, *factors), prefix)


def _flatten(levels: Sequence[Tensor], images: int, channels: int) -> Tensor:
    """Return [images, n, channels] of the outputs of all levels, each [images, priors·channels, height, width]."""
    return torch.cat([each.permute(0, 2, 3, 1).reshape(images, -1, channels) for each in levels], 1)


def _predict_regions(
    cache: Cache,
    roi_head: Any,
    x: Any,
    batch_img_metas: Metas,
    rpn_results_list: Any,
    rcnn_test_cfg: Any,
    **scaling: bool,
) -> list[InstanceData]:
    """Do what ``predict_bbox`` of ``StandardRoIHead`` and of ``CascadeRoIHead`` does, for padded proposals."""
    boxes = torch.stack([each.bboxes for each in rpn_results_list])
    proposal_scores = torch.stack([each.scores for each in rpn_results_list])
    images, number = boxes.shape[:2]
    indices = torch.arange(images, dtype=boxes.dtype, device=boxes.device)[:, None, None].expand(-1, number, -1)
    limits = _limits(cache, batch_img_metas, boxes)

    heads = _listed(roi_head.bbox_head)
    logits: list[Tensor] = []
    changes = boxes
    for stage in range(len(heads)):
        if stage:  # of a cascade, which starts from the boxes of the stage before
            boxes = _decode(cache, heads[stage - 1].bbox_coder, boxes, changes, limits)
        rois = torch.cat([indices, boxes], -1).flatten(0, 1)
        found = roi_head._bbox_forward(*([stage] if isinstance(roi_head, CascadeRoIHead) else []), x, rois)
        logits.append(found["cls_score"].reshape(images, number, -1))
        changes = found["bbox_pred"].reshape(images, number, -1)
    head = heads[-1]
    with torch.autocast(boxes.device.type, enabled=False):
        mean: Any = logits[0] if len(logits) == 1 else sum(logits) / float(len(logits))
        scores = mean.softmax(-1)[..., :-1].flatten(1)
        classes = 1 if head.reg_class_agnostic else head.num_classes
        boxes = boxes[:, :, None].expand(-1, -1, classes, -1).flatten(1, 2)
        boxes = _decode(cache, head.bbox_coder, boxes, changes.reshape(images, -1, 4), limits)
        if scaling.get("rescale"):
            boxes = _to_original(cache, boxes, batch_img_metas)
        boxes = boxes.view(images, number, classes, 4).expand(-1, -1, head.num_classes, -1).flatten(1, 2)
        labels = torch.arange(head.num_classes, device=boxes.device).expand(images, number, -1).flatten(1)
        # A row of padding is no proposal. NaN is the score of proposals from outputs that are not finite.
        real = ~(proposal_scores < 0)
        valid = (scores > rcnn_test_cfg.score_thr).view(images, number, -1) & real[..., None]
        verdict = _not_finite(*logits, changes, proposal_scores)
        return _select(cache, (boxes, scores, valid.flatten(1), labels), rcnn_test_cfg, verdict)


def _pool(extractor: Any, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
    """Do what ``SingleRoIExtractor.forward`` does for rois [k, 5], with one wait for all levels."""
    rois = rois.type_as(feats[0])
    levels = extractor.map_roi_levels(rois, len(feats))
    if roi_scale_factor is not None:
        rois = extractor.roi_rescale(rois, roi_scale_factor)
    order = levels.argsort(stable=True)
    others = torch.arange(len(feats) - 1, device=rois.device)  # all levels but the last
    sizes = (levels[:, None] == others).sum(0).cpu().tolist()
    pooled = feats[0].new_empty(len(rois), extractor.out_channels, *extractor.roi_layers[0].output_size)
    parts = order.split([*sizes, len(rois) - sum(sizes)])
    for layer, features, places in zip(extractor.roi_layers, feats, parts, strict=False):
        if len(places):
            pooled.index_copy_(0, places, layer(features, rois[places]))
    return pooled
