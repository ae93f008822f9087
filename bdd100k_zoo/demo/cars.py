"""Cars of several builds: saloons, estates, off-roaders and vans."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.demo.prisms import Prism, Rim, shade, wheels
from bdd100k_zoo.demo.solids import Colour, Solid, Style

if TYPE_CHECKING:
    from bdd100k_zoo.demo.dice import Dice

PAINTS: tuple[Colour, ...] = (
    (236, 236, 236),
    (222, 222, 218),
    (176, 180, 186),
    (120, 124, 130),
    (70, 74, 80),
    (34, 36, 40),
    (24, 28, 46),
    (150, 30, 34),
    (196, 46, 38),
    (36, 66, 126),
    (62, 110, 170),
    (40, 78, 58),
    (176, 160, 128),
    (226, 178, 40),
    (200, 104, 44),
    (92, 50, 40),
)
GLASS = Style((44, 56, 66))
CLEAR = Style((96, 116, 130))
BLACK = Style((30, 30, 32))
TAIL = Style((206, 26, 24), shine=1.0)
HEAD = Style((252, 244, 220), shine=1.0)
PLATES: tuple[Colour, ...] = ((238, 238, 230), (238, 238, 230), (232, 196, 70))


class Build(NamedTuple):
    """Measures of a car in metres; z from its middle, to the front."""

    length: float
    width: float
    belt: float
    """Height of the windows' lower edge."""
    roof: float
    """Height of the roof."""
    bonnet: float
    """Height of the bonnet's front edge."""
    cabin: tuple[float, float, float, float]
    """Window's foot behind, roof's end behind, roof's end ahead, windscreen's foot; parts of half the length."""
    wheel: float
    """Radius."""


BUILDS: dict[str, Build] = {
    "saloon": Build(4.7, 1.82, 0.94, 1.44, 0.76, (-0.72, -0.42, 0.12, 0.46), 0.33),
    "hatchback": Build(4.1, 1.76, 0.96, 1.50, 0.80, (-0.96, -0.76, 0.14, 0.52), 0.32),
    "estate": Build(4.8, 1.84, 0.98, 1.54, 0.80, (-0.97, -0.80, 0.10, 0.44), 0.33),
    "off-roader": Build(4.7, 1.94, 1.12, 1.80, 1.00, (-0.98, -0.84, 0.10, 0.42), 0.38),
    "van": Build(5.1, 1.98, 1.12, 2.05, 0.98, (-0.99, -0.95, 0.42, 0.76), 0.35),
}
SHARES = {"saloon": 5.0, "hatchback": 3.0, "estate": 1.5, "off-roader": 4.0, "van": 1.5}


def car(dice: Dice) -> Solid:
    """Build a car."""
    build = _varied(BUILDS[dice.weighted(SHARES)], dice)
    paint = dice.pick(PAINTS)
    solid = Solid()
    middle = build.length * sum(build.cabin[1:3]) / 4
    solid.part((0.0, 0.6, 0.0))
    wheels(solid, build.width / 2, (-0.3 * build.length, 0.31 * build.length), build.wheel)
    body = _body(solid, build, paint)
    _rear(body, dice)
    _front(body, paint)
    solid.part((0.0, build.belt, middle) if build.roof < 1.9 else (0.0, 0.6, 0.0))
    _cabin(solid, build, paint)
    return solid


def _varied(build: Build, dice: Dice) -> Build:
    return build._replace(
        length=build.length * dice.between(0.93, 1.07),
        width=build.width * dice.between(0.96, 1.04),
        roof=build.roof * dice.between(0.96, 1.05),
    )


