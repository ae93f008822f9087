"""Things beside and over the road: traffic lights and signs, their poles, lamps and trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.scenes.solids import CIRCLE, Colour, Solid, Style, box, shade, upright_disc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tools.scenes.rng import Rng

STATES: dict[str, Colour] = {"R": (252, 56, 40), "Y": (252, 196, 44), "G": (70, 244, 150)}
"""Letters of BDD100K's attribute trafficLightColor, top to bottom, and the lamps' colours."""
DARK = {"R": Style((62, 26, 24)), "Y": Style((66, 54, 22)), "G": Style((20, 54, 36))}
HOUSINGS: tuple[Colour, ...] = ((34, 36, 36), (34, 36, 36), (44, 60, 46), (196, 160, 44))
STEEL = Style((112, 116, 118))
REFLECTING = 0.45
"""The shine of a sign."""
WHITE = Style((242, 242, 240), shine=REFLECTING)
INK = Style((24, 24, 26))
RED = Style((204, 30, 36), shine=REFLECTING)
GREEN = Style((16, 116, 74), shine=REFLECTING)
BLUE = Style((28, 80, 170), shine=REFLECTING)
YELLOW = Style((246, 196, 30), shine=REFLECTING)
ORANGE = Style((240, 130, 30), shine=REFLECTING)


def traffic_light(rng: Rng, state: str, size: float) -> Solid:
    """Build a traffic light around its own middle, facing the camera; with the state NA it is turned away."""
    solid = Solid()
    high, half, deep = 0.5 * size, 0.19 * size, 0.12 * size
    housing = Style(rng.choice(HOUSINGS))
    if rng.chance(0.3):
        edge = half * 1.45
        plate = [
            (-edge, -high * 1.15, deep),
            (-edge, high * 1.15, deep),
            (edge, high * 1.15, deep),
            (edge, -high * 1.15, deep),
        ]
        solid.face(plate, Style((26, 27, 27)))
    box(solid, (-half, -high, -deep), (half, high, deep), housing)
    if state == "NA":
        return solid
    for index, letter in enumerate(STATES):
        y = high * (0.64 - 0.64 * index)
        style = Style(STATES[letter], shine=1.0) if letter == state else DARK[letter]
        solid.face(upright_disc((0.0, y, -deep - 0.01), half * 0.86), style)
    return solid


def pole(x: float, top: float, radius: float = 0.06) -> Solid:
    """Build an upright pole at ``x`` of its place."""
    solid = Solid()
    solid.limb((x, 0.0, 0.0), (x, top, 0.0), radius, STEEL)
    return solid


def mast(reach: float, height: float) -> Solid:
    """Build a pole with an arm that reaches ``reach`` metres to the right (left where negative)."""
    solid = pole(0.0, height, 0.1)
    solid.limb((0.0, height, 0.0), (reach, height + 0.25, 0.0), 0.06, STEEL)
    return solid


def lamp_post(reach: float, height: float) -> Solid:
    """Build a street lamp whose arm reaches ``reach`` metres to the right (left where negative)."""
    solid = pole(0.0, height, 0.08)
    solid.limb((0.0, height, 0.0), (reach, height + 0.3, 0.0), 0.05, STEEL)
    lamp = Style((255, 236, 190), shine=1.0)
    solid.limb((reach, height + 0.25, 0.0), (reach * 1.25, height + 0.25, 0.0), 0.11, lamp)
    return solid


def traffic_sign(rng: Rng, highway: bool) -> tuple[Solid, float]:
    """Build a sign around its own middle, facing the camera; also return half of its height."""
    kinds = HIGHWAY_KINDS if highway else STREET_KINDS
    solid = Solid()
    half = rng.weighted(kinds)(solid, rng)
    return solid, half


def guide_sign(rng: Rng) -> Solid:
    """Build one of the big signs over a highway, around its own middle."""
    solid = Solid()
    _guide(solid, rng)
    return solid


def _plate(solid: Solid, corners: Sequence[tuple[float, float]], style: Style, front: float = 0.0) -> None:
    solid.face([(x, y, -front) for x, y in corners], style)


def _rectangle(half: float, high: float) -> list[tuple[float, float]]:
    return [(-half, -high), (-half, high), (half, high), (half, -high)]


def _bars(solid: Solid, half: float, rows: Sequence[float], thick: float, style: Style) -> None:
    for y in rows:
        _plate(solid, [(-half, y - thick), (-half, y + thick), (half, y + thick), (half, y - thick)], style, 0.02)


def _stop(solid: Solid, rng: Rng) -> float:
    size = rng.between(0.36, 0.46)
    short = size * 0.4142
    octagon = [(-size, -short), (-size, short), (-short, size), (short, size)]
    octagon += [(size, short), (size, -short), (short, -size), (-short, -size)]
    _plate(solid, octagon, WHITE)
    _plate(solid, [(x * 0.92, y * 0.92) for x, y in octagon], RED, 0.01)
    for step in range(4):
        x = size * (-0.66 + 0.38 * step)
        letter = [(x, -size * 0.22), (x, size * 0.26), (x + size * 0.2, size * 0.26), (x + size * 0.2, -size * 0.22)]
        _plate(solid, letter, WHITE, 0.02)
    return size


def _diamond(solid: Solid, rng: Rng) -> float:
    size = rng.between(0.46, 0.6)
    style = YELLOW if rng.chance(0.75) else ORANGE
    corners = [(-size, 0.0), (0.0, size), (size, 0.0), (0.0, -size)]
    _plate(solid, corners, INK)
    _plate(solid, [(x * 0.92, y * 0.92) for x, y in corners], style, 0.01)
    _arrow(solid, size * 0.42, INK, rng.choice((-1.0, 0.0, 1.0)))
    return size


def _arrow(solid: Solid, size: float, style: Style, bend: float) -> None:
    thick = size * 0.2
    tip = bend * size * 0.5
    _plate(solid, [(-thick, -size), (tip - thick, size * 0.3), (tip + thick, size * 0.3), (thick, -size)], style, 0.02)
    _plate(solid, [(tip - size * 0.55, size * 0.2), (tip, size), (tip + size * 0.55, size * 0.2)], style, 0.02)


def _yield(solid: Solid, rng: Rng) -> float:
    size = rng.between(0.4, 0.52)
    corners = [(-size, size * 0.86), (size, size * 0.86), (0.0, -size * 0.86)]
    _plate(solid, corners, RED)
    _plate(solid, [(x * 0.58, y * 0.58 + size * 0.14) for x, y in corners], WHITE, 0.01)
    return size * 0.86


def _round(solid: Solid, rng: Rng) -> float:
    size = rng.between(0.3, 0.4)
    rim, inner = rng.choice(((RED, WHITE), (RED, RED), (BLUE, BLUE)))
    ring: list[tuple[float, float]] = [(right * size, up * size) for right, up in CIRCLE]
    _plate(solid, ring, rim)
    _plate(solid, [(x * 0.76, y * 0.76) for x, y in ring], inner, 0.01)
    if rim is inner and rim is RED:
        _bars(solid, size * 0.62, (0.0,), size * 0.15, WHITE)
    elif rim is BLUE:
        _arrow(solid, size * 0.6, WHITE, rng.choice((-1.0, 0.0, 1.0)))
    else:
        _digits(solid, size * 0.36, 0.0)
    return size


def _digits(solid: Solid, size: float, y: float) -> None:
    for x in (-size * 0.75, size * 0.75):
        wide = size * 0.5
        _plate(
            solid, [(x - wide, y - size), (x - wide, y + size), (x + wide, y + size), (x + wide, y - size)], INK, 0.02
        )
        wide, high = wide * 0.35, size * 0.6
        _plate(
            solid, [(x - wide, y - high), (x - wide, y + high), (x + wide, y + high), (x + wide, y - high)], WHITE, 0.03
        )


def _limit(solid: Solid, rng: Rng) -> float:
    high = rng.between(0.38, 0.5)
    _plate(solid, _rectangle(high * 0.8, high), INK)
    _plate(solid, _rectangle(high * 0.74, high * 0.95), WHITE, 0.01)
    _bars(solid, high * 0.5, (high * 0.72, high * 0.44), high * 0.09, INK)
    _digits(solid, high * 0.42, -high * 0.28)
    return high


def _parking(solid: Solid, rng: Rng) -> float:
    high = rng.between(0.24, 0.36)
    _plate(solid, _rectangle(high * 0.66, high), WHITE)
    ink = rng.choice((RED, GREEN, RED))
    _bars(solid, high * 0.5, (high * 0.7, -high * 0.2, -high * 0.62), high * 0.08, ink)
    ring = [(right * high * 0.3, up * high * 0.3 + high * 0.25) for right, up in CIRCLE]
    _plate(solid, ring, ink, 0.02)
    return high


def _street_name(solid: Solid, rng: Rng) -> float:
    half, high = rng.between(0.5, 0.85), rng.between(0.13, 0.17)
    style = GREEN if rng.chance(0.7) else BLUE
    _plate(solid, _rectangle(half, high), WHITE)
    _plate(solid, _rectangle(half * 0.97, high * 0.88), style, 0.01)
    _words(solid, half * 0.84, 0.0, high * 0.42, rng)
    return high


def _words(solid: Solid, half: float, y: float, high: float, rng: Rng) -> None:
    x = -half
    while x < half - high:
        wide = min(rng.between(2.0, 5.0) * high, half - x)
        _plate(solid, [(x, y - high), (x, y + high), (x + wide, y + high), (x + wide, y - high)], WHITE, 0.02)
        x += wide + high * 0.8


def _guide(solid: Solid, rng: Rng) -> float:
    half, high = rng.between(1.3, 2.4), rng.between(0.8, 1.3)
    style = GREEN if rng.chance(0.8) else BLUE
    _plate(solid, _rectangle(half, high), WHITE)
    _plate(solid, _rectangle(half - 0.06, high - 0.06), style, 0.01)
    _words(solid, half * 0.8, high * 0.45, high * 0.16, rng)
    _words(solid, half * 0.6, high * -0.02, high * 0.14, rng)
    x, y, thick = rng.between(-0.5, 0.5) * half, -high * 0.55, high * 0.06
    _plate(
        solid, [(x - thick, y - high * 0.3), (x - thick, y), (x + thick, y), (x + thick, y - high * 0.3)], WHITE, 0.02
    )
    _plate(solid, [(x - high * 0.16, y), (x, y + high * 0.26), (x + high * 0.16, y)], WHITE, 0.02)
    return high


STREET_KINDS: dict[Callable[[Solid, Rng], float], float] = {
    _stop: 2.0,
    _diamond: 2.0,
    _yield: 0.8,
    _round: 1.4,
    _limit: 2.0,
    _parking: 3.0,
    _street_name: 2.6,
}
HIGHWAY_KINDS: dict[Callable[[Solid, Rng], float], float] = {_limit: 2.0, _diamond: 2.0, _guide: 4.0, _round: 0.4}
"""Colours of the signs on highways."""


LEAVES: tuple[Colour, ...] = ((66, 100, 48), (84, 116, 54), (58, 84, 52), (104, 120, 58), (150, 112, 50), (46, 74, 44))
BARK = Style((78, 62, 50))


def tree(rng: Rng, *, bare: bool, twigs: int) -> Solid:
    """Build a tree, with leaves or bare."""
    solid = Solid()
    trunk, wide = rng.between(2.2, 3.2), rng.between(1.4, 2.5)
    solid.limb((0.0, 0.0, 0.0), (rng.between(-0.2, 0.2), trunk + 0.8, 0.0), rng.between(0.1, 0.2), BARK)
    high = wide * rng.between(0.9, 1.4)
    if bare:
        _branches(solid, rng, trunk, (wide, high), twigs)
    else:
        _crown(solid, rng, trunk, (wide, high), twigs)
    return solid


def _branches(solid: Solid, rng: Rng, trunk: float, size: tuple[float, float], twigs: int) -> None:
    wide, high = size
    for _ in range(twigs):
        start = rng.between(0.6, 1.0) * trunk
        tip = (rng.between(-1.0, 1.0) * wide, trunk + rng.between(0.3, 1.6) * high, 0.0)
        solid.limb((0.0, start, 0.0), tip, rng.between(0.03, 0.06), BARK)


def _crown(solid: Solid, rng: Rng, trunk: float, size: tuple[float, float], twigs: int) -> None:
    wide, high = size
    leaves = rng.choice(LEAVES)
    for index in range(twigs):
        up = index / (twigs - 1)
        room = 1.0 - (up - 0.4) * (up - 0.4) * 1.7
        x = rng.between(-1.0, 1.0) * wide * room * 0.8
        y = trunk + high * (0.1 + 1.5 * up) * rng.between(0.8, 1.1)
        tone = (0.62 + 0.5 * up) * rng.between(0.85, 1.15)
        solid.ball(
            (x, y, 0.0), wide * rng.between(0.25, 0.5) * (1.0 if twigs < 40 else 0.7), Style(shade(leaves, tone))
        )
