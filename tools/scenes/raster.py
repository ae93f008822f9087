"""Convex polygons → pixels, with soft edges; and textures, which are drawn once and used by every frame.

Each thing has a window of the frame, sampled ``fine`` times in both directions. A sample holds red, green, blue and 1
as four numbers of 16 bits, which one addition of 64 bits sums.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from tools.scenes.camera import HEIGHT, WIDTH
from tools.scenes.rng import Rng

if TYPE_CHECKING:
    from tools.scenes.camera import Floats, Wholes

Bytes = npt.NDArray[np.uint8]
Columns = npt.NDArray[np.int16]
Samples = npt.NDArray[np.uint64]
FOURFOLD = np.uint64(0x0001_0001_0001_0001)
"""Factor that repeats a 16-bit number four times."""


class Window(NamedTuple):
    """A part of the frame: columns left to right - 1, rows top to bottom - 1."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The window's place in an array of rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def fine(self) -> int:
        """How often a pixel is sampled in each direction: often where there are few pixels."""
        longer = max(self.bottom - self.top, self.right - self.left)
        return 4 if longer <= 40 else 3 if longer <= 96 else 2


class Patch(NamedTuple):
    """The part of its window that a thing covers."""

    window: Window
    colours: npt.NDArray[np.uint16]
    """[rows, columns, 4]: red, green, blue, summed over the samples of a pixel; how many of these are covered."""
    samples: int
    """In a pixel."""

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Pixels of which at least half is covered."""
        return np.asarray(self.colours[..., 3] * np.uint16(2) >= self.samples)


class Thing(NamedTuple):
    """A thing's polygons: those from ``start`` to ``end`` - 1."""

    number: int
    start: int
    end: int
    window: Window
    beyond: bool
    """Whether it extends beyond the frame."""


def find_things(polygons: Floats, things: Wholes) -> list[Thing]:
    """Find the things that the frame shows.

    Args:
        polygons: [n, corners, 2] in frame coordinates.
        things: [n]: the number of the thing of each; ascending.
    """
    if not len(things):
        return []
    starts = np.flatnonzero(np.diff(things, prepend=-1))
    low = np.minimum.reduceat(polygons.min(1), starts).tolist()
    high = np.maximum.reduceat(polygons.max(1), starts).tolist()
    found = []
    for index, (start, end) in enumerate(zip(starts.tolist(), [*starts[1:].tolist(), len(things)], strict=True)):
        (left, top), (right, bottom) = low[index], high[index]
        window = Window(max(int(left), 0), max(int(top), 0), min(int(right) + 1, WIDTH), min(int(bottom) + 1, HEIGHT))
        if window.left < window.right and window.top < window.bottom:
            beyond = left < -1 or top < -1 or right > WIDTH + 1 or bottom > HEIGHT + 1
            found.append(Thing(int(things[start]), start, end, window, beyond))
    return found


class Sheet:
    """The polygons of many things, cut into rows of samples, all at once."""

    def __init__(self, polygons: Floats, colours: Bytes, holes: npt.NDArray[np.bool_], things: list[Thing]) -> None:
        """Cut polygons [n, corners, 2], each convex, of colours [n, 3]; holes remove what was drawn before."""
        wide = np.ones((len(colours), 4), np.uint16)
        wide[:, :3] = colours
        wide[holes] = 0
        self._colours = wide.view(np.uint64)[:, 0]
        fits = _fits(len(polygons), things)
        samples = (polygons - fits[:, None, :2]) * fits[:, None, 2:3]
        low, high = samples.min(1), samples.max(1)
        size = fits[:, 3:]
        self._lefts = np.clip(np.floor(low[:, 0]), 0, size[:, 0]).astype(np.int64).tolist()
        self._rights = np.clip(np.ceil(high[:, 0]), 0, size[:, 0]).astype(np.int64).tolist()
        tops = np.clip(np.ceil(low[:, 1] - 0.5), 0, size[:, 1]).astype(np.int64)
        bottoms = np.maximum(np.clip(np.ceil(high[:, 1] - 0.5), 0, size[:, 1]).astype(np.int64), tops)
        self._tops, self._bottoms = tops.tolist(), bottoms.tolist()
        self._offsets = [0, *np.cumsum(bottoms - tops).tolist()]
        self._firsts, self._widths = _spans(samples, tops, bottoms - tops)

    def draw(self, thing: Thing) -> Patch:
        """Draw the polygons of a thing over one another."""
        window, fine = thing.window, thing.window.fine
        height, width = (window.bottom - window.top) * fine, (window.right - window.left) * fine
        samples = np.zeros((height, width), np.uint64)
        columns = np.arange(width, dtype=np.int16)
        for index in range(thing.start, thing.end):
            left, right = self._lefts[index], self._rights[index]
            spans = slice(self._offsets[index], self._offsets[index + 1])
            if left < right and spans.start < spans.stop:
                inside = (columns[left:right] - self._firsts[spans, None]).view(np.uint16) < self._widths[spans, None]
                area = samples[self._tops[index] : self._bottoms[index], left:right]
                np.copyto(area, self._colours[index], where=inside)
        return Patch(window, _summed(samples, fine), fine * fine)


