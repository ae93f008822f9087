"""doctor: what is installed, whether it works, and the exact repair of what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bdd100k_zoo.cli.catalog import Json
from bdd100k_zoo.cli.console import guarded, show, write_json
from bdd100k_zoo.cli.session import session

if TYPE_CHECKING:
    from rich.table import Table

    from bdd100k_zoo.workflows.doctor import Finding


@guarded
def doctor(
    context: typer.Context,
    as_json: Json = False,
    imports_only: Annotated[bool, typer.Option("--imports-only", help="Leave out the trial prediction.")] = False,
) -> None:
    """Check this installation and name the repair of what is wrong."""
    from bdd100k_zoo.workflows.doctor import examine

    here = session(context)
    here.note("examining this installation (a minute at most)")
    findings = examine(here.zoo_files, trial=not imports_only)
    if as_json:
        write_json(findings)
    else:
        show(_findings_table(findings))
    if any(not finding.fine for finding in findings):
        raise typer.Exit(1)


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
