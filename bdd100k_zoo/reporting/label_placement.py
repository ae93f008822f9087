"""Where labels go: beside their boxes, in the picture, and not upon one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FARTHEST = 9
"""Heights of a label that it may be away from its box, at the end of a line."""


class Area(NamedTuple):
    """A rectangle of whole pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """In pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """In pixels."""
        return self.bottom - self.top


class Size(NamedTuple):
    """Of a label, in pixels."""

    width: int
    height: int


class LabelPlacement(NamedTuple):
    """Where a label goes, and which of its forms."""

    area: Area
    form: int
    """Which of the sizes that were offered."""
    is_apart: bool
    """Whether a line must lead from it to its box."""


class OccupancyMap:
    """What is covered of a picture, as a bit a cell in a number a row: whole rows are compared at once."""

    def __init__(self, width: int, height: int, cell: int = 1) -> None:
        """Begin with nothing covered; places are kept to cells of ``cell`` pixels."""
        self.width, self.height, self._cell = width, height, cell
        self._rows = [0] * ((height - 1) // cell + 1)

    def cover(self, area: Area) -> None:
        """Cover an area of the picture."""
        rows, mask = self._cells(area)
        for row in range(rows.start, rows.stop):
            self._rows[row] |= mask

    def covered(self, area: Area) -> int:
        """Count the cells of an area that are covered."""
        rows, mask = self._cells(area)
        return sum((row & mask).bit_count() for row in self._rows[rows])

    def is_free(self, area: Area) -> bool:
        """Whether nothing of an area is covered."""
        rows, mask = self._cells(area)
        return all(not row & mask for row in self._rows[rows])

    def _cells(self, area: Area) -> tuple[slice, int]:
        """Give the rows of an area, and its columns as a mask."""
        left, top, right, bottom = area
        cell = self._cell
        mask = (1 << (right - 1) // cell + 1) - (1 << left // cell)
        return slice(top // cell, min((bottom - 1) // cell + 1, len(self._rows))), mask


def place_label(box: Area, sizes: Sequence[Size], labels: OccupancyMap, objects: OccupancyMap) -> LabelPlacement:
    """Find a place for a label.

    It is beside the box where nothing is covered; else beside it where no other label is; else away from it, at the end
    of a line; else where the least of other labels is covered.

    Args:
        box: what the label is of, with the line around it.
        sizes: of the label's forms, the best first.
        labels: what other labels cover.
        objects: what labels should leave open to view.
    """
    free: LabelPlacement | None = None
    for form, size in enumerate(sizes):
        for area in _beside(box, size, labels):
            if labels.is_free(area):
                free = free or LabelPlacement(area, form, is_apart=False)
                if objects.is_free(area):
                    return LabelPlacement(area, form, is_apart=False)
    return free or next(_apart(box, sizes, labels), None) or _least(box, sizes, labels)


def _least(box: Area, sizes: Sequence[Size], labels: OccupancyMap) -> LabelPlacement:
    form = len(sizes) - 1
    area = min(_beside(box, sizes[form], labels), key=labels.covered)
    return LabelPlacement(area, form, is_apart=False)


def _beside(box: Area, size: Size, picture: OccupancyMap) -> Iterator[Area]:
    """Give the areas at the box's sides and within it, the best first; at least one."""
    (left, top, right, bottom), (width, height) = box, size
    is_wide = right - left >= width and bottom - top >= 3 * height
    along = (_into(left, width, picture.width), _into(right - width, width, picture.width))
    down = (_into(top, height, picture.height), _into(bottom - height, height, picture.height))
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


def _into(position: int, length: int, whole: int) -> int:
    """Move what is ``length`` long into the picture."""
    return max(min(position, whole - length), 0)


def _apart(box: Area, sizes: Sequence[Size], picture: OccupancyMap) -> Iterator[LabelPlacement]:
    """Give the free places farther and farther away from a box."""
    form = len(sizes) - 1
    width, height = sizes[form]
    for away in range(height, FARTHEST * height + 1, height):
        above, below, left, right = (
            box.top - height - away,
            box.bottom + away,
            box.left - width - away,
            box.right + away,
        )
        middle = (box.left + box.right - width) // 2
        for x, y in (
            *((x, y) for y in (above, below) for x in (box.left, middle, right, left)),
            *((x, y) for x in (right, left) for y in (box.top, box.bottom - height)),
        ):
            inside = 0 <= x <= picture.width - width and 0 <= y <= picture.height - height
            area = Area(x, y, x + width, y + height)
            if inside and picture.is_free(area):
                yield LabelPlacement(area, form, is_apart=True)
