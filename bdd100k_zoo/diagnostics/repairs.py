"""The exact command that repairs a package that does not import or work, in the environment that this runs in."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.request import url2pathname

from bdd100k_zoo.backends.common.packages import DISTRIBUTIONS, distribution_version
from bdd100k_zoo.backends.selection import backend_for_mmdet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OPENCV_DISTRIBUTIONS = DISTRIBUTIONS["cv2"]
MMCV_DISTRIBUTIONS = DISTRIBUTIONS["mmcv"]
REPORTED_DISTRIBUTIONS = (
    *("torch", "torchvision", "mmdet", "mmengine", *MMCV_DISTRIBUTIONS, *OPENCV_DISTRIBUTIONS),
    *("scalabel", "bdd100k", "pydantic", "numpy", "hotcoco", "Pillow"),
    *("av", "jinja2", "matplotlib", "huggingface_hub", "setuptools", "pip"),
)
"""What a bug report tells the versions of."""


def installed_versions() -> dict[str, str | None]:
    """Give the version of Python and of each of ``REPORTED``; None where it is not installed."""
    return {
        "python": platform.python_version(),
        **{name: distribution_version(name) for name in REPORTED_DISTRIBUTIONS},
    }


def installed_backend(versions: Mapping[str, str | None]) -> str | None:
    """Name the backend that the installed mmdet is for; None where there is none, or one of neither."""
    backend = backend_for_mmdet(versions.get("mmdet") or "")
    return backend.NAME if backend else None


def find_mmcv_conflict(versions: Mapping[str, str | None]) -> str:
    """Say why the installed mmcv cannot be right for the installed mmdet; nothing where it can."""
    found = {name: version for name in MMCV_DISTRIBUTIONS if (version := versions.get(name))}
    told = ", ".join(f"{name} {version}" for name, version in found.items())
    if len(found) > 1:
        return f"{told}: they overwrite each other"
    generation = installed_backend(versions)
    for name, version in found.items():
        wanted = _wanted(generation, name, parse_version_numbers(version))
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


def parse_version_numbers(version: str) -> tuple[int, ...]:
    """Give the numbers that a version begins with, fit to be compared."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in match[0].split(".")) if match else ()


TORCH_INDEX = "https://download.pytorch.org/whl"
LEGACY_CUDA = "cu126"
"""The last index of torch for CUDA 12, with all GPUs from Maxwell to Hopper; its newest torch is 2.14."""
CLASSIC_SETUP = "bash .ci/classic  # in a clone of the project; see docs/classic.md"
CLASSIC_MMCV = "mmcv-full==1.7.2"
CXX20 = (2, 14)
"""The first torch whose headers mmcv-full's own build cannot read."""


class RepairEnvironment(NamedTuple):
    """What a repair depends on."""

    extra: str
    """The extra of what is to be repaired."""
    versions: Mapping[str, str | None]
    pip: str
    """The command that is pip in this environment."""

    @property
    def install(self) -> str:
        """The command that installs the extra."""
        if self.extra == "mmcv-full":  # which pip alone cannot build
            return CLASSIC_SETUP
        return f"{self.pip} install 'bdd100k-zoo[{self.extra}]'"

    def present(self, *names: str) -> tuple[str, ...]:
        """Give those of some distributions that are installed."""
        return tuple(name for name in names if self.versions.get(name))


def read_environment(extra: str) -> RepairEnvironment:
    """Describe this environment."""
    return RepairEnvironment(extra, installed_versions(), pip_command())


def pip_command() -> str:
    """Give the command that is pip in this environment: plain ``pip`` where the shell's is."""
    found = shutil.which("pip")
    if found and Path(found).parent == Path(sys.executable).parent:
        return "pip"
    return f"{_quoted(sys.executable)} -m pip"


def _quoted(path: str) -> str:
    """Quote each name of a path by itself, so that the path may still be shortened to one that begins with ~."""
    return re.sub("[^/]+", lambda name: shlex.quote(name[0]), path)


