"""The packages that a backend needs: their installed versions, and importing them one by one."""

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
"""The distributions that may bring each package that a backend imports."""


def installed_distributions(package: str) -> dict[str, str]:
    """Return the installed distributions that bring a package, and their versions."""
    found = {name: distribution_version(name) for name in DISTRIBUTIONS[package]}
    return {name: version for name, version in found.items() if version}


def stack_versions() -> dict[str, str]:
    """Return the versions of Python and of all that a backend imports, by distribution."""
    found = {name: version for package in DISTRIBUTIONS for name, version in installed_distributions(package).items()}
    return {"python": platform.python_version(), **found}


def distribution_version(distribution: str) -> str | None:
    """Return the version of a distribution; None where it is not installed."""
    try:
        return metadata.version(distribution)
    except (metadata.PackageNotFoundError, KeyError):  # KeyError: of an installation that was interrupted
        return None


def import_package(package: str, extra: str, module: str, before: Callable[[], object] | None = None) -> None:
    """Import a package, or one of its modules, without showing the warnings that it causes.

    Args:
        package: what errors name.
        extra: the extra that installs it.
        module: the package itself, or the module.
        before: is called first.

    Raises:
        MissingPackageError: it is missing, or raises anything while it is imported.
    """
    try:
        with silence_libraries(logging.WARNING):
            if before:
                before()
            importlib.import_module(module)
    except ZooError:
        raise
    # Builds that do not match raise anything: OSError for a library that is not there, RuntimeError for torchvision's
    # ops of another torch, AssertionError in mmdet for mmcv's version, ValueError for another numpy's memory layout.
    except Exception as error:
        raise MissingPackageError(package, extra, " ".join(str(error).split()) or type(error).__name__) from error


def check_mmdet_version(wanted: int, extra: str) -> None:
    """Check the major version of the mmdet that is imported; raises MissingPackageError."""
    version = str(sys.modules["mmdet"].__version__)
    if version.partition(".")[0] != str(wanted):
        raise MissingPackageError(f"mmdet {wanted}", extra, f"mmdet {version} is installed")
