"""The precision of a network: float32, or a lower one inside the network.

Whatever the layers compute in, heads return float32, and boxes are decoded, selected and suppressed in float32.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from bdd100k_zoo.backends.protocol import PRECISIONS, requested_precision
from bdd100k_zoo.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Value = TypeVar("Value")

HALF_DTYPES: Mapping[str, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}
"""The precisions of 16 bits, which autocast uses inside the network only."""

AMPERE = (8, 0)
"""The first compute capability of NVIDIA's GPUs with TF32 and bf16."""


def resolve_precision(wanted: str, device: torch.device) -> str:
    """Return the precision to use on a device for a requested one; see ``protocol.PRECISIONS``.

    Raises:
        DeviceError: it is none of these, or the device does not support it.
    """
    precision = requested_precision(wanted)
    if precision not in PRECISIONS:
        raise unsupported_precision(precision, device, f"expected {', '.join(PRECISIONS)}")
    if problem := _find_problem(precision, device):
        raise unsupported_precision(precision, device, problem)
    return precision


def unsupported_precision(precision: str, device: torch.device, reason: str) -> DeviceError:
    """Return the error for a precision that a device does not support."""
    hint = "--precision fp32, the default, works everywhere"
    return DeviceError(str(device), f"it does not support {precision}: {reason}", hint=hint)


def _find_problem(precision: str, device: torch.device) -> str:
    """Return why a device does not support a precision; empty if it does."""
    if device.type == "cpu":
        return "only GPUs compute in TF32" if precision == "tf32" else _test_layers(precision, device)
    if torch.version.hip:
        return "torch supports it on NVIDIA GPUs only" if precision == "tf32" else ""
    found = torch.cuda.get_device_capability(device)
    if precision in ("tf32", "bf16") and found < AMPERE:
        return "expected compute capability {}.{} or higher, found {}.{}".format(*AMPERE, *found)
    return ""


def _test_layers(precision: str, device: torch.device) -> str:
    """Run some layers in a precision, and return the error: what a CPU supports depends on torch's version."""
    try:
        with torch.inference_mode(), use_precision(precision, device):
            features = nn.Conv2d(3, 8, 3).eval()(torch.zeros(1, 3, 8, 8))
            nn.functional.interpolate(nn.Linear(6, 6)(features).sigmoid(), scale_factor=2)
    except RuntimeError as error:
        return f"torch {torch.__version__} fails with {error}"
    return ""


