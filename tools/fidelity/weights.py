"""Weights that depend only on names and shapes: the same bits on every stack.

They are not trained, and generated without running a model. The scaling of the last layers was measured once, so that
boxes have all classes, many sizes and different scores (``outputs.json``, by ``spread_outputs.py``).
"""

from __future__ import annotations

import hashlib
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bdd100k_zoo.errors import InvalidFileError

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from bdd100k_zoo.backends.selection import Backend
    from bdd100k_zoo.registry import Model

OUTPUTS = Path(__file__).with_name("outputs.json")

TRAINING_WORDS = re.compile(r"_(\dx|fp16|strong|rsb)(?=_|$)")
"""The parts of models' names that state how they were trained."""

CLASSIFIERS = ("fc_cls", "retina_cls", "conv_cls", "rpn_cls", "atss_cls")
REGRESSORS = ("fc_reg", "retina_reg", "conv_reg", "rpn_reg", "atss_reg")


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """The scaling of the random values of a last layer."""

    factor: float
    """The layer's weights are multiplied by it, and so is its bias if ``bias`` is None."""
    bias: tuple[float, ...] | None = None


def architecture_of(model: Model) -> str:
    """Return the name of an architecture: models that differ only in their training get the same weights."""
    return TRAINING_WORDS.sub("", model.name)


def outputs_of(model: Model) -> dict[str, Output]:
    """Read the scaling of a model's last layers, by name; raises InvalidFileError if it is unknown."""
    known = msgspec.json.decode(OUTPUTS.read_bytes(), type=dict[str, dict[str, Output]])
    if architecture_of(model) not in known:
        raise InvalidFileError(
            OUTPUTS, f"does not list {architecture_of(model)}", "run `python -m tools.fidelity.spread_outputs`"
        )
    return known[architecture_of(model)]


class SyntheticWeights:
    """Generates a model's entries one by one, each from its name, and records their digests."""

    def __init__(self, outputs: dict[str, Output]) -> None:
        """``outputs`` is the scaling of the last layers, as ``outputs_of`` returns it."""
        self._outputs = outputs
        self._digests: dict[str, str] = {}

    def __call__(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Generate the entry of that name in a state dict."""
        values = np.asarray(_generate(name, shape), np.float32).reshape(shape)
        layer, _, kind = name.rpartition(".")
        if output := self._outputs.get(layer):
            values = _scaled(values, kind, output)
        self._digests[name] = hashlib.sha256(values.tobytes()).hexdigest()
        return values

    @property
    def sha256(self) -> str:
        """The digest of all entries that were generated so far, in any order."""
        return hashlib.sha256(msgspec.json.encode(self._digests, order="sorted")).hexdigest()


def save_weights(backend: Backend, config_path: Path, path: Path, generate: SyntheticWeights) -> None:
    """Write a checkpoint with the shapes of a backend's model; counters of batches are zero.

    Raises:
        MissingPackageError, ConfigError: the model cannot be built.
        StorageError: the file cannot be written.
    """
    backend.import_backend()
    from bdd100k_zoo.backends.common.checkpoint import save_random_state_dict

    like = backend.build_meta_model(config_path, str(config_path)).state_dict()
    save_random_state_dict({name: _entry(name, tensor, generate) for name, tensor in like.items()}, path)


def _entry(name: str, like: Tensor, generate: SyntheticWeights) -> Tensor:
    import torch

    if name.endswith("relative_position_index"):
        return torch.from_numpy(relative_positions(round(like.shape[0] ** 0.5)))
    if not like.is_floating_point():
        return torch.zeros(like.shape, dtype=like.dtype)
    return torch.from_numpy(generate(name, tuple(like.shape)))


def relative_positions(window: int) -> npt.NDArray[np.int64]:
    """Return the row of a table of position biases for each pair of places in a window of Swin Transformer.

    Returns:
        int64 [window², window²], from 0 to (2 window − 1)² − 1, in the order of mmdet.
    """
    rows, columns = np.divmod(np.arange(window**2), window)
    below, right = (places[:, None] - places[None, :] + window - 1 for places in (rows, columns))
    index: npt.NDArray[np.int64] = below * (2 * window - 1) + right
    return index


def _scaled(values: npt.NDArray[np.float32], kind: str, output: Output) -> npt.NDArray[np.float32]:
    if kind == "bias" and output.bias is not None:
        return np.array(output.bias, np.float32)
    return values * np.float32(output.factor)


def _generate(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    if "init_proposal_bboxes" in name:  # centre and size, as parts of the image
        return 0.2 + 0.5 * generator.random(shape)
    if name.endswith("running_var"):
        return 1 + 0.2 * generator.random(shape)
    normal = generator.standard_normal(shape)
    if name.endswith(".gamma"):  # the factors of ConvNeXt's residual branches
        return 0.3 + 0.05 * normal
    if name.endswith("running_mean"):
        return 0.05 * normal
    if len(shape) > 1:
        return _spread(name, shape) * normal
    return 1 + 0.05 * normal if name.endswith(("weight", "scale")) else 0.02 * normal


def _spread(name: str, shape: tuple[int, ...]) -> float:
    """Return He's deviation, changed by the kind of layer. The order of the products determines the last bit."""
    spread = float((2.0 / int(np.prod(shape[1:]))) ** 0.5)
    kinds = (
        (0.5, "conv_offset" in name),
        (3.0, any(layer in name for layer in CLASSIFIERS)),
        (0.3, any(layer in name for layer in REGRESSORS)),
        (0.4, "backbone" in name and "conv3" in name),
        # Attention: with large logits its softmax selects one value, which depends on the last bits.
        (0.1, ".theta." in name or ".phi." in name),
    )
    for factor, applies in kinds:
        spread *= factor if applies else 1.0
    return spread
