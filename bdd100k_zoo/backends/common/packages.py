"""The installed versions of the packages that a backend needs."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DISTRIBUTIONS: Mapping[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "cv2": ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
    "mmengine": ("mmengine", "mmengine-lite"),
    "mmcv": ("mmcv-lite", "mmcv", "mmcv-full"),
    "mmdet": ("mmdet",),
}
"""The distributions that may provide each package that a backend imports."""


def installed_distributions(package: str) -> dict[str, str]:
    """Return the installed distributions that provide a package, and their versions."""
    found = {name: distribution_version(name) for name in DISTRIBUTIONS[package]}
    return {name: version for name, version in found.items() if version}


def stack_versions() -> dict[str, str]:
    """Return the versions of Python and of all packages that a backend imports, by distribution."""
    found = {name: version for package in DISTRIBUTIONS for name, version in installed_distributions(package).items()}
    return {"python": platform.python_version(), **found}


def distribution_version(distribution: str) -> str | None:
    """Return the version of a distribution; None if it is not installed."""
    try:
        return metadata.version(distribution)
    except (metadata.PackageNotFoundError, KeyError):  # KeyError: the installation was interrupted
        return None
