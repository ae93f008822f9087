"""Heads that select the boxes of a batch at once return, bit for bit, what mmdet's heads return image by image.

mmdet sorts scores by a sort that is not stable: the order of equal scores is whatever a device makes it. Here mmdet's
sorts are made stable, so that equal scores keep the order of their priors, and of classes within a prior. That
is the order of the batched heads on every device.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import nms

from bdd100k_zoo.backends.common.config import load_config, mmdet_default_scope
from bdd100k_zoo.backends.common.detector import refuse_non_finite_outputs
from bdd100k_zoo.backends.common.precision import force_float32_boxes
from bdd100k_zoo.backends.mmdet3 import batched_heads
from bdd100k_zoo.backends.mmdet3.batched_heads import (
    INCOMPLETE,
    PADDING,
    batch_heads,
    complete_detections,
    is_supported,
    mmdet_heads,
)
from bdd100k_zoo.backends.mmdet3.detector import build_meta_model
from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.registry import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")  # by mmdet's points

CLASSES = 10
CHANNELS = 8
STRIDES = (8, 16, 32, 64, 128)
SIZE = (96, 160)
"""Height and width of the padded images, in pixels."""
DENSE = ("retina", "fcos", "fcos_tricks", "atss")
BACKBONE = {"type": "ResNet", "depth": 18, "base_channels": 2}
QUICK = ("sparse_rcnn_r50_fpn_1x", "cascade_rcnn_r50_fpn_1x", "fcos_tricks_r50_fpn_1x", "atss_r50_fpn_dyhead_1x")
DELTAS = {"type": "DeltaXYWHBBoxCoder", "target_means": [0.0] * 4, "target_stds": [0.1, 0.1, 0.2, 0.2]}


@pytest.fixture(autouse=True)
def stable_sorts(monkeypatch: pytest.MonkeyPatch) -> None:
    sort = Tensor.sort

    def stable_sort(self: Tensor, dim: int = -1, *, descending: bool = False) -> Any:
        return sort(self, dim=dim, descending=descending, stable=True)

    monkeypatch.setattr(Tensor, "sort", stable_sort)


@pytest.fixture(autouse=True)
def one_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make functions of numbers independent of the place in a tensor.

    A CPU computes the last numbers, which fill no register, by another formula. A batch ends elsewhere than an image.
    """
    for name in ("sigmoid", "exp"):
        function = getattr(Tensor, name)
        monkeypatch.setattr(Tensor, name, lambda self, function=function: function(self.double()).to(self.dtype))


# Models: those of the zoo but for a backbone, which is not called


def dense_settings(kind: str) -> dict[str, Any]:
    """Return settings of a dense head as the zoo has them, with few candidates."""
    anchors = {"type": "AnchorGenerator", "strides": list(STRIDES), "octave_base_scale": 4}
    common = {"num_classes": CLASSES, "in_channels": CHANNELS, "feat_channels": CHANNELS, "stacked_convs": 0}
    if kind == "retina":
        anchors |= {"scales_per_octave": 3, "ratios": [0.5, 1.0, 2.0]}
        coder = DELTAS | {"target_stds": [1.0] * 4}
        return {"type": "RetinaHead", "anchor_generator": anchors, "bbox_coder": coder, **common}
    if kind == "atss":
        anchors |= {"type": "AnchorGenerator", "ratios": [1.0], "octave_base_scale": 8, "scales_per_octave": 1}
        return {"type": "ATSSHead", "anchor_generator": anchors, "bbox_coder": DELTAS, **common}
    tricks = {"norm_on_bbox": True, "centerness_on_reg": True} if kind == "fcos_tricks" else {}
    return {"type": "FCOSHead", "strides": list(STRIDES), **tricks, **common}


@cache
def single_stage(kind: str, **test_cfg: Any) -> Any:
    """Return a model with batched heads."""
    test = {"nms_pre": 150, "score_thr": 0.05, "max_per_img": 60, "min_bbox_size": -1}
    test |= {"nms": {"type": "nms", "iou_threshold": 0.5}} | test_cfg
    head = dense_settings(kind)
    return build({"type": "SingleStageDetector", "backbone": BACKBONE, "bbox_head": head, "test_cfg": test})


