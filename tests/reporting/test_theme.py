"""Colours: legible in both themes, and no two roles in one disguise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.reporting.colours import (
    DARK_THEME,
    LIGHT_THEME,
    ROLES,
    SENTINELS,
    contrast,
    format_hex,
    legible,
    parse_hex,
    sentinel,
    shades,
    style_sheet,
)

colours = st.tuples(*[st.integers(0, 255)] * 3)
THEMES = pytest.mark.parametrize("theme", [LIGHT_THEME, DARK_THEME], ids=["light", "dark"])


def mixed(theme: dict[str, str], role: str, share: float) -> tuple[int, int, int]:
    """A role's colour, so much of it, over the background: as the cells of a confusion matrix have it."""
    over, back = parse_hex(theme[role]), parse_hex(theme["back"])
    red, green, blue = (round(share * a + (1 - share) * b) for a, b in zip(over, back, strict=True))
    return red, green, blue


@THEMES
@pytest.mark.parametrize("role", ["text", "soft", "link", "good", "bad"])
@pytest.mark.parametrize("back", ["back", "raised"])
def test_text_stands_out_from_what_it_stands_on(theme: dict[str, str], role: str, back: str) -> None:
    assert contrast(parse_hex(theme[role]), parse_hex(theme[back])) >= 4.5


@THEMES
def test_numbers_stand_out_from_the_strongest_shade_of_a_cell(theme: dict[str, str]) -> None:
    assert contrast(parse_hex(theme["text"]), mixed(theme, "heat", 0.45)) >= 4.5


@THEMES
def test_lines_stand_out_from_the_background(theme: dict[str, str]) -> None:
    series = [role for role in ROLES if role.startswith(("class", "run"))]
    assert len(series) == 16
    for role in series:
        assert contrast(parse_hex(shades(theme)[role]), parse_hex(theme["back"])) >= 3, role


@given(colours, st.sampled_from([LIGHT_THEME["back"], DARK_THEME["back"]]))
def test_a_colour_is_moved_only_where_it_must_be(colour: tuple[int, int, int], back: str) -> None:
    shade = legible(colour, parse_hex(back))
    assert contrast(shade, parse_hex(back)) >= 3
    assert shade == colour or contrast(colour, parse_hex(back)) < 3


@given(colours)
def test_colours_are_written_and_read(colour: tuple[int, int, int]) -> None:
    assert parse_hex(format_hex(colour)) == colour


def test_each_role_has_a_colour_that_stands_for_it_and_rules_that_colour_it() -> None:
    sheet = style_sheet()
    assert [SENTINELS[sentinel(role)] for role in ROLES] == list(ROLES)
    for role in ROLES:
        assert sheet.count(f"--{role}:") == 2
        assert f".s-{role}{{stroke:var(--{role})}}" in sheet
