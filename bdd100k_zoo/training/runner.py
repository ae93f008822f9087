"""mmengine's runner and optimizer steps, without their logging, downloads and unpickling."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, DefaultScope
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader

from bdd100k_zoo.backends.common.precision import use_precision
from bdd100k_zoo.errors import ConfigError
from bdd100k_zoo.training.loaders import seed_rngs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor, nn

    from bdd100k_zoo.prediction.launch import ProcessRank

MMENGINE_GLOBALS: tuple[Any, ...] = (DefaultScope, MessageHub, MMLogger)
"""mmengine's classes that keep all their instances; the last one is the current one."""
SILENCED_MODULES = r"(torch|torchvision|mmdet|mmcv|mmengine)\b"
"""The modules whose warnings are not shown: a user can do nothing about them."""
DISABLED_HOOKS = dict.fromkeys(("runtime_info", "timer", "sampler_seed", "logger", "checkpoint"))
"""mmengine's default hooks, whose work this package does itself."""
LOSS_SCALER_KEY = "loss_scaler"


@contextmanager
def preserve_mmengine_globals(name: str) -> Iterator[None]:
    """Restore mmengine's globals, its checkpoint loader and torch's settings at the end of the block.

    Inside, mmengine's checkpoint loader is replaced, because it unpickles any file: it raises ConfigError, which names
    the model ``name``.
    """

    def refuse(filename: object, *_: object, **__: object) -> NoReturn:
        raise ConfigError(name, f"its settings name weights to load, {filename}; pass the file as --pretrained")

    kept = [kind._instance_dict.copy() for kind in MMENGINE_GLOBALS]
    loader = CheckpointLoader.__dict__["load_checkpoint"]
    deterministic, benchmark = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    CheckpointLoader.load_checkpoint = staticmethod(refuse)
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


def unwrap_model(model: Any) -> Any:
    """Return the model without the wrapper that it has where several processes train it."""
    return getattr(model, "module", model)


class TrainRunner(Runner):  # type: ignore[misc]
    """The Runner of a training: builds optimizer, schedules, hooks and loops as mmengine does.

    Starting processes, choosing devices, and reading and writing files are disabled here: this package does them.
    """

    timestamp = ""
    """mmengine creates a folder of this name in the work_dir; empty, it creates none."""

    def __init__(
        self,
        load_start: Callable[[TrainRunner], None],
        *,
        device: torch.device,
        place: ProcessRank,
        seed: int,
        **settings: Any,
    ) -> None:
        """Build the model.

        Args:
            load_start: called when everything is built, to load what the training starts or resumes from.
            device: where to train.
            place: which process this is.
            seed: of the model's initial values.
            settings: those of mmengine's Runner.
        """
        self._load_start, self._target, self._place, self._given_seed = load_start, device, place, seed
        super().__init__(**settings)

    def setup_env(self, env_cfg: object) -> None:  # noqa: ARG002
        """Set what mmengine reads of the environment; ``process_group`` connects the processes."""
        self._rank, self._world_size, self._timestamp = self._place.rank, self._place.world, "0"
        self._distributed = self._place.world > 1

    def set_randomness(self, *_: object, **__: object) -> None:
        """Seed the generators from which the model is built."""
        self._seed, self._deterministic = self._given_seed, False
        seed_rngs(self._seed, "model")

    def build_logger(self, *_: object, **__: object) -> Any:
        """Return a logger without output: mmengine's own writes to stdout, which is for data."""
        logger = MMLogger.get_instance(self._experiment_name, log_level="CRITICAL")
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
        logger.addHandler(logging.NullHandler())
        return logger

    def build_visualizer(self, _: object = None) -> Any:
        """Return a visualizer that draws nothing."""
        return SimpleNamespace(dataset_meta=None, add_config=lambda _: None)

    def load_or_resume(self) -> None:
        """Load what the training starts or resumes from."""
        self._load_start(self)

    def _log_env(self, *_: object) -> None:
        """Log nothing."""

    def dump_config(self) -> None:
        """Write no config."""

    def wrap_model(self, _: object, model: nn.Module) -> nn.Module:
        """Move the model to its device; with several processes, average their gradients."""
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
        """Not supported: see ``checkpoints``."""
        raise NotImplementedError

    resume = save_checkpoint = load_checkpoint


@OPTIM_WRAPPERS.register_module()
class PreciseOptimWrapper(OptimWrapper):  # type: ignore[misc]
    """mmengine's OptimWrapper for the precisions of this package; with fp16 the loss is scaled.

    mmengine's own AmpOptimWrapper asserts that there is a GPU.
    """

    def __init__(
        self,
        precision: str = "fp32",
        device: str = "cpu",
        loss_scale: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """Build it.

        Args:
            precision: one of ``protocol.PRECISIONS`` but ``auto``.
            device: where the model is.
            loss_scale: arguments of torch's GradScaler, which fp16 uses.
            settings: those of mmengine's OptimWrapper.
        """
        super().__init__(**settings)
        self._precision, self._device = precision, torch.device(device)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=precision == "fp16", **(loss_scale or {}))

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Compute in the precision inside the block."""
        with super().optim_context(model), use_precision(self._precision, self._device):
            yield

    def backward(self, loss: Tensor, **settings: Any) -> None:
        """Compute gradients. With fp16 the loss is scaled first: small gradients would be rounded to zero."""
        with use_precision("tf32" if self._precision == "tf32" else "fp32", self._device):
            scaled: Any = self._scaler.scale(loss)
            scaled.backward(**settings)
        self._inner_count += 1

    def step(self, **settings: Any) -> None:
        """Update the parameters; skip the step if a gradient of the scaled loss is not finite."""
        if self.clip_grad_kwargs:
            self._scaler.unscale_(self.optimizer)
            self._clip_grad()
        self._scaler.step(self.optimizer, **settings)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizer and of the loss scaler."""
        return {**super().state_dict(), LOSS_SCALER_KEY: self._scaler.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load what ``state_dict`` returned."""
        state = dict(state_dict)
        if scaling := state.pop(LOSS_SCALER_KEY, None):
            self._scaler.load_state_dict(scaling)
        super().load_state_dict(state)
