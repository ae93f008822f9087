"""Synthetic road scenes with the labels that BDD100K's would have.

A box is what the labels of BDD100K mean by it: the smallest rectangle around all of an object that lies in the image,
also where something else stands before it; ``occluded`` tells that. An object of which more than 80 % is hidden, or of
which no whole pixel lies in the image, has no label. ``truncated`` tells that it goes on beyond the image's border.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from bdd100k_zoo.demo.backdrop import House, build_houses, draw_sky
from bdd100k_zoo.demo.camera import HEIGHT, WIDTH, draw_camera
from bdd100k_zoo.demo.dice import Dice
from bdd100k_zoo.demo.effects import Lamps, draw_weather, shadow
from bdd100k_zoo.demo.ground import draw_ground, draw_strokes, ground_rows
from bdd100k_zoo.demo.light import draw_light
from bdd100k_zoo.demo.raster import Sheet, darken, find_things, put
from bdd100k_zoo.demo.roads import draw_road
from bdd100k_zoo.demo.textures import SPARE, noise
from bdd100k_zoo.demo.traffic import Traffic
from bdd100k_zoo.demo.views import look
from bdd100k_zoo.records.box2d import Box2D
from bdd100k_zoo.records.labels import FRAME_SIZE, Label, LabelFrame

if TYPE_CHECKING:
    from bdd100k_zoo.demo.camera import Camera
    from bdd100k_zoo.demo.light import Light
    from bdd100k_zoo.demo.raster import Bytes, Thing
    from bdd100k_zoo.demo.textures import Packed
    from bdd100k_zoo.demo.traffic import Actor

HIDDEN = 0.8
"""Part of an object that must be hidden for it to have no label."""
OCCLUDED = 0.03
"""Part that must be hidden for it to count as occluded."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A drawn frame."""

    pixels: Bytes
    """[720, 1280, 3]: red, green, blue."""
    labels: LabelFrame
    """Its objects in the order of their drawing, far ones first; the frame's name is ``frame_name(seed)``."""


class _Drawn(NamedTuple):
    actor: Actor
    thing: Thing
    mask: npt.NDArray[np.bool_]


def frame_name(seed: int) -> str:
    """Give the name of a seed's frame, in the manner of BDD100K's."""
    return f"{seed >> 32:08x}-{seed & 0xFFFFFFFF:08x}.jpg"


def draw_scene(seed: int) -> Scene:
    """Draw the scene of a seed: the same pixels and labels on every machine."""
    dice = Dice(seed)
    camera, light = draw_camera(dice), draw_light(dice)
    road = draw_road(dice, snow=light.weather == "snowy")
    packed = np.zeros((HEIGHT, WIDTH), np.uint32)
    rows = ground_rows(camera)
    draw_sky(packed, camera, light, dice)
    draw_ground(packed, road, rows, light, dice)
    frame = packed.view(np.uint8).reshape(HEIGHT, WIDTH, 4)
    draw_strokes(frame, road, rows, light, dice)
    houses = build_houses(road, light, dice)
    traffic = Traffic(road, dice)
    traffic.fill()
    painter = _Painter(packed, traffic.actors, camera, light)
    painter.draw(houses)
    draw_weather(frame, light, dice)
    _add_noise(frame, light, dice)
    attributes = {"weather": light.weather, "scene": road.scene, "timeofday": light.timeofday}
    named = LabelFrame(frame_name(seed), _labels(painter), attributes, FRAME_SIZE)
    return Scene(_rgb(frame), named)


def _rgb(frame: Bytes) -> Bytes:
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for channel in range(3):
        pixels[..., channel] = frame[..., channel]
    return pixels


class _Painter:
    """Draws things from far to near, and keeps in mind what covers what."""

    def __init__(self, packed: Packed, actors: list[Actor], camera: Camera, light: Light) -> None:
        self.drawn: list[_Drawn] = []
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
        self._lamps = Lamps(view, light)

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
            self.drawn.append(_Drawn(actor, thing, patch.mask))
        self.owners[thing.window.slices][patch.mask] = len(self.drawn) if actor.category else 0
        self._lamps.dazzle(self._frame, thing)


def _labels(painter: _Painter) -> tuple[Label, ...]:
    labels: list[Label] = []
    for number, drawn in enumerate(painter.drawn, start=1):
        covered = int(np.count_nonzero(drawn.mask))
        seen = int(np.count_nonzero(painter.owners[drawn.thing.window.slices] == number))
        if covered and covered - seen <= HIDDEN * covered:
            labels.append(_label(len(labels), drawn, occluded=covered - seen > OCCLUDED * covered))
    return tuple(labels)


def _label(number: int, drawn: _Drawn, *, occluded: bool) -> Label:
    window = drawn.thing.window
    rows = np.flatnonzero(drawn.mask.any(1)) + window.top
    columns = np.flatnonzero(drawn.mask.any(0)) + window.left
    attributes = {"occluded": occluded, "truncated": drawn.thing.beyond, "trafficLightColor": drawn.actor.light}
    box = Box2D(float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1]))
    return Label(str(number), drawn.actor.category, box, attributes)


def _add_noise(frame: Bytes, light: Light, dice: Dice) -> None:
    grains = noise(13 if light.timeofday == "night" else 9)
    down, right = dice.whole(0, SPARE), dice.whole(0, SPARE)
    frame += grains[down : down + HEIGHT, right : right + WIDTH]
