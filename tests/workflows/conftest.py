"""A cache to look after, and checkpoints of a few bytes that have a model's shapes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
from surroundings import Surroundings

from bdd100k_zoo.manifest import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def here(tmp_path: Path) -> Surroundings:
    return Surroundings(tmp_path)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a checkpoint that fits a model of the built-in zoo, once each."""

    @cache
    def write(name: str, *, classes: tuple[str, ...] = ()) -> Path:
        from bdd100k_zoo.mmdet_backend import import_backend

        import_backend()
        import torch

        from bdd100k_zoo.mm_common.config import load_config
        from bdd100k_zoo.mmdet_backend.detector import build_shape

        shapes = build_shape(load_config(load_zoo()[name].config_path), name=name).state_dict()
        tensors = {key: torch.ones((), dtype=like.dtype).expand(like.shape) for key, like in shapes.items()}
        path = tmp_path_factory.mktemp("checkpoints") / f"{name}.pth"
        torch.save({"meta": {"CLASSES": classes}, "state_dict": tensors}, path)
        return path

    return write