def requirement(extra: str) -> str:
    """Return what pip installs this package by in another environment, quoted for a shell.

    A package that was installed from a folder may be on no index: then it is that folder.
    """
    try:
        recorded = distribution("bdd100k-zoo").read_text("direct_url.json")  # PEP 610
        folder = url2pathname(json.loads(recorded or "{}").get("url", "").partition("file://")[2])
    except (PackageNotFoundError, ValueError, AttributeError):
        folder = ""
    return f"{_quoted(folder)}'[{extra}]'" if folder and Path(folder).is_dir() else f"'bdd100k-zoo[{extra}]'"


def suggest_repairs(reason: str, extra: str = "predict") -> tuple[str, ...]:
    """Name what repairs a failure to import or to work, the best first; any one of them does.

    Args:
        reason: what was raised.
        extra: the extra of the package that it is of.
    """
    place = read_environment(extra)
    repair = next((repair for pattern, repair in REPAIRS if re.search(pattern, reason)), None)
    return repair(place, reason) if repair else (f"{place.install} --force-reinstall",)


def install_command(extra: str) -> str:
    """Give the command that installs an extra into this environment."""
    return read_environment(extra).install


def torch_command(pip: str, cuda: str | None) -> str:
    """Give the command that puts a torch for a driver in the place of the present one, torchvision with it.

    Args:
        pip: the command that is pip.
        cuda: the newest CUDA that the driver runs, as in ``12.4``; None where that is unknown.
    """
    major = int(cuda.partition(".")[0]) if cuda else None
    packages, index = "torch torchvision", ""
    if major == 12:
        index = f" --index-url {TORCH_INDEX}/{LEGACY_CUDA}"
    elif major and major < 12:
        packages, index = "torch==2.7.1 torchvision==0.22.1", f" --index-url {TORCH_INDEX}/cu118"
    elif sys.platform == "win32":  # where the usual builds are for the CPU
        index = f" --index-url {TORCH_INDEX}/cu130"
    return f"{pip} uninstall -y torch torchvision && {pip} install {packages}{index}"


# By kind of failure


def _system_libraries(place: RepairEnvironment, _: str) -> tuple[str, ...]:
    sudo = "" if os.name != "posix" or os.geteuid() == 0 else "sudo "
    kind = _linux()
    if "debian" in kind:
        packages = "libgl1 libglib2.0-0 libsm6 libxext6 libxcb1"
        best = f"{sudo}apt-get update && {sudo}apt-get install -y {packages}"
    elif "fedora" in kind or "rhel" in kind:
        best = f"{sudo}dnf install -y mesa-libGL glib2 libSM libXext libxcb"
    else:
        best = "install libGL and GLib with the package manager of your system"
    return best, _headless(place)


def _headless(place: RepairEnvironment) -> str:
    """OpenCV without windows needs none of these libraries, and no rights to install any."""
    present = " ".join(place.present(*OPENCV_DISTRIBUTIONS)) or "opencv-python"
    return f"{place.pip} uninstall -y {present} && {place.pip} install opencv-python-headless"


def _linux() -> tuple[str, ...]:
    try:
        facts = platform.freedesktop_os_release()
    except (OSError, AttributeError):
        return ()
    return (facts.get("ID", ""), *facts.get("ID_LIKE", "").split())


def _mmcv(place: RepairEnvironment, _: str) -> tuple[str, ...]:
    present = " ".join(place.present(*MMCV_DISTRIBUTIONS))
    uninstall = f"{place.pip} uninstall -y {present} && " if present else ""
    if installed_backend(place.versions) != "mmdet2":
        return (f"{uninstall}{place.pip} install mmcv-lite==2.1.0",)
    modern = f"{uninstall}{place.pip} install 'bdd100k-zoo[predict]'  # mmdet 3.3 instead, where nothing is built"
    if parse_version_numbers(place.versions.get("torch") or "") >= CXX20:
        return CLASSIC_SETUP, modern
    build = f"{place.pip} install --no-build-isolation --no-cache-dir {CLASSIC_MMCV}"
    return f"{uninstall}{place.pip} install 'setuptools<80' wheel && {build}", modern


