"""The exact command that repairs a package that does not import or work, for the environment that this runs in."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.request import url2pathname

from bdd100k_zoo.backends.common.packages import DISTRIBUTIONS, distribution_version
from bdd100k_zoo.backends.selection import backend_for_mmdet

if TYPE_CHECKING:
    from collections.abc import Mapping

OPENCV_DISTRIBUTIONS = DISTRIBUTIONS["cv2"]
MMCV_DISTRIBUTIONS = DISTRIBUTIONS["mmcv"]
TORCH_INDEX = "https://download.pytorch.org/whl"
LEGACY_CUDA = "cu126"
"""The last index of torch for CUDA 12, with all GPUs from Maxwell to Hopper; its newest torch is 2.14."""
CLASSIC_SETUP = "bash .ci/classic  # in a clone of the project; see docs/classic.md"
CLASSIC_MMCV = "mmcv-full==1.7.2"
CXX20 = (2, 14)
"""The first torch whose headers mmcv-full's own build cannot read."""
REPORTED_DISTRIBUTIONS = (
    *("torch", "torchvision", "mmdet", "mmengine", *MMCV_DISTRIBUTIONS, *OPENCV_DISTRIBUTIONS),
    *("scalabel", "bdd100k", "pydantic", "numpy", "hotcoco", "Pillow"),
    *("av", "jinja2", "matplotlib", "huggingface_hub", "setuptools", "pip"),
)
"""Distributions whose versions a bug report lists."""


def installed_versions() -> dict[str, str | None]:
    """Return the version of Python and of each of ``REPORTED_DISTRIBUTIONS``; None for what is not installed."""
    return {
        "python": platform.python_version(),
        **{name: distribution_version(name) for name in REPORTED_DISTRIBUTIONS},
    }


def installed_backend(versions: Mapping[str, str | None]) -> str | None:
    """Return the name of the backend that fits the installed mmdet; None where there is no mmdet, or none fits."""
    backend = backend_for_mmdet(versions.get("mmdet") or "")
    return backend.NAME if backend else None


def find_mmcv_conflict(versions: Mapping[str, str | None]) -> str:
    """Return why the installed mmcv does not fit the installed mmdet; empty where it does."""
    installed = {name: version for name in MMCV_DISTRIBUTIONS if (version := versions.get(name))}
    shown = ", ".join(f"{name} {version}" for name, version in installed.items())
    if len(installed) > 1:
        return f"{shown}: they overwrite each other"
    backend = installed_backend(versions)
    for name, version in installed.items():
        numbers = parse_version_numbers(version)
        if backend == "mmdet3" and not (name != "mmcv-full" and (2,) <= numbers < (2, 2)):
            return f"{shown} beside mmdet {versions['mmdet']}, which needs mmcv-lite or mmcv, 2.0 or 2.1"
        if backend == "mmdet2" and not (name == "mmcv-full" and numbers < (1, 8)):
            return f"{shown} beside mmdet {versions['mmdet']}, which needs mmcv-full 1.x, up to 1.7"
    return ""


