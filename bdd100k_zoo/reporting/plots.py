"""matplotlib plots: those of a report, as SVG, and the learning curve of a training, as PNG.

A report's plots refer to runs by a letter; the page names the run of each letter.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.drawing.colours import LIGHT_THEME, RUN_COLOURS, sentinel
from bdd100k_zoo.evaluation.bootstrap import MIN_OBJECTS
from bdd100k_zoo.reporting.figures import SERIES, WIDTH, ap_limits, figure_to_svg, set_speed_axes, styled_figure
from bdd100k_zoo.reporting.page import escape_unprintable, truncate_middle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bdd100k_zoo.evaluation.bootstrap import Interval
    from bdd100k_zoo.evaluation.error_analysis import Calibration
    from bdd100k_zoo.training.record import EpochRecord, StepLine

LONGEST_LABEL = 21
MARKERS = "osD^vP"
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
CSS_DASHES = ("", "8 3", "3 2.4", "9 3 3 3")
"""The same dashes in CSS, for legends."""
SEE_TABLE = "The page has a table of the numbers."
"""Description of a plot whose numbers are beside it."""
RECALL = tuple(place / 100 for place in range(101))


class Dot(NamedTuple):
    """A value with its interval."""

    value: float | None
    interval: Interval | None = None


class CountColumn(NamedTuple):
    """A column of counts beside the rows of a plot."""

    of: str
    """What is counted, in the plural."""
    values: Sequence[int]


class SpeedPoint(NamedTuple):
    """A run in the plot of AP over speed."""

    run: int
    images_per_second: float
    ap: float
    interval: Interval | None


def run_role(run: int) -> str:
    """Return the role of a run's colour."""
    return f"run{run % len(RUN_COLOURS)}"


def run_letter(run: int) -> str:
    """Return the letter of a run: A to Z, then A2 and so on."""
    turn, place = divmod(run, 26)
    return chr(ord("A") + place) + (str(turn + 1) if turn else "")


Curve = Sequence[float]
"""Precision at the 101 recall points."""


def plot_class_curves(name: str, iou: float, precision: Sequence[Curve | None], of: str) -> str:
    """Plot precision over recall of each class at one IoU; the page can hide classes by their series."""
    lines = [(curve, f"class{index}", index) for index, curve in enumerate(precision)]
    means = [f"{label} {sum(curve) / len(curve):.2f}" for label, curve in zip(CLASSES, precision, strict=True) if curve]
    title = f"Precision over recall at IoU {iou:.2f}, {escape_unprintable(of)}"
    text = f"A curve for each class. Mean precision: {', '.join(means) or 'no class has objects'}."
    return _plot_curves(name, lines, 300, title, text)


def plot_run_curves(name: str, label: str, curves: Sequence[Sequence[Curve | None]], ious: Sequence[float]) -> str:
    """Plot precision over recall of one class: one colour per run, one dash pattern per IoU.

    Args:
        name: unique on the page.
        label: of the class.
        curves: [runs][ious].
        ious: IoU thresholds of the curves.
    """
    lines = [(curve, run_role(run), place) for run, by_iou in enumerate(curves) for place, curve in enumerate(by_iou)]
    text = f"A line for each run at each of IoU {', '.join(f'{iou:.2f}' for iou in ious)}."
    return _plot_curves(name, lines, 250, f"Precision over recall of {label}", text)


def _plot_curves(
    name: str, lines: Iterable[tuple[Curve | None, str, int]], height: float, title: str, text: str
) -> str:
    """Plot curves, each with the role of its colour and the index of its dash pattern."""
    with styled_figure(height) as (figure, axes):
        for curve, role, dash in lines:
            if curve is not None:
                # Up to the first zero: a line along the axis shows nothing.
                end = next((place + 1 for place, precision in enumerate(curve) if not precision), len(curve))
                style = DASHES[dash % len(DASHES)]
                axes.plot(RECALL[:end], curve[:end], gid=f"{SERIES}{role}", color=sentinel(role), linestyle=style)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        figure.subplots_adjust(left=0.14, right=0.97, top=0.97, bottom=42 / height)
        return figure_to_svg(figure, name, title, text)


def plot_ap_rows(
    name: str, title: str, labels: Sequence[str], rows: Sequence[Sequence[Dot]], numbers: CountColumn | None = None
) -> str:
    """Plot APs with their intervals: one row per label, one colour and marker per run.

    Args:
        name: unique on the page.
        title: what is plotted.
        labels: of the rows, from the top.
        rows: [labels][runs].
        numbers: [labels]; printed at the right.
    """
    runs = len(rows[0])
    row_height = max(20, 9 * runs + 8)
    with styled_figure(46 + row_height * len(labels)) as (figure, axes):
        for place, row in enumerate(rows):
            for run, dot in enumerate(row):
                height = place + (run - (runs - 1) / 2) * min(0.8 / runs, 0.3)
                _plot_dot(axes, dot, height, run_role(run), marker=MARKERS[run % len(MARKERS)])
        _set_rows(figure, axes, _row_labels(labels), numbers)
        axes.set(xlabel="AP", xlim=ap_limits(*axes.get_xlim(), floor=0))
        return figure_to_svg(figure, name, title, f"{len(labels)} rows. {SEE_TABLE}")


