"""Weights that depend on nothing but names and shapes: the same bits on every stack.

Nothing is run to draw them, and they have learnt nothing. How a last layer is scaled was measured once, so that boxes
have all classes, many sizes and scores that differ (``outputs.json``, by ``benchmarks/spread_outputs.py``).
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bdd100k_zoo.errors import RecordError

if TYPE_CHECKING:
    import numpy.typing as npt

    from bdd100k_zoo.registry import Model

OUTPUTS = Path(__file__).with_name("outputs.json")

CLASSIFIERS = ("fc_cls", "retina_cls", "conv_cls", "rpn_cls")
REGRESSORS = ("fc_reg", "retina_reg", "conv_reg", "rpn_reg")


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is done to a last layer that was drawn."""

    factor: float
    """Its weights, and its bias where no other is given, are multiplied by it."""
    bias: tuple[float, ...] | None = None


def architecture_of(model: Model) -> str:
    """Name what models share that differ in nothing but their training: such models get the same weights."""
    return f"{model.family} {model.backbone}"


def outputs_of(model: Model) -> dict[str, Output]:
    """Read how the last layers of a model are scaled, by their names; raises RecordError where that is not known."""
    known = msgspec.json.decode(OUTPUTS.read_bytes(), type=dict[str, dict[str, Output]])
    if architecture_of(model) not in known:
        raise RecordError(OUTPUTS, f"lists no {architecture_of(model)}: its last layers have not been measured")
    return known[architecture_of(model)]


class DrawnWeights:
    """Draws a model's entries one by one, each from its own name; remembers what it drew."""

    def __init__(self, outputs: dict[str, Output]) -> None:
        """Take how last layers are scaled, as ``outputs_of`` gives it."""
        self._outputs = outputs
        self._digests: dict[str, str] = {}

    def __call__(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Draw the entry of that name in a state dict."""
        drawn = np.asarray(_draw(name, shape), np.float32).reshape(shape)
        layer, _, kind = name.rpartition(".")
        if output := self._outputs.get(layer):
            drawn = _scaled(drawn, kind, output)
        self._digests[name] = hashlib.sha256(drawn.tobytes()).hexdigest()
        return drawn

    @property
    def sha256(self) -> str:
        """The digest of everything that was drawn so far, whatever the order."""
        return hashlib.sha256(msgspec.json.encode(self._digests, order="sorted")).hexdigest()


def _scaled(drawn: npt.NDArray[np.float32], kind: str, output: Output) -> npt.NDArray[np.float32]:
    if kind == "bias" and output.bias is not None:
        return np.array(output.bias, np.float32)
    return drawn * np.float32(output.factor)


def _draw(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    if "init_proposal_bboxes" in name:  # centre and size, as parts of the image
        return 0.2 + 0.5 * generator.random(shape)
    if name.endswith("running_var"):
        return 1 + 0.2 * generator.random(shape)
    normal = generator.standard_normal(shape)
    if name.endswith("running_mean"):
        return 0.05 * normal
    if len(shape) > 1:
        return _spread(name, shape) * normal
    return 1 + 0.05 * normal if name.endswith(("weight", "scale")) else 0.02 * normal


def _spread(name: str, shape: tuple[int, ...]) -> float:
    """He's initialisation, wider or narrower by the kind of layer. The order of the products decides the last bit."""
    spread = float((2.0 / int(np.prod(shape[1:]))) ** 0.5)
    kinds = (
        (0.5, "conv_offset" in name),
        (3.0, any(layer in name for layer in CLASSIFIERS)),
        (0.3, any(layer in name for layer in REGRESSORS)),
        (0.4, "backbone" in name and "conv3" in name),
        # Attention: wide logits make a choice of its softmax, and last bits decide between stacks and threads.
        (0.1, ".theta." in name or ".phi." in name),
    )
    for factor, applies in kinds:
        spread *= factor if applies else 1.0
    return spread
