"""Things as faces and limbs in metres, and how they stand in the world.

A thing's own coordinates: x to its right, y up from the ground, z to its front. Seen from behind, they are the camera's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.demo.camera import Camera, Floats

Colour = tuple[int, int, int]
Point = tuple[float, float, float]
CORNERS = 14
"""Of every polygon; those with fewer repeat their last."""

_HALF = 0.8660254037844386
TURN = ((0.0, 1.0), (0.5, _HALF), (_HALF, 0.5), (1.0, 0.0), (_HALF, -0.5), (0.5, -_HALF), (0.0, -1.0))
"""Half a circle in steps of 30 degrees: ahead and to the left of a direction."""
CIRCLE = (*TURN, *((-ahead, -left) for ahead, left in TURN[1:-1]))
_TURN = np.array(TURN)


class Style(NamedTuple):
    """How a face looks."""

    colour: Colour | None
    """None takes away what was drawn before: a hole."""
    glows: bool = False
    """Shines by itself where lamps are lit."""


@dataclass(frozen=True, slots=True)
class Outlines:
    """A thing as the camera sees it, far faces first."""

    polygons: Floats
    """[n, CORNERS, 2] in frame coordinates."""
    styles: tuple[Style, ...]
    shades: Floats
    """[n, 3]: the way that each face looks, as a direction in the world; zeros for round things."""
    depth: float
    """Of the thing's middle, in metres."""
    side: float
    """Metres to the right of the camera's axis."""


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
    """Faces and limbs that are drawn in the order in which they were added, part by part."""

    points: list[list[Point]] = field(default_factory=list)
    styles: list[Style] = field(default_factory=list)
    insides: list[Point | None] = field(default_factory=list)
    """A point behind each face; None for what is seen from all sides."""
    radii: list[float] = field(default_factory=list)
    """Of limbs; 0 for faces."""
    parts: list[int] = field(default_factory=list)
    middles: list[Point] = field(default_factory=list)
    """Of the parts; those farther from the camera are drawn first."""

    def part(self, middle: Point) -> None:
        """Begin a part."""
        self.middles.append(middle)

    def face(self, points: Sequence[Point], style: Style, inside: Point | None = None) -> None:
        """Add a convex face of at most CORNERS corners; with ``inside`` it is seen from the other side only."""
        self._add(points, style, inside, 0.0)

    def limb(self, start: Point, end: Point, radius: float, style: Style) -> None:
        """Add a round stick with round ends."""
        self._add((start, end), style, None, radius)

    def ball(self, centre: Point, radius: float, style: Style) -> None:
        """Add a ball."""
        self._add((centre, centre), style, None, radius)

    def _add(self, points: Sequence[Point], style: Style, inside: Point | None, radius: float) -> None:
        if not self.middles:
            self.part((0.0, 0.0, 0.0))
        self.points.append([*points, *[points[-1]] * (CORNERS - len(points))])
        self.styles.append(style)
        self.insides.append(inside)
        self.radii.append(radius)
        self.parts.append(len(self.middles) - 1)

    def include(self, other: Solid, offset: Point = (0.0, 0.0, 0.0)) -> None:
        """Add all of another thing, moved, as parts of this one."""
        dx, dy, dz = offset

        def moved(point: Point) -> Point:
            return point[0] + dx, point[1] + dy, point[2] + dz

        first = len(self.middles)
        self.points += [[moved(point) for point in points] for points in other.points]
        self.insides += [point and moved(point) for point in other.insides]
        self.middles += [moved(point) for point in other.middles]
        self.parts += [part + first for part in other.parts]
        self.styles += other.styles
        self.radii += other.radii

    def seen(self, place: Place, camera: Camera) -> Outlines:
        """Place it in the world and look at it."""
        points = _in_world(np.array(self.points), place)
        radii = np.array(self.radii)
        _round_limbs(points, radii)
        normals = _normals(points)
        visible = self._turn_outwards(points, normals, place, camera)
        order = self._order(place, camera)
        kept = order[visible[order]]
        return Outlines(
            polygons=camera.project(points[kept], place.z),
            styles=tuple(self.styles[index] for index in kept.tolist()),
            shades=np.where(radii[kept, None] > 0, 0.0, normals[kept]),
            depth=place.z,
            side=place.x,
        )

    def _turn_outwards(self, points: Floats, normals: Floats, place: Place, camera: Camera) -> npt.NDArray[np.bool_]:
        """Make all normals look outwards, or at the camera; say which faces are seen."""
        one_sided = np.array([inside is not None for inside in self.insides])
        insides = _in_world(np.array([inside or (0.0, 0.0, 0.0) for inside in self.insides])[:, None], place)[:, 0]
        first = points[:, 0]
        outwards = _dot(normals, first - insides)
        to_camera = _dot(normals, np.array((0.0, camera.height, 0.0)) - first)
        normals[np.where(one_sided, outwards, to_camera) < 0] *= -1.0
        return ~one_sided | (to_camera * np.where(outwards < 0, -1.0, 1.0) > 0)

    def _order(self, place: Place, camera: Camera) -> npt.NDArray[np.int64]:
        middles = _in_world(np.array(self.middles)[:, None], place)[:, 0] - (0.0, camera.height, 0.0)
        distances = _dot(middles, middles)
        return np.argsort(-distances[self.parts], kind="stable")


def _in_world(points: Floats, place: Place) -> Floats:
    right, ahead = place.heading
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return np.stack((x * ahead + z * right + place.x, y + place.y, z * ahead - x * right + place.z), axis=-1)


def _round_limbs(points: Floats, radii: Floats) -> None:
    """Turn the two ends of each limb into its outline, as wide as it is, upright before the camera."""
    limbs = radii > 0
    start, end = points[limbs, 0], points[limbs, 1]
    radius = radii[limbs, None]
    along = (end - start)[:, :2]
    length = np.sqrt(_dot(along, along))[:, None]
    along = np.where(length > 0, along, (1.0, 0.0)) / np.where(length > 0, length, 1.0) * radius
    across = np.stack((-along[:, 1], along[:, 0]), axis=-1)
    ahead, left = _TURN[:, 0, None], _TURN[:, 1, None]
    rim = along[:, None] * ahead + across[:, None] * left
    round_end = np.repeat(end[:, None], 7, 1)
    round_end[..., :2] += rim
    round_start = np.repeat(start[:, None], 7, 1)
    round_start[..., :2] -= rim
    points[limbs] = np.concatenate((round_end, round_start), axis=1)


def _normals(points: Floats) -> Floats:
    """Give unit normals, of all corners together (Newell): faces may be bent a little. Limbs get some."""
    following = np.roll(points, -1, 1)
    less, more = points - following, points + following
    products = (less[..., (1, 2, 0)] * more[..., (2, 0, 1)]).transpose(2, 1, 0)
    normals = np.zeros((3, len(points)))
    for corner in range(CORNERS):
        normals += products[:, corner]
    length = np.sqrt(_dot(normals.T, normals.T))
    return np.asarray((normals / np.where(length > 0, length, 1.0)).T)


def _dot(a: Floats, b: Floats) -> Floats:
    """The scalar product, in an order of its own: libraries of linear algebra choose theirs."""
    products = a * b
    total = products[..., 0]
    for axis in range(1, products.shape[-1]):
        total = total + products[..., axis]
    return total
