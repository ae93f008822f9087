"""matplotlib figures in the package's style, and their conversion to SVG for a page."""

from __future__ import annotations

import io
import re
import warnings
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from bdd100k_zoo.data.drawing.colours import SENTINELS, sentinel
from bdd100k_zoo.errors import MissingPackageError
from bdd100k_zoo.reporting.page import REPORT_EXTRA, markup

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 360.0
"""Points: the width of a phone's screen, where plots are then not scaled."""
MIN_AP_RANGE = 5.0
"""Smallest range of an AP axis, in points of AP, so that a small difference looks small."""
_STYLE: dict[Any, Any] = {
    "font.size": 11,
    "text.color": sentinel("text"),
    "text.parse_math": False,
    "axes.labelcolor": sentinel("text"),
    "axes.edgecolor": sentinel("soft"),
    "axes.grid": True,
    "axes.unicode_minus": True,
    "grid.color": sentinel("line"),
    "grid.linewidth": 0.6,
    "xtick.color": sentinel("soft"),
    "ytick.color": sentinel("soft"),
    "xtick.labelcolor": sentinel("text"),
    "ytick.labelcolor": sentinel("text"),
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
}
"""matplotlib's rcParams."""


def ap_limits(low: float, high: float, floor: float = -inf) -> tuple[float, float]:
    """Return the limits of an AP axis, widened around their middle to ``MIN_AP_RANGE`` but not below ``floor``."""
    missing = max(MIN_AP_RANGE - (high - low), 0)
    low = min(low, max(low - missing / 2, floor))
    return low, max(high, low + MIN_AP_RANGE)


def check_report_installed() -> None:
    """Raise MissingPackageError if the extra ``report`` is not installed, before anything is computed."""
    markup("")
    import_matplotlib()


def import_matplotlib() -> ModuleType:
    """Import matplotlib; raises MissingPackageError."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingPackageError("matplotlib", REPORT_EXTRA, str(error)) from error
    return mpl


@contextmanager
def styled_figure(
    height: float, width: float = WIDTH, style: Mapping[str, Any] = _STYLE
) -> Iterator[tuple[Figure, Axes]]:
    """Open a figure of this size in points, in the package's style, independent of the user's own."""
    mpl = import_matplotlib()
    from matplotlib.figure import Figure

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(style)
        figure = Figure(figsize=(width / 72, height / 72))
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        yield figure, axes


def set_speed_axes(axes: Axes, ap_label: str) -> None:
    """Set up axes of AP over images per second, after the points are plotted."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set(xscale="log", xlabel="images per second", ylabel=ap_label)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(0.1)
    axes.set_ylim(ap_limits(*axes.get_ylim(), floor=0))


SERIES = "series-"
"""Prefix of the ids of groups that a page can hide: they become classes."""

_REFERENCE = re.compile(r"url\(#(.*?)\)")
_FONT_SIZE = re.compile(r"([\d.]+)px")
_DROPPED = {"metadata", "style", "title", "desc"}


def figure_to_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """Return a figure as an ``svg`` element.

    Styles become attributes, which a strict content-security policy allows; colours of roles become classes of the
    page's style sheet; text takes the page's font. Addresses of artists (``url``) become links, titled with the id of
    their target in the page.

    Args:
        figure: a matplotlib figure; colours of roles are those of ``colours.sentinel``.
        name: unique on the page; part of all ids.
        title: what it shows, in a few words.
        description: its contents in words, for readers who cannot see it.
    """
    svg = _save_svg(figure, name)
    used = set(re.findall(r'(?:href="|url\()#(.+?)[")]', svg)) & set(re.findall(r' id="(.+?)"', svg))
    root = ET.fromstring(svg)  # noqa: S314  (matplotlib has just written it)
    for element in root.iter():  # without namespaces
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
    clean = _clean(root, name, used)
    clean.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-labelledby": f"{name}-t {name}-d"}
    clean.insert(0, _element("title", title, id=f"{name}-t"))
    clean.insert(1, _element("desc", description, id=f"{name}-d"))
    return ET.tostring(clean, encoding="unicode")


def _save_svg(figure: Figure, name: str) -> str:
    mpl = import_matplotlib()
    text, metadata = io.StringIO(), dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the page's font may have glyphs that matplotlib's lacks
        figure.savefig(text, format="svg", transparent=True, metadata=metadata)
    return text.getvalue()


def _clean(element: ET.Element, name: str, used: set[str]) -> ET.Element:
    """Return a copy without metadata, styles and empty elements; ``used`` are the ids to keep."""
    copy = ET.Element(element.tag)
    copy.text = element.text if copy.tag in ("text", "tspan") else None
    for attribute, value in _attributes(element, name, used):
        before = copy.get(attribute)  # an element may have two classes
        copy.set(attribute, f"{before} {value}" if before else value)
    if copy.tag == "a":
        copy.append(_element("title", copy.get("href", "").removeprefix("#")))
    children = (_clean(child, name, used) for child in element if child.tag not in _DROPPED)
    copy.extend(child for child in children if len(child) or child.attrib or child.text)
    return copy


def _attributes(element: ET.Element, name: str, used: set[str]) -> Iterator[tuple[str, str]]:
    for attribute, value in element.attrib.items():
        if attribute == "id":
            if value.startswith(SERIES):
                yield "class", value
            elif value in used:
                yield "id", f"{name}-{value}"
        elif attribute == "href":
            is_inside = value[1:] in used
            yield "href", f"#{name}-{value[1:]}" if is_inside else value
            if not is_inside:  # only the mouse uses links in a plot: the keyboard would stop at every point
                yield "tabindex", "-1"
        elif attribute == "style":
            for declaration in value.split(";"):
                yield from _presentation(*map(str.strip, declaration.partition(":")[::2]))
        elif attribute not in ("version", "width", "height", "target") or element.tag in ("image", "rect", "use"):
            yield attribute, _REFERENCE.sub(rf"url(#{name}-\1)", value)


def _presentation(property_: str, value: str) -> Iterator[tuple[str, str]]:
    """Convert a CSS declaration to attributes; colours of roles become classes."""
    if property_ == "font":
        size = _FONT_SIZE.search(value)
        yield from [("font-size", size[1])] if size else []
    elif property_ in ("fill", "stroke") and value in SENTINELS:
        yield "class", f"{property_[0]}-{SENTINELS[value]}"
    elif property_ and property_ != "font-family":
        yield property_, value.removesuffix("px") if property_ == "font-size" else value


def _element(tag: str, text: str, **attributes: str) -> ET.Element:
    element = ET.Element(tag, attributes)
    element.text = text
    return element
