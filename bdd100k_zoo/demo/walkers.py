"""People on foot and on two wheels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.demo.people import bicycle, motorcycle, pedestrian, rider
from bdd100k_zoo.demo.solids import Place

if TYPE_CHECKING:
    from bdd100k_zoo.demo.dice import Dice
    from bdd100k_zoo.demo.plots import Plot
    from bdd100k_zoo.demo.roads import Road


class Walkers:
    """Puts people beside and on a road."""

    def __init__(self, plot: Plot, road: Road, dice: Dice) -> None:
        self._plot = plot
        self._road = road
        self._dice = dice

    def add_pedestrians(self) -> None:
        """Add one to three people on foot."""
        dice = self._dice
        x, z = self._footing()
        for _ in range(dice.pick((1, 1, 1, 2, 2, 3))):
            if self._plot.take(x, z, 0.6, 0.6):
                turn = dice.pick((0.0, 1.0, -1.0)) + dice.between(-0.3, 0.3)
                self._plot.put(pedestrian(dice), Place(x, z, turn, dice.chance(0.5)), "pedestrian")
            x, z = x + dice.between(-1.0, 1.0), z + dice.between(-0.8, 0.8)

    def _footing(self) -> tuple[float, float]:
        """Find where somebody on foot may be."""
        dice, road = self._dice, self._road
        if road.crossing is not None and dice.chance(0.4):
            start, end = road.crossing
            z = dice.pick((start - 2.1, end + 2.1)) + dice.between(-0.9, 0.9)
            return dice.between(road.left, road.right), z
        z = self._plot.depth(5.5, 75.0)
        walk = road.walk or 1.5
        inside = dice.between(0.3, walk)
        if dice.chance(0.08):
            inside = -dice.between(0.5, 2.5)
        return (road.right + inside, z) if dice.chance(0.55) else (road.left - inside, z)

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
        ride = motorcycle(self._dice) if motor else bicycle(self._dice)
        self._plot.put(ride.solid, place, "motorcycle" if motor else "bicycle")
        if ridden:
            self._plot.put(rider(self._dice, ride, motor), place, "rider")

    def _riding(self, z: float) -> Place:
        dice, road = self._dice, self._road
        if road.crossing is not None and dice.chance(0.3):
            start, end = road.crossing
            z = dice.between(start, end)
            return Place(dice.between(-0.5, 0.5) * z, z, dice.pick((-1.0, 1.0)) * dice.between(0.7, 1.3))
        lane = dice.pick(road.lanes_that(parked=False))
        turn = dice.between(-0.6, 0.6) if dice.chance(0.3) else dice.between(-0.08, 0.08)
        return Place(lane.x + dice.between(-1.4, 1.4), z, turn, lane.oncoming)

    def _standing(self, z: float) -> Place:
        dice, road = self._dice, self._road
        right = dice.chance(0.6)
        edge = road.right + 0.7 if right else road.left - 0.7
        return Place(edge + dice.between(-0.5, 0.8), z, dice.between(-1.2, 1.2), dice.chance(0.5))
