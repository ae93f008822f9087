"""The frame of a page: escaped, under a strict policy, the same bytes for the same values."""

from __future__ import annotations

import subprocess
import sys

import pytest
from documents import Document, check

pytest.importorskip("jinja2", reason="NOT TESTED: pages, as Jinja2 is not installed")

import jinja2

from bdd100k_zoo.reporting.page import data_url, markup, render_page

ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></script><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;",
    "-->]]>",
)


def document(title: str) -> Document:
    return Document(render_page("page.html", title=title))


@pytest.mark.parametrize("text", ATTACKS)
def test_text_is_shown_as_it_is_and_does_nothing(text: str) -> None:
    found = document(text)
    check(found)
    assert found.all("h1")[0].words == " ".join(text.split())
    assert found.all("title")[0].words == " ".join(text.split())


def test_control_and_bidi_characters_are_shown() -> None:
    found = document("a\x00b\x1b[2Jc\u202ed\u2066e\r\nf")
    assert found.all("h1")[0].words == "a⟨U+0000⟩b⟨U+001B⟩[2Jc⟨U+202E⟩d⟨U+2066⟩e⟨U+000D⟩⟨U+000A⟩f"


def test_the_same_values_give_the_same_bytes() -> None:
    assert render_page("page.html", title="x") == render_page("page.html", title="x")


def test_a_value_that_is_missing_is_an_error_and_no_gap() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render_page("page.html")


def test_markup_of_our_own_is_taken_as_it_is() -> None:
    assert "<b>x</b>" in render_page("page.html", title=markup("<b>x</b>")).decode()


def test_a_data_url_contains_the_picture() -> None:
    assert data_url(b"\xff\xd8", "image/jpeg") == "data:image/jpeg;base64,/9g="


@pytest.mark.parametrize(
    ("package", "told"), [("jinja2", "Jinja2"), ("matplotlib", "matplotlib"), ("hotcoco", "hotcoco")]
)
def test_a_missing_extra_is_an_error_with_the_install_command(package: str, told: str) -> None:
    start = f"import sys; sys.modules[{package!r}] = None; from bdd100k_zoo.cli.app import main; main()"
    command = [sys.executable, "-c", start, "report", "a.json", "--labels", "b.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert told in done.stderr
    assert "pip install 'bdd100k-zoo[report]'" in done.stderr
