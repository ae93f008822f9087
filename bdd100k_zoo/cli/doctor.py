"""doctor: checks of the installation with repairs, and of the addresses of the zoo."""

from __future__ import annotations

from collections import Counter
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from bdd100k_zoo.cli.options import Json, Session, get_session
from bdd100k_zoo.cli.output import MIN_WIDTH, handle_errors, print_renderable, stdout_console, write_json
from bdd100k_zoo.display.messages import sanitize_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.table import Table
    from rich.text import Text

    from bdd100k_zoo.diagnostics.checks import FindingState
    from bdd100k_zoo.diagnostics.doctor import DoctorReport
    from bdd100k_zoo.hub.link_check import CheckedLink

MARKS: Mapping[FindingState, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "absent": ("absent", "dim"),
    "wrong": ("WRONG", "bold red"),
    "unknown": ("unknown", "yellow"),
}
"""Label and style of each state."""
MARK_WIDTH = max(len(mark) for mark, _ in MARKS.values())

LINK_STYLES = {"alive": "green", "moved": "yellow", "dead": "bold red"}
MAX_USES_SHOWN = 3
"""Uses of an address that are listed."""


@handle_errors
def doctor(
    context: typer.Context,
    as_json: Json = False,
    imports_only: Annotated[bool, typer.Option("--imports-only", help="Skip the trial prediction.")] = False,
    links: Annotated[
        bool,
        typer.Option("--links", help="Check only the addresses of the zoo and of your mirrors."),
    ] = False,
) -> None:
    """Check this installation and print the repair of every fault."""
    here = get_session(context)
    if links:
        _check_links(here, imports_only=imports_only, as_json=as_json)
        return
    from bdd100k_zoo.diagnostics.doctor import run_doctor

    here.note("checking this installation (a minute at most)")
    report = run_doctor(here.zoo_files, trial=not imports_only)
    if as_json:
        write_json(report)
    else:
        _show_findings(report)
        wrong = ", ".join(finding.what for finding in report.findings if finding.state == "wrong")
        again = f"wrong: {wrong}; after a repair, run `{here.command} doctor` again"
        here.note(again if wrong else "everything that is installed works")
    if not report.healthy:
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
        _show_links(checked)
        counts = Counter(link.state for link in checked)
        summary = ", ".join(f"{counts[state]} {state}" for state in ("alive", "moved", "dead"))
        here.note(f"{len(checked)} addresses: {summary}; --json lists every one")
        if counts["dead"] == len(checked):
            here.note("all are dead: is this machine connected to the network?")
    if any(link.file and link.state == "dead" for link in checked):
        raise typer.Exit(1)


def _show_findings(report: DoctorReport) -> None:
    from rich.table import Table
    from rich.text import Text

    width = max(len(finding.what) for finding in report.findings)
    for finding in report.findings:
        mark, style = MARKS[finding.state]
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, min_width=MARK_WIDTH)
        table.add_column(no_wrap=True, min_width=width)
        table.add_column(overflow="fold")
        found = Text(sanitize_text(finding.found), "dim" if finding.state == "absent" else "")
        table.add_row(Text(mark, style), finding.what, found)
        print_renderable(table)
        label, style = ("repair:", "cyan") if finding.state == "wrong" else ("install:", "dim")
        for repair in finding.repairs:
            # Not wrapped by us, so that a command can be copied.
            print_renderable(Text(f"  {label} {sanitize_text(repair)}", style), soft_wrap=True)
            label = f"{'or:':<{len(label)}}"


def _show_links(links: list[CheckedLink]) -> None:
    """Print the counts of each host, then every address that is not alive; skipped ones of a host share a line."""
    from rich.text import Text

    hosts: dict[str, list[CheckedLink]] = {}
    for link in links:
        hosts.setdefault(link.host, []).append(link)
    print_renderable(_hosts_table(hosts))
    if rows := list(_link_rows(hosts)):
        print_renderable(Text("\n").join([Text(), *rows]), soft_wrap=True)


def _hosts_table(hosts: Mapping[str, list[CheckedLink]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("Host", overflow="fold", max_width=MIN_WIDTH - 35)
    for header in ("Alive", "Moved", "Dead", "Slowest"):
        table.add_column(header, justify="right", no_wrap=True)
    for host, links in sorted(hosts.items(), key=lambda each: -len(each[1])):
        counts: Counter[str] = Counter(link.state for link in links)
        times = [link.milliseconds for link in links if link.milliseconds is not None]
        table.add_row(
            sanitize_text(host),
            *(Text(str(counts[state]), style if counts[state] else "dim") for state, style in LINK_STYLES.items()),
            f"{max(times):,} ms" if times else "–",
        )
    return table


def _link_rows(hosts: Mapping[str, list[CheckedLink]]) -> Iterator[Text]:
    for host, links in hosts.items():
        for link in links:
            if link.milliseconds is not None and link.state != "alive":
                more = f" and {len(link.uses) - MAX_USES_SHOWN} more" if len(link.uses) > MAX_USES_SHOWN else ""
                details = "; ".join(filter(None, (link.outcome, ", ".join(link.uses[:MAX_USES_SHOWN]) + more)))
                yield _link_row(link.state, link.address, details, link.moved_to)
        skipped = Counter(link.outcome for link in links if link.milliseconds is None)
        for outcome, count in skipped.items():
            yield _link_row("dead", f"{count} more of {host}, skipped", outcome)


def _link_row(state: str, subject: str, details: str, moved_to: str | None = None) -> Text:
    from rich.text import Text

    lines = [sanitize_text(subject)]
    if moved_to:
        lines.append(f"    to {sanitize_text(moved_to)}")
    # Long words are addresses, which stay on one line.
    wrapped = wrap(sanitize_text(details), stdout_console().width - 7, break_long_words=False, break_on_hyphens=False)
    lines += [f"       {line}" for line in wrapped]
    return Text.assemble((f"{state:<5}", LINK_STYLES[state]), "  " + "\n".join(lines))
