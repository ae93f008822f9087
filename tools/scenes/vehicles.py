"""Cars of several builds, trucks, buses and trams."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tools.scenes.solids import Colour, Prism, Rim, Solid, Style, box, shade, wheels

if TYPE_CHECKING:
    from tools.scenes.rng import Rng

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
    """Dimensions of a car in metres; z from its middle to the front."""

    length: float
    width: float
    belt: float
    """Height of the windows' lower edge."""
    roof: float
    """Height of the roof."""
    bonnet: float
    """Height of the bonnet's front edge."""
    cabin: tuple[float, float, float, float]
    """z of the rear window's foot, the roof's two ends and the windscreen's foot, as shares of half the length."""
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


def car(rng: Rng) -> Solid:
    """Build a car."""
    build = _varied(BUILDS[rng.weighted(SHARES)], rng)
    paint = rng.choice(PAINTS)
    solid = Solid()
    middle = build.length * sum(build.cabin[1:3]) / 4
    solid.part((0.0, 0.6, 0.0))
    wheels(solid, build.width / 2, (-0.3 * build.length, 0.31 * build.length), build.wheel)
    body = _body(solid, build, paint)
    _rear(body, rng)
    _front(body, paint)
    solid.part((0.0, build.belt, middle) if build.roof < 1.9 else (0.0, 0.6, 0.0))
    _cabin(solid, build, paint)
    return solid


