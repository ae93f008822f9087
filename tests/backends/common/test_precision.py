"""The network computes in the requested precision; what follows it computes in float32."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from time import monotonic, sleep
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from mmcv.ops import RoIAlign, deform_conv2d, modulated_deform_conv2d, roi_align
from mmdet.registry import MODELS
from reference import HERE, config_path
from torch import nn

from bdd100k_zoo.backends import mmdet3
from bdd100k_zoo.backends.common.config import load_config
from bdd100k_zoo.backends.common.precision import (
    HALF_DTYPES,
    _ProcessSetting,
    force_float32_boxes,
    resolve_precision,
    set_float32_rounding,
    set_older_switches,
    use_precision,
)
from bdd100k_zoo.backends.mmdet3.detector import MmdetDetector, build_model, build_pipeline, preprocess_batch
from bdd100k_zoo.backends.mmdet3.fast_cpu import onednn_forward
from bdd100k_zoo.backends.mmdet3.ops import NmsOps
from bdd100k_zoo.backends.mmdet3.random_weights import init_calibrated_random_weights
from bdd100k_zoo.backends.protocol import PRECISIONS
from bdd100k_zoo.data.image_files import read_image
from bdd100k_zoo.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bdd100k_zoo.data.detections import Detections

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 1)
FAMILIES = ("faster_rcnn_r50_fpn_deconv_1x", "retinanet_r50_fpn_1x")
MORE_FAMILIES = (
    "faster_rcnn_r50_fpn_1x",
    "cascade_rcnn_r50_fpn_1x",
    "fcos_r50_fpn_1x",
    "libra_faster_r50_fpn_1x",
    "faster_rcnn_hrnetv2p_w18_1x",
    "sparse_rcnn_r50_fpn_1x",
    "atss_r50_fpn_1x",
    "atss_r50_fpn_dyhead_1x",
    "fcos_tricks_r50_fpn_1x",
    "faster_rcnn_swin-t_fpn_1x",
    "retinanet_pvt-t_fpn_1x",
    "retinanet_pvtv2-b0_fpn_1x",
    "faster_rcnn_convnext-t_fpn_fp16_1x",
)
SMALL, FEW = {"test_dataloader.dataset.pipeline.1.scale": (160, 90)}, {"model.test_cfg.rpn.max_per_img": 100}
"""Little to compute: a CPU without the instructions for it takes ten times as long in 16 bits."""


# Which precision a device supports


@pytest.mark.parametrize(("wanted", "found"), [("auto", "fp32"), ("fp32", "fp32"), ("bf16", "bf16"), ("fp16", "fp16")])
def test_a_cpu_computes_in(wanted: str, found: str) -> None:
    assert resolve_precision(wanted, CPU) == found


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [("tf32", "only GPUs compute in TF32"), ("fp8", "expected auto, fp32, tf32, fp16, bf16")],
)
def test_a_cpu_does_not_support(wanted: str, reason: str) -> None:
    with pytest.raises(DeviceError) as caught:
        resolve_precision(wanted, CPU)
    assert str(caught.value) == f"the device 'cpu' cannot be used: it does not support {wanted}: {reason}"
    assert "--precision fp32" in caught.value.hint


def test_a_layer_that_torch_does_not_support_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("not implemented for 'Half'")

    monkeypatch.setattr(nn.functional, "linear", fail)
    with pytest.raises(DeviceError, match="not implemented for 'Half'"):
        resolve_precision("fp16", CPU)


@pytest.mark.parametrize(
    ("capability", "hip", "lacks"),
    [((9, 0), None, set()), ((8, 0), None, set()), ((7, 5), None, {"tf32", "bf16"}), ((9, 4), "6.3", {"tf32"})],
)
def test_the_precisions_of_a_gpu_depend_on_its_kind(
    capability: tuple[int, int], hip: str | None, lacks: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    for precision in PRECISIONS:
        if precision in lacks:
            with pytest.raises(DeviceError, match=f"'cuda:1' cannot be used: it does not support {precision}"):
                resolve_precision(precision, CUDA)
        else:
            assert resolve_precision(precision, CUDA) == ("fp32" if precision == "auto" else precision)


def test_an_unsupported_precision_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(DeviceError):
        mmdet3.check(config_path("fcos_r50_fpn_1x"), "cpu", precision="tf32")


# Settings of torch


@pytest.fixture(autouse=True)
def _as_torch_starts() -> Iterator[None]:
    """Restore the initial settings, which only the old switches can do."""
    yield
    for backend in (torch.backends, torch.backends.cudnn):
        backend.fp32_precision = "none"
    torch.backends.mkldnn.conv.fp32_precision = "none"
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")


def switches() -> dict[str, str]:
    """Return every switch as the host's own getters report it, with the errors that torch raises for some of them."""
    backends: Any = torch.backends
    getters: dict[str, Callable[[], object]] = {
        "all": lambda: backends.fp32_precision,
        "cudnn": lambda: backends.cudnn.fp32_precision,
        "cudnn.conv": lambda: backends.cudnn.conv.fp32_precision,
        "cudnn.rnn": lambda: backends.cudnn.rnn.fp32_precision,
        "cuda.matmul": lambda: backends.cuda.matmul.fp32_precision,
        "mkldnn.conv": lambda: backends.mkldnn.conv.fp32_precision,
        "mkldnn.matmul": lambda: backends.mkldnn.matmul.fp32_precision,
        "old convolutions": lambda: backends.cudnn.allow_tf32,
        "old products": lambda: backends.cuda.matmul.allow_tf32,
        "old precision": torch.get_float32_matmul_precision,
    }
    return {name: read_switch(getter) for name, getter in getters.items()}