def _fits(count: int, things: list[Thing]) -> Floats:
    """Return for each polygon its window's left and top, how fine it is, and the columns and rows of samples in it."""
    fits = np.zeros((count, 5))
    for thing in things:
        window, fine = thing.window, thing.window.fine
        columns, rows = (window.right - window.left) * fine, (window.bottom - window.top) * fine
        fits[thing.start : thing.end] = window.left, window.top, fine, columns, rows
    return fits


def _spans(polygons: Floats, tops: Wholes, counts: Wholes) -> tuple[Columns, npt.NDArray[np.uint16]]:
    """Return the first column and the number of columns of each row of each polygon, one polygon after the other."""
    firsts, widths = np.empty(int(counts.sum()), np.int16), np.empty(int(counts.sum()), np.uint16)
    owners = np.repeat(np.arange(len(polygons)), counts)
    rows = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts - tops, counts)
    four = (polygons[:, 4:] == polygons[:, 3:4]).all((1, 2))
    for group, corners in ((four, 4), (~four, polygons.shape[1])):
        edges = _edges(polygons[:, :corners])
        chosen = np.flatnonzero(group[owners])
        left, right = _ends(edges, owners[chosen], rows[chosen])
        first = np.clip(np.ceil(left - 0.5), -1, 8192)
        firsts[chosen] = first
        widths[chosen] = np.clip(np.ceil(right - 0.5) - first, 0, 16384)
    return firsts, widths


class _Edges(NamedTuple):
    """Lines through the edges of polygons, one column for each edge: x = at + slope * row."""

    at: Floats
    slope: Floats
    is_left: npt.NDArray[np.bool_]
    level: npt.NDArray[np.bool_]


def _edges(polygons: Floats) -> _Edges:
    x, y = polygons[..., 0], polygons[..., 1]
    next_x, next_y = np.roll(x, -1, 1), np.roll(y, -1, 1)
    products = x * next_y - next_x * y
    clockwise = sum(products[:, edge] for edge in range(1, x.shape[1])) + products[:, 0] > 0
    fall = next_y - y
    level = fall == 0
    slope = (next_x - x) / np.where(level, 1.0, fall)
    return _Edges(x - (y - 0.5) * slope, slope, (fall < 0) == clockwise[:, None], level)


def _ends(edges: _Edges, owners: Wholes, rows: Wholes) -> tuple[Floats, Floats]:
    """Return where each row of a polygon begins and ends."""
    left, right = np.full(len(owners), -np.inf), np.full(len(owners), np.inf)
    for at, slope, is_left, level in zip(*(column.T for column in edges), strict=True):
        x = at.take(owners) + slope.take(owners) * rows
        np.maximum(left, x, out=left, where=(is_left & ~level).take(owners))
        np.minimum(right, x, out=right, where=(~is_left & ~level).take(owners))
    return left, right


def _summed(samples: Samples, fine: int) -> npt.NDArray[np.uint16]:
    """Sum the colours of each pixel's samples, four sums of 16 bits at once."""
    rows = samples[::fine]
    for index in range(1, fine):
        rows = rows + samples[index::fine]
    colours = rows[:, ::fine]
    for index in range(1, fine):
        colours = colours + rows[:, index::fine]
    return np.ascontiguousarray(colours).view(np.uint16).reshape(*colours.shape, 4)


def put(frame: Bytes, patch: Patch) -> None:
    """Draw a patch over a frame of [rows, columns, 4]."""
    under = _under(frame, patch.window)
    mixed = _free(patch, patch.samples)
    mixed *= under
    mixed += patch.colours.reshape(mixed.shape)
    under[...] = mixed // np.uint16(patch.samples)


def darken(frame: Bytes, patch: Patch) -> None:
    """Halve the brightness of a frame where a patch covers it."""
    under = _under(frame, patch.window)
    mixed = _free(patch, 2 * patch.samples)
    mixed *= under
    under[...] = mixed // np.uint16(2 * patch.samples)


