"""Hooks of MkDocs, which builds the site of the documentation from docs/: generated pages, links into the clone.

    mkdocs build --strict

needs the extras ``docs`` and ``report``. The reference of the commands is made from their help, that of the Python
functions from the names that the package exports, and the page of all models from zoo.yaml.
"""

from __future__ import annotations

import posixpath
import re
import sys
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import typer
from typer.main import get_command

import bdd100k_zoo
from bdd100k_zoo import errors, load_zoo
from bdd100k_zoo.cli.app import build_app
from bdd100k_zoo.cli.help_pages import GROUPS, PAGES

if sys.version_info >= (3, 11):
    import tomllib

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE = Path(__file__).parents[1]
ZOO_PAGE = "zoo/index.html"
MODULES = {
    "bdd100k_zoo.data.export": "Detections in other formats",
    "bdd100k_zoo.progress": "Progress of long jobs",
}
"""Public modules beside the package itself, with their headings."""

_LINK = re.compile(r"\]\(\.\./([^)\s#]+)([^)\s]*)\)")


def repository() -> str:
    """Return the address of the repository, as pyproject.toml has it."""
    settings = tomllib.loads((CLONE / "pyproject.toml").read_text(encoding="utf-8"))
    return str(settings["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"])


def link_to_clone(markdown: str, address: str) -> str:
    """Return a page of docs/ whose links to files outside docs/ lead to the repository.

    Args:
        markdown: the text of the page.
        address: of the repository.
    """
    return _LINK.sub(lambda link: f"]({address}/blob/main/{posixpath.normpath(link[1])}{link[2]})", markdown)


def commands_page() -> str:
    """Return the reference of the command line, in Markdown."""
    lines = ["# Commands", "", "Made from the help of the commands: `bdd100k-zoo COMMAND --help` shows the same.", ""]
    app = get_command(build_app())
    lines += ["## Global options", "", "They may appear anywhere on the command line.", ""]
    lines += _table("Option", app.params, typer.Context(app, info_name="bdd100k-zoo"))
    for name in PAGES:
        command: Any = app
        for part in name.split():
            command = command.commands[part]
        lines += _command_section(name, command)
    return "\n".join(lines) + "\n"


def _command_section(name: str, command: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=f"bdd100k-zoo {name}")
    parameters = [each for each in command.get_params(context) if not each.hidden]
    arguments = [each for each in parameters if each.param_type_name == "argument"]
    page, *examples = PAGES[name]
    shown = " ".join(each.make_metavar(context).strip("{}") for each in arguments)
    yield from (f"## {name}", "", command.help, "")
    yield from ("```", f"bdd100k-zoo {name} [OPTIONS] {shown}".rstrip(), "```", "")
    yield from _table("Argument", arguments, context)
    for group in GROUPS:
        options = [each for each in parameters if each not in arguments and each.rich_help_panel == group]
        yield from _table(group, options, context)
    yield from ("Examples:", "", "```sh")
    yield from (each if each.startswith("du ") else f"bdd100k-zoo {each}" for each in examples)
    yield from ("```", "", f"More: [{page}]({page}.md).", "")


def _table(heading: str, parameters: list[Any], context: Any) -> Iterator[str]:
    """Yield a table of arguments or options: how each is written, and what it means."""
    if parameters:
        yield from (f"| {heading} | |", "| --- | --- |")
        for each in parameters:
            written, meaning = (escape(text).replace("|", "&#124;") for text in each.get_help_record(context))
            yield f"| <code>{written}</code> | {meaning} |"
        yield ""


def api_page() -> str:
    """Return the reference of Python, in Markdown with directives of mkdocstrings: what the package exports."""
    names = [name for name in bdd100k_zoo.__all__ if name != "__version__"]
    lines = ["# Python API", "", "Made from the docstrings. [Python](python.md) shows the functions at work.", ""]
    for name in sorted(names, key=lambda name: (not name.islower(), name)):
        lines += [f"::: bdd100k_zoo.{name}", ""]
    for module, heading in MODULES.items():
        lines += [f"## {heading}", "", f"::: {module}", "    options:", "      heading_level: 3", ""]
    return "\n".join(lines)


def errors_page() -> str:
    """Return the reference of the exceptions, in Markdown with directives of mkdocstrings."""
    lines = [
        "# Errors",
        "",
        "Every exception that this package raises on purpose. Each has `hint`: what to do next.",
        "",
    ]
    found = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.ZooError)]
    for each in found:
        lines += [f"::: bdd100k_zoo.errors.{each.__name__}", "    options:", "      members: false", ""]
    return "\n".join(lines)


def zoo_page() -> str:
    """Return the page of all models, as ``bdd100k-zoo site`` writes it."""
    from bdd100k_zoo.reporting.site import write_site

    with TemporaryDirectory() as folder:
        return write_site(load_zoo(), Path(folder)).path.read_text(encoding="utf-8")


def on_config(config: Any) -> Any:
    """Link to the repository. With ``repo_url``, pages would ask GitHub for its stars on every visit."""
    link = {"icon": "fontawesome/brands/git-alt", "link": repository(), "name": "Source"}
    config.extra["social"] = [link]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    made = {"commands.md": commands_page(), "api.md": api_page(), "errors.md": errors_page(), ZOO_PAGE: zoo_page()}
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links out of docs/ to the repository."""
    return link_to_clone(markdown, repository())
