"""One synthetic road scene with labels in BDD100K's form; ``painting.labels_of`` decides what has a label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bdd100k_zoo.data.scalabel import FRAME_SIZE, LabelFrame
from tools.scenes.backdrop import build_houses, draw_sky
from tools.scenes.camera import HEIGHT, WIDTH, random_camera
from tools.scenes.light import draw_weather, random_light
from tools.scenes.painting import Painter, labels_of
from tools.scenes.populate import populate
from tools.scenes.raster import SPARE, noise
from tools.scenes.rng import Rng
from tools.scenes.roads import draw_ground, draw_strokes, ground_rows, random_road

if TYPE_CHECKING:
    from tools.scenes.light import Light
    from tools.scenes.raster import Bytes


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A frame and its labels."""

    pixels: Bytes
    """[720, 1280, 3]: red, green, blue."""
    labels: LabelFrame
    """Its objects in drawing order, far ones first; the frame's name is ``frame_name(seed)``."""


def frame_name(seed: int) -> str:
    """Return the name of a seed's frame, in BDD100K's form."""
    return f"{seed >> 32:08x}-{seed & 0xFFFFFFFF:08x}.jpg"


def draw_scene(seed: int) -> Scene:
    """Draw the scene of a seed: the same pixels and labels on every machine."""
    # The order of these calls is part of a scene: each takes the next numbers of the seed's stream.
    rng = Rng(seed)
    camera, light = random_camera(rng), random_light(rng)
    road = random_road(rng, snow=light.weather == "snowy")
    packed = np.zeros((HEIGHT, WIDTH), np.uint32)
    rows = ground_rows(camera)
    draw_sky(packed, camera, light, rng)
    draw_ground(packed, road, rows, light, rng)
    frame = packed.view(np.uint8).reshape(HEIGHT, WIDTH, 4)
    draw_strokes(frame, road, rows, light, rng)
    houses = build_houses(road, light, rng)
    painter = Painter(packed, populate(road, rng, light.reach), camera, light)
    painter.draw(houses)
    draw_weather(frame, light, rng)
    _add_noise(frame, light, rng)
    attributes = {"weather": light.weather, "scene": road.scene, "timeofday": light.timeofday}
    named = LabelFrame(frame_name(seed), attributes=attributes, given_size=FRAME_SIZE, given_labels=labels_of(painter))
    return Scene(_rgb(frame), named)


def _rgb(frame: Bytes) -> Bytes:
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for channel in range(3):
        pixels[..., channel] = frame[..., channel]
    return pixels


def _add_noise(frame: Bytes, light: Light, rng: Rng) -> None:
    grains = noise(13 if light.timeofday == "night" else 9)
    down, right = rng.integer(0, SPARE), rng.integer(0, SPARE)
    frame += grains[down : down + HEIGHT, right : right + WIDTH]
