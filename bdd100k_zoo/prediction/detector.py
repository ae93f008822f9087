"""A model of the zoo with its weights, ready for images: the Python interface."""

from __future__ import annotations

import os
import warnings
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.backends.selection import select_backend
from bdd100k_zoo.data.pixels import to_bgr
from bdd100k_zoo.display import resolve_progress
from bdd100k_zoo.errors import CheckpointError, ZooError
from bdd100k_zoo.files import sha256_of
from bdd100k_zoo.hub.cache import Store
from bdd100k_zoo.hub.download import fetch_all
from bdd100k_zoo.prediction.launch import SINGLE_PROCESS, default_workers
from bdd100k_zoo.prediction.limits import check_limits
from bdd100k_zoo.prediction.pipeline import Sizes, detect_images
from bdd100k_zoo.prediction.run import WeightsUsed
from bdd100k_zoo.prediction.sharding import chunk_size
from bdd100k_zoo.prediction.sources import given_images, name_image_in_errors, open_source
from bdd100k_zoo.registry import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from bdd100k_zoo.backends.protocol import BackendDetector, DetectorFacts
    from bdd100k_zoo.data.detections import Detections
    from bdd100k_zoo.data.pixels import Channels, ImageInput
    from bdd100k_zoo.display import AnyProgress
    from bdd100k_zoo.hub.cache import StoredFile
    from bdd100k_zoo.prediction.limits import Limits
    from bdd100k_zoo.prediction.sources import Source, StreamSource
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.registry import Model


class LoadOptions(NamedTuple):
    """How a model is loaded."""

    device: str
    precision: str
    backend: str
    cfg_options: Mapping[str, object]


class Detector:
    """A model with its weights on a device: call it with an image.

    Several threads may share a detector, and it works under ``asyncio.to_thread``. Calls of detectors that need
    different settings of torch for the whole process, as those of TF32 do on a GPU, wait for one another. A pickled
    detector holds neither weights nor ``progress``: the process that unpickles it, on the same machine, loads the same
    file again, which must not have changed.
    """

    def __init__(
        self,
        model: Model,
        weights: StoredFile,
        detector: BackendDetector,
        options: LoadOptions,
        limits: Limits,
        progress: Progress,
    ) -> None:
        """Wrap a backend's detector; ``load_detector`` is the way to get one."""
        self.model = model
        """The model's record in the zoo."""
        self.weights = weights
        """The file of weights, its digests, and what verified it."""
        self._detector, self._options, self._limits, self._progress = detector, options, limits, progress

    @property
    def facts(self) -> DetectorFacts:
        """Backend, device, precision and versions, as a run records them."""
        return self._detector.facts

    @property
    def device(self) -> str:
        """Where the model computes: ``cpu`` or ``cuda:N``."""
        return self.facts.device

    def __repr__(self) -> str:
        return f"Detector({self.model.name}, {self.device}, {self.facts.precision})"

    def __reduce__(self) -> tuple[Callable[..., Detector], tuple[object, ...]]:
        return _load_again, (self.model, self.weights, self._options, self._limits)

    def __call__(self, image: ImageInput, channels: Channels = "bgr") -> Detections:
        """Detect objects in one image.

        Args:
            image: a path to an image file; a ``PIL.Image.Image``; a uint8 array [height, width, 3], [height, width]
                (grey) or [height, width, 4] (alpha is dropped); or a uint8 tensor [3, height, width] in RGB.
            channels: the order of an array's channels: ``bgr``, as OpenCV has it, or ``rgb``.

        Returns:
            Boxes in the image's pixels (with a file's EXIF rotation applied), in the model's order.

        Raises:
            UnreadableImageError: the file is not a complete image.
            ImagesError: the image has a wrong type, dtype or shape, or is too thin to be scaled.
            NotFiniteError: the model gives NaN or infinity for it.
            DeviceError: the device fails or has too little memory.
        """
        pixels = to_bgr(image, channels)
        with name_image_in_errors(os.fspath(image) if isinstance(image, (str, os.PathLike)) else ""):
            return self._limits.apply(self._detector.detect(pixels))

    def batch(self, images: Iterable[ImageInput], channels: Channels = "bgr") -> list[Detections]:
        """Detect objects in several images, in batches of the size that suits the device.

        Args:
            images: images in any form that a call takes; their sizes may differ.
            channels: the order of the channels of arrays.

        Returns:
            The detections of each image, in the order of the images.

        Raises:
            ZooError: see ``__call__``; the message names the image, by its path or by its place from 0.
        """
        sources = given_images(images, channels)
        return [found for _, found in self._detect(sources, self._sizes(None, None), strict=True)]

    def stream(
        self,
        source: StreamSource,
        batch_size: int | None = None,
        workers: int | None = None,
        every: int = 1,
        channels: Channels = "bgr",
    ) -> Generator[tuple[str, Detections], None, None]:
        """Detect objects in any number of images, reading ahead in threads as the command ``predict`` does.

        Memory does not grow with the number of images. An image that cannot be read is reported by a warning and
        skipped: by the logger ``bdd100k_zoo``, and the ``progress`` that the detector was loaded with.

        Args:
            source: a folder, a glob pattern, a list file (``.txt``), an image or a video, or a list or tuple of those;
                or any other iterable of images in the forms that a call takes, or of pairs (name, image). An iterable
                is consumed by the thread that takes the results, up to some batches ahead.
            batch_size: images at once; None for what suits the device.
            workers: threads that read and preprocess; None for what suits the device.
            every: of a video, take frames 0, ``every``, 2 ``every`` …
            channels: the order of the channels of arrays.

        Yields:
            Name and detections of each image. Paths are named and sorted as in a run's predictions file. Images of an
            iterable come in its order: paths are named by their base names, others by their number, ``0000000`` first,
            unless a pair gives the name.

        Raises:
            ZooError: ``source`` names no image (at once), or see ``__call__`` (while the results are taken).
        """
        if every < 1:
            raise _too_small("every", every)
        sizes, sources = self._sizes(batch_size, workers), open_source(source, channels, every, self._progress)
        return self._detect(sources, sizes, strict=False)

    def _sizes(self, batch_size: int | None, workers: int | None) -> Sizes:
        for name, value in (("batch_size", batch_size), ("workers", workers)):
            if value is not None and value < 1:
                raise _too_small(name, value)
        batch = batch_size or self._detector.batch_size
        return Sizes(batch, chunk_size(batch), workers or default_workers(self.device, SINGLE_PROCESS))

    def _detect(
        self, sources: Iterable[Source], sizes: Sizes, *, strict: bool
    ) -> Generator[tuple[str, Detections], None, None]:
        with closing(
            detect_images(
                self._detector, enumerate(sources), sizes, self._limits, warn=self._progress.warn, strict=strict
            )
        ) as chunks:
            for chunk in chunks:
                for each in chunk.frames:
                    if each.unreadable is None:
                        yield each.name, each.detections


