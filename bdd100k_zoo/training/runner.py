"""mmengine's Runner without what it writes, fetches and unpickles; its optimizer steps; its globals restored."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader

from bdd100k_zoo.errors import ConfigError
from bdd100k_zoo.training.data import seed_rngs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from bdd100k_zoo.prediction.launch import ProcessRank

MMENGINE_GLOBALS: tuple[Any, ...] = (DefaultScope, MessageHub, MMLogger)
"""mmengine's classes that keep every instance, of which the last is the current one."""

SILENCED_MODULES = r"(torch|torchvision|mmdet|mmcv|mmengine)\b"
"""The modules whose warnings are not shown."""


@contextmanager
def preserve_mmengine_globals(name: str) -> Iterator[None]:
    """Leave mmengine's globals, its loader of checkpoints and torch's settings afterwards as they were before.

    Inside, no file of weights is loaded by mmengine: it would unpickle whatever the file holds. What these libraries
    warn each other of is theirs to mend, and not shown.
    """
    kept = [kind._instance_dict.copy() for kind in MMENGINE_GLOBALS]
    loader = CheckpointLoader.__dict__["load_checkpoint"]
    deterministic, benchmark = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    CheckpointLoader.load_checkpoint = _refuser(name)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=SILENCED_MODULES)
            yield
    finally:
        CheckpointLoader.load_checkpoint = loader
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = deterministic, benchmark
        for kind, instances in zip(MMENGINE_GLOBALS, kept, strict=True):
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


DISABLED_HOOKS = dict.fromkeys(("runtime_info", "timer", "sampler_seed", "logger", "checkpoint"))
"""Default hooks of mmengine that this package has its own way for."""


def unwrap_model(model: Any) -> Any:
    """Give the model itself, which stands in a wrapper where several processes train it."""
    return getattr(model, "module", model)


class TrainRunner(Runner):  # type: ignore[misc]
    """The Runner of a training: builds optimizer, schedules, hooks and loops as mmengine does.

    Processes are joined, devices chosen, files written and read by this package; mmengine's own ways to do so are
    closed.
    """

    timestamp = ""
    """mmengine makes a folder of this name in the work_dir."""

    def __init__(
        self,
        begin: Callable[[TrainRunner], None],
        *,
        device: torch.device,
        place: ProcessRank,
        seed: int,
        **settings: Any,
    ) -> None:
        """Build the model.

        Args:
            begin: called when all is built, to load what the training starts or goes on from.
            device: where to.
            place: which process this is.
            seed: what the model is drawn from.
            settings: those of mmengine's Runner.
        """
        self._begin, self._target, self._place, self._given_seed = begin, device, place, seed
        super().__init__(**settings)

    def setup_env(self, env_cfg: object) -> None:  # noqa: ARG002
        """Take the surroundings as they are."""
        self._rank, self._world_size, self._timestamp = self._place.rank, self._place.world, "0"
        self._distributed = self._place.world > 1

    def set_randomness(self, *_: object, **__: object) -> None:
        """Draw what the model is built from."""
        self._seed, self._deterministic = self._given_seed, False
        seed_rngs(self._seed, "model")

    def build_logger(self, *_: object, **__: object) -> Any:
        """Let mmengine log nothing."""
        return quiet_logger(self._experiment_name)

    def build_visualizer(self, _: object = None) -> Any:
        """Let mmengine draw nothing."""
        return SimpleNamespace(dataset_meta=None, add_config=lambda _: None)

    def load_or_resume(self) -> None:
        """Load what the training starts or goes on from."""
        self._begin(self)

    def _log_env(self, *_: object) -> None:
        """Look into nothing."""

    def dump_config(self) -> None:
        """Write no config."""

    def wrap_model(self, _: object, model: nn.Module) -> nn.Module:
        """Put the model on its device; let several processes add up their gradients."""
        model = model.to(self._target)
        if not self._distributed:
            return model
        ids = [self._target.index] if self._target.type == "cuda" else None
        unused = bool(self.cfg.get("find_unused_parameters", False))
        wrapped: nn.Module = MMDistributedDataParallel(
            module=model, device_ids=ids, broadcast_buffers=False, find_unused_parameters=unused
        )
        return wrapped

    def load_checkpoint(self, *_: object, **__: object) -> NoReturn:
        """Not at all: see ``saving``."""
        raise NotImplementedError

    resume = save_checkpoint = load_checkpoint
