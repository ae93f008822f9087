"""HTML pages as single files that contain everything they need and load nothing from the network.

A page is a template that extends ``page.html``. Its values are escaped, and unprintable characters are shown as their
code points. A content-security policy allows the page's own style sheet and script, by their digests, and embedded
pictures; nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from bdd100k_zoo import __version__
from bdd100k_zoo.data.drawing.colours import style_sheet
from bdd100k_zoo.errors import MissingPackageError, StorageError
from bdd100k_zoo.files import storage_errors

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2 import Environment

NOTHING = "–"
REPORT_EXTRA = "report"
"""The extra that installs what pages need."""
TEMPLATES = "html"
GENERATOR_MARK = b'<meta name="generator" content="bdd100k-zoo '
"""Appears near the beginning of every page that this package writes."""


def escape_unprintable(text: str) -> str:
    """Replace unprintable characters, such as those that reverse the direction of writing, by their code points."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else f"⟨U+{ord(each):04X}⟩" for each in text)


def truncate_middle(text: str, length: int) -> str:
    """Shorten a text to at most ``length`` characters, keeping its beginning and its end."""
    if len(text) <= length:
        return text
    end = (length - 1) // 2
    return f"{text[: length - 1 - end]}…{text[-end:]}"


def format_percent(value: float | None, digits: int = 2) -> str:
    """Write a number in percent; a dash for None and NaN."""
    return NOTHING if value is None or value != value else f"{value:.{digits}f}"


def format_signed(value: float | None, digits: int = 2) -> str:
    """Write a difference with its sign, a minus as the typographic one; a dash for None and NaN."""
    return NOTHING if value is None or value != value else f"{value:+.{digits}f}".replace("-", "−")


def check_page_replaceable(path: Path) -> None:
    """Check that a path is free or holds a page of this package; raises StorageError."""
    with storage_errors(path):
        if not path.exists():
            return
        with path.open("rb") as file:
            start = file.read(4096)
    if GENERATOR_MARK not in start:
        raise StorageError(
            path,
            "is not a page of bdd100k-zoo; nothing was written",
            "move it away, or choose another folder or file with --out",
        )


def render_page(template: str, *parts: str, **values: object) -> bytes:
    """Render a page; the same values give the same bytes.

    Args:
        template: name of a template of this package that extends ``page.html``, which needs ``title``.
        parts: the page's style sheets and scripts, in addition to ``page.css`` and ``page.js``.
        values: the template's variables. Strings are escaped, except those marked by ``markup``.

    Raises:
        MissingPackageError: Jinja2 is not installed.
    """
    style, script = style_sheet() + _read_all(".css", parts), _read_all(".js", parts)
    allowed = {
        "default-src": "'none'",
        "style-src": _csp_digest(style),
        "script-src": _csp_digest(script),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    policy = "; ".join(f"{name} {sources}" for name, sources in allowed.items())
    frame = {"style": markup(style), "script": markup(script), "policy": policy, "version": __version__}
    page: str = _environment().get_template(template).render(**frame, **values)
    return page.encode()


def markup(html: str) -> object:
    """Mark HTML of this package, so that it is not escaped; raises MissingPackageError."""
    _environment()
    from markupsafe import Markup

    return Markup(html)  # noqa: S704  (callers pass only HTML of this package)


def data_url(content: bytes, kind: str) -> str:
    """Return a ``data:`` address that embeds a picture; ``kind`` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _read_all(suffix: str, parts: tuple[str, ...]) -> str:
    """Return the contents of ``page`` and of the parts with this suffix."""
    names = [f"page{suffix}", *(name for name in parts if name.endswith(suffix))]
    return "".join("\n" + (files(__package__) / TEMPLATES / name).read_text(encoding="utf-8") for name in names)


def _csp_digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


@cache
def _environment() -> Environment:
    try:
        import jinja2
    except ImportError as error:
        raise MissingPackageError("Jinja2", REPORT_EXTRA, str(error)) from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        # Not isinstance: Markup is a subclass of str that holds our own HTML.
        finalize=lambda value: escape_unprintable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": format_percent, "signed": format_signed, "shortened": truncate_middle}
    return environment
