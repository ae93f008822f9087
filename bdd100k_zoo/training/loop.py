"""The loop over epochs: one that can begin anywhere, be stopped after any step, and tells what happens."""

from __future__ import annotations

from math import isfinite
from time import monotonic
from typing import TYPE_CHECKING, Any

from mmengine.runner import BaseLoop

from bdd100k_zoo.errors import DivergedError
from bdd100k_zoo.training.data import seed_rngs
from bdd100k_zoo.training.distributed import all_reduce_mean
from bdd100k_zoo.training.job import TrainingStep
from bdd100k_zoo.training.runner import unwrap_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from bdd100k_zoo.prediction.launch import ProcessRank
    from bdd100k_zoo.training.job import TrainingObserver
    from bdd100k_zoo.training.validation import Validation

SAVE_INTERVAL = 600.0
"""Seconds between two checkpoints within an epoch."""


class TrainingStopped(Exception):  # noqa: N818  (no error: it was asked for)
    """The training has ended early, as it was asked to, with a checkpoint of its last step."""


class TrainLoop(BaseLoop):  # type: ignore[misc]
    """Trains epoch by epoch.

    Attributes:
        max_epochs, max_iters, epoch, iter: what mmengine's hooks read.
    """

    def __init__(
        self,
        runner: Any,
        loader: Any,
        *,
        epochs: int,
        place: ProcessRank,
        device: torch.device,
        validation: Validation,
        watcher: TrainingObserver,
        save: Callable[[Any], None],
    ) -> None:
        super().__init__(runner, loader)
        self.max_epochs, self.epoch, self.iter = epochs, 0, 0
        self.max_iters = epochs * len(loader)
        self._place, self._device = place, device
        self._validation, self._watcher, self._save = validation, watcher, save
        self._saved_at = monotonic()

    def begin_at(self, step: int) -> None:
        """Begin after some steps of an earlier process."""
        self.iter, self.epoch = step, step // len(self.dataloader)

    def run(self) -> Any:
        """Train to the end; raises DivergedError, and Stopped where it was asked to end early."""
        self.runner.call_hook("before_train")
        self._validate_if_due()
        while self.epoch < self.max_epochs:
            self._run_epoch()
            self._validate_if_due()
        self.runner.call_hook("after_train")
        return self.runner.model

    def _run_epoch(self) -> None:
        self._tell_hub()
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        done = self.iter - self.epoch * len(self.dataloader)
        self.dataloader.sampler.begin(self.epoch, done * self.dataloader.batch_size)
        for place, batch in enumerate(self.dataloader, start=done):
            if self._step(place, batch) and place + 1 < len(self.dataloader):
                self.save()
                raise TrainingStopped
            self._save_if_due()
        self.runner.call_hook("after_train_epoch")
        self.epoch += 1
        self.save()

    def _step(self, place: int, batch: Any) -> bool:
        """Take one step, and say whether it should be the last one for now."""
        runner = self.runner
        seed_rngs(runner.seed, "step", self._place.rank, self.iter)
        self._tell_hub()
        rate = float(runner.optim_wrapper.param_groups[0]["lr"])
        runner.call_hook("before_train_iter", batch_idx=place, data_batch=batch)
        told = runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)
        runner.call_hook("after_train_iter", batch_idx=place, data_batch=batch, outputs=told)
        self.iter += 1
        stop, numbers = self._asked_to_stop([float(value.detach()) for value in told.values()])
        self._tell(rate, dict(zip(told, numbers, strict=True)))
        return stop

    def _asked_to_stop(self, numbers: list[float]) -> tuple[bool, list[float]]:
        """Agree with the other processes on whether to stop; give the means of some numbers of theirs."""
        asked, *means = all_reduce_mean([float(self._watcher.stopping), *numbers], self._place, self._device)
        return asked > 0, means

    def _tell(self, rate: float, parts: Mapping[str, float]) -> None:
        loss = parts.get("loss", sum(value for name, value in parts.items() if "loss" in name))
        step = TrainingStep(self.epoch + 1, self.iter, rate, loss, {key: parts[key] for key in parts if key != "loss"})
        if not isfinite(loss):
            raise DivergedError(step.epoch, step.step, loss)
        if self._place.rank == 0:
            self._watcher.stepped(step)

    def _tell_hub(self) -> None:
        """Tell mmengine's message hub what some models ask it."""
        for key in ("epoch", "iter", "max_epochs", "max_iters"):
            self.runner.message_hub.update_info(key, getattr(self, key))

    def _save_if_due(self) -> None:
        within = self.iter % len(self.dataloader)
        if within and monotonic() - self._saved_at >= SAVE_INTERVAL:
            self.save()

    def save(self) -> None:
        """Write a checkpoint, if this is the first process."""
        if self._place.rank == 0:
            self._save(self.runner)
        self._saved_at = monotonic()

    def _validate_if_due(self) -> None:
        if not self.epoch or self.iter % len(self.dataloader):
            return
        (known,) = all_reduce_mean(
            [float(self._place.rank == 0 and self._watcher.scored(self.epoch))], self._place, self._device
        )
        if known:
            return
        for hook in ("before_val", "before_val_epoch"):
            self.runner.call_hook(hook)
        model = unwrap_model(self.runner.model)
        scores = self._validation.run(model, self._watcher)
        if scores is None:
            raise TrainingStopped
        if self._place.rank == 0:
            self._watcher.validated(self.epoch, scores)
        self.runner.call_hook("after_val_epoch", metrics={"bbox_mAP": scores.ap / 100})
        self.runner.call_hook("after_val")
