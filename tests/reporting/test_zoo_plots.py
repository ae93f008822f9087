"""Shapes and colours of families, and plots that lead to cards."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from test_colours import VISIONS, nearest

from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.reporting.colours import (
    DARK_THEME,
    FAMILY_COLOURS,
    LEAST_CONTRAST,
    LIGHT_THEME,
    contrast,
    parse_hex,
    shades,
)
from bdd100k_zoo.reporting.site import Group, Point, ap_plot, family_marker, speed_plot

POINTS = (
    Point("good_3x", "R-50 3x", family_marker(0), 33.0, 32.0),
    Point("fair_1x", "R-50 1x", family_marker(0), 30.0),
)


def area(shape: tuple[tuple[float, float], ...]) -> float:
    turned = (*shape[1:], shape[0])
    return abs(sum(x * w - y * v for (x, y), (v, w) in zip(shape, turned, strict=True))) / 2


def test_ten_families_differ_in_shape_and_forty_in_shape_or_colour() -> None:
    marks = [family_marker(family) for family in range(40)]
    assert len({mark.shape for mark in marks[:10]}) == 10
    assert len({mark.role for mark in marks[:8]}) == 8
    assert len(set(marks)) == 40


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("theme", [0, 1])
def test_the_families_of_the_zoo_are_told_apart_by_every_reader(theme: int, vision: str) -> None:
    assert len(load_zoo().families) == len(FAMILY_COLOURS)
    assert nearest(tuple(parse_hex(pair[theme]) for pair in FAMILY_COLOURS), vision) > 19


@pytest.mark.parametrize("family", range(10))
def test_no_family_looks_larger_than_another(family: int) -> None:
    assert area(family_marker(family).shape) == pytest.approx(3.14, rel=0.02)


@pytest.mark.parametrize("theme", [LIGHT_THEME, DARK_THEME])
def test_every_mark_stands_out_from_its_background(theme: dict[str, str]) -> None:
    colours = shades(theme)
    for family in range(8):
        assert contrast(parse_hex(colours[family_marker(family).role]), parse_hex(theme["back"])) >= LEAST_CONTRAST


def test_the_plot_tells_what_it_shows_and_leads_to_the_cards() -> None:
    root = ET.fromstring(ap_plot("plot", [Group("A <b>family</b> of $x^2$", POINTS)], (20, 40)))
    assert root.findtext("title") == "Box AP by family and model"
    told = "A <b>family</b> of $x^2$: R-50 3x 33.00 on val and 32.00 on test, R-50 1x 30.00 on val"
    assert root.findtext("desc") == told
    links = list(root.iter("a"))
    assert {link.get("href") for link in links} == {"#good_3x", "#fair_1x"}
    assert {link.findtext("title") for link in links} == {"good_3x", "fair_1x"}
    assert {link.get("tabindex") for link in links} == {"-1"}
    assert {link.get("target") for link in links} == {None}


def test_colours_are_roles_of_the_theme_and_no_styles_stand_in_the_drawing() -> None:
    fast = [point._replace(images_per_second=speed) for point, speed in zip(POINTS, (2.0, 90.0), strict=True)]
    for svg in (ap_plot("a", [Group("F", POINTS)], (20, 40)), speed_plot("b", "(GPU, fp16)", fast, fast)):
        assert "f-family0" in svg
        assert "style=" not in svg
        assert not re.search(r"#[0-9a-f]{6}", svg)


def test_references_within_a_drawing_bear_its_name() -> None:
    root = ET.fromstring(ap_plot("plot", [Group("F", POINTS)], (20, 40)))
    ids = {element.get("id") for element in root.iter()} - {None}
    uses = {element.get("href", "")[1:] for element in root.iter("use")}
    assert uses
    assert uses <= ids
    assert all(str(each).startswith("plot-") for each in ids)
