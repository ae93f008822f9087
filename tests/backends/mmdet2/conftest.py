"""The classic stack, and detectors with the weights of the frozen results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bdd100k_zoo.backends.mmdet2 import import_backend, load
from bdd100k_zoo.backends.selection import MMDET2
from bdd100k_zoo.errors import MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bdd100k_zoo.backends.protocol import BackendDetector


@pytest.fixture(scope="session")
def classic() -> None:
    """Import mmdet 2 and its ops."""
    try:
        import_backend()
    except MissingPackageError as error:
        pytest.skip(f"NOT TESTED with mmdet 2 and a compiled mmcv-full (bash .ci/classic): {error}")


@pytest.fixture(scope="session")
def save_weights(classic: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write the checkpoint of a model with which the frozen results were computed, once."""
    from reference import keep_weights

    return keep_weights(MMDET2, tmp_path_factory)


@pytest.fixture(scope="session")
def load_detector(save_weights: Callable[[str], Path]) -> Callable[..., BackendDetector]:
    """Load a model with those weights, from a file, as the command line does."""
    from reference import loader

    return loader(load, save_weights)