@cache
def two_stage(
    *,
    cascade: bool = False,
    stages: int = 3,
    agnostic: bool = False,
    nms_pre: int = 60,
    proposals: int = 90,
    smallest: int = 0,
    **test_cfg: Any,
) -> Any:
    """Return a model with batched heads."""
    anchors = {"type": "AnchorGenerator", "scales": [8], "ratios": [0.5, 1.0, 2.0], "strides": [4, 8, 16, 32, 64]}
    pooling = {
        "type": "SingleRoIExtractor",
        "roi_layer": {"type": "RoIAlign", "output_size": 3, "sampling_ratio": 0},
        "out_channels": CHANNELS,
        "featmap_strides": [4, 8, 16, 32],
    }
    head = {
        "type": "Shared2FCBBoxHead",
        "in_channels": CHANNELS,
        "fc_out_channels": 16,
        "roi_feat_size": 3,
        "num_classes": CLASSES,
        "reg_class_agnostic": cascade or agnostic,
        "bbox_coder": DELTAS,
    }
    kinds = {"type": "CascadeRoIHead", "num_stages": stages, "stage_loss_weights": [1, 0.5, 0.25][:stages]}
    heads = {"bbox_roi_extractor": pooling, "bbox_head": [dict(head) for _ in range(stages)] if cascade else head}
    rcnn = {"score_thr": 0.05, "nms": {"type": "nms", "iou_threshold": 0.5}, "max_per_img": 60} | test_cfg
    rpn: dict[str, Any] = {"nms_pre": nms_pre, "max_per_img": proposals, "min_bbox_size": smallest}
    rpn |= {"nms": {"type": "nms", "iou_threshold": 0.7}}
    region_head = {
        "type": "RPNHead",
        "in_channels": CHANNELS,
        "feat_channels": CHANNELS,
        "anchor_generator": anchors,
        "bbox_coder": DELTAS | {"target_stds": [1.0] * 4},
    }
    return build(
        {
            "type": "FasterRCNN",
            "backbone": BACKBONE,
            "train_cfg": None,
            "rpn_head": region_head,
            "roi_head": {**(kinds if cascade else {"type": "StandardRoIHead"}), **heads},
            "test_cfg": {"rpn": rpn, "rcnn": rcnn},
        }
    )


