"""mmdet, imported as the package does it, and detectors with the weights of the frozen results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bdd100k_zoo.backends.mmdet3 import import_backend, load
from bdd100k_zoo.backends.selection import MMDET3

import_backend()

from reference import keep_weights, loader  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bdd100k_zoo.backends.protocol import BackendDetector


@pytest.fixture(scope="session")
def save_weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write the checkpoint of a model with which the frozen results were computed, once."""
    return keep_weights(MMDET3, tmp_path_factory)


@pytest.fixture(scope="session")
def load_detector(save_weights: Callable[[str], Path]) -> Callable[..., BackendDetector]:
    """Load a model with those weights, from a file, as the command line does."""
    return loader(load, save_weights)
