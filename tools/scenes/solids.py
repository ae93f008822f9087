"""Solid things as faces and limbs, in metres; and prisms, of which vehicles are built.

A thing's own coordinates: x to its right, y up from the ground, z to its front; the camera's if seen from behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

Colour = tuple[int, int, int]
Point = tuple[float, float, float]
ORIGIN: Point = (0.0, 0.0, 0.0)

_HALF = 0.8660254037844386
TURN = ((0.0, 1.0), (0.5, _HALF), (_HALF, 0.5), (1.0, 0.0), (_HALF, -0.5), (0.5, -_HALF), (0.0, -1.0))
"""Half a circle in steps of 30 degrees: ahead and to the left of a direction."""
CIRCLE = (*TURN, *((-ahead, -left) for ahead, left in TURN[1:-1]))


class Style(NamedTuple):
    """How a face looks."""

    colour: Colour | None
    """None for a hole, which removes what was drawn before."""
    shine: float = 0.0
    """Share of the colour that is visible without other light when lamps are lit: 1 for lamps, less for reflectors."""


class Place(NamedTuple):
    """Position and direction of a thing."""

    x: float
    z: float
    turn: float = 0.0
    """The tangent of half the angle to the right of straight ahead; 0 is seen from behind, 1 faces right."""
    back: bool = False
    """Whether it is turned by another 180 degrees."""
    y: float = 0.0

    @property
    def heading(self) -> tuple[float, float]:
        """The unit vector to the thing's front, x and z."""
        square = self.turn * self.turn
        sign = -1.0 if self.back else 1.0
        return sign * 2 * self.turn / (1 + square), sign * (1 - square) / (1 + square)