def read_switch(getter: Callable[[], object]) -> str:
    try:
        return str(getter())
    except RuntimeError as error:
        return str(error)


def rounded() -> tuple[bool, bool]:
    """Return whether CUDA's convolutions and products would round, as the operators themselves ask."""
    backends: Any = torch.backends
    operators = (backends.cudnn.conv, backends.cuda.matmul)
    return operators[0].fp32_precision == "tf32", operators[1].fp32_precision == "tf32"


def set_by(path: str, value: str) -> Callable[[], None]:
    *parts, name = path.split(".")

    def set_it() -> None:
        holder: Any = torch.backends
        for part in parts:
            holder = getattr(holder, part)
        setattr(holder, name, value)

    return set_it


HOSTS: dict[str, Callable[[], object]] = {
    "untouched": lambda: None,
    "highest": lambda: torch.set_float32_matmul_precision("highest"),
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "old products": lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    "old convolutions": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    "all ieee": set_by("fp32_precision", "ieee"),
    "all tf32": set_by("fp32_precision", "tf32"),
    "cudnn ieee": set_by("cudnn.fp32_precision", "ieee"),
    "cudnn tf32": set_by("cudnn.fp32_precision", "tf32"),
    "convolutions ieee": set_by("cudnn.conv.fp32_precision", "ieee"),
    "convolutions tf32": set_by("cudnn.conv.fp32_precision", "tf32"),
    "products ieee": set_by("cuda.matmul.fp32_precision", "ieee"),
    "products tf32": set_by("cuda.matmul.fp32_precision", "tf32"),
    "CPU's convolutions bf16": set_by("mkldnn.conv.fp32_precision", "bf16"),
}
new_switches = pytest.mark.skipif(
    not hasattr(torch.backends.cudnn, "conv"), reason="torch has a switch for each operator from 2.9"
)


@new_switches
@pytest.mark.parametrize("precision", PRECISIONS[1:])
@pytest.mark.parametrize("host", HOSTS)
def test_factors_are_rounded_for_tf32_only_and_the_hosts_switches_are_restored(host: str, precision: str) -> None:
    HOSTS[host]()
    before = switches()

    def fail() -> None:
        with use_precision(precision, CUDA):
            assert rounded() == (precision == "tf32",) * 2
            raise KeyError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # autocast warns that there is no GPU
        with pytest.raises(KeyError):
            fail()
    assert switches() == before


