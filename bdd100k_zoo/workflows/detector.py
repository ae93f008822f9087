"""A model of the zoo with its weights, ready for images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bdd100k_zoo.artifacts.store import Store
from bdd100k_zoo.backends import choose
from bdd100k_zoo.inference.images import read_image
from bdd100k_zoo.progress import SILENT
from bdd100k_zoo.records.run import WeightsUsed
from bdd100k_zoo.workflows.fetch import fetch_all

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from bdd100k_zoo.artifacts.store import StoredFile
    from bdd100k_zoo.boxes import Detections
    from bdd100k_zoo.inference.protocol import Detector
    from bdd100k_zoo.manifest import Model
    from bdd100k_zoo.progress import Progress


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
    precision: str = "auto",
    cfg_options: Mapping[str, object] | None = None,
    backend: str = "auto",
    store: Store | None = None,
    progress: Progress = SILENT,
) -> LoadedDetector:
    """Load a model with its published weights (from the cache, else downloaded) or with a file of yours.

    Args:
        model: a model of the zoo.
        weights: a checkpoint to use instead of the published one.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: how the network computes: ``auto`` (fp32), ``fp32``, ``tf32``, ``fp16`` or ``bf16``.
        cfg_options: settings of the model's config to override, by dotted key.
        backend: ``mmdet3``, ``mmdet2``, or ``auto`` for the one that is installed.
        store: the cache; the user's own where none is given.
        progress: where to report.

    Raises:
        ZooError: whatever is in the way, see ``bdd100k_zoo.errors``. Nothing is downloaded before the rest is seen to.
    """
    options, chosen = dict(cfg_options or {}), choose(backend)
    chosen.check(model.config_path, device, options, precision)
    stored = fetch_weights(model, Path(weights) if weights else None, store or Store(), progress)
    detector = chosen.load(model.name, model.config_path, stored.path, device, options, precision)
    return LoadedDetector(model, stored, detector)


def fetch_weights(model: Model, file: Path | None, store: Store, progress: Progress) -> StoredFile:
    """Give a file of the user's, or else the published weights; raises ArtifactError, StorageError."""
    artifact = model.artifact("weights")
    with store:
        if file is None:
            return fetch_all(store, [artifact], progress)[0]
        stored = store.adopt(artifact, file)
    if not stored.verified:
        progress.note(f"the weights of {model.name} are unverified: {stored.reason}")
    return stored


def weights_used(stored: StoredFile) -> WeightsUsed:
    """Give what a run records of its weights."""
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
