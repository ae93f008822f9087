"""train: images and labels → a model."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bdd100k_zoo.api.arguments import (
    PRECISIONS,
    check_at_least,
    check_choice,
    dataset_root,
    optional_path,
    resolve_model,
)
from bdd100k_zoo.display import resolve_progress
from bdd100k_zoo.errors import InvalidFileError, ZooError
from bdd100k_zoo.hub.cache import Store
from bdd100k_zoo.prediction.launch import SINGLE_PROCESS
from bdd100k_zoo.training import train as job
from bdd100k_zoo.training.job import GracefulStop, stop_on_signals
from bdd100k_zoo.training.record import BEST_WEIGHTS_FILE, WEIGHTS_FILE, read_training

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bdd100k_zoo.api.arguments import AnyModel, AnyPath
    from bdd100k_zoo.display import AnyProgress
    from bdd100k_zoo.prediction.launch import Command
    from bdd100k_zoo.registry import Zoo
    from bdd100k_zoo.training.record import TrainingRecord


@dataclass(frozen=True, repr=False)
class Training:
    """A training: a folder with weights, ``train.json``, ``metrics.jsonl`` and the last checkpoint."""

    folder: Path
    complete: bool = True
    """False in one of several processes, where another one reports the training."""

    @classmethod
    def read(cls, folder: AnyPath) -> Training:
        """Return the training in a folder; raises StorageError, InvalidFileError."""
        training = cls(Path(folder))
        _ = training.record
        return training

    @cached_property
    def record(self) -> TrainingRecord:
        """What made the model, and the loss and AP of each of its ``epochs``; raises StorageError, InvalidFileError."""
        record = read_training(self.folder)
        if record is None:
            raise InvalidFileError(self.folder, "holds no training", "give a folder that `train` has written")
        return record

    @property
    def weights(self) -> Path:
        """The weights after the last epoch."""
        return self.folder / WEIGHTS_FILE

    @property
    def best(self) -> Path | None:
        """The weights after the epoch with the highest AP on val; None if no AP is known."""
        return None if self.record.best_epoch is None else self.folder / BEST_WEIGHTS_FILE

    def __repr__(self) -> str:
        last = self.record.epochs[-1] if self.record.epochs else None
        ap = "" if last is None or last.ap is None else f", AP {last.ap:.2f}"
        return f"Training({str(self.folder)!r}: {self.record.plan.model}, {len(self.record.epochs)} epochs{ap})"


def train(
    model: AnyModel,
    data: AnyPath | None = None,
    *,
    out: AnyPath | None = None,
    pretrained: AnyPath | None = None,
    from_scratch: bool = False,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    workers: int | None = None,
    cfg_options: Mapping[str, object] | None = None,
    resume: bool = False,
    fresh: bool = False,
    zoo: Zoo | None = None,
    offline: bool | None = None,
    progress: AnyProgress = None,
    command: Command | None = None,
) -> Training:
    """Train a model by its recipe, and score it on val after each epoch.

    An interrupted training keeps its last checkpoint, and the same call resumes from it; a finished one is returned as
    it is. One process trains; the command line starts several (``--gpus``, torchrun, SLURM, mpirun).

    Args:
        model: a model of the zoo, or its name or alias.
        data: root of the dataset, with ``images/100k/{train,val}`` and ``labels/det_20/det_{train,val}.json``; by
            default that of BDD100K_ROOT.
        out: folder of the training; by default ``runs/MODEL/train``.
        pretrained: weights that the backbone starts from; None for those of the recipe.
        from_scratch: start the backbone from random values.
        epochs: length; None for the recipe's. It scales the schedule.
        batch_size: images per batch; it scales the learning rate.
        seed: random seed.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: of the network: ``auto`` (fp32), ``fp32``, ``tf32``, ``fp16`` or ``bf16``.
        workers: processes that read images ahead; None for what suits the machine. They may need
            ``if __name__ == "__main__":`` in a script.
        cfg_options: settings of the model's config to override, by dotted key.
        resume: fail if there is no checkpoint; one that exists is resumed in any case.
        fresh: start over, and replace the training in its folder.
        zoo: where to look up a name; None for ``load_zoo()``.
        offline: contact nothing; None to follow BDD100K_ZOO_OFFLINE.
        progress: None, True for bars, or a ``Progress``.
        command: the command line that makes this call, with what it knows of other processes.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM interrupted it; a checkpoint has its last step.
        ImagesError, InputsError: images or labels are missing or invalid.
        RunMismatchError: the folder holds another training.
        ZooError: any other failure.
    """
    root = dataset_root(data)
    if root is None:
        raise ZooError("train needs the dataset's root", 'give data="ROOT", or set BDD100K_ROOT')
    if pretrained is not None and from_scratch:
        raise ZooError("pretrained and from_scratch exclude one another", "give one of them")
    if resume and fresh:
        raise ZooError("resume and fresh exclude one another", "give one of them")
    check_choice("precision", precision, PRECISIONS)
    check_at_least(1, epochs=epochs, batch_size=batch_size)
    check_at_least(0, workers=workers)
    started = command.started if command else None
    request = job.TrainRequest(
        model=resolve_model(model, zoo),
        data=root,
        out=optional_path(out),
        epochs=epochs,
        batch_size=batch_size,
        workers=workers,
        seed=seed,
        device=device,
        precision=precision,
        pretrained=optional_path(pretrained),
        from_scratch=from_scratch,
        cfg_options=dict(cfg_options or {}),
        resume=resume and not started,
        fresh=fresh and not started,
        place=command.place if command else SINGLE_PROCESS,
        started=started,
        command=_resume_command(command),
    )
    stop, shown = GracefulStop(), resolve_progress(progress)
    with stop_on_signals(stop), Store(offline=offline) as store:
        if command and command.starts_processes:
            record = job.train_in_processes(request, command.processes, command.arguments, store, shown)
        else:
            record = job.train(request, store, shown, stop)
    return Training(request.folder, complete=record is not None and not started)


def _resume_command(command: Command | None) -> str:
    if command is None:
        return "the same call of train()"
    return shlex.join(["bdd100k-zoo", *(each for each in command.arguments if each != "--fresh")])
