"""Images → predictions file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from bdd100k_zoo import mmdet_backend
from bdd100k_zoo.artifacts.store import Store
from bdd100k_zoo.errors import NoImagesError
from bdd100k_zoo.inference.images import find_images, read_image
from bdd100k_zoo.inference.runner import Tally, run
from bdd100k_zoo.progress import SILENT
from bdd100k_zoo.records.files import storage_errors
from bdd100k_zoo.records.kept import sha256_of
from bdd100k_zoo.records.predictions import PredictionsWriter
from bdd100k_zoo.records.run import (
    PREDICTIONS,
    RUN,
    Counts,
    RunRecord,
    Seconds,
    Unreadable,
    WeightsUsed,
    write_run,
)
from bdd100k_zoo.workflows.fetch import fetch_all
from bdd100k_zoo.workflows.run_folder import Plan, check_replaceable, claimed, default_folder, resolved

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from bdd100k_zoo.artifacts.store import StoredFile
    from bdd100k_zoo.boxes import Detections
    from bdd100k_zoo.inference.images import Frame
    from bdd100k_zoo.inference.protocol import Detector
    from bdd100k_zoo.manifest import Model
    from bdd100k_zoo.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a prediction run is asked to do."""

    model: Model
    images: tuple[str, ...]
    """Folders, files, glob patterns, lists and videos; see ``inference.images.find_images``."""
    every: int = 1
    """Of a video, take frames 0, ``every``, 2 ``every`` …"""
    out: Path | None = None
    """The run's folder; None for the one that ``run_folder.default_folder`` names."""
    split: str | None = None
    weights: Path | None = None
    """A checkpoint to use instead of the published one."""
    device: str = "auto"
    cfg_options: Mapping[str, object] = field(default_factory=dict)
    fresh: bool = False
    """Replace whatever run stands in the folder."""

    @property
    def folder(self) -> Path:
        """The run's folder; raises StorageError."""
        return self.out or default_folder(self.model.name, self.images, self.split)

    def plan(self) -> Plan:
        """What tells this run from another one, as far as it is known before it starts; raises StorageError."""
        return Plan(
            model=self.model.name,
            image_roots=tuple(map(resolved, self.images)),
            every=self.every,
            split=self.split,
            cfg_options=self.cfg_options,
        )


class LoadedDetector:
    """A detector ready for images: call it with a path, or with pixels."""

    def __init__(self, model: Model, weights: StoredFile, detector: Detector) -> None:
        self.model = model
        self.weights = weights
        self.detector = detector

    def __call__(self, image: str | os.PathLike[str] | npt.NDArray[np.uint8]) -> Detections:
        """Find objects in one image.

        Args:
            image: a JPEG or PNG file, or pixels: uint8 [height, width, 3] in BGR order, as OpenCV reads them.

        Returns:
            Boxes in that image's pixels (a file's EXIF rotation applied).

        Raises:
            UnreadableImageError: the file is not one whole image.
        """
        pixels = read_image(Path(image)) if isinstance(image, (str, os.PathLike)) else image
        return self.detector.detect(pixels)


def load_detector(
    model: Model,
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    cfg_options: Mapping[str, object] | None = None,
    store: Store | None = None,
    progress: Progress = SILENT,
) -> LoadedDetector:
    """Load a model with its published weights (from the cache, else downloaded) or with a file of yours.

    Args:
        model: a model of the zoo.
        weights: a checkpoint to use instead of the published one.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        cfg_options: settings of the model's config to override, by dotted key.
        store: the cache; the user's own where none is given.
        progress: where to report.

    Raises:
        ZooError: whatever is in the way, see ``bdd100k_zoo.errors``. Nothing is downloaded before the rest is seen to.
    """
    options = dict(cfg_options or {})
    _check_backend(model, device, options)
    stored = _weights(model, Path(weights) if weights else None, store or Store(), progress)
    return _load(model, stored, device, options)


def _check_backend(model: Model, device: str, options: Mapping[str, object]) -> None:
    mmdet_backend.check(model.config_path, device, options)


def _load(model: Model, weights: StoredFile, device: str, options: Mapping[str, object]) -> LoadedDetector:
    detector = mmdet_backend.load(model.name, model.config_path, weights.path, device, options)
    return LoadedDetector(model, weights, detector)


