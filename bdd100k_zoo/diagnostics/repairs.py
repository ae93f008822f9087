"""The command that repairs a package that does not import or work, for the current environment."""

from __future__ import annotations

import json
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
from bdd100k_zoo.errors import docs_page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OPENCV_DISTRIBUTIONS = DISTRIBUTIONS["cv2"]
MMCV_DISTRIBUTIONS = DISTRIBUTIONS["mmcv"]
TORCH_INDEX = "https://download.pytorch.org/whl"
LEGACY_CUDA = "cu126"
"""The last index of torch for CUDA 12, for all GPUs from Maxwell to Hopper; its newest torch is 2.14."""
CLASSIC_SETUP = f"bash .ci/classic  # in a clone of the project; see {docs_page('classic')}"
CLASSIC_MMCV = "mmcv-full==1.7.2"
CXX20 = (2, 14)
"""The first torch whose headers need C++20, which the build of mmcv-full lacks."""
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
    """Return the name of the backend for the installed mmdet; None if there is no mmdet, or none for it."""
    backend = backend_for_mmdet(versions.get("mmdet") or "")
    return backend.NAME if backend else None


def find_mmcv_conflict(versions: Mapping[str, str | None]) -> str:
    """Return why the installed mmcv does not fit the installed mmdet; empty if it does."""
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
    """Return the numbers at the beginning of a version, as a tuple that can be compared."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in match[0].split(".")) if match else ()


class RepairEnvironment(NamedTuple):
    """The facts that a repair depends on."""

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

    def installed(self, names: tuple[str, ...]) -> str:
        """Return those of some distributions that are installed, separated by spaces."""
        return " ".join(name for name in names if self.versions.get(name))

    def fill(self, template: str) -> str:
        """Return the command for this environment from a template of ``REPAIRS``."""
        return template.format(
            pip=self.pip,
            install=self.install,
            opencv=self.installed(OPENCV_DISTRIBUTIONS) or "opencv-python",
            legacy=torch_command(self.pip, "12"),
            official=requirement("official"),
        )


def read_environment(extra: str) -> RepairEnvironment:
    """Return the facts that repairs depend on in this environment."""
    return RepairEnvironment(extra, installed_versions(), pip_command())


def pip_command() -> str:
    """Return the command that runs pip in this environment: plain ``pip`` if the shell finds that one."""
    found = shutil.which("pip")
    if found and Path(found).parent == Path(sys.executable).parent:
        return "pip"
    return f"{shlex.quote(sys.executable)} -m pip"


def requirement(extra: str) -> str:
    """Return the requirement that installs this package in another environment, quoted for a shell.

    A package that was installed from a folder may be on no index, so it is installed from there again.
    """
    try:
        recorded = distribution("bdd100k-zoo").read_text("direct_url.json")  # PEP 610
        folder = url2pathname(json.loads(recorded or "{}").get("url", "").partition("file://")[2])
    except (PackageNotFoundError, ValueError, AttributeError):
        folder = ""
    # The quotes end before the folder, so that its beginning may be shortened to ~ and still be expanded.
    return f"{shlex.quote(folder)}'[{extra}]'" if folder and Path(folder).is_dir() else f"'bdd100k-zoo[{extra}]'"


def suggest_repairs(reason: str, extra: str = "predict") -> tuple[str, ...]:
    """Return commands that repair a failure to import or to work, the best first; any one of them suffices.

    Args:
        reason: text of the error.
        extra: the extra that the failing package belongs to.
    """
    environment = read_environment(extra)
    repair = next((repair for pattern, repair in REPAIRS if re.search(pattern, reason)), UNKNOWN_FAULT)
    return repair(environment) if callable(repair) else tuple(map(environment.fill, repair))


def install_command(extra: str) -> str:
    """Return the command that installs an extra into this environment."""
    return read_environment(extra).install


def torch_command(pip: str, cuda: str | None) -> str:
    """Return the command that replaces torch and torchvision by builds that a driver supports.

    Args:
        pip: the command that runs pip.
        cuda: the newest CUDA that the driver supports, as in ``12.4``; None if unknown.
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


