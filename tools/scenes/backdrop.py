"""The background: sky, a skyline, and the houses along the road."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from tools.scenes.camera import HEIGHT, WIDTH
from tools.scenes.raster import SIDE, clouds, packed
from tools.scenes.rng import Rng

if TYPE_CHECKING:
    from tools.scenes.camera import Camera, Floats
    from tools.scenes.light import Light
    from tools.scenes.raster import Bytes, Packed
    from tools.scenes.roads import Road

PER_METRE = 8
"""Texels per metre of a house's front."""
WALLS: tuple[tuple[float, float, float], ...] = (
    (150.0, 84.0, 64.0),
    (176.0, 150.0, 118.0),
    (196.0, 190.0, 178.0),
    (128.0, 122.0, 116.0),
    (110.0, 74.0, 62.0),
    (206.0, 196.0, 160.0),
    (140.0, 150.0, 158.0),
    (92.0, 98.0, 108.0),
)


def draw_sky(frame: Packed, camera: Camera, light: Light, rng: Rng) -> None:
    """Draw the sky and the skyline onto a frame of packed colours."""
    rows = int(camera.horizon) + 2
    down = (np.arange(rows) + 1.0) / rows
    cover = {"clear": 0.0, "partly cloudy": 0.9}.get(light.weather, 0.4)
    cloud = light.low * 1.06 if light.timeofday != "night" else light.low * 1.2
    steps = np.arange(32)[None, :, None] / 31.0 * cover
    blue = light.top + (light.low - light.top) * (down * down)[:, None]
    colours = packed(blue[:, None] + (cloud - blue)[:, None] * steps)
    if not cover:
        frame[:rows] = colours[:, :1]
    else:
        frame[:rows] = colours.ravel().take(np.arange(rows)[:, None] * 32 + _cloud_steps(rows, rng))
    _skyline(frame, camera, light, rng)


