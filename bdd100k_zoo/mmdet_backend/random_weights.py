"""A checkpoint of a model's own shape with random weights, to try the whole chain where no real one is at hand."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from bdd100k_zoo.categories import CLASSES
from bdd100k_zoo.mmdet_backend import import_backend
from bdd100k_zoo.records.files import write_whole

if TYPE_CHECKING:
    from pathlib import Path


def save_random_weights(config_path: Path, path: Path, seed: int = 0) -> None:
    """Write a checkpoint as the published ones are made: meta, state_dict.

    The weights are what the model's layers draw when they are built, from ``seed``; the model has learnt nothing.

    Raises:
        MissingPackageError, ConfigError: the model cannot be built.
        StorageError: the file cannot be written.
    """
    import_backend()
    import torch

    from bdd100k_zoo.mmdet_backend.config import load_config
    from bdd100k_zoo.mmdet_backend.detector import build_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(load_config(config_path))
    content = io.BytesIO()
    torch.save({"meta": {"CLASSES": CLASSES}, "state_dict": model.state_dict()}, content)
    write_whole(path, content.getvalue())
