from __future__ import annotations

import importlib
import math
import sys
from typing import TYPE_CHECKING, Any

import mmcv.ops
import mmdet.models.losses.focal_loss as mmdet_focal
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.backends.mmdet3 import ops
from bdd100k_zoo.errors import BackendError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    Run = Callable[..., subprocess.CompletedProcess[str]]

    Array = npt.NDArray[np.generic]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(3)


# Which package provides the ops


def test_installing_again_changes_nothing() -> None:
    served = mmcv.ops.roi_align
    assert ops.install_ops() == ops.install_ops() == "torchvision"
    assert mmcv.ops.roi_align is served


def test_the_loader_of_compiled_ops_is_restored() -> None:
    loader = importlib.import_module("mmcv.utils.ext_loader")
    with pytest.raises(ModuleNotFoundError, match=r"mmcv\._ext"):
        loader.load_ext("_ext", ["nms"])


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("mmcv.ops", "roi_align"),
        ("mmcv.ops.roi_align", "roi_align"),
        ("mmdet.structures.mask.structures", "roi_align"),
        ("mmcv.ops.saconv", "deform_conv2d"),
        ("mmcv.ops.modulated_deform_conv", "modulated_deform_conv2d"),
        ("mmdet.models.losses.focal_loss", "_sigmoid_focal_loss"),
    ],
)
def test_functions_are_replaced_wherever_their_names_are_bound(module: str, name: str) -> None:
    assert getattr(sys.modules[module], name).__module__ == ops.__name__


def test_an_unsupported_op_is_named() -> None:
    with pytest.raises(BackendError, match="'softnms'"):
        mmcv.ops.soft_nms(torch.rand(3, 4), torch.rand(3))
    with pytest.raises(BackendError, match="'roi_pool_forward'"):
        mmcv.ops.roi_pool(torch.rand(1, 2, 4, 4), torch.rand(1, 5), (2, 2))
    with pytest.raises(BackendError, match="'softmax_focal_loss_forward'"):
        mmcv.ops.softmax_focal_loss(torch.rand(2, 3), torch.tensor([0, 1]))


COMPILED = "def __getattr__(name):\n    return lambda *_, **__: ('compiled', name)\n"

WITH_COMPILED = """
import sys, mmcv
mmcv.__path__.append(sys.argv[1])
from bdd100k_zoo.errors import MissingPackageError
from bdd100k_zoo.backends.mmdet3 import ops
try:
    print(ops.install_ops())
except MissingPackageError as error:
    print(error)
else:
    import mmcv.ops, mmcv._ext
    print(sys.modules["mmcv.ops.nms"].ext_module is mmcv._ext)
    print(mmcv.ops.roi_align.__self__.__name__, mmcv.ops.deform_conv2d.__self__.__name__)
"""


def test_a_compiled_mmcv_is_not_changed(tmp_path: Path, run_python: Run) -> None:
    (tmp_path / "_ext.py").write_text(COMPILED)
    said = run_python(WITH_COMPILED, tmp_path).stdout.splitlines()
    assert said == ["mmcv", "True", "RoIAlignFunction DeformConv2dFunction"]


def test_a_compiled_mmcv_that_does_not_load_is_named(tmp_path: Path, run_python: Run) -> None:
    (tmp_path / "_ext.py").write_text("raise ImportError('_ext.so: undefined symbol: _ZN3c106detail')\n")
    said = run_python(WITH_COMPILED, tmp_path).stdout.strip()
    assert said == "mmcv is needed and cannot be imported: _ext.so: undefined symbol: _ZN3c106detail"


# NMS

corners = st.integers(0, 12)
box = st.tuples(corners, corners, corners, corners).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)
scored = st.lists(st.tuples(box, st.integers(1, 1000)), unique_by=lambda pair: pair[1], max_size=12)
thresholds = st.sampled_from([0.1, 0.3, 0.5, 0.7])


