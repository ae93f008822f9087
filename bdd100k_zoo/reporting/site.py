"""The zoo as one page: a table of all models, plots of their AP and speed, a card for each."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import cos, inf, pi, sin, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.evaluation.runs import SkippedRecord, read_measured_results
from bdd100k_zoo.evaluation.scores import OVERALL
from bdd100k_zoo.files import write_atomically
from bdd100k_zoo.registry import ARTIFACT_KINDS
from bdd100k_zoo.registry.addresses import address_problem
from bdd100k_zoo.reporting.colours import FAMILY_COLOURS, sentinel
from bdd100k_zoo.reporting.figures import WIDTH, ap_limits, check_report_installed, figure_to_svg, styled_figure
from bdd100k_zoo.reporting.page import (
    check_page_replaceable,
    escape_unprintable,
    markup,
    render_page,
    truncate_middle,
)
from bdd100k_zoo.reporting.tables import SPEED, Speeds, format_speed, models_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from bdd100k_zoo.registry import Artifact, Family, Model, Zoo

SITE_PAGE = "index.html"
TITLE = "The BDD100K detection model zoo"
CLASS_METRICS = ("AP", "AP50", "AP75")

KINDS = {
    "weights": "weights",
    "preds": "predictions",
    "visuals": "visuals",
    "scores-val": "scores on val",
    "scores-test": "scores on test",
}
"""Names on the page of the kinds of files."""

DEAD_HOST = "dl.cv.ethz.ch"
"""Where the publishers keep the weights; reported dead since March 2026 (SysCV/bdd100k-models issue 28)."""

ModelScores = Mapping[str, Mapping[str, float | None]]
"""By metric and class, in percent, with OVERALL."""


class WrittenSite(NamedTuple):
    """A page on disk."""

    path: Path
    size: int
    """Bytes."""
    left_out: tuple[SkippedRecord, ...] = ()
    """Runs and speed records that the page does not show."""


def write_site(zoo: Zoo, out: Path, runs: Path | None = None, speed: Path | None = None) -> WrittenSite:
    """Write the page of a zoo, ``index.html``; other files of the folder stay as they are.

    Args:
        zoo: what the page shows.
        out: the folder, created where it is missing.
        runs: folder of runs whose measured scores are shown beside the published AP.
        speed: file of speed records.

    Raises:
        MissingPackageError: the extra ``report`` is not installed.
        FilesExistError: the folder has an ``index.html`` that this package has not written.
        NoRunsError: no run has scores that can be shown.
        StorageError, InvalidFileError: there are no speed records, or the folder cannot be written.
    """
    check_report_installed()
    path = out / SITE_PAGE
    check_page_replaceable(path)
    found = read_measured_results({model.name for model in zoo.models}, runs, speed)
    scores = None if found.scores is None else {model: kept.scores for model, kept in found.scores.items()}
    left_out = tuple((each.name, each.reason) for each in found.left_out)
    content = render_site(Site(zoo=zoo, measured=scores, speeds=found.speeds, left_out=left_out))
    write_atomically(path, content, follow_links=True)
    return WrittenSite(path, len(content), found.left_out)


@dataclass(frozen=True, kw_only=True)
class Site:
    """The contents of the page."""

    zoo: Zoo
    measured: Mapping[str, ModelScores] | None = None
    """On val, by model; None where no runs were given."""
    speeds: Speeds = field(default_factory=dict)
    left_out: tuple[tuple[str, str], ...] = ()
    """Names of runs and speed records that are not shown, each with the reason."""


class Entry(NamedTuple):
    """A model on the page."""

    model: Model
    family: Family
    mark: FamilyMarker
    measured: float | None
    """Overall AP on val, in percent."""
    speeds: tuple[float | None, ...]
    """Images per second, in the order of the columns."""
    by_class: tuple[tuple[str, tuple[float | None, ...]], ...]
    """Measured on val: the values of ``CLASS_METRICS`` for each class, then for their mean."""
    command: str
    """What runs it."""

    @property
    def files(self) -> list[Artifact]:
        """The published files of the model."""
        artifacts = (self.model.artifact(what) for what in ARTIFACT_KINDS)
        return [artifact for artifact in artifacts if artifact.addresses]


class DeviceSpeeds(NamedTuple):
    """The speeds of the models on one device."""

    on: str
    plot: object
    """Markup."""
    unbeaten: list[Point]
    """The Pareto front, from the best AP to the fastest: each is faster than all that are better."""


def render_site(site: Site) -> bytes:
    """Render the page, UTF-8; the same zoo gives the same bytes.

    Raises:
        MissingPackageError: the extra ``report`` is not installed.
    """
    families = [
        (family, [_entry(site, family, family_marker(place), model) for model in models_of(site.zoo, family)])
        for place, family in enumerate(site.zoo.families)
    ]
    families = [(family, entries) for family, entries in families if entries]
    entries = [entry for _, of_family in families for entry in of_family]
    groups = [Group(family.title, tuple(_points(entries))) for family, entries in families]
    groups = sorted((group for group in groups if group.points), key=lambda group: -group.points[0].ap_val)
    hosts = {urlsplit(entry.model.weights.address).hostname for entry in entries}
    return render_page(
        "site.html",
        "site.css",
        "site.js",
        title=TITLE,
        site=site,
        families=families,
        entries=sorted(entries, key=_best_first),
        backbones=sorted({entry.model.backbone for entry in entries}),
        schedules=sorted({entry.model.schedule for entry in entries}, key=lambda schedule: float(schedule[:-1])),
        figures=list(_ap_figures(groups)),
        races=list(_speed_figures(site.speeds, groups)),
        silent_host=DEAD_HOST if DEAD_HOST in hosts else None,
        class_metrics=CLASS_METRICS,
        kinds=KINDS,
        SPEED=SPEED,
        format_speed=format_speed,
        linkable=linkable,
    )


def linkable(address: str | None) -> bool:
    """Return whether an address may become a link: plain http or https, no script and no embedded content."""
    return address is not None and not address_problem(address)


def _entry(site: Site, family: Family, mark: FamilyMarker, model: Model) -> Entry:
    scores = (site.measured or {}).get(model.name, {})
    by_class = [
        (name, tuple(scores.get(metric, {}).get(name) for metric in CLASS_METRICS)) for name in (*CLASSES, OVERALL)
    ]
    # The zoo file by its name: the folders of the person who wrote the page concern nobody else.
    option = "" if model.zoo_file == site.zoo.files[0] else f"--zoo {shlex.quote(model.zoo_file.name)} "
    return Entry(
        model=model,
        family=family,
        mark=mark,
        measured=scores.get("AP", {}).get(OVERALL),
        speeds=tuple(by_model.get(model.name) for by_model in site.speeds.values()),
        by_class=tuple(by_class) if scores else (),
        command=f"bdd100k-zoo {option}predict {model.name} --images DIR",
    )


def _best_first(entry: Entry) -> tuple[bool, float, str]:
    """Sort by the published AP on val, models without one last."""
    ap = entry.model.ap_val
    return ap is None, -(ap or 0), entry.model.name


def _points(entries: Iterable[Entry]) -> Iterator[Point]:
    for model, mark in ((entry.model, entry.mark) for entry in sorted(entries, key=_best_first)):
        if model.ap_val is not None:
            yield Point(model.name, f"{model.backbone} {model.schedule}", mark, model.ap_val, model.ap_test)


def _ap_figures(groups: list[Group]) -> Iterator[object]:
    """Plot the families in two columns of about the same height; one family alone is one column."""
    points = [point for group in groups for point in group.points]
    aps = [ap for point in points for ap in (point.ap_val, point.ap_test) if ap is not None]
    lines = [1 + len(group.points) for group in groups]
    cut = min(range(len(groups) + 1), key=lambda place: abs(sum(lines[:place]) - sum(lines[place:])), default=0)
    for place, half in enumerate(half for half in (groups[:cut], groups[cut:]) if half):
        margin = max(0.04 * (max(aps) - min(aps)), 0.2)
        limits = ap_limits(min(aps) - margin, max(aps) + margin, floor=0)
        yield markup(ap_plot(f"ap-plot-{place}", half, limits))


def _speed_figures(speeds: Speeds, groups: list[Group]) -> Iterator[DeviceSpeeds]:
    for place, (on, by_model) in enumerate(speeds.items()):
        points = [
            point._replace(images_per_second=by_model[point.name])
            for group in groups
            for point in group.points
            if 0 < by_model.get(point.name, 0) < inf
        ]
        if points:
            unbeaten = _pareto_front(points)
            yield DeviceSpeeds(on, markup(speed_plot(f"speed-plot-{place}", on, points, unbeaten)), unbeaten)


def _pareto_front(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other surpasses in AP without being slower, from the best to the fastest."""
    front: list[Point] = []
    for point in sorted(points, key=lambda each: (-each.images_per_second, -each.ap_val)):
        if not front or point.ap_val > front[0].ap_val:
            front.insert(0, point)
    return front


