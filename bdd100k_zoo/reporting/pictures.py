"""Boxes drawn into images: pixels and marks → pixels. Nothing but Pillow is used, its font included.

Lines run around a box and leave what is in it open to view. What a labelled object or a detection has come to is told
twice, by colour and by the kind of line.
"""

from __future__ import annotations

from functools import lru_cache
from math import isfinite, sqrt
from typing import TYPE_CHECKING, Literal, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.reporting.colours import (
    CLASS_COLOURS,
    DARK_COLOUR,
    FALSE_COLOUR,
    IGNORED_COLOUR,
    LIGHT_COLOUR,
    MISSED_COLOUR,
    TRUE_COLOUR,
    Colour,
    ink_on,
)
from bdd100k_zoo.reporting.label_placement import Area, OccupancyMap, Size, place_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

DRAWING_VERSION = 1
"""Of the way in which pictures are drawn: another number, other pictures."""

MarkKind = Literal["detection", "true", "false", "uncounted", "found", "missed", "region"]
"""What a mark is: a detection that nothing is known of; one that is a true or a false positive, or that does not count;
a labelled object that was found or missed, or a region to ignore."""


class BoxMark(NamedTuple):
    """One box to draw."""

    box: tuple[float, float, float, float]
    """Left, top, right and bottom side, in pixels; a box of 10 pixels from the left border is 0 to 10."""
    category: int
    """Index into ``categories.CLASSES``."""
    score: float | None
    """0 to 1; None for a labelled object."""
    kind: MarkKind


class MarkStyle(NamedTuple):
    """How a kind of mark is drawn."""

    colour: Colour | None
    """None for the class's own."""
    dash: tuple[float, float] | None
    """Length of dashes and of gaps, in widths of the line; None for a whole line."""
    width: float
    """Of the line, relative to the usual one."""
    is_named: bool
    """Whether it has a label."""
    is_quiet: bool
    """Whether the label is dark, so that others catch the eye."""
    legend: str
    """What the legend calls it; empty where it is not mentioned."""


MARK_STYLES: dict[MarkKind, MarkStyle] = {
    "region": MarkStyle(IGNORED_COLOUR, (1, 3), 0.5, is_named=True, is_quiet=True, legend="ignored"),
    "found": MarkStyle(LIGHT_COLOUR, None, 0.5, is_named=False, is_quiet=True, legend="its label"),
    "uncounted": MarkStyle(IGNORED_COLOUR, (1, 3), 0.5, is_named=False, is_quiet=True, legend=""),
    "detection": MarkStyle(None, None, 1, is_named=True, is_quiet=False, legend=""),
    "true": MarkStyle(TRUE_COLOUR, None, 1, is_named=True, is_quiet=True, legend="matched"),
    "missed": MarkStyle(MISSED_COLOUR, (1.5, 1.5), 1, is_named=True, is_quiet=False, legend="missed"),
    "false": MarkStyle(FALSE_COLOUR, (5, 3), 1, is_named=True, is_quiet=False, legend="false"),
}
"""By kind; the later ones lie on top."""
_ORDER = {kind: place for place, kind in enumerate(MARK_STYLES)}


class DrawingSizes(NamedTuple):
    """Sizes of what is drawn into a picture, in pixels; they grow with its side."""

    line: int
    text: int

    @classmethod
    def of(cls, width: int, height: int) -> DrawingSizes:
        """Give those for a picture; a frame of 1280×720 has lines of 2 pixels and text of 13."""
        scale = sqrt(width * height / (1280 * 720))
        return cls(max(round(2 * scale), 1), max(round(13 * scale), 9))


def draw_boxes(image: Image.Image, marks: Iterable[BoxMark], legend: str | None = None) -> Image.Image:
    """Draw marks into a copy of an image.

    Args:
        image: in RGB.
        marks: in any order. What lies outside the image is left out.
        legend: what to say at the end of a legend below the image, which counts each kind of mark; None for no legend.
    """
    measures = DrawingSizes.of(*image.size)
    seen = [DrawnMark(mark, area) for mark in marks if (area := _area_of(mark.box, *image.size))]
    seen.sort(key=lambda each: (_ORDER[each.mark.kind], each.mark.score or 0))
    items = [] if legend is None else _legend_items([mark for mark, _ in seen], legend)
    strip = _Strip(items, image.size, measures)
    picture = Image.new("RGB", (image.width, image.height + strip.height), DARK_COLOUR)
    picture.paste(image)
    pen = ImageDraw.Draw(picture)
    drawn = [DrawnMark(mark, _draw_box(pen, mark, area, measures, image.size)) for mark, area in seen]
    _draw_labels(picture, pen, drawn, measures, image.size)
    strip.draw(pen)
    return picture


class DrawnMark(NamedTuple):
    """A mark and where it is."""

    mark: BoxMark
    area: Area


