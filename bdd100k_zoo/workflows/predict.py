"""Images → predictions file."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from bdd100k_zoo import mmdet_backend
from bdd100k_zoo.artifacts.store import Store
from bdd100k_zoo.errors import NoImagesError, OtherRunError, RecordError
from bdd100k_zoo.inference.images import find_images, read_image
from bdd100k_zoo.inference.runner import Tally, run
from bdd100k_zoo.progress import SILENT
from bdd100k_zoo.records.predictions import PredictionsWriter
from bdd100k_zoo.records.run import (
    PREDICTIONS,
    RUN,
    Counts,
    RunRecord,
    Seconds,
    Unreadable,
    WeightsUsed,
    read_run,
    write_run,
)

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
    """Folders, files and glob patterns."""
    out: Path
    """The run's folder."""
    split: str | None = None
    weights: Path | None = None
    """A checkpoint to use instead of the published one."""
    device: str = "auto"
    cfg_options: Mapping[str, object] = field(default_factory=dict)


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
        ZooError: whatever is in the way, see ``bdd100k_zoo.errors``.
    """
    stored = _weights(model, Path(weights) if weights else None, store or Store(), progress)
    detector = mmdet_backend.load(model.name, model.config_path, stored.path, device, dict(cfg_options or {}))
    return LoadedDetector(model, stored, detector)


def _weights(model: Model, file: Path | None, store: Store, progress: Progress) -> StoredFile:
    artifact = model.artifact("weights")
    with store:
        cached = file or store.find(artifact)
        stored = store.adopt(artifact, file) if file else store.fetch(artifact, progress)
    if cached and not stored.verified:  # a transfer has said it already
        say = progress.note if file else progress.warn
        say(f"the weights of {model.name} are unverified: {stored.reason}")
    return stored


def predict(request: Request, store: Store, progress: Progress) -> RunRecord:
    """Run a model over images and write the run's folder: predictions file and record.

    Raises:
        ZooError: whatever is in the way; images that cannot be read are counted instead.
    """
    started, clock = datetime.now(timezone.utc), perf_counter()
    frames = find_images(request.images)
    _check_folder(request)
    images = f"{len(frames):,} image{'' if len(frames) == 1 else 's'}"
    progress.note(f"{request.model.name} on {images} → {request.out}")
    loaded = load_detector(
        request.model,
        weights=request.weights,
        device=request.device,
        cfg_options=request.cfg_options,
        store=store,
        progress=progress,
    )
    load_seconds = perf_counter() - clock
    tally = _write_predictions(loaded.detector, frames, request.out, progress)
    record = _record(request, loaded, tally, started, load_seconds, perf_counter() - clock)
    write_run(request.out, record)
    return record


def split_images(root: Path, split: str) -> str:
    """Give the image folder of a split below a dataset root; raises NoImagesError where it is missing."""
    folder = root / "images" / "100k" / split
    if not folder.is_dir():
        raise NoImagesError(str(folder), "does not exist; a BDD100K root holds images/100k/val and images/100k/test")
    return str(folder)


def default_folder(model: Model, images: Sequence[str], split: str | None) -> Path:
    """Give the folder of a run that was not given one: runs/MODEL/SPLIT, or runs/MODEL/images-NAME."""
    if split:
        return Path("runs", model.name, split)
    stem = Path(images[0]).expanduser().resolve()
    name = stem.name if stem.is_dir() else stem.parent.name
    safe = "".join(character if character.isalnum() or character in "-_." else "_" for character in name)
    return Path("runs", model.name, f"images-{safe or 'root'}")


def _check_folder(request: Request) -> None:
    """A folder holds one model's run: overwriting another's would lose its only record."""
    if not (request.out / RUN).exists():
        if (request.out / PREDICTIONS).exists():
            raise RecordError(request.out / PREDICTIONS, f"stands there without a {RUN}; nothing was changed")
        return
    found = read_run(request.out)
    if found.model != request.model.name:
        raise OtherRunError(request.out, found.model, request.model.name)


def _write_predictions(detector: Detector, frames: Sequence[Frame], folder: Path, progress: Progress) -> Tally:
    writer = PredictionsWriter(folder / PREDICTIONS)
    try:
        tally = run(detector, frames, writer, progress)
        writer.finish()
    except BaseException:
        if kept := writer.abandon():
            progress.warn(f"the {writer.frames:,} frames done so far are in {kept}")
        raise
    return tally


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
        config_sha256=hashlib.sha256(request.model.config_path.read_bytes()).hexdigest(),
        cfg_options=request.cfg_options,
        weights=_weights_used(loaded.weights),
        backend=facts.backend,
        device=facts.device,
        device_name=facts.device_name,
        precision=facts.precision,
        ops=facts.ops,
        versions=facts.versions,
        split=request.split,
        image_roots=request.images,
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
