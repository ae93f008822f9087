"""A box is the extent of what was drawn; what is hidden has no label."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tools.scenes import vehicles
from tools.scenes.camera import HEIGHT, WIDTH, Camera
from tools.scenes.furniture import STEEL, traffic_light, traffic_sign
from tools.scenes.light import random_light
from tools.scenes.painting import Painter, labels_of
from tools.scenes.people import bicycle, motorcycle, pedestrian, rider
from tools.scenes.populate import Actor
from tools.scenes.rng import Rng
from tools.scenes.solids import Place, Solid
from tools.scenes.vehicles import car

if TYPE_CHECKING:
    from tools.scenes.light import Light

CAMERA = Camera(focal=980, centre=640, horizon=350, height=1.4, bend=0.0)
BUILDERS = {
    "pedestrian": pedestrian,
    "rider": lambda rng: rider(rng, bicycle(rng), motor=False),
    "car": car,
    "truck": vehicles.truck,
    "bus": vehicles.bus,
    "train": vehicles.train,
    "motorcycle": lambda rng: motorcycle(rng).solid,
    "bicycle": lambda rng: bicycle(rng).solid,
    "traffic light": lambda rng: traffic_light(rng, "R", 1.0),
    "traffic sign": lambda rng: traffic_sign(rng, highway=False)[0],
}


@lru_cache(maxsize=1)
def by_day() -> Light:
    """A light in which no lamp dazzles."""
    return next(light for seed in range(100) if not (light := random_light(Rng(seed))).lamps)


def paint(*actors: Actor) -> tuple[np.ndarray, Painter]:
    packed = np.zeros((HEIGHT, WIDTH), np.uint32)
    painter = Painter(packed, list(actors), CAMERA, by_day())
    painter.draw([])
    return packed, painter


def build(category: str, seed: int = 0) -> Solid:
    return BUILDERS[category](Rng(seed))


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


@settings(deadline=None)
@example(category="pedestrian", seed=15, x=-24.65625, z=37.5625, turn=1.5, back=True)
@example(category="bicycle", seed=0, x=0.0, z=90.0, turn=0.0, back=False)
@example(category="pedestrian", seed=0, x=24.65625, z=37.5625, turn=0.0, back=False)
@given(
    category=st.sampled_from(sorted(BUILDERS)),
    seed=st.integers(0, 10_000),
    x=st.floats(-30, 30),
    z=st.floats(6, 100),
    turn=st.floats(-1.5, 1.5),
    back=st.booleans(),
)
def test_a_box_is_the_extent_of_the_pixels_that_the_object_covers(category, seed, x, z, turn, back):
    y = 3.0 if category.startswith("traffic") else 0.0
    packed, painter = paint(Actor(build(category, seed), Place(x, z, turn, back, y), category))
    labels = labels_of(painter)
    if not labels:
        assert np.count_nonzero(packed) < 4 * (HEIGHT + WIDTH)  # softened edges of what lies outside, or nothing
        return
    box = labels[0].box2d
    left, top, right, bottom = extent(packed > 0)
    assert (box.x1, box.y1, box.x2, box.y2) == extent(painter.owners == 1)
    # The tips of what ends in a point are softened away, and more along an edge of the frame that cuts the object.
    beside = HEIGHT if left == 0 or right == WIDTH - 1 else 4
    above = WIDTH if top == 0 or bottom == HEIGHT - 1 else 4
    assert left <= box.x1 <= left + above
    assert top <= box.y1 <= top + beside
    assert right - above <= box.x2 <= right
    assert bottom - beside <= box.y2 <= bottom


@pytest.mark.parametrize("category", ["car", "bicycle", "pedestrian", "traffic sign"])
def test_hidden_objects_have_no_label(category):
    hidden = Actor(build(category), Place(0.0, 40.0), category)
    labels = labels_of(paint(hidden, Actor(build("truck"), Place(0.0, 15.0), "truck"))[1])
    assert [label.category for label in labels] == ["truck"]


def test_partly_hidden_objects_keep_their_full_box_and_are_occluded():
    alone = labels_of(paint(Actor(build("bus"), Place(0.0, 40.0, 1.0), "bus"))[1])
    both = labels_of(
        paint(Actor(build("car"), Place(0.0, 20.0), "car"), Actor(build("bus"), Place(0.0, 40.0, 1.0), "bus"))[1]
    )
    assert [label.category for label in both] == ["bus", "car"]
    assert both[0].box2d == alone[0].box2d
    assert (alone[0].attributes["occluded"], both[0].attributes["occluded"]) == (False, True)
    assert both[1].attributes["occluded"] is False


def test_objects_outside_the_frame_have_no_label():
    assert labels_of(paint(Actor(build("car"), Place(40.0, 10.0), "car"))[1]) == ()


def test_objects_cut_by_the_border_are_truncated():
    (label,) = labels_of(paint(Actor(build("bus"), Place(-9.0, 14.0), "bus"))[1])
    assert label.attributes["truncated"] is True
    assert label.box2d.x1 == 0


@pytest.mark.parametrize("category", ["traffic light", "traffic sign"])
def test_a_pole_hides_but_belongs_to_nothing(category):
    solid = Solid()
    solid.limb((0.0, 0.0, 0.0), (0.0, 6.0, 0.0), 0.5, STEEL)
    painter = paint(Actor(solid, Place(0.0, 10.0)), Actor(build(category), Place(0.0, 30.0, y=3.0), category))[1]
    assert labels_of(painter) == ()


def test_a_rider_does_not_hide_the_bicycle():
    place = Place(0.0, 12.0, back=True)
    ride = bicycle(Rng(4))
    ridden = [Actor(ride.solid, place, "bicycle"), Actor(rider(Rng(5), ride, motor=False), place, "rider")]
    labels = labels_of(paint(*ridden)[1])
    assert [label.category for label in labels] == ["bicycle", "rider"]
    assert not any(label.attributes["occluded"] for label in labels)
