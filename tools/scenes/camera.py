"""The camera: world coordinates → frame coordinates, and the visible faces of all things.

World coordinates are metres from the point of the road below the camera: x to the right, y up, z ahead. Frame
coordinates are pixels from the upper left corner, x to the right, y down.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from tools.scenes.solids import TURN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.scenes.rng import Rng
    from tools.scenes.solids import Place, Solid

WIDTH, HEIGHT = 1280, 720
Floats = npt.NDArray[np.float64]


class Camera(NamedTuple):
    """A camera behind a windscreen, level, on a road that bends."""

    focal: float
    """Focal length in pixels."""
    centre: float
    """Column of the point straight ahead."""
    horizon: float
    """Its row."""
    height: float
    """Above the road, in metres."""
    bend: float
    """Metres sideways that the road gains, for the square of each metre ahead."""

    def shift(self, z: float) -> float:
        """Return by how many pixels the bend shifts things at ``z`` metres."""
        return self.focal * self.bend * z

    def scale(self, z: float) -> float:
        """Return the pixels per metre at a distance of ``z`` metres."""
        return self.focal / z

    def scales(self, points: Floats) -> Floats:
        """Return the pixels per metre at each of the points [..., 3]."""
        return self.focal / np.maximum(points[..., 2], 0.3)

    def project(self, points: Floats, depth: Floats) -> Floats:
        """Return columns and rows [n, corners, 2] of points [n, corners, 3], moved with the road at ``depth`` [n]."""
        scale = self.scales(points)
        shift = self.focal * self.bend * depth[:, None]
        columns = self.centre + shift + points[..., 0] * scale
        return np.stack((columns, self.horizon + (self.height - points[..., 1]) * scale), axis=-1)


def random_camera(rng: Rng) -> Camera:
    """Return a camera at a random place behind the windscreen."""
    return Camera(
        focal=rng.between(880, 1080),
        centre=rng.between(590, 690),
        horizon=rng.between(310, 390),
        height=rng.between(1.25, 1.65),
        bend=rng.between(-0.0008, 0.0008) * rng.uniform(),
    )


CORNERS = 14
"""Number of corners of every polygon; those with fewer repeat the last one."""
FINEST = 0.5
"""Width and height in pixels below which a face is left out."""
Flags = npt.NDArray[np.bool_]
Wholes = npt.NDArray[np.int64]
_TURN = np.array(TURN)


class View(NamedTuple):
    """The projected faces of all things, thing after thing, far parts of each first."""

    polygons: Floats
    """[n, CORNERS, 2] in frame coordinates."""
    things: Wholes
    """[n]: the number of the thing that each belongs to; ascending."""
    colours: Floats
    """[n, 3] in plain white light."""
    shines: Floats
    holes: Flags
    normals: Floats
    """[n, 3]: the way that each face looks, as a direction in the world; zeros for round things."""
    depth: Floats
    """[n]: of the thing's middle, in metres."""
    side: Floats
    """[n]: metres to the right of the camera."""


class _Places(NamedTuple):
    """Placements as columns, one for each thing, face or part."""

    x: Floats
    y: Floats
    z: Floats
    right: Floats
    ahead: Floats

    def of(self, things: Wholes) -> _Places:
        return _Places(*(column[things] for column in self))

    def put(self, points: Floats) -> Floats:
        """Move points of the things [n, ..., 3] into the world."""
        x, y, z, right, ahead = (column.reshape(-1, *(1,) * (points.ndim - 2)) for column in self)
        moved = np.empty(points.shape)
        moved[..., 0] = points[..., 0] * ahead + points[..., 2] * right + x
        moved[..., 1] = points[..., 1] + y
        moved[..., 2] = points[..., 2] * ahead - points[..., 0] * right + z
        return moved


def look(things: Sequence[tuple[Solid, Place]], camera: Camera) -> View:
    """Return the visible faces of placed things."""
    solids = [solid for solid, _ in things]
    by_thing = _columns([place for _, place in things])
    owners = np.repeat(np.arange(len(solids)), [len(solid.counts) for solid in solids])
    places = by_thing.of(owners)
    radii = np.array([*chain.from_iterable(solid.radii for solid in solids)])
    points = places.put(_corners(solids))
    normals = _normals(points)
    normals[radii > 0] = 0.0
    visible = _turn_outwards(points, normals, solids, places, camera)
    order = np.lexsort((-_distances(solids, by_thing, camera), owners))
    order = order[visible[order]]
    polygons = camera.project(points[order], places.z[order])
    _round_limbs(polygons, radii[order, None] * camera.scales(points[order]))
    large = (polygons.max(1) - polygons.min(1) > FINEST).all(1)
    order = order[large]
    return View(
        polygons=polygons[large],
        things=owners[order],
        colours=_flat(solids, "colours").reshape(-1, 3)[order],
        shines=_flat(solids, "shines")[order],
        holes=_flat(solids, "holes").astype(np.bool_)[order],
        normals=normals[order],
        depth=places.z[order],
        side=places.x[order],
    )


