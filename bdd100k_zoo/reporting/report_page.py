"""A report on predictions files as one page: what was run, how good it is, where it fails, which is better."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.evaluation.bootstrap import MIN_FRAMES, MIN_OBJECTS
from bdd100k_zoo.evaluation.scores import METRICS, OVERALL
from bdd100k_zoo.reporting import plots
from bdd100k_zoo.reporting.colours import DARK_COLOUR, LIGHT_COLOUR, format_hex
from bdd100k_zoo.reporting.page import data_url, markup, render_page
from bdd100k_zoo.reporting.pictures import MARK_STYLES
from bdd100k_zoo.reporting.plots import CountColumn, Dot, SpeedPoint, run_letter, run_role
from bdd100k_zoo.reporting.provenance import ReportRun, build_run_card, images_per_second

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bdd100k_zoo.evaluation.analysis import APDifference
    from bdd100k_zoo.evaluation.conditions import ConditionScores
    from bdd100k_zoo.evaluation.scores import FileFingerprint
    from bdd100k_zoo.reporting.pictures import MarkKind

ATTRIBUTE_TITLES = {"weather": "weather", "scene": "scene", "timeofday": "time of day"}
SIZES = {"APs": "small", "APm": "medium", "APl": "large"}
ERROR_TITLES = {
    "Cls": "wrong class",
    "Loc": "badly placed",
    "Both": "wrong class and badly placed",
    "Dupe": "found twice",
    "Bkg": "nothing there",
    "Miss": "missed",
}


class Picture(NamedTuple):
    """A frame with what was found in it."""

    frame: str
    jpeg: bytes
    width: int
    """Pixels."""
    height: int
    told: str
    """What there is to see, for those who cannot see it and as a caption."""


class Album(NamedTuple):
    """Pictures of one run."""

    run: int
    title: str
    pictures: tuple[Picture, ...]


class RunComparison(NamedTuple):
    """The first run beside another."""

    other: int
    differences: tuple[APDifference, ...]
    """First minus other."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a page shows."""

    title: str
    labels: FileFingerprint
    runs: tuple[ReportRun, ...]
    resamples: int = 0
    """That intervals were computed from; 0 for none."""
    seed: int = 0
    """Of the resamples."""
    comparisons: tuple[RunComparison, ...] = ()
    albums: tuple[Album, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """What the reader must know about the pictures."""


def render_report(report: Report) -> bytes:
    """Render the page, UTF-8; the same report gives the same bytes.

    Raises:
        MissingPackageError: the extra ``report`` is not installed.
    """
    figures = {name: markup(svg) for name, svg in _figures(report)}
    return render_page(
        "report.html",
        title=report.title,
        report=report,
        runs=report.runs,
        figures=figures,
        classes=CLASSES,
        sizes=SIZES,
        metrics=METRICS[1:6],
        attributes=group_conditions(report),
        attribute_titles=ATTRIBUTE_TITLES,
        error_titles=ERROR_TITLES,
        letter=run_letter,
        role=run_role,
        dashes=plots.CSS_DASHES,
        card=build_run_card,
        data_url=data_url,
        styles=list(_line_styles()),
        heat=heat,
        OVERALL=OVERALL,
        seed=report.seed,
        MIN_FRAMES=MIN_FRAMES,
        MIN_OBJECTS=MIN_OBJECTS,
    )


LINES: dict[MarkKind, str] = {
    "true": "a detection that matches a label",
    "found": "the label that it matches",
    "false": "a false detection",
    "missed": "a missed object",
    "region": "a region that is ignored",
}


class LineStyle(NamedTuple):
    """A line in the pictures, for the legend."""

    colour: str
    back: str
    dash: str
    told: str


def _line_styles() -> Iterator[LineStyle]:
    for kind, told in LINES.items():
        style = MARK_STYLES[kind]
        dash = " ".join(str(2 * length) for length in style.dash or ())
        yield LineStyle(format_hex(style.colour or LIGHT_COLOUR), format_hex(DARK_COLOUR), dash, told)


def group_conditions(report: Report) -> list[tuple[str, list[tuple[ConditionScores, ...]]]]:
    """Give the attributes that the labels tell, each with its values: one condition of each run."""
    rows = list(zip(*(run.analysis.conditions for run in report.runs), strict=True))
    found: dict[str, list[tuple[ConditionScores, ...]]] = {}
    for row in rows:
        found.setdefault(row[0].attribute, []).append(row)
    return list(found.items())


def heat(share: float) -> int:
    """Give the shade, 0 to 9, of a cell that holds a share of its row."""
    return min(9, round(share * 9 + 0.3)) if share > 0 else 0


def _figures(report: Report) -> Iterator[tuple[str, str]]:
    support = report.runs[0].analysis.support
    objects = CountColumn("objects", [support[name].objects for name in CLASSES])
    yield "classes", plots.plot_ap_rows("classes", "AP by class", CLASSES, _class_rows(report.runs), objects)
    by_size = CountColumn("objects", [sum(each) for each in zip(*report.runs[0].analysis.objects_by_size, strict=True)])
    yield (
        "sizes",
        plots.plot_ap_rows("sizes", "AP by object size", tuple(SIZES.values()), _size_rows(report.runs), by_size),
    )
    for run, each in enumerate(report.runs):
        yield from _figures_of_run(run, each)
    if len(report.runs) > 1:
        yield from _curves_by_class(report.runs)
    for attribute, rows in group_conditions(report):
        dots = [[_condition_dot(each) for each in row] for row in rows]
        title = f"AP by {ATTRIBUTE_TITLES[attribute]}"
        frames = CountColumn("frames", [row[0].support.frames for row in rows])
        yield attribute, plots.plot_ap_rows(attribute, title, [row[0].value for row in rows], dots, frames)
    yield from _error_figure(report.runs)
    yield from _speed_figure(report.runs)
    for comparison in report.comparisons:
        yield from _difference_figures(comparison)


def _class_rows(runs: Sequence[ReportRun]) -> list[list[Dot]]:
    return [
        [Dot(_known(run.analysis.scores["AP"].by_class[place]), run.analysis.intervals.get(name)) for run in runs]
        for place, name in enumerate(CLASSES)
    ]


def _size_rows(runs: Sequence[ReportRun]) -> list[list[Dot]]:
    return [[Dot(_known(run.analysis.scores[metric].overall)) for run in runs] for metric in SIZES]


def _known(value: float) -> float | None:
    return value if value == value else None  # NaN is unlike itself


def _condition_dot(condition: ConditionScores) -> Dot:
    return Dot(_known(condition.scores.ap), condition.interval)


def _figures_of_run(run: int, each: ReportRun) -> Iterator[tuple[str, str]]:
    of = f"run {run_letter(run)}, {each.name}"
    curves = each.analysis.curves
    for place, (iou, by_class) in enumerate(zip(curves.ious, curves.precision, strict=True)):
        name = f"curves-{run}-{place}"
        yield name, plots.plot_class_curves(name, iou, by_class, of)
    name = f"reliability-{run}"
    yield name, plots.plot_reliability(name, each.analysis.calibration, of, run)


def _curves_by_class(runs: Sequence[ReportRun]) -> Iterator[tuple[str, str]]:
    ious = runs[0].analysis.curves.ious[:2]
    for index, label in enumerate(CLASSES):
        curves = [[run.analysis.curves.precision[place][index] for place in range(len(ious))] for run in runs]
        if any(curve for by_iou in curves for curve in by_iou):
            yield f"curves-of-{index}", plots.plot_run_curves(f"curves-of-{index}", label, curves, ious)


def _error_figure(runs: Sequence[ReportRun]) -> Iterator[tuple[str, str]]:
    found = [run.analysis.errors for run in runs]
    if any(found):
        rows = [[each.lost[kind] if each else 0.0 for each in found] for kind in ERROR_TITLES]
        labels = [title.replace(" and ", ",\n") for title in ERROR_TITLES.values()]
        yield (
            "errors",
            plots.plot_bars("errors", "AP50 lost to each kind of error", labels, rows, unit="points of AP50"),
        )


def _speed_figure(runs: Sequence[ReportRun]) -> Iterator[tuple[str, str]]:
    speeds = [images_per_second(run.record) for run in runs]
    places = [
        SpeedPoint(index, speed, run.ap, run.interval)
        for index, (run, speed) in enumerate(zip(runs, speeds, strict=True))
        if speed and run.ap == run.ap
    ]
    if len(places) > 1:
        yield "speed", plots.plot_speed_and_ap("speed", places)


def _difference_figures(comparison: RunComparison) -> Iterator[tuple[str, str]]:
    other = run_letter(comparison.other)
    for part, chosen in (("class", True), ("condition", False)):
        rows = [each for each in comparison.differences if (each.where == "class") == chosen]
        if rows:
            name = f"difference-{comparison.other}-{part}"
            dots = [Dot(_known(each.points), each.interval) for each in rows]
            of = "objects" if chosen else "frames"
            numbers = CountColumn(of, [getattr(each.support, of) for each in rows])
            yield name, plots.plot_differences(name, f"AP of A minus AP of {other}", _labels(rows), dots, numbers)


def _labels(rows: Sequence[APDifference]) -> list[str]:
    """Give their names, with the attribute where two attributes share one, as they do ``undefined``."""
    names = [each.name for each in rows]
    return [f"{each.name} ({each.where})" if names.count(each.name) > 1 else each.name for each in rows]
