"""Colours: their differences for every kind of vision, and the contrast of text on them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.drawing.colours import (
    CLASS_COLOURS,
    DARK_COLOUR,
    DARK_THEME,
    FALSE_COLOUR,
    IGNORED_COLOUR,
    LIGHT_COLOUR,
    LIGHT_THEME,
    MISSED_COLOUR,
    ROLES,
    SENTINELS,
    TRUE_COLOUR,
    Colour,
    contrast,
    format_hex,
    ink_on,
    legible,
    parse_hex,
    sentinel,
    shades,
    style_sheet,
)

VISIONS = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Of linear RGB, severity 1: Machado, Oliveira and Fernandes 2009, table 1."""
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = TO_XYZ.sum(axis=1)
OKABE_ITO = (
    (0, 0, 0),
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


def seen(colour: Colour, vision: str) -> np.ndarray:
    """A colour in CIELAB, as a reader sees it."""
    value = np.array(colour) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    ratios = TO_XYZ @ np.clip(np.array(VISIONS[vision]) @ linear, 0, 1) / WHITE
    x, y, z = np.where(ratios > 216 / 24389, np.cbrt(ratios), (24389 / 27 * ratios + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """CIEDE2000, after Sharma, Wu and Dalal 2005."""
    chroma = (np.hypot(*first[1:]) + np.hypot(*second[1:])) / 2
    stretch = 1.5 - 0.5 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    chromas = [np.hypot(each[1] * stretch, each[2]) for each in (first, second)]
    hues = [np.degrees(np.arctan2(each[2], each[1] * stretch)) % 360 for each in (first, second)]
    turn = (hues[1] - hues[0] + 180) % 360 - 180 if all(chromas) else 0.0
    lightness, chroma = (first[0] + second[0]) / 2, sum(chromas) / 2
    hue = sum(hues) if not all(chromas) else hues[0] + turn / 2
    weight = (
        1
        - 0.17 * np.cos(np.radians(hue - 30))
        + 0.24 * np.cos(np.radians(2 * hue))
        + 0.32 * np.cos(np.radians(3 * hue + 6))
        - 0.20 * np.cos(np.radians(4 * hue - 63))
    )
    in_lightness = (second[0] - first[0]) / (1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2))
    in_chroma = (chromas[1] - chromas[0]) / (1 + 0.045 * chroma)
    in_hue = 2 * np.sqrt(chromas[0] * chromas[1]) * np.sin(np.radians(turn) / 2) / (1 + 0.015 * chroma * weight)
    around_blue = 60 * np.exp(-(((hue % 360 - 275) / 25) ** 2))
    rotation = -2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7)) * np.sin(np.radians(around_blue))
    return float(np.sqrt(in_lightness**2 + in_chroma**2 + in_hue**2 + rotation * in_chroma * in_hue))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_distances_are_those_of_the_published_examples(first, second, expected):
    assert distance(np.array(first), np.array(second)) == pytest.approx(expected, abs=1e-4)


def nearest(colours: tuple[Colour, ...], vision: str) -> float:
    return min(distance(seen(first, vision), seen(second, vision)) for first, second in combinations(colours, 2))


@pytest.mark.parametrize("vision", VISIONS)
def test_any_two_class_colours_differ_for_every_kind_of_vision(vision):
    assert len(CLASS_COLOURS) == len(CLASSES)
    assert nearest(CLASS_COLOURS, vision) >= 16


def test_ten_colours_are_farther_apart_than_the_eight_of_okabe_and_ito():
    assert min(nearest(CLASS_COLOURS, vision) for vision in VISIONS) > 1.4 * min(
        nearest(OKABE_ITO, vision) for vision in VISIONS
    )


@pytest.mark.parametrize("vision", VISIONS)
def test_outcome_colours_differ_for_every_kind_of_vision(vision):
    assert nearest((TRUE_COLOUR, FALSE_COLOUR, MISSED_COLOUR, IGNORED_COLOUR, LIGHT_COLOUR, DARK_COLOUR), vision) >= 15


@pytest.mark.parametrize(
    "plate", [*CLASS_COLOURS, TRUE_COLOUR, FALSE_COLOUR, MISSED_COLOUR, IGNORED_COLOUR, DARK_COLOUR, LIGHT_COLOUR]
)
def test_text_has_enough_contrast_on_any_plate(plate):
    assert contrast(ink_on(plate), plate) >= 4.5


def test_contrast_is_that_of_wcag():
    assert contrast((0, 0, 0), (255, 255, 255)) == contrast((255, 255, 255), (0, 0, 0)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.005)


# Colours: legible in both themes, and no two roles in one disguise ---------------------------------------------------


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
def test_text_has_enough_contrast_with_its_background(theme: dict[str, str], role: str, back: str) -> None:
    assert contrast(parse_hex(theme[role]), parse_hex(theme[back])) >= 4.5


@THEMES
def test_numbers_have_enough_contrast_with_the_darkest_cell(theme: dict[str, str]) -> None:
    assert contrast(parse_hex(theme["text"]), mixed(theme, "heat", 0.45)) >= 4.5


@THEMES
def test_lines_have_enough_contrast_with_the_background(theme: dict[str, str]) -> None:
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


def test_each_role_has_a_placeholder_colour_and_css_rules() -> None:
    sheet = style_sheet()
    assert [SENTINELS[sentinel(role)] for role in ROLES] == list(ROLES)
    for role in ROLES:
        assert sheet.count(f"--{role}:") == 2
        assert f".s-{role}{{stroke:var(--{role})}}" in sheet
