"""Synthetic road scenes with the labels that BDD100K's would have; see ``labelling`` for what is labelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bdd100k_zoo.data.scalabel import FRAME_SIZE, LabelFrame
from bdd100k_zoo.demo.backdrop import build_houses, draw_sky
from bdd100k_zoo.demo.camera import HEIGHT, WIDTH, draw_camera
from bdd100k_zoo.demo.casting import cast
from bdd100k_zoo.demo.dice import Dice
from bdd100k_zoo.demo.effects import draw_weather
from bdd100k_zoo.demo.ground import draw_ground, draw_strokes, ground_rows
from bdd100k_zoo.demo.labelling import labels_of
from bdd100k_zoo.demo.light import draw_light
from bdd100k_zoo.demo.painting import Painter
from bdd100k_zoo.demo.roads import draw_road
from bdd100k_zoo.demo.textures import SPARE, noise

if TYPE_CHECKING:
    from bdd100k_zoo.demo.light import Light
    from bdd100k_zoo.demo.raster import Bytes


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A drawn frame."""

    pixels: Bytes
    """[720, 1280, 3]: red, green, blue."""
    labels: LabelFrame
    """Its objects in the order of their drawing, far ones first; the frame's name is ``frame_name(seed)``."""


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
    painter = Painter(packed, cast(road, dice, light.reach), camera, light)
    painter.draw(houses)
    draw_weather(frame, light, dice)
    _add_noise(frame, light, dice)
    attributes = {"weather": light.weather, "scene": road.scene, "timeofday": light.timeofday}
    named = LabelFrame(frame_name(seed), labels_of(painter), attributes, FRAME_SIZE)
    return Scene(_rgb(frame), named)


def _rgb(frame: Bytes) -> Bytes:
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for channel in range(3):
        pixels[..., channel] = frame[..., channel]
    return pixels


def _add_noise(frame: Bytes, light: Light, dice: Dice) -> None:
    grains = noise(13 if light.timeofday == "night" else 9)
    down, right = dice.whole(0, SPARE), dice.whole(0, SPARE)
    frame += grains[down : down + HEIGHT, right : right + WIDTH]
