"""The frozen results of the classic stack, mmdet 2.28.2 with a compiled mmcv-full 1.7.2: weights, boxes, comparison."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from bdd100k_zoo.manifest.load import load_zoo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bdd100k_zoo.boxes import Detections

MODELS = ("faster_rcnn_r50_fpn_1x", "retinanet_r50_fpn_1x", "faster_rcnn_r50_fpn_deconv_1x")
HERE = Path(__file__).resolve().parents[1] / "data" / "reference"
SHARED = Path(__file__).resolve().parents[3] / "shared"

SCORE_TOLERANCE = 1e-4
CORNER_TOLERANCE = 0.01
"""Pixels."""

TIE = 1e-5
"""Scores this close may be sorted either way: the two stacks' scores differ in their last bits."""

CLASSIFIERS = ("fc_cls", "retina_cls", "conv_cls", "rpn_cls")
REGRESSORS = ("fc_reg", "retina_reg", "conv_reg", "rpn_reg")

Rows = npt.NDArray[np.float32]
"""[n, 6]: corners, score, class index."""


def weights_like(model: torch.nn.Module, factors: Mapping[str, float]) -> dict[str, torch.Tensor]:
    """Draw a state dict for a model: each entry from its own name and shape, output layers scaled by ``factors``."""
    drawn = {name: _entry(name, like) for name, like in model.state_dict().items()}
    for layer, factor in factors.items():
        drawn[f"{layer}.weight"] *= factor
        drawn[f"{layer}.bias"] *= factor
    return drawn


def config_path(name: str) -> Path:
    """Find the config that the zoo names for a model."""
    return load_zoo()[name].config_path


def factors_of(name: str) -> dict[str, float]:
    """Read by how much a model's output layers are scaled, so that scores spread and boxes stay in the image."""
    factors: dict[str, dict[str, float]] = json.loads((HERE / "scales.json").read_text())
    return factors[name]


def _entry(name: str, like: torch.Tensor) -> torch.Tensor:
    if like.dtype != torch.float32:
        return torch.zeros_like(like)
    drawn = _draw(name, tuple(like.shape))
    return torch.from_numpy(np.asarray(drawn, np.float32).reshape(like.shape))


def _draw(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    if "init_proposal_bboxes" in name:
        return 0.2 + 0.5 * generator.random(shape)
    if name.endswith("running_var"):
        return 1 + 0.2 * generator.random(shape)
    normal = generator.standard_normal(shape)
    if name.endswith("running_mean"):
        return 0.05 * normal
    if len(shape) > 1:
        return _spread(name, shape) * normal
    return 1 + 0.05 * normal if name.endswith("weight") else 0.02 * normal


def _spread(name: str, shape: tuple[int, ...]) -> float:
    """He's initialisation, wider or narrower by the kind of layer. The order of the products decides the last bit."""
    spread = float((2.0 / int(np.prod(shape[1:]))) ** 0.5)
    kinds = (
        (0.5, "conv_offset" in name),
        (3.0, any(layer in name for layer in CLASSIFIERS)),
        (0.3, any(layer in name for layer in REGRESSORS)),
        (0.4, "backbone" in name and "conv3" in name),
    )
    for factor, applies in kinds:
        spread *= factor if applies else 1.0
    return spread


@dataclass(frozen=True)
class Comparison:
    """How the boxes that were found differ from the expected ones of one image."""

    image: str
    matched: int
    """Expected boxes found again: same class, score and corners within the tolerances."""
    swapped: int
    """Expected boxes that another box of their class and score stands for."""
    score: float
    """Largest difference among the matched."""
    corner: float
    """Largest difference among the matched, in pixels."""
    lost: tuple[str, ...]
    """What is neither."""

    def __str__(self) -> str:
        differences = f"differences up to {self.score:.2e} in score, {self.corner:.2e} px"
        return "\n  ".join((f"{self.image}: {self.matched} matched, {self.swapped} swapped; {differences}", *self.lost))


def rows_of(detections: Detections) -> Rows:
    """Lay detections out as the frozen results are."""
    return np.column_stack([detections.boxes, detections.scores, detections.classes]).astype(np.float32)


def compare(image: str, expected: Rows, found: Rows) -> Comparison:
    """Assign each expected box the nearest box of its class that is left, best scores first."""
    left = list(range(len(found)))
    pairs, alone = [], []
    for row in expected[np.argsort(-expected[:, 4], kind="stable")]:
        nearest = min(left, key=lambda index: _distance(row, found[index]), default=None)
        if nearest is None or _distance(row, found[nearest]) > 1:
            alone.append(row)
        else:
            left.remove(nearest)
            pairs.append((row, found[nearest]))
    lost = list(_lost(alone, [found[index] for index in left]))
    return Comparison(
        image,
        len(pairs),
        len(alone) - len(lost),
        max((float(abs(a[4] - b[4])) for a, b in pairs), default=0.0),
        max((float(np.abs(a[:4] - b[:4]).max()) for a, b in pairs), default=0.0),
        tuple(lost),
    )


def _distance(a: Rows, b: Rows) -> float:
    """How far two boxes are apart, in tolerances; infinite for two classes."""
    if a[5] != b[5]:
        return float("inf")
    return float(max(abs(a[4] - b[4]) / SCORE_TOLERANCE, np.abs(a[:4] - b[:4]).max() / CORNER_TOLERANCE))


def _lost(alone: list[Rows], left: list[Rows]) -> Iterator[str]:
    """Where equal scores meet, sorting decides which box survives: such a pair is no loss."""
    rest = list(left)
    for row in alone:
        tied = next((i for i, other in enumerate(rest) if other[5] == row[5] and abs(other[4] - row[4]) < TIE), None)
        if tied is None:
            yield f"expected {row.tolist()}"
        else:
            rest.pop(tied)
