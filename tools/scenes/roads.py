"""The road of a scene, its lanes and crossing; and the ground's pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from tools.scenes.camera import HEIGHT, WIDTH
from tools.scenes.raster import LEVELS, SIDE, grain, packed

if TYPE_CHECKING:
    from tools.scenes.camera import Camera, Floats
    from tools.scenes.light import Light
    from tools.scenes.raster import Bytes, Packed
    from tools.scenes.rng import Rng

SCENES = {"city street": 6.2, "highway": 2.2, "residential": 1.6}
LANE = 3.5
"""Width of a lane in metres."""


class Lane(NamedTuple):
    """A lane; x of its middle in metres."""

    x: float
    oncoming: bool
    parked: bool = False


class Road(NamedTuple):
    """A road along the direction of view; x in metres from the camera."""

    scene: str
    lanes: tuple[Lane, ...]
    left: float
    right: float
    """Edges of the roadway."""
    walk: float
    """Width of the pavements; 0 for none."""
    middle: float
    """Where the two directions meet; the left edge of a one-way road."""
    walls: tuple[float, float]
    """Where houses begin, left and right."""
    crossing: tuple[float, float] | None
    """From where to where another road crosses, in metres ahead."""
    track: float | None
    """Middle of a tram's track along the road."""
    snow: bool = False

    def lanes_that(self, *, parked: bool) -> tuple[Lane, ...]:
        """Return the lanes for parking or for driving; all lanes where there are none of that kind."""
        return tuple(lane for lane in self.lanes if lane.parked == parked) or self.lanes

    def on_crossing(self, z: float, margin: float = 0.0) -> bool:
        """Whether a place ahead is on the other road."""
        return self.crossing is not None and self.crossing[0] - margin < z < self.crossing[1] + margin


def random_road(rng: Rng, snow: bool) -> Road:
    """Return a random road."""
    scene = rng.weighted(SCENES)
    if scene == "highway":
        return _highway(rng, snow)
    city = scene == "city street"
    lanes_each = rng.integer(1, 2) if city else 1
    parking = 2.3 if rng.chance(0.75) else 0.0
    own = rng.integer(1, lanes_each) if city else 1
    middle = -LANE * (own - 0.5) + rng.between(-0.3, 0.3)
    tram = city and rng.chance(0.2)
    gap = 3.4 if tram else 0.0
    lanes = [Lane(middle + LANE * (index + 0.5), oncoming=False) for index in range(lanes_each)]
    lanes += [Lane(middle - gap - LANE * (index + 0.5), oncoming=True) for index in range(lanes_each)]
    right, left = middle + LANE * lanes_each + parking, middle - gap - LANE * lanes_each - parking
    if parking:
        lanes += [Lane(right - 1.15, oncoming=False, parked=True), Lane(left + 1.15, oncoming=True, parked=True)]
    walk = rng.between(2.5, 4.5)
    room = walk + (rng.between(0.5, 4.0) if city else rng.between(4.0, 9.0))
    crossing = rng.between(16.0, 60.0) if rng.chance(0.6 if city else 0.3) else None
    return Road(
        scene=scene,
        lanes=tuple(lanes),
        left=left,
        right=right,
        walk=walk,
        middle=middle - gap,
        walls=(left - room, right + room),
        crossing=(crossing, crossing + rng.between(8.0, 16.0)) if crossing else None,
        track=middle - gap / 2 if tram else None,
        snow=snow,
    )


def _highway(rng: Rng, snow: bool) -> Road:
    count, own = rng.integer(2, 4), 0
    own = rng.integer(0, count - 1)
    start = -LANE * (own + 0.5)
    lanes = [Lane(start + LANE * (index + 0.5), oncoming=False) for index in range(count)]
    right = start + LANE * count + 2.6
    barrier = start - 1.4
    lanes += [Lane(barrier - 2.6 - LANE * (index + 0.5), oncoming=True) for index in range(count)]
    left = barrier - 2.6 - LANE * count - 2.0
    return Road(
        scene="highway",
        lanes=tuple(lanes),
        left=left,
        right=right,
        walk=0.0,
        middle=barrier,
        walls=(left - rng.between(8.0, 30.0), right + rng.between(8.0, 30.0)),
        crossing=None,
        track=None,
        snow=snow,
    )


ASPHALT, WALK, GRASS, ZEBRA, KERB, SLEEPERS, BARE = range(7)
MATERIALS = 7
FINE = 32
"""Steps per metre across the road."""
REACH = 64
"""Metres to either side beyond which the ground is uniform."""
FARTHEST = 400.0
WHITE_LINE = np.array((226.0, 226.0, 220.0))
YELLOW_LINE = np.array((226.0, 176.0, 50.0))


class Rows(NamedTuple):
    """The rows of the frame that show ground."""

    first: int
    depth: Floats
    """[n]: metres ahead."""
    scale: Floats
    """[n]: pixels of a metre."""
    zero: Floats
    """[n]: the column below the camera's path."""


