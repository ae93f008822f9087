"""Steps of an optimizer with a network that computes in fewer bits, on any device."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from bdd100k_zoo.backends.common.precision import use_precision

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn

LOSS_SCALER_KEY = "loss_scaler"


@OPTIM_WRAPPERS.register_module()
class PreciseOptimWrapper(OptimWrapper):  # type: ignore[misc]
    """mmengine's OptimWrapper in a precision of ours; with fp16 the loss is scaled, so that small gradients survive.

    mmengine's own wrapper for this knows fp16 on GPUs alone.
    """

    def __init__(self, precision: str = "fp32", device: str = "cpu", **settings: Any) -> None:
        super().__init__(**settings)
        self._precision, self._device = precision, torch.device(device)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=precision == "fp16")

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Compute in the precision, inside only."""
        with super().optim_context(model), use_precision(self._precision, self._device):
            yield

    def backward(self, loss: Tensor, **settings: Any) -> None:
        """Compute gradients, of the scaled loss with fp16."""
        with use_precision("tf32" if self._precision == "tf32" else "fp32", self._device):
            scaled: Any = self._scaler.scale(loss)
            scaled.backward(**settings)
        self._inner_count += 1

    def step(self, **settings: Any) -> None:
        """Change the parameters; not at all where a gradient of a scaled loss is not finite."""
        if self.clip_grad_kwargs:
            self._scaler.unscale_(self.optimizer)
            self._clip_grad()
        self._scaler.step(self.optimizer, **settings)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Give the optimizer's state, and how the loss is scaled."""
        return {**super().state_dict(), LOSS_SCALER_KEY: self._scaler.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take such a state."""
        state = dict(state_dict)
        if scaling := state.pop(LOSS_SCALER_KEY, None):
            self._scaler.load_state_dict(scaling)
        super().load_state_dict(state)
