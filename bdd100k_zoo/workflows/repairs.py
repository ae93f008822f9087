"""The exact command that repairs a package that does not import or work, in the very environment that this runs in."""

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

from bdd100k_zoo.workflows.stack import MMCV, OPENCV, generation_of, installed_versions, numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TORCH_INDEX = "https://download.pytorch.org/whl"
LEGACY_CUDA = "cu126"
"""The last index of torch for CUDA 12, with all GPUs from Maxwell to Hopper; its newest torch is 2.14."""
CLASSIC = "bash .ci/classic  # in a clone of the project; see docs/classic.md"
CLASSIC_MMCV = "mmcv-full==1.7.2"
CXX20 = (2, 14)
"""The first torch whose headers mmcv-full's own build cannot read."""


class Here(NamedTuple):
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
            return CLASSIC
        return f"{self.pip} install 'bdd100k-zoo[{self.extra}]'"

    def present(self, *names: str) -> tuple[str, ...]:
        """Give those of some distributions that are installed."""
        return tuple(name for name in names if self.versions.get(name))


def here(extra: str) -> Here:
    """Describe this environment."""
    return Here(extra, installed_versions(), pip())


def pip() -> str:
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


def repairs_of(reason: str, extra: str = "predict") -> tuple[str, ...]:
    """Name what repairs a failure to import or to work, the best first; any one of them does.

    Args:
        reason: what was raised.
        extra: the extra of the package that it is of.
    """
    place = here(extra)
    repair = next((repair for pattern, repair in REPAIRS if re.search(pattern, reason)), None)
    return repair(place, reason) if repair else (f"{place.install} --force-reinstall",)


def install_command(extra: str) -> str:
    """Give the command that installs an extra into this environment."""
    return here(extra).install


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


def _system_libraries(place: Here, _: str) -> tuple[str, ...]:
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


def _headless(place: Here) -> str:
    """OpenCV without windows needs none of these libraries, and no rights to install any."""
    present = " ".join(place.present(*OPENCV)) or "opencv-python"
    return f"{place.pip} uninstall -y {present} && {place.pip} install opencv-python-headless"


def _linux() -> tuple[str, ...]:
    try:
        facts = platform.freedesktop_os_release()
    except (OSError, AttributeError):
        return ()
    return (facts.get("ID", ""), *facts.get("ID_LIKE", "").split())


def _mmcv(place: Here, _: str) -> tuple[str, ...]:
    present = " ".join(place.present(*MMCV))
    uninstall = f"{place.pip} uninstall -y {present} && " if present else ""
    if generation_of(place.versions) != "mmdet2":
        return (f"{uninstall}{place.pip} install mmcv-lite==2.1.0",)
    modern = f"{uninstall}{place.pip} install 'bdd100k-zoo[predict]'  # mmdet 3.3 instead, where nothing is built"
    if numbers(place.versions.get("torch") or "") >= CXX20:
        return CLASSIC, modern
    build = f"{place.pip} install --no-build-isolation --no-cache-dir {CLASSIC_MMCV}"
    return f"{uninstall}{place.pip} install 'setuptools<80' wheel && {build}", modern


def _torchvision(place: Here, _: str) -> tuple[str, ...]:
    """Let pip find the torchvision that belongs to the torch that is here, which stays."""
    torch = place.versions.get("torch")
    if not torch:
        return (place.install,)
    version, _plus, build = torch.partition("+")
    index = f" --index-url {TORCH_INDEX}/{build}" if re.fullmatch(r"cpu|cu\d+|rocm[\d.]+|xpu", build) else ""
    uninstall = f"{place.pip} uninstall -y torchvision && " if place.versions.get("torchvision") else ""
    return (f"{uninstall}{place.pip} install torch=={version} torchvision{index}",)


def _pydantic(place: Here, _: str) -> tuple[str, ...]:
    own = f"python -m venv official && official/bin/pip install {requirement('official')}"
    return f"{place.pip} install 'pydantic<2'", f"{own}  # beside what needs pydantic 2"


def _mmengine(place: Here, _: str) -> tuple[str, ...]:
    return (f"{place.pip} install 'mmengine>=0.10.5,<1'",)


def _setuptools(place: Here, _: str) -> tuple[str, ...]:
    return (f"{place.pip} install 'setuptools<80'",)


def _opencv(place: Here, _: str) -> tuple[str, ...]:
    return (f"{place.pip} install --upgrade {' '.join(place.present(*OPENCV)) or 'opencv-python'}",)


def _binaries(place: Here, _: str) -> tuple[str, ...]:
    return (f"{place.pip} install --upgrade --force-reinstall numpy scipy shapely pycocotools",)


def _torch(place: Here, _: str) -> tuple[str, ...]:
    return (f"{place.pip} install --force-reinstall torch torchvision",)


def _architecture(place: Here, _: str) -> tuple[str, ...]:
    old = f"{torch_command(place.pip, '12')}  # a GPU older than Turing"
    return f"{place.pip} install --upgrade torch torchvision  # a GPU newer than this torch", old


def _other_generation(place: Here, _: str) -> tuple[str, ...]:
    if place.extra == "mmcv-full":
        return (CLASSIC,)
    own = f"python -m venv zoo && zoo/bin/pip install {requirement(place.extra)}"
    return (f"{own}  # mmdet 2 and 3 exclude each other",)


def _install(place: Here, _: str) -> tuple[str, ...]:
    return (place.install,)


def _advice(text: str) -> Callable[[Here, str], tuple[str, ...]]:
    return lambda _place, _reason: (text,)


REPAIRS: tuple[tuple[str, Callable[[Here, str], tuple[str, ...]]], ...] = (
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
        _advice("free some space, or set TMPDIR to a folder with room"),
    ),
    (
        r"out of memory|can't allocate memory",
        _advice("stop what else uses the memory; `--device cpu` needs none of the GPU's"),
    ),
    (r"no kernel image|not compatible with the current PyTorch", _architecture),
    (r"lib(cu|nv)\w*\.so|CUDA", _torch),
    (r"No module named '?mmcv\b", _mmcv),
    (r"No module named", _install),
)
"""What repairs a failure: that of the first pattern which the reason holds."""