@dataclass(slots=True)
class Solid:
    """Faces and limbs that are drawn in the order in which they were added, part by part.

    Numbers are in plain lists, so that those of all things of a scene can be converted to arrays at once.
    """

    corners: list[float] = field(default_factory=list)
    """x, y, z of all corners, face after face; of a limb, its two ends."""
    counts: list[int] = field(default_factory=list)
    """Corners of each face."""
    colours: list[int] = field(default_factory=list)
    """Red, green, blue of each face."""
    shines: list[float] = field(default_factory=list)
    holes: list[bool] = field(default_factory=list)
    insides: list[float] = field(default_factory=list)
    """x, y, z of a point behind each face."""
    one_sided: list[bool] = field(default_factory=list)
    """Whether the face is visible only from the side that is turned away from that point."""
    radii: list[float] = field(default_factory=list)
    """Of limbs; 0 for faces."""
    parts: list[int] = field(default_factory=list)
    """The part of each face."""
    middles: list[float] = field(default_factory=list)
    """x, y, z of each part; those farther from the camera are drawn first."""

    def part(self, middle: Point) -> None:
        """Begin a part."""
        self.middles += middle

    def face(self, points: Sequence[Point], style: Style, inside: Point | None = None) -> None:
        """Add a convex face of 3 to 14 corners; with ``inside`` it is visible only from the other side."""
        self._add(points, style, inside, 0.0)

    def limb(self, start: Point, end: Point, radius: float, style: Style) -> None:
        """Add a round stick with round ends."""
        self._add((start, end), style, None, radius)

    def ball(self, centre: Point, radius: float, style: Style) -> None:
        """Add a ball."""
        self._add((centre, centre), style, None, radius)

    def _add(self, points: Sequence[Point], style: Style, inside: Point | None, radius: float) -> None:
        if not self.middles:
            self.part(ORIGIN)
        for point in points:
            self.corners += point
        self.counts.append(len(points))
        self.colours += style.colour or (0, 0, 0)
        self.shines.append(style.shine)
        self.holes.append(style.colour is None)
        self.insides += inside or ORIGIN
        self.one_sided.append(inside is not None)
        self.radii.append(radius)
        self.parts.append(len(self.middles) // 3 - 1)


TYRE = Style((28, 28, 30))
RIM = Style((128, 130, 134))


class Rim(NamedTuple):
    """A corner of the side view."""

    z: float
    y: float
    half: float
    """Half of the width there."""


class Prism:
    """A convex side view given from the rear's bottom over the top to the front's bottom.

    Strip i is the face between corners i and i + 1, across the full width.
    """

    def __init__(self, solid: Solid, corners: Sequence[Rim]) -> None:
        self._solid = solid
        self._corners = tuple(corners)
        count = len(self._corners)
        self._low = min(self._corners, key=lambda corner: corner.y)
        self._high = max(self._corners, key=lambda corner: corner.y)
        self._middle: Point = (0.0, sum(c.y for c in corners) / count, sum(c.z for c in corners) / count)

    def hull(self, styles: Sequence[Style], sides: Style) -> None:
        """Add the strips, each in its style, and both sides."""
        for index, style in enumerate(styles):
            self.on_strip(index, (-1, 0, 1, 1), style)
        for sign in (-1, 1):
            points = [(sign * corner.half, corner.y, corner.z) for corner in self._corners]
            self._solid.face(points, sides, self._middle)

    def on_strip(self, index: int, area: tuple[float, float, float, float], style: Style) -> None:
        """Add a rectangle on a strip: from -1 (left) to 1 (right) across, 0 to 1 along; left, start, right, end."""
        left, start, right, end = area
        low, high = self._along(index, start), self._along(index, end)
        points = [
            (edge * rim.half, rim.y, rim.z) for rim, edge in ((low, left), (high, left), (high, right), (low, right))
        ]
        self._solid.face(points, style, self._middle)

    def mirrored_on_strip(self, index: int, area: tuple[float, float, float, float], style: Style) -> None:
        """Add a rectangle on a strip, and the same on the other side of the middle."""
        left, start, right, end = area
        self.on_strip(index, area, style)
        self.on_strip(index, (-right, start, -left, end), style)

    def on_sides(self, points: Sequence[tuple[float, float]], style: Style) -> None:
        """Add a convex face of corners (z, y) on both sides."""
        for sign in (-1, 1):
            self._solid.face([(sign * self._half_at(y), y, z) for z, y in points], style, self._middle)

    def _along(self, index: int, part: float) -> Rim:
        a, b = self._corners[index], self._corners[index + 1]
        return Rim(a.z + (b.z - a.z) * part, a.y + (b.y - a.y) * part, a.half + (b.half - a.half) * part)

    def _half_at(self, y: float) -> float:
        low, high = self._low, self._high
        return low.half + (high.half - low.half) * (y - low.y) / (high.y - low.y)


def box(solid: Solid, low: Point, high: Point, style: Style) -> Prism:
    """Add a box between two corners, low at left rear bottom; x must be the same on both sides of 0."""
    half = high[0]
    corners = (
        Rim(low[2], low[1], half),
        Rim(low[2], high[1], half),
        Rim(high[2], high[1], half),
        Rim(high[2], low[1], half),
    )
    prism = Prism(solid, corners)
    prism.hull((style, style, style), style)
    return prism


def wheels(solid: Solid, half: float, axles: Sequence[float], radius: float, width: float = 0.24) -> None:
    """Add wheels at both sides of each axle; of ``width`` 0 if they are visible from the side only."""
    for z in axles:
        for sign in (-1, 1):
            inner, outer = sign * (half - width), sign * half
            tread = [(inner, 0.0, z), (inner, radius * 1.8, z), (outer, radius * 1.8, z), (outer, 0.0, z)]
            if width:
                solid.face(tread, TYRE)
            solid.face(disc((outer, radius, z), radius), TYRE, (0.0, radius, z))
            solid.face(disc((outer * 1.001, radius, z), radius * 0.6), RIM, (0.0, radius, z))


def disc(centre: Point, radius: float) -> list[Point]:
    """Return the corners of a disc that faces sideways."""
    x, y, z = centre
    return [(x, y + radius * up, z + radius * ahead) for ahead, up in CIRCLE]


def upright_disc(centre: Point, radius: float) -> list[Point]:
    """Return the corners of a disc that faces forwards and backwards."""
    x, y, z = centre
    return [(x + radius * right, y + radius * up, z) for right, up in CIRCLE]


def shade(colour: Colour, factor: float) -> Colour:
    """Return a darker (below 1) or lighter colour."""
    red, green, blue = (min(255, int(part * factor)) for part in colour)
    return red, green, blue