def build(config: dict[str, Any]) -> Any:
    with mmdet_default_scope(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS.build(ConfigDict(config)).eval()
    assert batch_heads(model)
    return model


# Scenes


def metas(images: int, *, mixed: bool) -> list[dict[str, Any]]:
    """Return the metadata of images, of one size or of several."""
    sizes = [(SIZE[0] - 7 * (image % 3) * mixed, SIZE[1] - 13 * (image % 4) * mixed) for image in range(images)]
    return [{"img_shape": size, "scale_factor": (0.5 + 0.1 * mixed * image, 0.7)} for image, size in enumerate(sizes)]


def dense_outputs(head: Any, images: int, scene: Scene, strides: Sequence[int] = STRIDES) -> list[list[Tensor]]:
    """Return random outputs of a dense head: scores, boxes, and centerness where the head has it."""
    random = np.random.default_rng(scene.seed)
    priors = head.num_base_priors
    channels = [priors * head.cls_out_channels, priors * 4, *([1] if hasattr(head, "conv_centerness") else ())]
    channels += [1] if hasattr(head, "atss_centerness") else []

    def outputs(place: int, width: int) -> list[Tensor]:
        levels = []
        for stride in strides:
            shape = (images, width, *(-(-side // stride) for side in SIZE))
            values = random.normal(0, scene.spread, shape)
            if place == 0:
                values += scene.shift
                values[::3] -= 20 * scene.blank  # images with no boxes among others
            if place == 1 and head.bbox_coder.__class__.__name__.startswith("Distance"):
                values = np.abs(values) * 3 * stride
            if scene.ties:
                values = np.round(values)
            levels.append(torch.from_numpy(values.astype(np.float32)))
        return levels

    return [outputs(place, width) for place, width in enumerate(channels)]


class Scene:
    """How random outputs are distributed."""

    def __init__(
        self, seed: int = 0, shift: float = -2.0, spread: float = 1.0, *, ties: bool = False, blank: bool = False
    ) -> None:
        self.seed, self.shift, self.spread, self.ties, self.blank = seed, shift, spread, ties, blank

    def __repr__(self) -> str:
        return f"Scene({self.seed}, {self.shift}, {self.spread}, ties={self.ties}, blank={self.blank})"


SCENES = st.builds(
    Scene,
    seed=st.integers(0, 2**32 - 1),
    shift=st.sampled_from([-8.0, -4.0, -2.0, 0.0, 2.0]),
    spread=st.sampled_from([0.1, 0.5, 1.0, 2.0]),
    ties=st.booleans(),
    blank=st.booleans(),
)


def compare(select: Callable[[], list[InstanceData]], *, labels: bool = True) -> int:
    """Check that batched heads select as mmdet's do; return the number of boxes."""
    found = select()
    with mmdet_heads():
        expected = select()
    assert len(found) == len(expected)
    boxes = 0
    for mine, theirs in zip(found, expected, strict=True):
        real = mine[mine.scores != PADDING]
        assert len({len(each.scores) for each in found}) == 1
        assert torch.equal(real.scores, theirs.scores)
        assert torch.equal(real.bboxes, theirs.bboxes)
        assert torch.equal(real.labels, theirs.labels.long()) or not labels
        boxes += len(real)
    return boxes


def select_dense(head: Any, images: int, scene: Scene, *, mixed: bool, strides: Sequence[int] = STRIDES) -> Any:
    outputs = dense_outputs(head, images, scene, strides)
    described = metas(images, mixed=mixed)
    rescale = strides == STRIDES  # the first stage does not
    return lambda: head.predict_by_feat(*outputs, batch_img_metas=described, rescale=rescale)


# Dense heads


@pytest.mark.parametrize("images", [1, 2, 8])
@pytest.mark.parametrize("kind", DENSE)
def test_dense_heads_select_as_mmdet_does(kind: str, images: int) -> None:
    model = single_stage(kind)
    for mixed in (False, True):
        assert compare(select_dense(model.bbox_head, images, Scene(images), mixed=mixed)) > 5 * images


@pytest.mark.parametrize("kind", DENSE)
@pytest.mark.parametrize("score_thr", [0.001, 0.3])
@pytest.mark.parametrize("min_bbox_size", [-1, 0, 8])
def test_dense_heads_respect_their_settings(kind: str, score_thr: float, min_bbox_size: int) -> None:
    model = single_stage(kind, score_thr=score_thr, min_bbox_size=min_bbox_size)
    assert compare(select_dense(model.bbox_head, 3, Scene(7, blank=True), mixed=True)) > 10


@settings(max_examples=30, deadline=None)
@given(
    scene=SCENES,
    kind=st.sampled_from(DENSE),
    images=st.sampled_from([1, 2, 8]),
    score_thr=st.sampled_from([0.001, 0.3]),
)
def test_dense_heads_select_from_any_outputs(scene: Scene, kind: str, images: int, score_thr: float) -> None:
    # Rounded outputs leave ATSS's anchors as they are: clipped ones overlap by exactly the threshold, 0.5, on which
    # float32 and float64 disagree, see docs/batched-heads.md.
    assume(not (scene.ties and kind == "atss"))
    model = single_stage(kind, score_thr=score_thr)
    compare(select_dense(model.bbox_head, images, scene, mixed=True))


# Two stages


class Pooled:
    """Outputs of box heads that depend on each region alone, so that padding rounds nothing differently."""

    def __init__(self, scene: Scene, classes: int) -> None:
        random = np.random.default_rng(scene.seed)
        self.weights = torch.from_numpy(random.normal(0, 0.2, (4, CLASSES + 1 + 4 * classes)).astype(np.float32))
        self.scene = scene

    def __call__(self, *arguments: Any, **named: Any) -> dict[str, Tensor]:
        rois = named["rois"] if named else arguments[-1]
        found: Any = (
            sum(torch.sin(rois[:, 1 + side, None] * self.weights[side]) for side in range(4)) * self.scene.spread
        )
        logits, changes = found.split([CLASSES + 1, self.weights.shape[1] - CLASSES - 1], 1)
        logits = (logits.round() if self.scene.ties else logits) - self.scene.shift * torch.arange(-CLASSES, 1).div(
            -CLASSES
        )
        return {"cls_score": logits, "bbox_pred": changes.contiguous()}


def proposals(images: int, scene: Scene, number: int = 80, *, padded: bool) -> list[InstanceData]:
    """Return proposals in crowds; image 1 has few and image 2 none, if any are padded."""
    random = np.random.default_rng(scene.seed)
    result = []
    for image in range(images):
        centres = random.uniform(0, 1, (5, 2))[random.integers(0, 5, number)] * SIZE[::-1]
        sides = random.uniform(4, 50, (number, 2))
        corners = np.concatenate([centres - sides / 2, centres + sides / 2], 1).clip(0, [*SIZE[::-1], *SIZE[::-1]])
        corners = (corners * 4).round() / 4 if scene.ties else corners
        scores = np.sort(random.uniform(0, 1, number))[::-1].copy()
        real = {1: 3, 2: 0}.get(image % 4, number) if padded else number
        scores[real:] = PADDING
        result.append(InstanceData(bboxes=torch.from_numpy(corners).float(), scores=torch.from_numpy(scores).float()))
    return result


def select_regions(model: Any, images: int, scene: Scene, *, padded: bool = True) -> Callable[[], list[InstanceData]]:
    roi_head = model.roi_head
    heads = roi_head.bbox_head if isinstance(roi_head.bbox_head, torch.nn.ModuleList) else [roi_head.bbox_head]
    roi_head._bbox_forward = Pooled(scene, 1 if heads[0].reg_class_agnostic else CLASSES)
    given_ = proposals(images, scene, padded=padded)
    described = metas(images, mixed=True)

    def select() -> list[InstanceData]:
        own = given_
        if batched_heads._by_image.get():
            own = [each[each.scores >= 0] for each in given_]
        return roi_head.predict_bbox(None, described, own, roi_head.test_cfg, rescale=True)

    return select


@pytest.mark.parametrize("images", [1, 2, 8])
def test_first_stages_propose_as_mmdet_does(images: int) -> None:
    for min_bbox_size in (-1, 0, 16):
        model = two_stage(smallest=min_bbox_size)
        select = select_dense(model.rpn_head, images, Scene(images), mixed=True, strides=(4, 8, 16, 32, 64))
        assert compare(select, labels=False) > 5 * images


@settings(max_examples=15, deadline=None)
@given(scene=SCENES, images=st.sampled_from([1, 2, 8]))
def test_first_stages_propose_from_any_outputs(scene: Scene, images: int) -> None:
    model = two_stage()
    compare(select_dense(model.rpn_head, images, scene, mixed=True, strides=(4, 8, 16, 32, 64)), labels=False)


@pytest.mark.parametrize("kind", ["faster", "agnostic", "cascade"])
@pytest.mark.parametrize("images", [1, 2, 8])
def test_box_heads_select_as_mmdet_does(kind: str, images: int) -> None:
    for score_thr in (0.001, 0.05, 0.3):
        model = two_stage(cascade=kind == "cascade", agnostic=kind == "agnostic", score_thr=score_thr)
        assert compare(select_regions(model, images, Scene(images, spread=2.0))) > 5


@settings(max_examples=20, deadline=None)
@given(
    scene=SCENES,
    cascade=st.booleans(),
    images=st.sampled_from([1, 2, 8]),
    score_thr=st.sampled_from([0.001, 0.05, 0.3]),
)
def test_box_heads_select_from_any_outputs(scene: Scene, cascade: bool, images: int, score_thr: float) -> None:
    model = two_stage(cascade=cascade, score_thr=score_thr)
    compare(select_regions(model, images, scene))


@pytest.mark.parametrize("stages", [0, 1, 3])
def test_models_of_two_stages_detect_as_mmdet_does(stages: int) -> None:
    """Without stages it is Faster R-CNN; a cascade may have one."""
    model = two_stage(cascade=stages > 0, stages=stages, score_thr=0.001, nms_pre=40, proposals=20)
    random = torch.Generator().manual_seed(3)
    sizes = [tuple(-(-side // stride) for side in SIZE) for stride in (4, 8, 16, 32, 64)]
    for images in (1, 2, 8):
        levels = [torch.randn(images, CHANNELS, *size, generator=random) for size in sizes]
        described = [InstanceData(metainfo=meta) for meta in metas(images, mixed=True)]

        def select(levels: Any = levels, described: Any = described) -> list[InstanceData]:
            found = model.rpn_head.predict(levels, described, rescale=False)
            assert {len(each) for each in found} == {
                20
            }  # no padding: products of matrices of other sizes round otherwise
            return model.roi_head.predict(levels, found, described, rescale=True)

        with torch.no_grad():
            assert compare(select) > 5 * images


# What is incomplete, not finite, trained, or not supported


def test_images_whose_candidates_were_cut_off_are_detected_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = single_stage("retina")
    monkeypatch.setattr(batched_heads, "PREFIX", 40)
    select = select_dense(model.bbox_head, 6, Scene(1, spread=0.5, blank=True), mixed=False)
    calls = []

    def detect() -> list[Detections]:
        calls.append(select())
        arrays = [(each.bboxes.numpy(), each.scores.numpy(), each.labels.numpy()) for each in calls[-1]]
        return [Detections(*(part.copy() for part in each)) for each in arrays]

    found = complete_detections(detect)
    marked = [bool((each.scores == INCOMPLETE).all()) for each in calls[0]]
    assert len(calls) == 2
    assert marked == [False, True, True, False, True, True]  # the others have few boxes
    for mine, theirs in zip(found, calls[1], strict=True):
        assert np.array_equal(mine.scores, theirs.scores.numpy())
        assert np.array_equal(mine.boxes, theirs.bboxes.numpy())
        assert np.array_equal(mine.classes, theirs.labels.numpy())


def test_outputs_that_are_not_finite_give_scores_that_are_not_a_number() -> None:
    model = single_stage("fcos")
    outputs = dense_outputs(model.bbox_head, 2, Scene())
    outputs[1][0][0, 0, 0, 0] = torch.inf
    first, second = model.bbox_head.predict_by_feat(*outputs, batch_img_metas=metas(2, mixed=False), rescale=True)
    assert first.scores.isnan().all()
    assert second.scores.isfinite().all()

    model = two_stage()
    roi_head = model.roi_head
    select_regions(model, 1, Scene())
    given_ = proposals(2, Scene(), padded=False)
    given_[1].scores[:] = torch.nan  # of a first stage whose outputs were not finite
    first, second = roi_head.predict_bbox(None, metas(2, mixed=False), given_, roi_head.test_cfg, rescale=True)
    assert first.scores.isfinite().all()
    assert second.scores.isnan().all()


def test_more_images_than_one_call_takes_are_suppressed_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    select = select_dense(single_stage("retina").bbox_head, 5, Scene(4), mixed=True)
    together = select()
    monkeypatch.setattr(batched_heads, "IMAGES_PER_CALL", 2)
    for one, other in zip(together, select(), strict=True):
        assert torch.equal(one.scores, other.scores)
        assert torch.equal(one.bboxes, other.bboxes)


def test_heads_keep_mmdets_methods_in_training() -> None:
    head = two_stage(proposals=500).rpn_head
    outputs = dense_outputs(head, 2, Scene(), (4, 8, 16, 32, 64))
    head.train()
    try:
        found = head.predict_by_feat(*outputs, batch_img_metas=metas(2, mixed=False))
    finally:
        head.eval()
    assert all((each.scores >= 0).all() for each in found)
    assert len({len(each) for each in found}) == 2  # nothing is padded


def test_checks_that_wait_are_not_added_to_batched_heads() -> None:
    model = copy.deepcopy(single_stage("retina"))
    batch_heads(model)
    force_float32_boxes(model, torch.device("cpu"))
    before = model.bbox_head.predict_by_feat
    refuse_non_finite_outputs(model, "retina", "bf16")
    assert model.bbox_head.predict_by_feat is before


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sorted(load_zoo())],
)
def test_the_models_of_the_zoo_are_supported_but_sparse_rcnn(name: str) -> None:
    model = build_meta_model(load_config(load_zoo()[name].config_path), name=name)
    assert is_supported(model) == (not name.startswith("sparse_rcnn"))


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("rpn_head.test_cfg", {"nms_pre": 2000}),
        ("rpn_head.test_cfg", {"nms": {"type": "soft_nms", "iou_threshold": 0.7}}),
        ("roi_head.test_cfg", {"nms": {"type": "nms", "iou_threshold": 0.5, "class_agnostic": True}}),
        ("roi_head.test_cfg", {"max_per_img": -1}),
    ],
)
def test_other_settings_are_not_supported(part: str, change: dict[str, Any]) -> None:
    model = copy.deepcopy(two_stage())
    assert is_supported(model)
    owner, name = part.split(".")
    setattr(getattr(model, owner), name, ConfigDict({**getattr(getattr(model, owner), name), **change}))
    assert not is_supported(model)


@pytest.mark.slow
def test_how_often_float64_decides_otherwise_on_crowded_scenes() -> None:
    """The page docs/batched-heads.md states the result."""
    random = np.random.default_rng(0)
    different = 0
    for _ in range(10_000):
        centres = random.uniform(0, 1, (12, 2))[random.integers(0, 12, 200)] * (1280, 720)
        sides = random.uniform(20, 120, (200, 2))
        jitter = random.normal(0, 6, (200, 2))
        boxes = np.concatenate([centres + jitter - sides / 2, centres + jitter + sides / 2], 1).clip(0, (1280, 720) * 2)
        corners = torch.from_numpy(boxes.astype(np.float32))
        scores = torch.from_numpy(np.sort(random.uniform(0, 1, 200).astype(np.float32))[::-1].copy())
        keep = batched_heads._suppress(corners[None], scores[None], torch.ones(1, 200, dtype=torch.bool), 0.5)[0]
        different += keep.nonzero()[:, 0].tolist() != nms(corners, scores, 0.5).sort().values.tolist()
    assert different == 0
