"""Place vehicles, people, traffic lights, signs and trees in a scene."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tools.scenes import furniture
from tools.scenes.furniture import tree
from tools.scenes.people import bicycle, motorcycle, pedestrian, rider
from tools.scenes.roads import LANE
from tools.scenes.solids import Place
from tools.scenes.vehicles import bus, car, train, truck

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tools.scenes.rng import Rng
    from tools.scenes.roads import Lane, Road
    from tools.scenes.solids import Solid

SHARES: Mapping[str, Mapping[str, float]] = {
    "city street": {
        "car": 62,
        "pedestrian": 14,
        "light": 8.0,
        "sign": 12,
        "truck": 4.5,
        "bus": 4.0,
        "cyclist": 3.2,
        "motorcyclist": 2.6,
        "bicycle": 1.2,
        "motorcycle": 1.0,
    },
    "residential": {
        "car": 64,
        "pedestrian": 11,
        "light": 3.5,
        "sign": 15,
        "truck": 4,
        "bus": 2.4,
        "cyclist": 4.0,
        "motorcyclist": 2.2,
        "bicycle": 2.0,
        "motorcycle": 1.2,
    },
    "highway": {"car": 58, "light": 0.6, "sign": 15, "truck": 10, "bus": 3.5, "motorcyclist": 2.6},
}
"""How often each kind of thing is added to a scene; traffic lights come in groups."""


def populate(road: Road, rng: Rng, reach: float) -> list[Actor]:
    """Return random things on and beside a road, up to ``reach`` metres ahead, the visibility."""
    plot = Plot(rng, reach)
    traffic, walkers, roadside = Traffic(plot, road, rng), Walkers(plot, road, rng), Roadside(plot, road, rng)
    adders: Mapping[str, Callable[[], None]] = {
        "car": partial(traffic.add, "car"),
        "truck": partial(traffic.add, "truck"),
        "bus": partial(traffic.add, "bus"),
        "pedestrian": walkers.add_pedestrians,
        "cyclist": partial(walkers.add_two_wheels, motor=False, ridden=True),
        "motorcyclist": partial(walkers.add_two_wheels, motor=True, ridden=True),
        "bicycle": partial(walkers.add_two_wheels, motor=False, ridden=False),
        "motorcycle": partial(walkers.add_two_wheels, motor=True, ridden=False),
        "light": roadside.add_lights,
        "sign": roadside.add_sign,
    }
    roadside.furnish()
    traffic.add_tram()
    for _ in range(10 + rng.integer(0, 17) + rng.integer(0, 17)):
        adders[rng.weighted(SHARES[road.scene])]()
    return plot.actors


FARTHEST = 110.0
"""Metres ahead up to which there is traffic."""
SIGHT = 0.66
"""Metres aside that the frame shows at a distance of one metre, about."""
EYE = 1.4
"""Height of the camera, about."""


class Actor(NamedTuple):
    """A placed thing."""

    solid: Solid
    place: Place
    category: str | None = None
    """None for things without labels."""
    light: str = "NA"
    """Of a traffic light: the lamp that is lit."""


class Plot:
    """Placed things, no two of which overlap."""

    def __init__(self, rng: Rng, reach: float) -> None:
        """Start empty; nothing is placed farther than ``reach`` metres, the visibility."""
        self.actors: list[Actor] = []
        self._rng = rng
        self._farthest = min(reach, FARTHEST)
        self._taken: list[tuple[float, float, float, float]] = []
        """Left, right, near and far ends of places, in metres."""
        self._sights: list[tuple[float, float, float, float]] = []
        """Distance of a vehicle, and its left, right and upper ends in metres at a distance of one metre."""

    def put(self, solid: Solid, place: Place, category: str | None = None, light: str = "NA") -> None:
        """Add a thing."""
        self.actors.append(Actor(solid, place, category, light))

    def depth(self, near: float, far: float = FARTHEST) -> float:
        """Choose a visible distance: mostly uniform in metres, sometimes uniform in apparent size."""
        far = min(far, self._farthest)
        part = self._rng.uniform()
        if self._rng.chance(0.68):
            return near + (far - near) * part
        return 1 / (1 / far + (1 / near - 1 / far) * part)

    def take(self, x: float, z: float, wide: float, long: float) -> bool:
        """Occupy the place around x and z if it is free; return whether it was."""
        left, right, near, far = x - wide / 2, x + wide / 2, z - long / 2, z + long / 2
        for other in self._taken:
            if left < other[1] and right > other[0] and near < other[3] and far > other[2]:
                return False
        self._taken.append((left, right, near, far))
        return True

    def take_in_sight(self, place: Place, size: tuple[float, float, float]) -> bool:
        """Occupy a place for a vehicle of this width, height and length if it neither hides another nor is hidden."""
        wide, high, long = size
        z = place.z
        sight = (place.x - wide / 2) / z, (place.x + wide / 2) / z, (high - EYE) / z
        seen = sight[1] > -SIGHT and sight[0] < SIGHT and not any(_hide(z, sight, *other) for other in self._sights)
        if not seen or not self.take(place.x, z, wide + 0.3, long + 1.2):
            return False
        self._sights.append((z, *sight))
        return True


def _hide(z: float, sight: tuple[float, float, float], *other: float) -> bool:
    """Return whether one of two vehicles hides the other almost completely."""
    depth, *corners = other
    front, back = (sight, corners) if z < depth else (corners, sight)
    shared = min(front[1], back[1]) - max(front[0], back[0])
    return shared > 0.75 * (back[1] - back[0]) and back[2] < front[2] + 0.01


class _Kind(NamedTuple):
    """A kind of vehicle; in metres."""

    build: Callable[[Rng], Solid]
    length: float
    width: float
    height: float
    near: float
    """The least distance of its middle."""


KINDS = {
    "car": _Kind(car, 4.8, 1.9, 1.5, 8.0),
    "truck": _Kind(truck, 9.5, 2.6, 3.0, 13.0),
    "bus": _Kind(bus, 12.0, 2.6, 3.0, 14.0),
}


class Traffic:
    """Places vehicles on a road."""

    def __init__(self, plot: Plot, road: Road, rng: Rng) -> None:
        self._plot = plot
        self._road = road
        self._rng = rng

    def add_tram(self) -> None:
        """Add a tram where there is a track, or sometimes on a crossing road."""
        if self._road.track is not None and self._rng.chance(0.85):
            self._tram()
        elif self._road.crossing is not None and self._road.scene == "city street" and self._rng.chance(0.17):
            self._crossing_tram()

    def add(self, category: str) -> None:
        """Add a car, truck or bus, on the road or on one that crosses it."""
        rng, road, kind = self._rng, self._road, KINDS[category]
        for _ in range(8):
            if road.crossing is not None and rng.chance(0.14):
                if self._across(category):
                    break
                continue
            lane = rng.choice(road.lanes_that(parked=category == "car" and rng.chance(0.4)))
            z = self._plot.depth(kind.near) + (4.0 if abs(lane.x) < LANE / 2 else 0.0)
            if road.crossing is not None and lane.parked and road.on_crossing(z, 7.0):
                continue
            place = self._along(lane, z)
            if self._plot.take_in_sight(place, (kind.width, kind.height, kind.length)):
                self._plot.put(kind.build(rng), place, category)
                break

    def _along(self, lane: Lane, z: float) -> Place:
        rng = self._rng
        slack = 0.12 if lane.parked else 0.35
        turn = rng.between(-0.015, 0.015)
        if not lane.parked and rng.chance(0.06):
            turn = rng.between(-0.3, 0.3)
        return Place(lane.x + rng.between(-slack, slack), z, turn, lane.oncoming)

    def _across(self, category: str) -> bool:
        """Add a vehicle on the crossing road, if there is one with room."""
        rng, crossing, kind = self._rng, self._road.crossing, KINDS[category]
        if crossing is None:
            return False
        to_right = rng.chance(0.5)
        z = crossing[0] + (crossing[1] - crossing[0]) * (0.3 if to_right else 0.7)
        x = rng.between(-0.7, 0.7) * z
        if not self._plot.take(x, z, kind.length + 1.2, kind.width + 0.3):
            return False
        self._plot.put(kind.build(rng), Place(x, z, 1.0 if to_right else -1.0), category)
        return True

    def _tram(self) -> None:
        rng, x = self._rng, self._road.track or 0.0
        z = self._plot.depth(22.0, 80.0)
        if self._plot.take(x, z, 2.8, 32.0):
            self._plot.put(train(rng), Place(x, z, 0.0, rng.chance(0.6)), "train")

    def _crossing_tram(self) -> None:
        rng, crossing = self._rng, self._road.crossing or (40.0, 50.0)
        z = (crossing[0] + crossing[1]) / 2
        x = rng.between(-0.5, 0.5) * z
        if self._plot.take(x, z, 33.0, 3.0):
            self._plot.put(train(rng), Place(x, z, rng.choice((-1.0, 1.0))), "train")


class Walkers:
    """Places people beside and on a road."""

    def __init__(self, plot: Plot, road: Road, rng: Rng) -> None:
        self._plot = plot
        self._road = road
        self._rng = rng

    def add_pedestrians(self) -> None:
        """Add one to three people on foot."""
        rng = self._rng
        x, z = self._footing()
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
            if self._plot.take(x, z, 0.6, 0.6):
                turn = rng.choice((0.0, 1.0, -1.0)) + rng.between(-0.3, 0.3)
                self._plot.put(pedestrian(rng), Place(x, z, turn, rng.chance(0.5)), "pedestrian")
            x, z = x + rng.between(-1.0, 1.0), z + rng.between(-0.8, 0.8)

    def _footing(self) -> tuple[float, float]:
        """Choose a place for a pedestrian."""
        rng, road = self._rng, self._road
        if road.crossing is not None and rng.chance(0.4):
            start, end = road.crossing
            z = rng.choice((start - 2.1, end + 2.1)) + rng.between(-0.9, 0.9)
            return rng.between(road.left, road.right), z
        z = self._plot.depth(5.5, 75.0)
        walk = road.walk or 1.5
        inside = rng.between(0.3, walk)
        if rng.chance(0.08):
            inside = -rng.between(0.5, 2.5)
        return (road.right + inside, z) if rng.chance(0.55) else (road.left - inside, z)

    def add_two_wheels(self, *, motor: bool, ridden: bool) -> None:
        """Add a bicycle or motorcycle, with a rider on the road or without beside it."""
        for _ in range(6):
            z = self._plot.depth(5.0, 70.0)
            place = self._riding(z) if ridden else self._standing(z)
            wide = 1.0 if abs(place.turn) < 0.5 else 2.0
            if self._plot.take(place.x, z, wide, 2.2):
                self._put_two_wheels(place, motor=motor, ridden=ridden)
                break

    def _put_two_wheels(self, place: Place, *, motor: bool, ridden: bool) -> None:
        ride = motorcycle(self._rng) if motor else bicycle(self._rng)
        self._plot.put(ride.solid, place, "motorcycle" if motor else "bicycle")
        if ridden:
            self._plot.put(rider(self._rng, ride, motor), place, "rider")

    def _riding(self, z: float) -> Place:
        rng, road = self._rng, self._road
        if road.crossing is not None and rng.chance(0.3):
            start, end = road.crossing
            z = rng.between(start, end)
            return Place(rng.between(-0.5, 0.5) * z, z, rng.choice((-1.0, 1.0)) * rng.between(0.7, 1.3))
        lane = rng.choice(road.lanes_that(parked=False))
        turn = rng.between(-0.6, 0.6) if rng.chance(0.3) else rng.between(-0.08, 0.08)
        return Place(lane.x + rng.between(-1.4, 1.4), z, turn, lane.oncoming)

    def _standing(self, z: float) -> Place:
        rng, road = self._rng, self._road
        right = rng.chance(0.6)
        edge = road.right + 0.7 if right else road.left - 0.7
        return Place(edge + rng.between(-0.5, 0.8), z, rng.between(-1.2, 1.2), rng.chance(0.5))


class Roadside:
    """Places things beside and over a road."""

    def __init__(self, plot: Plot, road: Road, rng: Rng) -> None:
        self._plot = plot
        self._road = road
        self._rng = rng

    def furnish(self) -> None:
        """Add things without labels: trees, lamps."""
        rng, road = self._rng, self._road
        for side in (-1, 1):
            edge = road.right if side > 0 else -road.left
            spacing = rng.between(22.0, 34.0)
            z = rng.between(6.0, 24.0)
            lamps = rng.chance(0.7)
            while lamps and z < 120:
                if not road.on_crossing(z, 1.0) and self._plot.take(side * (edge + 0.5), z, 0.3, 0.3):
                    lamp = furniture.lamp_post(-side * rng.between(1.6, 2.4), 7.5)
                    self._plot.put(lamp, Place(side * (edge + 0.5), z))
                z += spacing
            self._trees(side, edge)

    def _trees(self, side: int, edge: float) -> None:
        rng, road = self._rng, self._road
        density = {"city street": 0.35, "residential": 0.75, "highway": 0.55}[road.scene]
        z = rng.between(8.0, 20.0)
        while z < 100:
            aside = rng.between(0.8, 1.6) if road.scene != "highway" else rng.between(3.0, 12.0)
            x = side * (edge + aside)
            if rng.chance(density) and not road.on_crossing(z, 3.0) and self._plot.take(x, z, 0.5, 0.5):
                self._plot.put(tree(rng, bare=road.snow, twigs=70 if z < 22 else 26 if z < 45 else 14), Place(x, z))
            z += rng.between(6.0, 16.0)

    def add_lights(self) -> None:
        """Add the lights of a crossing: over the road, and on poles beside it."""
        rng, road = self._rng, self._road
        z = road.crossing[1] + 1.0 if road.crossing is not None and rng.chance(0.8) else self._plot.depth(14.0, 90.0)
        size = rng.between(0.95, 1.2)
        state = rng.weighted({"R": 4.0, "G": 5.0, "Y": 1.0})
        right = rng.chance(0.7)
        edge = road.right + 0.8 if right else road.left - 0.8
        if not self._plot.take(edge, z, 0.4, 0.4):
            return
        if rng.chance(0.7):
            self._overhead(edge, z, size, state)
        if rng.chance(0.75):
            self._light(edge + rng.choice((-0.35, 0.35)), z - 0.1, rng.between(2.6, 3.4), size, state)
            self._plot.put(furniture.pole(0.0, 3.6), Place(edge, z))
        if rng.chance(0.4):
            other = road.left - 0.8 if right else road.right + 0.8
            self._light(other, z - 0.1, rng.between(2.8, 3.4), size, state)
            self._plot.put(furniture.pole(0.0, 3.6), Place(other, z))

    def _overhead(self, edge: float, z: float, size: float, state: str) -> None:
        rng = self._rng
        height, reach = rng.between(5.2, 6.2), rng.between(4.0, 8.0) * (-1 if edge > 0 else 1)
        self._plot.put(furniture.mast(reach, height), Place(edge, z))
        for part in rng.choice(((0.95,), (0.6, 0.98), (0.45, 0.75, 0.98))):
            self._light(edge + reach * part, z - 0.15, height - 0.35, size, state)

    def _light(self, x: float, z: float, y: float, size: float, state: str) -> None:
        seen = "NA" if self._rng.chance(0.12) else state
        solid = furniture.traffic_light(self._rng, seen, size)
        turn = self._rng.between(-0.12, 0.12)
        self._plot.put(solid, Place(x, z, turn, y=y), "traffic light", seen)

    def add_sign(self) -> None:
        """Add a sign on a pole, or over a highway."""
        rng, road = self._rng, self._road
        z = self._plot.depth(8.0, 95.0)
        if road.scene == "highway" and rng.chance(0.5):
            self._gantry(z)
            return
        x = road.right + rng.between(0.4, 1.2) if rng.chance(0.7) else road.left - rng.between(0.4, 1.2)
        if not self._plot.take(x, z, 0.5, 0.5):
            return
        solid, half = furniture.traffic_sign(rng, highway=road.scene == "highway")
        y = rng.between(2.0, 2.9) + half
        turn = rng.between(-0.25, 0.25)
        self._plot.put(furniture.pole(0.0, y + half * 0.7, 0.045), Place(x, z + 0.08))
        self._plot.put(solid, Place(x, z, turn, y=y), "traffic sign")
        if rng.chance(0.2):
            other, high = furniture.traffic_sign(rng, highway=False)
            self._plot.put(other, Place(x, z, turn, y=y - half - high - 0.06), "traffic sign")

    def _gantry(self, z: float) -> None:
        rng, road = self._rng, self._road
        lanes = [lane for lane in road.lanes if not lane.oncoming]
        if not self._plot.take(road.right + 0.6, z, 0.6, 8.0):
            return
        top = rng.between(6.4, 7.2)
        self._plot.put(furniture.mast(-rng.between(7.0, 11.0), top), Place(road.right + 0.6, z + 0.2))
        for lane in rng.choice(((lanes[-1],), (lanes[-1], lanes[-2]))):
            x = lane.x + (1.6 if lane is lanes[-1] else -1.6)
            self._plot.put(furniture.guide_sign(rng), Place(x, z, y=top - 0.2), "traffic sign")
