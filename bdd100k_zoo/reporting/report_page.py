"""The page of a report on predictions files: their scores, errors and provenance, and which is better."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.drawing.boxes import MARK_STYLES
from bdd100k_zoo.data.drawing.colours import DARK_COLOUR, format_hex
from bdd100k_zoo.evaluation.bootstrap import MIN_FRAMES, MIN_OBJECTS
from bdd100k_zoo.evaluation.scores import OVERALL, SUMMARY_METRICS
from bdd100k_zoo.registry.models import describe_training
from bdd100k_zoo.reporting import plots
from bdd100k_zoo.reporting.page import data_url, markup, render_page
from bdd100k_zoo.reporting.plots import CountColumn, Dot, SpeedPoint, run_letter, run_role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bdd100k_zoo.data.drawing.boxes import MarkKind
    from bdd100k_zoo.data.validation import IssueSummary
    from bdd100k_zoo.evaluation.analysis import Analysis, APDifference, ConditionScores
    from bdd100k_zoo.evaluation.bootstrap import Interval
    from bdd100k_zoo.evaluation.scores import FileFingerprint
    from bdd100k_zoo.prediction.run import RunRecord
    from bdd100k_zoo.registry import Family, Model

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
LEGEND: dict[MarkKind, str] = {
    "true": "a detection that matches a label",
    "found": "the label that it matches",
    "false": "a false detection",
    "missed": "a missed object",
    "region": "a region that is ignored",
}
"""Lines in the pictures, and how the page's legend explains them."""


@dataclass(frozen=True, kw_only=True)
class ReportRun:
    """A predictions file of a report, with its analysis and its provenance."""

    name: str
    predictions: FileFingerprint
    analysis: Analysis
    published_ap: float | None
    """In percent, on the split of the labels."""
    model: Model | None = None
    family: Family | None = None
    record: RunRecord | None = None
    """The run that wrote the file, where it is known."""
    let_through: tuple[IssueSummary, ...] = ()

    @property
    def ap(self) -> float:
        """The overall AP, in percent."""
        return self.analysis.scores.ap

    @property
    def interval(self) -> Interval | None:
        """Of the overall AP."""
        return self.analysis.intervals.get(OVERALL)


class Picture(NamedTuple):
    """A frame with its boxes drawn."""

    frame: str
    jpeg: bytes
    width: int
    """Pixels."""
    height: int
    caption: str
    """What the picture shows; also for those who cannot see it."""


class Album(NamedTuple):
    """Pictures of one run."""

    run: int
    title: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The contents of the page."""

    title: str
    labels: FileFingerprint
    runs: tuple[ReportRun, ...]
    resamples: int = 0
    """Number of bootstrap resamples for intervals; 0 for no intervals."""
    seed: int = 0
    """Of the resamples."""
    comparisons: tuple[tuple[APDifference, ...], ...] = ()
    """The first run minus each of the others."""
    albums: tuple[Album, ...] = ()
    notes: tuple[str, ...] = ()
    """Remarks on the pictures."""


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
        metrics=SUMMARY_METRICS[1:],  # the AP has a column with its interval
        attributes=group_conditions(report),
        attribute_titles=ATTRIBUTE_TITLES,
        error_titles=ERROR_TITLES,
        letter=run_letter,
        role=run_role,
        dashes=plots.CSS_DASHES,
        card=build_run_card,
        data_url=data_url,
        mark_legend=LEGEND,
        mark_styles=MARK_STYLES,
        format_hex=format_hex,
        picture_back=DARK_COLOUR,
        heat=heat,
        OVERALL=OVERALL,
        MIN_FRAMES=MIN_FRAMES,
        MIN_OBJECTS=MIN_OBJECTS,
    )


def group_conditions(report: Report) -> list[tuple[str, list[tuple[ConditionScores, ...]]]]:
    """Return the frame attributes with their values: for each value, the condition's scores of every run."""
    rows = zip(*(run.analysis.conditions for run in report.runs), strict=True)
    return [(attribute, list(group)) for attribute, group in groupby(rows, key=lambda row: row[0].attribute)]


def heat(share: float) -> int:
    """Return the shade, 0 to 9, of a confusion matrix's cell that has a share of its row."""
    return min(9, round(share * 9 + 0.3)) if share > 0 else 0


# Figures --------------------------------------------------------------------------------------------------------------


def _figures(report: Report) -> Iterator[tuple[str, str]]:
    """Draw all plots of the page, and return each with its name."""
    runs = report.runs
    support, sizes = runs[0].analysis.support, runs[0].analysis.objects_by_size
    objects = CountColumn("objects", [support[name].objects for name in CLASSES])
    rows = [
        [_dot(run.analysis.scores["AP"].by_class[place], run.analysis.intervals.get(name)) for run in runs]
        for place, name in enumerate(CLASSES)
    ]
    yield "classes", plots.plot_ap_rows("classes", "AP by class", CLASSES, rows, objects)
    objects = CountColumn("objects", [sum(each) for each in zip(*sizes, strict=True)])
    rows = [[_dot(run.analysis.scores[metric].overall) for run in runs] for metric in SIZES]
    yield "sizes", plots.plot_ap_rows("sizes", "AP by object size", tuple(SIZES.values()), rows, objects)
    for run, each in enumerate(runs):
        yield from _figures_of_run(run, each)
    if len(runs) > 1:
        yield from _curves_by_class(runs)
    for attribute, conditions in group_conditions(report):
        rows = [[_dot(each.scores.ap, each.interval) for each in row] for row in conditions]
        title = f"AP by {ATTRIBUTE_TITLES[attribute]}"
        frames = CountColumn("frames", [row[0].support.frames for row in conditions])
        yield attribute, plots.plot_ap_rows(attribute, title, [row[0].value for row in conditions], rows, frames)
    yield from _error_figure(runs)
    yield from _speed_figure(runs)
    for other, differences in enumerate(report.comparisons, start=1):
        yield from _difference_figures(other, differences)


