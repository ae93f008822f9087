"""Paint houses and traffic from far to near, and label what is visible."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.data.scalabel import Box2D, Label
from tools.scenes.backdrop import House
from tools.scenes.camera import HEIGHT, WIDTH, look
from tools.scenes.light import Lamps, shadow
from tools.scenes.raster import Sheet, darken, find_things, put

if TYPE_CHECKING:
    from tools.scenes.camera import Camera
    from tools.scenes.light import Light
    from tools.scenes.populate import Actor
    from tools.scenes.raster import Packed, Thing


class Drawn(NamedTuple):
    """A painted thing that has a category."""

    actor: Actor
    thing: Thing
    mask: npt.NDArray[np.bool_]
    """[rows, columns] of its window: the pixels that it covers by half or more."""


class Painter:
    """Draws things from far to near, and records which thing is visible at each pixel."""

    def __init__(self, packed: Packed, actors: list[Actor], camera: Camera, light: Light) -> None:
        self.drawn: list[Drawn] = []
        self.owners = np.zeros((HEIGHT, WIDTH), np.uint16)
        """[rows, columns]: the number in ``drawn``, from 1, of the thing that is visible at each pixel; 0 for none."""
        self._packed = packed
        self._frame = packed.view(np.uint8).reshape(HEIGHT, WIDTH, 4)
        self._camera = camera
        self._actors = [(shade, actor, True) for actor in actors if (shade := shadow(actor.category))]
        self._actors += [(actor.solid, actor, False) for actor in actors]
        view = look([(solid, actor.place) for solid, actor, _ in self._actors], camera)
        self._things = find_things(view.polygons, view.things)
        self._sheet = Sheet(view.polygons, light.lit(view), view.holes, self._things)
        self._lamps = Lamps(view, camera, light)

    def draw(self, houses: list[House]) -> None:
        """Draw houses and actors."""
        drawables: list[House | Thing] = [*houses, *self._things]
        for drawable in sorted(drawables, key=self._order, reverse=True):
            if isinstance(drawable, House):
                drawable.draw(self._packed, self.owners, self._camera)
            else:
                self._draw(drawable)

    def _order(self, drawable: House | Thing) -> tuple[float, bool]:
        if isinstance(drawable, House):
            return drawable.end, False
        _, actor, is_shadow = self._actors[drawable.number]
        return actor.place.z, is_shadow

    def _draw(self, thing: Thing) -> None:
        _, actor, is_shadow = self._actors[thing.number]
        patch = self._sheet.draw(thing)
        if is_shadow:
            darken(self._frame, patch)
            return
        put(self._frame, patch)
        if actor.category:
            self.drawn.append(Drawn(actor, thing, patch.mask))
        self.owners[thing.window.slices][patch.mask] = len(self.drawn) if actor.category else 0
        self._lamps.dazzle(self._frame, thing)


HIDDEN = 0.8
"""An object has no label if more than this share of its pixels is hidden."""
OCCLUDED = 0.03
"""An object is occluded if more than this share of its pixels is hidden."""


def labels_of(painter: Painter) -> tuple[Label, ...]:
    """Return the labels of what was painted, far things first, as BDD100K labels it.

    A box is the smallest rectangle around all of an object that lies in the image, also where something else is in
    front of it; ``occluded`` reports that. An object of which more than 80 % is hidden, or that covers no pixel by
    half, has no label; what is ridden is not hidden by its rider. ``truncated`` reports that an object extends beyond
    the image.
    """
    labels: list[Label] = []
    for number, drawn in enumerate(painter.drawn, start=1):
        covered = int(np.count_nonzero(drawn.mask))
        seen = _seen(painter, number, drawn)
        if covered and covered - seen <= HIDDEN * covered:
            labels.append(_label(len(labels), drawn, occluded=covered - seen > OCCLUDED * covered))
    return tuple(labels)


def _seen(painter: Painter, number: int, drawn: Drawn) -> int:
    """Count the pixels of a thing that nothing else hides; its own rider does not count as something else."""
    owners = painter.owners[drawn.thing.window.slices]
    own = owners == number
    following = painter.drawn[number].actor if number < len(painter.drawn) else drawn.actor
    if following.category == "rider" and following.place is drawn.actor.place:
        own |= drawn.mask & (owners == number + 1)
    return int(np.count_nonzero(own))


def _label(number: int, drawn: Drawn, *, occluded: bool) -> Label:
    window = drawn.thing.window
    rows = np.flatnonzero(drawn.mask.any(1)) + window.top
    columns = np.flatnonzero(drawn.mask.any(0)) + window.left
    attributes = {"occluded": occluded, "truncated": drawn.thing.beyond, "trafficLightColor": drawn.actor.light}
    box = Box2D(float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1]))
    return Label(str(number), drawn.actor.category, box2d=box, attributes=attributes)