def _body(solid: Solid, build: Build, paint: Colour) -> Prism:
    end, half = build.length / 2, build.width / 2
    low = 0.26
    corners = (
        Rim(-end + 0.06, low, half * 0.96),
        Rim(-end, 0.58, half),
        Rim(-end + 0.1, build.belt, half * 0.97),
        Rim(end * build.cabin[3], build.belt, half * 0.97),
        Rim(end - 0.16, build.bonnet, half * 0.95),
        Rim(end, 0.56, half * 0.95),
        Rim(end - 0.05, low, half * 0.92),
    )
    skirt, side, top = Style(shade(paint, 0.72)), Style(paint), Style(shade(paint, 1.08))
    body = Prism(solid, corners)
    body.hull((skirt, side, top, top, side, skirt), side)
    end_of_arch = low + 0.1
    body.on_sides([(-end + 0.1, low), (-end + 0.1, end_of_arch), (end - 0.1, end_of_arch), (end - 0.1, low)], BLACK)
    return body


def _rear(body: Prism, dice: Dice) -> None:
    reach = dice.between(0.52, 0.72)
    low = dice.between(0.3, 0.5)
    body.mirrored_on_strip(1, (reach, low, 0.97, 0.94), TAIL)
    plate = Style(dice.pick(PLATES))
    if dice.chance(0.6):
        body.on_strip(1, (-0.24, 0.18, 0.24, 0.52), plate)
    else:
        body.on_strip(0, (-0.24, 0.42, 0.24, 0.82), plate)
    body.on_strip(0, (-0.9, 0.0, 0.9, 0.3), BLACK)


def _front(body: Prism, paint: Colour) -> None:
    body.mirrored_on_strip(4, (0.54, 0.08, 0.95, 0.72), HEAD)
    body.on_strip(4, (-0.46, 0.2, 0.46, 0.95), BLACK)
    body.on_strip(4, (-0.46, 0.5, 0.46, 0.62), Style(shade(paint, 0.9)))
    body.on_strip(5, (-0.7, 0.45, 0.7, 1.0), BLACK)
    body.on_strip(5, (-0.22, 0.08, 0.22, 0.42), Style((230, 230, 224)))


def _cabin(solid: Solid, build: Build, paint: Colour) -> None:
    end, half = build.length / 2, build.width / 2
    foot, back, ahead, front = (part * end for part in build.cabin)
    top = half * (0.9 if build.roof > 1.9 else 0.76)
    corners = (
        Rim(foot, build.belt, half * 0.95),
        Rim(back, build.roof, top),
        Rim(ahead, build.roof, top),
        Rim(front, build.belt, half * 0.93),
    )
    pillar = Style(shade(paint, 0.95))
    cabin = Prism(solid, corners)
    cabin.hull((pillar, Style(shade(paint, 1.1)), pillar), pillar)
    cabin.on_strip(0, (-0.86, 0.12, 0.86, 0.86), GLASS)
    cabin.on_strip(0, (-0.8, 0.55, 0.3, 0.82), CLEAR)
    cabin.on_strip(2, (-0.92, 0.1, 0.92, 0.95), GLASS)
    cabin.on_strip(2, (-0.85, 0.14, 0.1, 0.42), CLEAR)
    _side_windows(cabin, build)


def _side_windows(cabin: Prism, build: Build) -> None:
    end = build.length / 2
    foot, back, ahead, front = (part * end for part in build.cabin)
    low, high = build.belt + 0.04, build.roof - 0.1

    def slanted(bottom: float, top: float, part: float) -> float:
        return bottom + (top - bottom) * part

    split = (back + ahead) / 2
    rise = (high - build.belt) / (build.roof - build.belt)
    behind = (slanted(foot, back, 0.1) + 0.14, slanted(foot, back, rise) + 0.14)
    before = (slanted(front, ahead, 0.1) - 0.14, slanted(front, ahead, rise) - 0.1)
    cabin.on_sides([(behind[0], low), (behind[1], high), (split - 0.05, high), (split - 0.05, low)], GLASS)
    cabin.on_sides([(split + 0.05, low), (split + 0.05, high), (before[1], high), (before[0], low)], GLASS)
