"""mmdet, imported as the package imports it, and detectors with the weights of the frozen results."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest

from bdd100k_zoo.mmdet_backend import import_backend, load, save_drawn_weights

import_backend()

from reference import config_path, weights_of  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bdd100k_zoo.inference.protocol import Detector


@pytest.fixture(scope="session")
def save_weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write the checkpoint of a model that the frozen results were made with, once."""

    @cache
    def save(name: str) -> Path:
        path = tmp_path_factory.mktemp("weights") / f"{name}.pth"
        save_drawn_weights(config_path(name), path, weights_of(name))
        return path

    return save


@pytest.fixture(scope="session")
def load_detector(save_weights: Callable[[str], Path]) -> Callable[..., Detector]:
    """Load a model with those weights, from a file, as the command line does."""

    def load_it(name: str, overrides: dict[str, object] | None = None) -> Detector:
        return load(name, config_path(name), save_weights(name), "cpu", overrides)

    return load_it
