"""The precision of a network: float32, or less inside the network alone.

Whatever the layers compute in, heads return float32, and boxes are decoded, chosen and suppressed in float32.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from bdd100k_zoo.backends.protocol import PRECISIONS, requested_precision
from bdd100k_zoo.errors import PrecisionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Value = TypeVar("Value")

HALF_DTYPES: Mapping[str, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}
"""The precisions of 16 bits: in the network alone, by autocast."""

AMPERE = (8, 0)
"""The first compute capability of NVIDIA's GPUs with TF32 and bf16."""


def resolve_precision(wanted: str, device: torch.device) -> str:
    """Return the precision to use on a device for a wanted one; see ``protocol.PRECISIONS``.

    Raises:
        PrecisionError: it is none of these, or the device does not support it.
    """
    precision = requested_precision(wanted)
    problem = "" if precision in PRECISIONS else f"expected {', '.join(PRECISIONS)}"
    if problem := problem or _problem(precision, device):
        raise PrecisionError(precision, str(device), problem)
    return precision


def _problem(precision: str, device: torch.device) -> str:
    """Return why a device does not support a precision; empty where it does."""
    if device.type == "cpu":
        return "it is an arithmetic of GPUs" if precision == "tf32" else _test_layers(precision, device)
    if torch.version.hip:
        return "torch has it for NVIDIA's GPUs" if precision == "tf32" else ""
    found = torch.cuda.get_device_capability(device)
    if precision in ("tf32", "bf16") and found < AMPERE:
        return "it takes compute capability {}.{}, and this GPU has {}.{}".format(*AMPERE, *found)
    return ""


def _test_layers(precision: str, device: torch.device) -> str:
    """Run some layers in a precision, and return the error: which of them a CPU supports depends on torch."""
    try:
        with torch.inference_mode(), use_precision(precision, device):
            features = nn.Conv2d(3, 8, 3).eval()(torch.zeros(1, 3, 8, 8))
            nn.functional.interpolate(nn.Linear(6, 6)(features).sigmoid(), scale_factor=2)
    except RuntimeError as error:
        return f"this torch ({torch.__version__}) cannot: {error}"
    return ""


@contextmanager
def use_precision(precision: str, device: torch.device) -> Iterator[None]:
    """Compute in a precision on a device, inside only, whatever torch is set to outside.

    Float32 factors are rounded to 19 bits (TF32) for ``tf32`` alone. Includes ``torch_defaults``.
    """
    short = HALF_DTYPES.get(precision)
    with ExitStack() as stack:
        stack.enter_context(torch_defaults())
        for setting in _ROUNDING_ON_CUDA if device.type == "cuda" else _ROUNDING_ON_CPU:
            stack.enter_context(setting.held("tf32" if precision == "tf32" else "ieee"))
        if short:
            stack.enter_context(torch.autocast(device.type, short))
        yield


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Use torch's own defaults, inside only, in a program that may have changed them.

    New tensors are float32 and on the CPU by default, and autocast is off. The default type belongs to the process:
    where it is another, it is float32 for all threads until the last detector has finished.
    """
    with ExitStack() as stack:
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(_default_type.held(torch.float32))
        yield


class _ProcessSetting(Generic[Value]):
    """A setting of the whole process that several threads need at the same time, each at a value.

    The first thread sets it, the last one restores it; a thread that needs another value waits until then. Threads
    enter in the order in which they came, so that none waits for ever; those next to each other with the same value,
    and a thread that already holds it, enter together. A thread that holds the setting must therefore not wait for
    another thread to enter: a third one may be waiting before that.
    """

    def __init__(self, change: Callable[[Value], Callable[[], object]]) -> None:
        """Take a function that sets a value, and returns a function that restores the earlier one."""
        self._change = change
        self._free = threading.Condition()
        self._depths: dict[int, int] = {}  # how often each thread that holds it has entered
        self._waiting: dict[int, Value] = {}  # the values that other threads need, in the order in which they came
        self._value: Value | None = None
        self._restore: Callable[[], object] = lambda: None

    @contextmanager
    def held(self, value: Value) -> Iterator[None]:
        """Keep the setting at a value.

        Raises:
            RuntimeError: this thread already holds it at another value, and would wait for itself.
        """
        thread = threading.get_ident()
        with self._free:
            if thread not in self._depths:
                self._enter(thread, value)
            elif self._value != value:
                raise RuntimeError(f"expected no other value inside {self._value!r} in one thread, found {value!r}")
            self._depths[thread] = self._depths.get(thread, 0) + 1
        try:
            yield
        finally:
            with self._free:
                self._leave(thread)

    def _enter(self, thread: int, value: Value) -> None:
        self._waiting[thread] = value
        try:
            self._free.wait_for(lambda: self._may_enter(thread, value))
            if not self._depths:
                self._value, self._restore = value, self._change(value)
        finally:
            del self._waiting[thread]
            self._free.notify_all()  # those behind this one may be able to enter now

    def _may_enter(self, thread: int, value: Value) -> bool:
        earlier = takewhile(lambda waiting: waiting[0] != thread, self._waiting.items())
        return (not self._depths or self._value == value) and all(wanted == value for _, wanted in earlier)

    def _leave(self, thread: int) -> None:
        self._depths[thread] -= 1
        if self._depths[thread]:
            return
        del self._depths[thread]
        try:
            if not self._depths:
                self._restore()
        finally:
            self._free.notify_all()


def _set_default_type(wanted: torch.dtype) -> Callable[[], None]:
    before = torch.get_default_dtype()
    if before != wanted:
        torch.set_default_dtype(wanted)

    def restore() -> None:
        if torch.get_default_dtype() == wanted:  # else another thread has changed it meanwhile
            torch.set_default_dtype(before)

    return restore


def set_float32_rounding(wanted: str, everything: Any, operators: Sequence[Any]) -> Callable[[], None]:
    """Set how operators round the float32 factors of their products, and return a function that restores it.

    Nothing changes where all operators round as wanted. An operator that was never set follows the setting for all
    operators of its backend. Once set itself it no longer does, and torch cannot undo that for CUDA's convolutions; so
    the setting for all operators is changed first, and then only the operators that do not follow it.

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
                continue  # another thread has changed it meanwhile
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
    # Some CPUs round as well, after set_float32_matmul_precision("medium").
    mkldnn: Any = torch.backends.mkldnn
    return set_float32_rounding(wanted, None, (mkldnn.conv, mkldnn.matmul))


