"""A detector finds the same boxes whatever settings of torch its caller uses, and does not change these settings."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from threading import Barrier
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from reference import HERE, config_path

from bdd100k_zoo.backends import mmdet3
from bdd100k_zoo.backends.mmdet3.random_weights import save_calibrated_random_weights
from bdd100k_zoo.data.image_files import read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bdd100k_zoo.backends.protocol import BackendDetector
    from bdd100k_zoo.data.detections import Detections

SMALL = {"test_dataloader.dataset.pipeline.1.scale": (320, 180)}
FEW = {"model.test_cfg.rpn.max_per_img": 100}
SETTINGS: dict[str, dict[str, Any]] = {
    "demo_fcos_r18_fpn": SMALL,
    "retinanet_r50_fpn_1x": SMALL,
    "faster_rcnn_r50_fpn_deconv_1x": SMALL | FEW,
    "sparse_rcnn_r50_fpn_1x": SMALL,
}
QUICK = ("demo_fcos_r18_fpn",)


@contextmanager
def default_type(kind: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(kind)
    try:
        yield
        assert torch.get_default_dtype() == kind
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
        assert torch.empty(1).device.type == device
    finally:
        torch.set_default_device(None)


@contextmanager
def products(precision: str) -> Iterator[None]:
    """Round matrix products, which some CPUs do as well."""
    torch.set_float32_matmul_precision(precision)
    try:
        yield
        assert torch.get_float32_matmul_precision() == precision
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")


@contextmanager
def autocast() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield
        assert torch.is_autocast_enabled("cpu")
        ones = torch.ones(2, 2, dtype=torch.float32)
        assert (ones @ ones).dtype == torch.bfloat16


CALLERS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": autocast,
    "float64": lambda: default_type(torch.float64),
    "bfloat16": lambda: default_type(torch.bfloat16),
    "meta": lambda: default_device("meta"),
    "inside meta": lambda: torch.device("meta"),
    "medium": lambda: products("medium"),
    "inference mode": torch.inference_mode,
}


@pytest.fixture(
    scope="module",
    params=[*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SETTINGS if name not in QUICK)],
)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def weights(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / f"{name}.pth"
    save_calibrated_random_weights(config_path(name), read_image(HERE / "street.png"), path)
    return path


@pytest.fixture(scope="module")
def load(name: str, weights: Path) -> Callable[[], BackendDetector]:
    return lambda: mmdet3.load(name, config_path(name), weights, "cpu", SETTINGS[name])


@pytest.fixture(scope="module")
def detector(load: Callable[[], BackendDetector]) -> BackendDetector:
    return load()


@pytest.fixture(scope="module")
def image() -> Any:
    return read_image(HERE / "street.png")


@pytest.fixture(scope="module")
def expected(detector: BackendDetector, image: Any) -> Detections:
    found = detector.detect(image)
    assert len(found) > 20
    return found


def check_same(found: Detections, expected: Detections) -> None:
    for field in ("boxes", "scores", "classes"):
        one, other = getattr(found, field), getattr(expected, field)
        assert one.dtype == other.dtype
        assert np.array_equal(one, other), field


@pytest.mark.parametrize("caller", CALLERS)
def test_the_callers_settings_change_no_bit(
    caller: str, detector: BackendDetector, image: Any, expected: Detections
) -> None:
    with CALLERS[caller]():
        found = detector.detect(image)
    check_same(found, expected)


@pytest.mark.parametrize("caller", CALLERS)
def test_the_callers_settings_while_loading_change_no_bit(
    caller: str, load: Callable[[], BackendDetector], image: Any, expected: Detections
) -> None:
    with CALLERS[caller]():
        loaded = load()
    check_same(loaded.detect(image), expected)


def test_random_weights_are_the_same_whatever_the_callers_settings(tmp_path: Path) -> None:
    config, image = config_path("demo_fcos_r18_fpn"), read_image(HERE / "street.png")
    save_calibrated_random_weights(config, image, tmp_path / "usual.pth")
    with default_type(torch.float64), products("medium"), autocast():
        save_calibrated_random_weights(config, image, tmp_path / "changed.pth")
    one, other = (torch.load(tmp_path / f"{each}.pth", weights_only=True) for each in ("usual", "changed"))
    for name, entry in one["state_dict"].items():
        assert entry.dtype == other["state_dict"][name].dtype
        assert torch.equal(entry, other["state_dict"][name]), name


def test_threads_with_other_defaults_find_the_same(detector: BackendDetector, image: Any, expected: Detections) -> None:
    ready = Barrier(2)

    def detect(caller: str) -> list[Detections]:
        with CALLERS[caller]() if caller else nullcontext():
            ready.wait()
            return [detector.detect(image) for _ in range(2)]

    with default_type(torch.float64), ThreadPoolExecutor(2) as threads:
        for found in threads.map(detect, ("autocast", "")):
            check_same(found[0], expected)
            check_same(found[1], expected)


def test_a_failure_restores_the_callers_defaults(
    detector: BackendDetector, image: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        assert torch.get_default_dtype() == torch.float32
        assert not torch.is_autocast_enabled("cpu")
        raise KeyError

    monkeypatch.setattr(detector._model, "test_step", fail)  # type: ignore[attr-defined]
    with default_type(torch.float64), products("medium"), autocast(), pytest.raises(Exception, match="KeyError"):
        detector.detect(image)