# Plots ----------------------------------------------------------------------------------------------------------------

Corner = tuple[float, float]

ROW_HEIGHT = 17.0
"""Points from a line of the AP plot to the next."""
MAX_TITLE = 40
MAX_MODEL_LABEL = 18
LABEL_WIDTH = 116.0
"""Width in points of the labels at the left of the AP plot."""
INDENT = 16.0
"""Points by which titles and models are indented, to the right of the families' markers."""


def _polygon(points: int, turn: float = 0.0, inner: float = 1.0) -> tuple[Corner, ...]:
    """Return a polygon around zero with the area of the unit circle.

    Args:
        points: how many corners, or tips of a star.
        turn: angle of the first one from the top, in turns.
        inner: radius of a star's inner corners as a share of that of its tips; 1 for no star.
    """
    step = 1 if inner == 1 else 2
    corners = points * step
    tip = sqrt(2 * pi / (corners * inner * sin(2 * pi / corners)))
    radii = [tip * inner if place % step else tip for place in range(corners)]
    angles = [2 * pi * (place / corners + turn) for place in range(corners)]
    return tuple((round(r * sin(angle), 3), round(r * cos(angle), 3)) for r, angle in zip(radii, angles, strict=True))


SHAPES = (
    _polygon(32),
    _polygon(4, 1 / 8),
    _polygon(3),
    _polygon(4),
    _polygon(3, 1 / 2),
    _polygon(5, inner=0.5),
    _polygon(4, inner=0.45),
    _polygon(3, 1 / 4),
    _polygon(4, 1 / 8, inner=0.45),
    _polygon(3, 3 / 4),
)
"""Shapes of families, all of the same area, y upwards; reused from the start after the last."""