def plot_differences(name: str, title: str, labels: Sequence[str], values: Sequence[Dot], numbers: CountColumn) -> str:
    """Plot differences in AP around zero. A difference is beyond chance where its interval excludes zero.

    Such a difference is filled, green to the right and red to the left. All others are grey: hollow where the interval
    includes zero, a cross where there is no interval.
    """
    with styled_figure(46 + 20 * len(labels)) as (figure, axes):
        axes.axvline(0, color=sentinel("soft"), linewidth=1)
        for place, dot in enumerate(values):
            if dot.interval is None:
                _plot_dot(axes, dot, place, "soft", marker="x")
            elif dot.interval.low <= 0 <= dot.interval.high:
                _plot_dot(axes, dot, place, "soft", marker="o", markerfacecolor=sentinel("back"))
            else:
                _plot_dot(axes, dot, place, "good" if dot.interval.low > 0 else "bad", marker="o")
        _set_rows(figure, axes, _row_labels(labels), numbers)
        axes.set(xlabel="difference in AP", xlim=ap_limits(*axes.get_xlim()))
        return figure_to_svg(figure, name, title, f"{len(labels)} rows. {SEE_TABLE}")


def _plot_dot(axes: Axes, dot: Dot, height: float, role: str, **style: str) -> None:
    """Plot a value and its interval; nothing without a value."""
    if dot.interval:
        axes.plot(dot.interval, (height, height), color=sentinel(role), linewidth=1.6)
    if dot.value is not None:
        axes.plot(dot.value, height, color=sentinel(role), **style)  # type: ignore[arg-type]


def _row_labels(labels: Sequence[str]) -> list[str]:
    return [truncate_middle(escape_unprintable(label), LONGEST_LABEL) for label in labels]


def _set_rows(figure: Figure, axes: Axes, labels: Sequence[str], numbers: CountColumn | None = None) -> None:
    """Label the rows at the left, and print the numbers at the right below their heading."""
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), labels)
    axes.grid(axis="y", visible=False)
    height = figure.get_figheight() * 72
    right, above = (0.84, 18) if numbers else (0.96, 6)
    figure.subplots_adjust(left=0.36, right=right, top=1 - above / height, bottom=42 / height)
    if numbers:
        style: dict[str, Any] = {"ha": "right", "fontsize": 9, "color": sentinel("soft"), "clip_on": False}
        edge = 1 + (0.995 - right) / (right - 0.36)
        axes.text(edge, 1, numbers.of, transform=axes.transAxes, va="bottom", **style)
        for place, number in enumerate(numbers.values):
            axes.text(edge, place, f"{number:,}", transform=axes.get_yaxis_transform(), va="center_baseline", **style)


def plot_reliability(name: str, calibration: Calibration, of: str, run: int) -> str:
    """Plot the share of correct detections over their score, with bars for how many detections there are.

    Shares of fewer than ``MIN_OBJECTS`` detections are grey crosses that the line does not pass through.
    """
    bins = [each for each in calibration.bins if each.detections]
    with styled_figure(300) as (figure, axes):
        most = max((each.detections for each in bins), default=1)
        for each in bins:
            axes.bar(
                each.low, 0.15 * each.detections / most, each.high - each.low, align="edge", color=sentinel("line")
            )
        axes.plot((0, 1), (0, 1), color=sentinel("soft"), linewidth=1, linestyle=DASHES[2])
        enough = [each for each in bins if each.detections >= MIN_OBJECTS]
        few = [each for each in bins if each.detections < MIN_OBJECTS]
        scores, precisions = [each.score for each in enough], [each.precision for each in enough]
        axes.plot(scores, precisions, color=sentinel(run_role(run)), marker=MARKERS[run % len(MARKERS)])
        axes.plot([each.score for each in few], [each.precision for each in few], "x", color=sentinel("soft"))
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="score", ylabel="share that is right")
        figure.subplots_adjust(left=0.14, right=0.97, top=0.97, bottom=42 / 300)
        text = "; ".join(f"score {each.score:.2f}: {each.precision:.2f} of {each.detections:,} right" for each in bins)
        return figure_to_svg(
            figure, name, f"Reliability of the scores, {escape_unprintable(of)}", text or "There are no detections."
        )