@new_switches
@pytest.mark.parametrize("later", ["all ieee", "all tf32", "cudnn ieee", "cudnn tf32"])
@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_what_the_host_sets_for_all_operators_later_still_holds_for_each(precision: str, later: str) -> None:
    HOSTS[later]()
    expected = switches()
    torch.backends.fp32_precision = torch.backends.cudnn.fp32_precision = "none"
    with use_precision(precision, CUDA):
        pass
    HOSTS[later]()
    assert switches() == expected


@new_switches
@pytest.mark.parametrize("host", HOSTS)
def test_a_cpu_rounds_nothing_and_touches_no_switch_of_cuda(host: str) -> None:
    HOSTS[host]()
    before = switches()
    mkldnn: Any = torch.backends.mkldnn
    with use_precision("fp32", CPU):
        assert {mkldnn.conv.fp32_precision, mkldnn.matmul.fp32_precision} <= {"ieee", "none"}
        inside = switches()
        assert all(inside[name] == before[name] for name in before if name.startswith("cud"))
    assert switches() == before


def test_on_a_cpu_products_are_exact_although_the_host_requests_less() -> None:
    factors = torch.randn(2, 300, 300, generator=torch.Generator().manual_seed(0))
    expected = factors[0] @ factors[1]
    torch.set_float32_matmul_precision("medium")
    with use_precision("fp32", CPU):
        found = factors[0] @ factors[1]
    assert torch.equal(found, expected)


@pytest.mark.parametrize("host", ["untouched", "highest", "high", "medium", "old products", "old convolutions"])
@pytest.mark.parametrize("wanted", ["ieee", "tf32"])
def test_the_switches_of_an_older_torch_are_restored(host: str, wanted: str) -> None:
    HOSTS[host]()
    before = old_switches()
    restore = set_older_switches(wanted)
    inside = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision() != "highest"
    restore()
    assert inside == (wanted == "tf32",) * 2
    assert old_switches() == before


def old_switches() -> dict[str, str]:
    return {name: value for name, value in switches().items() if name.startswith("old")}


@new_switches
def test_threads_never_see_the_precision_of_others() -> None:
    before, wrong = switches(), []

    def compute(precision: str) -> None:
        for _ in range(200):
            with use_precision(precision, CUDA):
                for _ in range(5):
                    sleep(0)
                    wrong.extend([precision] if rounded() != (precision == "tf32",) * 2 else [])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(compute, ["fp32", "tf32", "fp32", "tf32"]))
    assert not wrong
    assert switches() == before


@new_switches
def test_threads_of_one_precision_compute_at_the_same_time() -> None:
    inside = Barrier(2)

    def compute(_: int) -> None:
        with use_precision("fp32", CUDA):
            inside.wait(timeout=60)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(compute, range(2)))
    assert rounded() == (True, False)


def enter(setting: _ProcessSetting[str], value: str, entered: Event, leave: Event) -> None:
    with setting.hold(value):
        entered.set()
        assert leave.wait(timeout=60)


def wait_until(condition: Callable[[], bool]) -> None:
    end = monotonic() + 60
    while not condition():
        assert monotonic() < end
        sleep(0.001)


def test_a_thread_that_needs_another_value_enters_although_others_keep_entering() -> None:
    setting, stop = _ProcessSetting[str](lambda _: lambda: None), Event()

    def keep_entering(_: int) -> bool:
        while not stop.is_set():
            with setting.hold("ieee"):
                sleep(0.02)
        return True

    def need_another() -> None:
        with setting.hold("tf32"):
            pass

    with ThreadPoolExecutor(4) as threads:
        others = threads.map(keep_entering, range(3))
        sleep(0.1)
        waiting = threads.submit(need_another)
        try:
            waiting.result(timeout=10)
        finally:
            stop.set()
        assert all(others)


