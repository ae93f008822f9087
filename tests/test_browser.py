"""The browser that tests open pages in hears what pages do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from browser import Browser


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ('<img src="http://far.example/a.png">', ["http://far.example/a.png"]),
        ('<style>@import "https://far.example/a.css"</style>', ["https://far.example/a.css"]),
        ('<script>fetch("https://far.example/b").catch(() => {})</script>', ["https://far.example/b"]),
        ('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=">', []),
    ],
)
def test_a_request_is_heard(chromium: Browser, tmp_path: Path, body: str, asked: list[str]) -> None:
    (tmp_path / "page.html").write_text(f"<!doctype html><link rel=icon href='data:,'>{body}")
    with chromium.page(tmp_path / "page.html") as page:
        assert page.requests == asked


@pytest.mark.parametrize("script", ["console.error('oh')", "throw new Error('oh')", "document.querySelector('[')"])
def test_a_complaint_is_heard_unless_scripts_are_off(chromium: Browser, tmp_path: Path, script: str) -> None:
    (tmp_path / "page.html").write_text(f"<!doctype html><link rel=icon href='data:,'><script>{script}</script>")
    with chromium.page(tmp_path / "page.html") as page:
        assert page.complaints
    with chromium.page(tmp_path / "page.html", script=False) as page:
        assert not page.complaints


def test_a_page_that_is_too_wide_is_seen(chromium: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<!doctype html><div style='width: 500px'>wide")
    with chromium.page(tmp_path / "page.html", width=390) as page:
        assert page.overflow() > 0
