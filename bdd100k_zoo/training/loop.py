"""The loop over epochs: it can start at any step, be stopped after any step, and reports to an observer."""

from __future__ import annotations

from math import isfinite
from time import monotonic
from typing import TYPE_CHECKING, Any

from mmengine.runner import BaseLoop

from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.training.distributed import all_reduce_mean
from bdd100k_zoo.training.loaders import seed_rngs
from bdd100k_zoo.training.record import StepLine
from bdd100k_zoo.training.runner import unwrap_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from bdd100k_zoo.prediction.launch import ProcessRank
    from bdd100k_zoo.training.job import TrainingObserver
    from bdd100k_zoo.training.validation import Validation

SAVE_INTERVAL = 600.0
"""Seconds between two checkpoints within an epoch: what a kill loses at most."""


class TrainingStopped(Exception):  # noqa: N818  (not an error: a stop was requested)
    """The training has ended early, as requested, with a checkpoint of its last step."""


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
        observer: TrainingObserver,
        save: Callable[[], object],
    ) -> None:
        super().__init__(runner, loader)
        self.max_epochs, self.epoch, self.iter = epochs, 0, 0
        self.max_iters = epochs * len(loader)
        self._place, self._device = place, device
        self._validation, self._observer, self._save = validation, observer, save
        self._saved_at = monotonic()

    def resume_at(self, step: int) -> None:
        """Continue after a number of steps that an earlier process took."""
        self.iter, self.epoch = step, step // len(self.dataloader)

    def run(self) -> Any:
        """Train to the end; raises TrainingStopped where a stop was requested, ZooError where the loss diverges."""
        self.runner.call_hook("before_train")
        self._validate_if_due()
        while self.epoch < self.max_epochs:
            self._run_epoch()
            self._validate_if_due()
        self.runner.call_hook("after_train")
        return self.runner.model

    def _run_epoch(self) -> None:
        self._update_message_hub()
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        length = len(self.dataloader)
        done = self.iter - self.epoch * length
        self.dataloader.sampler.set_epoch(self.epoch, done * self.dataloader.batch_size)
        for index, batch in enumerate(self.dataloader, start=done):
            if self._step(index, batch) and index + 1 < length:
                self.save()
                raise TrainingStopped
            if self.iter % length and monotonic() - self._saved_at >= SAVE_INTERVAL:
                self.save()
        self.runner.call_hook("after_train_epoch")
        self.epoch += 1
        self.save()

    def _step(self, index: int, batch: Any) -> bool:
        """Take one step, and return whether any process was asked to stop after it."""
        runner = self.runner
        seed_rngs(runner.seed, "step", self._place.rank, self.iter)
        self._update_message_hub()
        group = runner.optim_wrapper.param_groups[0]
        # With rates that decay from layer to layer, this group's is a fraction of the recipe's.
        rate = float(group["lr"]) / group.get("lr_scale", 1)
        runner.call_hook("before_train_iter", batch_idx=index, data_batch=batch)
        outputs = runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)
        runner.call_hook("after_train_iter", batch_idx=index, data_batch=batch, outputs=outputs)
        self.iter += 1
        numbers = [float(value.detach()) for value in outputs.values()]
        # One exchange for both: all processes stop after the same step.
        asked, *means = all_reduce_mean([float(self._observer.stop.asked), *numbers], self._place, self._device)
        self._report(rate, dict(zip(outputs, means, strict=True)))
        return asked > 0

    def _report(self, rate: float, parts: Mapping[str, float]) -> None:
        loss = parts.get("loss", sum(value for name, value in parts.items() if "loss" in name))
        if not isfinite(loss):
            raise ZooError(
                f"the loss of step {self.iter:,} (epoch {self.epoch + 1}) is {loss}: the training has diverged",
                "a lower learning rate often helps: --cfg-options optim_wrapper.optimizer.lr=…, with --fresh or "
                "another --out; the checkpoints are from before",
            )
        if self._place.rank == 0:
            terms = {key: parts[key] for key in parts if key != "loss"}
            self._observer.stepped(StepLine(step=self.iter, epoch=self.epoch + 1, rate=rate, loss=loss, parts=terms))

    def _update_message_hub(self) -> None:
        """Set what some models read from mmengine's message hub."""
        for key in ("epoch", "iter", "max_epochs", "max_iters"):
            self.runner.message_hub.update_info(key, getattr(self, key))

    def save(self) -> None:
        """Write a checkpoint, if this is the first process."""
        if self._place.rank == 0:
            self._save()
        self._saved_at = monotonic()

    def _validate_if_due(self) -> None:
        """Validate after an epoch, also one that an earlier process has finished and not validated."""
        if not self.epoch or self.iter % len(self.dataloader):
            return
        known = float(self._place.rank == 0 and self._observer.scored(self.epoch))
        if any(all_reduce_mean([known], self._place, self._device)):
            return
        for hook in ("before_val", "before_val_epoch"):
            self.runner.call_hook(hook)
        scores = self._validation.run(unwrap_model(self.runner.model), self._observer)
        if scores is None:
            raise TrainingStopped
        if self._place.rank == 0:
            self._observer.validated(self.epoch, scores)
        self.runner.call_hook("after_val_epoch", metrics={"bbox_mAP": scores.ap / 100})
        self.runner.call_hook("after_val")
