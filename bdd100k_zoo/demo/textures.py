"""Textures that are drawn once and used by every frame, and a frame's pixels as single numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.demo.camera import HEIGHT, WIDTH
from bdd100k_zoo.demo.dice import Dice

if TYPE_CHECKING:
    from bdd100k_zoo.demo.camera import Floats
    from bdd100k_zoo.demo.raster import Bytes

Packed = npt.NDArray[np.uint32]
SIDE = 256
"""Rows and columns of a square texture; a power of two."""
LEVELS = 32
"""Of brightness, in textures of the ground."""
SPARE = 32
"""Rows and columns by which the camera's noise can be moved."""


def packed(colours: Floats) -> Packed:
    """Give colours [..., 3] as one number each, which as four bytes is red, green, blue and 0."""
    wide = np.zeros((*colours.shape[:-1], 4), np.uint8)
    wide[..., :3] = np.clip(colours, 0, 240).astype(np.uint8)
    return np.asarray(wide.view(np.uint32)[..., 0])


@lru_cache(maxsize=8)
def grain(number: int) -> npt.NDArray[np.int16]:
    """Give the unevenness of a surface: [SIDE, SIDE], from 0 to 7, in patches and points."""
    dice = Dice((1, number))
    points = dice.wholes(256, (SIDE, SIDE))
    patches = blurred(dice.wholes(4096, (SIDE, SIDE)), 12)
    low, high = int(patches.min()), int(patches.max())
    mixed = points * 3 + (patches - low) * 255 * 5 // (high - low)
    return (mixed * 8 // (255 * 8 + 8)).astype(np.int16)


@lru_cache(maxsize=1)
def clouds() -> npt.NDArray[np.int16]:
    """Give clouds: [SIDE, 4 * SIDE], from 0 to 255, the same at the left and right end."""
    dice = Dice((2,))
    total = np.zeros((SIDE, 4 * SIDE), np.int64)
    for radius, weight in ((40, 6), (18, 3), (7, 2), (2, 1)):
        layer = blurred(dice.wholes(65536, total.shape), radius)
        low, high = int(layer.min()), int(layer.max())
        total += (layer - low) * 255 * weight // (high - low)
    low, high = int(total.min()), int(total.max())
    return ((total - low) * 255 // (high - low)).astype(np.int16)


@lru_cache(maxsize=4)
def noise(strength: int) -> Bytes:
    """Give the camera's noise, from 0 to ``strength`` - 1, for four bytes of each pixel."""
    values = Dice((3, strength)).wholes(strength, (HEIGHT + SPARE, WIDTH + SPARE, 1)).astype(np.uint8)
    return np.repeat(values, 4, 2)


@lru_cache(maxsize=1)
def halo() -> npt.NDArray[np.uint16]:
    """Give the light around a lamp: [129, 129], 256 in the middle and 0 at the rim."""
    across = np.arange(-64, 65, dtype=np.float64) / 64
    distance = across[:, None] * across[:, None] + across * across
    fall = np.clip(1 - distance, 0, 1)
    return (256 * (fall * fall * 0.35 + fall * fall * fall * fall * fall * fall * fall * fall * 0.65)).astype(np.uint16)


def blurred(values: npt.NDArray[np.int64], radius: int) -> npt.NDArray[np.int64]:
    """Sum over squares of ``radius`` to all sides, round the edges; twice, so that no square is left to see."""
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
