"""Training a model by its recipe: mmengine's runner on the configs of the zoo, with checkpoints that hold no code.

Importing this package imports neither torch nor mmdet; its functions do, and raise MissingPackageError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.backends.mmdet3 import import_backend

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.training.job import TrainingJob, TrainingObserver
    from bdd100k_zoo.training.worker import TrainingPreview


def preview_training(job: TrainingJob) -> TrainingPreview:
    """Return what a job will do; see ``worker.preview_training``."""
    import_backend()
    from bdd100k_zoo.training import worker

    return worker.preview_training(job)


def train_model(job: TrainingJob, plan: str, observer: TrainingObserver) -> bool:
    """Train a model, and return whether its schedule is complete; see ``worker.train_model``."""
    import_backend()
    from bdd100k_zoo.training import worker

    return worker.train_model(job, plan, observer)


def export_weights(checkpoint: Path, path: Path) -> None:
    """Write the weights of a training's checkpoint alone; see ``checkpoints.export_weights``."""
    from bdd100k_zoo.training import checkpoints

    checkpoints.export_weights(checkpoint, path)
