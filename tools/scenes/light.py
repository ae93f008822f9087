"""Weather and time of day: how colours look in them, shadows, shining lamps, rain and snow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from tools.scenes.camera import HEIGHT, WIDTH
from tools.scenes.raster import halo
from tools.scenes.rng import Rng
from tools.scenes.solids import Solid, Style

if TYPE_CHECKING:
    from tools.scenes.camera import Camera, Floats, View
    from tools.scenes.raster import Bytes, Thing

TIMES = {"daytime": 5.2, "night": 3.6, "dawn/dusk": 1.2}
WEATHERS = {"clear": 4.6, "partly cloudy": 1.4, "overcast": 1.7, "rainy": 1.2, "snowy": 0.5, "foggy": 0.6}
BRIGHTEST = 240
"""Largest value of a colour: the camera's noise can be added without overflow."""

Hue = tuple[float, float, float]


class _Hour(NamedTuple):
    ambient: Hue
    sun: Hue
    top: Hue
    low: Hue


HOURS: dict[str, _Hour] = {
    "daytime": _Hour((0.62, 0.64, 0.68), (0.46, 0.44, 0.38), (92, 142, 206), (190, 212, 230)),
    "dawn/dusk": _Hour((0.40, 0.38, 0.44), (0.30, 0.22, 0.14), (84, 92, 140), (240, 176, 126)),
    "night": _Hour((0.22, 0.21, 0.22), (0.06, 0.06, 0.06), (8, 10, 20), (26, 26, 36)),
}


@dataclass(frozen=True, slots=True)
class Light:
    """The light of a frame."""

    weather: str
    timeofday: str
    ambient: Floats
    """[3]: from all sides."""
    sun: Floats
    """[3]: from one side."""
    towards: Floats
    """[3]: the unit vector to the sun."""
    haze: Floats
    """[3]: the colour of the air, 0 to 255."""
    thickness: float
    """Of the air; at 1 / thickness metres a third of a colour is left."""
    top: Floats
    """[3]: the sky's colour above."""
    low: Floats
    """[3]: at the horizon."""
    beam: float
    """Strength of the camera car's headlamps."""

    @property
    def lamps(self) -> bool:
        """Whether lamps are lit."""
        return self.timeofday != "daytime" or self.weather in ("rainy", "foggy")

    @property
    def reach(self) -> float:
        """Visibility in metres: the distance at which a quarter of a colour is left."""
        return 1.3 / self.thickness

    def clearness(self, depth: Floats | float) -> Floats:
        """Return the share of a colour that the air lets through."""
        thick = np.asarray(depth, np.float64) * self.thickness
        return 1.0 / (1.0 + thick + thick * thick)

    def lit(self, view: View) -> Bytes:
        """Return the colours [n, 3] of all faces in this light."""
        seen = self._seen(view.colours * (0.9 if self.lamps else 1.0), view)
        if self.lamps:
            part = (self.clearness(view.depth / 2) * view.shines)[:, None]
            seen = np.maximum(view.colours * part + seen * (1 - part), seen)
        return np.clip(seen, 0, BRIGHTEST).astype(np.uint8)

    def _seen(self, colours: Floats, view: View) -> Floats:
        normals = view.normals
        facing = normals[:, 0] * self.towards[0] + normals[:, 1] * self.towards[1] + normals[:, 2] * self.towards[2]
        is_round = (normals == 0).all(1)
        facing = np.where(is_round, 0.5, np.clip(facing, 0.0, 1.0))[:, None]
        near = self.beam_at(view.depth, view.side)[:, None]
        return self.hazed(colours * (self.ambient + self.sun * facing + near), view.depth[:, None])

    def beam_at(self, depth: Floats, side: Floats) -> Floats:
        """Return the light of the camera car's headlamps on things."""
        reach = np.clip(1.0 - depth / 70.0, 0.0, 1.0)
        aside = side / (3.0 + depth * 0.3)
        return self.beam * reach * reach / (1.0 + aside * aside)

    def hazed(self, colours: Floats, depth: Floats | float) -> Floats:
        """Mix colours with the air between."""
        part = self.clearness(depth)
        return colours * part + self.haze * (1.0 - part)