def set_matmul_rounding(wanted: str) -> Callable[[], None]:
    """Do as ``set_float32_rounding`` for matrix products, with the one switch that torch before 2.9 has for them."""
    before = torch.get_float32_matmul_precision()
    if (before != "highest") != (wanted == "tf32"):
        torch.set_float32_matmul_precision("high" if wanted == "tf32" else "highest")
    return lambda: torch.set_float32_matmul_precision(before)


def set_conv_rounding(wanted: str) -> Callable[[], None]:
    """Do as ``set_float32_rounding`` for CUDA's convolutions, with the switch of torch before 2.9."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = wanted == "tf32"

    def restore() -> None:
        torch.backends.cudnn.allow_tf32 = before

    return restore


_default_type = _ProcessSetting(_set_default_type)
if hasattr(torch.backends.cudnn, "conv"):  # torch 2.9 and later: a switch for each operator
    _ROUNDING_ON_CPU: tuple[_ProcessSetting[str], ...] = (_ProcessSetting(_round_on_cpu),)
    _ROUNDING_ON_CUDA: tuple[_ProcessSetting[str], ...] = (_ProcessSetting(_round_on_cuda),)
else:
    _ROUNDING_ON_CPU = (_ProcessSetting(set_matmul_rounding),)
    _ROUNDING_ON_CUDA = (*_ROUNDING_ON_CPU, _ProcessSetting(set_conv_rounding))


def force_float32_heads(model: nn.Module, device: torch.device) -> None:
    """Make the heads of a model return float32 and choose boxes in float32, whatever the rest computes in."""
    head: Any
    for head in model.modules():
        if hasattr(head, "predict_by_feat"):
            head.register_forward_hook(lambda _head, _inputs, outputs: _in_float32(outputs))
            head.predict_by_feat = _without_autocast(head.predict_by_feat, device)


def _in_float32(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.dtype in HALF_DTYPES.values() else outputs
    return type(outputs)(map(_in_float32, outputs)) if isinstance(outputs, (list, tuple)) else outputs


def _without_autocast(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    def run(*arguments: Any, **named: Any) -> Any:
        with torch.autocast(device.type, enabled=False):
            return function(*arguments, **named)

    return run
