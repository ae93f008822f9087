"""The arithmetic of a network: exact float32, or less inside the network alone.

Whatever the layers compute in, heads give float32, and boxes are decoded, chosen and suppressed in it.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bdd100k_zoo.errors import PrecisionError
from bdd100k_zoo.inference.protocol import PRECISIONS, meant_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SHORT: Mapping[str, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}
"""The precisions of 16 bits."""

AMPERE = (8, 0)
"""The first compute capability of NVIDIA's GPUs that has tf32 and bf16."""


def resolve_precision(wanted: str, device: torch.device) -> str:
    """Find the precision that is wanted (see ``inference.protocol.PRECISIONS``) on a device.

    Raises:
        PrecisionError: it is none of these, or the device does not have it.
    """
    precision = meant_by(wanted)
    problem = "" if precision in PRECISIONS else f"expected {', '.join(PRECISIONS)}"
    if problem := problem or _problem(precision, device):
        raise PrecisionError(precision, str(device), problem)
    return precision


def _problem(precision: str, device: torch.device) -> str:
    """Say why a device does not have a precision; nothing where it has."""
    if device.type == "cpu":
        return "it is an arithmetic of GPUs" if precision == "tf32" else _untried(precision, device)
    if torch.version.hip:
        return "torch has it for NVIDIA's GPUs" if precision == "tf32" else ""
    found = torch.cuda.get_device_capability(device)
    if precision in ("tf32", "bf16") and found < AMPERE:
        return "it takes compute capability {}.{}, and this GPU has {}.{}".format(*AMPERE, *found)
    return ""


def _untried(precision: str, device: torch.device) -> str:
    """Try layers in a precision; which of them a CPU has depends on torch."""
    try:
        with torch.inference_mode(), arithmetic(precision, device):
            features = nn.Conv2d(3, 8, 3).eval()(torch.zeros(1, 3, 8, 8))
            nn.functional.interpolate(nn.Linear(6, 6)(features).sigmoid(), scale_factor=2)
    except RuntimeError as error:
        return f"this torch ({torch.__version__}) cannot: {error}"
    return ""


@contextmanager
def arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """Compute in a precision, inside only. Float32 factors are rounded to 19 bits (TF32) for ``tf32`` alone."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = precision == "tf32"
    short = SHORT.get(precision)
    try:
        with torch.autocast(device.type, short) if short else nullcontext():
            yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before


def let_heads_give_float32(model: nn.Module, device: torch.device) -> None:
    """Let the heads of a model of mmdet give float32 and choose boxes in it, whatever is computed in around them."""
    head: Any
    for head in model.modules():
        if hasattr(head, "predict_by_feat"):
            head.register_forward_hook(lambda _head, _inputs, outputs: _in_float32(outputs))
            head.predict_by_feat = _in_full(head.predict_by_feat, device)


def _in_float32(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.dtype in SHORT.values() else outputs
    return type(outputs)(map(_in_float32, outputs)) if isinstance(outputs, (list, tuple)) else outputs


def _in_full(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    def without_autocast(*arguments: Any, **named: Any) -> Any:
        with torch.autocast(device.type, enabled=False):
            return function(*arguments, **named)

    return without_autocast
