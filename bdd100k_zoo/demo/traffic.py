"""Who and what is in a scene, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.demo import furniture, heavies
from bdd100k_zoo.demo.cars import car
from bdd100k_zoo.demo.people import bicycle, motorcycle, pedestrian, rider
from bdd100k_zoo.demo.plants import tree
from bdd100k_zoo.demo.roads import LANE
from bdd100k_zoo.demo.solids import Place, Solid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bdd100k_zoo.demo.dice import Dice
    from bdd100k_zoo.demo.roads import Lane, Road

FARTHEST = 110.0
"""Metres ahead up to which there is traffic."""
SIGHT = 0.66
"""Metres aside that the frame shows at a distance of one metre, about."""
EYE = 1.4
"""Height of the camera, about."""
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
"""How often a thing is added to a scene; lights come in groups."""


class Actor(NamedTuple):
    """A thing in its place."""

    solid: Solid
    place: Place
    category: str | None = None
    """None for what has no label."""
    light: str = "NA"
    """Of a traffic light: the lamp that is lit."""


class Traffic:
    """Fills a road, so that no two things stand in one another."""

    def __init__(self, road: Road, dice: Dice, reach: float) -> None:
        """Prepare a road on which one sees ``reach`` metres far."""
        self.actors: list[Actor] = []
        self._road = road
        self._dice = dice
        self._farthest = min(reach, FARTHEST)
        self._taken: list[tuple[float, float, float, float]] = []
        """Left, right, near and far ends of places, in metres."""
        self._sights: list[tuple[float, float, float, float]] = []
        """Distance of a vehicle, and its left, right and upper ends in metres at a distance of one metre."""

    def fill(self) -> None:
        """Add everything."""
        dice = self._dice
        self._furnish()
        if self._road.track is not None and dice.chance(0.85):
            self._tram()
        elif self._road.crossing is not None and self._road.scene == "city street" and dice.chance(0.17):
            self._crossing_tram()
        for _ in range(10 + dice.whole(0, 17) + dice.whole(0, 17)):
            self._add(dice.weighted(SHARES[self._road.scene]))

    def _add(self, kind: str) -> None:
        adders: Mapping[str, Callable[[], None]] = {
            "car": lambda: self._vehicle("car", car, (4.8, 1.9), 8.0),
            "truck": lambda: self._vehicle("truck", heavies.truck, (9.5, 2.6), 13.0),
            "bus": lambda: self._vehicle("bus", heavies.bus, (12.0, 2.6), 14.0),
            "pedestrian": self._pedestrians,
            "light": self._lights,
            "sign": self._sign,
            "cyclist": lambda: self._two_wheels(motor=False, ridden=True),
            "motorcyclist": lambda: self._two_wheels(motor=True, ridden=True),
            "bicycle": lambda: self._two_wheels(motor=False, ridden=False),
            "motorcycle": lambda: self._two_wheels(motor=True, ridden=False),
        }
        adders[kind]()

    def _depth(self, near: float, far: float = FARTHEST) -> float:
        """Choose a distance that one can see: mostly even in metres, now and then even in size."""
        far = min(far, self._farthest)
        part = self._dice.unit()
        if self._dice.chance(0.68):
            return near + (far - near) * part
        return 1 / (1 / far + (1 / near - 1 / far) * part)

    def _free(self, x: float, z: float, wide: float, long: float) -> bool:
        """Take a place, if it is free."""
        left, right, near, far = x - wide / 2, x + wide / 2, z - long / 2, z + long / 2
        for other in self._taken:
            if left < other[1] and right > other[0] and near < other[3] and far > other[2]:
                return False
        self._taken.append((left, right, near, far))
        return True

    def _in_sight(self, place: Place, wide: float, high: float) -> bool:
        """Whether a vehicle would be in the frame and neither hide another nor be hidden."""
        z = place.z
        left, right, top = (place.x - wide / 2) / z, (place.x + wide / 2) / z, (high - EYE) / z
        if right < -SIGHT or left > SIGHT:
            return False
        for depth, *other in self._sights:
            front, back = ((left, right, top), other) if z < depth else (other, (left, right, top))
            shared = min(front[1], back[1]) - max(front[0], back[0])
            if shared > 0.75 * (back[1] - back[0]) and back[2] < front[2] + 0.01:
                return False
        self._sights.append((z, left, right, top))
        return True

    def _put(self, solid: Solid, place: Place, category: str | None, light: str = "NA") -> None:
        self.actors.append(Actor(solid, place, category, light))

    def _vehicle(self, category: str, build: Callable[[Dice], Solid], size: tuple[float, float], near: float) -> None:
        dice, road = self._dice, self._road
        long, wide = size
        for _ in range(8):
            if road.crossing is not None and dice.chance(0.14):
                if self._across(category, build, size):
                    break
                continue
            lane = self._lane(parked=category == "car" and dice.chance(0.4))
            z = self._depth(near) + (4.0 if abs(lane.x) < LANE / 2 else 0.0)
            if road.crossing is not None and lane.parked and road.on_crossing(z, 7.0):
                continue
            place = self._along(lane, z)
            high = 1.5 if category == "car" else 3.0
            if self._in_sight(place, wide, high) and self._free(place.x, z, wide + 0.3, long + 1.2):
                self._put(build(dice), place, category)
                break

    def _along(self, lane: Lane, z: float) -> Place:
        dice = self._dice
        slack = 0.12 if lane.parked else 0.35
        turn = dice.between(-0.015, 0.015)
        if not lane.parked and dice.chance(0.06):
            turn = dice.between(-0.3, 0.3)
        return Place(lane.x + dice.between(-slack, slack), z, turn, lane.oncoming)

    def _lane(self, *, parked: bool) -> Lane:
        lanes = [lane for lane in self._road.lanes if lane.parked == parked]
        return self._dice.pick(lanes or self._road.lanes)

    def _across(self, category: str, build: Callable[[Dice], Solid], size: tuple[float, float]) -> bool:
        """Put a vehicle on the other road."""
        dice, crossing = self._dice, self._road.crossing
        if crossing is None:
            return False
        long, wide = size
        to_right = dice.chance(0.5)
        z = crossing[0] + (crossing[1] - crossing[0]) * (0.3 if to_right else 0.7)
        x = dice.between(-0.7, 0.7) * z
        if not self._free(x, z, long + 1.2, wide + 0.3):
            return False
        self._put(build(dice), Place(x, z, 1.0 if to_right else -1.0), category)
        return True

    def _tram(self) -> None:
        dice, x = self._dice, self._road.track or 0.0
        z = self._depth(22.0, 80.0)
        if self._free(x, z, 2.8, 32.0):
            self._put(heavies.train(dice), Place(x, z, 0.0, dice.chance(0.6)), "train")

    def _crossing_tram(self) -> None:
        dice, crossing = self._dice, self._road.crossing or (40.0, 50.0)
        z = (crossing[0] + crossing[1]) / 2
        x = dice.between(-0.5, 0.5) * z
        if self._free(x, z, 33.0, 3.0):
            self._put(heavies.train(dice), Place(x, z, dice.pick((-1.0, 1.0))), "train")

    def _pedestrians(self) -> None:
        dice = self._dice
        x, z = self._footing()
        for _ in range(dice.pick((1, 1, 1, 2, 2, 3))):
            if self._free(x, z, 0.6, 0.6):
                turn = dice.pick((0.0, 1.0, -1.0)) + dice.between(-0.3, 0.3)
                self._put(pedestrian(dice), Place(x, z, turn, dice.chance(0.5)), "pedestrian")
            x, z = x + dice.between(-1.0, 1.0), z + dice.between(-0.8, 0.8)

    def _footing(self) -> tuple[float, float]:
        """Find where somebody on foot may be."""
        dice, road = self._dice, self._road
        if road.crossing is not None and dice.chance(0.4):
            start, end = road.crossing
            z = dice.pick((start - 2.1, end + 2.1)) + dice.between(-0.9, 0.9)
            return dice.between(road.left, road.right), z
        z = self._depth(5.5, 75.0)
        walk = road.walk or 1.5
        inside = dice.between(0.3, walk)
        if dice.chance(0.08):
            inside = -dice.between(0.5, 2.5)
        return (road.right + inside, z) if dice.chance(0.55) else (road.left - inside, z)

    def _two_wheels(self, *, motor: bool, ridden: bool) -> None:
        for _ in range(6):
            z = self._depth(5.0, 70.0)
            place = self._riding(z) if ridden else self._standing(z)
            wide = 1.0 if abs(place.turn) < 0.5 else 2.0
            if self._free(place.x, z, wide, 2.2):
                self._put_two_wheels(place, motor=motor, ridden=ridden)
                break

    def _put_two_wheels(self, place: Place, *, motor: bool, ridden: bool) -> None:
        ride = motorcycle(self._dice) if motor else bicycle(self._dice)
        self._put(ride.solid, place, "motorcycle" if motor else "bicycle")
        if ridden:
            self._put(rider(self._dice, ride, motor), place, "rider")

    def _riding(self, z: float) -> Place:
        dice, road = self._dice, self._road
        if road.crossing is not None and dice.chance(0.3):
            start, end = road.crossing
            z = dice.between(start, end)
            return Place(dice.between(-0.5, 0.5) * z, z, dice.pick((-1.0, 1.0)) * dice.between(0.7, 1.3))
        lane = self._lane(parked=False)
        turn = dice.between(-0.6, 0.6) if dice.chance(0.3) else dice.between(-0.08, 0.08)
        return Place(lane.x + dice.between(-1.4, 1.4), z, turn, lane.oncoming)

    def _standing(self, z: float) -> Place:
        dice, road = self._dice, self._road
        right = dice.chance(0.6)
        edge = road.right + 0.7 if right else road.left - 0.7
        return Place(edge + dice.between(-0.5, 0.8), z, dice.between(-1.2, 1.2), dice.chance(0.5))

    def _lights(self) -> None:
        dice, road = self._dice, self._road
        z = road.crossing[1] + 1.0 if road.crossing is not None and dice.chance(0.8) else self._depth(14.0, 90.0)
        size = dice.between(0.95, 1.2)
        state = dice.weighted({"R": 4.0, "G": 5.0, "Y": 1.0})
        right = dice.chance(0.7)
        edge = road.right + 0.8 if right else road.left - 0.8
        if not self._free(edge, z, 0.4, 0.4):
            return
        if dice.chance(0.7):
            self._overhead(edge, z, size, state)
        if dice.chance(0.75):
            self._light(edge + dice.pick((-0.35, 0.35)), z - 0.1, dice.between(2.6, 3.4), size, state)
            self._put(furniture.pole(0.0, 3.6), Place(edge, z), None)
        if dice.chance(0.4):
            other = road.left - 0.8 if right else road.right + 0.8
            self._light(other, z - 0.1, dice.between(2.8, 3.4), size, state)
            self._put(furniture.pole(0.0, 3.6), Place(other, z), None)

    def _overhead(self, edge: float, z: float, size: float, state: str) -> None:
        dice = self._dice
        height, reach = dice.between(5.2, 6.2), dice.between(4.0, 8.0) * (-1 if edge > 0 else 1)
        self._put(furniture.mast(reach, height), Place(edge, z), None)
        for part in dice.pick(((0.95,), (0.6, 0.98), (0.45, 0.75, 0.98))):
            self._light(edge + reach * part, z - 0.15, height - 0.35, size, state)

    def _light(self, x: float, z: float, y: float, size: float, state: str) -> None:
        seen = "NA" if self._dice.chance(0.12) else state
        solid = furniture.traffic_light(self._dice, seen, size)
        turn = self._dice.between(-0.12, 0.12)
        self._put(solid, Place(x, z, turn, y=y), "traffic light", seen)

    def _sign(self) -> None:
        dice, road = self._dice, self._road
        z = self._depth(8.0, 95.0)
        if road.scene == "highway" and dice.chance(0.5):
            self._gantry(z)
            return
        x = road.right + dice.between(0.4, 1.2) if dice.chance(0.7) else road.left - dice.between(0.4, 1.2)
        if not self._free(x, z, 0.5, 0.5):
            return
        solid, half = furniture.traffic_sign(dice, highway=road.scene == "highway")
        y = dice.between(2.0, 2.9) + half
        turn = dice.between(-0.25, 0.25)
        self._put(furniture.pole(0.0, y + half * 0.7, 0.045), Place(x, z + 0.08), None)
        self._put(solid, Place(x, z, turn, y=y), "traffic sign")
        if dice.chance(0.2):
            other, high = furniture.traffic_sign(dice, highway=False)
            self._put(other, Place(x, z, turn, y=y - half - high - 0.06), "traffic sign")

    def _gantry(self, z: float) -> None:
        dice, road = self._dice, self._road
        lanes = [lane for lane in road.lanes if not lane.oncoming]
        if not self._free(lanes[-1].x, z, 1.0, 8.0):
            return
        top = dice.between(6.4, 7.2)
        self._put(furniture.mast(-dice.between(7.0, 11.0), top), Place(road.right + 0.6, z + 0.2), None)
        for lane in dice.pick(((lanes[-1],), (lanes[-1], lanes[-2]))):
            x = lane.x + (1.6 if lane is lanes[-1] else -1.6)
            self._put(furniture.guide_sign(dice), Place(x, z, y=top - 0.2), "traffic sign")

    def _furnish(self) -> None:
        """Add what has no label: trees, lamps."""
        dice, road = self._dice, self._road
        for side in (-1, 1):
            edge = road.right if side > 0 else -road.left
            spacing = dice.between(22.0, 34.0)
            z = dice.between(6.0, 24.0)
            lamps = dice.chance(0.7)
            while lamps and z < 120:
                if not road.on_crossing(z, 1.0) and self._free(side * (edge + 0.5), z, 0.3, 0.3):
                    lamp = furniture.lamp_post(-side * dice.between(1.6, 2.4), 7.5)
                    self._put(lamp, Place(side * (edge + 0.5), z), None)
                z += spacing
            self._trees(side, edge)

    def _trees(self, side: int, edge: float) -> None:
        dice, road = self._dice, self._road
        density = {"city street": 0.35, "residential": 0.75, "highway": 0.55}[road.scene]
        z = dice.between(8.0, 20.0)
        while z < 100:
            aside = dice.between(0.8, 1.6) if road.scene != "highway" else dice.between(3.0, 12.0)
            x = side * (edge + aside)
            if dice.chance(density) and not road.on_crossing(z, 3.0) and self._free(x, z, 0.5, 0.5):
                self._put(tree(dice, bare=road.snow, twigs=70 if z < 22 else 26 if z < 45 else 14), Place(x, z), None)
            z += dice.between(6.0, 16.0)