def _torchvision(place: RepairEnvironment, _: str) -> tuple[str, ...]:
    """Let pip find the torchvision that belongs to the torch that is here, which stays."""
    torch = place.versions.get("torch")
    if not torch:
        return (place.install,)
    version, _plus, build = torch.partition("+")
    index = f" --index-url {TORCH_INDEX}/{build}" if re.fullmatch(r"cpu|cu\d+|rocm[\d.]+|xpu", build) else ""
    uninstall = f"{place.pip} uninstall -y torchvision && " if place.versions.get("torchvision") else ""
    return (f"{uninstall}{place.pip} install torch=={version} torchvision{index}",)


def _pydantic(place: RepairEnvironment, _: str) -> tuple[str, ...]:
    own = f"python -m venv official && official/bin/pip install {requirement('official')}"
    return f"{place.pip} install 'pydantic<2'", f"{own}  # beside what needs pydantic 2"


def _mmengine(place: RepairEnvironment, _: str) -> tuple[str, ...]:
    return (f"{place.pip} install 'mmengine>=0.10.5,<1'",)


def _setuptools(place: RepairEnvironment, _: str) -> tuple[str, ...]:
    return (f"{place.pip} install 'setuptools<80'",)


def _opencv(place: RepairEnvironment, _: str) -> tuple[str, ...]:
    return (f"{place.pip} install --upgrade {' '.join(place.present(*OPENCV_DISTRIBUTIONS)) or 'opencv-python'}",)


def _binaries(place: RepairEnvironment, _: str) -> tuple[str, ...]:
    return (f"{place.pip} install --upgrade --force-reinstall numpy scipy shapely pycocotools",)


def _torch(place: RepairEnvironment, _: str) -> tuple[str, ...]:
    return (f"{place.pip} install --force-reinstall torch torchvision",)


def _architecture(place: RepairEnvironment, _: str) -> tuple[str, ...]:
    old = f"{torch_command(place.pip, '12')}  # a GPU older than Turing"
    return f"{place.pip} install --upgrade torch torchvision  # a GPU newer than this torch", old


def _other_generation(place: RepairEnvironment, _: str) -> tuple[str, ...]:
    if place.extra == "mmcv-full":
        return (CLASSIC_SETUP,)
    own = f"python -m venv zoo && zoo/bin/pip install {requirement(place.extra)}"
    return (f"{own}  # mmdet 2 and 3 exclude each other",)


def _install(place: RepairEnvironment, _: str) -> tuple[str, ...]:
    return (place.install,)


def _fixed_advice(text: str) -> Callable[[RepairEnvironment, str], tuple[str, ...]]:
    return lambda _place, _reason: (text,)


REPAIRS: tuple[tuple[str, Callable[[RepairEnvironment, str], tuple[str, ...]]], ...] = (
    (r"\blib(GL|GLdispatch|X\w*|SM|ICE|xcb|gthread|glib)\b[-\w.]*\.so", _system_libraries),
    (r"MMCV==\S+ is used but incompatible|mmcv/_ext|mmcv\._ext|implementation for device", _mmcv),
    (r"^mmdet \d\S* is installed$", _other_generation),
    (r"MMEngine==\S+ is used but incompatible", _mmengine),
    (r"torchvision::nms|operator torchvision|torchvision/_C|No module named '?torchvision", _torchvision),
    (r"pydantic [2-9]|[Pp]ydantic\w*Error|errors\.pydantic", _pydantic),
    (r"pkg_resources", _setuptools),
    (r"numpy\.core\.multiarray failed|compiled using NumPy 1|_ARRAY_API", _opencv),
    (r"numpy\.\w+ size changed|binary incompatibility", _binaries),
    (
        r"No space left|[Qq]uota exceeded|No usable temporary",
        _fixed_advice("free some space, or set TMPDIR to a folder with room"),
    ),
    (
        r"out of memory|can't allocate memory",
        _fixed_advice("stop what else uses the memory; `--device cpu` needs none of the GPU's"),
    ),
    (r"no kernel image|not compatible with the current PyTorch", _architecture),
    (r"lib(cu|nv)\w*\.so|CUDA", _torch),
    (r"No module named '?mmcv\b", _mmcv),
    (r"No module named", _install),
)
"""What repairs a failure: that of the first pattern which the reason holds."""