class FamilyMarker(NamedTuple):
    """The marker of a family."""

    role: str
    """Of its colour, see ``colours.ROLES``."""
    shape: tuple[Corner, ...]

    def style(self, size: float) -> dict[str, Any]:
        """Return matplotlib's arguments for the marker, as large as a circle of ``size`` points."""
        # matplotlib scales a polygon so that its largest coordinate fits the size.
        reach = max(abs(place) for corner in self.shape for place in corner)
        outline = [*self.shape, self.shape[0]]
        return {"marker": outline, "color": sentinel(self.role), "markersize": size * reach, "linestyle": ""}


def family_marker(family: int) -> FamilyMarker:
    """Return the marker of a family by its place in the zoo; the first forty differ, the first ten by shape alone."""
    return FamilyMarker(f"family{family % len(FAMILY_COLOURS)}", SHAPES[family % len(SHAPES)])


class Point(NamedTuple):
    """A model in a plot."""

    name: str
    """Also the id of its card in the page."""
    label: str
    mark: FamilyMarker
    ap_val: float
    ap_test: float | None = None
    images_per_second: float = 0.0
    """0 in the AP plot."""


class Group(NamedTuple):
    """The models of a family in a plot, from the top."""

    title: str
    points: tuple[Point, ...]


def ap_plot(name: str, groups: Sequence[Group], limits: tuple[float, float]) -> str:
    """Plot the AP on val, filled, and on test, hollow: one line per model below the title of its family.

    Args:
        name: unique on the page.
        groups: from the top, none of them empty.
        limits: of the axis.
    """
    lines = sum(1 + len(group.points) for group in groups)
    texts = []
    with styled_figure(50 + ROW_HEIGHT * lines) as (figure, axes):
        line = 0
        for group in groups:
            title = escape_unprintable(group.title)
            _label(axes, line, truncate_middle(title, MAX_TITLE), weight="bold")
            marker = group.points[0].mark.style(7)
            axes.plot(_beside(6), line, **marker, transform=axes.get_yaxis_transform(), clip_on=False)
            for place, point in enumerate(group.points, line + 1):
                label = truncate_middle(escape_unprintable(point.label), MAX_MODEL_LABEL)
                _label(axes, place, label, url=f"#{point.name}")
            for place, point in enumerate(group.points, line + 1):
                _plot_aps(axes, place, point)
            texts.append(f"{title}: " + ", ".join(_describe_aps(point) for point in group.points))
            line += 1 + len(group.points)
        axes.set(xlim=limits, ylim=(line - 0.5, -0.7), xlabel="box AP", yticks=[])
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        height = figure.get_figheight() * 72
        figure.subplots_adjust(left=LABEL_WIDTH / WIDTH, right=0.975, top=1 - 2 / height, bottom=42 / height)
        return figure_to_svg(figure, name, "Box AP by family and model", "; ".join(texts))