def _mmcv(environment: RepairEnvironment) -> tuple[str, ...]:
    pip, present = environment.pip, environment.installed(MMCV_DISTRIBUTIONS)
    uninstall = f"{pip} uninstall -y {present} && " if present else ""
    if installed_backend(environment.versions) != "mmdet2":
        return (f"{uninstall}{pip} install mmcv-lite==2.1.0",)
    modern = f"{uninstall}{pip} install 'bdd100k-zoo[predict]'  # mmdet 3.3 instead, which needs no build"
    if parse_version_numbers(environment.versions.get("torch") or "") >= CXX20:
        return CLASSIC_SETUP, modern
    build = f"{pip} install --no-build-isolation --no-cache-dir {CLASSIC_MMCV}"
    return f"{uninstall}{pip} install 'setuptools<80' wheel && {build}", modern


def _torchvision(environment: RepairEnvironment) -> tuple[str, ...]:
    """Let pip find the torchvision for the installed torch."""
    torch = environment.versions.get("torch")
    if not torch:
        return (environment.install,)
    version, _plus, build = torch.partition("+")
    index = f" --index-url {TORCH_INDEX}/{build}" if re.fullmatch(r"cpu|cu\d+|rocm[\d.]+|xpu", build) else ""
    uninstall = f"{environment.pip} uninstall -y torchvision && " if environment.versions.get("torchvision") else ""
    return (f"{uninstall}{environment.pip} install torch=={version} torchvision{index}",)


def _other_generation(environment: RepairEnvironment) -> tuple[str, ...]:
    if environment.extra == "mmcv-full":
        return (CLASSIC_SETUP,)
    own = f"python -m venv zoo && zoo/bin/pip install {requirement(environment.extra)}"
    return (f"{own}  # mmdet 2 and 3 exclude each other",)


UNKNOWN_FAULT = ("{install} --force-reinstall",)

REPAIRS: tuple[tuple[str, tuple[str, ...] | Callable[[RepairEnvironment], tuple[str, ...]]], ...] = (
    (
        r"\blib(GL|GLdispatch|X\w*|SM|ICE|xcb|gthread|glib)\b[-\w.]*\.so",
        (
            "{pip} uninstall -y {opencv} && {pip} install opencv-python-headless",
            "install libGL and GLib with the package manager of your system (Debian: libgl1 libglib2.0-0)",
        ),
    ),
    (r"MMCV==\S+ is used but incompatible|mmcv/_ext|mmcv\._ext|implementation for device", _mmcv),
    (r"^mmdet \d\S* is installed$", _other_generation),
    (r"MMEngine==\S+ is used but incompatible", ("{pip} install 'mmengine>=0.10.5,<1'",)),
    (r"torchvision::nms|operator torchvision|torchvision/_C|No module named '?torchvision", _torchvision),
    (
        r"pydantic [2-9]|[Pp]ydantic\w*Error|errors\.pydantic",
        (
            "{pip} install 'pydantic<2'",
            "python -m venv official && official/bin/pip install {official}  # if other packages need pydantic 2",
        ),
    ),
    (r"pkg_resources", ("{pip} install 'setuptools<80'",)),
    (r"numpy\.core\.multiarray failed|compiled using NumPy 1|_ARRAY_API", ("{pip} install --upgrade {opencv}",)),
    (
        r"numpy\.\w+ size changed|binary incompatibility",
        ("{pip} install --upgrade --force-reinstall numpy scipy shapely pycocotools",),
    ),
    (r"No space left|[Qq]uota exceeded|No usable temporary", ("free some space, or set TMPDIR to a folder with room",)),
    (
        r"out of memory|can't allocate memory",
        ("stop what else uses the memory; `--device cpu` needs none of the GPU's",),
    ),
    (
        r"no kernel image|not compatible with the current PyTorch",
        (
            "{pip} install --upgrade torch torchvision  # a GPU newer than this torch",
            "{legacy}  # a GPU older than Turing",
        ),
    ),
    (r"lib(cu|nv)\w*\.so|CUDA", ("{pip} install --force-reinstall torch torchvision",)),
    (r"No module named '?mmcv\b", _mmcv),
    (r"No module named", ("{install}",)),
)
"""Patterns of errors of other packages, and their repairs: templates, or a function. The first match applies."""
