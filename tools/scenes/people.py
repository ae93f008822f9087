"""People on foot and on two wheels, and what they ride."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tools.scenes.solids import RIM, TYRE, Colour, Point, Solid, Style, disc, shade, upright_disc
from tools.scenes.vehicles import BLACK, HEAD, PAINTS, TAIL

if TYPE_CHECKING:
    from tools.scenes.rng import Rng

SKINS: tuple[Colour, ...] = ((236, 196, 168), (224, 178, 142), (190, 138, 100), (142, 98, 66), (96, 64, 46))
HAIRS: tuple[Colour, ...] = ((30, 24, 22), (58, 40, 28), (104, 72, 40), (170, 136, 80), (150, 150, 150))
TOPS: tuple[Colour, ...] = (
    (40, 44, 54),
    (70, 74, 84),
    (180, 40, 44),
    (40, 80, 150),
    (230, 230, 226),
    (70, 120, 70),
    (200, 160, 60),
    (130, 70, 120),
    (220, 120, 60),
    (90, 130, 170),
)
LEGS: tuple[Colour, ...] = ((36, 40, 60), (30, 30, 34), (60, 76, 110), (110, 100, 84), (80, 80, 86))
HELMETS: tuple[Colour, ...] = ((240, 240, 240), (30, 30, 34), (200, 40, 40), (40, 90, 170), (230, 190, 50))
HOLE = Style(None)
SHOE = Style((40, 34, 32))


class Clothes(NamedTuple):
    """Colours of a person."""

    skin: Style
    hair: Style
    top: Style
    sleeve: Style
    legs: Style


def _clothes(rng: Rng) -> Clothes:
    top = rng.choice(TOPS)
    return Clothes(
        Style(rng.choice(SKINS)),
        Style(rng.choice(HAIRS)),
        Style(top),
        Style(shade(top, 0.86)),
        Style(rng.choice(LEGS)),
    )


def pedestrian(rng: Rng) -> Solid:
    """Build a walking or standing person, 0.9 to 1.9 m tall."""
    solid, clothes = Solid(), _clothes(rng)
    solid.part((0.0, 0.9, 0.0))
    size = rng.between(1.0, 1.4) / 1.75 if rng.chance(0.08) else rng.between(1.55, 1.92) / 1.75
    stride = rng.between(-0.3, 0.3) if rng.chance(0.75) else 0.04
    _leg(solid, (0.1, stride), clothes, size)
    _arm(solid, (0.24, -stride * 0.8), clothes, size)
    if rng.chance(0.25):
        _bag(solid, rng, size)
    if rng.chance(0.12):
        _skirt(solid, clothes, size)
    _leg(solid, (-0.1, -stride), clothes, size)
    solid.limb((0, 0.98 * size, 0), (0, 1.28 * size, 0), 0.17 * size, clothes.top)
    solid.limb((-0.1 * size, 1.34 * size, 0), (0.1 * size, 1.34 * size, 0), 0.12 * size, clothes.top)
    _arm(solid, (-0.24, stride * 0.8), clothes, size)
    _head(solid, (0.0, 1.62 * size, 0.02), size, clothes)
    return solid


def _leg(solid: Solid, step: tuple[float, float], clothes: Clothes, size: float) -> None:
    x, stride = step[0] * size, step[1] * size
    knee: Point = (x, 0.5 * size, stride * 0.6 + 0.04)
    foot: Point = (x, 0.08 * size, stride)
    solid.limb((x * 0.8, 0.92 * size, 0), knee, 0.09 * size, clothes.legs)
    solid.limb(knee, foot, 0.07 * size, clothes.legs)
    solid.limb((x, 0.05 * size, stride - 0.02), (x, 0.05 * size, stride + 0.16 * size), 0.05 * size, SHOE)


def _arm(solid: Solid, swing: tuple[float, float], clothes: Clothes, size: float) -> None:
    x, stride = swing[0] * size, swing[1] * size
    elbow: Point = (x * 1.1, 1.1 * size, stride * 0.4 - 0.03)
    hand: Point = (x * 1.1, 0.84 * size, stride + 0.05)
    solid.limb((x * 0.9, 1.36 * size, 0), elbow, 0.06 * size, clothes.sleeve)
    solid.limb(elbow, hand, 0.05 * size, clothes.sleeve)
    solid.ball(hand, 0.055 * size, clothes.skin)


def _bag(solid: Solid, rng: Rng, size: float) -> None:
    solid.limb((0, 1.05 * size, -0.2), (0, 1.3 * size, -0.2), 0.15 * size, Style(rng.choice(TOPS)))


def _skirt(solid: Solid, clothes: Clothes, size: float) -> None:
    low, high = 0.55 * size, 1.05 * size
    for wide, deep in ((0.26, 0.0), (0.0, 0.24)):
        corners = [(-wide, low, -deep), (-wide / 2, high, -deep / 2), (wide / 2, high, deep / 2), (wide, low, deep)]
        solid.face(corners, clothes.top)


def _head(solid: Solid, at: Point, size: float, clothes: Clothes) -> None:
    """Add a head whose face is before or behind its hair, as one looks at it."""
    x, y, z = at
    solid.part((x, y, z - 0.02))
    solid.ball((x, y + 0.03 * size, z - 0.02 * size), 0.125 * size, clothes.hair)
    solid.part((x, y, z + 0.03))
    _neck(solid, at, size, clothes)
    solid.ball((x, y - 0.02 * size, z + 0.03 * size), 0.105 * size, clothes.skin)
    solid.face(_cap((x, y, z), size), clothes.hair)


def _neck(solid: Solid, at: Point, size: float, clothes: Clothes) -> None:
    x, y, z = at
    solid.limb((x, y - 0.2 * size, z), (x, y - 0.1 * size, z), 0.055 * size, clothes.skin)


def _cap(at: Point, size: float) -> list[Point]:
    x, y, z = at
    wide, high = 0.115 * size, 0.15 * size
    return [
        (x - wide, y + 0.03, z),
        (x - wide * 0.7, y + high * 0.8, z),
        (x, y + high, z),
        (x + wide * 0.7, y + high * 0.8, z),
        (x + wide, y + 0.03, z),
    ]


class Ride(NamedTuple):
    """A bicycle or motorcycle, and the points that its rider touches."""

    solid: Solid
    seat: Point
    hands: Point
    """The left one is the mirror image."""
    feet: Point


def bicycle(rng: Rng) -> Ride:
    """Build a bicycle."""
    solid = Solid()
    frame = Style(rng.choice(PAINTS))
    thick = 0.035
    rear, front, radius = -0.52, 0.54, 0.34
    for z in (rear, front):
        _wheel(solid, z, radius, 0.06)
    crank, seat, head = (0.0, 0.3, -0.06), (0.0, 0.9, -0.24), (0.0, 0.86, 0.36)
    for start, end in (
        ((0.0, radius, rear), crank),
        ((0.0, radius, rear), (0.0, 0.78, -0.2)),
        (crank, seat),
        (crank, (0.0, 0.74, 0.38)),
        ((0.0, 0.78, -0.2), head),
        ((0.0, radius, front), head),
    ):
        solid.limb(start, end, thick, frame)
    solid.ball(crank, 0.09, BLACK)
    solid.limb(head, (0.0, 1.02, 0.33), thick, BLACK)
    solid.limb((-0.3, 1.03, 0.3), (0.3, 1.03, 0.3), 0.03, BLACK)
    solid.limb((0.0, 0.94, -0.36), (0.0, 0.95, -0.14), 0.05, BLACK)
    solid.ball((0.0, 0.72, -0.34), 0.04, TAIL)
    return Ride(solid, (0.0, 1.0, -0.24), (0.26, 1.06, 0.3), (0.12, 0.2, -0.02))


def _wheel(solid: Solid, z: float, radius: float, thick: float) -> None:
    """Add a wheel with a visible background between its spokes."""
    solid.limb((0.0, thick / 2, z), (0.0, 2 * radius - thick / 2, z), thick / 2, TYRE)
    solid.face(disc((0.0, radius, z), radius), TYRE)
    solid.face(disc((0.0, radius, z), radius - thick), HOLE)
    solid.limb((0.0, thick, z), (0.0, 2 * radius - thick, z), 0.012, RIM)
    solid.limb((0.0, radius, z - radius + thick), (0.0, radius, z + radius - thick), 0.012, RIM)


def motorcycle(rng: Rng) -> Ride:
    """Build a motorcycle or a scooter."""
    solid = Solid()
    paint = Style(rng.choice(PAINTS))
    rear, front, radius = -0.66, 0.7, 0.32
    for z in (rear, front):
        solid.limb((0.0, 0.08, z), (0.0, 2 * radius - 0.08, z), 0.085, TYRE)
        for x in (-0.08, 0.08):
            for part, style in ((1.0, TYRE), (0.6, RIM), (0.25, BLACK)):
                solid.face(disc((x, radius, z), radius * part), style, (0.0, radius, z))
    solid.limb((0.0, 0.42, -0.22), (0.0, 0.42, 0.26), 0.2, Style((84, 86, 90)))
    solid.limb((0.12, 0.34, 0.1), (0.14, 0.34, -0.8), 0.06, Style((170, 172, 176)))
    solid.limb((0.0, radius, front), (0.0, 0.94, 0.44), 0.05, RIM)
    solid.limb((0.0, 0.66, -0.66), (0.0, 0.62, -0.2), 0.11, paint)
    solid.limb((0.0, 0.76, 0.02), (0.0, 0.78, 0.34), 0.17, paint)
    solid.limb((0.0, 0.78, -0.62), (0.0, 0.76, -0.14), 0.08, BLACK)
    solid.limb((-0.36, 1.0, 0.34), (0.36, 1.0, 0.34), 0.035, BLACK)
    if rng.chance(0.5):
        solid.limb((0.0, 0.9, 0.52), (0.0, 1.14, 0.42), 0.13, paint)
    solid.face(upright_disc((0.0, 0.86, 0.62), 0.11), HEAD, (0.0, 0.86, 0.5))
    solid.face(upright_disc((0.0, 0.74, -0.78), 0.09), TAIL, (0.0, 0.74, -0.6))
    solid.face(
        [(-0.1, 0.46, -0.82), (-0.1, 0.6, -0.84), (0.1, 0.6, -0.84), (0.1, 0.46, -0.82)],
        Style((232, 232, 226)),
        (0.0, 0.5, -0.5),
    )
    return Ride(solid, (0.0, 0.9, -0.24), (0.32, 1.04, 0.32), (0.2, 0.3, 0.02))


def rider(rng: Rng, ride: Ride, motor: bool) -> Solid:
    """Build a person who sits on a ride, at the ride's own place."""
    solid, clothes = Solid(), _clothes(rng)
    solid.part((0.0, 0.9, 0.0))
    seat_y, seat_z = ride.seat[1], ride.seat[2]
    lean = rng.between(0.1, 0.3)
    shoulder = (seat_y + 0.5, seat_z + lean + 0.05)
    for sign in (1, -1):
        lift = 0.16 * sign if not motor else 0.0
        hip: Point = (0.1 * sign, seat_y, seat_z)
        foot: Point = (ride.feet[0] * sign, ride.feet[1] + lift, ride.feet[2])
        knee: Point = (0.15 * sign, (seat_y + foot[1]) / 2 + 0.1, seat_z + 0.36)
        solid.limb(hip, knee, 0.1, clothes.legs)
        solid.limb(knee, foot, 0.075, clothes.legs)
        solid.limb((foot[0], foot[1] - 0.04, foot[2] - 0.04), (foot[0], foot[1] - 0.04, foot[2] + 0.14), 0.05, SHOE)
        if sign > 0:
            solid.limb((0, seat_y + 0.06, seat_z), (0, shoulder[0] - 0.06, shoulder[1]), 0.18, clothes.top)
            solid.limb((-0.13, shoulder[0], shoulder[1]), (0.13, shoulder[0], shoulder[1]), 0.1, clothes.top)
    for sign in (1, -1):
        hand: Point = (ride.hands[0] * sign, ride.hands[1], ride.hands[2])
        elbow: Point = (0.3 * sign, shoulder[0] - 0.26, (shoulder[1] + hand[2]) / 2)
        solid.limb((0.2 * sign, shoulder[0], shoulder[1]), elbow, 0.06, clothes.sleeve)
        solid.limb(elbow, hand, 0.05, clothes.sleeve)
    head: Point = (0.0, shoulder[0] + 0.3, shoulder[1] + 0.05)
    if motor:
        _full_helmet(solid, head, Style(rng.choice(HELMETS)), clothes)
    elif rng.chance(0.6):
        _head(solid, head, 1.0, clothes._replace(hair=Style(rng.choice(HELMETS))))
    else:
        _head(solid, head, 1.0, clothes)
    return solid


def _full_helmet(solid: Solid, at: Point, shell: Style, clothes: Clothes) -> None:
    x, y, z = at
    solid.part(at)
    _neck(solid, at, 1.0, clothes)
    solid.ball((x, y + 0.02, z), 0.15, shell)
    visor = [(x - 0.1, y - 0.05), (x - 0.12, y + 0.06), (x + 0.12, y + 0.06), (x + 0.1, y - 0.05)]
    solid.face([(across, up, z + 0.14) for across, up in visor], BLACK, (x, y, z))
