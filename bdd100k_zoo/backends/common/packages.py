"""Packages that a backend needs: which are installed, in which versions, and importing them one by one."""

from __future__ import annotations

import importlib
import logging
import platform
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from bdd100k_zoo.errors import MissingPackageError, ZooError
from bdd100k_zoo.quiet import silence_libraries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DISTRIBUTIONS: Mapping[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "cv2": ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
    "mmengine": ("mmengine", "mmengine-lite"),
    "mmcv": ("mmcv-lite", "mmcv", "mmcv-full"),
    "mmdet": ("mmdet",),
}
"""Which distributions may bring each package that the backend imports."""


def installed_distributions(package: str) -> dict[str, str]:
    """Give the installed distributions of a package and their versions."""
    found = {name: distribution_version(name) for name in DISTRIBUTIONS[package]}
    return {name: version for name, version in found.items() if version}


def stack_versions() -> dict[str, str]:
    """Give the versions of Python and of everything that the backend imports, by distribution."""
    found = {name: version for package in DISTRIBUTIONS for name, version in installed_distributions(package).items()}
    return {"python": platform.python_version(), **found}


def distribution_version(distribution: str) -> str | None:
    """Give the version of a distribution; None where it is not installed."""
    try:
        return metadata.version(distribution)
    except (metadata.PackageNotFoundError, KeyError):  # KeyError: of an installation that was cut short
        return None


def import_package(package: str, extra: str, module: str | None = None, prepare: Callable[[], object] = dict) -> None:
    """Import a package, or one module of it.

    What it warns of meanwhile, by whatever means, is its makers' to mend, and not shown.

    Args:
        package: what errors name.
        extra: the extra that installs it.
        module: the module to import in its place.
        prepare: is called before.

    Raises:
        MissingPackageError: it is missing, or refuses, in whatever way, to be imported.
    """
    try:
        with silence_libraries(logging.WARNING):
            prepare()
            importlib.import_module(module or package)
    except ZooError:
        raise
    # Builds that do not match raise anything: OSError for a library that is not there, RuntimeError for torchvision's
    # ops of another torch, AssertionError in mmdet for mmcv's version, ValueError for another numpy's memory layout.
    except Exception as error:
        raise MissingPackageError(package, extra, " ".join(str(error).split()) or type(error).__name__) from error


def check_mmdet_version(wanted: int, extra: str) -> None:
    """Check that the mmdet that is imported is of a generation; raises MissingPackageError."""
    version = str(sys.modules["mmdet"].__version__)
    if version.partition(".")[0] != str(wanted):
        raise MissingPackageError(f"mmdet {wanted}", extra, f"mmdet {version} is installed")
