"""Drawn boxes, labels and legends, for images of any size and any marks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.drawing.boxes import MARK_STYLES, BoxMark, DrawingSizes, MarkKind, draw_boxes
from bdd100k_zoo.data.drawing.colours import CLASS_COLOURS, FALSE_COLOUR, MISSED_COLOUR, TRUE_COLOUR

GREY = (90, 90, 90)
CAR = CLASSES.index("car")


def blank(width: int = 1280, height: int = 720) -> Image.Image:
    return Image.new("RGB", (width, height), GREY)


def mark(*box: float, kind: MarkKind = "detection", score: float | None = 0.9, category: int = CAR) -> BoxMark:
    return BoxMark(box, category, score, kind)


def row(picture: Image.Image, y: int, left: int, right: int) -> list[tuple[int, ...]]:
    return [picture.getpixel((x, y)) for x in range(left, right)]


def test_a_box_has_a_line_around_it_and_its_inside_is_unchanged():
    picture = draw_boxes(blank(), [mark(200, 300, 400, 500)])
    inside = picture.crop((200, 300, 400, 500))
    assert inside.getcolors() == [(200 * 200, GREY)]
    assert row(picture, 400, 198, 200) == row(picture, 400, 400, 402) == [CLASS_COLOURS[CAR]] * 2
    assert picture.getpixel((300, 501)) == CLASS_COLOURS[CAR]
    assert picture.getpixel((100, 100)) == GREY


@pytest.mark.parametrize("category", range(len(CLASSES)))
def test_the_label_is_above_the_box_in_the_colour_of_the_class(category):
    picture = draw_boxes(blank(), [mark(200, 300, 400, 500, category=category)])
    label = picture.crop((198, 285, 240, 296))
    assert max(label.getcolors(1000))[1] == CLASS_COLOURS[category]
    assert len(label.getcolors(1000)) > 3


@pytest.mark.parametrize(("size", "line"), [((320, 180), 1), ((1280, 720), 2), ((3840, 2160), 6)])
def test_lines_and_text_grow_with_the_picture(size, line):
    measures = DrawingSizes.of(*size)
    assert measures.line == line
    assert measures.text == max(round(13 * size[0] / 1280), 9)


KINDS = {"true": TRUE_COLOUR, "false": FALSE_COLOUR, "missed": MISSED_COLOUR}


def side(kind: MarkKind) -> str:
    """The line at the left side of a box, pixel by pixel: ``#`` in the kind's colour."""
    picture = draw_boxes(blank(), [mark(200, 300, 400, 500, kind=kind, score=None if kind == "missed" else 0.9)])
    return "".join("#" if picture.getpixel((198, y)) == KINDS[kind] else "." for y in range(300, 500))


def test_outcomes_differ_in_colour_and_line():
    whole, dashed, dotted = side("true"), side("false"), side("missed")
    assert whole == "#" * 200
    dashes, dots = ({len(part) for part in line.strip(".").split(".") if part} for line in (dashed, dotted))
    assert min(dashes) > max(dots) >= 2
    assert "." in dashed
    assert len({KINDS[kind] for kind in KINDS}) == len(KINDS)


def test_a_legend_is_a_strip_below_that_counts_each_kind():
    marks = [mark(10, 10, 60, 60, kind="true"), mark(100, 10, 160, 60, kind="missed", score=None)]
    picture = draw_boxes(blank(), marks, "at IoU 0.5")
    assert picture.width == 1280
    assert 720 + 20 < picture.height < 720 + 60
    below = picture.crop((0, 720, 1280, picture.height))
    colours = {colour for _, colour in below.getcolors(10_000)}
    assert {TRUE_COLOUR, FALSE_COLOUR, MISSED_COLOUR} <= colours
    assert draw_boxes(blank(), marks).size == (1280, 720)
    assert ImageChops.difference(picture.crop((0, 0, 1280, 720)), draw_boxes(blank(), marks)).getbbox() is None


def test_a_narrow_picture_has_a_legend_of_several_rows():
    wide, narrow = (draw_boxes(blank(width, 180), [], "at IoU 0.5, score 30% and up") for width in (1200, 160))
    assert narrow.height - 180 > 2 * (wide.height - 180) * 9 / DrawingSizes.of(1200, 180).text


@pytest.mark.parametrize(
    "box",
    [
        (-50, -50, -10, -10),
        (1280, 0, 1300, 50),
        (0, 720, 50, 800),
        (float("nan"), 0, 10, 10),
        (0, 0, float("inf"), 10),
        (50, 50, 40, 60),
    ],
)
def test_boxes_outside_the_image_and_invalid_boxes_are_left_out(box):
    assert draw_boxes(blank(), [mark(*box)]).getcolors() == [(1280 * 720, GREY)]


def test_a_box_that_reaches_beyond_the_image_has_its_line_at_the_border():
    picture = draw_boxes(blank(), [mark(-100, 300, 2000, 2000)])
    assert picture.getpixel((0, 500)) == picture.getpixel((1279, 500)) == CLASS_COLOURS[CAR]
    assert picture.getpixel((600, 719)) == CLASS_COLOURS[CAR]


@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 200)),
    marks=st.lists(
        st.builds(
            BoxMark,
            st.tuples(*[st.one_of(st.floats(-50, 350), st.floats())] * 4),
            st.integers(0, 9),
            st.one_of(st.none(), st.floats(0, 1)),
            st.sampled_from(sorted(MARK_STYLES)),
        ),
        max_size=12,
    ),
    legend=st.one_of(st.none(), st.just("at IoU 0.5")),
)
@settings(max_examples=80, deadline=None)
def test_any_marks_can_be_drawn_into_any_image(size, marks, legend):
    image = blank(*size)
    picture = draw_boxes(image, marks, legend)
    assert picture.width == size[0]
    assert (picture.height == size[1]) == (legend is None)
    assert image.getcolors() == [(size[0] * size[1], GREY)]


def test_the_order_of_marks_makes_no_difference():
    marks = [mark(100 + 7 * n, 200 + 3 * n, 160 + 9 * n, 260 + 5 * n, score=n / 30, category=n % 10) for n in range(30)]
    first, second = draw_boxes(blank(), marks), draw_boxes(blank(), marks[::-1])
    assert first.tobytes() == second.tobytes()


def test_labels_of_a_crowd_do_not_cover_one_another():
    boxes = [(400 + 60 * (n % 6), 300 + 40 * (n // 6), 450 + 60 * (n % 6), 330 + 40 * (n // 6)) for n in range(24)]
    marks = [mark(*box, category=9, score=0.5) for box in boxes]
    picture = draw_boxes(blank(), marks)
    alone = draw_boxes(blank(), marks[:1])
    plate = sum(count for count, colour in alone.getcolors(10_000) if colour == CLASS_COLOURS[9])
    plates = sum(count for count, colour in picture.getcolors(10_000) if colour == CLASS_COLOURS[9])
    assert plates > 24 * plate * 0.4  # the short form is about half as long
