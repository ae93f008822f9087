"""Text from files, escaped and formatted for a page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.reporting.page import escape_unprintable, format_percent, format_signed, truncate_middle


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a.jpg", "a.jpg"),
        ("ä 日本 שלום", "ä 日本 שלום"),
        ("a\x1b[31mb", "a⟨U+001B⟩[31mb"),
        ("photo\u202egpj.exe", "photo⟨U+202E⟩gpj.exe"),
        ("a\nb\tc", "a⟨U+000A⟩b⟨U+0009⟩c"),
        ("\ud800", "⟨U+D800⟩"),
        ("\u200b", "⟨U+200B⟩"),
    ],
)
def test_unprintable_characters_are_shown_as_code_points(text: str, shown: str) -> None:
    assert escape_unprintable(text) == shown


@given(st.text(alphabet=st.characters()))
def test_escaped_text_is_printable_and_encodable(text: str) -> None:
    assert escape_unprintable(text).isprintable()
    escape_unprintable(text).encode()


@given(st.text(max_size=50), st.integers(3, 60))
def test_a_long_text_keeps_both_ends(text: str, length: int) -> None:
    short = truncate_middle(text, length)
    assert len(short) <= length
    assert short == text or (short[0] == text[0] and short[-1] == text[-1] and "…" in short)


def test_numbers_have_fixed_digits_and_unknown_ones_are_a_dash() -> None:
    assert (format_percent(33.719), format_percent(0.1234, 3), format_percent(None), format_percent(float("nan"))) == (
        "33.72",
        "0.123",
        "–",
        "–",
    )
    assert (format_signed(1.5), format_signed(-0.25), format_signed(None), format_signed(float("nan"))) == (
        "+1.50",
        "−0.25",
        "–",
        "–",
    )
