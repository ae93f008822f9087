"""The selection of a backend, and the interface that both share."""

from __future__ import annotations

import ast
import inspect
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

from bdd100k_zoo.backends import mmdet2, mmdet3
from bdd100k_zoo.backends.common.backend import Backend, Stack
from bdd100k_zoo.backends.selection import BACKENDS, MMDET2, MMDET3, select_backend
from bdd100k_zoo.cli.output import explain
from bdd100k_zoo.errors import BackendError


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Pretend that a version of mmdet, or none, is installed."""

    def seem(version: str = "") -> None:
        standard = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
        monkeypatch.setattr(sys, "path", [str(tmp_path), *standard])
        if version:
            info = tmp_path / f"mmdet-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mmdet\nVersion: {version}\n")

    return seem


@pytest.mark.parametrize(
    ("version", "name"), [("2.28.2", "mmdet2"), ("3.3.0", "mmdet3"), ("", "mmdet3"), ("1.2.0", "mmdet3")]
)
def test_auto_selects_the_installed_backend_or_else_the_default(version: str, name: str, install) -> None:
    install(version)
    assert name == select_backend().NAME


@pytest.mark.parametrize(("version", "name"), [("2.28.2", "mmdet2"), ("3.3.0", "mmdet3")])
def test_the_installed_backend_can_be_requested(version: str, name: str, install) -> None:
    install(version)
    assert name == select_backend(name).NAME


@pytest.mark.parametrize(
    ("version", "name", "problem", "hint"),
    [
        ("3.3.0", "mmdet2", "it needs mmdet 2, and mmdet 3.3.0 is installed", "/classic/ describes"),
        ("2.28.2", "mmdet3", "it needs mmdet 3, and mmdet 2.28.2 is installed", "pip install 'bdd100k-zoo[predict]'"),
        ("", "mmdet2", "no mmdet is installed", "/classic/ describes"),
        ("3.3.0", "mmdet4", "expected auto, mmdet3 or mmdet2", "leave out --backend"),
    ],
)
def test_a_backend_that_is_not_installed_is_refused_with_a_repair(
    version: str, name: str, problem: str, hint: str, install
) -> None:
    install(version)
    with pytest.raises(BackendError) as caught:
        select_backend(name)
    message, advice = explain(caught.value)
    assert problem in message
    assert hint in advice


# One interface


def test_all_backends_have_the_same_public_names() -> None:
    interface = {name for name in dir(Backend) if name[0] != "_"} | Backend.__annotations__.keys()
    for backend in BACKENDS:
        assert {name for name in dir(backend) if name[0] != "_"} == interface
    for name in ("load", "check", "check_checkpoint", "import_backend", "import_package"):
        assert (getattr(mmdet3, name), getattr(mmdet2, name)) == (getattr(MMDET3, name), getattr(MMDET2, name))


@pytest.mark.parametrize("name", ["mmdet2", "mmdet3"])
def test_the_module_detector_of_a_backend_implements_the_stack(name: str) -> None:
    """It is parsed, not imported: the two versions of mmdet cannot be installed together."""
    spec = find_spec(f"bdd100k_zoo.backends.{name}")
    assert spec is not None
    assert spec.origin is not None
    found: dict[str, list[str] | None] = {}
    for node in ast.parse(Path(spec.origin).with_name("detector.py").read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
        elif isinstance(node, ast.ImportFrom):
            found |= dict.fromkeys(alias.name for alias in node.names)
        elif isinstance(node, ast.ClassDef):
            found[node.name] = None
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = None
    for member in (member for member in vars(Stack) if member[0] != "_"):
        assert member in found
        if found[member] is not None:
            assert found[member] == [*inspect.signature(getattr(Stack, member)).parameters][1:], member
