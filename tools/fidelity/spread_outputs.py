"""Measure how the last layers of models with synthetic weights must be scaled, and write it to outputs.json.

    python -m tools.fidelity.spread_outputs [MODEL…]

A layer's outputs get the deviation below on a part of a synthetic frame, and each of their channels the mean below. The
file is part of the weights: if its numbers change, the results in tests/data/classic must be frozen again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bdd100k_zoo.backends import mmdet3
from bdd100k_zoo.backends.selection import MMDET3
from bdd100k_zoo.registry import load_zoo
from tools.fidelity.freeze import all_images, architectures
from tools.fidelity.weights import OUTPUTS, Output, SyntheticWeights, architecture_of, save_weights

if TYPE_CHECKING:
    from bdd100k_zoo.registry import Model

SPREADS = {
    "rpn_cls": (1.0, -2.0),
    "rpn_reg": (0.1, 0.0),
    "fc_cls": (1.5, 0.0),
    "fc_reg": (0.5, 0.0),
    "retina_cls": (1.0, -4.0),
    "retina_reg": (0.2, 0.0),
    "conv_cls": (1.0, -3.0),
    "conv_reg": (0.4, 3.5),
    "conv_centerness": (1.0, 0.0),
    "atss_cls": (1.0, -3.0),
    "atss_reg": (0.5, 0.0),
    "atss_centerness": (1.0, 0.0),
}
"""Deviation and mean by the name of a layer."""
SIX_STAGES = SPREADS | {"fc_cls": (0.5, -1.0), "fc_reg": (0.03, 0.0)}
"""Those of Sparse R-CNN: each stage moves the boxes of the previous one, and they are not clipped."""

PYRAMIDS = SPREADS | {"retina_cls": (0.3, -3.0), "retina_reg": (0.05, 0.0)}
"""Those of PVT, whose random features differ more from image to image than within one."""


def spreads_of(model: Model) -> dict[str, tuple[float, float]]:
    """Return the deviations and means for the last layers of a model."""
    if model.family == "sparse_rcnn":
        return SIX_STAGES
    return PYRAMIDS if model.family.startswith("pyramid_vision_transformer") else SPREADS


def measure(model: Model, folder: Path) -> dict[str, Output]:
    """Run a model on a frame, and return the scaling of its last layers."""
    weights = folder / "weights.pth"
    save_weights(MMDET3, model.config_path, weights, SyntheticWeights({}))
    detector: Any = mmdet3.load(model.name, model.config_path, weights, "cpu")
    found: dict[str, Output] = {}
    spreads = spreads_of(model)
    for name, layer in detector._model.named_modules():
        if spread := spreads.get(name.rpartition(".")[2]):
            layer.register_forward_hook(_measuring(name, spread, found))
    detector.detect(all_images()["portrait 405x720"])
    return found


def _measuring(name: str, spread: tuple[float, float], found: dict[str, Output]) -> Any:
    deviation, mean = spread

    def measure_once(layer: Any, _: object, given: Any) -> Any:
        bias = layer.bias.view(-1, *[1] * (given.dim() - 2))
        if name not in found:
            each = (given - bias).movedim(1, 0).flatten(1)
            factor = float(f"{deviation / each.std(1).mean().item():.4g}")
            sys.stderr.write(f"  {name}: means {(each.mean(1) / each.std(1)).abs().max().item():.1f} deviations\n")
            found[name] = Output(factor, tuple(round(mean - factor * float(m), 4) for m in each.mean(1)))
        shift = bias.new_tensor(found[name].bias).view(bias.shape)
        return (given - bias) * found[name].factor + shift

    return measure_once


def main() -> None:
    """Measure the given models, or one of every architecture."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.fidelity.spread_outputs", description=__doc__.splitlines()[0]
    )
    parser.add_argument("models", nargs="*", metavar="MODEL")
    zoo = load_zoo()
    models = [zoo[name] for name in parser.parse_args().models] or [models[0] for models in architectures(zoo)]
    known = msgspec.json.decode(OUTPUTS.read_bytes(), type=dict[str, dict[str, Output]])
    for model in models:
        name = architecture_of(model)
        sys.stderr.write(f"{name}\n")
        with tempfile.TemporaryDirectory() as folder:
            known[name] = measure(model, Path(folder))
        lines = (f"{_json(each)}: {_json(known[each])}" for each in sorted(known))
        OUTPUTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


if __name__ == "__main__":
    main()
