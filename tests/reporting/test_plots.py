"""Plots as SVG: allowed by a strict policy, with descriptions, and reproducible."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("matplotlib", reason="NOT TESTED: plots, as matplotlib is not installed")

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.drawing.colours import SENTINELS
from bdd100k_zoo.evaluation.bootstrap import Interval
from bdd100k_zoo.evaluation.error_analysis import Calibration, ScoreBin
from bdd100k_zoo.reporting import plots
from bdd100k_zoo.reporting.figures import MIN_AP_RANGE, ap_limits
from bdd100k_zoo.reporting.plots import (
    AP_COLOUR,
    LOSS_COLOUR,
    CountColumn,
    Dot,
    SpeedPoint,
    draw_learning_curve,
    run_letter,
)
from bdd100k_zoo.reporting.site_plots import Point, family_marker, speed_plot
from bdd100k_zoo.training.record import EpochRecord, StepLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes


CURVE = tuple([1.0] * 40 + [0.5] * 20 + [0.0] * 41)
BINS = tuple(
    ScoreBin(n / 10, (n + 1) / 10, n, n / 10 + 0.05 if n else float("nan"), 0.5 if n else float("nan"))
    for n in range(10)
)
FIGURES = {
    "curves": lambda name: plots.plot_class_curves(name, 0.5, [CURVE, None, *[CURVE] * 8], "run A"),
    "run-curves": lambda name: plots.plot_run_curves(name, "car", [[CURVE, CURVE], [None, CURVE]], (0.5, 0.75)),
    "dots": lambda name: plots.plot_ap_rows(
        name, "AP", ["a", "b"], [[Dot(1, Interval(0, 2)), Dot(None)], [Dot(3), Dot(4)]]
    ),
    "differences": lambda name: plots.plot_differences(
        name, "A - B", ["a", "b"], [Dot(-1, Interval(-2, -0.5)), Dot(None)], CountColumn("frames", [1234, 0])
    ),
    "reliability": lambda name: plots.plot_reliability(name, Calibration(BINS, 0.1, (), 0.5), "run A", 0),
    "bars": lambda name: plots.plot_bars(name, "Errors", ["a", "b"], [[1.0, 2.0], [3.0, 0.0]], unit="points"),
    "speed": lambda name: plots.plot_speed_and_ap(
        name, [SpeedPoint(0, 2, 30, Interval(29, 31)), SpeedPoint(1, 11.5, 28, None)]
    ),
}
EACH = pytest.mark.parametrize("kind", FIGURES)


@EACH
def test_a_plot_has_no_style_of_its_own_and_no_colour_that_a_theme_could_not_change(kind: str) -> None:
    svg = FIGURES[kind]("x")
    assert not re.search(r"style|<script|<metadata|xmlns|href=\"(?!#x-)", svg)
    assert not set(re.findall(r"#[0-9a-f]{6}", svg))
    assert not [colour for colour in SENTINELS if colour in svg]
    assert re.search(r'class="(s|f)-\w+', svg)


@EACH
def test_ids_have_the_name_of_the_plot_and_all_references_resolve(kind: str) -> None:
    svg = FIGURES[kind]("here")
    ids = re.findall(r' id="(.*?)"', svg)
    assert len(ids) == len(set(ids))
    assert all(name.startswith("here-") for name in ids)
    assert set(re.findall(r'url\(#(.*?)\)|href="#(.*?)"', svg)) <= {(name, "") for name in ids} | {("", n) for n in ids}


@EACH
def test_a_plot_has_a_title_and_a_description(kind: str) -> None:
    root = ET.fromstring(FIGURES[kind]("x"))
    title, description = root[0], root[1]
    assert (root.tag, root.get("role"), title.tag, description.tag) == ("svg", "img", "title", "desc")
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert title.text
    assert re.search(r"\d", description.text or "")


@EACH
def test_the_same_plot_has_the_same_bytes_and_writes_text_as_text(kind: str) -> None:
    assert FIGURES[kind]("x") == FIGURES[kind]("x")
    assert "<text" in FIGURES[kind]("x")


def test_classes_and_runs_can_be_hidden_by_their_series() -> None:
    found = re.findall(r'class="series-(\w+)"', FIGURES["curves"]("x"))
    assert found == [f"class{index}" for index in range(len(CLASSES)) if index != 1]
    assert 'class="series-run1"' in FIGURES["run-curves"]("x")


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=3))
def test_labels_may_contain_any_text(labels: list[str]) -> None:
    ET.fromstring(plots.plot_ap_rows("x", "AP", labels, [[Dot(1.0)]] * len(labels)))


def test_a_label_is_neither_markup_nor_mathematics() -> None:
    svg = plots.plot_ap_rows("x", "AP", ["<b>$x^2$</b>", r"$\frac$"], [[Dot(1.0)], [Dot(2.0)]])
    assert "&lt;b&gt;$x^2$&lt;/b&gt;" in svg
    assert r"$\frac$" in svg


def test_the_users_own_style_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib as mpl

    before = FIGURES["dots"]("x")
    with mpl.rc_context({"font.size": 30, "axes.grid": False, "text.color": "red", "svg.fonttype": "path"}):
        assert FIGURES["dots"]("x") == before


def test_nothing_to_plot_is_an_empty_plot() -> None:
    assert plots.plot_ap_rows("x", "AP", ["a"], [[Dot(None)]])
    assert "no class has objects" in plots.plot_class_curves("x", 0.5, [None] * 10, "A")
    empty = tuple(each._replace(detections=0) for each in BINS)
    assert "no detections" in plots.plot_reliability("x", Calibration(empty, float("nan"), (), 0.5), "A", 0)


@given(st.floats(-100, 100), st.floats(0, 200))
def test_ap_limits_cover_at_least_five_points_around_the_values(low: float, width: float) -> None:
    lower, upper = ap_limits(low, low + width)
    assert upper - lower >= MIN_AP_RANGE - 1e-9
    assert lower <= low
    assert upper >= low + width
    assert (lower + upper) / 2 == pytest.approx(low + width / 2)
    if width >= MIN_AP_RANGE:
        assert (lower, upper) == (low, low + width)
    floored = ap_limits(max(low, 0), max(low, 0) + width, floor=0)
    assert floored[0] >= 0
    assert floored[1] - floored[0] >= MIN_AP_RANGE - 1e-9


RACERS = (Point("a", "a", family_marker(0), 30.0, None, 3.0), Point("b", "b", family_marker(1), 30.6, None, 2.0))
AP_AXES = {
    "dots": ("x", lambda: plots.plot_ap_rows("x", "AP", ["a", "b"], [[Dot(30.0), Dot(30.3)], [Dot(30.6), Dot(30.1)]])),
    "low": ("x", lambda: plots.plot_ap_rows("x", "AP", ["a"], [[Dot(0.1), Dot(0.2)]])),
    "nothing": ("x", lambda: plots.plot_ap_rows("x", "AP", ["a"], [[Dot(None)]])),
    "differences": (
        "x",
        lambda: plots.plot_differences(
            "x", "A - B", ["a"], [Dot(0.6, Interval(0.5, 0.7))], CountColumn("frames", [40])
        ),
    ),
    "bars": ("x", lambda: plots.plot_bars("x", "Errors", ["a"], [[0.6]], unit="points of AP50")),
    "speed": (
        "y",
        lambda: plots.plot_speed_and_ap(
            "x", [SpeedPoint(0, 2, 30.6, None), SpeedPoint(1, 3, 30, Interval(29.9, 30.1))]
        ),
    ),
    "zoo": ("y", lambda: speed_plot("x", "on a GPU", RACERS, RACERS)),
    "one racer": ("y", lambda: speed_plot("x", "on a GPU", RACERS[:1], RACERS[:1])),
}


@pytest.fixture
def axes_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], str]], Axes]:
    """Return the axes that a plot was drawn on."""
    from matplotlib.axes import Axes

    seen: list[Axes] = []
    draw = Axes.draw
    monkeypatch.setattr(Axes, "draw", lambda self, *rest, **options: (seen.append(self), draw(self, *rest, **options)))

    def axes_of(plot: Callable[[], str]) -> Axes:
        plot()
        return seen[-1]

    return axes_of


@pytest.mark.parametrize("kind", AP_AXES)
def test_every_ap_axis_covers_at_least_five_points(kind: str, axes_of: Callable[[Callable[[], str]], Axes]) -> None:
    axis, plot = AP_AXES[kind]
    axes = axes_of(plot)
    low, high = axes.get_xlim() if axis == "x" else axes.get_ylim()
    assert high - low >= 5 - 1e-9
    assert low >= -3
    if kind in ("low", "nothing", "bars"):
        assert low > -0.1


def test_differences_within_chance_are_hollow_and_without_interval_crosses(
    axes_of: Callable[[Callable[[], str]], Axes],
) -> None:
    dots = [Dot(2.0, Interval(1, 3)), Dot(-2.0, Interval(-3, -1)), Dot(2.0, Interval(-1, 5)), Dot(2.0)]
    axes = axes_of(
        lambda: plots.plot_differences("x", "A - B", list("abcd"), dots, CountColumn("frames", [40, 40, 40, 1]))
    )
    points = [line for line in axes.lines if line.get_marker() in ("o", "x")]
    seen = [(each.get_marker(), SENTINELS[each.get_color()], SENTINELS[each.get_markerfacecolor()]) for each in points]
    assert seen == [("o", "good", "good"), ("o", "bad", "bad"), ("o", "soft", "back"), ("x", "soft", "soft")]
    written = [text.get_text() for text in axes.texts]
    assert written == ["frames", "40", "40", "40", "1"]


def test_bins_of_few_detections_are_crosses_without_a_line(
    axes_of: Callable[[Callable[[], str]], Axes],
) -> None:
    bins = tuple(ScoreBin(n / 10, n / 10 + 0.1, 30 if n < 3 else 29, n / 10 + 0.05, 0.5) for n in range(5))
    axes = axes_of(lambda: plots.plot_reliability("x", Calibration(bins, 0.1, (), 0.5), "A", 0))
    _, enough, few = axes.lines
    assert (enough.get_linestyle(), list(enough.get_xdata())) == ("-", [0.05, 0.15000000000000002, 0.25])
    assert (few.get_linestyle(), few.get_marker(), SENTINELS[few.get_color()]) == ("None", "x", "soft")
    assert len(few.get_xdata()) == 2


def test_runs_are_lettered_without_end() -> None:
    assert [run_letter(run) for run in (0, 1, 25, 26, 52)] == ["A", "B", "Z", "A2", "A3"]


# Learning curve of a training -----------------------------------------------------------------------------------------


def steps(number: int) -> list[StepLine]:
    return [StepLine(step=step, epoch=1, rate=0.1, loss=2 / step) for step in range(1, number + 1)]


def epoch(number: int, ap: float | None) -> EpochRecord:
    return EpochRecord(epoch=number, loss=1.0, rate=0.1, seconds=1.0, ap=ap)


@pytest.mark.parametrize("number", [0, 1, 7, 2500])
@pytest.mark.parametrize("epochs", [[], [epoch(1, None)], [epoch(1, 20.0), epoch(2, 30.0)]])
def test_a_curve_is_a_picture(number: int, epochs: list[EpochRecord]) -> None:
    image = Image.open(io.BytesIO(draw_learning_curve("model", steps(number), epochs, 10)))
    assert (image.format, image.size) == ("PNG", (960, 540))


def test_losses_and_aps_leave_their_colours_on_it() -> None:
    image = Image.open(
        io.BytesIO(draw_learning_curve("model", steps(200), [epoch(1, 20.0), epoch(2, 30.0)], 10))
    ).convert("RGB")
    colours = {colour for _, colour in image.getcolors(1 << 20) or ()}
    assert {tuple(bytes.fromhex(colour[1:])) for colour in (AP_COLOUR, LOSS_COLOUR)} <= colours


def test_without_matplotlib_that_is_an_error_that_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from bdd100k_zoo.errors import MissingPackageError\n"
        "from bdd100k_zoo.reporting.plots import draw_learning_curve\n"
        "try: draw_learning_curve('m', [], [], 1)\n"
        "except MissingPackageError as error: print(error.package, error.extra)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["matplotlib", "report"]
