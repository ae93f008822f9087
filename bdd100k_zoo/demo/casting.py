"""Who and what is in a scene."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bdd100k_zoo.demo.plots import Plot
from bdd100k_zoo.demo.roadside import Roadside
from bdd100k_zoo.demo.traffic import Traffic
from bdd100k_zoo.demo.walkers import Walkers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bdd100k_zoo.demo.dice import Dice
    from bdd100k_zoo.demo.plots import Actor
    from bdd100k_zoo.demo.roads import Road

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


def cast(road: Road, dice: Dice, reach: float) -> list[Actor]:
    """Fill a road on which one sees ``reach`` metres far."""
    plot = Plot(dice, reach)
    traffic, walkers, roadside = Traffic(plot, road, dice), Walkers(plot, road, dice), Roadside(plot, road, dice)
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
    for _ in range(10 + dice.whole(0, 17) + dice.whole(0, 17)):
        adders[dice.weighted(SHARES[road.scene])]()
    return plot.actors
