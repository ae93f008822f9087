from __future__ import annotations

import pkgutil
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from PIL import Image
from reference import HERE, config_path
from torch import nn

from bdd100k_zoo.backends import mmdet3
from bdd100k_zoo.backends.common.config import load_config
from bdd100k_zoo.backends.mmdet3.detector import (
    MmdetDetector,
    build_meta_model,
    build_model,
    build_pipeline,
    pipeline_for_arrays,
)
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.data.image_files import read_image
from bdd100k_zoo.demo_run.steps import bundled_weights
from bdd100k_zoo.errors import (
    CheckpointError,
    ConfigError,
    DeviceError,
    ImagesError,
    NotFiniteError,
)
from bdd100k_zoo.registry import load_zoo

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from bdd100k_zoo.backends.protocol import BackendDetector

NAME = "retinanet_r50_fpn_1x"
SMALL: dict[str, object] = {
    "test_dataloader.dataset.pipeline": [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations", "with_bbox": True},
        {"type": "Resize", "scale": (160, 90), "keep_ratio": True},
        {"type": "PackDetInputs", "meta_keys": ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")},
    ]
}
"""Images of an eighth of the size, on which the results of these tests do not depend."""


@pytest.fixture(scope="module")
def detector(load_detector: Callable[..., BackendDetector]) -> BackendDetector:
    return load_detector(NAME, SMALL)


@pytest.fixture(scope="module")
def image() -> Any:
    return read_image(HERE / "street.png")


# Detecting


def test_detections_are_in_the_pixels_of_the_given_image(detector: BackendDetector, image: Any) -> None:
    found = detector.detect(image)
    assert isinstance(found, Detections)
    assert 0 < len(found) <= 100
    height, width = image.shape[:2]
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [width, height, width, height]).all()
    assert ((found.scores > 0) & (found.scores <= 1)).all()
    assert set(found.classes.tolist()) <= set(range(len(CLASSES)))


def test_boxes_grow_with_the_image(detector: BackendDetector, image: Any) -> None:
    enlarged = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    reach = [detector.detect(pixels).boxes.max(axis=0)[2:] for pixels in (image, enlarged)]
    assert np.allclose(reach[1], 2 * reach[0], rtol=0.1)


def test_detecting_twice_gives_the_same_and_does_not_change_the_image(detector: BackendDetector, image: Any) -> None:
    before = image.copy()
    first, second = detector.detect(image), detector.detect(image)
    assert np.array_equal(first.boxes, second.boxes)
    assert np.array_equal(first.scores, second.scores)
    assert np.array_equal(image, before)


def test_an_image_in_which_nothing_scores_has_no_detections(save_weights: Callable[[str], Path], image: Any) -> None:
    path = save_weights(NAME)
    strict = {**SMALL, "model.test_cfg.score_thr": 0.9999999}
    found = mmdet3.load(NAME, config_path(NAME), path, "cpu", strict).detect(image)
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)


def test_any_size_and_memory_layout_is_accepted(detector: BackendDetector) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (37, 211, 3), np.uint8)
    turned = np.asfortranarray(pixels)
    assert np.array_equal(detector.detect(pixels).boxes, detector.detect(turned).boxes)
    assert np.array_equal(detector.detect(pixels[:, ::-1]).boxes, detector.detect(pixels[:, ::-1].copy()).boxes)


def test_global_settings_are_not_changed(detector: BackendDetector, image: Any) -> None:
    before = torch.is_grad_enabled(), torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled()
    detector.detect(image)
    assert before == (
        torch.is_grad_enabled(),
        torch.backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
    )
    assert DefaultScope.get_current_instance() is None


def test_facts_describe_the_detector(detector: BackendDetector) -> None:
    facts = detector.facts
    assert (facts.backend, facts.device, facts.precision, facts.ops) == ("mmdet3", "cpu", "fp32", "torchvision")
    assert facts.optimised
    assert facts.device_name
    assert facts.versions["torch"] == torch.__version__
    assert facts.versions["mmdet"] == "3.3.0"
    assert facts.versions.keys() >= {
        "python",
        "torch",
        "torchvision",
        "mmdet",
        "mmengine",
        "mmcv-lite",
        "opencv-python",
    }