def ground_rows(camera: Camera) -> Rows:
    """Return the rows that show ground, and its distance."""
    first = int(camera.horizon) + 1
    below = np.arange(first, HEIGHT) + 0.5 - camera.horizon
    depth = np.minimum(camera.focal * camera.height / below, FARTHEST)
    return Rows(first, depth, camera.focal / depth, camera.centre + camera.focal * camera.bend * depth)


def draw_ground(frame: Packed, road: Road, rows: Rows, light: Light, rng: Rng) -> None:
    """Draw the ground onto a frame of packed colours [rows, columns]."""
    bins = _bins(rows)
    materials, kinds = _materials(road), _surfaces(road, rows, rng)
    index = materials[0].take(bins)
    for kind in (1, 2):
        chosen = kinds == kind
        index[chosen] = materials[kind].take(bins[chosen])
    along = (rows.depth * rng.choice((6.0, 9.0, 12.0))).astype(np.int64) % SIDE
    number = np.arange(len(rows.depth), dtype=np.int32)[:, None]
    texture = grain(rng.integer(0, 3))[along] + number * (MATERIALS * LEVELS)
    index += texture.ravel().take((bins & (SIDE - 1)) + number * SIDE)
    if light.beam:
        _add_beam(index, rows)
    frame[rows.first :] = _colours(road, rows, light, rng).ravel().take(index)


def _bins(rows: Rows) -> npt.NDArray[np.int32]:
    """Return for each pixel how far from the camera's path it lies, in steps from REACH metres to the left."""
    step = (FINE / rows.scale)[:, None]
    first = REACH * FINE + (0.5 - rows.zero[:, None]) * step
    across = np.arange(WIDTH, dtype=np.float32) * step.astype(np.float32)
    across += first.astype(np.float32)
    return np.clip(across, 0, 2 * REACH * FINE - 1, out=across).astype(np.int32)


def _surfaces(road: Road, rows: Rows, rng: Rng) -> npt.NDArray[np.int32]:
    """Return which row of ``_materials`` each row of the frame shows: 0 road, 1 zebra crossing, 2 another road."""
    kinds = np.zeros(len(rows.depth), np.int32)
    if road.crossing is not None:
        start, end = road.crossing
        kinds[(rows.depth > start) & (rows.depth < end)] = 2
        if rng.chance(0.8):
            for zebra in (start - 3.6, end + 0.6):
                kinds[(rows.depth > zebra) & (rows.depth < zebra + 3.0)] = 1
    return kinds


def _materials(road: Road) -> npt.NDArray[np.int32]:
    """Return the material at each step across, times ``LEVELS``, for each kind of row."""
    x = (np.arange(2 * REACH * FINE) + 0.5) / FINE - REACH
    plain = np.full(len(x), GRASS if road.scene != "city street" else BARE, np.int32)
    plain[(x > road.left - road.walk) & (x < road.right + road.walk)] = WALK
    if road.walk:
        plain[(x > road.left - 0.16) & (x < road.right + 0.16)] = KERB
    plain[(x > road.left) & (x < road.right)] = ASPHALT
    if road.track is not None:
        plain[np.abs(x - road.track) < 1.3] = SLEEPERS
    zebra = plain.copy()
    stripes = ((x * 2 + 4096).astype(np.int64) % 2 == 0) & (x > road.left + 0.4) & (x < road.right - 0.4)
    zebra[stripes] = ZEBRA
    return np.stack((plain, zebra, np.full(len(x), ASPHALT, np.int32))) * np.int32(LEVELS)


def _add_beam(index: npt.NDArray[np.int32], rows: Rows) -> None:
    """Add the levels of brightness of the camera car's headlamps."""
    lit = np.flatnonzero(rows.depth < 45.0)
    depth = rows.depth[lit]
    near = (1.0 - depth / 45.0) * np.clip(depth / 6.0 - 0.3, 0.3, 1.0)
    wide = 1 / ((2.2 + depth * 0.16) * rows.scale[lit])
    columns = np.arange(WIDTH, dtype=np.float32)
    aside = (columns - rows.zero[lit, None].astype(np.float32)) * wide[:, None].astype(np.float32)
    aside *= aside
    aside += np.float32(1.0)
    index[lit] += (((LEVELS - 8) * near[:, None]).astype(np.float32) / aside).astype(np.int32)


def _colours(road: Road, rows: Rows, light: Light, rng: Rng) -> Packed:
    """Return the packed colour of each row, material and level of brightness."""
    grey = rng.between(66, 104) if light.weather != "rainy" else rng.between(52, 72)
    base = np.zeros((MATERIALS, 3))
    base[ASPHALT] = grey, grey, grey * 1.03
    base[WALK] = np.array((152.0, 148.0, 142.0)) * rng.between(0.85, 1.1)
    base[GRASS] = rng.choice(((86.0, 112.0, 62.0), (112.0, 116.0, 70.0), (128.0, 112.0, 82.0)))
    base[BARE] = np.array((128.0, 124.0, 118.0)) * rng.between(0.85, 1.1)
    base[ZEBRA] = WHITE_LINE * 0.92
    base[KERB] = 178, 176, 170
    base[SLEEPERS] = np.array((104.0, 98.0, 92.0)) * rng.between(0.85, 1.15)
    if road.snow:
        base[[WALK, GRASS, BARE]] = 226, 230, 236
        base[[ASPHALT, SLEEPERS]] = base[[ASPHALT, SLEEPERS]] * 0.5 + 90
    bright = _brightness(rows, light)
    colours = base[None, :, None] * bright[:, None, :, None] * (light.ambient + light.sun * light.towards[1])
    if light.beam:
        levels = np.clip(np.arange(LEVELS) - 7, 0, None) / (LEVELS - 8)
        colours += base[None, :, None] * (levels * light.beam * 1.1)[None, None, :, None]
    if light.weather == "rainy":
        shine = np.clip(0.5 - light.clearness(rows.depth * 6)[:, None, None, None] * 0.5, 0, 0.5)
        colours = colours + (light.low * 0.8 - colours) * shine
    return packed(light.hazed(colours, rows.depth[:, None, None, None]))