def test_those_that_come_after_a_waiting_thread_wait_behind_it() -> None:
    setting = _ProcessSetting[str](lambda _: lambda: None)
    values = ("ieee", "tf32", "ieee")
    entered, leave = [Event() for _ in values], [Event() for _ in values]
    with ThreadPoolExecutor(len(values)) as threads:
        running = [threads.submit(enter, setting, values[0], entered[0], leave[0])]
        assert entered[0].wait(timeout=10)
        running.append(threads.submit(enter, setting, values[1], entered[1], leave[1]))
        wait_until(setting._turnstile.locked)
        running.append(threads.submit(enter, setting, values[2], entered[2], leave[2]))
        for place in range(len(values)):
            assert entered[place].wait(timeout=10)
            sleep(0.02)
            assert [each.is_set() for each in entered] == [other <= place for other in range(len(values))]
            leave[place].set()
        for each in running:
            each.result(timeout=10)


def test_a_thread_that_holds_a_value_enters_it_again_although_another_waits() -> None:
    setting = _ProcessSetting[str](lambda _: lambda: None)
    entered, leave = Event(), Event()
    leave.set()

    def nest() -> Any:
        with setting.hold("ieee"):
            waiting = threads.submit(enter, setting, "tf32", entered, leave)
            wait_until(setting._turnstile.locked)
            with setting.hold("ieee"):
                assert not entered.is_set()
            assert not entered.is_set()
        return waiting

    with ThreadPoolExecutor(2) as threads:
        threads.submit(nest).result(timeout=10).result(timeout=10)
    assert entered.is_set()


def test_nested_values_in_one_thread_are_an_error_and_keep_the_first() -> None:
    value: list[str] = []
    setting = _ProcessSetting[str](lambda wanted: value.append(wanted) or value.clear)  # type: ignore[func-returns-value]

    def nest() -> None:
        with setting.hold("ieee"):
            with pytest.raises(RuntimeError, match=r"'ieee'.*'tf32'"), setting.hold("tf32"):
                pass
            assert value == ["ieee"]
        assert not value
        with setting.hold("tf32"):
            assert value == ["tf32"]

    with ThreadPoolExecutor(1) as threads:
        threads.submit(nest).result(timeout=10)


def test_a_failure_to_restore_or_to_set_wakes_the_threads_that_wait() -> None:
    def fail() -> None:
        raise KeyError

    def change(value: str) -> Callable[[], None]:
        if value == "unknown":
            fail()
        return fail if value == "ieee" else lambda: None

    setting = _ProcessSetting[str](change)
    names = ("ieee", "unknown", "tf32")
    entered, leave = [Event() for _ in names], [Event() for _ in names]
    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(enter, setting, names[0], entered[0], leave[0])]
        assert entered[0].wait(timeout=10)
        running.append(threads.submit(enter, setting, names[1], entered[1], leave[1]))
        wait_until(setting._turnstile.locked)
        running.append(threads.submit(enter, setting, names[2], entered[2], leave[2]))
        for each in leave:
            each.set()
        for each in running[:2]:
            with pytest.raises(KeyError):
                each.result(timeout=10)
        running[2].result(timeout=10)


def test_if_a_switch_cannot_be_set_those_before_it_are_restored() -> None:
    class Fixed:
        fp32_precision = property(lambda _: "none", lambda *_: fail())

    def fail() -> None:
        raise RuntimeError("no such precision")

    everything, first = SimpleNamespace(fp32_precision="none"), SimpleNamespace(fp32_precision="none")
    with pytest.raises(RuntimeError, match="no such precision"):
        set_float32_rounding("tf32", everything, (first, Fixed()))
    assert (everything.fp32_precision, first.fp32_precision) == ("none", "none")


