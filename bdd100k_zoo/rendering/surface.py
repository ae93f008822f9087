"""What plots are drawn on: figures of matplotlib in our style."""

from __future__ import annotations

from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Any

from bdd100k_zoo.errors import MissingPackageError
from bdd100k_zoo.rendering.page import EXTRA, markup
from bdd100k_zoo.rendering.theme import sentinel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 360.0
"""Points: the width of a telephone's screen, on which plots are not scaled."""
MIN_AP_RANGE = 5.0
"""Points of AP that an axis shows at least, so that a small difference looks small."""


def ap_limits(low: float, high: float, floor: float = -inf) -> tuple[float, float]:
    """Return limits of an axis of AP: those given, or ``MIN_AP_RANGE`` around their middle, not below ``floor``."""
    missing = max(MIN_AP_RANGE - (high - low), 0)
    low = min(low, max(low - missing / 2, floor))
    return low, max(high, low + MIN_AP_RANGE)


def check_installed() -> None:
    """Raise MissingPackageError where the extra ``report`` is not installed, before anything is computed."""
    markup("")
    _check_matplotlib()


def _check_matplotlib() -> None:
    try:
        import matplotlib as mpl  # noqa: F401  (asked for, not used)
    except ImportError as error:
        raise MissingPackageError("matplotlib", EXTRA, str(error)) from error


@contextmanager
def surface(height: float, width: float = WIDTH) -> Iterator[tuple[Figure, Axes]]:
    """Give a figure of so many points, in our style whatever the user's own is."""
    _check_matplotlib()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_style())
        figure = Figure(figsize=(width / 72, height / 72))
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        yield figure, axes


def _style() -> dict[Any, Any]:
    text, soft, line = sentinel("text"), sentinel("soft"), sentinel("line")
    return {
        "font.size": 11,
        "text.color": text,
        "text.parse_math": False,
        "axes.labelcolor": text,
        "axes.edgecolor": soft,
        "axes.grid": True,
        "axes.unicode_minus": True,
        "grid.color": line,
        "grid.linewidth": 0.6,
        "xtick.color": soft,
        "ytick.color": soft,
        "xtick.labelcolor": text,
        "ytick.labelcolor": text,
        "lines.linewidth": 1.5,
        "lines.markersize": 5,
    }
