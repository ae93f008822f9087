"""Whether a file of weights is a model's: looked at as if it were to be run, with nothing copied or run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.mm_common.checkpoint import check_classes, check_parameters, read_checkpoint
from bdd100k_zoo.mm_common.config import load_config
from bdd100k_zoo.mm_common.limits import check_sums
from bdd100k_zoo.mmdet_backend.detector import build_shape

if TYPE_CHECKING:
    from pathlib import Path


def check_checkpoint(model_name: str, config_path: Path, path: Path) -> None:
    """Read a file of weights and hold it against its model: parameters, shapes, classes, and each entry's checksum.

    Raises:
        ConfigError: the model's config describes no model.
        StorageError, CheckpointError: see ``checkpoint``.
    """
    checkpoint = read_checkpoint(path)
    check_classes(checkpoint.classes, path=path)
    expected = build_shape(load_config(config_path), name=model_name).state_dict()
    check_parameters(expected, checkpoint.state_dict, model_name=model_name, path=path)
    check_sums(path)
