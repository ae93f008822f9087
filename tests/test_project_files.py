"""Files at the top of the repository agree with the package and with one another."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bdd100k_zoo import __version__
from bdd100k_zoo.cli.help_pages import PAGES
from bdd100k_zoo.errors import DOCUMENTATION, docs_page
from tools.documentation import commands_page, link_to_clone

if sys.version_info >= (3, 11):
    import tomllib

ROOT = Path(__file__).resolve().parents[1]
GENERATED = {"commands.md", "api.md", "errors.md", "zoo/index.html"}


def read_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def site_pages() -> list[str]:
    """The files of the site's navigation."""
    return [
        file
        for part in read_yaml("mkdocs.yml")["nav"]
        for pages in part.values()
        for page in pages
        for file in page.values()
    ]


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    written = {path.name for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".ipynb")}
    assert sorted(site_pages()) == sorted(written | GENERATED)


def test_help_names_addresses_of_pages_of_the_site() -> None:
    assert read_yaml("mkdocs.yml")["site_url"] == f"{DOCUMENTATION}/"
    addresses = {f"{DOCUMENTATION}/{Path(page).stem}/" for page in site_pages() if page.endswith(".md")}
    assert {docs_page(page) for page, *_ in PAGES.values()} <= addresses
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "bdd100k_zoo").rglob("*.py"))
    named = re.findall(r"docs_page\([\"'](\w+)[\"']\)", source)
    assert {docs_page(page) for page in named} <= addresses


def test_documents_link_to_pages_of_the_site() -> None:
    """Where they cannot link to a file, because the page is generated."""
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / ".github").rglob("*.yml")]
    named = {found for path in documents for found in re.findall(rf"{DOCUMENTATION}/([^\s)\"#]+)", path.read_text())}
    served = {page.removesuffix("index.html") or page for page in site_pages()}
    served = {page if page.endswith("/") else f"{Path(page).stem}/" for page in served}
    assert named
    assert named <= served


def test_the_reference_of_the_commands_has_every_command_and_its_options() -> None:
    page = commands_page()
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == ["Global options", *PAGES]
    section = page.partition("\n## convert\n")[2].partition("\n## ")[0]
    assert "<code>--to &lt;scalabel&#124;coco&#124;yolo&#124;csv&gt;</code>" in section
    assert "bdd100k-zoo convert det_val.json --to coco" in section


def test_links_out_of_the_pages_lead_to_the_repository() -> None:
    page = "[a](../README.md#results) [b](usage.md) [c](../bdd100k_zoo/x.py)"
    expected = "[a](R/blob/main/README.md#results) [b](usage.md) [c](R/blob/main/bdd100k_zoo/x.py)"
    assert link_to_clone(page, "R") == expected


def test_the_version_is_the_same_everywhere() -> None:
    assert read_yaml("CITATION.cff")["version"] == __version__
    first = re.search(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert first
    assert first[1] == __version__


@pytest.mark.skipif(sys.version_info < (3, 11), reason="NOT COMPARED: this Python has no tomllib")
def test_the_repository_has_one_address() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    address = settings["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"]
    assert read_yaml("CITATION.cff")["repository-code"] == address
    others = [ROOT / "README.md", ROOT / "mkdocs.yml", *(ROOT / "docs").glob("*.md"), *(ROOT / ".github").rglob("*.*")]
    assert [path.name for path in others if path.is_file() and address in path.read_text(encoding="utf-8")] == []


def test_the_form_for_bugs_asks_for_the_report_of_doctor() -> None:
    form = read_yaml(".github/ISSUE_TEMPLATE/bug.yml")
    (asked,) = [each for each in form["body"] if "doctor --json" in each["attributes"]["label"]]
    assert asked["validations"]["required"]
