"""Scenes are the same everywhere, and their labels mean what BDD100K's mean."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bdd100k_zoo.data.classes import CLASSES
from tools.scenes.dataset import count, encode_labels, frame_seed, write_scenes
from tools.scenes.scene import Scene, draw_scene, frame_name

if TYPE_CHECKING:
    from bdd100k_zoo.data.scalabel import LabelFrame

FROZEN = {
    0: ("d1fe4554a51504fe", "c7618e0c014673ce"),
    1: ("f8b92e8fb1a8d006", "2f90a35c4fcae8c5"),
    2: ("f5b1dfc6d2ebaa8f", "ded49a9b5e29a304"),
    3: ("4e681b1cb1e8c82d", "e3618ebec175a580"),
    4294967301: ("7407654599ca1741", "c23226d2ed8203ce"),
    1180591620717411303424: ("524ffd893121d137", "9569f3d228b48d98"),
}
"""By seed: the digests of labels and pixels, the same with numpy 1.26 to 2.4, with and without AVX."""


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> tuple[LabelFrame, ...]:
    """The labels of 200 scenes, drawn by two processes."""
    return write_scenes(tmp_path_factory.mktemp("scenes"), val=200, jobs=2).splits["val"]


def digest_of_labels(scene: Scene) -> str:
    return hashlib.sha256(encode_labels([scene.labels])[1:-1]).hexdigest()[:16]


def digest_of_pixels(scene: Scene) -> str:
    return hashlib.sha256(scene.pixels.tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("seed", FROZEN)
def test_a_seed_gives_the_pixels_and_labels_that_it_gave_elsewhere(seed: int):
    scene = draw_scene(seed)
    assert (digest_of_labels(scene), digest_of_pixels(scene)) == FROZEN[seed]


def test_another_process_draws_the_same_pixels():
    seed = frame_seed("val", 0, 11)
    code = (
        "import sys, hashlib; from tools.scenes.scene import draw_scene; draw_scene(99);"
        f"sys.stdout.write(hashlib.sha256(draw_scene({seed}).pixels.tobytes()).hexdigest())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == hashlib.sha256(draw_scene(seed).pixels.tobytes()).hexdigest()


def test_pixels_are_those_of_a_frame_of_bdd100k():
    scene = draw_scene(5)
    assert (scene.pixels.shape, scene.pixels.dtype) == ((720, 1280, 3), np.uint8)
    assert scene.pixels.flags.c_contiguous
    assert scene.labels.name == frame_name(5) == "00000000-00000005.jpg"


def test_boxes_lie_in_the_image(frames):
    for frame in frames:
        for label in frame.labels:
            box = label.box2d
            assert 0 <= box.x1 <= box.x2 <= 1279
            assert 0 <= box.y1 <= box.y2 <= 719
            assert label.category in CLASSES


def test_truncated_objects_touch_the_border(frames):
    cut = [label for frame in frames for label in frame.labels if label.attributes["truncated"]]
    assert len(cut) > 50
    for label in cut:
        box = label.box2d
        assert box.x1 <= 1 or box.y1 <= 1 or box.x2 >= 1278 or box.y2 >= 718


def test_classes_and_sizes_follow_bdd100k(frames):
    census = count(frames)
    share = {name: sum(counts) / census.total for name, counts in census.by_class.items()}
    assert 16 <= census.total / census.frames <= 21
    assert census.small >= 1 / 3
    assert 0.4 <= share["car"] <= 0.6
    assert max(share, key=share.__getitem__) == "car"
    assert all(share[name] > share["train"] for name in CLASSES if name != "train")
    assert share["train"] > 0.004


def test_every_class_appears_far_and_near(frames):
    sides: dict[str, list[float]] = {name: [] for name in CLASSES}
    for frame in frames:
        for label in frame.labels:
            box = label.box2d
            sides[label.category].append(((box.x2 - box.x1 + 1) * (box.y2 - box.y1 + 1)) ** 0.5)
    assert all(max(several) > 3 * min(several) for several in sides.values())


def test_attributes_are_bdd100ks_own(frames):
    values = {
        "weather": {"clear", "partly cloudy", "overcast", "rainy", "snowy", "foggy"},
        "scene": {"city street", "highway", "residential"},
        "timeofday": {"daytime", "dawn/dusk", "night"},
    }
    for name, known in values.items():
        assert {frame.attributes[name] for frame in frames} == known


def test_objects_have_occluded_and_truncated_attributes(frames):
    labels = [label for frame in frames for label in frame.labels]
    for name in ("occluded", "truncated"):
        assert {label.attributes[name] for label in labels} == {True, False}
    lights = {label.attributes["trafficLightColor"] for label in labels if label.category == "traffic light"}
    others = {label.attributes["trafficLightColor"] for label in labels if label.category != "traffic light"}
    assert (lights, others) == ({"R", "Y", "G", "NA"}, {"NA"})


def test_a_rider_has_a_bicycle_or_motorcycle(frames):
    for frame in frames:
        rides = [label.box2d for label in frame.labels if label.category in ("bicycle", "motorcycle")]
        for label in frame.labels:
            if label.category == "rider" and not label.attributes["occluded"]:
                box = label.box2d
                assert any(ride.x1 <= box.x2 and ride.x2 >= box.x1 and ride.y2 >= box.y2 - 2 for ride in rides)


def test_night_is_darker_than_day(frames):
    light: dict[str, list[float]] = {"daytime": [], "night": []}
    for index, frame in enumerate(frames):
        hour = frame.attributes["timeofday"]
        if hour in light and len(light[hour]) < 4:
            light[hour].append(draw_scene(frame_seed("val", 0, index)).pixels.mean())
    assert max(light["night"]) < min(light["daytime"])
