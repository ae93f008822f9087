"""A folder of scenes is one that everything takes which takes BDD100K's."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from PIL import Image

from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.data.scalabel_reader import read_label_frames
from bdd100k_zoo.data.tables import read_label_table
from bdd100k_zoo.errors import StorageError
from tools.scenes.dataset import SPLITS, frame_seed, write_scenes
from tools.scenes.scene import draw_scene, frame_name


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, train=2, val=3, jobs=1)
    return folder


def test_it_is_laid_out_as_bdd100k_is(root):
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    assert files == [
        "images/100k/train/00000000-00000000.jpg",
        "images/100k/train/00000000-00000001.jpg",
        "images/100k/val/00000001-00000000.jpg",
        "images/100k/val/00000001-00000001.jpg",
        "images/100k/val/00000001-00000002.jpg",
        "labels/det_20/det_train.json",
        "labels/det_20/det_val.json",
    ]


def test_its_labels_are_those_of_the_scenes(root):
    frames = read_label_frames(root / "labels" / "det_20" / "det_val.json")
    assert frames == tuple(draw_scene(frame_seed("val", 0, index)).labels for index in range(3))


def test_its_labels_can_be_scored_without_leniency(root):
    table = read_label_table(root / "labels" / "det_20" / "det_val.json")
    assert len(table.frames) == 3
    assert not table.let_through
    assert not table.crowd.any()
    assert all(each is not None and each.weather and each.scene and each.timeofday for each in table.attributes)


def test_its_labels_have_the_fields_of_bdd100ks_own(root):
    frame = msgspec.json.decode((root / "labels" / "det_20" / "det_val.json").read_bytes())[0]
    assert set(frame) == {"name", "labels", "attributes", "size"}
    assert set(frame["labels"][0]) == {"id", "category", "box2d", "attributes"}
    assert set(frame["labels"][0]["attributes"]) == {"occluded", "truncated", "trafficLightColor"}


def test_its_images_are_the_scenes_as_jpeg(root):
    path = root / "images" / "100k" / "val" / frame_name(frame_seed("val", 0, 1))
    with Image.open(path) as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (1280, 720), "RGB")
        pixels = np.asarray(image).astype(np.int64)
    assert np.abs(pixels - draw_scene(frame_seed("val", 0, 1)).pixels).mean() < 5


def test_its_images_are_found_under_the_labels_names(root):
    found = [image.name for image in find_images([str(root / "images" / "100k" / "val")]).frames]
    assert found == [frame.name for frame in read_label_frames(root / "labels" / "det_20" / "det_val.json")]


def test_several_processes_write_what_one_writes(root, tmp_path):
    write_scenes(tmp_path, val=34, jobs=2)
    for index in range(3):
        path = f"images/100k/val/{frame_name(frame_seed('val', 0, index))}"
        assert (tmp_path / path).read_bytes() == (root / path).read_bytes()


def test_a_split_of_no_frames_is_unchanged(tmp_path):
    write_scenes(tmp_path, val=1, jobs=1)
    assert not (tmp_path / "images" / "100k" / "train").exists()
    assert not (tmp_path / "labels" / "det_20" / "det_train.json").exists()


def test_writing_again_gives_the_same_files(root):
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    write_scenes(root, val=3, jobs=1)
    assert {path: path.read_bytes() for path in root.rglob("*.*")} == before


@pytest.mark.parametrize("kept", ["images/100k/val/b1c66a42-6f7d68ca.jpg", "labels/det_20/det_val.json"])
def test_another_dataset_is_left_as_it_is(tmp_path, kept):
    (tmp_path / kept).parent.mkdir(parents=True)
    (tmp_path / kept).write_bytes(b"theirs")
    with pytest.raises(StorageError) as caught:
        write_scenes(tmp_path, val=1, jobs=1)
    assert str(caught.value).splitlines()[1:] == [f"  {tmp_path / kept}"]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / kept]


def test_no_two_frames_share_a_seed():
    seeds = [frame_seed(split, seed, index) for split in SPLITS for seed in range(3) for index in (0, 1, 2**32 - 1)]
    assert len({*seeds}) == len({frame_name(seed) for seed in seeds}) == len(seeds)


def test_progress_counts_every_frame(tmp_path):
    told: list[object] = []

    class Telling:
        def task(self, title, total, unit, done=0):
            told.append((title, total, unit))
            return self

        def __enter__(self):
            return self

        def __exit__(self, *_):
            told.append("end")

        def advance(self, amount):
            told.append(amount)

    write_scenes(tmp_path, val=2, jobs=1, progress=Telling())
    assert told == [("drawing scenes", 2, "images"), 1, 1, "end"]