@new_switches
def test_a_switch_that_the_host_sets_in_the_meantime_is_kept() -> None:
    with use_precision("fp32", CUDA):
        torch.backends.cudnn.fp32_precision = "tf32"
        torch.set_default_dtype(torch.float64)
    assert torch.get_default_dtype() == torch.float64
    torch.set_default_dtype(torch.float32)
    assert torch.backends.cudnn.fp32_precision == "tf32"


def deterministic() -> tuple[bool, bool]:
    return torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark


@pytest.mark.parametrize("host", [(False, False), (False, True), (True, False)])
def test_cudnn_is_deterministic_in_fp32_on_a_gpu_and_the_hosts_choice_is_restored(
    host: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", host[0])
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", host[1])
    for device, precision, inside in ((CUDA, "fp32", (True, False)), (CUDA, "tf32", host), (CPU, "fp32", host)):
        with use_precision(precision, device):
            assert deterministic() == inside
        assert deterministic() == host


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_layers_compute_in_the_precision_and_only_inside(precision: str, dtype: torch.dtype) -> None:
    layer, image = nn.Conv2d(3, 4, 3), torch.ones(1, 3, 8, 8)
    with torch.inference_mode(), use_precision(precision, CPU):
        assert layer(image).dtype == dtype
    assert layer(image).dtype == torch.float32


# Heads


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, features: torch.Tensor) -> Any:
        found = self.layer(features)
        return [found, found], (found.argmax(1), found.double(), None), found

    def predict_by_feat(self, features: torch.Tensor, *, weight: torch.Tensor) -> torch.Tensor:
        assert not torch.is_autocast_enabled("cpu")
        return features @ weight


@pytest.mark.parametrize("kind", ["SingleRoIExtractor", "GenericRoIExtractor"])
def test_regions_beyond_pixel_512_are_pooled_at_their_own_corners(kind: str) -> None:
    layer = {"type": "RoIAlign", "output_size": 3, "sampling_ratio": 0}
    settings = {"type": kind, "roi_layer": layer, "out_channels": 4, "featmap_strides": [4, 8]}
    extractor = MODELS.build(settings)
    features = [torch.randn(1, 4, 8, size, generator=torch.Generator().manual_seed(0)) for size in (320, 160)]
    rois = torch.tensor([[0, 1001.3, 2.1, 1017.9, 20.7], [0, 513.2, 1.3, 890.6, 31.9]])
    expected = extractor([each.bfloat16().float() for each in features], rois)
    force_float32_boxes(extractor, CPU)
    with use_precision("bf16", CPU):
        found = extractor([each.bfloat16() for each in features], rois)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_heads_return_float32_and_select_boxes_in_it() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Head())
    force_float32_boxes(model, CPU)
    with torch.inference_mode(), use_precision("bf16", CPU):
        assert model[0](torch.ones(2, 4)).dtype == torch.bfloat16
        (one, other), (index, double, nothing), found = model(torch.ones(2, 4))
        assert one.dtype == other.dtype == found.dtype == torch.float32
        assert (index.dtype, double.dtype, nothing) == (torch.int64, torch.float64, None)
        assert model[1].predict_by_feat(found, weight=found.T).dtype == torch.float32
        assert torch.is_autocast_enabled("cpu")


# Whole models


def build(name: str) -> tuple[Any, Any]:
    """Return a model with weights that find boxes in the street, and its pipeline."""
    has_proposals = any(kind in name for kind in ("faster", "cascade"))
    config = load_config(config_path(name), SMALL | (FEW if has_proposals else {}))
    model, pipeline = build_model(config, name=name), build_pipeline(config, name=name)
    init_calibrated_random_weights(model, preprocess_batch(pipeline, [read_image(HERE / "street.png")]))
    return model, pipeline


def near(expected: Detections, found: Detections, overlap: float) -> float:
    """Return the fraction of the expected boxes that a box of their class overlaps."""
    tops = np.maximum(expected.boxes[:, None, :2], found.boxes[None, :, :2])
    ends = np.minimum(expected.boxes[:, None, 2:], found.boxes[None, :, 2:])
    both = (ends - tops).clip(0).prod(2)
    one, other = ((each.boxes[:, 2:] - each.boxes[:, :2]).prod(1) for each in (expected, found))
    same = expected.classes[:, None] == found.classes[None]
    return float(((both / (one[:, None] + other[None] - both) >= overlap) & same).any(1).mean())


