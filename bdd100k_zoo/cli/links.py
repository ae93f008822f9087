"""doctor --links: how the addresses answered, counted by host, and in full where they are not alive."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from bdd100k_zoo.cli.console import NARROWEST, plain, show, stdout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bdd100k_zoo.workflows.links import CheckedLink

STYLES = {"alive": "green", "moved": "yellow", "dead": "bold red"}
FEW = 3
"""Uses of an address that are named."""


def show_links(links: list[CheckedLink]) -> None:
    """Print the counts of each host, then every address that is not alive, those that were not asked together."""
    hosts: dict[str, list[CheckedLink]] = {}
    for link in links:
        hosts.setdefault(link.host, []).append(link)
    show(_hosts_table(hosts))
    rows = list(_rows(hosts))
    if rows:
        show(Text("\n").join([Text(), *rows]), soft_wrap=True)


def _hosts_table(hosts: Mapping[str, list[CheckedLink]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("Host", overflow="fold", max_width=NARROWEST - 35)
    for header in ("Alive", "Moved", "Dead", "Slowest"):
        table.add_column(header, justify="right", no_wrap=True)
    for host, links in sorted(hosts.items(), key=lambda each: -len(each[1])):
        table.add_row(plain(host), *(_count(links, state) for state in STYLES), _slowest(links))
    return table


def _count(links: list[CheckedLink], state: str) -> Text:
    count = sum(link.state == state for link in links)
    return Text(str(count), style=STYLES[state] if count else "dim")


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
    where = f"\n    to {plain(moved_to)}" if moved_to else ""
    return Text.assemble((f"{state:<5}", STYLES[state]), f"  {plain(subject)}{where}\n{_wrapped(plain(told))}")


def _wrapped(text: str) -> str:
    """Wrap at the width of the terminal, and leave addresses whole."""
    indent = " " * 7
    return fill(
        text,
        stdout().width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _told(link: CheckedLink) -> str:
    uses = ", ".join(link.uses[:FEW]) + (f" and {len(link.uses) - FEW} more" if len(link.uses) > FEW else "")
    return f"{link.outcome}; {uses}" if link.outcome else uses