def _weights(model: Model, file: Path | None, store: Store, progress: Progress) -> StoredFile:
    artifact = model.artifact("weights")
    with store:
        if file is None:
            return fetch_all(store, [artifact], progress)[0]
        stored = store.adopt(artifact, file)
    if not stored.verified:
        progress.note(f"the weights of {model.name} are unverified: {stored.reason}")
    return stored


def predict(request: Request, store: Store, progress: Progress) -> RunRecord:
    """Run a model over images and write the run's folder: predictions file and record.

    Raises:
        ZooError: whatever is in the way; images that cannot be read are counted instead.
    """
    started, clock = datetime.now(timezone.utc), perf_counter()
    frames = find_images(request.images, every=request.every)
    folder = request.folder
    with claimed(folder):
        loaded = _prepare(request, folder, len(frames), store, progress)
        load_seconds = perf_counter() - clock
        tally = _write_predictions(loaded.detector, frames, folder, progress, fresh=request.fresh)
        record = _record(request, loaded, tally, started, load_seconds, perf_counter() - clock)
        write_run(folder, record)
    return record


def _prepare(request: Request, folder: Path, images: int, store: Store, progress: Progress) -> LoadedDetector:
    """Load the detector, what is cheap to check first and what is downloaded last."""
    plan = request.plan()
    if not request.fresh:
        check_replaceable(folder, plan)
    progress.note(f"{request.model.name} on {images:,} image{'' if images == 1 else 's'} → {folder}")
    _check_backend(request.model, request.device, request.cfg_options)
    weights = _weights(request.model, request.weights, store, progress)
    if not request.fresh:
        check_replaceable(folder, replace(plan, weights_sha256=weights.sha256))
    return _load(request.model, weights, request.device, request.cfg_options)


def split_images(root: Path, split: str) -> str:
    """Give the image folder of a split below a dataset root; raises NoImagesError, StorageError."""
    folder = root / "images" / "100k" / split
    with storage_errors(folder):
        found = folder.is_dir()
    if not found:
        raise NoImagesError(str(folder), "does not exist; a BDD100K root holds images/100k/val and images/100k/test")
    return str(folder)


def _write_predictions(
    detector: Detector, frames: Sequence[Frame], folder: Path, progress: Progress, *, fresh: bool
) -> Tally:
    writer = PredictionsWriter(folder / PREDICTIONS)
    try:
        tally = run(detector, frames, writer, progress)
        if fresh:  # the record of another run must never stand beside these predictions
            with storage_errors(folder / RUN):
                (folder / RUN).unlink(missing_ok=True)
        writer.finish()
    except BaseException:
        _keep_what_is_done(writer, progress)
        raise
    return tally


def _keep_what_is_done(writer: PredictionsWriter, progress: Progress) -> None:
    if kept := writer.abandon():
        progress.warn(f"the {writer.frames:,} frames done so far are in {kept}")
    elif writer.frames:
        progress.warn(f"the {writer.frames:,} frames done so far could not be kept")


def _record(
    request: Request,
    loaded: LoadedDetector,
    tally: Tally,
    started: datetime,
    load_seconds: float,
    total_seconds: float,
) -> RunRecord:
    facts = loaded.detector.facts
    return RunRecord(
        model=request.model.name,
        config=request.model.config,
        config_sha256=sha256_of(request.model.config_path),
        cfg_options=request.cfg_options,
        weights=_weights_used(loaded.weights),
        backend=facts.backend,
        device=facts.device,
        device_name=facts.device_name,
        precision=facts.precision,
        ops=facts.ops,
        versions=facts.versions,
        split=request.split,
        image_roots=tuple(map(resolved, request.images)),
        every=request.every,
        counts=Counts(images=tally.images, unreadable=len(tally.unreadable), detections=tally.detections),
        seconds=Seconds(
            load=load_seconds,
            decode=tally.decode,
            detect=tally.detect,
            write=tally.write,
            total=total_seconds,
        ),
        unreadable=tuple(Unreadable(name, reason) for name, reason in tally.unreadable),
        started=started.isoformat(timespec="seconds"),
    )


def _weights_used(stored: StoredFile) -> WeightsUsed:
    return WeightsUsed(
        path=str(stored.path),
        size=stored.size,
        md5=stored.md5,
        sha256=stored.sha256,
        verified=stored.verified,
        verified_by=stored.verified_by,
        unverified_because=stored.reason,
        address=stored.address,
    )
