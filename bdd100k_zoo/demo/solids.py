"""Things as faces and limbs, in metres.

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
    """None takes away what was drawn before: a hole."""
    shine: float = 0.0
    """How much of the colour is seen without any other light where lamps are lit: 1 for lamps, less for reflectors."""


class Place(NamedTuple):
    """Where a thing stands and which way it faces."""

    x: float
    z: float
    turn: float = 0.0
    """The tangent of half the angle to the right of straight ahead; 0 is seen from behind, 1 faces right."""
    back: bool = False
    """Turned round by 180 degrees more."""
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

    Numbers stand in plain lists, one thing's after the other's, to become arrays for all things of a scene at once.
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
    """Whether the face is seen from the side that looks away from that point only."""
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
        """Add a convex face of 3 to 14 corners; with ``inside`` it is seen from the other side only."""
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
