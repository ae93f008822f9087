"""Houses and all that is in traffic → pixels, from far to near."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.demo.backdrop import House
from bdd100k_zoo.demo.camera import HEIGHT, WIDTH
from bdd100k_zoo.demo.effects import Lamps, shadow
from bdd100k_zoo.demo.raster import Sheet, darken, find_things, put
from bdd100k_zoo.demo.views import look

if TYPE_CHECKING:
    from bdd100k_zoo.demo.camera import Camera
    from bdd100k_zoo.demo.light import Light
    from bdd100k_zoo.demo.plots import Actor
    from bdd100k_zoo.demo.raster import Thing
    from bdd100k_zoo.demo.textures import Packed


class Drawn(NamedTuple):
    """A thing that was drawn and has a category."""

    actor: Actor
    thing: Thing
    mask: npt.NDArray[np.bool_]
    """[rows, columns] of its window: the pixels that it covers by half or more."""


class Painter:
    """Draws things from far to near, and keeps in mind what covers what."""

    def __init__(self, packed: Packed, actors: list[Actor], camera: Camera, light: Light) -> None:
        self.drawn: list[Drawn] = []
        self.owners = np.zeros((HEIGHT, WIDTH), np.uint16)
        """[rows, columns]: the number in ``drawn``, from 1, of what is seen at each pixel; 0 for all else."""
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
