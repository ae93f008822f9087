"""The help of every command: its options in groups, examples that exist, and a page of the documentation."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from bdd100k_zoo.cli.app import build_app
from bdd100k_zoo.cli.help_pages import GROUP_OF, PAGES
from bdd100k_zoo.errors import DOCUMENTATION, docs_page

if sys.version_info >= (3, 11):
    import tomllib

CLONE = Path(__file__).parents[2]
PACKAGE = CLONE / "bdd100k_zoo"


def commands(group: Any, prefix: str = "") -> dict[str, Any]:
    """Return all commands by their names, such as ``cache export``."""
    found = {}
    for name, command in group.commands.items():
        found |= commands(command, f"{name} ") if hasattr(command, "commands") else {prefix + name: command}
    return found


COMMANDS = commands(get_command(build_app()))


def spellings(command: Any) -> set[str]:
    return {spelling for each in command.params for spelling in (*each.opts, *each.secondary_opts)}


def test_every_command_has_a_page_and_two_or_three_examples() -> None:
    assert PAGES.keys() == COMMANDS.keys()
    for page, *examples in PAGES.values():
        assert (CLONE / "docs" / f"{page}.md").is_file(), page
        assert 2 <= len(examples) <= 3


@pytest.mark.parametrize("name", PAGES)
def test_examples_call_the_command_with_its_options(name: str) -> None:
    for example in PAGES[name][1:]:
        assert name in example
        options = [word for word in shlex.split(example) if word.startswith("--")]
        assert set(options) <= spellings(COMMANDS[name]) | {"-sh"}, example
        assert len(f"   bdd100k-zoo {example}") <= 79, example


@pytest.mark.parametrize("name", PAGES)
def test_every_option_has_a_group(name: str) -> None:
    options = {each.opts[0] for each in COMMANDS[name].params if each.opts[0].startswith("--")}
    assert options <= GROUP_OF.keys() | {"--help"}


def test_no_group_has_an_option_that_no_command_has() -> None:
    assert GROUP_OF.keys() <= {option for command in COMMANDS.values() for option in spellings(command)}


def test_the_help_has_groups_examples_and_the_address(call) -> None:
    shown = call("predict", "--help").stdout
    groups = re.findall(r"─ (\w+) ─", shown)
    assert groups == ["Arguments", "Input", "Output", "Model", "Device", "Advanced"]
    assert "\n   bdd100k-zoo predict cascade_rcnn_r50_fpn_3x street.jpg" in shown
    assert f"Docs: {docs_page('usage')}" in shown
    assert f"Docs: {docs_page('cache')}" in call("cache", "list", "--help").stdout


@pytest.mark.skipif(sys.version_info < (3, 11), reason="NOT COMPARED: this Python has no tomllib")
def test_the_address_is_that_of_the_metadata() -> None:
    build = tomllib.loads((CLONE / "pyproject.toml").read_text())["tool"]["hatch"]
    assert build["metadata"]["hooks"]["custom"]["documentation"] == DOCUMENTATION


def test_no_message_points_to_a_file_of_a_clone() -> None:
    """Docstrings and comments may: whoever reads them has the source."""
    quoted = re.compile(r'^(?!\s*(#|"""))[^#\n]*"[^"\n]*docs/\w+\.md', re.MULTILINE)
    found = {path: quoted.findall(path.read_text()) for path in PACKAGE.rglob("*.py")}
    assert [str(path) for path, lines in found.items() if lines] == []
    given = re.compile(r"docs_page\([\"'](\w+)[\"']\)")
    named = {page for path in PACKAGE.rglob("*.py") for page in given.findall(path.read_text())}
    assert named
    assert [page for page in named if not (CLONE / "docs" / f"{page}.md").is_file()] == []
