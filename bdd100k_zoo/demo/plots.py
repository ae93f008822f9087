"""The ground of a scene: what is taken of it, what is hidden on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bdd100k_zoo.demo.dice import Dice
    from bdd100k_zoo.demo.solids import Place, Solid

FARTHEST = 110.0
"""Metres ahead up to which there is traffic."""
SIGHT = 0.66
"""Metres aside that the frame shows at a distance of one metre, about."""
EYE = 1.4
"""Height of the camera, about."""


class Actor(NamedTuple):
    """A thing in its place."""

    solid: Solid
    place: Place
    category: str | None = None
    """None for what has no label."""
    light: str = "NA"
    """Of a traffic light: the lamp that is lit."""


class Plot:
    """Things in their places, of which no two stand in one another."""

    def __init__(self, dice: Dice, reach: float) -> None:
        """Prepare an empty one on which one sees ``reach`` metres far."""
        self.actors: list[Actor] = []
        self._dice = dice
        self._farthest = min(reach, FARTHEST)
        self._taken: list[tuple[float, float, float, float]] = []
        """Left, right, near and far ends of places, in metres."""
        self._sights: list[tuple[float, float, float, float]] = []
        """Distance of a vehicle, and its left, right and upper ends in metres at a distance of one metre."""

    def put(self, solid: Solid, place: Place, category: str | None = None, light: str = "NA") -> None:
        """Add a thing."""
        self.actors.append(Actor(solid, place, category, light))

    def depth(self, near: float, far: float = FARTHEST) -> float:
        """Choose a distance that one can see: mostly even in metres, now and then even in size."""
        far = min(far, self._farthest)
        part = self._dice.unit()
        if self._dice.chance(0.68):
            return near + (far - near) * part
        return 1 / (1 / far + (1 / near - 1 / far) * part)

    def take(self, x: float, z: float, wide: float, long: float) -> bool:
        """Take a place around x and z, if it is free."""
        left, right, near, far = x - wide / 2, x + wide / 2, z - long / 2, z + long / 2
        for other in self._taken:
            if left < other[1] and right > other[0] and near < other[3] and far > other[2]:
                return False
        self._taken.append((left, right, near, far))
        return True

    def take_in_sight(self, place: Place, size: tuple[float, float, float]) -> bool:
        """Take a place for a vehicle of a width, height and length, if it neither hides another nor is hidden."""
        wide, high, long = size
        z = place.z
        sight = (place.x - wide / 2) / z, (place.x + wide / 2) / z, (high - EYE) / z
        seen = sight[1] > -SIGHT and sight[0] < SIGHT and not any(_hide(z, sight, *other) for other in self._sights)
        if not seen or not self.take(place.x, z, wide + 0.3, long + 1.2):
            return False
        self._sights.append((z, *sight))
        return True


def _hide(z: float, sight: tuple[float, float, float], *other: float) -> bool:
    """Whether one of two vehicles hides the other, or nearly."""
    depth, *corners = other
    front, back = (sight, corners) if z < depth else (corners, sight)
    shared = min(front[1], back[1]) - max(front[0], back[0])
    return shared > 0.75 * (back[1] - back[0]) and back[2] < front[2] + 0.01
