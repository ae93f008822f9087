"""What is installed, whether it works, and the exact repair of what does not."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from bdd100k_zoo import __version__, mmdet_backend
from bdd100k_zoo.artifacts.store import Store, default_root
from bdd100k_zoo.errors import ManifestError, MissingPackageError, ZooError
from bdd100k_zoo.manifest import load_zoo
from bdd100k_zoo.mm_common.versions import installed
from bdd100k_zoo.progress import SILENT
from bdd100k_zoo.workflows.repairs import repair_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Finding(Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    found: str
    fine: bool = True
    repair: str = ""


def examine(zoo_files: Sequence[Path] = (), *, trial: bool = True) -> list[Finding]:
    """Look at everything that prediction needs; nothing that is wrong with it raises.

    Args:
        zoo_files: the user's zoo files, beside those of BDD100K_ZOO_FILES.
        trial: predict with random weights too.
    """
    findings = [
        _seen("bdd100k-zoo", partial(_zoo, zoo_files)),
        _seen("Python", _python),
        _seen("cache", _cache),
    ]
    packages = [_seen(name, partial(_package, name)) for name in mmdet_backend.PACKAGES]
    findings += packages
    if all(package.fine for package in packages):
        findings += [_seen("CUDA", _devices), _seen("ops", _ops)]
    if trial and all(finding.fine for finding in findings):
        findings.append(_seen("trial", _trial))
    elif trial:
        findings.append(Finding("trial", "left out, as the above must be repaired first", fine=False))
    return findings


def _seen(what: str, look: Callable[[], Finding]) -> Finding:
    """Look at something; whatever that raises is the finding."""
    try:
        return look()
    except ManifestError as error:
        repair = f"correct {error.file}, or leave it out of --zoo and BDD100K_ZOO_FILES"
        return Finding(what, str(error), fine=False, repair=repair)
    except ZooError as error:
        return Finding(what, str(error), fine=False, repair=repair_of(str(error)))
    except Exception as error:  # noqa: BLE001  (an installation can be broken in any way)
        reason = f"{type(error).__name__}: {error}"
        return Finding(what, reason, fine=False, repair=repair_of(reason))


def _zoo(files: Sequence[Path]) -> Finding:
    return Finding("bdd100k-zoo", f"{__version__}, {len(load_zoo(*files).models)} models")


def _python() -> Finding:
    supported = (3, 10) <= sys.version_info[:2] <= (3, 13)
    repair = "" if supported else "use Python 3.10 to 3.13: mmengine does not work beyond"
    return Finding("Python", f"{platform.python_version()} on {platform.platform()}", supported, repair)


def _cache() -> Finding:
    root = default_root().absolute()
    if problem := _obstacle(root):
        return Finding("cache", f"{root}: {problem}", False, "set BDD100K_ZOO_CACHE to a folder of yours")
    return Finding("cache", str(root))


def _obstacle(root: Path) -> str:
    """Say why files cannot be written below a folder that may be still to be made; nothing where they can."""
    try:
        root.stat()
    except FileNotFoundError:
        pass
    except OSError as error:
        return error.strerror or str(error)
    nearest = next(folder for folder in (root, *root.parents) if folder.exists())
    if not nearest.is_dir():
        return f"{nearest} is a file, not a folder"
    return "" if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest} cannot be written"


def _package(name: str) -> Finding:
    found = [f"{distribution} {version}" for distribution, version in installed(name).items()]
    named = ", ".join(found) or "not installed"
    if name == "mmcv" and len(found) > 1:
        repair = "pip uninstall -y mmcv mmcv-full mmcv-lite; pip install mmcv-lite==2.1.0"
        return Finding(name, f"{named}: they overwrite each other", fine=False, repair=repair)
    try:
        mmdet_backend.import_package(name)
    except MissingPackageError as error:
        return Finding(name, f"{named}; {error.reason}", fine=False, repair=repair_of(error.reason))
    return Finding(name, f"{named}, imports")


def _devices() -> Finding:
    from bdd100k_zoo.mm_common.devices import cuda_names, platform_of_build

    built, names = platform_of_build(), cuda_names()
    if names:
        return Finding("CUDA", f"{built}: {', '.join(names)}")
    if not built:
        return Finding("CUDA", "torch is a CPU build; predictions run on the CPU")
    return Finding("CUDA", f"torch is built for {built}, no usable GPU or driver found; predictions run on the CPU")


def _ops() -> Finding:
    from bdd100k_zoo.mmdet_backend import ops

    return Finding("ops", f"served by {ops.install()}")


def _trial() -> Finding:
    from bdd100k_zoo.workflows.detector import load_detector
    from bdd100k_zoo.workflows.trial import DEFAULT_MODEL, make_trial

    with tempfile.TemporaryDirectory(prefix="bdd100k-zoo-doctor-") as name:
        model = load_zoo()[DEFAULT_MODEL]
        made = make_trial(model, Path(name))
        detector = load_detector(model, weights=made.weights, store=Store(offline=True), progress=SILENT)
        found = detector(made.frames / "street.jpg")
    return Finding("trial", f"{model.name} with random weights on {detector.detector.facts.device}: {len(found)} boxes")