def _flat(solids: Sequence[Solid], name: str) -> Floats:
    return np.array([*chain.from_iterable(getattr(solid, name) for solid in solids)], np.float64)


def _columns(places: Sequence[Place]) -> _Places:
    rows = np.array([(place.x, place.y, place.z, *place.heading) for place in places])
    return _Places(*rows.reshape(-1, 5).T)


def _corners(solids: Sequence[Solid]) -> Floats:
    """Return the corners of all faces, [n, CORNERS, 3]."""
    counts = _flat(solids, "counts").astype(np.int64)[:, None]
    places = np.cumsum(counts)[:, None] - counts + np.minimum(np.arange(CORNERS), counts - 1)
    return np.asarray(_flat(solids, "corners").reshape(-1, 3)[places])


def _round_limbs(polygons: Floats, radii: Floats) -> None:
    """Turn the two ends of each limb into its outline; radii [n, CORNERS] in pixels, 0 for faces."""
    limbs = np.flatnonzero(radii[:, 0] > 0)
    start, end = polygons[limbs, 0], polygons[limbs, 1]
    along = end - start
    length = np.sqrt(along[:, :1] * along[:, :1] + along[:, 1:] * along[:, 1:])
    along = np.where(length > 0, along, (1.0, 0.0)) / np.where(length > 0, length, 1.0)
    across = np.stack((-along[:, 1], along[:, 0]), axis=-1)
    rim = along[:, None] * _TURN[:, :1] + across[:, None] * _TURN[:, 1:]
    polygons[limbs, :7] = end[:, None] + rim * radii[limbs, 1, None, None]
    polygons[limbs, 7:] = start[:, None] - rim * radii[limbs, 0, None, None]


def _normals(points: Floats) -> Floats:
    """Return unit normals, of all corners together (Newell): faces may be bent a little."""
    x, y, z = (np.ascontiguousarray(points[..., axis].T) for axis in range(3))
    following = [np.roll(axis, -1, 0) for axis in (x, y, z)]
    normals = np.zeros((3, len(points)))
    for row, (a, b) in enumerate(((1, 2), (2, 0), (0, 1))):
        products = ((x, y, z)[a] - following[a]) * ((x, y, z)[b] + following[b])
        for corner in range(CORNERS):
            normals[row] += products[corner]
    length = np.sqrt(_dot(normals.T, normals.T))
    return np.asarray((normals / np.where(length > 0, length, 1.0)).T)


def _turn_outwards(points: Floats, normals: Floats, solids: Sequence[Solid], places: _Places, camera: Camera) -> Flags:
    """Turn all normals outwards or to the camera; return also which faces are visible."""
    one_sided = _flat(solids, "one_sided") > 0
    insides = places.put(_flat(solids, "insides").reshape(-1, 3))
    first = points[:, 0]
    outwards = _dot(normals, first - insides)
    to_camera = _dot(normals, np.array((0.0, camera.height, 0.0)) - first)
    normals[np.where(one_sided, outwards, to_camera) < 0] *= -1.0
    return np.asarray(~one_sided | (to_camera * np.where(outwards < 0, -1.0, 1.0) > 0))


def _distances(solids: Sequence[Solid], by_thing: _Places, camera: Camera) -> Floats:
    """Return the square of the distance from the camera to the part of each face."""
    parts = [len(solid.middles) // 3 for solid in solids]
    middles = by_thing.of(np.repeat(np.arange(len(solids)), parts)).put(_flat(solids, "middles").reshape(-1, 3))
    away = middles - np.array((0.0, camera.height, 0.0))
    first = np.repeat(np.cumsum(parts) - parts, [len(solid.counts) for solid in solids])
    return np.asarray(_dot(away, away)[first + _flat(solids, "parts").astype(np.int64)])


def _dot(a: Floats, b: Floats) -> Floats:
    """Return the scalar product, summed in a fixed order: libraries of linear algebra choose their own."""
    return np.asarray(a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2])
