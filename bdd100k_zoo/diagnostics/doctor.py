"""The installed packages, whether they work, and the command that repairs what does not."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from bdd100k_zoo import __version__
from bdd100k_zoo.backends import selection
from bdd100k_zoo.backends.common.packages import installed_distributions
from bdd100k_zoo.demo_run.steps import MODEL, bundled_weights
from bdd100k_zoo.diagnostics import extras, nvidia
from bdd100k_zoo.diagnostics.checks import CheckStep, Finding, run_checks
from bdd100k_zoo.diagnostics.repairs import (
    find_mmcv_conflict,
    install_command,
    installed_versions,
    parse_version_numbers,
    suggest_repairs,
)
from bdd100k_zoo.errors import MissingPackageError, ZooError
from bdd100k_zoo.hub.layout import default_cache_root
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.sample_data import draw_sample_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bdd100k_zoo.backends.selection import Backend

Versions = Mapping[str, "str | None"]

IMPORT_NEEDS: Mapping[str, tuple[str, ...]] = {
    "torch": (),
    "torchvision": ("torch",),
    "cv2": (),
    "mmengine": ("torch", "cv2"),
}
"""Packages that each package imports; those that are not listed need all before them."""


class OptionalJob(NamedTuple):
    """A job that needs an extra."""

    what: str
    extra: str
    distributions: tuple[str, ...]
    """They must be installed for it; the versions of the ``related`` ones are only reported."""
    run: Callable[[], str]
    related: tuple[str, ...] = ()


OPTIONAL_JOBS = (
    OptionalJob("evaluator", "official", ("scalabel", "bdd100k"), extras.try_evaluator, ("pydantic",)),
    OptionalJob("viewer", "official", ("scalabel", "bdd100k"), extras.try_viewer, ("pydantic",)),
    OptionalJob("videos", "video", ("av",), extras.try_video),
    OptionalJob("pages", "report", ("jinja2", "matplotlib", "hotcoco"), extras.try_pages),
    OptionalJob("hf mirrors", "hf", ("huggingface_hub",), extras.try_hub),
)


class Gpu(Struct, frozen=True, kw_only=True):
    """GPUs, and the software for them."""

    torch: str | None
    """The platform that torch is built for, as in ``CPU`` or ``CUDA 13.0``; None if its import fails."""
    driver: str | None
    """Version of the NVIDIA driver."""
    driver_cuda: str | None
    """The newest CUDA that the driver supports."""
    cards: tuple[str, ...]
    """Names of the GPUs that the driver sees."""


class DoctorReport(Struct, frozen=True, kw_only=True):
    """Everything that a bug report needs; nothing in it identifies the user or the machine."""

    bdd100k_zoo: str
    """Version of this package."""
    system: str
    healthy: bool
    """Whether everything that is installed works."""
    backend: str | None
    """``mmdet3`` or ``mmdet2``; None if neither is installed."""
    versions: Mapping[str, str | None]
    """Of Python, and by distribution; None for what is not installed."""
    gpu: Gpu
    findings: tuple[Finding, ...]


def run_doctor(zoo_files: Sequence[Path] = (), *, trial: bool = True) -> DoctorReport:
    """Check everything; every fault is a finding, and none is raised.

    Args:
        zoo_files: the user's zoo files, in addition to those of BDD100K_ZOO_FILES.
        trial: whether to run a trial prediction.
    """
    versions, driver = installed_versions(), nvidia.find_driver()
    backend = selection.backend_for_mmdet(versions.get("mmdet") or "")
    findings = run_checks(
        (
            CheckStep("bdd100k-zoo", lambda: f"{__version__}, {len(load_zoo(*zoo_files).models)} models"),
            CheckStep("Python", _check_python),
            CheckStep("cache", _check_cache),
            CheckStep("scores", extras.try_scores),
            *(_backend_steps(backend, versions, driver, trial=trial) if backend else ()),
            *(_absent_backend_step(each, versions) for each in selection.BACKENDS if each is not backend),
            *(CheckStep(job.what, partial(_check_job, job, versions), extra=job.extra) for job in OPTIONAL_JOBS),
        )
    )
    return DoctorReport(
        bdd100k_zoo=__version__,
        system=platform.platform(),
        healthy=all(finding.state in ("ok", "absent") for finding in findings),
        backend=backend.NAME if backend else None,
        versions=versions,
        gpu=_describe_gpu(findings, driver),
        findings=findings,
    )


def _check_python() -> str | Finding:
    found = f"{platform.python_version()} on {platform.platform()}"
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        return found
    return Finding("Python", "wrong", found, ("use Python 3.10 to 3.13, the versions that mmengine supports",))


def _check_cache() -> str | Finding:
    root = default_cache_root().absolute()
    try:  # the folder may not exist yet
        nearest = next(folder for folder in (root, *root.parents) if folder.exists())
        problem = "" if os.access(nearest, os.W_OK | os.X_OK) else f"{nearest} cannot be written"
        problem = problem if nearest.is_dir() else f"{nearest} is a file, not a folder"
    except OSError as error:  # the name is too long, or a folder may not be entered
        problem = error.strerror or str(error)
    if not problem:
        return str(root)
    return Finding("cache", "wrong", f"{root}: {problem}", ("set BDD100K_ZOO_CACHE to a folder of yours",))


# The installed backend, and the other one


def _backend_steps(
    backend: Backend, versions: Versions, driver: nvidia.NvidiaDriver | None, *, trial: bool
) -> Iterator[CheckStep]:
    packages, extra = backend.PACKAGES, backend.EXTRA
    for place, name in enumerate(packages):
        needs = IMPORT_NEEDS.get(name, packages[:place])
        yield CheckStep(name, partial(_check_package, backend, name, versions), needs, extra)
    yield CheckStep("GPU", partial(_check_gpu, driver), ("torch",), extra)
    yield CheckStep("ops", _check_ops, packages, extra)
    if trial:
        yield CheckStep(backend.NAME, partial(_check_prediction, backend), ("bdd100k-zoo", *packages, "ops"), extra)


def _check_package(backend: Backend, name: str, versions: Versions) -> str | Finding:
    package = name.partition(".")[0]
    found = ", ".join(
        version if distribution == package else f"{distribution} {version}"
        for distribution, version in installed_distributions(package).items()
    )
    if name == "mmcv" and (conflict := find_mmcv_conflict(versions)):
        return Finding(name, "wrong", conflict, suggest_repairs("mmcv._ext", backend.EXTRA))
    try:
        backend.import_package(name)
    except MissingPackageError as error:
        reason = f"{found or 'not installed'}; {error.reason}"
        raise MissingPackageError(name, error.extra, reason) from error
    return f"{found or 'of unknown version'}, imports"


def _check_gpu(driver: nvidia.NvidiaDriver | None) -> str | Finding:
    from bdd100k_zoo.backends.common.devices import cuda_names, cuda_problem, torch_platform
    from bdd100k_zoo.backends.common.self_test import self_test_device

    build, names = torch_platform(), cuda_names()
    if not names:
        return nvidia.explain_unused_gpu(build, cuda_problem(), driver, hidden=nvidia.are_gpus_hidden())
    for index in range(len(names)):
        self_test_device(f"cuda:{index}")
    return "; ".join([f"{', '.join(names)} computes", *filter(None, [str(driver or ""), build])])


def _check_ops() -> str:
    from bdd100k_zoo.backends.common.self_test import TESTED_OPS, self_test_ops
    from bdd100k_zoo.backends.mmdet3 import ops

    server, devices = ops.install_ops(), _working_devices()
    for device in devices:
        self_test_ops(device)
    return f"{', '.join(TESTED_OPS)} are right on {' and '.join(devices)}; served by {server}"


def _check_prediction(backend: Backend) -> str:
    import numpy as np

    zoo = load_zoo()
    model = zoo[MODEL]
    frame = np.ascontiguousarray(np.asarray(draw_sample_frame())[:, :, ::-1])
    found = []
    for device in _working_devices():
        detector = backend.load(model.name, model.config_path, bundled_weights(zoo), device)
        found.append(f"{len(detector.detect(frame))} boxes on {device}")
    return f"{model.name} finds {' and '.join(found)}"


def _working_devices() -> list[str]:
    """Return the CPU, and the first GPU if it works: one that does not is a finding of its own."""
    from bdd100k_zoo.backends.common.devices import cuda_count
    from bdd100k_zoo.backends.common.self_test import self_test_device

    if not cuda_count():
        return ["cpu"]
    try:
        self_test_device("cuda:0")
    except (RuntimeError, ZooError):
        return ["cpu"]
    return ["cpu", "cuda:0"]


def _absent_backend_step(backend: Backend, versions: Versions) -> CheckStep:
    mmdet = versions.get("mmdet")
    found = f"not installed; it excludes mmdet {mmdet}, which is installed" if mmdet else "not installed"
    repairs = () if mmdet else (install_command(backend.EXTRA),)
    return CheckStep(backend.NAME, lambda: Finding(backend.NAME, "absent", found, repairs))


def _describe_gpu(findings: Sequence[Finding], driver: nvidia.NvidiaDriver | None) -> Gpu:
    build = None
    if any(finding.what == "torch" and finding.state == "ok" for finding in findings):
        from bdd100k_zoo.backends.common.devices import torch_platform

        build = torch_platform() or "CPU"
    driver = driver or nvidia.NvidiaDriver("", None, ())
    return Gpu(torch=build, driver=driver.version or None, driver_cuda=driver.cuda, cards=driver.cards)


# Jobs that need an extra


def _check_job(job: OptionalJob, versions: Versions) -> str | Finding:
    missing = [name for name in job.distributions if not versions[name]]
    if missing:
        names = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
        found = f"{names} {'is' if len(missing) == 1 else 'are'} not installed"
        return Finding(job.what, "absent", found, (install_command(job.extra),))
    found = ", ".join(f"{name} {versions[name] or 'missing'}" for name in (*job.distributions, *job.related))
    if job.what == "videos" and parse_version_numbers(versions["av"] or "") < (17,):
        old = f"{found} converts colours with another matrix than the video's"
        return Finding(job.what, "wrong", old, (install_command(job.extra),))
    try:
        return f"{found}: {job.run()}"
    except ZooError as error:
        package, reason = (error.package, error.reason) if isinstance(error, MissingPackageError) else ("", str(error))
        raise MissingPackageError(package or job.distributions[0], job.extra, f"{found}: {reason}") from error