def random_light(rng: Rng) -> Light:
    """Return a random weather and time of day."""
    timeofday, weather = rng.weighted(TIMES), rng.weighted(WEATHERS)
    hour = HOURS[timeofday]
    veil = {"clear": 0.0, "partly cloudy": 0.25, "snowy": 0.8}.get(weather, 0.9)
    strength = rng.between(0.85, 1.12) * (rng.between(0.8, 1.5) if timeofday == "night" else 1.0)
    grey = _grey(hour.low, 0.9) if timeofday == "night" else _grey(hour.low, rng.between(0.82, 1.0))
    top, low = _mix(np.array(hour.top), grey * 0.94, veil), _mix(np.array(hour.low), grey, veil)
    aside = rng.between(-0.8, 0.8)
    ahead = rng.between(-0.6, 0.4)
    direction = np.array((aside, 0.7, ahead))
    length = sqrt(aside * aside + 0.49 + ahead * ahead)
    return Light(
        weather=weather,
        timeofday=timeofday,
        ambient=np.array(hour.ambient) * strength * (1 - 0.12 * veil),
        sun=np.array(hour.sun) * strength * (1 - 0.8 * veil),
        towards=direction / length,
        haze=low,
        thickness={"foggy": rng.between(0.010, 0.022), "rainy": 0.0035, "snowy": 0.0035}.get(weather, 0.0012),
        top=top,
        low=low,
        beam=0.75 if timeofday == "night" else 0.0,
    )


def _grey(colour: Hue, factor: float) -> Floats:
    level = (colour[0] + colour[1] + colour[2]) / 3 * factor
    return np.array((level, level * 1.01, level * 1.03))


def _mix(a: Floats, b: Floats, part: float) -> Floats:
    return a + (b - a) * part


FOOTPRINTS = {
    "car": (0.95, 2.3),
    "truck": (1.25, 4.8),
    "bus": (1.3, 5.7),
    "train": (1.35, 13.0),
    "pedestrian": (0.3, 0.3),
    "bicycle": (0.15, 0.85),
    "motorcycle": (0.25, 0.95),
}
"""Half of the width and length of a thing that casts a shadow, in metres."""


def shadow(category: str | None) -> Solid | None:
    """Return the shadow of a thing on the ground."""
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
    """Return the first pixel of a halo along one axis, and the places in ``halo`` of all its pixels."""
    middle, reach = int(centre), max(int(radius), 1)
    first, last = max(middle - reach, 0), min(middle + reach + 1, end)
    return first, (np.arange(first, last) - middle) * 64 // reach + 64


def draw_weather(frame: Bytes, light: Light, rng: Rng) -> None:
    """Draw rain or snow."""
    if light.weather not in ("rainy", "snowy"):
        return
    places = _streaks(rng.integer(0, 3)) if light.weather == "rainy" else _flakes(rng.integer(0, 3))
    bright = int(220 * (0.35 if light.timeofday == "night" else 0.95))
    flat = frame.reshape(-1, 4)
    seen = flat[places].astype(np.uint16)
    share = 1 if light.weather == "rainy" else 3
    flat[places] = ((seen * (4 - share) + bright * share) >> 2).astype(np.uint8)


@lru_cache(maxsize=4)
def _streaks(number: int) -> npt.NDArray[np.int64]:
    """Return the positions of the pixels of rain."""
    rng = Rng((4, number))
    places: list[int] = []
    slope = rng.between(-0.3, 0.3)
    for _ in range(420):
        x, y, length = rng.between(0, WIDTH), rng.between(0, HEIGHT), rng.integer(10, 34)
        for step in range(length):
            row, column = int(y) + step, int(x + slope * step)
            if 0 <= row < HEIGHT and 0 <= column < WIDTH:
                places.append(row * WIDTH + column)
    return np.unique(np.array(places))


@lru_cache(maxsize=4)
def _flakes(number: int) -> npt.NDArray[np.int64]:
    """Return the positions of the pixels of falling snow."""
    rng = Rng((5, number))
    places: list[int] = []
    for _ in range(900):
        x, y, size = rng.integer(0, WIDTH - 6), rng.integer(0, HEIGHT - 6), rng.choice((1, 1, 2, 2, 3, 4))
        places += [(y + down) * WIDTH + x + right for down in range(size) for right in range(size)]
    return np.unique(np.array(places))
