"""reproduce: published models → their APs, measured again."""

from __future__ import annotations

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
from bdd100k_zoo.data.images import split_image_folder
from bdd100k_zoo.display import resolve_progress
from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.evaluation.runs import find_labels_file
from bdd100k_zoo.hub.cache import Store
from bdd100k_zoo.prediction.launch import Command
from bdd100k_zoo.registry import Model, load_zoo
from bdd100k_zoo.registry.models import select_models
from bdd100k_zoo.reproduction import reproduce as job
from bdd100k_zoo.reproduction.results import Reproduction

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bdd100k_zoo.api.arguments import AnyModel, AnyPath
    from bdd100k_zoo.display import AnyProgress
    from bdd100k_zoo.registry import Zoo

__all__ = ["Reproduction", "reproduce", "reproduce_steps"]


def reproduce(
    models: AnyModel | Sequence[AnyModel] = (),
    *,
    family: str | Sequence[str] = (),
    data: AnyPath | None = None,
    split: str = "val",
    limit: int | None = None,
    published_predictions: bool = False,
    weights_dir: AnyPath | None = None,
    out: AnyPath = "reproduction",
    runs: AnyPath = "runs",
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    precision: str = "auto",
    backend: str = "auto",
    zoo: Zoo | None = None,
    offline: bool | None = None,
    progress: AnyProgress = None,
) -> Reproduction:
    """Measure the APs of published models again, and compare them with the published ones.

    Each model's weights are fetched, its run on the split is made or resumed, and scored. A model that fails is
    recorded and passed over. After each model, ``reproduction.json`` and ``reproduction.md`` are written, and at the
    end ``report.html``, the report on all runs, if the extra ``report`` is installed. The same call resumes after any
    interrupt.

    Args:
        models: models or their names, one or several; with neither these nor ``family``, all of the zoo.
        family: names or titles of families, one or several, whose models are added.
        data: root of the dataset; by default that of BDD100K_ROOT.
        split: the split of images, labels and published APs.
        limit: use at most so many of the split's images, from all of it. The result then has the 95 % interval of each
            AP, and no verdicts.
        published_predictions: score the publishers' prediction files instead of predicting: needs no weights or images.
        weights_dir: a folder of weights, named as published, for models that are not in the cache. They are checked
            and imported as ``cache import`` does.
        out: folder of the results.
        runs: folder of the runs: ``RUNS/MODEL/SPLIT``, or with a limit ``RUNS/MODEL/SPLIT-LIMIT``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        batch_size: images per batch; None for what suits the device.
        workers: threads that read images ahead; None for what suits the machine.
        precision: of the network: ``auto`` (fp32), ``fp32``, ``tf32``, ``fp16`` or ``bf16``.
        backend: ``mmdet3``, ``mmdet2``, or ``auto`` for the installed one.
        zoo: the known models; None for ``load_zoo()``.
        offline: contact nothing; None to follow BDD100K_ZOO_OFFLINE.
        progress: None, True for bars, or a ``Progress``.

    Returns:
        For each model, ``result[name]``: ``verdict``, ``measured_ap``, ``published_ap``, ``difference``, ``reason``.

    Raises:
        UnknownNameError: there is no such model or family.
        ImagesError, InputsError: there are no images or labels of the split.
        MissingPackageError, DeviceError: no model can be run here.
        ZooError: any other failure that no model can be blamed for.
    """
    steps = reproduce_steps(
        models,
        family=family,
        data=data,
        split=split,
        limit=limit,
        published_predictions=published_predictions,
        weights_dir=weights_dir,
        out=out,
        runs=runs,
        device=device,
        batch_size=batch_size,
        workers=workers,
        precision=precision,
        backend=backend,
        zoo=zoo,
        offline=offline,
        progress=progress,
    )
    *_, last = steps
    return last.found


def reproduce_steps(
    models: AnyModel | Sequence[AnyModel],
    *,
    family: str | Sequence[str],
    data: AnyPath | None,
    split: str,
    limit: int | None,
    published_predictions: bool,
    weights_dir: AnyPath | None,
    out: AnyPath,
    runs: AnyPath,
    device: str,
    batch_size: int | None,
    workers: int | None,
    precision: str,
    backend: str,
    zoo: Zoo | None,
    offline: bool | None,
    progress: AnyProgress,
    command: Command | None = None,
) -> Iterator[job.Step]:
    """Do what ``reproduce`` does, and yield the state whenever something has begun or ended.

    ``command`` is the command line that makes this call, with what it knows of other processes.
    """
    check_choice("precision", precision, PRECISIONS)
    check_at_least(1, limit=limit, batch_size=batch_size, workers=workers)
    if published_predictions and limit:
        raise ZooError("published predictions are of all images, and limit is of some", "leave out limit")
    known, root = load_zoo() if zoo is None else zoo, dataset_root(data)
    if root is None:
        raise ZooError("the root of the dataset is not given", "pass data=ROOT, or set BDD100K_ROOT")
    labels = find_labels_file(None, root, split)
    chosen = [models] if isinstance(models, (str, Model)) else models
    families = (family,) if isinstance(family, str) else family
    found = [resolve_model(each, known) for each in chosen]
    if families or not found:
        found += select_models(known, families=families)
    request = job.ReproduceRequest(
        zoo=known,
        models=tuple({model.name: model for model in found}.values()),
        labels=labels,
        images=None if published_predictions else split_image_folder(root, split),
        split=split,
        out=Path(out),
        runs=Path(runs),
        limit=limit,
        weights_dir=optional_path(weights_dir),
        device=device,
        precision=precision,
        backend=backend,
        batch_size=batch_size,
        workers=workers,
        command=command or Command(arguments=()),
    )
    with Store(offline=offline) as store:
        yield from job.reproduce(request, store, resolve_progress(progress))
