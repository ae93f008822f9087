"""The frame of our pages: one file that holds all it needs, and asks the network for nothing.

A page is a template that extends ``page.html``. What is put into it is escaped, and characters without a face are shown
by their code points, whatever file they come from. A content-security policy lets through the page's own style sheet
and script, by their digests, and pictures that stand in the page; nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from bdd100k_zoo import __version__
from bdd100k_zoo.errors import FilesExistError, MissingPackageError
from bdd100k_zoo.files import storage_errors
from bdd100k_zoo.reporting.colours import style_sheet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jinja2 import Environment

NOTHING = "–"


def escape_unprintable(text: str) -> str:
    """Show characters that have no face, such as those that turn the direction of writing, by their code points."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else f"⟨U+{ord(each):04X}⟩" for each in text)


def truncate_middle(text: str, length: int) -> str:
    """Keep the beginning and the end of a text that is longer than ``length`` characters."""
    if len(text) <= length:
        return text
    end = (length - 1) // 2
    return f"{text[: length - 1 - end]}…{text[-end:]}"


def format_percent(value: float | None, digits: int = 2) -> str:
    """Write a number in percent; a dash for None and NaN."""
    return NOTHING if value is None or value != value else f"{value:.{digits}f}"


def format_signed(value: float | None, digits: int = 2) -> str:
    """Write a difference with its sign, minus as a minus; a dash for None and NaN."""
    return NOTHING if value is None or value != value else f"{value:+.{digits}f}".replace("-", "−")


GENERATOR_MARK = b'<meta name="generator" content="bdd100k-zoo '
"""Stands near the beginning of every page of ours."""


def check_page_replaceable(path: Path) -> None:
    """See that nothing but a page of ours stands under a name; raises OtherFilesError, StorageError."""
    with storage_errors(path):
        if not path.exists():
            return
        with path.open("rb") as file:
            start = file.read(4096)
    if GENERATOR_MARK not in start:
        raise FilesExistError(path.parent, (path,))


REPORT_EXTRA = "report"
"""The extra that installs what pages need."""
TEMPLATES = "html"


def render_page(template: str, *parts: str, **values: object) -> bytes:
    """Render a page; the same values give the same bytes.

    Args:
        template: its name among the templates of this package; it extends ``page.html``, which wants ``title``.
        parts: style sheets and scripts of its own, beside ``page.css`` and ``page.js``.
        values: what the template wants. Strings are escaped; of ``markup`` they are taken as they are.

    Raises:
        MissingPackageError: Jinja2 is not installed.
    """
    style, script = style_sheet() + _files(".css", parts), _files(".js", parts)
    frame = {"style": markup(style), "script": markup(script), "policy": _policy(style, script), "version": __version__}
    page: str = _environment().get_template(template).render(**frame, **values)
    return page.encode()


def markup(html: str) -> object:
    """Mark HTML of our own making as fit for a page; raises MissingPackageError."""
    _environment()
    from markupsafe import Markup

    return Markup(html)  # noqa: S704  (callers give what this package has made)


def data_url(content: bytes, kind: str) -> str:
    """Give an address that holds a picture itself; ``kind`` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _file(name: str) -> str:
    return (files(__package__) / TEMPLATES / name).read_text(encoding="utf-8")


def _files(suffix: str, parts: Sequence[str]) -> str:
    return "".join(f"\n{_file(name)}" for name in (f"page{suffix}", *parts) if name.endswith(suffix))


def _policy(style: str, script: str) -> str:
    allowed = {
        "default-src": "'none'",
        "style-src": _digest(style),
        "script-src": _digest(script),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {sources}" for name, sources in allowed.items())


def _digest(content: str) -> str:
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
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": format_percent, "signed": format_signed, "shortened": truncate_middle}
    return environment


def _finalize(value: object) -> object:
    """Let nothing through unseen; markup of our own is no text from a file."""
    return escape_unprintable(value) if type(value) is str else value
