"""Scores laid out for a terminal or a log: rows of text cells, ready for any table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from bdd100k_zoo.records.scores import METRICS, OVERALL

ScoreTable = Mapping[str, Mapping[str, float | None]]
"""By metric and class, in percent; None for a class without labels. ``OVERALL`` is the mean."""

SHORT_METRICS = METRICS[:6]
NOTHING = "–"


class Grid(NamedTuple):
    """A table: headers, then rows of as many cells."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Line(NamedTuple):
    """One evaluated predictions file."""

    name: str
    scores: ScoreTable
    published: float | None
    """Published overall AP, in percent."""


def official_table(scores: ScoreTable, digits: int) -> Grid:
    """Lay out classes by metrics as the official tool prints them, the mean last."""
    rows = ((name, *(number(scores[metric][name], digits) for metric in METRICS)) for name in scores["AP"])
    return Grid(("", *METRICS), tuple(rows))


def comparison(lines: Iterable[Line]) -> Grid:
    """Lay out one line for each predictions file, beside what was published."""
    rows = (
        (
            line.name,
            *(number(line.scores[metric][OVERALL]) for metric in SHORT_METRICS),
            number(line.published),
            difference(line.scores["AP"][OVERALL], line.published),
        )
        for line in lines
    )
    return Grid(("", *SHORT_METRICS, "publ.", "diff."), tuple(rows))


def by_condition(attribute: str, scores: Mapping[str, ScoreTable], frames: Mapping[str, int]) -> Grid:
    """Lay out the overall APs of each value of a frame attribute, with its number of frames."""
    rows = (
        (value, f"{frames[value]:,}", *(number(table[metric][OVERALL]) for metric in SHORT_METRICS))
        for value, table in scores.items()
    )
    return Grid((attribute, "frames", *SHORT_METRICS), tuple(rows))


def number(value: float | None, digits: int = 2) -> str:
    """Write a score in percent; a dash for a class without labels."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def difference(measured: float | None, published: float | None) -> str:
    """Write measured minus published, with its sign."""
    if measured is None or published is None:
        return NOTHING
    return f"{measured - published:+.2f}"


class Range(Protocol):
    """An interval, in percent."""

    @property
    def low(self) -> float:
        """Lower end."""

    @property
    def high(self) -> float:
        """Upper end."""


def intervals(found: Mapping[str, Mapping[str, Range | None]]) -> Grid:
    """Lay out the 95 % intervals of the AP: a class a row, a predictions file a column."""
    classes = next(iter(found.values()))
    rows = ((name, *(interval(by_class[name]) for by_class in found.values())) for name in classes)
    headers = tuple(found) if len(found) > 1 else ("AP, 95 % interval",)
    return Grid(("", *headers), tuple(rows))


def interval(found: Range | None) -> str:
    """Write an interval in percent."""
    return f"{found.low:.2f} to {found.high:.2f}" if found else NOTHING


def difference_statement(first: str, second: str, points: float, found: Range) -> str:
    """Say by how much one predictions file is better than another, and whether the frames can tell."""
    told = f"{first} minus {second}: {points:+.2f} AP, 95 % interval {found.low:+.2f} to {found.high:+.2f}"
    if found.low > 0 or found.high < 0:
        return f"{told}: {first if points > 0 else second} is better beyond chance"
    return f"{told}: these frames cannot tell which is better"
