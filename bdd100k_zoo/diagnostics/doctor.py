"""What is installed, whether it works, and the exact repair of what does not."""

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


IMPORT_NEEDS: Mapping[str, tuple[str, ...]] = {
    "torch": (),
    "torchvision": ("torch",),
    "cv2": (),
    "mmengine": ("torch", "cv2"),
}
"""Packages that each package imports; those that are not listed need all before them."""


class OptionalJob(NamedTuple):
    """Something that needs an extra."""

    what: str
    extra: str
    distributions: tuple[str, ...]
    """What must be installed for it."""
    related: tuple[str, ...]
    """Further distributions whose versions are reported."""
    run: Callable[[], str]


OPTIONAL_JOBS = (
    OptionalJob("evaluator", "official", ("scalabel", "bdd100k"), ("pydantic",), extras.try_evaluator),
    OptionalJob("viewer", "official", ("scalabel", "bdd100k"), ("pydantic",), extras.try_viewer),
    OptionalJob("videos", "video", ("av",), (), extras.try_video),
    OptionalJob("pages", "report", ("jinja2", "matplotlib", "hotcoco"), (), extras.try_pages),
    OptionalJob("hf mirrors", "hf", ("huggingface_hub",), (), extras.try_hub),
)


class Gpu(Struct, frozen=True, kw_only=True):
    """GPUs, and what could use them."""

    torch: str | None
    """What torch is built for, as in ``CPU`` or ``CUDA 13.0``; None where it does not import."""
    driver: str | None
    """Version of the NVIDIA driver."""
    driver_cuda: str | None
    """The newest CUDA that the driver runs."""
    cards: tuple[str, ...]
    """Names of the GPUs that the driver sees."""


class DoctorReport(Struct, frozen=True, kw_only=True):
    """Everything that a bug report needs; nothing in it identifies the user or the machine."""

    bdd100k_zoo: str
    """Version of this package."""
    system: str
    healthy: bool
    """Whether all that is installed works."""
    backend: str | None
    """``mmdet3`` or ``mmdet2``; None where neither is installed."""
    versions: Mapping[str, str | None]
    """Of Python, and by distribution; None for what is not installed."""
    gpu: Gpu
    findings: tuple[Finding, ...]


