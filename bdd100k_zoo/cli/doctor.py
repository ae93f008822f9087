"""doctor: what is installed, whether it works, and the exact repair of what does not; whether addresses answer."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from bdd100k_zoo.cli.catalog import Json
from bdd100k_zoo.cli.console import guarded, plain, show, write_json
from bdd100k_zoo.cli.session import Session, session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bdd100k_zoo.workflows.checkup import Finding, State
    from bdd100k_zoo.workflows.doctor import Examination
    from bdd100k_zoo.workflows.links import CheckedLink

MARKS: Mapping[State, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "absent": ("absent", "dim"),
    "wrong": ("WRONG", "bold red"),
    "unknown": ("unknown", "yellow"),
}
"""How each state is shown, and in which style."""
MARK_WIDTH = max(len(mark) for mark, _ in MARKS.values())
TEXTS: Mapping[State, str] = {"absent": "dim"}
"""Styles of what was found."""


@guarded
def doctor(
    context: typer.Context,
    as_json: Json = False,
    imports_only: Annotated[bool, typer.Option("--imports-only", help="Leave out the trial prediction.")] = False,
    links: Annotated[
        bool,
        typer.Option("--links", help="Check the addresses of the zoo and of your mirrors instead, and nothing else."),
    ] = False,
) -> None:
    """Check this installation and name the repair of what is wrong."""
    here = session(context)
    if links:
        _check_links(here, imports_only=imports_only, as_json=as_json)
        return
    from bdd100k_zoo.workflows.doctor import examine

    here.note("examining this installation (a minute at most)")
    examined = examine(here.zoo_files, trial=not imports_only)
    if as_json:
        write_json(examined)
    else:
        _show_findings(examined)
        _conclude(here, examined)
    if not examined.healthy:
        raise typer.Exit(1)


def _check_links(here: Session, *, imports_only: bool, as_json: bool) -> None:
    if imports_only:
        raise typer.BadParameter("--links checks no imports: leave out --imports-only")
    if here.offline:
        raise typer.BadParameter("--links contacts every address: leave out --offline (and BDD100K_ZOO_OFFLINE)")
    from bdd100k_zoo.artifacts.mirrors import configured
    from bdd100k_zoo.cli.links import show_links
    from bdd100k_zoo.workflows.links import check_zoo

    checked = check_zoo(here.zoo(), configured(), here.progress())
    if as_json:
        write_json(checked)
    else:
        show_links(checked)
        _sum_up(here, checked)
    if any(link.file and link.state == "dead" for link in checked):
        raise typer.Exit(1)


def _sum_up(here: Session, checked: list[CheckedLink]) -> None:
    counts = Counter(link.state for link in checked)
    told = ", ".join(f"{counts[state]} {state}" for state in ("alive", "moved", "dead"))
    here.note(f"{len(checked)} addresses: {told}; --json lists every one")
    if counts["dead"] == len(checked):
        here.note("all are dead: has this machine a way to the network?")


def _show_findings(examined: Examination) -> None:
    from rich.table import Table
    from rich.text import Text

    width = max(len(finding.what) for finding in examined.findings)
    for finding in examined.findings:
        mark, style = MARKS[finding.state]
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, min_width=MARK_WIDTH)
        table.add_column(no_wrap=True, min_width=width)
        table.add_column(overflow="fold")
        table.add_row(Text(mark, style), finding.what, Text(plain(finding.found), TEXTS.get(finding.state, "")))
        show(table)
        _show_repairs(finding)


def _show_repairs(finding: Finding) -> None:
    """Show commands on lines that the terminal may wrap but we do not, so that they can be copied whole."""
    from rich.text import Text

    first, style = ("repair", "cyan") if finding.state == "wrong" else ("to have it", "dim")
    for place, repair in enumerate(finding.repairs):
        label = first if place == 0 else "or"
        show(Text(f"  {label + ':':<{len(first) + 1}} {plain(repair)}", style), soft_wrap=True)


def _conclude(here: Session, examined: Examination) -> None:
    wrong = [finding.what for finding in examined.findings if finding.state == "wrong"]
    if wrong:
        here.note(f"wrong: {', '.join(wrong)}; after a repair, run `{here.command} doctor` again")
    else:
        here.note("all that is installed works")
