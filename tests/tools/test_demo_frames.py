"""The frames that the package ships are those that the generator makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from bdd100k_zoo.data.scalabel import FRAME_SIZE, Box2D, ImageSize, Label, LabelFrame
from bdd100k_zoo.data.scalabel_reader import read_label_frames
from bdd100k_zoo.demo_run.steps import DATA, FRAMES, TRAIN_FRAMES
from bdd100k_zoo.errors import StorageError
from tools.demo_frames import halved, write_demo_frames
from tools.scenes.scene import Scene, draw_scene

if TYPE_CHECKING:
    from pathlib import Path


def files_of(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_shipped_frames_and_labels_are_generated_again_byte_for_byte(tmp_path: Path) -> None:
    write_demo_frames(tmp_path)
    written, shipped = files_of(tmp_path), files_of(DATA)
    assert len(shipped) == FRAMES + TRAIN_FRAMES + 2
    assert written == shipped


def test_other_frames_are_left_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "images/100k/val").mkdir(parents=True)
    (tmp_path / "images/100k/val/mine.jpg").write_bytes(b"mine")
    with pytest.raises(StorageError):
        write_demo_frames(tmp_path)
    assert files_of(tmp_path) == {"images/100k/val/mine.jpg": b"mine"}


def test_train_and_val_share_no_scene_and_match_the_sizes_in_their_labels() -> None:
    names = {}
    for split, size in (("train", ImageSize(640, 360)), ("val", FRAME_SIZE)):
        frames = read_label_frames(DATA / f"labels/det_20/det_{split}.json")
        names[split] = {frame.name for frame in frames}
        for frame in frames:
            assert frame.size == size
            with Image.open(DATA / "images/100k" / split / frame.name) as image:
                assert image.size == (size.width, size.height)
            for label in frame.labels:
                assert label.box2d is not None
                assert 0 <= label.box2d.x1 <= label.box2d.x2 <= size.width - 1
                assert 0 <= label.box2d.y1 <= label.box2d.y2 <= size.height - 1
    assert not names["train"] & names["val"]


def test_a_halved_box_covers_half_of_the_pixels() -> None:
    boxes = {"even": Box2D(10, 20, 29, 39), "odd": Box2D(11, 20, 30, 22), "thin": Box2D(5, 5, 5, 90)}
    labels = tuple(Label(name, "car", box2d=box) for name, box in boxes.items())
    labelled = LabelFrame("a.jpg", attributes={}, given_size=FRAME_SIZE, given_labels=labels)
    scene = Scene(np.zeros((720, 1280, 3), np.uint8), labelled)
    frame, _ = halved(scene)
    found = {label.id: label.box2d for label in frame.labels}
    assert found == {"even": Box2D(5, 10, 14, 19), "odd": Box2D(5.5, 10, 14.5, 10.5)}


def test_a_halved_frame_shows_the_scene() -> None:
    scene = draw_scene(3)
    frame, content = halved(scene)
    assert (frame.name, frame.attributes) == (scene.labels.name, scene.labels.attributes)
    assert content[:2] == b"\xff\xd8"
    assert len(content) < 60_000