def _cloud_steps(rows: int, rng: Rng) -> npt.NDArray[np.int64]:
    """Return the density of clouds, 0 to 31, in blocks of two by two pixels."""
    start, wide = rng.integer(0, 4 * SIDE - 1), rng.choice((1, 2))
    low = rng.integer(90, 130)
    down = np.arange((rows + 1) // 2) * 250 // max(rows // 2, 1)
    across = (np.arange(WIDTH // 2) // wide + start) % (4 * SIDE)
    density = np.clip((clouds()[down[:, None], across] - low) * 31 // 90, 0, 31)
    return density.repeat(2, 0).repeat(2, 1)[:rows].astype(np.int64)


def _skyline(frame: Packed, camera: Camera, light: Light, rng: Rng) -> None:
    horizon = int(camera.horizon) + 1
    for layer in range(2):
        tops = np.zeros(WIDTH, np.int64)
        for _ in range(rng.integer(10, 26)):
            start, wide, high = rng.integer(-60, WIDTH), rng.integer(14, 110), rng.integer(3, 46 - 20 * layer)
            part = tops[max(start, 0) : start + wide]
            np.maximum(part, high, out=part)
        np.maximum(tops, 4, out=tops)
        green = rng.chance(0.4)
        colour = np.array((70.0, 86.0, 62.0) if green else (104.0, 104.0, 112.0)) * light.ambient
        shown = packed(light.hazed(colour[None], np.array([[900.0 if layer == 0 else 450.0]]) * 0.6))[0]
        first = horizon - int(tops.max())
        rows = np.arange(first, horizon + 1)[:, None]
        np.copyto(frame[first : horizon + 1], shown, where=rows >= horizon - tops)


class House(NamedTuple):
    """A house beside the road; lengths in metres."""

    x: float
    start: float
    end: float
    height: float
    texture: Packed
    """[rows, columns] from the ground up."""

    def draw(self, frame: Packed, owners: npt.NDArray[np.uint16], camera: Camera) -> None:
        """Draw it onto a frame of packed colours; the pixels that it covers get no owner."""
        for columns in (_side(self, camera), _front(self, camera)):
            if columns is not None:
                _draw_wall(frame, owners, self, camera, columns)


class _Columns(NamedTuple):
    """The columns of the frame that show a wall."""

    first: int
    depth: Floats
    """[n]: of the wall, in metres."""
    along: Floats
    """[n]: metres from the wall's end."""


def build_houses(road: Road, light: Light, rng: Rng) -> list[House]:
    """Build the houses of both sides; ``House.draw`` draws them."""
    return [house for x in road.walls for house in _row_of_houses(x, road, light, rng)]


def _row_of_houses(x: float, road: Road, light: Light, rng: Rng) -> list[House]:
    houses, z = [], rng.between(-4.0, 6.0)
    dense = {"city street": 0.92, "residential": 0.75, "highway": 0.3}[road.scene]
    floors = {"city street": (2, 9), "residential": (1, 3), "highway": (1, 5)}[road.scene]
    while z < 160:
        length = rng.between(10.0, 26.0) if road.scene != "residential" else rng.between(8.0, 13.0)
        end = z + length
        if road.on_crossing(z, 6.0) or road.on_crossing(end, 6.0):
            z = road.crossing[1] + 6.5 if road.crossing else end
            continue
        if rng.chance(dense):
            height = rng.integer(*floors) * 3.2 + 1.0
            back = rng.between(0.0, 2.5) * (1 if x > 0 else -1)
            houses.append(House(x + back, max(z, 3.0), end, height, _facade(light, rng, (z + end) / 2)))
        z = end + (rng.between(0.0, 1.0) if road.scene == "city street" else rng.between(3.0, 9.0))
    return [house for house in houses if house.end > 4.0]


LEVELS, GLASS, LIT = 16, 32, 48
"""In a front's pattern: 0 to 15 wall by brightness, from 32 dark panes, from 48 panes that may be lit."""


@lru_cache(maxsize=24)
def _pattern(number: int) -> Bytes:
    """Draw the floors and windows of a house's front without colours, 32 metres high and 26 metres wide."""
    rng = Rng((6, number))
    floor, wide = 26, rng.integer(16, 30)
    rows, columns = 32 * PER_METRE, 26 * PER_METRE
    pattern = (rng.integers(9, (rows, columns)) + 4).astype(np.uint8)
    width, high = wide - rng.integer(5, 10), rng.integer(10, 16)
    for row in range(6, rows - high, floor):
        for column in range(3, columns - width, wide):
            _window(pattern[row : row + high, column : column + width], rng, row < floor)
        pattern[row - 5 : row - 4] = 2
    return pattern


def _window(pane: Bytes, rng: Rng, shop: bool) -> None:
    pane[:] = rng.integer(LIT, LIT + 7) if rng.chance(0.55 if shop else 0.28) else rng.integer(GLASS, GLASS + 7)
    pane[-1] = pane[:, 0] = pane[:, pane.shape[1] // 2] = 1


def _facade(light: Light, rng: Rng, depth: float) -> Packed:
    """Colour the front of a house."""
    palette = np.zeros((64, 3))
    wall = np.array(rng.choice(WALLS)) * rng.between(0.85, 1.1) * (light.ambient + light.sun * rng.between(0.1, 0.7))
    palette[:LEVELS] = wall * (1.0 + (np.arange(LEVELS) - 8) * 0.016)[:, None]
    palette[1:3] = wall * 0.75
    glass = np.array((70.0, 84.0, 98.0)) * (light.ambient + 0.1) + light.low * 0.12
    dark = glass * (0.8 + 0.05 * np.arange(8))[:, None]
    lamps = np.array((236.0, 196.0, 120.0)) * (0.5 + 0.06 * np.arange(8))[:, None]
    palette[GLASS : GLASS + 8] = dark
    palette[LIT : LIT + 8] = dark if light.timeofday == "daytime" else lamps
    return packed(light.hazed(palette, depth)).take(_pattern(rng.integer(0, 23)))


def _side(house: House, camera: Camera) -> _Columns | None:
    """Return the columns of the face along the road."""
    ends = [camera.centre + camera.shift(z) + camera.scale(z) * house.x for z in (house.start, house.end)]
    first, last = max(int(min(ends)), 0), min(int(max(ends)) + 1, WIDTH)
    if first >= last or abs(ends[1] - ends[0]) < 1:
        return None
    part = np.clip((np.arange(first, last) + 0.5 - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0)
    depth = 1.0 / ((1 - part) / house.start + part / house.end)
    return _Columns(first, depth, depth - house.start)


def _front(house: House, camera: Camera) -> _Columns | None:
    """Return the columns of the face towards the camera."""
    scale, wide = camera.scale(house.start), 14.0 if house.x > 0 else -14.0
    zero = camera.centre + camera.shift(house.start)
    ends = [zero + scale * x for x in (house.x, house.x + wide)]
    first, last = max(int(min(ends)), 0), min(int(max(ends)) + 1, WIDTH)
    if first >= last:
        return None
    along = np.abs((np.arange(first, last) + 0.5 - ends[0]) / scale)
    return _Columns(first, np.full(last - first, house.start), along)


def _draw_wall(frame: Packed, owners: npt.NDArray[np.uint16], house: House, camera: Camera, columns: _Columns) -> None:
    scale = camera.focal / columns.depth
    tops, feet = camera.horizon - (house.height - camera.height) * scale, camera.horizon + camera.height * scale
    top, foot = max(int(tops.min()), 0), min(int(feet.max()) + 1, HEIGHT)
    if top >= foot:
        return
    rows = (np.arange(top, foot, dtype=np.float32) + np.float32(0.5))[:, None]
    texture = house.texture
    up = rows * (-PER_METRE / scale).astype(np.float32) + (feet * PER_METRE / scale).astype(np.float32)
    np.clip(up, 0, len(texture) - 1, out=up)
    index = up.astype(np.int32) * np.int32(texture.shape[1])
    index += (columns.along * PER_METRE).astype(np.int32) % texture.shape[1]
    inside = (rows >= tops.astype(np.float32)) & (rows < feet.astype(np.float32))
    window = slice(top, foot), slice(columns.first, columns.first + len(columns.depth))
    np.copyto(frame[window], texture.ravel().take(index), where=inside)
    np.copyto(owners[window], 0, where=inside)
