"""The examples of docs/python.md run in their order, and type-check as one script."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from demo_frames import write_demo_frames

import bdd100k_zoo

PAGE = Path(__file__).resolve().parents[1] / "docs" / "python.md"
BLOCK = re.compile(r"^(<!-- not run -->\n)?```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples() -> list[str]:
    found = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    return [code for mark, code in found if not mark]


def test_the_examples_run() -> None:
    write_demo_frames(Path("demo/data"), train=4, val=6)
    namespace: dict[str, Any] = {}
    for number, code in enumerate(examples(), 1):
        exec(compile(code, f"example {number} of {PAGE.name}", "exec"), namespace)
    assert Path("submission.json").is_file()
    assert Path("report.html").is_file()


def test_every_public_function_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    names = [name for name in bdd100k_zoo.__all__ if name.islower() and name != "__version__"]
    assert [name for name in names if not re.search(rf"import .*\b{name}\b", text)] == []


SIGNATURE = re.compile(r"`([a-z]+)\(([^`]*)\) ->\s")


def test_the_arguments_on_the_page_are_those_of_the_functions() -> None:
    found = SIGNATURE.findall(PAGE.read_text(encoding="utf-8"))
    shown = {name: [each.strip().partition("=")[0] for each in given.split(",")] for name, given in found}
    functions = {
        "predict",
        "evaluate",
        "compare",
        "show",
        "report",
        "reproduce",
        "train",
        "download",
        "convert",
        "submit",
        "table",
    }
    assert set(shown) == functions
    for name, given in shown.items():
        parameters = inspect.signature(getattr(bdd100k_zoo, name)).parameters.keys()
        assert sorted(given) == sorted({"*", *parameters} - {"command"}), name  # the command line's own


@pytest.mark.slow
def test_a_script_of_the_examples_passes_mypy_strict() -> None:
    Path("script.py").write_text("\n".join(examples()))
    Path("mypy.ini").write_text("[mypy]\nstrict = true\nfollow_imports = silent\n")
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", "mypy", "script.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not find_spec("basedpyright"), reason="NOT CHECKED with pyright: basedpyright is not installed")
def test_a_script_of_the_examples_passes_pyright() -> None:
    Path("script.py").write_text("\n".join(examples()))
    Path("pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}')
    command = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "script.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
