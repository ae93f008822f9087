"""The road of a scene: its lanes, what lies beside it, where it is crossed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bdd100k_zoo.demo.dice import Dice

SCENES = {"city street": 6.2, "highway": 2.2, "residential": 1.6}
LANE = 3.5
"""Width of a lane in metres."""


class Lane(NamedTuple):
    """A lane; x of its middle in metres."""

    x: float
    oncoming: bool
    parked: bool = False


class Road(NamedTuple):
    """A road along the way that the camera looks; x in metres from the camera."""

    scene: str
    lanes: tuple[Lane, ...]
    left: float
    right: float
    """Edges of the roadway."""
    walk: float
    """Width of the pavements; 0 for none."""
    middle: float
    """Where the ways part; the left edge where all go one way."""
    walls: tuple[float, float]
    """Where houses begin, left and right."""
    crossing: tuple[float, float] | None
    """From where to where another road crosses, in metres ahead."""
    track: float | None
    """Middle of a tram's track along the road."""
    snow: bool = False

    def lanes_that(self, *, parked: bool) -> tuple[Lane, ...]:
        """Give the lanes for parking or for driving; all, where there are none such."""
        return tuple(lane for lane in self.lanes if lane.parked == parked) or self.lanes

    def on_crossing(self, z: float, margin: float = 0.0) -> bool:
        """Whether a place ahead is on the other road."""
        return self.crossing is not None and self.crossing[0] - margin < z < self.crossing[1] + margin


def draw_road(dice: Dice, snow: bool) -> Road:
    """Lay out a road."""
    scene = dice.weighted(SCENES)
    if scene == "highway":
        return _highway(dice, snow)
    city = scene == "city street"
    lanes_each = dice.whole(1, 2) if city else 1
    parking = 2.3 if dice.chance(0.75) else 0.0
    own = dice.whole(1, lanes_each) if city else 1
    middle = -LANE * (own - 0.5) + dice.between(-0.3, 0.3)
    tram = city and dice.chance(0.2)
    gap = 3.4 if tram else 0.0
    lanes = [Lane(middle + LANE * (index + 0.5), oncoming=False) for index in range(lanes_each)]
    lanes += [Lane(middle - gap - LANE * (index + 0.5), oncoming=True) for index in range(lanes_each)]
    right, left = middle + LANE * lanes_each + parking, middle - gap - LANE * lanes_each - parking
    if parking:
        lanes += [Lane(right - 1.15, oncoming=False, parked=True), Lane(left + 1.15, oncoming=True, parked=True)]
    walk = dice.between(2.5, 4.5)
    room = walk + (dice.between(0.5, 4.0) if city else dice.between(4.0, 9.0))
    crossing = dice.between(16.0, 60.0) if dice.chance(0.6 if city else 0.3) else None
    return Road(
        scene=scene,
        lanes=tuple(lanes),
        left=left,
        right=right,
        walk=walk,
        middle=middle - gap,
        walls=(left - room, right + room),
        crossing=(crossing, crossing + dice.between(8.0, 16.0)) if crossing else None,
        track=middle - gap / 2 if tram else None,
        snow=snow,
    )


def _highway(dice: Dice, snow: bool) -> Road:
    count, own = dice.whole(2, 4), 0
    own = dice.whole(0, count - 1)
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
        walls=(left - dice.between(8.0, 30.0), right + dice.between(8.0, 30.0)),
        crossing=None,
        track=None,
        snow=snow,
    )
