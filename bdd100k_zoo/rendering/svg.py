"""Figures of matplotlib as SVG for a page: small, themed, accessible, and the same bytes for the same figure."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from bdd100k_zoo.rendering.theme import SENTINELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

SERIES = "series-"
"""What the ids of groups begin with that a page can hide: they become classes."""

_NAMESPACE = re.compile(r"\{.*?\}")
_REFERENCE = re.compile(r"url\(#(.*?)\)")
_FONT_SIZE = re.compile(r"([\d.]+)px")
_DROPPED = {"metadata", "style", "title", "desc"}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def drawn(figure: Figure, name: str, title: str, description: str) -> str:
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
