"""Training a model by its recipe: mmengine's runner on the configs of the zoo, with checkpoints that hold no code.

Importing this package imports neither torch nor mmdet; its functions do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.backends.mmdet3 import import_backend

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.training.job import TrainingJob, TrainingObserver


class DatasetPaths(NamedTuple):
    """Where a dataset finds what."""

    labels: Path
    images: Path


class TrainingPreview(NamedTuple):
    """What a job comes to, told before anything is read or fetched for it."""

    train: DatasetPaths
    val: DatasetPaths
    start_name: str
    """What the config's backbone starts from, as the config names it; empty where it draws its values itself."""
    epochs: int
    batch_size: int
    """Images at once in each process."""
    precision: str


def preview_training(job: TrainingJob) -> TrainingPreview:
    """Look at a job's settings, and see to it that its model can be built and its device and precision be had.

    Raises:
        MissingPackageError, ConfigError, DeviceError, PrecisionError: see their descriptions.
    """
    import_backend()
    from bdd100k_zoo.training import recipe as settings
    from bdd100k_zoo.training import worker

    device, precision = worker.resolve_device_and_precision(job)
    recipe = worker.build_checked_recipe(job, precision=precision, device=str(device))
    return TrainingPreview(
        train=DatasetPaths(*settings.data_files(recipe.config.train_dataloader, job.name)),
        val=DatasetPaths(*settings.data_files(recipe.config.test_dataloader, job.name)),
        start_name=recipe.start_name,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        precision=precision,
    )


def train_model(job: TrainingJob, plan: str, watcher: TrainingObserver) -> bool:
    """Train a model to the end of its schedule, from the last checkpoint of its plan where there is one.

    Args:
        job: what to do.
        plan: what tells this training from another one, in a line of text.
        watcher: whom to tell; see there.

    Returns:
        Whether it came to its end; else it was asked to stop, and a checkpoint holds its last step.

    Raises:
        ZooError: whatever is in the way, see ``errors``.
    """
    import_backend()
    from bdd100k_zoo.training import loop, worker

    try:
        worker.run_training(job, plan, watcher)
    except loop.TrainingStopped:
        return False
    return True


def export_weights(checkpoint: Path, path: Path) -> None:
    """Write the weights of a training's checkpoint alone; raises StorageError, UnsafeCheckpointError."""
    from bdd100k_zoo.backends.common.checkpoint import read_torch_file
    from bdd100k_zoo.training import checkpoints

    checkpoints.write_weights(path, read_torch_file(checkpoint))