def _beside(points: float) -> float:
    """Return a distance in points from the left of the figure as a share of the axes' width."""
    return (points - LABEL_WIDTH) / (0.975 * WIDTH - LABEL_WIDTH)


def _label(axes: Axes, line: int, text: str, **style: Any) -> None:
    transform = axes.get_yaxis_transform()
    axes.text(_beside(INDENT), line, text, transform=transform, va="center_baseline", clip_on=False, **style)


def _plot_aps(axes: Axes, line: int, point: Point) -> None:
    style = point.mark.style(7) | {"url": f"#{point.name}"}
    if point.ap_test is not None:
        axes.plot((point.ap_test, point.ap_val), (line, line), color=sentinel("line"), linewidth=2)
        axes.plot(point.ap_test, line, **style, markerfacecolor=sentinel("back"))
    axes.plot(point.ap_val, line, **style)


def _describe_aps(point: Point) -> str:
    test = "" if point.ap_test is None else f" and {point.ap_test:.2f} on test"
    return f"{escape_unprintable(point.label)} {point.ap_val:.2f} on val{test}"


def speed_plot(name: str, on: str, points: Sequence[Point], unbeaten: Sequence[Point]) -> str:
    """Plot AP on val over speed, with a line through the Pareto front.

    Args:
        name: unique on the page.
        on: the device that the speeds were measured on.
        points: with speeds, at least one.
        unbeaten: those of them on the front, from the best to the fastest.
    """
    with styled_figure(300) as (figure, axes):
        from matplotlib.ticker import LogLocator, NullLocator

        line: dict[str, Any] = {"color": sentinel("soft"), "linewidth": 1, "linestyle": (0, (4, 2))}
        axes.plot([point.images_per_second for point in unbeaten], [point.ap_val for point in unbeaten], **line)
        for point in points:
            axes.plot(point.images_per_second, point.ap_val, **point.mark.style(8), url=f"#{point.name}")
        axes.set(xscale="log", xlabel="images per second", ylabel="box AP on val")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(0.08)
        axes.set_ylim(ap_limits(*axes.get_ylim(), floor=0))
        figure.subplots_adjust(left=0.13, right=0.97, top=0.98, bottom=0.15)
        text = "; ".join(f"{each.name}: {each.images_per_second:.3g} images/s, AP {each.ap_val:.2f}" for each in points)
        return figure_to_svg(figure, name, f"AP over speed {escape_unprintable(on)}", text)
