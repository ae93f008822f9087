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
from bdd100k_zoo.demo.effects import add_halos, draw_weather, shadow
from bdd100k_zoo.demo.ground import draw_ground, draw_strokes, ground_rows
from bdd100k_zoo.demo.light import draw_light
from bdd100k_zoo.demo.raster import HOLE, draw, put, window_of
from bdd100k_zoo.demo.roads import draw_road
from bdd100k_zoo.demo.textures import SPARE, noise
from bdd100k_zoo.demo.traffic import Traffic
from bdd100k_zoo.records.box2d import Box2D
from bdd100k_zoo.records.labels import FRAME_SIZE, Label, LabelFrame

if TYPE_CHECKING:
    from bdd100k_zoo.demo.camera import Camera
    from bdd100k_zoo.demo.light import Light
    from bdd100k_zoo.demo.raster import Bytes, Window
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
    window: Window
    mask: npt.NDArray[np.bool_]
    truncated: bool


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
    labels = _draw_things(packed, [*houses, *traffic.actors], camera, light)
    draw_weather(frame, light, dice)
    _add_noise(frame, light, dice)
    attributes = {"weather": light.weather, "scene": road.scene, "timeofday": light.timeofday}
    named = LabelFrame(frame_name(seed), labels, attributes, FRAME_SIZE)
    return Scene(_rgb(frame), named)


def _rgb(frame: Bytes) -> Bytes:
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for channel in range(3):
        pixels[..., channel] = frame[..., channel]
    return pixels


def _draw_things(packed: Packed, things: list[Actor | House], camera: Camera, light: Light) -> tuple[Label, ...]:
    owners = np.zeros((HEIGHT, WIDTH), np.uint8)
    frame = packed.view(np.uint8).reshape(HEIGHT, WIDTH, 4)
    drawn: list[_Drawn] = []
    for thing in sorted(things, key=_far_end, reverse=True):
        if isinstance(thing, House):
            thing.draw(packed, owners, camera)
        else:
            _draw_actor(frame, owners, thing, (camera, light), drawn)
    return _labels(drawn, owners)


def _far_end(thing: Actor | House) -> float:
    return thing.end if isinstance(thing, House) else thing.place.z


def _draw_actor(frame: Bytes, owners: Bytes, actor: Actor, view: tuple[Camera, Light], drawn: list[_Drawn]) -> None:
    camera, light = view
    outlines = actor.solid.seen(actor.place, camera)
    window = window_of(outlines.polygons)
    if window is None:
        return
    shadow(frame, actor, camera)
    numbers = np.array([HOLE if style.colour is None else index + 1 for index, style in enumerate(outlines.styles)])
    patch = draw(outlines.polygons, numbers, light.palette(outlines), window)
    put(frame, patch)
    if actor.category:
        drawn.append(_Drawn(actor, window, patch.mask, _beyond(outlines.polygons)))
    owners[window.slices][patch.mask] = len(drawn) if actor.category else 0
    add_halos(frame, outlines, light)


def _beyond(polygons: npt.NDArray[np.float64]) -> bool:
    left, top = polygons.min((0, 1)).tolist()
    right, bottom = polygons.max((0, 1)).tolist()
    return bool(left < -1 or top < -1 or right > WIDTH + 1 or bottom > HEIGHT + 1)


def _labels(drawn: list[_Drawn], owners: npt.NDArray[np.uint8]) -> tuple[Label, ...]:
    seen = np.bincount(owners.ravel(), minlength=len(drawn) + 1).tolist()
    labels: list[Label] = []
    for number, thing in enumerate(drawn):
        covered = int(np.count_nonzero(thing.mask))
        hidden = 1 - seen[number + 1] / covered if covered else 1.0
        if hidden <= HIDDEN:
            labels.append(_label(len(labels), thing, occluded=hidden > OCCLUDED))
    return tuple(labels)


def _label(number: int, thing: _Drawn, *, occluded: bool) -> Label:
    rows = np.flatnonzero(thing.mask.any(1)) + thing.window.top
    columns = np.flatnonzero(thing.mask.any(0)) + thing.window.left
    attributes = {"occluded": occluded, "truncated": thing.truncated, "trafficLightColor": thing.actor.light}
    box = Box2D(float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1]))
    return Label(str(number), thing.actor.category, box, attributes)


def _add_noise(frame: Bytes, light: Light, dice: Dice) -> None:
    grains = noise(15 if light.timeofday == "night" else 9)
    down, right = dice.whole(0, SPARE), dice.whole(0, SPARE)
    frame += grains[down : down + HEIGHT, right : right + WIDTH]
