"""Which distributions are installed, and whether they belong together. Imports none of them."""

from __future__ import annotations

import platform
import re
from typing import TYPE_CHECKING

from bdd100k_zoo.backends import for_mmdet
from bdd100k_zoo.mm_common.versions import DISTRIBUTIONS, version_of

if TYPE_CHECKING:
    from collections.abc import Mapping

OPENCV = DISTRIBUTIONS["cv2"]
MMCV = DISTRIBUTIONS["mmcv"]
REPORTED = (
    *("torch", "torchvision", "mmdet", "mmengine", *MMCV, *OPENCV),
    *("scalabel", "bdd100k", "pydantic", "numpy", "hotcoco", "Pillow"),
    *("av", "jinja2", "matplotlib", "huggingface_hub", "setuptools", "pip"),
)
"""What a bug report tells the versions of."""


def installed_versions() -> dict[str, str | None]:
    """Give the version of Python and of each of ``REPORTED``; None where it is not installed."""
    return {"python": platform.python_version(), **{name: version_of(name) for name in REPORTED}}


def generation_of(versions: Mapping[str, str | None]) -> str | None:
    """Name the backend that the installed mmdet is for; None where there is none, or one of neither."""
    backend = for_mmdet(versions.get("mmdet") or "")
    return backend.NAME if backend else None


def clash_of_mmcv(versions: Mapping[str, str | None]) -> str:
    """Say why the installed mmcv cannot be right for the installed mmdet; nothing where it can."""
    found = {name: version for name in MMCV if (version := versions.get(name))}
    told = ", ".join(f"{name} {version}" for name, version in found.items())
    if len(found) > 1:
        return f"{told}: they overwrite each other"
    generation = generation_of(versions)
    for name, version in found.items():
        wanted = _wanted(generation, name, numbers(version))
        if wanted:
            return f"{told} beside mmdet {versions['mmdet']}, which needs {wanted}"
    return ""


def _wanted(generation: str | None, name: str, version: tuple[int, ...]) -> str:
    """Say what is wanted in place of an mmcv; nothing where it fits."""
    if generation == "mmdet3" and not (name != "mmcv-full" and (2,) <= version < (2, 2)):
        return "mmcv-lite or mmcv, 2.0 or 2.1"
    if generation == "mmdet2" and not (name == "mmcv-full" and version < (1, 8)):
        return "mmcv-full 1.x, up to 1.7"
    return ""


def numbers(version: str) -> tuple[int, ...]:
    """Give the numbers that a version begins with, fit to be compared."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in match[0].split(".")) if match else ()
