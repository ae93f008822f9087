"""Detectors through mmdet 3.3. Importing this package imports neither torch nor mmdet; loading a detector does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.backends.common import packages

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bdd100k_zoo.backends.protocol import Detector

NAME = "mmdet3"

EXTRA = "predict"
"""The extra that installs what this backend needs."""

PACKAGES: tuple[str, ...] = ("torch", "torchvision", "cv2", "mmengine", "mmcv", "mmdet")
"""What the backend imports, each before those that need it."""


def load(
    model_name: str,
    config_path: Path,
    checkpoint: Path,
    device: str = "auto",
    overrides: Mapping[str, object] | None = None,
    precision: str = "auto",
    *,
    as_built: bool = False,
) -> Detector:
    """Load a model's weights into what its config describes.

    Args:
        model_name: what errors call the model.
        config_path: an mmdet config. It is code and is run: only those of the package or of files that the user names.
        checkpoint: the weights; nothing in this file is ever run.
        device: ``auto`` (CUDA where there is any), ``cpu``, ``cuda`` or ``cuda:N``.
        overrides: settings of the config by dotted key.
        precision: ``auto`` (fp32), ``fp32``, ``tf32``, ``fp16`` or ``bf16``: how the network computes.
        as_built: compute by the layers that mmdet builds, without what makes them faster.

    Raises:
        MissingPackageError: a package of the extra is missing or does not import.
        ConfigError, DeviceError, PrecisionError, StorageError, CheckpointError: see their descriptions.
    """
    import_backend()
    from bdd100k_zoo.backends.common.config import is_package_config, load_config
    from bdd100k_zoo.backends.mmdet3.detector import build_detector

    config = load_config(config_path, overrides)
    customised = bool(overrides) or not is_package_config(config_path)
    return build_detector(
        config,
        name=model_name,
        checkpoint=checkpoint,
        device=device,
        precision=precision,
        customised=customised,
        as_built=as_built,
    )


def check(
    config_path: Path,
    device: str = "auto",
    overrides: Mapping[str, object] | None = None,
    precision: str = "auto",
) -> None:
    """See to everything that ``load`` needs beside the weights, so that they are not fetched in vain.

    The arguments are those of ``load``. The test pipeline is tried on a grey frame; no weights are given memory.

    Raises:
        MissingPackageError, ConfigError, DeviceError, PrecisionError: as ``load`` does.
    """
    import_backend()
    from bdd100k_zoo.backends.common.config import load_config
    from bdd100k_zoo.backends.common.devices import resolve_device
    from bdd100k_zoo.backends.common.precision import resolve_precision
    from bdd100k_zoo.backends.mmdet3.detector import check_config

    resolve_precision(precision, resolve_device(device))
    check_config(load_config(config_path, overrides), name=str(config_path))


def check_checkpoint(model_name: str, config_path: Path, path: Path) -> None:
    """Check that a file is a model's trained weights: parameters, shapes, values, classes. Nothing in it is run.

    Args:
        model_name: what errors call the model.
        config_path: an mmdet config. It is code and is run: only those of the package or of files that the user names.
        path: the weights.

    Raises:
        MissingPackageError: a package of the extra is missing or does not import.
        ConfigError, StorageError, CheckpointError: see their descriptions.
    """
    import_backend()
    from bdd100k_zoo.backends.common.checkpoint import check_checkpoint_file
    from bdd100k_zoo.backends.common.config import load_config
    from bdd100k_zoo.backends.mmdet3.detector import build_meta_model

    check_checkpoint_file(
        path, lambda: build_meta_model(load_config(config_path), name=model_name), model_name=model_name
    )


def import_backend() -> None:
    """Import mmdet and all that it stands on, with ops that work.

    Raises:
        MissingPackageError: the first package that is missing or does not import, and why.
    """
    for package in PACKAGES:
        import_package(package)
    packages.check_mmdet_version(3, EXTRA)
    import_package("mmdet", "mmdet.models")
    import_package("mmdet", "mmdet.datasets")


def import_package(package: str, module: str | None = None) -> None:
    """Import a package, or one module of it; before mmdet, see to the ops that it will ask for.

    Raises:
        MissingPackageError: it is missing, or refuses, in whatever way, to be imported.
    """
    packages.import_package(package, EXTRA, module, _install_ops if package == "mmdet" else dict)


def _install_ops() -> None:
    from bdd100k_zoo.backends.mmdet3 import ops

    ops.install_ops()