def watch_box_dtypes(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """Collect the types of everything that is given to RoIAlign and NMS."""
    seen: list[torch.dtype] = []
    for part in model.modules():
        if isinstance(part, RoIAlign):
            part.register_forward_pre_hook(lambda _part, inputs: seen.extend(each.dtype for each in inputs))
    suppress = NmsOps.nms

    def watched(ops: NmsOps, boxes: torch.Tensor, scores: torch.Tensor, **settings: Any) -> torch.Tensor:
        seen.extend((boxes.dtype, scores.dtype))
        return suppress(ops, boxes, scores, **settings)

    monkeypatch.setattr(NmsOps, "nms", watched)
    return seen


@pytest.mark.parametrize("name", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_FAMILIES)])
@pytest.mark.parametrize("precision", HALF_DTYPES)
def test_a_model_of_every_family_runs_in_16_bits_with_boxes_in_float32(
    name: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = read_image(HERE / "street.png")
    model, pipeline = build(name)
    exact = MmdetDetector(model, pipeline, CPU, name=name, customised=False).detect(image)
    short = MmdetDetector(model, pipeline, CPU, name=name, customised=False, precision=precision)
    assert short.facts.precision == precision
    seen: set[torch.dtype] = set()
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda _part, _inputs, output: seen.add(output.dtype))
    boxes = watch_box_dtypes(model, monkeypatch)
    found = short.detect(image)
    assert HALF_DTYPES[precision] in seen
    assert set(boxes) == {torch.float32}
    assert found.boxes.dtype == np.float32
    assert len(found) > 0.9 * len(exact) > 0
    scores = torch.from_numpy(found.scores)
    assert not torch.equal(scores.to(HALF_DTYPES[precision]).float(), scores)
    assert near(exact, found, 0.5) > 0.6


# Ops of the CPU


def features_like(*shape: int) -> torch.Tensor:
    chance = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=chance).bfloat16().to(memory_format=torch.channels_last)


def test_regions_are_pooled_from_16_bits_as_from_float32() -> None:
    features, rois = features_like(1, 8, 20, 20), torch.tensor([[0, 1.0, 2.0, 15.0, 18.0], [0, 3.3, 3.3, 5.0, 9.9]])
    with torch.inference_mode():
        expected = roi_align(features.float(), rois, (7, 7), 1.0, 0, "avg", True)
        with use_precision("bf16", CPU):
            found = roi_align(features, rois, (7, 7), 1.0, 0, "avg", True)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())


@pytest.mark.parametrize("masked", [False, True])
def test_displaced_points_are_convolved_from_16_bits_as_from_float32(masked: bool) -> None:
    features, weight = features_like(2, 8, 12, 12), features_like(8, 8, 3, 3).float()
    offset, mask = features_like(2, 18, 12, 12), features_like(2, 9, 12, 12)

    def convolve(*tensors: torch.Tensor) -> torch.Tensor:
        if masked:
            return modulated_deform_conv2d(*tensors, mask, weight, None, 1, 1)
        return deform_conv2d(*tensors, weight, 1, 1)

    with torch.inference_mode():
        expected = convolve(features.float(), offset.float())
        with use_precision("bf16", CPU):
            found = convolve(features, offset)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())


def test_large_layers_leave_16_bits_to_torch() -> None:
    linear = nn.Linear(1100, 1000).eval()
    with torch.inference_mode():
        forward = onednn_forward(linear)
        assert forward is not None
        with use_precision("bf16", CPU):
            assert forward(torch.ones(5, 1100)).dtype == torch.bfloat16
        assert forward(torch.ones(5, 1100)).dtype == torch.float32