def _varied(build: Build, rng: Rng) -> Build:
    return build._replace(
        length=build.length * rng.between(0.93, 1.07),
        width=build.width * rng.between(0.96, 1.04),
        roof=build.roof * rng.between(0.96, 1.05),
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


def _rear(body: Prism, rng: Rng) -> None:
    reach = rng.between(0.52, 0.72)
    low = rng.between(0.3, 0.5)
    body.mirrored_on_strip(1, (reach, low, 0.97, 0.94), TAIL)
    plate = Style(rng.choice(PLATES))
    if rng.chance(0.6):
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


BOXES: tuple[Colour, ...] = (
    (240, 240, 238),
    (240, 240, 238),
    (214, 216, 216),
    (206, 190, 160),
    (60, 96, 150),
    (168, 60, 48),
    (96, 130, 96),
)
LIVERIES: tuple[tuple[Colour, Colour], ...] = (
    ((232, 234, 236), (30, 84, 160)),
    ((240, 236, 226), (190, 40, 40)),
    ((226, 170, 36), (30, 30, 30)),
    ((204, 50, 44), (240, 240, 236)),
    ((60, 130, 84), (236, 236, 226)),
    ((70, 120, 180), (236, 236, 236)),
)
TRAMS: tuple[tuple[Colour, Colour], ...] = (
    ((214, 218, 222), (190, 36, 44)),
    ((206, 210, 216), (30, 70, 150)),
    ((150, 156, 164), (220, 120, 30)),
    ((236, 232, 214), (36, 110, 80)),
)
BOARD = Style((250, 170, 50), shine=1.0)
LIT = Style((250, 236, 190), shine=1.0)
SEAM = Style((110, 110, 112))
GREY = Style((88, 90, 94))


def truck(rng: Rng) -> Solid:
    """Build a lorry: a cab, and a box, a tipper's body or a tank of planks behind."""
    paint = rng.choice(PAINTS)
    cargo = rng.choice(BOXES)
    length, height = rng.between(4.2, 9.0), rng.between(2.7, 3.7)
    half = rng.between(1.12, 1.28)
    solid = Solid()
    rear, bulkhead = -length / 2 - 0.9, length / 2 - 0.9
    solid.part((0.0, 0.7, 0.0))
    wheels(solid, half, (rear + 0.9, rear + 1.9, bulkhead + 1.0), 0.48, 0.42)
    box(solid, (-half, 0.55, rear), (half * 0.8, 0.95, bulkhead + 1.8), BLACK)
    solid.part((0.0, 2.0, (rear + bulkhead) / 2))
    if rng.chance(0.7):
        _cargo_box(solid, (half, rear, bulkhead, height), cargo, rng)
    else:
        _tipper(solid, (half, rear, bulkhead, height * 0.72), cargo)
    solid.part((0.0, 1.6, bulkhead + 1.0))
    _cab(solid, half * 0.93, bulkhead + 0.12, min(height * 0.82, 2.7), paint)
    return solid


def _cargo_box(solid: Solid, size: tuple[float, float, float, float], colour: Colour, rng: Rng) -> None:
    half, rear, front, height = size
    cargo = box(solid, (-half, 0.92, rear), (half, height, front), Style(colour))
    frame, band = Style(shade(colour, 0.7)), Style(rng.choice(PAINTS))
    cargo.on_strip(0, (-0.92, 0.06, -0.04, 0.94), Style(shade(colour, 0.94)))
    cargo.on_strip(0, (0.04, 0.06, 0.92, 0.94), Style(shade(colour, 0.94)))
    cargo.on_strip(0, (-0.03, 0.03, 0.03, 0.97), SEAM)
    cargo.mirrored_on_strip(0, (0.3, 0.08, 0.36, 0.92), SEAM)
    cargo.mirrored_on_strip(0, (0.74, -0.1, 0.98, 0.0), TAIL)
    cargo.on_strip(0, (-0.9, -0.12, 0.6, -0.02), Style((214, 60, 50)))
    cargo.on_strip(0, (-0.24, -0.12, 0.14, -0.01), Style((236, 236, 226)))
    low, high = 0.92, height
    span = high - low
    cargo.on_sides([(rear, low), (rear, low + 0.1), (front, low + 0.1), (front, low)], frame)
    if rng.chance(0.6):
        top, bottom = low + span * rng.between(0.6, 0.8), low + span * rng.between(0.3, 0.5)
        a, b = rear + (front - rear) * 0.15, rear + (front - rear) * 0.85
        cargo.on_sides([(a, bottom), (a, top), (b, top), (b, bottom)], band)
        cargo.on_strip(0, (-0.7, 0.55, 0.7, 0.75), band)


def _tipper(solid: Solid, size: tuple[float, float, float, float], colour: Colour) -> None:
    half, rear, front, height = size
    corners = (Rim(rear + 0.3, 0.95, half), Rim(rear, height, half), Rim(front, height, half), Rim(front, 0.95, half))
    body = Prism(solid, corners)
    style, rib = Style(shade(colour, 0.85)), Style(shade(colour, 0.6))
    body.hull((style, Style((92, 78, 60)), style), style)
    body.mirrored_on_strip(0, (0.84, 0.0, 0.96, 1.0), rib)
    body.mirrored_on_strip(0, (0.25, 0.0, 0.35, 1.0), rib)
    body.mirrored_on_strip(0, (0.7, -0.2, 0.95, -0.05), TAIL)
    for step in range(5):
        z = rear + 0.45 + (front - rear - 0.7) * step / 4
        body.on_sides([(z, 0.95), (z, height), (z + 0.16, height), (z + 0.16, 0.95)], rib)


def _cab(solid: Solid, half: float, back: float, height: float, paint: Colour) -> None:
    front = back + 1.9
    corners = (
        Rim(back, 0.6, half),
        Rim(back, height, half * 0.94),
        Rim(front - 0.5, height, half * 0.94),
        Rim(front - 0.08, 1.5, half),
        Rim(front, 0.5, half),
    )
    style = Style(paint)
    cab = Prism(solid, corners)
    cab.hull((Style(shade(paint, 0.8)), Style(shade(paint, 1.1)), style, style), style)
    cab.on_strip(2, (-0.9, 0.22, 0.9, 0.95), GLASS)
    cab.on_strip(2, (-0.8, 0.3, -0.05, 0.6), CLEAR)
    cab.on_strip(3, (-0.62, 0.12, 0.62, 0.6), BLACK)
    cab.on_strip(3, (-0.62, 0.28, 0.62, 0.36), GREY)
    cab.on_strip(3, (-1.0, 0.72, 1.0, 1.0), GREY)
    cab.mirrored_on_strip(3, (0.66, 0.5, 0.94, 0.76), HEAD)
    cab.on_sides(
        [(back + 0.5, 1.55), (back + 0.5, height - 0.2), (front - 0.55, height - 0.2), (front - 0.25, 1.55)], GLASS
    )


def bus(rng: Rng) -> Solid:
    """Build a bus."""
    paint, band = rng.choice(LIVERIES)
    length, height, half = rng.between(9.0, 12.5), rng.between(2.95, 3.3), 1.27
    solid = Solid()
    solid.part((0.0, 1.0, 0.0))
    wheels(solid, half, (-0.27 * length, 0.3 * length), 0.48, 0.4)
    rear, front = -length / 2, length / 2
    corners = (
        Rim(rear, 0.34, half),
        Rim(rear + 0.1, height, half * 0.97),
        Rim(front - 0.12, height, half * 0.97),
        Rim(front, 0.34, half),
    )
    body = Prism(solid, corners)
    style, stripe = Style(paint), Style(band)
    body.hull((style, Style(shade(paint, 1.1)), style), style)
    for style_of, low, high in (
        (stripe, 0.34, 0.7),
        (stripe, height - 0.22, height - 0.1),
        (BLACK, 1.3, height - 0.45),
    ):
        body.on_sides([(rear + 0.1, low), (rear + 0.12, high), (front - 0.14, high), (front - 0.1, low)], style_of)
    _panes(body, (rear + 0.4, front - 0.5), (1.38, height - 0.55), 7, rng.chance(0.5))
    for wheel in (-0.27 * length, 0.3 * length):
        body.on_sides([(wheel - 0.58, 0.34), (wheel - 0.5, 0.98), (wheel + 0.5, 0.98), (wheel + 0.58, 0.34)], BLACK)
    wheels(solid, half * 1.01, (-0.27 * length, 0.3 * length), 0.48, 0.0)
    _bus_ends(body, stripe)
    return solid


def _panes(body: Prism, along: tuple[float, float], heights: tuple[float, float], count: int, lit: bool) -> None:
    first, last = along
    low, high = heights
    step = (last - first) / count
    glass = (Style((84, 104, 116)), Style((62, 80, 92)))
    for index in range(count):
        a, b = first + index * step + 0.06, first + (index + 1) * step - 0.06
        style = LIT._replace(colour=(214, 206, 176)) if lit and index % 3 != 1 else glass[index % 2]
        body.on_sides([(a, low), (a, high), (b, high), (b, low)], style)


def _bus_ends(body: Prism, stripe: Style) -> None:
    body.on_strip(0, (-1.0, 0.0, 1.0, 0.1), BLACK)
    body.on_strip(0, (-0.6, 0.14, 0.6, 0.36), Style((70, 72, 76)))
    body.on_strip(0, (-1.0, 0.4, 1.0, 0.46), stripe)
    body.on_strip(0, (-0.78, 0.56, 0.78, 0.84), GLASS)
    body.on_strip(0, (-0.5, 0.87, 0.5, 0.96), BOARD)
    body.mirrored_on_strip(0, (0.74, 0.16, 0.93, 0.38), TAIL)
    body.on_strip(2, (-0.94, 0.17, 0.94, 0.62), GLASS)
    body.on_strip(2, (-0.03, 0.17, 0.03, 0.62), BLACK)
    body.on_strip(2, (-0.85, 0.24, -0.1, 0.42), CLEAR)
    body.on_strip(2, (-0.7, 0.04, 0.7, 0.14), BLACK)
    body.on_strip(2, (-0.62, 0.055, 0.62, 0.125), BOARD)
    body.on_strip(2, (-1.0, 0.68, 1.0, 0.74), stripe)
    body.on_strip(2, (-1.0, 0.92, 1.0, 1.0), BLACK)
    body.mirrored_on_strip(2, (0.66, 0.78, 0.92, 0.89), HEAD)


def train(rng: Rng) -> Solid:
    """Build a tram of two or three cars."""
    paint, band = rng.choice(TRAMS)
    cars, length, height = rng.integer(2, 3), rng.between(8.0, 11.0), rng.between(3.3, 3.7)
    solid = Solid()
    lit = rng.chance(0.6)
    for index in range(cars):
        middle = (index - (cars - 1) / 2) * (length + 0.5)
        ends = (index == 0, index == cars - 1)
        solid.part((0.0, 1.5, middle))
        _tram_car(solid, (middle - length / 2, middle + length / 2, height), (paint, band), ends, lit)
        if index:
            solid.part((0.0, 1.5, middle - length / 2 - 0.25))
            box(solid, (-1.0, 0.5, middle - length / 2 - 0.5), (1.0, height - 0.3, middle - length / 2), BLACK)
    solid.part((0.0, height + 0.4, 0.0))
    for start, end in (
        ((0.0, height, -0.9), (0.0, height + 0.6, 0.3)),
        ((0.0, height + 0.6, 0.3), (0.0, height + 1.2, -0.5)),
    ):
        solid.limb(start, end, 0.05, BLACK)
    solid.limb((-0.8, height + 1.2, -0.5), (0.8, height + 1.2, -0.5), 0.05, BLACK)
    return solid


def _tram_car(
    solid: Solid, size: tuple[float, float, float], colours: tuple[Colour, Colour], ends: tuple[bool, bool], lit: bool
) -> None:
    rear, front, height = size
    half = 1.32
    back, nose = (0.7 if ends[0] else 0.0), (0.7 if ends[1] else 0.0)
    corners = (
        Rim(rear + back * 0.2, 0.28, half),
        Rim(rear, 1.1, half * (0.9 if ends[0] else 1)),
        Rim(rear + back, height, half * 0.9),
        Rim(front - nose, height, half * 0.9),
        Rim(front, 1.1, half * (0.9 if ends[1] else 1)),
        Rim(front - nose * 0.2, 0.28, half),
    )
    style, stripe = Style(colours[0]), Style(colours[1])
    body = Prism(solid, corners)
    body.hull((stripe, style, Style(shade(colours[0], 0.8)), style, stripe), style)
    a, b = rear + back, front - nose
    for face, low, high in ((stripe, 0.28, 0.95), (BLACK, 0.28, 0.4), (BLACK, 1.45, height - 0.5)):
        body.on_sides([(a, low), (a, high), (b, high), (b, low)], face)
    _panes(body, (a + 0.1, b - 0.1), (1.55, height - 0.6), 6, lit)
    for z in (a + (b - a) * 0.3, a + (b - a) * 0.7):
        body.on_sides([(z - 0.6, 0.45), (z - 0.6, height - 0.4), (z + 0.6, height - 0.4), (z + 0.6, 0.45)], stripe)
        body.on_sides([(z - 0.5, 0.6), (z - 0.5, height - 0.5), (z - 0.04, height - 0.5), (z - 0.04, 0.6)], GLASS)
        body.on_sides([(z + 0.04, 0.6), (z + 0.04, height - 0.5), (z + 0.5, height - 0.5), (z + 0.5, 0.6)], GLASS)
    if ends[0]:
        _tram_end(body, 1, 0, (0.12, 0.72), TAIL)
    if ends[1]:
        _tram_end(body, 3, 4, (0.28, 0.88), HEAD)


def _tram_end(body: Prism, strip: int, apron: int, window: tuple[float, float], lamps: Style) -> None:
    low, high = window
    body.on_strip(strip, (-0.9, low, 0.9, high), GLASS)
    body.on_strip(strip, (-0.8, low + 0.1, -0.1, high - 0.25), CLEAR)
    board = (high + 0.04, high + 0.2) if strip == 1 else (low - 0.2, low - 0.04)
    body.on_strip(strip, (-0.5, board[0], 0.5, board[1]), BOARD)
    body.mirrored_on_strip(apron, (0.5, 0.35, 0.85, 0.7), lamps)
    body.on_strip(apron, (-0.12, 0.1, 0.12, 0.4), GREY)
