"""Pages, parsed as a browser would, and checks of what is wrong with them."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import NamedTuple

VOID = {"meta", "link", "img", "input", "br"}
LOADS = {
    "img": "src",
    "script": "src",
    "link": "href",
    "iframe": "src",
    "object": "data",
    "use": "href",
    "image": "href",
}


class Element(NamedTuple):
    """One element of a page."""

    tag: str
    attributes: dict[str, str | None]
    text: list[str]
    """Of itself and of all in it."""

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).split())


class Document(HTMLParser):
    """A parsed page."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content.decode()
        self.elements: list[Element] = []
        self.open: list[Element] = []
        self.feed(self.content)
        self.close()
        assert [each.tag for each in self.open] == [], "elements stay open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute appears twice: {attrs}"
        element = Element(tag, dict(attrs), [])
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text.append(data)

    def all(self, *tags: str) -> list[Element]:
        return [each for each in self.elements if each.tag in tags]

    @property
    def policy(self) -> dict[str, str]:
        (meta,) = (each for each in self.all("meta") if each.attributes.get("http-equiv") == "Content-Security-Policy")
        parts = (meta.attributes["content"] or "").split(";")
        return {name: sources for name, _, sources in (part.strip().partition(" ") for part in parts)}


def digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def check(document: Document) -> None:
    """Fail where a page could do harm, asks for anything, or shuts readers out."""
    _check_harmless(document)
    _check_accessible(document)


def _check_harmless(document: Document) -> None:
    (style,), (script,) = document.all("style"), document.all("script")
    expected = {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    expected |= {"style-src": digest("".join(style.text)), "script-src": digest("".join(script.text))}
    assert document.policy == expected
    for each in document.elements:
        names = each.attributes
        assert not [name for name in names if name.startswith("on") or name in ("style", "srcset")], each
        address = names.get(LOADS.get(each.tag, ""))
        assert address is None or address.startswith(("data:", "#")), each
        assert each.tag != "a" or (names.get("href") or "").startswith(("#", "https://")), each
    assert not re.search(r"@import|url\((?!#)", document.content)


def _check_accessible(document: Document) -> None:
    levels = [int(each.tag[1]) for each in document.all("h1", "h2", "h3", "h4", "h5")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), levels
    ids = [each.attributes["id"] for each in document.elements if "id" in each.attributes]
    assert len(ids) == len(set(ids))
    for each in document.elements:
        for name in ("aria-labelledby", "aria-describedby", "for"):
            assert set((each.attributes.get(name) or "").split()) <= set(ids), each
        href = each.attributes.get("href") or ""
        assert not href.startswith("#") or href[1:] in ids, each
    assert all(each.attributes.get("alt") for each in document.all("img"))
    assert all(each.attributes.get("scope") in ("col", "row") for each in document.all("th"))
    assert all(each.words for each in document.all("caption"))
    assert len(document.all("caption")) == len(document.all("table"))
    assert document.all("html")[0].attributes["lang"] == "en"
    pictures = [each for each in document.all("svg") if each.attributes.get("aria-hidden") != "true"]
    assert all(each.attributes.get("role") == "img" and each.attributes.get("aria-labelledby") for each in pictures)
