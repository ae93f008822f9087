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
    from bdd100k_zoo.demo.camera import Camera
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

    def __init__(self, view: View, camera: Camera, light: Light) -> None:
        self._strength = {"night": 0.95, "dawn/dusk": 0.5}.get(light.timeofday, 0.3) if light.lamps else 0.0
        self._wet = light.weather == "rainy"
        self._places = np.flatnonzero(view.shines == 1)
        corners = view.polygons[self._places]
        self._low, self._high = corners.min(1).tolist(), corners.max(1).tolist()
        self._colours = view.colours[self._places]
        self._feet = (camera.horizon + camera.height * camera.focal / view.depth[self._places]).tolist()
        """The rows of the ground below them."""

    def dazzle(self, frame: Bytes, thing: Thing) -> None:
        """Add the light around the lamps of a thing, and on a wet road their mirror images."""
        first, last = np.searchsorted(self._places, (thing.start, thing.end)).tolist()
        for index in range(first, last if self._strength else first):
            (left, top), (right, bottom) = self._low[index], self._high[index]
            x, y = (left + right) / 2, (top + bottom) / 2
            radius = min(3 + min(right - left, (bottom - top) * 3) * 2.2, 90.0)
            colour = self._colours[index]
            bright = colour * (self._strength * (1.0 if colour[1] > 90 else 0.6))
            _add_halo(frame, (x, y), (radius, radius), bright)
            if self._wet:
                _add_halo(frame, (x, 2 * self._feet[index] - y), (radius * 0.5, radius * 2.0), bright * 0.45)


def _add_halo(
    frame: Bytes, centre: tuple[float, float], radii: tuple[float, float], colour: npt.NDArray[np.float64]
) -> None:
    left, columns = _across(centre[0], radii[0], WIDTH)
    top, rows = _across(centre[1], radii[1], HEIGHT)
    if not len(rows) or not len(columns):
        return
    shine = halo()[rows[:, None], columns].astype(np.uint32)
    under = frame[top : top + len(rows), left : left + len(columns), :3]
    more = shine[..., None] * colour.astype(np.uint32) >> np.uint32(8)
    under[...] = np.minimum(under + more, BRIGHTEST)


def _across(centre: float, radius: float, end: int) -> tuple[int, npt.NDArray[np.int64]]:
    """Give the first pixel of a halo along one axis, and the places in ``halo`` of all its pixels."""
    middle, reach = int(centre), max(int(radius), 1)
    first, last = max(middle - reach, 0), min(middle + reach + 1, end)
    return first, (np.arange(first, last) - middle) * 64 // reach + 64


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