@contextmanager
def use_precision(precision: str, device: torch.device) -> Iterator[None]:
    """Compute in a precision on a device inside the block, whatever torch is configured to outside.

    Float32 factors are rounded to 19 bits (TF32) for ``tf32`` only. In ``fp32`` CUDA's convolutions use deterministic
    algorithms, chosen without measuring. Includes ``torch_defaults``.
    """
    with ExitStack() as stack:
        stack.enter_context(torch_defaults())
        stack.enter_context(_ROUNDING[device.type].hold("tf32" if precision == "tf32" else "ieee"))
        if precision == "fp32" and device.type == "cuda":
            stack.enter_context(_deterministic_cudnn.hold(True))
        if precision in HALF_DTYPES:
            stack.enter_context(torch.autocast(device.type, HALF_DTYPES[precision]))
        yield


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Use torch's own defaults inside the block, in a program that may have changed them.

    New tensors are float32 and on the CPU by default, and autocast is off. The default type belongs to the process:
    if the program uses another, it is float32 for all threads until the last detector has finished.
    """
    with ExitStack() as stack:
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(_default_type.hold(torch.float32))
        yield


class _ProcessSetting(Generic[Value]):
    """A setting of the whole process that several threads need at the same time.

    The first thread sets it and the last one restores it. Threads that need the same value enter together. A thread
    that needs another value waits until they have left, and all that arrive later wait behind it, so that it cannot
    wait forever. A thread that holds the setting must therefore not wait for another thread to enter.
    """

    def __init__(self, change: Callable[[Value], Callable[[], object]]) -> None:
        """``change`` sets a value, and returns a function that restores the earlier one."""
        self._change = change
        self._turnstile = threading.Lock()  # held by the thread that enters next
        self._left = threading.Condition()
        self._threads: set[int] = set()  # those that have entered
        self._value: Value | None = None
        self._restore: Callable[[], object] = lambda: None

    @contextmanager
    def hold(self, value: Value) -> Iterator[None]:
        """Keep the setting at a value inside the block.

        Raises:
            RuntimeError: this thread already holds it at another value, and would wait for itself.
        """
        thread = threading.get_ident()
        if thread in self._threads:
            if self._value != value:
                raise RuntimeError(f"expected no other value inside {self._value!r} in one thread, found {value!r}")
            yield
            return
        with self._turnstile, self._left:
            self._left.wait_for(lambda: not self._threads or self._value == value)
            if not self._threads:
                self._restore, self._value = self._change(value), value
            self._threads.add(thread)
        try:
            yield
        finally:
            with self._left:
                self._threads.remove(thread)
                self._left.notify_all()
                if not self._threads:
                    self._restore()


def _set_default_type(wanted: torch.dtype) -> Callable[[], None]:
    before = torch.get_default_dtype()
    if before != wanted:
        torch.set_default_dtype(wanted)

    def restore() -> None:
        if torch.get_default_dtype() == wanted:  # else another thread has changed it in the meantime
            torch.set_default_dtype(before)

    return restore


def set_float32_rounding(wanted: str, everything: Any, operators: Sequence[Any]) -> Callable[[], None]:
    """Set how operators round the float32 factors of their products, and return a function that restores it.

    Nothing changes if all operators already round as requested. An operator that was never set follows the setting for
    all operators of its backend. Once set itself it no longer does, and torch cannot undo that for CUDA's convolutions.
    So the setting for all operators is changed first, and then only the operators that do not follow it.

    Args:
        wanted: ``tf32`` or ``ieee``.
        everything: the object of ``torch.backends`` whose ``fp32_precision`` holds for all operators; None for none.
        operators: the objects whose ``fp32_precision`` holds for one.
    """
    changed: list[tuple[Any, str]] = []

    def set_to_wanted(switch: Any) -> None:
        changed.append((switch, switch.fp32_precision))
        switch.fp32_precision = wanted

    def restore() -> None:
        for switch, before in reversed(changed):
            if switch.fp32_precision != wanted:
                continue  # another thread has changed it in the meantime
            switch.fp32_precision = "none"  # follows the setting for all operators
            if switch.fp32_precision != before:
                switch.fp32_precision = before

    def differs(switch: Any) -> bool:
        return bool(switch.fp32_precision.replace("none", "ieee") != wanted)

    try:
        if everything and any(map(differs, operators)):
            set_to_wanted(everything)
        for operator in filter(differs, operators):
            set_to_wanted(operator)
    except BaseException:
        restore()
        raise
    return restore


def _round_on_cuda(wanted: str) -> Callable[[], None]:
    cudnn: Any = torch.backends.cudnn
    return set_float32_rounding(wanted, cudnn, (cudnn.conv, torch.backends.cuda.matmul))


def _round_on_cpu(wanted: str) -> Callable[[], None]:
    # After set_float32_matmul_precision("medium") some CPUs round as well.
    mkldnn: Any = torch.backends.mkldnn
    return set_float32_rounding(wanted, None, (mkldnn.conv, mkldnn.matmul))


def set_older_switches(wanted: str) -> Callable[[], None]:
    """Do the same with the switches of torch before 2.9: one for matrix products, one for CUDA's convolutions."""
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    if (products != "highest") != (wanted == "tf32"):
        torch.set_float32_matmul_precision("high" if wanted == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = wanted == "tf32"

    def restore() -> None:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions

    return restore


def _set_deterministic_cudnn(wanted: bool) -> Callable[[], None]:
    """Set whether cuDNN uses deterministic algorithms only. ``benchmark`` would choose among them by their times."""
    cudnn: Any = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    inside = wanted, cudnn.benchmark and not wanted
    cudnn.deterministic, cudnn.benchmark = inside

    def restore() -> None:
        if (cudnn.deterministic, cudnn.benchmark) == inside:  # else another thread has changed them in the meantime
            cudnn.deterministic, cudnn.benchmark = before

    return restore


_default_type = _ProcessSetting(_set_default_type)
_deterministic_cudnn = _ProcessSetting(_set_deterministic_cudnn)
_ROUNDING: dict[str, _ProcessSetting[str]]
"""By the type of device."""
if hasattr(torch.backends.cudnn, "conv"):  # torch 2.9 and later: a switch for each operator
    _ROUNDING = {"cpu": _ProcessSetting(_round_on_cpu), "cuda": _ProcessSetting(_round_on_cuda)}
else:
    _ROUNDING = dict.fromkeys(("cpu", "cuda"), _ProcessSetting(set_older_switches))


def force_float32_boxes(model: nn.Module, device: torch.device) -> None:
    """Make a model compute boxes in float32, whatever its other layers compute in, in training as well.

    Heads return float32 and select boxes in it. Extractors of regions get float32 features: they convert the regions to
    the features' type, and in bfloat16 corners beyond pixel 512 are multiples of 4.
    """
    part: Any
    for part in model.modules():
        if hasattr(part, "predict_by_feat"):
            part.register_forward_hook(lambda _head, _inputs, outputs: _in_float32(outputs))
            part.predict_by_feat = _without_autocast(part.predict_by_feat, device)
        if hasattr(part, "roi_layers"):
            part.register_forward_pre_hook(lambda _part, inputs: _in_float32(inputs))


def _in_float32(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.dtype in HALF_DTYPES.values() else outputs
    return type(outputs)(map(_in_float32, outputs)) if isinstance(outputs, (list, tuple)) else outputs


def _without_autocast(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    @wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        with torch.autocast(device.type, enabled=False):
            return function(*arguments, **named)

    return run
