"""Placement of labels: beside their boxes, inside the picture, and without overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_DISTANCE = 9
"""Largest distance of a label from its box, in heights of the label; a line joins them."""


class Area(NamedTuple):
    """A rectangle in pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels."""
        return self.bottom - self.top


Size = tuple[int, int]
"""Width and height of a label, in pixels."""


class LabelPlacement(NamedTuple):
    """The place of a label, and which of its forms to draw."""

    area: Area
    form: int
    """Index into the sizes."""
    is_apart: bool
    """Whether a line must join it to its box."""


class OccupancyMap:
    """The covered cells of a picture: an integer per row and a bit per cell, to compare rows quickly."""

    def __init__(self, width: int, height: int, cell: int = 1) -> None:
        """Start with nothing covered; cells are squares of ``cell`` pixels."""
        self.width, self.height, self._cell = width, height, cell
        self._rows = [0] * ((height - 1) // cell + 1)

    def cover(self, area: Area) -> None:
        """Cover an area of the picture."""
        rows, mask = self._cells(area)
        for row in range(rows.start, rows.stop):
            self._rows[row] |= mask

    def covered(self, area: Area) -> int:
        """Count the covered cells of an area."""
        rows, mask = self._cells(area)
        return sum((row & mask).bit_count() for row in self._rows[rows])

    def is_free(self, area: Area) -> bool:
        """Return whether nothing of an area is covered."""
        rows, mask = self._cells(area)
        return all(not row & mask for row in self._rows[rows])

    def _cells(self, area: Area) -> tuple[slice, int]:
        """Return the rows of an area, and its columns as a bit mask."""
        left, top, right, bottom = area
        cell = self._cell
        mask = (1 << (right - 1) // cell + 1) - (1 << left // cell)
        return slice(top // cell, min((bottom - 1) // cell + 1, len(self._rows))), mask


def place_label(box: Area, sizes: Sequence[Size], labels: OccupancyMap, objects: OccupancyMap) -> LabelPlacement:
    """Find a place for a label.

    In this order: beside the box where nothing is covered; beside it where no other label is; away from it, joined by a
    line; beside it where it covers the least of other labels.

    Args:
        box: what the label belongs to, with the line around it.
        sizes: of the label's forms, the best first.
        labels: what other labels cover.
        objects: what labels should leave visible.
    """
    free: LabelPlacement | None = None
    for form, size in enumerate(sizes):
        for area in _beside(box, size, labels):
            if labels.is_free(area):
                free = free or LabelPlacement(area, form, is_apart=False)
                if objects.is_free(area):
                    return LabelPlacement(area, form, is_apart=False)
    if free:
        return free
    last = len(sizes) - 1  # the shortest form
    if away := next(_apart(box, sizes[last], labels), None):
        return LabelPlacement(away, last, is_apart=True)
    return LabelPlacement(min(_beside(box, sizes[last], labels), key=labels.covered), last, is_apart=False)


def _beside(box: Area, size: Size, picture: OccupancyMap) -> Iterator[Area]:
    """Yield the areas at the box's sides and inside it, the best first; at least one."""
    (left, top, right, bottom), (width, height) = box, size
    is_wide = right - left >= width and bottom - top >= 3 * height
    along = (_clamp(left, width, picture.width), _clamp(right - width, width, picture.width))
    down = (_clamp(top, height, picture.height), _clamp(bottom - height, height, picture.height))
    if top >= height:
        yield from (Area(x, top - height, x + width, top) for x in along)
    if is_wide:
        yield from (Area(left, y, left + width, y + height) for y in down)
    if bottom + height <= picture.height:
        yield from (Area(x, bottom, x + width, bottom + height) for x in along)
    if right + width <= picture.width:
        yield from (Area(right, y, right + width, y + height) for y in down)
    if left >= width:
        yield from (Area(left - width, y, left, y + height) for y in down)
    yield Area(along[0], down[0], along[0] + width, down[0] + height)


def _clamp(position: int, length: int, limit: int) -> int:
    """Return the nearest position at which something ``length`` long is inside the picture."""
    return max(min(position, limit - length), 0)


def _apart(box: Area, size: Size, picture: OccupancyMap) -> Iterator[Area]:
    """Yield the free areas farther and farther away from a box."""
    width, height = size
    middle = (box.left + box.right - width) // 2
    for away in range(height, MAX_DISTANCE * height + 1, height):
        rows, columns = (box.top - height - away, box.bottom + away), (box.right + away, box.left - width - away)
        corners = [(x, y) for y in rows for x in (box.left, middle, columns[0], columns[1])]
        corners += [(x, y) for x in columns for y in (box.top, box.bottom - height)]
        for x, y in corners:
            area = Area(x, y, x + width, y + height)
            is_inside = 0 <= x <= picture.width - width and 0 <= y <= picture.height - height
            if is_inside and picture.is_free(area):
                yield area
