"""The same clean surroundings for every test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from surroundings import Surroundings

import bdd100k_zoo
from bdd100k_zoo.registry import Zoo, load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable

    from bdd100k_zoo.sample_data import SampleData

if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    # Before torch is imported: processes side by side share the cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

# Ctrl-C and SIGTERM as a terminal has them, also where the tests run in the background of a script, which ignores
# Ctrl-C: programs that tests start inherit it.
for number, handler in {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}.items():
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})

# How long an example takes is the machine's affair.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

PACKAGE_ROOT = str(Path(bdd100k_zoo.__file__).resolve().parents[1])
"""Where processes that tests start find the very package that the tests import."""
CLONE = str(Path(__file__).resolve().parents[1])
"""Where the maintainers' tools are. It comes last: where a wheel is installed, the package is taken from there."""
sys.path.append(CLONE)
SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests of a GPU on a machine without one."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("NOT TESTED: torch finds no CUDA device")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the caller's, a cache and a working folder of the test's own, a terminal of 80 columns."""
    for name in list(os.environ):
        if name.startswith("BDD100K_"):
            monkeypatch.delenv(name)
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("BDD100K_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BDD100K_ZOO_CONFIG", os.devnull)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((PACKAGE_ROOT, CLONE)), prepend=os.pathsep)


@pytest.fixture
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program in a Python of its own, which shows every warning that it shows a user."""

    def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def shared() -> Path:
    """The folder of published results and facts beside a developer's checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"NOT COMPARED with the published originals: there is no folder {SHARED}")
    return SHARED


@pytest.fixture
def zoo() -> Zoo:
    """The built-in zoo alone."""
    return load_zoo()


@pytest.fixture(scope="session")
def trial(tmp_path_factory: pytest.TempPathFactory) -> SampleData:
    """A checkpoint of Faster R-CNN's shape with random weights, and a folder with one drawn frame."""
    from bdd100k_zoo.sample_data import DEFAULT_MODEL, write_sample_data

    return write_sample_data(load_zoo()[DEFAULT_MODEL], tmp_path_factory.mktemp("trial"))


@pytest.fixture
def here(tmp_path: Path) -> Surroundings:
    return Surroundings(tmp_path)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a checkpoint that fits a model of the built-in zoo, once each."""

    @cache
    def write(name: str, *, classes: tuple[str, ...] = ()) -> Path:
        from bdd100k_zoo.backends.mmdet3 import import_backend

        import_backend()
        import torch

        from bdd100k_zoo.backends.common.config import load_config
        from bdd100k_zoo.backends.mmdet3.detector import build_meta_model

        shapes = build_meta_model(load_config(load_zoo()[name].config_path), name=name).state_dict()
        tensors = {key: torch.ones((), dtype=like.dtype).expand(like.shape) for key, like in shapes.items()}
        path = tmp_path_factory.mktemp("checkpoints") / f"{name}.pth"
        torch.save({"meta": {"CLASSES": classes}, "state_dict": tensors}, path)
        return path

    return write
