"""Detectors through mmdet 2.28 and a compiled mmcv-full 1.7: the stack that the published weights were trained with.

The functions are those of ``mmdet_backend``. Importing this package imports neither torch nor mmdet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.backends.common import packages

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

    from bdd100k_zoo.backends.protocol import Detector

NAME = "mmdet2"

EXTRA = "mmcv-full"
"""The extra that names what this backend needs; see docs/classic.md."""

PACKAGES: tuple[str, ...] = ("torch", "torchvision", "cv2", "mmengine", "mmcv", "mmcv._ext", "mmdet")
"""What the backend imports, each before those that need it. mmengine reads the configs, and nothing else."""


def load(
    model_name: str,
    config_path: Path,
    checkpoint: Path,
    device: str = "auto",
    overrides: Mapping[str, object] | None = None,
    precision: str = "auto",
    *,
    as_built: bool = False,  # noqa: ARG001  (they always are)
) -> Detector:
    """Load a model's weights into what its config describes, in mmdet 2's terms.

    The arguments are those of ``mmdet_backend.load``. ``auto`` is CUDA where mmcv-full was built with it.

    Raises:
        MissingPackageError: a package of the extra is missing or does not import.
        ConfigError: also a setting that mmdet 2 has no counterpart for.
        DeviceError, PrecisionError, StorageError, CheckpointError: see their descriptions.
    """
    import_backend()
    from bdd100k_zoo.backends.common.config import is_package_config
    from bdd100k_zoo.backends.mmdet2.config import load_config
    from bdd100k_zoo.backends.mmdet2.detector import build_detector

    config = load_config(config_path, overrides, name=model_name)
    customised = bool(overrides) or not is_package_config(config_path)
    return build_detector(
        config, name=model_name, checkpoint=checkpoint, device=device, precision=precision, customised=customised
    )


def check(
    config_path: Path,
    device: str = "auto",
    overrides: Mapping[str, object] | None = None,
    precision: str = "auto",
) -> None:
    """See to everything that ``load`` needs beside the weights, so that they are not fetched in vain.

    Raises:
        MissingPackageError, ConfigError, DeviceError, PrecisionError: as ``load`` does.
    """
    import_backend()
    from bdd100k_zoo.backends.mmdet2.config import load_config
    from bdd100k_zoo.backends.mmdet2.detector import check_config, resolve_device, resolve_precision

    resolve_precision(precision, resolve_device(device))
    check_config(load_config(config_path, overrides), name=str(config_path))


def check_checkpoint(model_name: str, config_path: Path, path: Path) -> None:
    """Tell whether a file of weights is a model's; see ``mmdet_backend.check_checkpoint``.

    Raises:
        MissingPackageError: a package of the extra is missing or does not import.
        ConfigError, StorageError, CheckpointError: see their descriptions.
    """
    import_backend()
    from bdd100k_zoo.backends.common.checkpoint import check_checkpoint_file
    from bdd100k_zoo.backends.mmdet2.config import load_config
    from bdd100k_zoo.backends.mmdet2.detector import build_model

    def build() -> nn.Module:
        return build_model(load_config(config_path, name=model_name), name=model_name)

    check_checkpoint_file(path, build, model_name=model_name)


def import_backend() -> None:
    """Import mmdet 2 and all that it stands on.

    Raises:
        MissingPackageError: the first package that is missing, does not import or is of another generation, and why.
    """
    for package in PACKAGES:
        import_package(package)
    packages.check_mmdet_version(2, EXTRA)
    import_package("mmdet.apis")


def import_package(package: str) -> None:
    """Import one of ``PACKAGES``, or one of their modules.

    Raises:
        MissingPackageError: it is missing, or refuses, in whatever way, to be imported.
    """
    packages.import_package(package.partition(".")[0], EXTRA, package)
