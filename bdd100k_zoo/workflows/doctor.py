"""What is installed, whether it works, and the exact repair of what does not."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from bdd100k_zoo import __version__, mmdet_backend
from bdd100k_zoo.artifacts.store import Store, default_root
from bdd100k_zoo.errors import MissingPackageError, ZooError
from bdd100k_zoo.manifest import load_zoo
from bdd100k_zoo.mmdet_backend import probe
from bdd100k_zoo.progress import SILENT
from bdd100k_zoo.workflows.repairs import repair_of

if TYPE_CHECKING:
    from collections.abc import Iterator

DISTRIBUTIONS = {
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "cv2": ("opencv-python", "opencv-python-headless", "opencv-contrib-python"),
    "mmengine": ("mmengine", "mmengine-lite"),
    "mmcv": ("mmcv-lite", "mmcv", "mmcv-full"),
    "mmdet": ("mmdet",),
}
"""Which distributions may bring each package that the backend imports."""


class Finding(Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    found: str
    fine: bool = True
    repair: str = ""


def examine(*, trial: bool = True) -> list[Finding]:
    """Look at everything that prediction needs; with ``trial``, predict with random weights too."""
    findings = [*_basics(), *(_package(name) for name in mmdet_backend.PACKAGES)]
    if all(finding.fine for finding in findings):
        findings += [_devices(), Finding("ops", f"served by {probe.ops_server()}")]
        findings += [_trial()] if trial else []
    elif trial:
        findings.append(Finding("trial", "left out, as the above must be repaired first", fine=False))
    return findings


def _basics() -> Iterator[Finding]:
    yield Finding("bdd100k-zoo", f"{__version__}, {len(load_zoo().models)} models")
    supported = (3, 10) <= sys.version_info[:2] <= (3, 13)
    repair = "" if supported else "use Python 3.10 to 3.13: mmengine does not work beyond"
    yield Finding("Python", f"{platform.python_version()} on {platform.platform()}", supported, repair)
    yield _cache(default_root())


def _cache(root: Path) -> Finding:
    nearest = next(folder for folder in (root, *root.parents) if folder.exists())
    if os.access(nearest, os.W_OK):
        return Finding("cache", str(root))
    return Finding("cache", f"{root} cannot be written", False, "set BDD100K_ZOO_CACHE to a folder of yours")


def _package(name: str) -> Finding:
    installed = [(found, number) for found in DISTRIBUTIONS[name] if (number := _version(found))]
    named = ", ".join(f"{found} {number}" for found, number in installed) or "not installed"
    if name == "mmcv" and len(installed) > 1:
        repair = "pip uninstall -y mmcv mmcv-full mmcv-lite; pip install mmcv-lite==2.1.0"
        return Finding(name, f"{named}: they overwrite each other", fine=False, repair=repair)
    try:
        mmdet_backend.import_package(name)
    except MissingPackageError as error:
        return Finding(name, f"{named}; {error.reason}", fine=False, repair=repair_of(error.reason))
    return Finding(name, f"{named}, imports")


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _devices() -> Finding:
    built = probe.cuda_version()
    names = probe.devices()
    if names:
        return Finding("CUDA", f"{built}: {', '.join(names)}")
    if built is None:
        return Finding("CUDA", "torch is a CPU build; predictions run on the CPU")
    return Finding("CUDA", f"torch is built for {built}, no usable GPU or driver found; predictions run on the CPU")


def _trial() -> Finding:
    from bdd100k_zoo.workflows.predict import load_detector
    from bdd100k_zoo.workflows.trial import DEFAULT_MODEL, make_trial

    try:
        with tempfile.TemporaryDirectory(prefix="bdd100k-zoo-doctor-") as name:
            model = load_zoo()[DEFAULT_MODEL]
            made = make_trial(model, Path(name))
            detector = load_detector(model, weights=made.weights, store=Store(offline=True), progress=SILENT)
            found = detector(made.frames / "street.jpg")
    except ZooError as error:
        return Finding("trial", str(error), fine=False, repair=repair_of(str(error)))
    return Finding("trial", f"{model.name} with random weights on {detector.detector.facts.device}: {len(found)} boxes")
