"""Cars, lorries, buses and trams on their roads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bdd100k_zoo.demo.cars import car
from bdd100k_zoo.demo.heavies import bus, train, truck
from bdd100k_zoo.demo.roads import LANE
from bdd100k_zoo.demo.solids import Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from bdd100k_zoo.demo.dice import Dice
    from bdd100k_zoo.demo.plots import Plot
    from bdd100k_zoo.demo.roads import Lane, Road
    from bdd100k_zoo.demo.solids import Solid


class _Kind(NamedTuple):
    """A kind of vehicle; in metres."""

    build: Callable[[Dice], Solid]
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
    """Puts vehicles on a road."""

    def __init__(self, plot: Plot, road: Road, dice: Dice) -> None:
        self._plot = plot
        self._road = road
        self._dice = dice

    def add_tram(self) -> None:
        """Add a tram, where there is a track, or now and then on a road that crosses."""
        if self._road.track is not None and self._dice.chance(0.85):
            self._tram()
        elif self._road.crossing is not None and self._road.scene == "city street" and self._dice.chance(0.17):
            self._crossing_tram()

    def add(self, category: str) -> None:
        """Add a car, truck or bus, on the road or on one that crosses it."""
        dice, road, kind = self._dice, self._road, KINDS[category]
        for _ in range(8):
            if road.crossing is not None and dice.chance(0.14):
                if self._across(category):
                    break
                continue
            lane = dice.pick(road.lanes_that(parked=category == "car" and dice.chance(0.4)))
            z = self._plot.depth(kind.near) + (4.0 if abs(lane.x) < LANE / 2 else 0.0)
            if road.crossing is not None and lane.parked and road.on_crossing(z, 7.0):
                continue
            place = self._along(lane, z)
            if self._plot.take_in_sight(place, (kind.width, kind.height, kind.length)):
                self._plot.put(kind.build(dice), place, category)
                break

    def _along(self, lane: Lane, z: float) -> Place:
        dice = self._dice
        slack = 0.12 if lane.parked else 0.35
        turn = dice.between(-0.015, 0.015)
        if not lane.parked and dice.chance(0.06):
            turn = dice.between(-0.3, 0.3)
        return Place(lane.x + dice.between(-slack, slack), z, turn, lane.oncoming)

    def _across(self, category: str) -> bool:
        """Put a vehicle on the other road, if there is one and room on it."""
        dice, crossing, kind = self._dice, self._road.crossing, KINDS[category]
        if crossing is None:
            return False
        to_right = dice.chance(0.5)
        z = crossing[0] + (crossing[1] - crossing[0]) * (0.3 if to_right else 0.7)
        x = dice.between(-0.7, 0.7) * z
        if not self._plot.take(x, z, kind.length + 1.2, kind.width + 0.3):
            return False
        self._plot.put(kind.build(dice), Place(x, z, 1.0 if to_right else -1.0), category)
        return True

    def _tram(self) -> None:
        dice, x = self._dice, self._road.track or 0.0
        z = self._plot.depth(22.0, 80.0)
        if self._plot.take(x, z, 2.8, 32.0):
            self._plot.put(train(dice), Place(x, z, 0.0, dice.chance(0.6)), "train")

    def _crossing_tram(self) -> None:
        dice, crossing = self._dice, self._road.crossing or (40.0, 50.0)
        z = (crossing[0] + crossing[1]) / 2
        x = dice.between(-0.5, 0.5) * z
        if self._plot.take(x, z, 33.0, 3.0):
            self._plot.put(train(dice), Place(x, z, dice.pick((-1.0, 1.0))), "train")
