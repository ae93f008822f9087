"""Shadows, shining lamps, rain and snow."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.demo.camera import HEIGHT, WIDTH
from bdd100k_zoo.demo.dice import Dice
from bdd100k_zoo.demo.light import BRIGHTEST
from bdd100k_zoo.demo.solids import Solid, Style
from bdd100k_zoo.demo.textures import halo

if TYPE_CHECKING:
    from bdd100k_zoo.demo.light import Light
    from bdd100k_zoo.demo.raster import Bytes, Thing
    from bdd100k_zoo.demo.views import View

FOOTPRINTS = {
    "car": (0.95, 2.3),
    "truck": (1.25, 4.8),
    "bus": (1.3, 5.7),
    "train": (1.35, 13.0),
    "pedestrian": (0.3, 0.3),
    "bicycle": (0.15, 0.85),
    "motorcycle": (0.25, 0.95),
}
"""Half of the width and length of what casts a shadow, in metres."""


def shadow(category: str | None) -> Solid | None:
    """Give the ground that a thing keeps the light from."""
    if category not in FOOTPRINTS:
        return None
    half, long = FOOTPRINTS[category]
    solid = Solid()
    quarter = [(half, 0.75 * long), (0.7 * half, long)]
    corners = [*quarter, *((-x, z) for x, z in reversed(quarter))]
    corners += [(-x, -z) for x, z in corners]
    solid.face([(x, 0.0, z) for x, z in corners], Style((0, 0, 0)))
    return solid


class Lamps:
    """The shining faces of all things."""

    def __init__(self, view: View, light: Light) -> None:
        self._strength = {"night": 0.95, "dawn/dusk": 0.5}.get(light.timeofday, 0.3) if light.lamps else 0.0
        self._places = np.flatnonzero(view.shines == 1)
        corners = view.polygons[self._places]
        self._low, self._high = corners.min(1).tolist(), corners.max(1).tolist()
        self._colours = view.colours[self._places]

    def dazzle(self, frame: Bytes, thing: Thing) -> None:
        """Add the light around the lamps of a thing, which spreads over what stands behind and beside."""
        first, last = np.searchsorted(self._places, (thing.start, thing.end)).tolist()
        for index in range(first, last if self._strength else first):
            (left, top), (right, bottom) = self._low[index], self._high[index]
            size = min(right - left, (bottom - top) * 3)
            colour = self._colours[index]
            bright = self._strength * (1.0 if colour[1] > 90 else 0.6)
            _add_halo(frame, ((left + right) / 2, (top + bottom) / 2), min(3 + size * 2.2, 90.0), colour * bright)


def _add_halo(frame: Bytes, centre: tuple[float, float], radius: float, colour: npt.NDArray[np.float64]) -> None:
    x, y, reach = int(centre[0]), int(centre[1]), int(radius)
    left, right, top, bottom = (
        max(x - reach, 0),
        min(x + reach + 1, WIDTH),
        max(y - reach, 0),
        min(y + reach + 1, HEIGHT),
    )
    if left >= right or top >= bottom:
        return
    rows = (np.arange(top, bottom) - y) * 64 // max(reach, 1) + 64
    columns = (np.arange(left, right) - x) * 64 // max(reach, 1) + 64
    shine = halo()[rows[:, None], columns]
    under = frame[top:bottom, left:right, :3]
    more = shine[..., None].astype(np.uint32) * colour.astype(np.uint32) >> np.uint32(8)
    under[...] = np.minimum(under + more, BRIGHTEST)


def draw_weather(frame: Bytes, light: Light, dice: Dice) -> None:
    """Let it rain or snow."""
    if light.weather not in ("rainy", "snowy"):
        return
    places = _streaks(dice.whole(0, 3)) if light.weather == "rainy" else _flakes(dice.whole(0, 3))
    bright = int(220 * (0.35 if light.timeofday == "night" else 0.95))
    flat = frame.reshape(-1, 4)
    seen = flat[places].astype(np.uint16)
    share = 1 if light.weather == "rainy" else 3
    flat[places] = ((seen * (4 - share) + bright * share) >> 2).astype(np.uint8)


@lru_cache(maxsize=4)
def _streaks(number: int) -> npt.NDArray[np.int64]:
    """Give the places of a shower's pixels."""
    dice = Dice((4, number))
    places: list[int] = []
    slope = dice.between(-0.3, 0.3)
    for _ in range(420):
        x, y, length = dice.between(0, WIDTH), dice.between(0, HEIGHT), dice.whole(10, 34)
        for step in range(length):
            row, column = int(y) + step, int(x + slope * step)
            if 0 <= row < HEIGHT and 0 <= column < WIDTH:
                places.append(row * WIDTH + column)
    return np.unique(np.array(places))


@lru_cache(maxsize=4)
def _flakes(number: int) -> npt.NDArray[np.int64]:
    """Give the places of the pixels of snow in the air."""
    dice = Dice((5, number))
    places: list[int] = []
    for _ in range(900):
        x, y, size = dice.whole(0, WIDTH - 6), dice.whole(0, HEIGHT - 6), dice.pick((1, 1, 2, 2, 3, 4))
        places += [(y + down) * WIDTH + x + right for down in range(size) for right in range(size)]
    return np.unique(np.array(places))