@given(scored, thresholds, st.sampled_from([0, 1]), st.sampled_from([0, 0.25]), st.sampled_from([-1, 2]))
def test_nms_keeps_the_same_as_plain_suppression(
    found: list[Any], threshold: float, offset: int, least: float, most: int
) -> None:
    boxes, scores = _arrays(found)
    candidates = [i for i in range(len(scores)) if scores[i] > least]
    expected = _suppress(boxes, scores, candidates, threshold, offset)[: most if most > 0 else None]
    kept, indices = mmcv.ops.nms(
        torch.from_numpy(boxes), torch.from_numpy(scores), threshold, offset, score_threshold=least, max_num=most
    )
    assert indices.tolist() == expected
    assert np.array_equal(kept.numpy(), np.column_stack([boxes, scores])[expected].reshape(-1, 5))


@given(scored, st.lists(st.integers(0, 2), min_size=12, max_size=12), thresholds, st.sampled_from([1, 10000]))
def test_batched_nms_keeps_classes_apart(found: list[Any], classes: list[int], threshold: float, split: int) -> None:
    boxes, scores = _arrays(found or [((0, 0, 1, 1), 1)])
    labels = np.array(classes[: len(scores)])
    expected = [
        index
        for label in set(labels.tolist())
        for index in _suppress(boxes, scores, np.flatnonzero(labels == label).tolist(), threshold, 0)
    ]
    settings = {"type": "nms", "iou_threshold": threshold, "split_thr": split}
    _, kept = mmcv.ops.batched_nms(*map(torch.from_numpy, (boxes, scores, labels)), settings)
    assert kept.tolist() == sorted(expected, key=lambda index: -scores[index])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_nms_supports_every_float(dtype: torch.dtype) -> None:
    boxes = torch.tensor([[0, 0, 8, 8], [0, 0, 8, 7], [20, 20, 24, 24]], dtype=dtype)
    kept, indices = mmcv.ops.nms(boxes, torch.tensor([0.5, 0.75, 0.25], dtype=torch.float32), 0.5)
    assert indices.tolist() == [1, 2]
    assert kept[:, 4].tolist() == [0.75, 0.25]


def test_nms_accepts_numpy_arrays() -> None:
    kept, indices = mmcv.ops.nms(np.array([[0, 0, 4, 4], [0, 0, 4, 4]], np.float32), np.array([1, 2], np.float32), 0.5)
    assert isinstance(kept, np.ndarray)
    assert indices.tolist() == [1]


