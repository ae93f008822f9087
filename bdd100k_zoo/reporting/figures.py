"""Figures of matplotlib: their style, and their SVG for a page."""

from __future__ import annotations

import io
import re
import warnings
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from bdd100k_zoo.errors import MissingPackageError
from bdd100k_zoo.reporting.colours import SENTINELS, sentinel
from bdd100k_zoo.reporting.page import REPORT_EXTRA, markup

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


def check_report_installed() -> None:
    """Raise MissingPackageError where the extra ``report`` is not installed, before anything is computed."""
    markup("")
    _check_matplotlib()


def _check_matplotlib() -> None:
    try:
        import matplotlib as mpl  # noqa: F401  (asked for, not used)
    except ImportError as error:
        raise MissingPackageError("matplotlib", REPORT_EXTRA, str(error)) from error


@contextmanager
def styled_figure(height: float, width: float = WIDTH) -> Iterator[tuple[Figure, Axes]]:
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


SERIES = "series-"
"""What the ids of groups begin with that a page can hide: they become classes."""

_NAMESPACE = re.compile(r"\{.*?\}")
_REFERENCE = re.compile(r"url\(#(.*?)\)")
_FONT_SIZE = re.compile(r"([\d.]+)px")
_DROPPED = {"metadata", "style", "title", "desc"}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def figure_to_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """Give a figure as an ``svg`` element.

    Styles become attributes, which a strict content-security policy lets through; colours that stand for roles become
    classes of the page's style sheet; text takes the page's font. Addresses of artists (``url``) become links, named
    after the place in the page that they lead to.

    Args:
        figure: of matplotlib; colours of roles are those of ``theme.sentinel``.
        name: unique on the page, and part of all ids.
        title: what it shows, in a few words.
        description: what it says, for those who cannot see it.
    """
    root = ET.fromstring(_saved(figure, name))  # noqa: S314  (matplotlib has just written it)
    used = set(_references(root)) & {element.get("id", "") for element in root.iter()}
    clean = _cleaned(root, name, used)
    clean.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-labelledby": f"{name}-t {name}-d"}
    clean.insert(0, _element("title", title, id=f"{name}-t"))
    clean.insert(1, _element("desc", description, id=f"{name}-d"))
    return ET.tostring(clean, encoding="unicode")


def _saved(figure: Figure, name: str) -> str:
    import matplotlib as mpl

    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the page's font may have what matplotlib's lacks
        figure.savefig(text, format="svg", transparent=True, metadata=_NO_METADATA)
    return text.getvalue()


def _references(root: ET.Element) -> Iterator[str]:
    for element in root.iter():
        for attribute, value in element.attrib.items():
            if attribute.endswith("href"):
                yield value.removeprefix("#")
            yield from _REFERENCE.findall(value)


def _cleaned(element: ET.Element, name: str, used: set[str]) -> ET.Element:
    copy = ET.Element(_NAMESPACE.sub("", element.tag))
    copy.text = element.text if copy.tag in ("text", "tspan") else None
    for attribute, value in _attributes(element, name, used):
        before = copy.get(attribute)  # of classes, an element may have two
        copy.set(attribute, f"{before} {value}" if before else value)
    if copy.tag == "a":
        copy.append(_element("title", copy.get("href", "").removeprefix("#")))
    children = (_cleaned(child, name, used) for child in element if _NAMESPACE.sub("", child.tag) not in _DROPPED)
    copy.extend(child for child in children if len(child) or child.attrib or child.text)
    return copy


def _attributes(element: ET.Element, name: str, used: set[str]) -> Iterator[tuple[str, str]]:
    for attribute, value in element.attrib.items():
        plain = _NAMESPACE.sub("", attribute)
        if plain == "id":
            yield from _identity(value, name, used)
        elif plain == "href":
            yield from _reference(value, name, used)
        elif plain == "style":
            for declaration in value.split(";"):
                yield from _presentation(*map(str.strip, declaration.partition(":")[::2]))
        elif plain not in ("version", "width", "height", "target") or element.tag.endswith(("image", "rect", "use")):
            yield plain, _REFERENCE.sub(rf"url(#{name}-\1)", value)


def _reference(value: str, name: str, used: set[str]) -> Iterator[tuple[str, str]]:
    """Lead to a part of the drawing, or elsewhere: for the mouse alone, as a picture is one thing to the keyboard."""
    yield "href", f"#{name}-{value[1:]}" if value[1:] in used else value
    if value[1:] not in used:
        yield "tabindex", "-1"


def _identity(value: str, name: str, used: set[str]) -> Iterator[tuple[str, str]]:
    if value.startswith(SERIES):
        yield "class", value
    elif value in used:
        yield "id", f"{name}-{value}"


def _presentation(property_: str, value: str) -> Iterator[tuple[str, str]]:
    """Give what an attribute can say of a declaration; colours of roles become classes."""
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
