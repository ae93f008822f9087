"""Each known fault of an installation has a command that repairs it in its environment."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bdd100k_zoo.diagnostics import repairs
from bdd100k_zoo.diagnostics.repairs import (
    RepairEnvironment,
    find_mmcv_conflict,
    installed_backend,
    installed_versions,
    parse_version_numbers,
    pip_command,
    suggest_repairs,
    torch_command,
)

FAULTS = {
    "libGL.so.1: cannot open shared object file: No such file or directory": "opencv-python-headless",
    "libgthread-2.0.so.0: cannot open shared object file": "opencv-python-headless",
    "libX11.so.6: cannot open shared object file": "opencv-python-headless",
    "No module named 'torchvision'": "install torch==",
    "No module named 'mmdet'": "install 'bdd100k-zoo[predict]'",
    "No module named 'mmcv'": "install mmcv-lite==2.1.0",
    "MMCV==2.2.0 is used but incompatible. Please install": "install mmcv-lite==2.1.0",
    "mmdet 2.28.2 is installed": "python -m venv zoo && zoo/bin/pip install ",
    "MMEngine==1.0.0 is used but incompatible": "mmengine>=0.10.5,<1",
    "operator torchvision::nms does not exist": "install torch==",
    "x/mmcv/_ext.cpython-311-x86_64-linux-gnu.so: undefined symbol: _ZN2at4_ops5zeros4callE": "mmcv-lite==2.1.0",
    "numpy.dtype size changed, may indicate binary incompatibility. Expected 96": "--force-reinstall numpy",
    "A module that was compiled using NumPy 1.x cannot be run in NumPy 2.4.6": "--upgrade opencv-python",
    "No module named 'pkg_resources'": "'setuptools<80'",
    "PydanticUserError: `const` is removed, use `Literal` instead": "'pydantic<2'",
    "weights.pth: No space left on device": "TMPDIR",
    "CUDA out of memory. Tried to allocate 2.00 GiB": "stop what else",
    "CUDA error: no kernel image is available for execution on the device": "--upgrade torch torchvision",
    "libcudart.so.13: cannot open shared object file": "--force-reinstall torch torchvision",
    "something never seen": "install 'bdd100k-zoo[predict]' --force-reinstall",
}


@pytest.fixture
def environment(monkeypatch):
    """Pretend that some distributions are installed, and that the shell finds pip."""

    def pretend(versions):
        monkeypatch.setattr(repairs, "read_environment", lambda extra: RepairEnvironment(extra, versions, "pip"))

    return pretend


@pytest.mark.parametrize("reason", FAULTS)
def test_each_known_fault_has_its_repair(reason, environment):
    environment({"torch": "2.14.1", "mmdet": "3.3.0", "mmcv-lite": "2.2.0", "opencv-python": "5.0"})
    assert FAULTS[reason] in suggest_repairs(reason)[0]


def test_a_package_installed_from_a_folder_is_installed_from_there_in_another_environment(monkeypatch, tmp_path):
    clone = tmp_path / "a clone"
    clone.mkdir()
    facts = tmp_path / "bdd100k_zoo-0.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: bdd100k-zoo\nVersion: 0.0\n")
    (facts / "direct_url.json").write_text(json.dumps({"url": clone.as_uri(), "dir_info": {}}))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert shlex.split(repairs.requirement("predict")) == [f"{clone}[predict]"]
    clone.rmdir()
    assert repairs.requirement("predict") == "'bdd100k-zoo[predict]'"
    (facts / "direct_url.json").unlink()
    assert repairs.requirement("predict") == "'bdd100k-zoo[predict]'"


@pytest.mark.parametrize("reason", FAULTS)
def test_commands_can_be_pasted_into_a_shell(reason):
    for repair in suggest_repairs(reason):
        if "pip" in repair:
            assert subprocess.run(["sh", "-n", "-c", repair], check=False).returncode == 0, repair


def test_missing_system_libraries_are_avoided_or_installed(environment):
    environment({"opencv-python": "5.0"})
    headless, install = suggest_repairs("ImportError: libGL.so.1: cannot open shared object file")
    assert headless == "pip uninstall -y opencv-python && pip install opencv-python-headless"
    assert "libgl1" in install


@pytest.mark.parametrize(
    ("torch", "torchvision", "repair"),
    [
        ("2.14.1", None, "pip install torch==2.14.1 torchvision"),
        ("2.14.1", "0.28.0", "pip uninstall -y torchvision && pip install torch==2.14.1 torchvision"),
        (
            "2.9.0+cu126",
            None,
            "pip install torch==2.9.0 torchvision --index-url https://download.pytorch.org/whl/cu126",
        ),
        ("2.9.0+cpu", None, "pip install torch==2.9.0 torchvision --index-url https://download.pytorch.org/whl/cpu"),
        ("2.9.0a0+git1234", None, "pip install torch==2.9.0a0 torchvision"),
        (None, None, "pip install 'bdd100k-zoo[predict]'"),
    ],
)
def test_torchvision_is_installed_for_the_installed_torch(torch, torchvision, repair, environment):
    environment({"torch": torch, "torchvision": torchvision})
    assert suggest_repairs("No module named 'torchvision'") == (repair,)


@pytest.mark.parametrize(
    ("torch", "begin", "end"),
    [
        ("2.13.0", "pip uninstall -y mmcv-lite mmcv-full && pip install 'setuptools<80'", "mmcv-full==1.7.2"),
        ("2.14.1", "bash .ci/classic", "readthedocs.io/classic/"),
    ],
)
def test_the_classic_stack_is_repaired_or_replaced(torch, begin, end, environment):
    environment({"mmdet": "2.28.2", "torch": torch, "mmcv-full": "1.7.2", "mmcv-lite": "2.1.0"})
    classic, modern = suggest_repairs("x/mmcv/_ext.so: undefined symbol", "mmcv-full")
    assert classic.startswith(begin)
    assert classic.endswith(end)
    assert "pip install 'bdd100k-zoo[predict]'" in modern


@pytest.mark.parametrize(
    ("cuda", "wanted"),
    [
        ("13.0", "pip install torch torchvision"),
        (None, "pip install torch torchvision"),
        ("12.2", "pip install torch torchvision --index-url https://download.pytorch.org/whl/cu126"),
        ("11.4", "pip install torch==2.7.1 torchvision==0.22.1 --index-url https://download.pytorch.org/whl/cu118"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="the default builds differ there")
def test_torch_is_chosen_by_the_driver(cuda, wanted):
    assert torch_command("pip", cuda) == f"pip uninstall -y torch torchvision && {wanted}"


def test_pip_is_that_of_this_environment(tmp_path, monkeypatch):
    home = tmp_path / "it's mine"
    for folder in (home, tmp_path / "other"):
        folder.mkdir()
        (folder / "pip").write_text("#!/bin/sh\n")
        (folder / "pip").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(home / "python"))
    monkeypatch.setenv("PATH", str(home))
    assert pip_command() == "pip"
    monkeypatch.setenv("PATH", str(tmp_path / "other"))
    assert shlex.split(pip_command()) == [str(home / "python"), "-m", "pip"]
    monkeypatch.setenv("PATH", "")
    assert Path(shlex.split(pip_command())[0]) == home / "python"


# Which distributions fit together


@pytest.mark.parametrize(
    ("mmdet", "generation"),
    [("3.3.0", "mmdet3"), ("3.0.0rc1", "mmdet3"), ("2.28.2", "mmdet2"), ("4.0", None), (None, None)],
)
def test_the_installed_mmdet_decides_the_backend(mmdet, generation):
    assert installed_backend({"mmdet": mmdet}) == generation
    assert installed_backend({}) is None


@pytest.mark.parametrize(
    "right",
    [
        {"mmdet": "3.3.0", "mmcv-lite": "2.1.0"},
        {"mmdet": "3.3.0", "mmcv": "2.1.0"},
        {"mmdet": "3.3.0", "mmcv": "2.0.0rc4", "mmcv-full": None},
        {"mmdet": "2.28.2", "mmcv-full": "1.7.2"},
        {"mmdet": "2.25.0", "mmcv-full": "1.5.3"},
        {"mmdet": "3.3.0"},
        {"mmcv-full": "1.7.2"},
        {"mmcv": "2.2.0"},
        {},
    ],
)
def test_distributions_that_fit_have_no_conflict(right):
    assert find_mmcv_conflict(right) == ""


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mmdet": "3.3.0", "mmcv-lite": "2.2.0"}, "mmcv-lite 2.2.0 beside mmdet 3.3.0, which needs mmcv-lite or mmcv"),
        ({"mmdet": "3.3.0", "mmcv": "2.2.0rc1"}, "2.0 or 2.1"),
        ({"mmdet": "3.3.0", "mmcv-full": "1.7.2"}, "mmcv-full 1.7.2 beside mmdet 3.3.0"),
        ({"mmdet": "2.28.2", "mmcv-lite": "2.1.0"}, "which needs mmcv-full 1.x"),
        ({"mmdet": "2.28.2", "mmcv": "1.7.2"}, "which needs mmcv-full 1.x"),
        ({"mmdet": "3.3.0", "mmcv-lite": "2.1.0", "mmcv": "2.1.0"}, "mmcv-lite 2.1.0, mmcv 2.1.0: they overwrite"),
        ({"mmcv-lite": "2.1.0", "mmcv-full": "1.7.2"}, "they overwrite each other"),
    ],
)
def test_distributions_that_do_not_fit_are_a_conflict(wrong, message):
    assert message in find_mmcv_conflict(wrong)


@pytest.mark.parametrize(
    ("version", "expected"), [("2.1.0", (2, 1, 0)), ("2.2.0rc1", (2, 2, 0)), ("2.14.1+cu130", (2, 14, 1)), ("x", ())]
)
def test_versions_are_compared_by_their_numbers(version, expected):
    assert parse_version_numbers(version) == expected


def test_versions_include_distributions_that_are_not_installed():
    versions = installed_versions()
    assert versions["numpy"]
    assert versions["python"]
    assert "mmcv-full" in versions
