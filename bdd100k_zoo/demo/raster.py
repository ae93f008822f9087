"""Convex polygons → pixels, with soft edges.

A patch is a window of the frame, sampled ``fine`` times in both directions. Each sample holds the number of the polygon
that covers it; colours come last, so that much of the work is done on single bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.demo.camera import HEIGHT, WIDTH, Floats

Bytes = npt.NDArray[np.uint8]
Columns = npt.NDArray[np.int16]
HOLE = 0
"""The number of samples that nothing covers."""


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
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left


class Patch(NamedTuple):
    """What polygons cover of a window."""

    window: Window
    colours: npt.NDArray[np.uint16]
    """[rows, columns, 4]: red, green, blue, summed over the samples of a pixel; how many of these are covered."""
    samples: int
    """In a pixel."""

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Pixels that are covered by half or more."""
        return np.asarray(self.colours[..., 3] * np.uint16(2) >= self.samples)


def window_of(polygons: Floats) -> Window | None:
    """Give the part of the frame that polygons [n, corners, 2] touch; None where they touch none."""
    left, top = np.floor(polygons.min((0, 1))).astype(np.int64).tolist()
    right, bottom = np.ceil(polygons.max((0, 1))).astype(np.int64).tolist()
    window = Window(max(left, 0), max(top, 0), min(right, WIDTH), min(bottom, HEIGHT))
    return window if window.left < window.right and window.top < window.bottom else None


def fineness(window: Window) -> int:
    """Say how often to sample a pixel in each direction: often where there are few pixels."""
    longer = max(window.shape)
    return 4 if longer <= 64 else 3 if longer <= 140 else 2


def draw(polygons: Floats, numbers: npt.NDArray[np.int64], palette: Bytes, window: Window) -> Patch:
    """Draw polygons over one another.

    Args:
        polygons: [n, corners, 2], each convex, in frame coordinates; the last corner may stand several times.
        numbers: [n] rows of the palette; ``HOLE`` takes away what was drawn before.
        palette: [m, 3] red, green, blue; row 0, ``HOLE``'s, is not looked at.
        window: the part of the frame to draw.
    """
    fine = fineness(window)
    rows, columns = window.shape
    samples = np.zeros((rows * fine, columns * fine), np.uint8)
    _fill(samples, (polygons - (window.left, window.top)) * float(fine), numbers.tolist())
    wide = np.ones((len(palette), 4), np.uint16)
    wide[:, :3] = palette
    wide[HOLE] = 0
    return Patch(window, _mixed(samples, wide.view(np.uint64)[:, 0], fine), fine * fine)


def _fill(samples: Bytes, polygons: Floats, numbers: list[int]) -> None:
    height, width = samples.shape
    tops = np.clip(np.ceil(polygons[..., 1].min(1) - 0.5), 0, height).astype(np.int64).tolist()
    bottoms = np.clip(np.ceil(polygons[..., 1].max(1) - 0.5), 0, height).astype(np.int64).tolist()
    firsts = np.clip(np.floor(polygons[..., 0].min(1)), 0, width).astype(np.int64).tolist()
    lasts = np.clip(np.ceil(polygons[..., 0].max(1)), 0, width).astype(np.int64).tolist()
    lefts, rights = _spans(polygons, height, width)
    columns = np.arange(width, dtype=np.int16)
    for index, number in enumerate(numbers):
        rows, across = slice(tops[index], bottoms[index]), slice(firsts[index], lasts[index])
        if rows.start < rows.stop and across.start < across.stop:
            left, right = lefts[index, rows, None], rights[index, rows, None]
            inside = (columns[across] >= left) & (columns[across] < right)
            np.copyto(samples[rows, across], number, where=inside)


def _spans(polygons: Floats, height: int, width: int) -> tuple[Columns, Columns]:
    """Give the first column, and the one after the last, of each polygon in each row: [n, height]."""
    firsts, ends = np.empty((2, len(polygons), height), np.int16)
    four = (polygons[:, 4:] == polygons[:, 3:4]).all((1, 2))
    for group, corners in ((four, 4), (~four, polygons.shape[1])):
        firsts[group], ends[group] = _spans_alike(polygons[group, :corners], height, width)
    return firsts, ends


def _spans_alike(polygons: Floats, height: int, width: int) -> tuple[Columns, Columns]:
    x, y = polygons[..., 0], polygons[..., 1]
    next_x, next_y = np.roll(x, -1, 1), np.roll(y, -1, 1)
    clockwise = (x * next_y - next_x * y).sum(1) > 0
    fall = next_y - y
    level = fall == 0
    slope = (next_x - x) / np.where(level, 1.0, fall)
    at = (x - (y - 0.5) * slope)[..., None] + slope[..., None] * np.arange(height)
    is_left = (fall < 0) == clockwise[:, None]
    left = np.where((is_left & ~level)[..., None], at, -np.inf).max(1)
    right = np.where((is_left | level)[..., None], np.inf, at).min(1)
    first = np.clip(np.ceil(left - 0.5), 0, width).astype(np.int16)
    return first, np.clip(np.ceil(right - 0.5), 0, width).astype(np.int16)


def _mixed(samples: Bytes, palette: npt.NDArray[np.uint64], fine: int) -> npt.NDArray[np.uint16]:
    """Sum the colours of each pixel's samples, four sums of 16 bits at once."""
    colours = np.zeros((samples.shape[0] // fine, samples.shape[1] // fine), np.uint64)
    for row in range(fine):
        for column in range(fine):
            colours += palette.take(samples[row::fine, column::fine])
    return np.asarray(colours.view(np.uint16).reshape(*colours.shape, 4))


def put(frame: Bytes, patch: Patch) -> None:
    """Lay a patch over a frame of [rows, columns, 4]."""
    under = frame[patch.window.slices]
    samples = np.uint16(patch.samples)
    under[...] = ((samples - patch.colours[..., 3:]) * under + patch.colours) // samples


def darken(frame: Bytes, patch: Patch) -> None:
    """Take half of the light from a frame where a patch covers it."""
    under = frame[patch.window.slices]
    samples = np.uint16(2 * patch.samples)
    under[...] = (samples - patch.colours[..., 3:]) * under // samples
