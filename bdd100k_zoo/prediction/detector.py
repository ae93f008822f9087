"""A model of the zoo with its weights, ready for images: the Python interface."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from bdd100k_zoo.backends.selection import select_backend
from bdd100k_zoo.data.images import read_image
from bdd100k_zoo.errors import NotFiniteError
from bdd100k_zoo.hub.cache import Store
from bdd100k_zoo.hub.download import fetch_all
from bdd100k_zoo.prediction.run import WeightsUsed
from bdd100k_zoo.progress import NO_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from bdd100k_zoo.backends.protocol import BackendDetector, DetectorFacts
    from bdd100k_zoo.data.detections import Detections
    from bdd100k_zoo.hub.cache import StoredFile
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Model


class LoadedDetector:
    """A detector ready for images: call it with a path, or with pixels."""

    def __init__(self, model: Model, weights: StoredFile, detector: BackendDetector) -> None:
        self.model = model
        self.weights = weights
        self.detector = detector

    def __call__(self, image: str | os.PathLike[str] | npt.NDArray[np.uint8]) -> Detections:
        """Detect objects in one image.

        Args:
            image: a JPEG or PNG file, or pixels: uint8 [height, width, 3] in BGR order, as OpenCV reads them.

        Returns:
            Boxes in that image's pixels (with a file's EXIF rotation applied).

        Raises:
            UnreadableImageError: the file is not one whole image.
            NotFiniteError: the model gives NaN or infinity for it.
        """
        if not isinstance(image, (str, os.PathLike)):
            return self.detector.detect(image)
        try:
            return self.detector.detect(read_image(Path(image)))
        except NotFiniteError as error:
            raise NotFiniteError(error.model, error.precision, str(image)) from error


def load_detector(
    model: Model,
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: str = "auto",
    cfg_options: Mapping[str, object] | None = None,
    backend: str = "auto",
    store: Store | None = None,
    progress: Progress = NO_PROGRESS,
) -> LoadedDetector:
    """Load a model with its published weights (from the cache, else downloaded) or with a file of yours.

    A ``UserWarning`` reports random weights, and weights that no digest verifies, unless they are known not to be the
    published ones.

    Args:
        model: a model of the zoo.
        weights: a checkpoint to use instead of the published one, whatever digest is recorded for that.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: how the network computes: ``auto`` (fp32), ``fp32``, ``tf32``, ``fp16`` or ``bf16``.
        cfg_options: settings of the model's config to override, by dotted key.
        backend: ``mmdet3``, ``mmdet2``, or ``auto`` for the one that is installed.
        store: the cache; None for the user's own.
        progress: where to report.

    Raises:
        ZooError: whatever is in the way, see ``bdd100k_zoo.errors``. Downloads come last.
    """
    options, chosen = dict(cfg_options or {}), select_backend(backend)
    chosen.check(model.config_path, device, options, precision)
    stored = fetch_weights(model, Path(weights) if weights else None, store or Store(), progress)
    detector = chosen.load(model.name, model.config_path, stored.path, device, options, precision)
    if detector.facts.random_weights:
        warnings.warn(random_weights_warning(stored), stacklevel=2)
    elif not stored.verified and stored.published is None:
        warnings.warn(f"the weights of {model.name} are unverified: {stored.reason}", stacklevel=2)
    return LoadedDetector(model, stored, detector)


def fetch_weights(model: Model, file: Path | None, store: Store, progress: Progress) -> StoredFile:
    """Return the user's file, or else the published weights; raises ArtifactError, StorageError."""
    artifact = model.artifact("weights")
    with store:
        if file is None:
            return fetch_all(store, [artifact], progress)[0]
        stored = store.adopt(artifact, file)
    if stored.published is False:
        progress.note(f"{file} is your own file, not the published weights of {model.name}; the run records this")
    elif not stored.verified:
        progress.note(f"the weights of {model.name} are unverified: {stored.reason}")
    return stored


def random_weights_warning(stored: StoredFile) -> str:
    """Return the warning about random weights."""
    return f"the weights in {stored.path} are random, as their metadata states: the detections are meaningless"


def build_weights_record(stored: StoredFile, facts: DetectorFacts) -> WeightsUsed:
    """Return what a run records of its weights."""
    return WeightsUsed(
        path=str(stored.path),
        size=stored.size,
        md5=stored.md5,
        sha256=stored.sha256,
        verified=stored.verified,
        verified_by=stored.verified_by,
        unverified_because=stored.reason,
        address=stored.address,
        published=stored.published,
        random=facts.random_weights,
    )