def _dot(value: float, interval: Interval | None = None) -> Dot:
    return Dot(value if value == value else None, interval)  # NaN is not equal to itself


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
        curves = [[by_class[index] for by_class in run.analysis.curves.precision[: len(ious)]] for run in runs]
        if any(curve for by_iou in curves for curve in by_iou):
            yield f"curves-of-{index}", plots.plot_run_curves(f"curves-of-{index}", label, curves, ious)


def _error_figure(runs: Sequence[ReportRun]) -> Iterator[tuple[str, str]]:
    found = [run.analysis.errors for run in runs]
    if any(found):
        rows = [[each.lost[kind] if each else 0.0 for each in found] for kind in ERROR_TITLES]
        labels = [title.replace(" and ", ",\n") for title in ERROR_TITLES.values()]
        svg = plots.plot_bars("errors", "AP50 lost to each kind of error", labels, rows, unit="points of AP50")
        yield "errors", svg


def _speed_figure(runs: Sequence[ReportRun]) -> Iterator[tuple[str, str]]:
    points = [
        SpeedPoint(index, speed, run.ap, run.interval)
        for index, run in enumerate(runs)
        if run.ap == run.ap and (speed := images_per_second(run.record))
    ]
    if len(points) > 1:
        yield "speed", plots.plot_speed_and_ap("speed", points)


def _difference_figures(other: int, differences: Sequence[APDifference]) -> Iterator[tuple[str, str]]:
    title = f"AP of A minus AP of {run_letter(other)}"
    for part, of in (("class", "objects"), ("condition", "frames")):
        rows = [each for each in differences if (each.where == "class") == (part == "class")]
        if rows:
            names = [each.name for each in rows]
            # Two attributes may share a value: both have ``undefined``.
            labels = [f"{each.name} ({each.where})" if names.count(each.name) > 1 else each.name for each in rows]
            dots = [_dot(each.points, each.interval) for each in rows]
            counts = CountColumn(of, [getattr(each.support, of) for each in rows])
            name = f"difference-{other}-{part}"
            yield name, plots.plot_differences(name, title, labels, dots, counts)


# Provenance -----------------------------------------------------------------------------------------------------------

Facts = list[tuple[str, str]]
"""Labels and values."""


def images_per_second(record: RunRecord | None) -> float | None:
    """Return how many images one process detected objects in per second; None where that is not recorded."""
    if record is None or not record.seconds.detect:
        return None
    return (record.counts.images - record.counts.unreadable) / record.seconds.detect


def build_run_card(run: ReportRun) -> tuple[Facts, Facts]:
    """Return what most readers want to know about a predictions file, and what identifies and repeats its run."""
    facts: Facts = []
    if run.model:
        facts.append(("family", run.family.title if run.family else run.model.family))
        facts += [("backbone", run.model.backbone or "–"), ("training", describe_training(run.model) or "–")]
    more: Facts = [("predictions", run.predictions.path), ("their SHA-256", run.predictions.sha256)]
    if run.record:
        facts += _run_facts(run.record)
        more = [*_provenance(run.record), *more]
    return facts, more


def _run_facts(record: RunRecord) -> Iterator[tuple[str, str]]:
    weights = record.weights
    verified = f"verified by the {weights.verified_by}" if weights.verified else "unverified: no digest verifies them"
    yield "weights", f"{weights.other}, not the published ones" if weights.other else verified
    yield "device", f"{record.facts.device_name}, {record.facts.precision}"
    if speed := images_per_second(record):
        yield "seconds per image", f"{1 / speed:.3g} (on the device)"
    if record.counts.unreadable:
        yield "unreadable images", f"{record.counts.unreadable:,} of {record.counts.images:,}, with empty frames"


def _provenance(record: RunRecord) -> Iterator[tuple[str, str]]:
    weights, request, facts = record.weights, record.request, record.facts
    yield "weights", f"{PurePath(weights.path).name}, {weights.size:,} bytes"
    yield "SHA-256", weights.sha256
    yield "MD5", weights.md5
    if weights.address:
        yield "from", weights.address
    if weights.unverified_because:
        yield "unverified because", weights.unverified_because
    yield "config", f"{PurePath(request.config).name}, SHA-256 {request.config_sha256}"
    if request.cfg_options:
        yield "overrides", ", ".join(f"{key}={value}" for key, value in request.cfg_options.items())
    batch = f", batches of {facts.batch_size}" if facts.batch_size else ""
    processes = f", {record.processes} processes" if record.processes > 1 else ""
    yield "backend", f"{facts.backend}, ops of {facts.ops}, {facts.device}{batch}{processes}"
    yield "versions", ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    yield "images", f"{record.counts.images:,}" + (f" of {request.split}" if request.split else "")
    yield "started", record.started