def load_detector(
    name_or_model: str | Model,
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: str = "auto",
    backend: str = "auto",
    min_score: float | None = None,
    classes: Iterable[str | int] | None = None,
    max_per_image: int | None = None,
    cfg_options: Mapping[str, object] | None = None,
    store: Store | None = None,
    progress: AnyProgress = None,
) -> Detector:
    """Load a model with its published weights (from the cache, else downloaded) or with a file of yours.

    A ``UserWarning`` reports random weights, and weights that no digest verifies, unless they are known not to be the
    published ones.

    ``min_score``, ``classes`` and ``max_per_image`` filter what the model returns, after its own selection: the
    published models return at most 100 boxes an image, with scores of at least 0.05, or what their config says. Lower
    limits need ``cfg_options``. A run of ``predict`` with the same limits has the same boxes.

    Args:
        name_or_model: a name or alias of ``load_zoo()``, or a model of any zoo.
        weights: a checkpoint to use instead of the published one, whatever digest is recorded for that.
        device: ``auto`` (CUDA if there is any), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: how the network computes: ``auto`` (fp32), ``fp32``, ``tf32``, ``fp16`` or ``bf16``.
        backend: ``mmdet3``, ``mmdet2``, or ``auto`` for the one that is installed.
        min_score: return detections with at least this score, 0 to 1; None for any.
        classes: return detections of these classes, given by name or index; None for all.
        max_per_image: return this many detections with the highest scores of those that are left; None for any number.
        cfg_options: settings of the model's config to override, by dotted key.
        store: the cache; None for the user's own.
        progress: None, True for bars in a terminal or a notebook, or a ``Progress``.

    Raises:
        UnknownNameError: no model has that name.
        ZooError: whatever is in the way, see ``bdd100k_zoo.errors``. Downloads come last.
    """
    shown = resolve_progress(progress)
    model = load_zoo()[name_or_model] if isinstance(name_or_model, str) else name_or_model
    limits = check_limits(min_score, classes, max_per_image)
    options = LoadOptions(device, precision, backend, dict(cfg_options or {}))
    select_backend(backend).check(model.config_path, device, options.cfg_options, precision)
    stored = fetch_weights(model, Path(weights) if weights else None, store or Store(), shown)
    detector = Detector(model, stored, _load(model, stored, options), options, limits, shown)
    if detector.facts.random_weights:
        warnings.warn(random_weights_warning(stored), stacklevel=2)
    elif not stored.verified and stored.published is None:
        warnings.warn(f"the weights of {model.name} are unverified: {stored.reason}", stacklevel=2)
    return detector


def _too_small(name: str, value: int) -> ZooError:
    return ZooError(f"expected {name} to be at least 1, found {value}", f"leave out {name}, or pass 1 or more")


def _load(model: Model, stored: StoredFile, options: LoadOptions) -> BackendDetector:
    backend = select_backend(options.backend)
    return backend.load(
        model.name, model.config_path, stored.path, options.device, options.cfg_options, options.precision
    )


def _load_again(model: Model, stored: StoredFile, options: LoadOptions, limits: Limits) -> Detector:
    """Load a pickled detector; raises CheckpointError if its weights have changed, StorageError if they are gone."""
    if sha256_of(stored.path) != stored.sha256:
        hint = "restore the file, or load the detector anew"
        raise CheckpointError(f"{stored.path} has changed since the detector of {model.name} was pickled", hint)
    return Detector(model, stored, _load(model, stored, options), options, limits, resolve_progress(None))


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