def parse_version_numbers(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with, as a tuple that can be compared."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in match[0].split(".")) if match else ()


class RepairEnvironment(NamedTuple):
    """What a repair depends on."""

    extra: str
    """The extra that the broken package belongs to."""
    versions: Mapping[str, str | None]
    pip: str
    """The command that runs pip in this environment."""

    @property
    def install(self) -> str:
        """The command that installs the extra."""
        if self.extra == "mmcv-full":  # which pip alone cannot build
            return CLASSIC_SETUP
        return f"{self.pip} install 'bdd100k-zoo[{self.extra}]'"

    def present(self, *names: str) -> tuple[str, ...]:
        """Return those of some distributions that are installed."""
        return tuple(name for name in names if self.versions.get(name))


Repair = Callable[[RepairEnvironment, str], tuple[str, ...]]
"""Returns the commands for an environment and the reason that was raised."""


def read_environment(extra: str) -> RepairEnvironment:
    """Return what repairs depend on in this environment."""
    return RepairEnvironment(extra, installed_versions(), pip_command())


def pip_command() -> str:
    """Return the command that runs pip in this environment: plain ``pip`` where the shell finds that one."""
    found = shutil.which("pip")
    if found and Path(found).parent == Path(sys.executable).parent:
        return "pip"
    return f"{_quoted(sys.executable)} -m pip"


def _quoted(path: str) -> str:
    """Quote each part of a path by itself, so that its beginning may still be shortened to ``~``."""
    return re.sub("[^/]+", lambda name: shlex.quote(name[0]), path)


def requirement(extra: str) -> str:
    """Return the requirement that installs this package in another environment, quoted for a shell.

    A package that was installed from a folder may be on no index, so it is installed from there again.
    """
    try:
        recorded = distribution("bdd100k-zoo").read_text("direct_url.json")  # PEP 610
        folder = url2pathname(json.loads(recorded or "{}").get("url", "").partition("file://")[2])
    except (PackageNotFoundError, ValueError, AttributeError):
        folder = ""
    return f"{_quoted(folder)}'[{extra}]'" if folder and Path(folder).is_dir() else f"'bdd100k-zoo[{extra}]'"


def suggest_repairs(reason: str, extra: str = "predict") -> tuple[str, ...]:
    """Return commands that repair a failure to import or to work, the best first; any one of them suffices.

    Args:
        reason: text of what was raised.
        extra: the extra that the failing package belongs to.
    """
    environment = read_environment(extra)
    repair = next((repair for pattern, repair in REPAIRS if re.search(pattern, reason)), None)
    return repair(environment, reason) if repair else (f"{environment.install} --force-reinstall",)


def install_command(extra: str) -> str:
    """Return the command that installs an extra into this environment."""
    return read_environment(extra).install


def torch_command(pip: str, cuda: str | None) -> str:
    """Return the command that replaces torch and torchvision by those that a driver can run.

    Args:
        pip: the command that runs pip.
        cuda: the newest CUDA that the driver runs, as in ``12.4``; None where that is unknown.
    """
    major = int(cuda.partition(".")[0]) if cuda else None
    packages, index = "torch torchvision", ""
    if major == 12:
        index = f" --index-url {TORCH_INDEX}/{LEGACY_CUDA}"
    elif major and major < 12:
        packages, index = "torch==2.7.1 torchvision==0.22.1", f" --index-url {TORCH_INDEX}/cu118"
    elif sys.platform == "win32":  # where the default builds are for the CPU
        index = f" --index-url {TORCH_INDEX}/cu130"
    return f"{pip} uninstall -y torch torchvision && {pip} install {packages}{index}"


# By kind of failure


def _system_libraries(environment: RepairEnvironment, _: str) -> tuple[str, ...]:
    sudo = "" if os.name != "posix" or os.geteuid() == 0 else "sudo "
    kind = _linux()
    if "debian" in kind:
        packages = "libgl1 libglib2.0-0 libsm6 libxext6 libxcb1"
        best = f"{sudo}apt-get update && {sudo}apt-get install -y {packages}"
    elif "fedora" in kind or "rhel" in kind:
        best = f"{sudo}dnf install -y mesa-libGL glib2 libSM libXext libxcb"
    else:
        best = "install libGL and GLib with the package manager of your system"
    return best, _headless_opencv(environment)


def _headless_opencv(environment: RepairEnvironment) -> str:
    """OpenCV without windows needs none of these libraries, so no right to install any."""
    present = " ".join(environment.present(*OPENCV_DISTRIBUTIONS)) or "opencv-python"
    return f"{environment.pip} uninstall -y {present} && {environment.pip} install opencv-python-headless"


def _linux() -> tuple[str, ...]:
    try:
        facts = platform.freedesktop_os_release()
    except (OSError, AttributeError):
        return ()
    return (facts.get("ID", ""), *facts.get("ID_LIKE", "").split())


def _mmcv(environment: RepairEnvironment, _: str) -> tuple[str, ...]:
    present = " ".join(environment.present(*MMCV_DISTRIBUTIONS))
    uninstall = f"{environment.pip} uninstall -y {present} && " if present else ""
    if installed_backend(environment.versions) != "mmdet2":
        return (f"{uninstall}{environment.pip} install mmcv-lite==2.1.0",)
    modern = f"{uninstall}{environment.pip} install 'bdd100k-zoo[predict]'  # mmdet 3.3 instead, where nothing is built"
    if parse_version_numbers(environment.versions.get("torch") or "") >= CXX20:
        return CLASSIC_SETUP, modern
    build = f"{environment.pip} install --no-build-isolation --no-cache-dir {CLASSIC_MMCV}"
    return f"{uninstall}{environment.pip} install 'setuptools<80' wheel && {build}", modern


def _torchvision(environment: RepairEnvironment, _: str) -> tuple[str, ...]:
    """Let pip find the torchvision that fits the installed torch, which stays."""
    torch = environment.versions.get("torch")
    if not torch:
        return (environment.install,)
    version, _plus, build = torch.partition("+")
    index = f" --index-url {TORCH_INDEX}/{build}" if re.fullmatch(r"cpu|cu\d+|rocm[\d.]+|xpu", build) else ""
    uninstall = f"{environment.pip} uninstall -y torchvision && " if environment.versions.get("torchvision") else ""
    return (f"{uninstall}{environment.pip} install torch=={version} torchvision{index}",)


def _pydantic(environment: RepairEnvironment, _: str) -> tuple[str, ...]:
    own = f"python -m venv official && official/bin/pip install {requirement('official')}"
    return f"{environment.pip} install 'pydantic<2'", f"{own}  # beside what needs pydantic 2"


def _opencv(environment: RepairEnvironment, _: str) -> tuple[str, ...]:
    present = " ".join(environment.present(*OPENCV_DISTRIBUTIONS)) or "opencv-python"
    return (f"{environment.pip} install --upgrade {present}",)


def _architecture(environment: RepairEnvironment, _: str) -> tuple[str, ...]:
    old = f"{torch_command(environment.pip, '12')}  # a GPU older than Turing"
    return f"{environment.pip} install --upgrade torch torchvision  # a GPU newer than this torch", old


def _other_generation(environment: RepairEnvironment, _: str) -> tuple[str, ...]:
    if environment.extra == "mmcv-full":
        return (CLASSIC_SETUP,)
    own = f"python -m venv zoo && zoo/bin/pip install {requirement(environment.extra)}"
    return (f"{own}  # mmdet 2 and 3 exclude each other",)


def _pip(arguments: str) -> Repair:
    return lambda environment, _reason: (f"{environment.pip} {arguments}",)


def _advice(text: str) -> Repair:
    return lambda _environment, _reason: (text,)


REPAIRS: tuple[tuple[str, Repair], ...] = (
    (r"\blib(GL|GLdispatch|X\w*|SM|ICE|xcb|gthread|glib)\b[-\w.]*\.so", _system_libraries),
    (r"MMCV==\S+ is used but incompatible|mmcv/_ext|mmcv\._ext|implementation for device", _mmcv),
    (r"^mmdet \d\S* is installed$", _other_generation),
    (r"MMEngine==\S+ is used but incompatible", _pip("install 'mmengine>=0.10.5,<1'")),
    (r"torchvision::nms|operator torchvision|torchvision/_C|No module named '?torchvision", _torchvision),
    (r"pydantic [2-9]|[Pp]ydantic\w*Error|errors\.pydantic", _pydantic),
    (r"pkg_resources", _pip("install 'setuptools<80'")),
    (r"numpy\.core\.multiarray failed|compiled using NumPy 1|_ARRAY_API", _opencv),
    (
        r"numpy\.\w+ size changed|binary incompatibility",
        _pip("install --upgrade --force-reinstall numpy scipy shapely pycocotools"),
    ),
    (
        r"No space left|[Qq]uota exceeded|No usable temporary",
        _advice("free some space, or set TMPDIR to a folder with room"),
    ),
    (
        r"out of memory|can't allocate memory",
        _advice("stop what else uses the memory; `--device cpu` needs none of the GPU's"),
    ),
    (r"no kernel image|not compatible with the current PyTorch", _architecture),
    (r"lib(cu|nv)\w*\.so|CUDA", _pip("install --force-reinstall torch torchvision")),
    (r"No module named '?mmcv\b", _mmcv),
    (r"No module named", lambda environment, _reason: (environment.install,)),
)
"""Patterns of reasons and what repairs them; the first that matches applies."""
