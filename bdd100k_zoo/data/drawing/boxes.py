"""Boxes drawn into images: pixels and marks → pixels, with Pillow and its own font.

Lines run around a box and leave its contents visible. The outcome of a detection or a labelled object is shown twice,
by colour and by the kind of line.
"""

from __future__ import annotations

from functools import lru_cache
from math import isfinite, sqrt
from typing import TYPE_CHECKING, Literal, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.drawing.colours import (
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
from bdd100k_zoo.data.drawing.label_placement import Area, OccupancyMap, place_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

DRAWING_VERSION = 1
"""Version of the drawing code. It changes when the same marks give another picture, so that pictures are redrawn."""

MarkKind = Literal["detection", "true", "false", "uncounted", "found", "missed", "region"]
"""A detection without labels; a true positive, a false positive, or a detection that is not counted; a labelled object
that was found or missed, or a region to ignore."""


class BoxMark(NamedTuple):
    """One box to draw."""

    box: tuple[float, float, float, float]
    """Left, top, right and bottom side, in pixels; the first ten columns of pixels are 0 to 10."""
    category: int
    """Index into ``data.classes.CLASSES``."""
    score: float | None
    """0 to 1; None for a labelled object."""
    kind: MarkKind


class MarkStyle(NamedTuple):
    """How a kind of mark is drawn."""

    colour: Colour | None
    """None for the colour of the class."""
    dash: tuple[float, float] | None
    """Length of dashes and of gaps, in widths of the line; None for a solid line."""
    width: float
    """Of the line, relative to ``DrawingSizes.line``."""
    is_named: bool
    """Whether it has a label."""
    is_quiet: bool
    """Whether the label is dark, so that other labels stand out."""
    legend: str
    """Name in the legend; empty where the legend does not mention it."""


MARK_STYLES: dict[MarkKind, MarkStyle] = {
    "region": MarkStyle(IGNORED_COLOUR, (1, 3), 0.5, is_named=True, is_quiet=True, legend="ignored"),
    "found": MarkStyle(LIGHT_COLOUR, None, 0.5, is_named=False, is_quiet=True, legend="its label"),
    "uncounted": MarkStyle(IGNORED_COLOUR, (1, 3), 0.5, is_named=False, is_quiet=True, legend=""),
    "detection": MarkStyle(None, None, 1, is_named=True, is_quiet=False, legend=""),
    "true": MarkStyle(TRUE_COLOUR, None, 1, is_named=True, is_quiet=True, legend="matched"),
    "missed": MarkStyle(MISSED_COLOUR, (1.5, 1.5), 1, is_named=True, is_quiet=False, legend="missed"),
    "false": MarkStyle(FALSE_COLOUR, (5, 3), 1, is_named=True, is_quiet=False, legend="false"),
}
"""By kind; later ones are drawn on top."""
_ORDER = {kind: place for place, kind in enumerate(MARK_STYLES)}


class DrawingSizes(NamedTuple):
    """Width of lines and size of text, in pixels; they grow with the picture."""

    line: int
    text: int

    @classmethod
    def of(cls, width: int, height: int) -> DrawingSizes:
        """Return the sizes for a picture; one of 1280×720 has lines of 2 pixels and text of 13."""
        scale = sqrt(width * height / (1280 * 720))
        return cls(max(round(2 * scale), 1), max(round(13 * scale), 9))


def draw_boxes(image: Image.Image, marks: Iterable[BoxMark], legend: str | None = None) -> Image.Image:
    """Draw marks into a copy of an image.

    Args:
        image: in RGB.
        marks: in any order. Boxes outside the image are left out.
        legend: text at the end of a legend below the image, which counts each kind of mark; None for no legend.
    """
    sizes = DrawingSizes.of(*image.size)
    seen = [(mark, area) for mark in marks if (area := _area_of(mark.box, *image.size))]
    seen.sort(key=lambda each: (_ORDER[each[0].kind], each[0].score or 0))
    items = [] if legend is None else _legend_items([mark for mark, _ in seen], legend)
    strip = _LegendStrip(items, image.size, sizes)
    picture = Image.new("RGB", (image.width, image.height + strip.height), DARK_COLOUR)
    picture.paste(image)
    pen = ImageDraw.Draw(picture)
    drawn = [(mark, _draw_box(pen, mark, area, sizes, image.size)) for mark, area in seen]
    _draw_labels(picture, pen, drawn, sizes, image.size)
    strip.draw(pen)
    return picture


def _area_of(box: tuple[float, float, float, float], width: int, height: int) -> Area | None:
    """Return the pixels that a box covers in the image, at least one; None for a box outside."""
    if not all(map(isfinite, box)):
        return None
    left, top, right, bottom = box
    if left >= width or top >= height or right <= 0 or bottom <= 0 or right < left or bottom < top:
        return None
    x, y = min(max(round(left), 0), width - 1), min(max(round(top), 0), height - 1)
    return Area(x, y, max(min(round(right), width), x + 1), max(min(round(bottom), height), y + 1))


def _draw_box(pen: ImageDraw.ImageDraw, mark: BoxMark, area: Area, sizes: DrawingSizes, size: tuple[int, int]) -> Area:
    """Draw the line around a box on a darker, wider one; return the area that both enclose."""
    style = MARK_STYLES[mark.kind]
    width = max(round(sizes.line * style.width), 1)
    edge = max(sizes.line // 2, 1)
    line = _grow(area, width, size)
    shade = _grow(line, edge, size)
    pen.rectangle(_corners(shade), outline=DARK_COLOUR, width=width + edge)
    colour = style.colour or CLASS_COLOURS[mark.category]
    if style.dash is None:
        pen.rectangle(_corners(line), outline=colour, width=width)
    else:
        for dash in _dashes(line, width, style.dash):
            pen.rectangle(_corners(dash), fill=colour)
    return shade


def _grow(area: Area, by: int, size: tuple[int, int]) -> Area:
    """Return an area that is larger on every side, as far as the picture goes."""
    left, top = max(area.left - by, 0), max(area.top - by, 0)
    return Area(left, top, min(area.right + by, size[0]), min(area.bottom + by, size[1]))


def _corners(area: Area) -> tuple[int, int, int, int]:
    """Return the area as Pillow takes it, with inclusive right and bottom."""
    return area.left, area.top, area.right - 1, area.bottom - 1


def _dashes(area: Area, width: int, dash: tuple[float, float]) -> Iterator[Area]:
    """Yield the dashes of the line around an area; each corner has one."""
    long, gap = max(round(dash[0] * width), 1), max(round(dash[1] * width), 1)
    for first, last in _cuts(area.left, area.right, long, gap):
        yield Area(first, area.top, last, min(area.top + width, area.bottom))
        yield Area(first, max(area.bottom - width, area.top), last, area.bottom)
    for first, last in _cuts(area.top, area.bottom, long, gap):
        yield Area(area.left, first, min(area.left + width, area.right), last)
        yield Area(max(area.right - width, area.left), first, area.right, last)


def _cuts(first: int, last: int, long: int, gap: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of the dashes of one side, spread so that it begins and ends with a dash."""
    number = max((last - first - long) // (long + gap), 1)
    step = (last - first - long) / number
    for dash in range(number + 1):
        begin = max(round(first + dash * step), first)
        yield begin, min(begin + long, last)


# Labels ---------------------------------------------------------------------------------------------------------------


def _draw_labels(
    picture: Image.Image,
    pen: ImageDraw.ImageDraw,
    drawn: Sequence[tuple[BoxMark, Area]],
    sizes: DrawingSizes,
    size: tuple[int, int],
) -> None:
    """Draw the labels of all boxes that have one, the highest score first; lines to boxes lie below all labels."""
    labels, objects = OccupancyMap(*size, sizes.line), OccupancyMap(*size, sizes.line)
    for _, area in drawn:
        if min(area.width, area.height) < 3 * sizes.text:  # labels should not hide small objects
            left, top = min(area.left + sizes.line, area.right - 1), min(area.top + sizes.line, area.bottom - 1)
            right, bottom = max(area.right - sizes.line, left + 1), max(area.bottom - sizes.line, top + 1)
            objects.cover(Area(left, top, right, bottom))
    named = [(mark, area) for mark, area in drawn if MARK_STYLES[mark.kind].is_named]
    named.sort(key=lambda each: (-_ORDER[each[0].kind], -(each[0].score or 0)))
    plates = []
    for mark, area in named:
        forms = [_plate(text, mark.category, mark.kind, sizes) for text in _label_texts(mark)]
        found = place_label(area, [form.size for form in forms], labels, objects)
        labels.cover(found.area)
        if found.is_apart:
            _draw_leader(pen, area, found.area, mark, sizes)
        plates.append((forms[found.form], found.area[:2]))
    for plate, corner in plates:
        picture.paste(plate, corner)


def _label_texts(mark: BoxMark) -> tuple[str, ...]:
    """Return the text of a label, the long form first."""
    name = CLASSES[mark.category]
    if mark.kind == "region":
        return (f"{name}, ignored",)
    if mark.score is None:
        return (name,)
    percent = f"{100 * mark.score:.0f}%"
    return f"{name} {percent}", percent


@lru_cache(maxsize=4096)
def _plate(text: str, category: int, kind: MarkKind, sizes: DrawingSizes) -> Image.Image:
    """Draw a label on the colour of the class, or of the kind, if it has one, beside a chip of that of the class."""
    font, style = _font(sizes.text), MARK_STYLES[kind]
    space, chip = max(sizes.text // 4, 2), max(sizes.text // 2, 4) if style.colour else 0
    ground = (DARK_COLOUR if style.is_quiet else style.colour) or CLASS_COLOURS[category]
    plate = Image.new("RGB", (chip + 2 * space + round(font.getlength(text)), sum(font.getmetrics())), ground)
    pen = ImageDraw.Draw(plate)
    if chip:
        pen.rectangle((0, 0, chip, plate.height - 1), fill=DARK_COLOUR)
        pen.rectangle((0, 0, chip - sizes.line, plate.height - 1), fill=CLASS_COLOURS[category])
    pen.text((chip + space, 0), text, fill=ink_on(ground), font=font)
    return plate


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Return Pillow's own font, laid out by FreeType alone: Raqm, where installed, would place letters differently."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101  (load_default returns one where a size is given)
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)


def _draw_leader(pen: ImageDraw.ImageDraw, box: Area, label: Area, mark: BoxMark, sizes: DrawingSizes) -> None:
    """Draw a line from a label to its box."""
    colour = MARK_STYLES[mark.kind].colour or CLASS_COLOURS[mark.category]
    start = ((label.left + label.right) // 2, (label.top + label.bottom) // 2)
    end = (min(max(start[0], box.left), box.right - 1), min(max(start[1], box.top), box.bottom - 1))
    pen.line((*start, *end), fill=DARK_COLOUR, width=sizes.line + 1)
    pen.line((*start, *end), fill=colour, width=max(sizes.line // 2, 1))


# Legend ---------------------------------------------------------------------------------------------------------------


def _legend_items(marks: Sequence[BoxMark], note: str) -> list[tuple[MarkKind | None, str]]:
    """Return kinds of lines with their counts, regions and found objects only where there are any; then the note."""
    counts = {kind: sum(mark.kind == kind for mark in marks) for kind in MARK_STYLES}
    items: list[tuple[MarkKind | None, str]] = [
        (kind, f"{counts[kind]} {MARK_STYLES[kind].legend}") for kind in ("true", "false", "missed")
    ]
    if counts["region"]:
        items.append(("region", f"{counts['region']} {MARK_STYLES['region'].legend}"))
    if counts["found"]:
        items.insert(1, ("found", MARK_STYLES["found"].legend))
    return [*items, (None, note)]


class _LegendStrip:
    """The legend, laid out in as many rows below a picture as it needs."""

    def __init__(
        self, items: Sequence[tuple[MarkKind | None, str]], size: tuple[int, int], sizes: DrawingSizes
    ) -> None:
        self._line, self._font, self._top = sizes.line, _font(sizes.text), size[1]
        gap, self._sample = sizes.text, 2 * sizes.text
        self._row_height = 2 * sum(self._font.getmetrics())
        self._placed: list[tuple[MarkKind | None, str, int, int, int]] = []
        x, row = gap, 0
        for kind, text in items:
            offset = self._sample + sizes.text // 2 if kind else 0
            width = offset + round(self._font.getlength(text)) + gap
            if x > gap and x + width > size[0]:
                x, row = gap, row + 1
            self._placed.append((kind, text, x, offset, row))
            x += width + gap
        self.height = (row + 1) * self._row_height if items else 0
        """Pixels."""

    def draw(self, pen: ImageDraw.ImageDraw) -> None:
        """Draw it below the picture."""
        for kind, text, x, offset, row in self._placed:
            top = self._top + row * self._row_height
            if kind:
                self._draw_sample(pen, MARK_STYLES[kind], x, top + self._row_height // 2)
            ink = LIGHT_COLOUR if kind else IGNORED_COLOUR
            pen.text((x + offset, top + self._row_height // 4), text, fill=ink, font=self._font)

    def _draw_sample(self, pen: ImageDraw.ImageDraw, style: MarkStyle, x: int, middle: int) -> None:
        width = max(round(self._line * style.width), 1)
        top = middle - width // 2
        long, gap = (max(round(part * width), 1) for part in style.dash or (self._sample, 1))
        for first, last in _cuts(x, x + self._sample, long, gap):
            pen.rectangle((first, top, last - 1, top + width - 1), fill=style.colour)
