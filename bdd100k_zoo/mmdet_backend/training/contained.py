"""What mmengine keeps for the whole process, put back when a training ends; and what it must not do at all."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader

from bdd100k_zoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

GLOBALS: tuple[Any, ...] = (DefaultScope, MessageHub, MMLogger)
"""mmengine's classes that keep every instance, of which the last is the current one."""

LIBRARIES = r"(torch|torchvision|mmdet|mmcv|mmengine)\b"
"""The modules whose warnings are not shown."""


@contextmanager
def contained(name: str) -> Iterator[None]:
    """Leave mmengine's globals, its loader of checkpoints and torch's settings afterwards as they were before.

    Inside, no file of weights is loaded by mmengine: it would unpickle whatever the file holds. What these libraries
    warn each other of is theirs to mend, and not shown.
    """
    kept = [kind._instance_dict.copy() for kind in GLOBALS]
    loader = CheckpointLoader.__dict__["load_checkpoint"]
    deterministic, benchmark = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    CheckpointLoader.load_checkpoint = _refuser(name)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=LIBRARIES)
            yield
    finally:
        CheckpointLoader.load_checkpoint = loader
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = deterministic, benchmark
        for kind, instances in zip(GLOBALS, kept, strict=True):
            kind._instance_dict.clear()
            kind._instance_dict.update(instances)


def quiet_logger(name: str) -> Any:
    """Give mmengine a logger that writes nowhere: it would write on standard output, where data goes."""
    logger = MMLogger.get_instance(name, log_level="CRITICAL")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.addHandler(logging.NullHandler())
    return logger


def _refuser(name: str) -> Any:
    def refuse(filename: object, *_: object, **__: object) -> NoReturn:
        raise ConfigError(name, f"its settings name weights to load, {filename}; give a file with --pretrained")

    return staticmethod(refuse)
