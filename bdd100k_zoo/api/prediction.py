"""predict: images → a run."""

from __future__ import annotations

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
    path_texts,
    resolve_model,
)
from bdd100k_zoo.data.detections import read_detections
from bdd100k_zoo.data.images import split_image_folder
from bdd100k_zoo.display import resolve_progress
from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.hub.cache import Store
from bdd100k_zoo.prediction import predict as job
from bdd100k_zoo.prediction.exports import EXPORTS, ExportFormat, write_exports
from bdd100k_zoo.prediction.launch import SINGLE_PROCESS
from bdd100k_zoo.prediction.run import PREDICTIONS_FILE, read_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bdd100k_zoo.api.arguments import AnyModel, AnyPath, AnyPaths
    from bdd100k_zoo.data.detections import Detections
    from bdd100k_zoo.display import AnyProgress
    from bdd100k_zoo.prediction.launch import Command
    from bdd100k_zoo.prediction.run import RunRecord
    from bdd100k_zoo.registry import Zoo


@dataclass(frozen=True, repr=False)
class Run:
    """A finished prediction run: a folder with ``det.json`` and ``run.json``.

    Iteration gives the name and the detections of each image. A run can be given wherever a path of predictions is
    expected: it is the path of its folder.
    """

    folder: Path
    complete: bool = True
    """False in one of several processes, where another one reports the run."""

    @classmethod
    def read(cls, folder: AnyPath) -> Run:
        """Return the run in a folder; raises StorageError, InvalidFileError."""
        run = cls(Path(folder))
        _ = run.record
        return run

    @cached_property
    def record(self) -> RunRecord:
        """How it was made: the request, the detector's facts, weights, counts, seconds, unreadable images.

        Raises:
            StorageError, InvalidFileError: ``run.json`` cannot be read.
        """
        return read_run(self.folder)

    @property
    def predictions(self) -> Path:
        """The predictions file."""
        return self.folder / PREDICTIONS_FILE

    @property
    def exports(self) -> dict[str, Path]:
        """The predictions in other formats, by format: those that there are."""
        return {name: self.folder / file for name, file in EXPORTS.items() if (self.folder / file).exists()}

    def frames(self) -> Iterator[tuple[str, Detections]]:
        """Yield the name of each image, sorted, and its detections: by class, then by descending score.

        An image that could not be read has no detections.

        Raises:
            StorageError, InvalidFileError: the predictions file cannot be read.
        """
        return read_detections(self.predictions)

    __iter__ = frames

    def __len__(self) -> int:
        """Return the number of images."""
        return self.record.counts.images

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        counts = self.record.counts
        contents = f"{self.record.request.model}, {counts.images:,} images, {counts.detections:,} detections"
        return f"Run({str(self.folder)!r}: {contents})"


def predict(
    model: AnyModel,
    images: AnyPaths = (),
    *,
    every: int = 1,
    split: str | None = None,
    data: AnyPath | None = None,
    weights: AnyPath | None = None,
    out: AnyPath | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    precision: str = "auto",
    backend: str = "auto",
    min_score: float | None = None,
    classes: Sequence[str | int] | None = None,
    max_per_image: int | None = None,
    format: ExportFormat | Sequence[ExportFormat] = (),  # noqa: A002  (the option's name)
    cfg_options: Mapping[str, object] | None = None,
    fresh: bool = False,
    merge: bool = False,
    zoo: Zoo | None = None,
    offline: bool | None = None,
    progress: AnyProgress = None,
    command: Command | None = None,
) -> Run:
    """Detect objects in images, and write ``det.json`` and ``run.json`` into the run's folder.

    An interrupted run keeps what is done, and the same call resumes it; a finished one is returned as it is. Images
    that cannot be read get no detections and are listed in ``run.record.unreadable``. One process computes everything;
    the command line starts several (``--gpus``, torchrun, SLURM, mpirun).

    Args:
        model: a model of the zoo, or its name or alias.
        images: folders (searched recursively), files, videos, patterns, and lists of paths (``.txt``).
        every: of videos, take every Nth frame.
        split: instead of ``images``: ``val`` or ``test``, the images of this split of the dataset.
        data: root of the dataset, for ``split``; by default that of BDD100K_ROOT.
        weights: a checkpoint to use instead of the published one.
        out: folder of the run; by default ``runs/MODEL/images-NAME`` or ``runs/MODEL/SPLIT``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        batch_size: images per batch; None for what suits the device.
        workers: threads that read images ahead; None for what suits the machine.
        precision: of the network: ``auto`` (fp32), ``fp32``, ``tf32``, ``fp16`` or ``bf16``.
        backend: ``mmdet3``, ``mmdet2``, or ``auto`` for the installed one.
        min_score: leave out detections with lower scores, from 0 to 1; None for the limit of the model's config. The
            official numbers need the defaults of this and the next two.
        classes: only these, by name or index; None for all.
        max_per_image: keep at most so many detections of an image, those with the highest scores.
        format: also write the predictions as ``coco``, ``yolo`` or ``csv`` beside ``det.json``: one or several; see
            ``Run.exports``.
        cfg_options: settings of the model's config to override, by dotted key.
        fresh: start over, and replace the run in its folder.
        merge: compute nothing; merge the journals in the run's folder, wherever they were written.
        zoo: where to look up a name; None for ``load_zoo()``.
        offline: contact nothing; None to follow BDD100K_ZOO_OFFLINE.
        progress: None, True for bars, or a ``Progress``.
        command: the command line that makes this call, with what it knows of other processes.

    Raises:
        ImagesError: there are no images, or two have the same name.
        RunMismatchError: the folder holds another run.
        ZooError: any other failure.
    """
    paths, root = path_texts(images), dataset_root(data)
    if bool(paths) == bool(split):
        raise ZooError(
            "predict needs either images or a split", 'give images="FOLDER", or split="val" with data="ROOT"'
        )
    if split and root is None:
        raise ZooError(f"split {split!r} needs the dataset's root", 'give data="ROOT", or set BDD100K_ROOT')
    check_choice("precision", precision, PRECISIONS)
    formats: tuple[ExportFormat, ...] = (format,) if isinstance(format, str) else tuple(format)
    for each in formats:
        check_choice("format", each, ExportFormat)
    check_at_least(1, every=every, batch_size=batch_size, workers=workers)
    started = command.started if command else None
    request = job.PredictRequest(
        model=resolve_model(model, zoo),
        images=(split_image_folder(root, split),) if split and root else paths,
        every=every,
        out=optional_path(out),
        split=split,
        weights=optional_path(weights),
        device=device,
        precision=precision,
        backend=backend,
        batch_size=batch_size,
        workers=workers,
        min_score=min_score,
        classes=None if classes is None else tuple(classes),
        max_per_image=max_per_image,
        cfg_options=dict(cfg_options or {}),
        fresh=fresh and not started,
        place=command.place if command else SINGLE_PROCESS,
        started=started,
    )
    shown = resolve_progress(progress)
    with Store(offline=offline) as store:
        plan = job.plan_run(request, shown)
        if merge:
            record = job.merge_run(plan, store, shown)
        elif command and command.starts_processes:
            record = job.predict_in_processes(plan, command.processes, command.arguments, store, shown)
        else:
            record = job.predict(plan, store, shown)
        run = Run(plan.folder, complete=record is not None and not started)
        if formats and run.complete:
            write_exports(run.folder, formats, plan.frames, shown)
    return run
