"""The examples of docs/interoperability.md run, and print what the page says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from bdd100k_zoo.cli.app import build_app

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

PAGE = (Path(__file__).parents[2] / "docs" / "interoperability.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(
    r"^## (\w+)\n(?:(?!^## ).)*?^<!-- interoperability: ?([\w, ]*) -->\n```python\n(.*?)```\n\n```text\n(.*?)```",
    PAGE,
    re.DOTALL | re.MULTILINE,
)
"""Heading, the packages that it needs, program, and the last lines that it prints."""


def test_every_marked_example_is_found() -> None:
    assert len(EXAMPLES) == PAGE.count("<!-- interoperability: ") - 1 > 5


@pytest.mark.parametrize(
    ("packages", "program", "printed"), [each[1:] for each in EXAMPLES], ids=[e[0] for e in EXAMPLES]
)
def test_the_example_prints_what_the_page_says(
    packages: str,
    program: str,
    printed: str,
    demo: Path,
    need: Callable[..., None],
    run_python: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    need(*packages.replace(",", " ").split())
    shutil.copytree(demo, tmp_path, dirs_exist_ok=True)
    lines = run_python(program).stdout.splitlines()
    expected = printed.splitlines()
    assert lines[-len(expected) :] == expected


def test_the_commands_give_the_files_of_the_examples(demo: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"<!-- interoperability: files -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    first, *conversions = block.splitlines()
    assert first == "bdd100k-zoo demo --out demo"
    shutil.copytree(demo / "demo", tmp_path / "demo")
    for command in conversions:
        result = CliRunner().invoke(build_app(), command.split()[1:])
        assert result.exit_code == 0, result.stderr
    for name in ("labels.json", "results.json"):
        assert (tmp_path / name).read_bytes() == (demo / name).read_bytes()
