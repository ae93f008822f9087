"""One process of a training under torchrun, which also writes down the weights that it has at the end.

python training_child.py ROOT OUT BATCH_SIZE
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from small_training import MODEL, SMALL

from bdd100k_zoo.backends.mmdet3 import import_backend
from bdd100k_zoo.hub.cache import Store
from bdd100k_zoo.prediction.launch import read_process_rank
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.training.job import GracefulStop
from bdd100k_zoo.training.train import TrainRequest, train

STEADY = SMALL | {
    # Of several processes each normalises its own batch, and pads it to its own largest image.
    "model.backbone.norm_eval": True,
    "train_dataloader.dataset.pipeline.2.scales": [(128, 72)],
    "custom_hooks": [{"type": "KeepWeights"}],
    "param_scheduler.0.end": 3,
}
"""Settings with which several processes compute what one computes for all their images."""


def register(out: Path) -> None:
    """Let a hook write each process's weights."""
    import_backend()
    import torch
    from mmengine.hooks import Hook
    from mmengine.registry import HOOKS

    @HOOKS.register_module()
    class KeepWeights(Hook):  # type: ignore[misc]
        def after_train(self, runner: Any) -> None:
            model = getattr(runner.model, "module", runner.model)
            torch.save(model.state_dict(), out.with_name(f"{out.name}-{runner.rank}.pt"))


def main(root: Path, out: Path, batch_size: int) -> None:
    register(out)
    request = TrainRequest(
        model=load_zoo()[MODEL],
        data=root,
        out=out,
        epochs=2,
        batch_size=batch_size,
        workers=0,
        device="cpu",
        cfg_options=STEADY,
        place=read_process_rank(os.environ),
    )
    train(request, Store(offline=True), NO_PROGRESS, GracefulStop())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
