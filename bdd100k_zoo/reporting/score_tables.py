"""Scores as tables of text cells, for a terminal or a log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.evaluation.bootstrap import MIN_FRAMES, MIN_OBJECTS
from bdd100k_zoo.evaluation.scores import OFFICIAL_METRICS, OVERALL, SUMMARY_METRICS
from bdd100k_zoo.reporting.page import NOTHING, format_percent

if TYPE_CHECKING:
    from bdd100k_zoo.evaluation.analysis import APDifference
    from bdd100k_zoo.evaluation.bootstrap import Support
    from bdd100k_zoo.evaluation.scores import APInterval

ScoreTable = Mapping[str, Mapping[str, float | None]]
"""By metric, then by class or ``OVERALL``, the mean; in percent, None for a class without labels."""

TOO_FEW = "too few"


class Grid(NamedTuple):
    """A table: headers, and rows of as many cells."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class ScoreRow(NamedTuple):
    """One evaluated predictions file."""

    name: str
    scores: ScoreTable
    published: float | None
    """Published overall AP, in percent."""


def official_table(scores: ScoreTable, digits: int) -> Grid:
    """Return classes by metrics as the official tool prints them, the mean last."""
    rows = (
        (name, *(format_percent(scores[metric][name], digits) for metric in OFFICIAL_METRICS)) for name in scores["AP"]
    )
    return Grid(("", *OFFICIAL_METRICS), tuple(rows))


def comparison_table(lines: Iterable[ScoreRow]) -> Grid:
    """Return one row per predictions file, with the published AP."""
    rows = (
        (
            line.name,
            *(format_percent(line.scores[metric][OVERALL]) for metric in SUMMARY_METRICS),
            format_percent(line.published),
            format_difference(line.scores["AP"][OVERALL], line.published),
        )
        for line in lines
    )
    return Grid(("", *SUMMARY_METRICS, "publ.", "diff."), tuple(rows))


def condition_table(attribute: str, scores: Mapping[str, ScoreTable], support: Mapping[str, Support]) -> Grid:
    """Return the overall APs of each value of a frame attribute, with its numbers of frames and objects."""
    rows = (
        (value, *format_counts(support[value]), *(format_percent(table[metric][OVERALL]) for metric in SUMMARY_METRICS))
        for value, table in scores.items()
    )
    return Grid((attribute, "frames", "objects", *SUMMARY_METRICS), tuple(rows))


def format_counts(support: Support) -> tuple[str, str]:
    """Write numbers of frames and objects."""
    return f"{support.frames:,}", f"{support.objects:,}"


def format_difference(measured: float | None, published: float | None) -> str:
    """Write measured minus published AP, with its sign."""
    return NOTHING if measured is None or published is None else f"{measured - published:+.2f}"


def interval_table(found: Mapping[str, Mapping[str, APInterval]]) -> Grid:
    """Return the pointwise 95 % intervals of the AP: one row per class, one column per predictions file.

    Args:
        found: by predictions file, then by class and OVERALL.
    """
    by_file = list(found.values())
    rows = (
        (name, f"{each.frames:,}", f"{each.objects:,}", *(format_interval(by_class[name]) for by_class in by_file))
        for name, each in by_file[0].items()
    )
    headers = tuple(found) if len(found) > 1 else ("AP, 95 % interval",)
    return Grid(("", "frames", "objects", *headers), tuple(rows))


def format_interval(found: APInterval) -> str:
    """Write an interval in percent, or why there is none."""
    if found.low is not None and found.high is not None:
        return f"{found.low:.2f} to {found.high:.2f}"
    return TOO_FEW if found.objects else NOTHING


def intervals_note(resamples: int) -> str:
    """Return the note that explains the intervals."""
    return (
        f"95 % intervals from {resamples:,} resamples of the frames, each on its own; none for fewer than {MIN_FRAMES} "
        f"frames with the class or {MIN_OBJECTS} objects"
    )


def difference_statement(first: str, second: str, difference: APDifference) -> str:
    """Return a sentence on the difference in AP of two predictions files, and whether it is beyond chance."""
    text, found = f"{first} minus {second}: {difference.points:+.2f} AP", difference.interval
    if found is None:
        frames, objects = format_counts(difference.support)
        return (
            f"{text}: {frames} frames with {objects} objects are too few to tell which is better "
            f"(at least {MIN_FRAMES} frames and {MIN_OBJECTS} objects)"
        )
    text += f", 95 % interval {found.low:+.2f} to {found.high:+.2f}"
    if difference.beyond_chance:
        return f"{text}: {first if difference.points > 0 else second} is better beyond chance"
    return f"{text}: these frames cannot tell which is better"
