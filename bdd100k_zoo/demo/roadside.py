"""Traffic lights and signs, lamps and trees beside a road."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.demo import furniture
from bdd100k_zoo.demo.plants import tree
from bdd100k_zoo.demo.solids import Place

if TYPE_CHECKING:
    from bdd100k_zoo.demo.dice import Dice
    from bdd100k_zoo.demo.plots import Plot
    from bdd100k_zoo.demo.roads import Road


class Roadside:
    """Puts things beside and over a road."""

    def __init__(self, plot: Plot, road: Road, dice: Dice) -> None:
        self._plot = plot
        self._road = road
        self._dice = dice

    def furnish(self) -> None:
        """Add what has no label: trees, lamps."""
        dice, road = self._dice, self._road
        for side in (-1, 1):
            edge = road.right if side > 0 else -road.left
            spacing = dice.between(22.0, 34.0)
            z = dice.between(6.0, 24.0)
            lamps = dice.chance(0.7)
            while lamps and z < 120:
                if not road.on_crossing(z, 1.0) and self._plot.take(side * (edge + 0.5), z, 0.3, 0.3):
                    lamp = furniture.lamp_post(-side * dice.between(1.6, 2.4), 7.5)
                    self._plot.put(lamp, Place(side * (edge + 0.5), z))
                z += spacing
            self._trees(side, edge)

    def _trees(self, side: int, edge: float) -> None:
        dice, road = self._dice, self._road
        density = {"city street": 0.35, "residential": 0.75, "highway": 0.55}[road.scene]
        z = dice.between(8.0, 20.0)
        while z < 100:
            aside = dice.between(0.8, 1.6) if road.scene != "highway" else dice.between(3.0, 12.0)
            x = side * (edge + aside)
            if dice.chance(density) and not road.on_crossing(z, 3.0) and self._plot.take(x, z, 0.5, 0.5):
                self._plot.put(tree(dice, bare=road.snow, twigs=70 if z < 22 else 26 if z < 45 else 14), Place(x, z))
            z += dice.between(6.0, 16.0)

    def add_lights(self) -> None:
        """Add the lights of a crossing: over the road, and on poles beside it."""
        dice, road = self._dice, self._road
        z = road.crossing[1] + 1.0 if road.crossing is not None and dice.chance(0.8) else self._plot.depth(14.0, 90.0)
        size = dice.between(0.95, 1.2)
        state = dice.weighted({"R": 4.0, "G": 5.0, "Y": 1.0})
        right = dice.chance(0.7)
        edge = road.right + 0.8 if right else road.left - 0.8
        if not self._plot.take(edge, z, 0.4, 0.4):
            return
        if dice.chance(0.7):
            self._overhead(edge, z, size, state)
        if dice.chance(0.75):
            self._light(edge + dice.pick((-0.35, 0.35)), z - 0.1, dice.between(2.6, 3.4), size, state)
            self._plot.put(furniture.pole(0.0, 3.6), Place(edge, z))
        if dice.chance(0.4):
            other = road.left - 0.8 if right else road.right + 0.8
            self._light(other, z - 0.1, dice.between(2.8, 3.4), size, state)
            self._plot.put(furniture.pole(0.0, 3.6), Place(other, z))

    def _overhead(self, edge: float, z: float, size: float, state: str) -> None:
        dice = self._dice
        height, reach = dice.between(5.2, 6.2), dice.between(4.0, 8.0) * (-1 if edge > 0 else 1)
        self._plot.put(furniture.mast(reach, height), Place(edge, z))
        for part in dice.pick(((0.95,), (0.6, 0.98), (0.45, 0.75, 0.98))):
            self._light(edge + reach * part, z - 0.15, height - 0.35, size, state)

    def _light(self, x: float, z: float, y: float, size: float, state: str) -> None:
        seen = "NA" if self._dice.chance(0.12) else state
        solid = furniture.traffic_light(self._dice, seen, size)
        turn = self._dice.between(-0.12, 0.12)
        self._plot.put(solid, Place(x, z, turn, y=y), "traffic light", seen)

    def add_sign(self) -> None:
        """Add a sign on a pole, or over a highway."""
        dice, road = self._dice, self._road
        z = self._plot.depth(8.0, 95.0)
        if road.scene == "highway" and dice.chance(0.5):
            self._gantry(z)
            return
        x = road.right + dice.between(0.4, 1.2) if dice.chance(0.7) else road.left - dice.between(0.4, 1.2)
        if not self._plot.take(x, z, 0.5, 0.5):
            return
        solid, half = furniture.traffic_sign(dice, highway=road.scene == "highway")
        y = dice.between(2.0, 2.9) + half
        turn = dice.between(-0.25, 0.25)
        self._plot.put(furniture.pole(0.0, y + half * 0.7, 0.045), Place(x, z + 0.08))
        self._plot.put(solid, Place(x, z, turn, y=y), "traffic sign")
        if dice.chance(0.2):
            other, high = furniture.traffic_sign(dice, highway=False)
            self._plot.put(other, Place(x, z, turn, y=y - half - high - 0.06), "traffic sign")

    def _gantry(self, z: float) -> None:
        dice, road = self._dice, self._road
        lanes = [lane for lane in road.lanes if not lane.oncoming]
        if not self._plot.take(road.right + 0.6, z, 0.6, 8.0):
            return
        top = dice.between(6.4, 7.2)
        self._plot.put(furniture.mast(-dice.between(7.0, 11.0), top), Place(road.right + 0.6, z + 0.2))
        for lane in dice.pick(((lanes[-1],), (lanes[-1], lanes[-2]))):
            x = lane.x + (1.6 if lane is lanes[-1] else -1.6)
            self._plot.put(furniture.guide_sign(dice), Place(x, z, y=top - 0.2), "traffic sign")
