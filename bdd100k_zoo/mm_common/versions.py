"""Which distributions brought the packages of this backend, and in which versions. Imports none of them."""

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
"""Which distributions may bring each package that the backend imports."""


def installed(package: str) -> dict[str, str]:
    """Give the installed distributions of a package and their versions."""
    found = {name: _version(name) for name in DISTRIBUTIONS[package]}
    return {name: version for name, version in found.items() if version}


def versions() -> dict[str, str]:
    """Give the versions of Python and of everything that the backend imports, by distribution."""
    found = {name: version for package in DISTRIBUTIONS for name, version in installed(package).items()}
    return {"python": platform.python_version(), **found}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except (metadata.PackageNotFoundError, KeyError):  # KeyError: of an installation that was cut short
        return None