QUIET = """
import sys
from pathlib import Path
import numpy as np
from bdd100k_zoo.backends import mmdet3
assert not {"torch", "mmdet", "mmcv", "mmengine", "cv2"} & sys.modules.keys()
small = {"test_dataloader.dataset.pipeline.1.scale": (160, 90)}
detector = mmdet3.load("a model", Path(sys.argv[1]), Path(sys.argv[2]), "cpu", small)
detector.detect(np.zeros((90, 160, 3), np.uint8))
"""


def test_loading_and_detecting_print_nothing(
    save_weights: Callable[[str], Path], run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    path = save_weights("faster_rcnn_r50_fpn_deconv_1x")
    done = run_python(QUIET, config_path("faster_rcnn_r50_fpn_deconv_1x"), path)
    assert (done.stdout, done.stderr) == ("", "")


def test_nothing_that_later_versions_of_python_lack_is_used(
    monkeypatch: pytest.MonkeyPatch, image: Any, load_detector: Any
) -> None:
    monkeypatch.delattr(pkgutil, "find_loader", raising=False)  # Python 3.14 has none
    assert len(load_detector(NAME, SMALL).detect(image)) > 0


# Invalid images

PIXELS = np.zeros((9, 16, 3), np.uint8)


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        (PIXELS[..., 0], "uint8 [9, 16]"),
        (PIXELS[..., :1], "uint8 [9, 16, 1]"),
        (np.zeros((9, 16, 4), np.uint8), "uint8 [9, 16, 4]"),
        (PIXELS[None], "uint8 [1, 9, 16, 3]"),
        (PIXELS.astype(np.float32), "float32 [9, 16, 3]"),
        (PIXELS.astype(np.uint16), "uint16 [9, 16, 3]"),
        (PIXELS.astype(bool), "bool [9, 16, 3]"),
        (PIXELS[:0], "uint8 [0, 16, 3]"),
        (PIXELS[:, :0], "uint8 [9, 0, 3]"),
        (Image.fromarray(PIXELS), "PIL.Image.Image"),
        (PIXELS.tolist(), "list"),
        (PIXELS.tobytes(), "bytes"),
        (torch.from_numpy(PIXELS), "torch.Tensor"),
        (None, "NoneType"),
    ],
    ids=lambda value: value.replace(" ", "") if isinstance(value, str) else "",
)
def test_other_values_than_bgr_images_are_refused(given: Any, shape: str, detector: BackendDetector) -> None:
    with pytest.raises(ImagesError) as caught:
        detector.detect(given)
    expected = "expected a numpy array, uint8 [height, width, 3] in BGR order, not empty"
    assert str(caught.value) == f"{shape}: {expected}"
    assert "`cv2.imread`" in caught.value.hint


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1)])
def test_an_image_too_thin_to_be_scaled_is_refused(size: tuple[int, int], detector: BackendDetector) -> None:
    refusal = rf"^uint8 \[{size[0]}, {size[1]}, 3\]: the test pipeline cannot process it \("
    with pytest.raises(ImagesError, match=refusal):
        detector.detect(np.zeros((*size, 3), np.uint8))


@pytest.mark.parametrize("size", [(1, 100), (100, 1), (1, 1)])
def test_a_thin_image_that_can_be_scaled_is_accepted(size: tuple[int, int], detector: BackendDetector) -> None:
    found = detector.detect(np.zeros((*size, 3), np.uint8))
    assert (found.boxes <= [size[1], size[0], size[1], size[0]]).all()


# Several at once