def plot_bars(name: str, title: str, labels: Sequence[str], rows: Sequence[Sequence[float]], *, unit: str) -> str:
    """Plot amounts: a group of bars per label, a bar per run. Labels are printed as they are."""
    runs = len(rows[0])
    thick = 0.8 / runs
    with styled_figure(46 + max(22, 12 * runs + 8) * len(labels)) as (figure, axes):
        for place, row in enumerate(rows):
            for run, value in enumerate(row):
                axes.barh(place - 0.4 + (run + 0.5) * thick, value, 0.9 * thick, color=sentinel(run_role(run)))
        _set_rows(figure, axes, labels)
        axes.set(xlabel=unit, xlim=ap_limits(*axes.get_xlim(), floor=0))
        return figure_to_svg(figure, name, title, f"{len(labels)} rows. {SEE_TABLE}")


def plot_speed_and_ap(name: str, places: Sequence[SpeedPoint]) -> str:
    """Plot AP over speed: one lettered dot per run."""
    with styled_figure(300, 2 * WIDTH) as (figure, axes):
        for place in places:
            colour = sentinel(run_role(place.run))
            if place.interval:
                axes.plot((place.images_per_second,) * 2, place.interval, color=colour, linewidth=1.6)
            axes.plot(place.images_per_second, place.ap, MARKERS[place.run % len(MARKERS)], color=colour, markersize=7)
            at = place.images_per_second, place.ap
            axes.annotate(run_letter(place.run), at, (7, 5), textcoords="offset points", weight="bold")
        set_speed_axes(axes, "AP")
        figure.subplots_adjust(left=0.09, right=0.97, top=0.97, bottom=0.14)
        text = "; ".join(
            f"{run_letter(each.run)}: {each.images_per_second:.3g} images/s, AP {each.ap:.2f}" for each in places
        )
        return figure_to_svg(figure, name, "AP over speed", text)


# Learning curve of a training -----------------------------------------------------------------------------------------

CURVE_STYLE = {"figure.dpi": 120, "figure.constrained_layout.use": True}
MAX_CURVE_POINTS = 1000
"""Points of the loss curve at most; of more steps, each point is the mean of several."""
LOSS_COLOUR, AP_COLOUR, STEP_COLOUR = LIGHT_THEME["soft"], LIGHT_THEME["link"], LIGHT_THEME["line"]


def draw_learning_curve(
    title: str, steps: Sequence[StepLine], epochs: Sequence[EpochRecord], epoch_length: int
) -> bytes:
    """Draw loss by step and AP on val by epoch, as a PNG.

    Args:
        title: printed above the plot.
        steps: the steps taken.
        epochs: the finished epochs.
        epoch_length: steps of an epoch.

    Raises:
        MissingPackageError: matplotlib is missing.
    """
    content = io.BytesIO()
    with styled_figure(324, 576, CURVE_STYLE) as (figure, axes):
        axes.set_title(title, loc="left", fontsize=11, parse_math=False)
        _draw_loss(axes, steps, epoch_length)
        _draw_ap(axes.twinx(), epochs)
        figure.savefig(content, format="png")
    return content.getvalue()


def _draw_loss(axes: Axes, steps: Sequence[StepLine], epoch_length: int) -> None:
    size = max(1, len(steps) // MAX_CURVE_POINTS)
    groups = [steps[first : first + size] for first in range(0, len(steps), size)]
    at = [sum(line.step for line in group) / len(group) / epoch_length for group in groups]
    losses = [sum(line.loss for line in group) / len(group) for group in groups]
    reach = len(losses) // 50  # of the running median, on either side
    smooth = [median(losses[max(0, place - reach) : place + reach + 1]) for place in range(len(losses))]
    # The first steps may have losses so large that all others would lie at the bottom: the axis cuts them off.
    top = 1.1 * sorted(losses)[int(0.99 * (len(losses) - 1))] if losses else None
    axes.plot(at, losses, color=STEP_COLOUR, linewidth=0.8)
    axes.plot(at, smooth, color=LOSS_COLOUR, linewidth=1.6)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss", color=LOSS_COLOUR)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0, top=top)


def _draw_ap(axes: Axes, epochs: Sequence[EpochRecord]) -> None:
    known = [(each.epoch, each.ap) for each in epochs if each.ap is not None]
    axes.plot([epoch for epoch, _ in known], [ap for _, ap in known], color=AP_COLOUR, marker="o", markersize=4)
    axes.set_ylabel("AP on val, %", color=AP_COLOUR)
    axes.set_ylim(0, max([10.0, *(1.15 * ap for _, ap in known)]))
    axes.spines[["top", "left"]].set_visible(False)
    for epoch, ap in known[-1:]:
        axes.annotate(f"{ap:.1f}", (epoch, ap), (0, 7), textcoords="offset points", ha="center", color=AP_COLOUR)
