"""The detector of the classic stack: frozen results, the protocol, and every model of the zoo."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from reference import CLASSIC, HERE, MODELS, config_path, differences, differences_from_frozen

from bdd100k_zoo.backends import mmdet2
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.image_files import read_image
from bdd100k_zoo.errors import (
    CheckpointError,
    ConfigError,
    DeviceError,
    ImagesError,
    MissingPackageError,
    NotFiniteError,
    UnsafeCheckpointError,
)
from bdd100k_zoo.registry import load_zoo
from tools.fidelity.results import read_frozen, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bdd100k_zoo.backends.protocol import BackendDetector

pytestmark = [pytest.mark.classic, pytest.mark.usefixtures("classic")]
ZOO = load_zoo()
MODEL = "faster_rcnn_r50_fpn_1x"
SMALL = {"test_dataloader.dataset.pipeline.1.scale": (160, 90)}


@pytest.fixture(scope="module", params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("image", ["square.png", "street.png"])
def test_frozen_boxes_are_found_again(image: str, name: str, load_detector: Callable[..., BackendDetector]) -> None:
    expected = np.load(HERE / f"{name}.npz")[image]
    assert len(expected) == 100
    assert differences(expected, rows_of(load_detector(name).detect(read_image(HERE / image)))) == []


@pytest.mark.parametrize("architecture", [*read_frozen(CLASSIC).weights])
def test_every_architecture_gets_the_boxes_that_this_stack_has_frozen(architecture: str, tmp_path: Path) -> None:
    assert differences_from_frozen(ZOO[architecture], "mmdet2", tmp_path) == []


@pytest.mark.filterwarnings("ignore:.*pipeline is replaced by:UserWarning")
def test_it_finds_the_same_as_mmdets_own_function(load_detector: Callable[..., BackendDetector]) -> None:
    from mmdet.apis import inference_detector

    detector: Any = load_detector(MODEL, SMALL)
    image = read_image(HERE / "street.png")
    by_class = inference_detector(detector._model, image)
    found = detector.detect(image)
    for category in range(len(CLASSES)):
        chosen = found.classes == category
        mine = np.column_stack([found.boxes[chosen], found.scores[chosen]])
        assert np.array_equal(mine, by_class[category])
    assert len(found) == sum(map(len, by_class)) > 0
    assert (np.diff(found.scores) <= 0).all()


def test_images_of_one_padded_shape_may_share_a_batch(load_detector: Callable[..., BackendDetector]) -> None:
    detector = load_detector(MODEL, SMALL)
    street = read_image(HERE / "street.png")
    images = [street, street[:, ::-1].copy(), street[:700]]
    prepared = [detector.prepare(image) for image in images]
    assert {each.shape for each in prepared} == {(96, 160)}
    together = detector.detect_prepared(prepared)
    for image, found in zip(images, together, strict=True):
        assert len(found) > 0
        assert differences(rows_of(detector.detect(image)), rows_of(found)) == []


def test_facts_describe_the_detector(load_detector: Callable[..., BackendDetector]) -> None:
    facts = load_detector(MODEL, SMALL).facts
    assert (facts.backend, facts.ops, facts.precision, facts.device) == ("mmdet2", "mmcv", "fp32", "cpu")
    assert facts.optimised is False
    assert facts.versions["mmdet"].startswith("2.")
    assert facts.versions["mmcv-full"].startswith("1.7")
    assert facts.threads == torch.get_num_threads()


@pytest.mark.parametrize("model", [model.name for model in ZOO.models])
def test_a_model_builds_and_strictly_loads_a_checkpoint_of_its_own_shape(model: str, tmp_path: Path) -> None:
    from bdd100k_zoo.backends.common.checkpoint import load_strictly, read_checkpoint
    from bdd100k_zoo.backends.mmdet2.config import load_config
    from bdd100k_zoo.backends.mmdet2.detector import build_model

    built = build_model(load_config(ZOO[model].config_path), name=model)
    numbered = {
        key: torch.tensor(number).to(like.dtype).expand(like.shape)
        for number, (key, like) in enumerate(built.state_dict().items())
    }
    file = tmp_path / "weights.pth"
    torch.save({"meta": {"CLASSES": CLASSES}, "state_dict": numbered}, file)
    load_strictly(built, read_checkpoint(file).state_dict, model_name=model, path=file)
    loaded = built.state_dict()
    assert [key for key in numbered if not bool((loaded[key] == numbered[key]).all())] == []


def test_a_convnext_needs_mmcls(monkeypatch: pytest.MonkeyPatch) -> None:
    from bdd100k_zoo.backends.mmdet2.config import load_config
    from bdd100k_zoo.backends.mmdet2.detector import build_model

    monkeypatch.setitem(sys.modules, "mmcls.models", None)
    config = load_config(ZOO["faster_rcnn_convnext-t_fpn_fp16_1x"].config_path)
    with pytest.raises(MissingPackageError, match="mmcls"):
        build_model(config, name="x")


def test_a_file_of_weights_is_checked_against_its_model(save_weights: Callable[[str], Path], tmp_path: Path) -> None:
    random, weights = save_weights(MODEL), tmp_path / "weights.pth"
    with pytest.raises(UnsafeCheckpointError, match="its weights are random"):
        mmdet2.check_checkpoint(MODEL, config_path(MODEL), random)
    content = torch.load(random, weights_only=True)
    torch.save(content | {"meta": {"CLASSES": CLASSES}}, weights)
    mmdet2.check_checkpoint(MODEL, config_path(MODEL), weights)
    with pytest.raises(CheckpointError):
        mmdet2.check_checkpoint("retinanet_r50_fpn_1x", config_path("retinanet_r50_fpn_1x"), weights)
    torch.save(content | {"meta": {"CLASSES": CLASSES[::-1]}}, tmp_path / "swapped.pth")
    with pytest.raises(CheckpointError):
        mmdet2.check_checkpoint(MODEL, config_path(MODEL), tmp_path / "swapped.pth")


@pytest.mark.parametrize("parameter", ["rpn_head.rpn_conv.weight", "roi_head.bbox_head.fc_cls.weight"])
def test_a_model_that_overflows_is_an_error_and_not_an_image_without_boxes(
    parameter: str, save_weights: Callable[[str], Path], tmp_path: Path
) -> None:
    content = torch.load(save_weights(MODEL), weights_only=True)
    weight = content["state_dict"][parameter]
    content["state_dict"][parameter] = weight / weight.abs().max() * 1e38
    torch.save(content, tmp_path / "w.pth")
    detector = mmdet2.load(MODEL, config_path(MODEL), tmp_path / "w.pth", "cpu", SMALL)
    with pytest.raises(NotFiniteError, match=f"{MODEL} gave NaN or infinite scores or boxes"):
        detector.detect(read_image(HERE / "street.png"))


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), "a path", np.zeros((1, 9000, 3), np.uint8)])
def test_other_values_than_images_are_refused(image: Any, load_detector: Callable[..., BackendDetector]) -> None:
    with pytest.raises(ImagesError):
        load_detector(MODEL, SMALL).prepare(image)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model.backbone.depth": 7}, "mmdet 2 cannot build the model"),
        ({"model.test_cfg.rcnn.nms.type": "print(1)"}, "expected a dict with a type of nms or soft_nms"),
        ({"model.roi_head.bbox_head.num_classes": 80}, "expected heads of 10 classes"),
        ({"test_dataloader.dataset.pipeline.1.scale": "small"}, "test pipeline"),
    ],
)
def test_settings_that_do_not_fit_are_refused(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mmdet2.check(config_path(MODEL), "cpu", overrides)
    assert message in str(caught.value)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "tf32"])
def test_only_float32_is_supported(precision: str) -> None:
    with pytest.raises(DeviceError, match="only computes in fp32"):
        mmdet2.check(config_path(MODEL), "cpu", precision=precision)


def test_a_device_without_ops_of_mmcv_is_refused() -> None:
    from mmcv.ops import get_compiling_cuda_version

    if get_compiling_cuda_version() != "not available":
        pytest.skip("this mmcv-full was built with CUDA")
    with pytest.raises(DeviceError, match=r"built for the CPU only|finds no CUDA|has no CUDA"):
        mmdet2.check(config_path(MODEL), "cuda")