def test_images_of_one_padded_shape_share_a_batch_and_give_what_each_gives_alone(
    detector: BackendDetector, image: Any
) -> None:
    pixels = [image, image[:, ::-1], image[:-3], image // 2]  # padding makes one shape of two
    prepared = [detector.prepare(each) for each in pixels]
    assert len({each.shape for each in prepared}) == 1
    for alone, together in zip(map(detector.detect, pixels), detector.detect_prepared(prepared), strict=True):
        assert np.array_equal(alone.classes, together.classes)
        assert np.allclose(alone.scores, together.scores, atol=1e-5)
        assert np.allclose(alone.boxes, together.boxes, atol=1e-2)


def test_images_of_different_padded_shapes_have_different_shapes(detector: BackendDetector, image: Any) -> None:
    shapes = [detector.prepare(each).shape for each in (image, image.transpose(1, 0, 2))]
    assert shapes == [(96, 160), (160, 96)]
    assert detector.batch_size == 1


def test_threads_may_prepare_at_once_and_images_may_be_passed_again(detector: BackendDetector, image: Any) -> None:
    with ThreadPoolExecutor(4) as threads:
        prepared = list(threads.map(detector.prepare, [image] * 8))
    once, again = detector.detect_prepared(prepared[:1])[0], detector.detect_prepared(prepared[:1])[0]
    alone = detector.detect(image)
    assert np.array_equal(once.boxes, alone.boxes)
    assert np.array_equal(again.boxes, alone.boxes)


# Failures while computing


class Failing(nn.Module):
    """A replacement for a model that calls a function."""

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__()
        self.act = act

    def test_step(self, batch: object) -> Any:
        return self.act()


def failing(act: Callable[[], Any], *, customised: bool, device: str = "cpu") -> MmdetDetector:
    pipeline = build_pipeline(load_config(config_path(NAME)))
    return MmdetDetector(Failing(act), pipeline, torch.device(device), name="a model", customised=customised)


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)],
)
@pytest.mark.parametrize("customised", [True, False])
def test_a_device_without_enough_memory_is_reported_as_out_of_memory(device: str, customised: bool) -> None:
    detector = failing(lambda: torch.empty(2**50, device=device), customised=customised, device=device)
    with pytest.raises(DeviceError, match=r"memory") as caught:
        detector.detect(PIXELS)
    assert caught.value.device == device
    assert caught.value.out_of_memory


def test_other_failures_of_a_device_are_not_out_of_memory() -> None:
    def fail() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(DeviceError) as caught:
        failing(fail, customised=False).detect(PIXELS)
    assert not caught.value.out_of_memory


def test_a_failure_is_attributed_to_settings_only_if_they_are_the_users() -> None:
    def fail() -> None:
        raise IndexError("too far")

    with pytest.raises(ConfigError, match="a model: mmdet cannot run the model: IndexError: too far"):
        failing(fail, customised=True).detect(PIXELS)
    with pytest.raises(IndexError):
        failing(fail, customised=False).detect(PIXELS)


@pytest.mark.parametrize(
    ("model", "parameter"),
    [
        (NAME, "bbox_head.retina_cls.weight"),
        (NAME, "bbox_head.retina_reg.weight"),
        ("faster_rcnn_r50_fpn_1x", "rpn_head.rpn_conv.weight"),
        ("faster_rcnn_r50_fpn_1x", "roi_head.bbox_head.fc_cls.weight"),
        ("faster_rcnn_r50_fpn_1x", "roi_head.bbox_head.fc_reg.weight"),
    ],
)
def test_a_model_that_overflows_is_an_error_and_not_an_image_without_boxes(
    model: str, parameter: str, save_weights: Callable[[str], Path], image: Any, tmp_path: Path
) -> None:
    content = torch.load(save_weights(model), weights_only=True)
    weight = content["state_dict"][parameter]
    content["state_dict"][parameter] = weight / weight.abs().max() * 1e38
    torch.save(content, tmp_path / "w.pth")
    detector = mmdet3.load(model, config_path(model), tmp_path / "w.pth", "cpu", SMALL)
    with pytest.raises(NotFiniteError, match=f"{model} gave NaN or infinite scores or boxes, computing in fp32"):
        detector.detect(image)


@pytest.mark.parametrize("field", ["scores", "bboxes"])
def test_scores_and_boxes_that_are_not_finite_are_an_error(field: str) -> None:
    found = {"scores": torch.ones(2), "bboxes": torch.ones(2, 4), "labels": torch.zeros(2, dtype=torch.long)}
    found[field].view(-1)[1] = float("nan")
    sample = SimpleNamespace(pred_instances=SimpleNamespace(**found))
    with pytest.raises(NotFiniteError, match="a model gave NaN"):
        failing(lambda: [sample], customised=True).detect(PIXELS)


def test_a_checkpoint_of_random_weights_is_recognised(detector: BackendDetector) -> None:
    assert detector.facts.random_weights
    trained = bundled_weights(load_zoo())
    assert not mmdet3.load("demo", config_path("demo_fcos_r18_fpn"), trained, "cpu").facts.random_weights