def _arrays(found: list[Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    boxes = np.array([corners for corners, _ in found], np.float32).reshape(-1, 4)
    return boxes, np.array([score for _, score in found], np.float32) / 1000


def _suppress(boxes: Array, scores: Array, candidates: list[int], threshold: float, offset: int) -> list[int]:
    """Suppress as in a textbook: keep the best, drop what overlaps it too much, repeat."""
    rest, kept = sorted(candidates, key=lambda index: -scores[index]), []
    while rest:
        best, *others = rest
        kept.append(best)
        rest = [other for other in others if not _overlap(boxes[best], boxes[other], offset) > threshold]
    return kept


def _overlap(a: Array, b: Array, offset: int) -> float:
    def area(x1: float, y1: float, x2: float, y2: float) -> float:
        return max(x2 - x1 + offset, 0) * max(y2 - y1 + offset, 0)

    common = area(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    union = area(*a) + area(*b) - common
    return float(np.float32(common) / np.float32(union)) if union else 0.0


# RoIAlign


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize(("output_size", "scale"), [((2, 3), 0.5), (2, 1.0)])
def test_roi_align_averages_bilinear_samples(
    aligned: bool, sampling_ratio: int, output_size: Any, scale: float
) -> None:
    features = torch.rand(2, 3, 6, 7, dtype=torch.float64)
    rois = torch.tensor(
        [[0, 1.3, 0.4, 8.2, 9.9], [1, -2.0, 3.0, 5.5, 20.0], [1, 4.0, 4.0, 4.2, 4.1]], dtype=torch.float64
    )
    pooled = mmcv.ops.roi_align(features, rois, output_size, scale, sampling_ratio, "avg", aligned)
    size = (output_size, output_size) if isinstance(output_size, int) else output_size
    expected = [_pool(features.numpy(), roi, size, scale, sampling_ratio, aligned) for roi in rois.tolist()]
    assert np.allclose(pooled.numpy(), expected, atol=1e-12)


def test_roi_align_as_a_layer_passes_its_settings_on() -> None:
    features, rois = torch.rand(1, 2, 8, 8), torch.tensor([[0, 1.0, 2.0, 13.0, 11.0]])
    layer = mmcv.ops.RoIAlign((3, 2), spatial_scale=0.5, sampling_ratio=1, aligned=False)
    expected = _pool(features.numpy(), rois[0].tolist(), (3, 2), 0.5, 1, aligned=False)
    assert np.allclose(layer(features, rois)[0].numpy(), expected, atol=1e-6)


def test_roi_align_has_the_right_gradient() -> None:
    features = torch.rand(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 0.7, 0.2, 3.9, 4.4], [0, 2.1, 1.3, 4.9, 3.2]], dtype=torch.float64)
    assert torch.autograd.gradcheck(mmcv.ops.RoIAlign((2, 2), 0.9, 2), (features, rois))


def test_roi_align_of_no_regions_is_empty_and_trains() -> None:
    features = torch.rand(1, 2, 5, 5, requires_grad=True)
    pooled = mmcv.ops.roi_align(features, torch.zeros(0, 5), (7, 7))
    assert pooled.shape == (0, 2, 7, 7)
    pooled.sum().backward()
    assert features.grad is not None
    assert features.grad.abs().sum() == 0


def test_roi_align_follows_the_type_of_the_features() -> None:
    features, rois = torch.rand(1, 2, 8, 8), torch.tensor([[0, 1.0, 2.0, 6.0, 7.0]])
    pooled = mmcv.ops.roi_align(features.bfloat16(), rois, (2, 2))
    assert pooled.dtype == torch.bfloat16
    assert torch.allclose(pooled.float(), mmcv.ops.roi_align(features, rois, (2, 2)), atol=0.01)


def test_roi_align_does_not_support_maxima() -> None:
    with pytest.raises(BackendError, match="expected the pool_mode 'avg', found 'max'"):
        mmcv.ops.RoIAlign((2, 2), pool_mode="max")(torch.rand(1, 1, 4, 4), torch.zeros(1, 5))


def _pool(features: Any, roi: list[float], size: tuple[int, int], scale: float, ratio: int, aligned: bool) -> Array:
    shift = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (corner * scale - shift for corner in roi[1:])
    height, width = (y2 - y1, x2 - x1) if aligned else (max(y2 - y1, 1), max(x2 - x1, 1))
    step_y, step_x = height / size[0], width / size[1]
    rows, columns = ratio or math.ceil(step_y), ratio or math.ceil(step_x)
    out = np.zeros((features.shape[1], *size))
    for i, j in np.ndindex(*size):
        points = [
            (y1 + (i + (r + 0.5) / rows) * step_y, x1 + (j + (c + 0.5) / columns) * step_x)
            for r, c in np.ndindex(rows, columns)
        ]
        out[:, i, j] = sum(_sample(features[int(roi[0])], y, x) for y, x in points) / max(len(points), 1)
    return out


def _sample(plane: Any, y: float, x: float) -> Any:
    height, width = plane.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(plane.shape[0])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    v, u = y - top, x - left
    upper = (1 - u) * plane[:, top, left] + u * plane[:, top, right]
    lower = (1 - u) * plane[:, bottom, left] + u * plane[:, bottom, right]
    return (1 - v) * upper + v * lower


# Deformable convolution

SHAPES = [
    {"stride": 1, "padding": 1, "dilation": 1, "groups": 1, "deform_groups": 1},
    {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2), "groups": 2, "deform_groups": 1},
    {"stride": 2, "padding": 1, "dilation": 1, "groups": 1, "deform_groups": 2},
]