def _area_of(box: tuple[float, float, float, float], width: int, height: int) -> Area | None:
    """Give the whole pixels that a box covers in the image, one at least; None for one that lies outside."""
    if not all(map(isfinite, box)):
        return None
    left, top, right, bottom = box
    if left >= width or top >= height or right <= 0 or bottom <= 0 or right < left or bottom < top:
        return None
    first, above = min(max(round(left), 0), width - 1), min(max(round(top), 0), height - 1)
    return Area(first, above, max(min(round(right), width), first + 1), max(min(round(bottom), height), above + 1))


def _draw_box(
    pen: ImageDraw.ImageDraw, mark: BoxMark, area: Area, measures: DrawingSizes, size: tuple[int, int]
) -> Area:
    """Draw the line around a box upon a darker, wider one, and give what both cover."""
    style = MARK_STYLES[mark.kind]
    width = max(round(measures.line * style.width), 1)
    line = _grown(area, width, size)
    edge = max(measures.line // 2, 1)
    shade = _grown(line, edge, size)
    pen.rectangle(_corners(shade), outline=DARK_COLOUR, width=width + edge)
    colour = style.colour or CLASS_COLOURS[mark.category]
    if style.dash is None:
        pen.rectangle(_corners(line), outline=colour, width=width)
    else:
        for dash in _dashes(line, width, style.dash):
            pen.rectangle(_corners(dash), fill=colour)
    return shade


def _grown(area: Area, by: int, size: tuple[int, int]) -> Area:
    """Give an area that is larger on every side, as far as the picture goes."""
    width, height = size
    left, top = max(area.left - by, 0), max(area.top - by, 0)
    return Area(left, top, min(area.right + by, width), min(area.bottom + by, height))


def _shrunk(area: Area, by: int) -> Area:
    """Give an area that is smaller on every side, of one pixel at least."""
    left, top = min(area.left + by, area.right - 1), min(area.top + by, area.bottom - 1)
    return Area(left, top, max(area.right - by, left + 1), max(area.bottom - by, top + 1))


def _corners(area: Area) -> tuple[int, int, int, int]:
    """Give the area as Pillow wants it: with the last pixels."""
    return area.left, area.top, area.right - 1, area.bottom - 1


def _dashes(area: Area, width: int, dash: tuple[float, float]) -> Iterator[Area]:
    """Cut the line around an area into dashes; each corner has one."""
    long, gap = max(round(dash[0] * width), 1), max(round(dash[1] * width), 1)
    for first, last in _cuts(area.left, area.right, long, gap):
        yield Area(first, area.top, last, min(area.top + width, area.bottom))
        yield Area(first, max(area.bottom - width, area.top), last, area.bottom)
    for first, last in _cuts(area.top, area.bottom, long, gap):
        yield Area(area.left, first, min(area.left + width, area.right), last)
        yield Area(max(area.right - width, area.left), first, area.right, last)


def _cuts(first: int, last: int, long: int, gap: int) -> Iterator[tuple[int, int]]:
    """Give the dashes of one side, spread so that it begins and ends with one."""
    number = max((last - first - long) // (long + gap), 1)
    step = (last - first - long) / number
    for turn in range(number + 1):
        begin = max(round(first + turn * step), first)
        yield begin, min(begin + long, last)


# Labels ---------------------------------------------------------------------------------------------------------------


def _draw_labels(
    picture: Image.Image,
    pen: ImageDraw.ImageDraw,
    drawn: Sequence[DrawnMark],
    measures: DrawingSizes,
    size: tuple[int, int],
) -> None:
    """Put a label to every box that has one, the most certain first; lines to boxes lie below all labels."""
    labels, objects = OccupancyMap(*size, measures.line), OccupancyMap(*size, measures.line)
    for _, area in drawn:
        if min(area.width, area.height) < 3 * measures.text:
            objects.cover(_shrunk(area, measures.line))
    named = [each for each in drawn if MARK_STYLES[each.mark.kind].is_named]
    named.sort(key=lambda each: (-_ORDER[each.mark.kind], -(each.mark.score or 0)))
    plates = []
    for mark, area in named:
        forms = [_plate(text, mark.category, mark.kind, measures) for text in _texts(mark)]
        found = place_label(area, [Size(*form.size) for form in forms], labels, objects)
        labels.cover(found.area)
        if found.is_apart:
            _draw_leader(pen, area, found.area, mark, measures)
        plates.append((forms[found.form], found.area[:2]))
    for plate, corner in plates:
        picture.paste(plate, corner)


def _texts(mark: BoxMark) -> tuple[str, ...]:
    """Give what a label says, at length and in short."""
    name = CLASSES[mark.category]
    if mark.kind == "region":
        return (f"{name}, ignored",)
    if mark.score is None:
        return (name,)
    percent = f"{100 * mark.score:.0f}%"
    return f"{name} {percent}", percent


@lru_cache(maxsize=4096)
def _plate(text: str, category: int, kind: MarkKind, measures: DrawingSizes) -> Image.Image:
    """Draw a label: on the class's colour; where the kind has a colour of its own, on that, beside the class's."""
    font, style = _font(measures.text), MARK_STYLES[kind]
    space, chip = max(measures.text // 4, 2), max(measures.text // 2, 4) if style.colour else 0
    ascent, descent = font.getmetrics()
    ground = (DARK_COLOUR if style.is_quiet else style.colour) or CLASS_COLOURS[category]
    plate = Image.new("RGB", (chip + 2 * space + round(font.getlength(text)), ascent + descent), ground)
    pen = ImageDraw.Draw(plate)
    if chip:
        pen.rectangle((0, 0, chip, plate.height - 1), fill=DARK_COLOUR)
        pen.rectangle((0, 0, chip - measures.line, plate.height - 1), fill=CLASS_COLOURS[category])
    pen.text((chip + space, 0), text, fill=ink_on(ground), font=font)
    return plate


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Give Pillow's own font; laid out by FreeType alone, as it is everywhere."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101  (it is, where a size is given)
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)


def _draw_leader(pen: ImageDraw.ImageDraw, box: Area, label: Area, mark: BoxMark, measures: DrawingSizes) -> None:
    """Lead from a label to its box."""
    colour = MARK_STYLES[mark.kind].colour or CLASS_COLOURS[mark.category]
    start = ((label.left + label.right) // 2, (label.top + label.bottom) // 2)
    end = (min(max(start[0], box.left), box.right - 1), min(max(start[1], box.top), box.bottom - 1))
    pen.line((*start, *end), fill=DARK_COLOUR, width=measures.line + 1)
    pen.line((*start, *end), fill=colour, width=max(measures.line // 2, 1))


# The legend -----------------------------------------------------------------------------------------------------------


class _Item(NamedTuple):
    """A piece of the legend: a sample of a line, and what it means."""

    kind: MarkKind | None
    """None for words alone."""
    text: str


def _legend_items(marks: Sequence[BoxMark], note: str) -> list[_Item]:
    """Count the marks of each kind that was asked about; what there is none of is told of the chief kinds alone."""
    counts = {kind: sum(mark.kind == kind for mark in marks) for kind in MARK_STYLES}
    items = [_Item(kind, f"{counts[kind]} {MARK_STYLES[kind].legend}") for kind in ("true", "false", "missed")]
    if counts["region"]:
        items.append(_Item("region", f"{counts['region']} {MARK_STYLES['region'].legend}"))
    if counts["found"]:
        items.insert(1, _Item("found", MARK_STYLES["found"].legend))
    return [*items, _Item(None, note)]


class _Strip:
    """The legend, laid out in as many rows below a picture as it takes."""

    def __init__(self, items: Sequence[_Item], size: tuple[int, int], measures: DrawingSizes) -> None:
        self._measures, self._font = measures, _font(measures.text)
        self._top, self._sample, self._gap = size[1], 2 * measures.text, measures.text
        self._row = 2 * sum(self._font.getmetrics())
        self._placed: list[tuple[_Item, int, int]] = []
        x, row = self._gap, 0
        for item in items:
            if x > self._gap and x + self._width(item) > size[0]:
                x, row = self._gap, row + 1
            self._placed.append((item, x, row))
            x += self._width(item) + self._gap
        self.height = (row + 1) * self._row if items else 0
        """In pixels."""

    def draw(self, pen: ImageDraw.ImageDraw) -> None:
        """Draw it below the picture."""
        for item, x, row in self._placed:
            top = self._top + row * self._row
            if item.kind:
                self._draw_sample(pen, MARK_STYLES[item.kind], x, top + self._row // 2)
            ink = LIGHT_COLOUR if item.kind else IGNORED_COLOUR
            pen.text((x + self._lead(item), top + self._row // 4), item.text, fill=ink, font=self._font)

    def _lead(self, item: _Item) -> int:
        return self._sample + self._measures.text // 2 if item.kind else 0

    def _width(self, item: _Item) -> int:
        return self._lead(item) + round(self._font.getlength(item.text)) + self._gap

    def _draw_sample(self, pen: ImageDraw.ImageDraw, style: MarkStyle, x: int, middle: int) -> None:
        width = max(round(self._measures.line * style.width), 1)
        top = middle - width // 2
        long, gap = (max(round(part * width), 1) for part in style.dash or (self._sample, 1))
        for first, last in _cuts(x, x + self._sample, long, gap):
            pen.rectangle((first, top, last - 1, top + width - 1), fill=style.colour)