def run_doctor(zoo_files: Sequence[Path] = (), *, trial: bool = True) -> DoctorReport:
    """Check everything; whatever is wrong is a finding, and raises nothing.

    Args:
        zoo_files: the user's zoo files, in addition to those of BDD100K_ZOO_FILES.
        trial: whether to run a trial prediction.
    """
    versions, driver = installed_versions(), nvidia.find_driver()
    backend = selection.backend_for_mmdet(versions.get("mmdet") or "")
    findings = run_checks(
        (
            CheckStep("bdd100k-zoo", partial(_check_zoo, zoo_files)),
            CheckStep("Python", _check_python),
            CheckStep("cache", _check_cache),
            CheckStep("scores", lambda: Finding("scores", "ok", extras.try_scores())),
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


def _check_zoo(files: Sequence[Path]) -> Finding:
    return Finding("bdd100k-zoo", "ok", f"{__version__}, {len(load_zoo(*files).models)} models")


def _check_python() -> Finding:
    found = f"{platform.python_version()} on {platform.platform()}"
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        return Finding("Python", "ok", found)
    return Finding("Python", "wrong", found, ("use Python 3.10 to 3.13: mmengine does not work beyond",))


def _check_cache() -> Finding:
    root = default_cache_root().absolute()
    if problem := _write_problem(root):
        return Finding("cache", "wrong", f"{root}: {problem}", ("set BDD100K_ZOO_CACHE to a folder of yours",))
    return Finding("cache", "ok", str(root))


def _write_problem(root: Path) -> str:
    """Return why files cannot be written below a folder that may not exist yet; empty where they can."""
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


# The installed backend, and the other one


def _backend_steps(
    backend: Backend, versions: Mapping[str, str | None], driver: nvidia.NvidiaDriver | None, *, trial: bool
) -> Iterator[CheckStep]:
    packages, extra = backend.PACKAGES, backend.EXTRA
    for place, name in enumerate(packages):
        needs = IMPORT_NEEDS.get(name, packages[:place])
        yield CheckStep(name, partial(_check_package, backend, name, versions), needs, extra)
    yield CheckStep("GPU", partial(_check_gpu, driver), ("torch",), extra)
    yield CheckStep("ops", _check_ops, packages, extra)
    if trial:
        yield CheckStep(backend.NAME, partial(_check_prediction, backend), ("bdd100k-zoo", *packages, "ops"), extra)


def _check_package(backend: Backend, name: str, versions: Mapping[str, str | None]) -> Finding:
    package = name.partition(".")[0]
    found = ", ".join(
        version if distribution == package else f"{distribution} {version}"
        for distribution, version in installed_distributions(package).items()
    )
    conflict = find_mmcv_conflict(versions) if name == "mmcv" else ""
    if conflict:
        return Finding(name, "wrong", conflict, suggest_repairs("mmcv._ext", backend.EXTRA))
    try:
        backend.import_package(name)
    except MissingPackageError as error:
        reason = f"{found or 'not installed'}; {error.reason}"
        raise MissingPackageError(name, error.extra, reason) from error
    return Finding(name, "ok", f"{found or 'of unknown version'}, imports")


def _check_gpu(driver: nvidia.NvidiaDriver | None) -> Finding:
    from bdd100k_zoo.backends.common.devices import cuda_names, cuda_problem, torch_platform
    from bdd100k_zoo.backends.common.self_test import self_test_device

    build, names = torch_platform(), cuda_names()
    if not names:
        support = nvidia.TorchGpuSupport(build, cuda_problem())
        return nvidia.explain_unused_gpu(support, driver, hidden=nvidia.are_gpus_hidden())
    for index in range(len(names)):
        self_test_device(f"cuda:{index}")
    return Finding("GPU", "ok", "; ".join([f"{', '.join(names)} computes", *filter(None, [str(driver or ""), build])]))


def _check_ops() -> Finding:
    from bdd100k_zoo.backends.common.self_test import TESTED_OPS, self_test_ops
    from bdd100k_zoo.backends.mmdet3 import ops

    server, devices = ops.install_ops(), _working_devices()
    for device in devices:
        self_test_ops(device)
    return Finding("ops", "ok", f"{', '.join(TESTED_OPS)} are right on {' and '.join(devices)}; served by {server}")


def _check_prediction(backend: Backend) -> Finding:
    import numpy as np

    zoo = load_zoo()
    model = zoo[MODEL]
    frame = np.ascontiguousarray(np.asarray(draw_sample_frame())[:, :, ::-1])
    found = []
    for device in _working_devices():
        detector = backend.load(model.name, model.config_path, bundled_weights(zoo), device)
        found.append(f"{len(detector.detect(frame))} boxes on {device}")
    return Finding(backend.NAME, "ok", f"{model.name} finds {' and '.join(found)}")


def _working_devices() -> list[str]:
    """Return the CPU, and the first GPU where it computes at all: one that does not is a finding of its own."""
    from bdd100k_zoo.backends.common.devices import cuda_count
    from bdd100k_zoo.backends.common.self_test import self_test_device

    if not cuda_count():
        return ["cpu"]
    try:
        self_test_device("cuda:0")
    except (RuntimeError, ZooError):
        return ["cpu"]
    return ["cpu", "cuda:0"]


def _absent_backend_step(backend: Backend, versions: Mapping[str, str | None]) -> CheckStep:
    mmdet = versions.get("mmdet")
    found = f"not installed; mmdet {mmdet} is, which excludes it" if mmdet else "not installed"
    repairs = () if mmdet else (install_command(backend.EXTRA),)
    return CheckStep(backend.NAME, lambda: Finding(backend.NAME, "absent", found, repairs))


def _describe_gpu(findings: Sequence[Finding], driver: nvidia.NvidiaDriver | None) -> Gpu:
    build = None
    if any(finding.what == "torch" and finding.state == "ok" for finding in findings):
        from bdd100k_zoo.backends.common.devices import torch_platform

        build = torch_platform() or "CPU"
    if driver is None:
        return Gpu(torch=build, driver=None, driver_cuda=None, cards=())
    return Gpu(torch=build, driver=driver.version or None, driver_cuda=driver.cuda, cards=driver.cards)


# What needs an extra


def _check_job(job: OptionalJob, versions: Mapping[str, str | None]) -> Finding:
    missing = [name for name in job.distributions if not versions[name]]
    if missing:
        names = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
        found = f"{names} {'is' if len(missing) == 1 else 'are'} not installed"
        return Finding(job.what, "absent", found, (install_command(job.extra),))
    found = ", ".join(f"{name} {versions[name] or 'missing'}" for name in (*job.distributions, *job.related))
    if job.what == "videos" and parse_version_numbers(versions["av"] or "") < (17,):
        old = f"{found} converts colours by another matrix than the video's"
        return Finding(job.what, "wrong", old, (install_command(job.extra),))
    try:
        return Finding(job.what, "ok", f"{found}: {job.run()}")
    except MissingPackageError as error:
        raise MissingPackageError(error.package, job.extra, f"{found}: {error.reason}") from error
    except ZooError as error:
        raise MissingPackageError(job.distributions[0], job.extra, f"{found}: {error}") from error
