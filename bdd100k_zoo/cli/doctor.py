"""doctor: what is installed, whether it works, and the exact repair of what does not; whether addresses answer."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from bdd100k_zoo.cli.catalog import Json
from bdd100k_zoo.cli.console import guarded, show, write_json
from bdd100k_zoo.cli.session import Session, session

if TYPE_CHECKING:
    from rich.table import Table

    from bdd100k_zoo.workflows.doctor import Finding
    from bdd100k_zoo.workflows.links import CheckedLink


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
    findings = examine(here.zoo_files, trial=not imports_only)
    if as_json:
        write_json(findings)
    else:
        show(_findings_table(findings))
    if any(not finding.fine for finding in findings):
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


def _findings_table(findings: list[Finding]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from bdd100k_zoo.cli.console import plain

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        mark = Text("ok", "green") if finding.fine else Text("WRONG", "bold red")
        table.add_row(mark, finding.what, Text(plain(finding.found)))
        if finding.repair:
            table.add_row("", "", Text(f"repair: {plain(finding.repair)}", "cyan"))
    return table
