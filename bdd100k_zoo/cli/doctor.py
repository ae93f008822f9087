"""doctor: what is installed, whether it works, and the exact repair of what does not; whether addresses answer."""

from __future__ import annotations

from collections import Counter
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from bdd100k_zoo.cli.options import Json, Session, get_session
from bdd100k_zoo.cli.output import MIN_WIDTH, handle_errors, print_renderable, sanitize_text, stdout_console, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bdd100k_zoo.diagnostics.checks import Finding, FindingState
    from bdd100k_zoo.diagnostics.doctor import DoctorReport
    from bdd100k_zoo.hub.link_check import CheckedLink

LINK_STYLES = {"alive": "green", "moved": "yellow", "dead": "bold red"}
MAX_USES_SHOWN = 3
"""Uses of an address that are named."""


def show_links(links: list[CheckedLink]) -> None:
    """Print the counts of each host, then every address that is not alive, those that were not asked together."""
    hosts: dict[str, list[CheckedLink]] = {}
    for link in links:
        hosts.setdefault(link.host, []).append(link)
    print_renderable(_hosts_table(hosts))
    rows = list(_rows(hosts))
    if rows:
        print_renderable(Text("\n").join([Text(), *rows]), soft_wrap=True)


def _hosts_table(hosts: Mapping[str, list[CheckedLink]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("Host", overflow="fold", max_width=MIN_WIDTH - 35)
    for header in ("Alive", "Moved", "Dead", "Slowest"):
        table.add_column(header, justify="right", no_wrap=True)
    for host, links in sorted(hosts.items(), key=lambda each: -len(each[1])):
        table.add_row(sanitize_text(host), *(_count(links, state) for state in LINK_STYLES), _slowest(links))
    return table


def _count(links: list[CheckedLink], state: str) -> Text:
    count = sum(link.state == state for link in links)
    return Text(str(count), style=LINK_STYLES[state] if count else "dim")


def _slowest(links: list[CheckedLink]) -> str:
    times = [link.milliseconds for link in links if link.milliseconds is not None]
    return f"{max(times):,} ms" if times else "–"


def _rows(hosts: Mapping[str, list[CheckedLink]]) -> Iterator[Text]:
    for host, links in hosts.items():
        unasked: dict[str, int] = {}
        for link in links:
            if link.milliseconds is None:
                unasked[link.outcome] = unasked.get(link.outcome, 0) + 1
            elif link.state != "alive":
                yield _row(link.state, link.address, _told(link), link.moved_to)
        for outcome, count in unasked.items():
            yield _row("dead", f"{count} more of {host}, not asked", outcome)


def _row(state: str, subject: str, told: str, moved_to: str | None = None) -> Text:
    where = f"\n    to {sanitize_text(moved_to)}" if moved_to else ""
    return Text.assemble(
        (f"{state:<5}", LINK_STYLES[state]), f"  {sanitize_text(subject)}{where}\n{_wrapped(sanitize_text(told))}"
    )


def _wrapped(text: str) -> str:
    """Wrap at the width of the terminal, and leave addresses whole."""
    indent = " " * 7
    return fill(
        text,
        stdout_console().width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _told(link: CheckedLink) -> str:
    uses = ", ".join(link.uses[:MAX_USES_SHOWN]) + (
        f" and {len(link.uses) - MAX_USES_SHOWN} more" if len(link.uses) > MAX_USES_SHOWN else ""
    )
    return f"{link.outcome}; {uses}" if link.outcome else uses


MARKS: Mapping[FindingState, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "absent": ("absent", "dim"),
    "wrong": ("WRONG", "bold red"),
    "unknown": ("unknown", "yellow"),
}
"""How each state is shown, and in which style."""
MARK_WIDTH = max(len(mark) for mark, _ in MARKS.values())
TEXT_STYLES: Mapping[FindingState, str] = {"absent": "dim"}
"""Styles of what was found."""


@handle_errors
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
    here = get_session(context)
    if links:
        _check_links(here, imports_only=imports_only, as_json=as_json)
        return
    from bdd100k_zoo.diagnostics.doctor import run_doctor

    here.note("examining this installation (a minute at most)")
    examined = run_doctor(here.zoo_files, trial=not imports_only)
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
    from bdd100k_zoo.hub.link_check import check_zoo_links
    from bdd100k_zoo.hub.mirrors import configured_mirrors

    checked = check_zoo_links(here.zoo(), configured_mirrors(), here.progress())
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


def _show_findings(examined: DoctorReport) -> None:
    from rich.table import Table
    from rich.text import Text

    width = max(len(finding.what) for finding in examined.findings)
    for finding in examined.findings:
        mark, style = MARKS[finding.state]
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, min_width=MARK_WIDTH)
        table.add_column(no_wrap=True, min_width=width)
        table.add_column(overflow="fold")
        table.add_row(
            Text(mark, style), finding.what, Text(sanitize_text(finding.found), TEXT_STYLES.get(finding.state, ""))
        )
        print_renderable(table)
        _show_repairs(finding)


def _show_repairs(finding: Finding) -> None:
    """Show commands on lines that the terminal may wrap but we do not, so that they can be copied whole."""
    from rich.text import Text

    first, style = ("repair", "cyan") if finding.state == "wrong" else ("to have it", "dim")
    for place, repair in enumerate(finding.repairs):
        label = first if place == 0 else "or"
        print_renderable(Text(f"  {label + ':':<{len(first) + 1}} {sanitize_text(repair)}", style), soft_wrap=True)


def _conclude(here: Session, examined: DoctorReport) -> None:
    wrong = [finding.what for finding in examined.findings if finding.state == "wrong"]
    if wrong:
        here.note(f"wrong: {', '.join(wrong)}; after a repair, run `{here.command} doctor` again")
    else:
        here.note("all that is installed works")
