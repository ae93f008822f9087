"""Plots of the zoo's page: AP by family, AP over speed and parameters, and the markers of the families."""

from __future__ import annotations

from math import cos, pi, sin, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

from bdd100k_zoo.data.drawing.colours import FAMILY_COLOURS, sentinel
from bdd100k_zoo.reporting.figures import WIDTH, ap_limits, figure_to_svg, set_speed_axes, styled_figure
from bdd100k_zoo.reporting.page import escape_unprintable, truncate_middle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

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
    corners = points if inner == 1 else 2 * points
    tip = sqrt(2 * pi / (corners * inner * sin(2 * pi / corners)))
    radii = tip, tip * inner
    angles = [2 * pi * (place / corners + turn) for place in range(corners)]
    return tuple((round(radii[n % 2] * sin(at), 3), round(radii[n % 2] * cos(at), 3)) for n, at in enumerate(angles))


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
    """0 if it is not known."""
    parameters: int = 0
    """0 if it is not known."""


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
            marker = group.points[0].mark.style(7) | {"transform": axes.get_yaxis_transform(), "clip_on": False}
            axes.plot(_beside(6), line, **marker)
            for place, point in enumerate(group.points, line + 1):
                label = truncate_middle(escape_unprintable(point.label), MAX_MODEL_LABEL)
                _label(axes, place, label, url=f"#{point.name}")
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
        _scatter(axes, points, unbeaten, "images_per_second")
        set_speed_axes(axes, "box AP on val")
        figure.subplots_adjust(left=0.13, right=0.97, top=0.98, bottom=0.15)
        text = "; ".join(f"{each.name}: {each.images_per_second:.3g} images/s, AP {each.ap_val:.2f}" for each in points)
        return figure_to_svg(figure, name, f"AP over speed {escape_unprintable(on)}", text)


def parameters_plot(name: str, points: Sequence[Point], unbeaten: Sequence[Point]) -> str:
    """Plot AP on val over millions of parameters, with a line through the Pareto front.

    Args:
        name: unique on the page.
        points: with parameters, at least one.
        unbeaten: those of them on the front, from the best to the smallest.
    """
    with styled_figure(390) as (figure, axes):
        _scatter(axes, points, unbeaten, "parameters")
        axes.set(xlabel="parameters", ylabel="box AP on val", xlim=(0, None))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:.0f}M")
        axes.margins(y=0.06)
        axes.set_ylim(ap_limits(*axes.get_ylim(), floor=0))
        figure.subplots_adjust(left=0.13, right=0.95, top=0.98, bottom=0.12)
        text = "; ".join(f"{each.name}: {each.parameters / 1e6:.1f}M, AP {each.ap_val:.2f}" for each in points)
        return figure_to_svg(figure, name, "AP over parameters", text)


def _scatter(axes: Axes, points: Sequence[Point], unbeaten: Sequence[Point], across: str) -> None:
    """Plot AP on val over a field of the points."""
    line = [getattr(point, across) for point in unbeaten], [point.ap_val for point in unbeaten]
    axes.plot(*line, color=sentinel("soft"), linewidth=1, linestyle=(0, (4, 2)))
    for point in points:
        axes.plot(getattr(point, across), point.ap_val, **point.mark.style(8), url=f"#{point.name}")
