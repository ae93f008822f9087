"""The learning curve of a training, as a picture."""

from __future__ import annotations

import io
from statistics import median
from typing import TYPE_CHECKING, Any

from bdd100k_zoo.errors import MissingPackageError
from bdd100k_zoo.reporting.colours import LIGHT_THEME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.training.record import EpochRecord, StepLine

FIGURE_WIDTH, FIGURE_HEIGHT, FIGURE_DPI = 8.0, 4.5, 120
"""Inches, inches, and dots per inch."""
POINTS = 1000
"""Steps that are drawn at most; others lie between them, in the mean."""
LOSS_COLOUR, AP_COLOUR, STEP_COLOUR = LIGHT_THEME["soft"], LIGHT_THEME["link"], LIGHT_THEME["line"]


def draw_learning_curve(
    title: str, steps: Sequence[StepLine], epochs: Sequence[EpochRecord], epoch_length: int
) -> bytes:
    """Draw loss by step and AP on val by epoch, and give a PNG.

    Args:
        title: stands above.
        steps: those that were taken.
        epochs: those that are done.
        epoch_length: steps of an epoch.

    Raises:
        MissingPackageError: matplotlib is missing.
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("matplotlib", "report", str(error)) from error
    content = io.BytesIO()
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the user's own style is
        figure = Figure(figsize=(FIGURE_WIDTH, FIGURE_HEIGHT), dpi=FIGURE_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes: Any = figure.add_subplot()
        axes.set_title(title, loc="left", fontsize=11, parse_math=False)
        _draw_loss(axes, steps, epoch_length)
        _draw_ap(axes.twinx(), epochs)
        figure.savefig(content, format="png")
    return content.getvalue()


def _draw_loss(axes: Any, steps: Sequence[StepLine], epoch_length: int) -> None:
    size = max(1, len(steps) // POINTS)
    groups = [steps[first : first + size] for first in range(0, len(steps), size)]
    at = [sum(line.step for line in group) / len(group) / epoch_length for group in groups]
    losses = [sum(line.loss for line in group) / len(group) for group in groups]
    axes.plot(at, losses, color=STEP_COLOUR, linewidth=0.8)
    axes.plot(at, _smooth(losses), color=LOSS_COLOUR, linewidth=1.6)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss", color=LOSS_COLOUR)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0, top=_top(losses))
    axes.spines[["top", "right"]].set_visible(False)


def _draw_ap(axes: Any, epochs: Sequence[EpochRecord]) -> None:
    known = [each for each in epochs if each.ap is not None]
    axes.plot([each.epoch for each in known], [each.ap for each in known], color=AP_COLOUR, marker="o", markersize=4)
    axes.set_ylabel("AP on val, %", color=AP_COLOUR)
    axes.set_ylim(0, max([10.0, *(1.15 * (each.ap or 0.0) for each in known)]))
    axes.spines[["top", "left"]].set_visible(False)
    for each in known[-1:]:
        axes.annotate(
            f"{each.ap:.1f}", (each.epoch, each.ap), (0, 7), textcoords="offset points", ha="center", color=AP_COLOUR
        )


def _smooth(values: Sequence[float]) -> list[float]:
    """Give a running median over the neighbours of each value, a fiftieth of all on either side."""
    reach = len(values) // 50
    parts = (values[max(0, place - reach) : place + reach + 1] for place in range(len(values)))
    return [median(part) for part in parts]


def _top(losses: Sequence[float]) -> float | None:
    """The first steps may have losses that would press all others to the ground: they leave the picture."""
    ordered = sorted(losses)
    return 1.1 * ordered[int(0.99 * (len(ordered) - 1))] if ordered else None