def _brightness(rows: Rows, light: Light) -> Floats:
    """Return the factor of each row and level; far away the unevenness is too fine to be visible."""
    rough = np.clip(14.0 / rows.depth, 0.12, 1.0)[:, None]
    levels = np.minimum(np.arange(LEVELS), 7) if light.beam else np.arange(LEVELS)
    return 1.0 + rough * (levels - 3.5) * 0.045


class Stroke(NamedTuple):
    """A line along the road."""

    x: float
    width: float
    colour: Floats
    dashes: tuple[float, float] | None = None
    """Length of a dash and of dash and gap."""


def draw_strokes(frame: Bytes, road: Road, rows: Rows, light: Light, rng: Rng) -> None:
    """Paint lane lines and rails onto a frame of bytes [rows, columns, 4]."""
    for stroke in _strokes(road, rng):
        _draw_stroke(frame, stroke, road, rows, light)


def _strokes(road: Road, rng: Rng) -> list[Stroke]:
    dashes = (3.0, rng.choice((9.0, 12.0)))
    strokes = [Stroke(x, 0.14, WHITE_LINE, dashes) for x in _inner(road)]
    if road.scene == "highway":
        own = [lane.x for lane in road.lanes if not lane.oncoming]
        strokes.append(Stroke(min(own) - LANE / 2 - 0.05, 0.18, YELLOW_LINE))
        strokes.append(Stroke(max(own) + LANE / 2 + 0.05, 0.18, WHITE_LINE))
    elif road.track is not None:
        strokes += [Stroke(road.track + side, 0.1, np.array((176.0, 178.0, 182.0))) for side in (-0.72, 0.72)]
    elif road.scene == "city street" or rng.chance(0.6):
        strokes += [Stroke(road.middle + side, 0.13, YELLOW_LINE) for side in (-0.14, 0.14)]
    if any(lane.parked for lane in road.lanes) and rng.chance(0.6):
        strokes += [Stroke(road.right - 2.4, 0.12, WHITE_LINE), Stroke(road.left + 2.4, 0.12, WHITE_LINE)]
    return strokes


def _inner(road: Road) -> list[float]:
    """Return the borders that two lanes of one direction share."""
    lanes = [lane for lane in road.lanes if not lane.parked]
    pairs = [(a, b) for a in lanes for b in lanes if a.oncoming == b.oncoming and abs(b.x - a.x - LANE) < 0.1]
    return sorted((a.x + b.x) / 2 for a, b in pairs)


def _draw_stroke(frame: Bytes, stroke: Stroke, road: Road, rows: Rows, light: Light) -> None:
    width = stroke.width * rows.scale
    left = rows.zero + (stroke.x - stroke.width / 2) * rows.scale
    painted = width > 0.25
    if stroke.dashes:
        painted &= rows.depth % stroke.dashes[1] < stroke.dashes[0]
    if road.crossing is not None:
        painted &= (rows.depth < road.crossing[0] - 4.6) | (rows.depth > road.crossing[1] + 4.6)
    chosen = np.flatnonzero(painted & (left < WIDTH) & (left + width > 0))
    if not len(chosen):
        return
    left, right = left[chosen], (left + width)[chosen]
    columns = np.floor(left).astype(np.int64)[:, None] + np.arange(int(width[chosen].max()) + 2)
    cover = np.minimum(columns + 1, right[:, None]) - np.maximum(columns, left[:, None])
    cover = np.where((columns >= 0) & (columns < WIDTH), np.clip(cover, 0.0, 1.0) * 0.88, 0.0)
    depth = rows.depth[chosen, None]
    lit = light.ambient + light.sun * light.towards[1]
    near = np.clip(1.0 - depth / 50.0, 0.0, 1.0) * light.beam
    colour = light.hazed(stroke.colour * (lit + near), depth)
    place = (rows.first + chosen)[:, None], np.clip(columns, 0, WIDTH - 1)
    under = frame[(*place, slice(0, 3))]
    mixed = under + (np.minimum(colour, 240)[:, None] - under) * cover[..., None]
    use = cover > 0
    frame[place[0].repeat(columns.shape[1], 1)[use], place[1][use], :3] = mixed[use].astype(np.uint8)