def _under(frame: Bytes, window: Window) -> Bytes:
    """Return the bytes of a window, [rows, 4 x columns]: numpy processes long rows faster than short pixels."""
    return frame.reshape(len(frame), -1)[window.top : window.bottom, 4 * window.left : 4 * window.right]


def _free(patch: Patch, samples: int) -> npt.NDArray[np.uint16]:
    """Return the number of samples that are not covered, once for each byte of a pixel."""
    free = (np.uint16(samples) - patch.colours[..., 3]).astype(np.uint64) * FOURFOLD
    return np.asarray(free.view(np.uint16))


Packed = npt.NDArray[np.uint32]
SIDE = 256
"""Rows and columns of a square texture; a power of two."""
LEVELS = 32
"""Levels of brightness in textures of the ground."""
SPARE = 32
"""Rows and columns by which the camera's noise can be moved."""


def packed(colours: Floats) -> Packed:
    """Return colours [..., 3] as one number each, which as four bytes is red, green, blue and 0."""
    wide = np.zeros((*colours.shape[:-1], 4), np.uint8)
    wide[..., :3] = np.clip(colours, 0, 240).astype(np.uint8)
    return np.asarray(wide.view(np.uint32)[..., 0])


@lru_cache(maxsize=8)
def grain(number: int) -> npt.NDArray[np.int16]:
    """Return the unevenness of a surface: [SIDE, SIDE], from 0 to 7, in patches and points."""
    rng = Rng((1, number))
    points = rng.integers(256, (SIDE, SIDE))
    patches = blurred(rng.integers(4096, (SIDE, SIDE)), 12)
    low, high = int(patches.min()), int(patches.max())
    mixed = points * 3 + (patches - low) * 255 * 5 // (high - low)
    return (mixed * 8 // (255 * 8 + 8)).astype(np.int16)


@lru_cache(maxsize=1)
def clouds() -> npt.NDArray[np.int16]:
    """Return clouds: [SIDE, 4 * SIDE], from 0 to 255, the same at the left and right end."""
    rng = Rng((2,))
    total = np.zeros((SIDE, 4 * SIDE), np.int64)
    for radius, weight in ((40, 6), (18, 3), (7, 2), (2, 1)):
        layer = blurred(rng.integers(65536, total.shape), radius)
        low, high = int(layer.min()), int(layer.max())
        total += (layer - low) * 255 * weight // (high - low)
    low, high = int(total.min()), int(total.max())
    return ((total - low) * 255 // (high - low)).astype(np.int16)


@lru_cache(maxsize=4)
def noise(strength: int) -> Bytes:
    """Return the camera's noise, from 0 to ``strength`` - 1, for four bytes of each pixel."""
    values = Rng((3, strength)).integers(strength, (HEIGHT + SPARE, WIDTH + SPARE, 1)).astype(np.uint8)
    return np.repeat(values, 4, 2)


@lru_cache(maxsize=1)
def halo() -> npt.NDArray[np.uint16]:
    """Return the light around a lamp: [129, 129], 256 in the middle and 0 at the rim."""
    across = np.arange(-64, 65, dtype=np.float64) / 64
    distance = across[:, None] * across[:, None] + across * across
    fall = np.clip(1 - distance, 0, 1)
    return (256 * (fall * fall * 0.35 + fall * fall * fall * fall * fall * fall * fall * fall * 0.65)).astype(np.uint16)


def blurred(values: npt.NDArray[np.int64], radius: int) -> npt.NDArray[np.int64]:
    """Sum over squares of ``radius``, wrapping around at the edges; twice, so that no squares are visible."""
    for axis in (0, 1, 0, 1):
        around = np.concatenate((_tail(values, axis, radius + 1), values, _head(values, axis, radius)), axis)
        sums = np.cumsum(around, axis)
        length = values.shape[axis]
        values = np.take(sums, np.arange(2 * radius + 1, 2 * radius + 1 + length), axis) - np.take(
            sums, np.arange(length), axis
        )
        values = values // (2 * radius + 1)
    return values


def _tail(values: npt.NDArray[np.int64], axis: int, count: int) -> npt.NDArray[np.int64]:
    return np.take(values, np.arange(values.shape[axis] - count, values.shape[axis]), axis)


def _head(values: npt.NDArray[np.int64], axis: int, count: int) -> npt.NDArray[np.int64]:
    return np.take(values, np.arange(count), axis)