@pytest.mark.parametrize("settings", SHAPES)
def test_deformable_convolution_without_offsets_is_convolution(settings: dict[str, Any]) -> None:
    features, weight = torch.rand(2, 4, 7, 8), torch.rand(6, 4 // settings["groups"], 3, 3)
    plain = {key: value for key, value in settings.items() if key != "deform_groups"}
    expected = F.conv2d(features, weight, **plain)
    offset = torch.zeros(2, 18 * settings["deform_groups"], *expected.shape[2:])
    arguments = tuple(settings.values())
    assert torch.allclose(mmcv.ops.deform_conv2d(features, offset, weight, *arguments, False, 1), expected, atol=1e-5)


@pytest.mark.parametrize(("down", "right"), [(1, 0), (0, -2), (-1, 3)])
def test_whole_offsets_shift_what_is_convolved(down: int, right: int) -> None:
    features, weight = torch.rand(1, 2, 6, 7), torch.rand(3, 2, 3, 3)
    offset = torch.tensor([down, right] * 9).reshape(1, 18, 1, 1).expand(1, 18, 6, 7).float()
    shifted = F.pad(features, (5, 5, 5, 5))[:, :, 4 + down : 12 + down, 4 + right : 13 + right]
    expected = F.conv2d(shifted, weight)
    assert torch.allclose(mmcv.ops.deform_conv2d(features, offset, weight, 1, 1), expected, atol=1e-5)


def test_each_deformable_group_has_its_own_offsets() -> None:
    features, weight = torch.rand(1, 4, 6, 6), torch.rand(2, 4, 1, 1)
    offset = torch.zeros(1, 4, 6, 6)
    offset[:, 2] = 1
    lower = F.pad(features, (0, 0, 0, 1))[:, :, 1:]
    expected = F.conv2d(torch.cat([features[:, :2], lower[:, 2:]], 1), weight)
    assert torch.allclose(mmcv.ops.deform_conv2d(features, offset, weight, 1, 0, 1, 1, 2), expected, atol=1e-6)


def test_deformable_convolution_has_the_right_gradients() -> None:
    features, weight, offset = _doubles((2, 2, 5, 4), (2, 1, 3, 3), (2, 36, 3, 2))
    offset = (offset.detach() * 0.8 + 0.1).requires_grad_()

    def convolve(*tensors: torch.Tensor) -> torch.Tensor:
        return mmcv.ops.deform_conv2d(*tensors, 2, 1, 1, 2, 2)

    assert torch.autograd.gradcheck(convolve, (features, offset, weight))


def test_modulated_convolution_has_the_right_gradients() -> None:
    features, weight, offset, mask, bias = _doubles((1, 2, 4, 4), (2, 2, 3, 3), (1, 18, 4, 4), (1, 9, 4, 4), (2,))
    offset = (offset.detach() * 0.8 + 0.1).requires_grad_()

    def convolve(*tensors: torch.Tensor) -> torch.Tensor:
        return mmcv.ops.modulated_deform_conv2d(*tensors, 1, 1)

    assert torch.autograd.gradcheck(convolve, (features, offset, mask, weight, bias))


def test_a_mask_weights_each_point_and_a_bias_is_added() -> None:
    features, weight, bias = torch.rand(1, 2, 5, 5), torch.rand(3, 2, 3, 3), torch.rand(3)
    offset, mask = torch.rand(1, 18, 5, 5), torch.full((1, 9, 5, 5), 0.25)
    plain = mmcv.ops.deform_conv2d(features, offset, weight, 1, 1)
    modulated = mmcv.ops.modulated_deform_conv2d(features, offset, mask, weight, bias, 1, 1)
    assert torch.allclose(modulated, 0.25 * plain + bias.reshape(1, 3, 1, 1), atol=1e-5)
    without_bias = mmcv.ops.modulated_deform_conv2d(features, offset, mask, weight, None, 1, 1)
    assert torch.allclose(without_bias, 0.25 * plain, atol=1e-5)


def test_offsets_of_16_bits_determine_the_type_as_in_mmcv() -> None:
    features, weight, offset = torch.rand(1, 2, 5, 5), torch.rand(3, 2, 3, 3), torch.rand(1, 18, 5, 5)
    weight.requires_grad_()
    convolved = mmcv.ops.deform_conv2d(features, offset.bfloat16(), weight, 1, 1)
    assert convolved.dtype == torch.bfloat16
    expected = mmcv.ops.deform_conv2d(features, offset.bfloat16().float(), weight, 1, 1)
    assert torch.allclose(convolved.float(), expected, rtol=0.01)
    convolved.sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


@pytest.mark.parametrize(
    "arguments", [(1, 1, 1, 1, 1, True), (1, 1, 1, 2, 1), (1, 1, 1, 1, 2)], ids=["bias", "groups", "deform_groups"]
)
def test_deformable_convolution_refuses_unsupported_arguments(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(BackendError, match=r"mmcv's op 'deform_conv2d' is not supported here: (it has no|expected)"):
        mmcv.ops.deform_conv2d(torch.rand(1, 2, 5, 5), torch.zeros(1, 18, 5, 5), torch.rand(3, 2, 3, 3), *arguments)


def test_dcn_layers_of_both_versions_compute() -> None:
    features = torch.rand(1, 4, 6, 6)
    first = mmcv.ops.DeformConv2dPack(4, 3, 3, padding=1)
    assert torch.allclose(first(features), F.conv2d(features, first.weight, padding=1), atol=1e-5)
    second = mmcv.ops.ModulatedDeformConv2dPack(4, 3, 3, padding=1)
    halved = F.conv2d(features, second.weight, padding=1) / 2
    assert torch.allclose(second(features), halved, atol=1e-5)


def _doubles(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    return [torch.rand(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


# Focal loss


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (1.5, 0.6)])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_focal_loss_is_that_of_mmdet_in_python(gamma: float, alpha: float, reduction: str) -> None:
    (logits,) = _doubles((6, 4))
    logits = (logits.detach() * 8 - 4).requires_grad_()
    target = torch.tensor([0, 3, 4, 1, 4, 2])
    one_hot = F.one_hot(target, 5)[:, :4]
    entries = mmdet_focal.py_sigmoid_focal_loss(logits, one_hot, gamma=gamma, alpha=alpha, reduction="none")
    expected = {"none": entries, "mean": entries.sum() / 6, "sum": entries.sum()}[reduction]
    loss = mmcv.ops.sigmoid_focal_loss(logits, target, gamma, alpha, None, reduction)
    assert torch.allclose(loss, expected, rtol=1e-9, atol=1e-12)
    (gradient,) = torch.autograd.grad(loss.sum(), logits, retain_graph=True)
    (wanted,) = torch.autograd.grad(expected.sum(), logits)
    assert torch.allclose(gradient, wanted, rtol=1e-9, atol=1e-9)


def test_focal_loss_of_no_boxes_is_zero() -> None:
    logits = torch.zeros(0, 4, requires_grad=True)
    assert mmcv.ops.sigmoid_focal_loss(logits, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, "sum") == 0


@pytest.mark.parametrize("arguments", [(2.0, 0.25, torch.ones(4)), (2.0, -1.0)])
def test_focal_loss_refuses_unsupported_arguments(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(BackendError, match="sigmoid_focal_loss"):
        mmcv.ops.sigmoid_focal_loss(torch.rand(2, 4), torch.tensor([0, 1]), *arguments)


# CUDA


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_ops_on_cuda_are_those_on_the_cpu(dtype: torch.dtype) -> None:
    def compute(device: str) -> list[torch.Tensor]:
        torch.manual_seed(3)
        features, weight = torch.rand(2, 4, 9, 9), torch.rand(3, 4, 3, 3)
        offset, mask = torch.rand(2, 18, 9, 9), torch.rand(2, 9, 9, 9)
        x, w, o, m = (tensor.to(device, dtype) for tensor in (features, weight, offset, mask))
        half = torch.rand(2, 4, 5, 5).to(device, dtype)
        rois = torch.tensor([[0, 1.0, 1.0, 7.5, 8.0], [1, 0.0, 2.0, 5.0, 5.0]], device=device)
        logits = (torch.rand(5, 3) * 4).to(device, dtype)
        target = torch.tensor([0, 1, 2, 3, 3], device=device)
        boxes = torch.tensor([[0, 0, 8, 8], [0, 0, 8, 7], [20, 20, 24, 24]], device=device, dtype=dtype)
        scores = torch.tensor([0.5, 0.75, 0.25], device=device)
        return [
            mmcv.ops.roi_align(x, rois, (3, 3)),
            mmcv.ops.deform_conv2d(x, o, w, 1, 1),
            mmcv.ops.modulated_deform_conv2d(x, o, m, w, None, 1, 1),
            mmcv.ops.modulated_deform_conv2d(half, o, m, w, None, 1, 1),
            mmcv.ops.sigmoid_focal_loss(logits, target),
            mmcv.ops.nms(boxes, scores, 0.5)[1],
        ]

    for on_cpu, on_cuda in zip(compute("cpu"), compute("cuda"), strict=True):
        assert torch.allclose(on_cpu.float(), on_cuda.cpu().float(), rtol=1e-2 if dtype.itemsize == 2 else 1e-4)
