"""Weather and time of day: how colours look in them."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from bdd100k_zoo.demo.camera import Floats
    from bdd100k_zoo.demo.dice import Dice
    from bdd100k_zoo.demo.raster import Bytes
    from bdd100k_zoo.demo.views import View

TIMES = {"daytime": 5.2, "night": 3.6, "dawn/dusk": 1.2}
WEATHERS = {"clear": 4.6, "partly cloudy": 1.4, "overcast": 1.7, "rainy": 1.2, "snowy": 0.5, "foggy": 0.6}
BRIGHTEST = 240
"""So that the camera's noise can be added without a check."""

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
    """Of our own headlamps."""

    @property
    def lamps(self) -> bool:
        """Whether lamps are lit."""
        return self.timeofday != "daytime" or self.weather in ("rainy", "foggy")

    @property
    def reach(self) -> float:
        """How far one sees in the air: where a quarter of a colour is left, in metres."""
        return 1.3 / self.thickness

    def clearness(self, depth: Floats | float) -> Floats:
        """Give the part of a colour that the air lets through."""
        thick = np.asarray(depth, np.float64) * self.thickness
        return 1.0 / (1.0 + thick + thick * thick)

    def lit(self, view: View) -> Bytes:
        """Give the colours [n, 3] of all faces in this light."""
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
        """Give the light of our own headlamps on things."""
        reach = np.clip(1.0 - depth / 70.0, 0.0, 1.0)
        aside = side / (3.0 + depth * 0.3)
        return self.beam * reach * reach / (1.0 + aside * aside)

    def hazed(self, colours: Floats, depth: Floats | float) -> Floats:
        """Mix colours with the air between."""
        part = self.clearness(depth)
        return colours * part + self.haze * (1.0 - part)


def draw_light(dice: Dice) -> Light:
    """Choose weather and time of day."""
    timeofday, weather = dice.weighted(TIMES), dice.weighted(WEATHERS)
    hour = HOURS[timeofday]
    veil = {"clear": 0.0, "partly cloudy": 0.25, "snowy": 0.8}.get(weather, 0.9)
    strength = dice.between(0.85, 1.12) * (dice.between(0.8, 1.5) if timeofday == "night" else 1.0)
    grey = _grey(hour.low, 0.9) if timeofday == "night" else _grey(hour.low, dice.between(0.82, 1.0))
    top, low = _mix(np.array(hour.top), grey * 0.94, veil), _mix(np.array(hour.low), grey, veil)
    aside = dice.between(-0.8, 0.8)
    ahead = dice.between(-0.6, 0.4)
    direction = np.array((aside, 0.7, ahead))
    length = sqrt(aside * aside + 0.49 + ahead * ahead)
    return Light(
        weather=weather,
        timeofday=timeofday,
        ambient=np.array(hour.ambient) * strength * (1 - 0.12 * veil),
        sun=np.array(hour.sun) * strength * (1 - 0.8 * veil),
        towards=direction / length,
        haze=low,
        thickness={"foggy": dice.between(0.010, 0.022), "rainy": 0.0035, "snowy": 0.0035}.get(weather, 0.0012),
        top=top,
        low=low,
        beam=0.75 if timeofday == "night" else 0.0,
    )


def _grey(colour: Hue, factor: float) -> Floats:
    level = (colour[0] + colour[1] + colour[2]) / 3 * factor
    return np.array((level, level * 1.01, level * 1.03))


def _mix(a: Floats, b: Floats, part: float) -> Floats:
    return a + (b - a) * part
