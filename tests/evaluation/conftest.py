from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bdd100k_zoo.errors import MissingPackageError
from bdd100k_zoo.evaluation import official as engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bdd100k_zoo.evaluation.scores import Scores


@pytest.fixture
def official() -> Callable[[Path, Path], Scores]:
    """Score with the official packages."""
    try:
        with engine.silence_libraries():
            engine._import("bdd100k", "bdd100k.eval.run")
    except MissingPackageError as error:
        pytest.skip(f"NOT COMPARED with the official packages: {error}")
    return engine.score_with_official_tool
