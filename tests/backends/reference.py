"""The frozen results of the classic stack, mmdet 2.28.2 with a compiled mmcv-full 1.7.2."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bdd100k_zoo.registry.loading import load_zoo
from tools.fidelity.comparison import compare
from tools.fidelity.freeze import freeze, small_images
from tools.fidelity.results import Rows, in_order, read_frozen, read_rows
from tools.fidelity.weights import Output, SyntheticWeights, save_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from bdd100k_zoo.backends.protocol import BackendDetector
    from bdd100k_zoo.backends.selection import Backend
    from bdd100k_zoo.registry import Model


MODELS = ("faster_rcnn_r50_fpn_1x", "retinanet_r50_fpn_1x", "faster_rcnn_r50_fpn_deconv_1x")
"""Those with results in ``HERE``, which have another origin than ``tools.fidelity``, like those in ``SHARED``."""
DATA = Path(__file__).resolve().parents[1] / "data"
HERE = DATA / "reference"
CLASSIC = DATA / "classic"
"""The results of ``python -m tools.fidelity freeze --small --backend mmdet2``."""
SHARED = Path(__file__).resolve().parents[3] / "shared"


def weights_of(name: str) -> SyntheticWeights:
    """Return the weights with which the results in ``HERE`` and ``SHARED`` were computed."""
    outputs = msgspec.json.decode((DATA / "reference_outputs.json").read_bytes(), type=dict[str, dict[str, Output]])
    return SyntheticWeights(outputs[name])


def keep_weights(backend: Backend, folders: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that writes the checkpoint of a model in ``HERE``, once."""

    @cache
    def save_once(name: str) -> Path:
        path = folders.mktemp("weights") / f"{name}.pth"
        save_weights(backend, config_path(name), path, weights_of(name))
        return path

    return save_once


def loader(load: Callable[..., BackendDetector], weights: Callable[[str], Path]) -> Callable[..., BackendDetector]:
    """Return a function that loads a model with those weights from a file, as the command line does."""

    def load_it(name: str, overrides: dict[str, object] | None = None) -> BackendDetector:
        return load(name, config_path(name), weights(name), "cpu", overrides)

    return load_it


def config_path(name: str) -> Path:
    """Return the config of a model."""
    return load_zoo()[name].config_path


def differences(expected: Rows, found: Rows) -> list[str]:
    """Return the differences between the boxes of one image in any order, except those caused by ties of scores."""
    return [*compare(in_order(expected), in_order(found)).failures]


def differences_from_frozen(model: Model, backend: str, folder: Path) -> list[str]:
    """Detect objects in the small images with a backend, and return the differences from those in ``CLASSIC``."""
    freeze(folder, model, small_images(), backend)
    expected, found = (read_frozen(each) for each in (CLASSIC, folder))
    assert found.images == expected.images
    assert found.weights == {model.name: expected.weights[model.name]}
    boxes, others = (read_rows(each, model.name) for each in (CLASSIC, folder))
    assert boxes.keys() == others.keys() == found.images.keys()
    return [f"{image}: {text}" for image in boxes for text in compare(boxes[image], others[image]).failures]