def test_settings_that_fail_only_in_the_model_are_a_config_error(load_detector: Callable[..., BackendDetector]) -> None:
    detector = load_detector(NAME, {**SMALL, "model.test_cfg": None})
    with pytest.raises(ConfigError, match="cannot run the model: AttributeError"):
        detector.detect(PIXELS)


def test_a_users_own_config_that_fails_in_the_model_is_a_config_error(
    save_weights: Callable[[str], Path], tmp_path: Path
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        f"_base_ = 'bdd100k_zoo::{config_path(NAME).name}'\nmodel = dict(data_preprocessor=dict(pad_size_divisor=0))\n"
    )
    detector = mmdet3.load("mine", mine, save_weights(NAME), "cpu")
    with pytest.raises(ConfigError, match="mine: mmdet cannot run the model: ZeroDivisionError"):
        detector.detect(PIXELS)


# Building


@pytest.mark.parametrize(
    "name", [NAME, "faster_rcnn_r50_fpn_1x", "faster_rcnn_hrnetv2p_w18_1x", "retinanet_pvt-t_fpn_1x"]
)
def test_no_part_of_a_model_would_download_pretrained_weights(name: str) -> None:
    model = build_meta_model(load_config(config_path(name)), name=name)
    wanted = [str(getattr(part, "init_cfg", None)) for part in model.modules()]
    assert len(wanted) > 100
    assert not [text for text in wanted if "Pretrained" in text or "://" in text]


@pytest.mark.parametrize(
    ("name", "key"),
    [(NAME, "model.bbox_head.num_classes"), ("faster_rcnn_r50_fpn_1x", "model.roi_head.bbox_head.num_classes")],
)
def test_a_model_of_other_classes_is_refused(name: str, key: str) -> None:
    with torch.device("meta"), pytest.raises(ConfigError, match="expected heads of 10 classes, found num_classes 80"):
        build_model(load_config(config_path(name), {key: 80}), name=name)


@pytest.mark.parametrize(("key", "value"), [("model.type", "NoSuchDetector"), ("model.backbone.depth", 77)])
def test_a_model_that_mmdet_cannot_build_is_a_config_error(key: str, value: object) -> None:
    with torch.device("meta"), pytest.raises(ConfigError, match=rf"a model: mmdet cannot build.*{value}"):
        build_model(load_config(config_path(NAME), {key: value}), name="a model")


def test_a_pipeline_that_mmdet_cannot_build_is_a_config_error() -> None:
    steps = [{"type": "LoadImageFromFile"}, {"type": "NoSuchTransform"}]
    config = load_config(config_path(NAME), {"test_dataloader.dataset.pipeline": steps})
    with pytest.raises(ConfigError, match=r"cannot build the test pipeline.*NoSuchTransform"):
        build_pipeline(config, name=NAME)


def test_weights_of_another_model_are_refused(save_weights: Callable[[str], Path]) -> None:
    path = save_weights(NAME)
    name = "faster_rcnn_r50_fpn_1x"
    refusal = rf"{path} does not fit {name}: 16 missing: .*rpn_head\.rpn_conv\.weight.*; 22 unexpected: .*bbox_head\."
    with pytest.raises(CheckpointError, match=refusal):
        mmdet3.load(name, config_path(name), path, "cpu")


def test_weights_for_other_classes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"meta": {"CLASSES": CLASSES[::-1]}, "state_dict": {"weight": torch.ones(1)}}, path)
    with pytest.raises(CheckpointError, match="expected the classes pedestrian, "):
        mmdet3.load(NAME, config_path(NAME), path, "cpu")


def test_a_pipeline_for_arrays_loads_no_file_and_no_labels() -> None:
    steps = [
        {"type": "mmdet.LoadImageFromFile", "to_float32": True, "backend_args": None},
        {"type": "Resize", "scale": (1280, 720), "keep_ratio": True},
        {"type": "LoadAnnotations", "with_bbox": True},
        {"type": "PackDetInputs"},
    ]
    expected = [{"type": "mmdet.LoadImageFromNDArray", "to_float32": True}, steps[1], steps[3]]
    assert pipeline_for_arrays(steps) == expected
