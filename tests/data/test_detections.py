"""Detections, and the predictions file: order, ids, the format's corners, and floats to the last bit."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.detections import Detection, Detections, PredictionsWriter, to_labels
from bdd100k_zoo.errors import InvalidFileError, StorageError, ZooError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Row = tuple[int, float, tuple[float, float, float, float]]


def listing(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def detections(*rows: Row) -> Detections:
    """Return detections from class, score and corners."""
    if not rows:
        return Detections.empty()
    return Detections(
        np.array([box for _, _, box in rows], np.float32),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([index for index, _, _ in rows], np.int64),
    )


def bits(number: float) -> bytes:
    return struct.pack("<d", number)


def write(path: Path, frames: Sequence[tuple[str, Detections]]) -> Any:
    writer = PredictionsWriter(path)
    for name, found in frames:
        writer.write(name, found)
    writer.finish()
    return json.loads(path.read_bytes())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "det.json"


def arrays(number: int = 2) -> dict[str, Any]:
    return {
        "boxes": np.arange(4 * number, dtype=np.float32).reshape(number, 4),
        "scores": np.linspace(0, 1, number, dtype=np.float32),
        "classes": np.zeros(number, np.int64),
    }


@pytest.mark.parametrize("number", [0, 1, 3])
def test_its_length_is_the_number_of_boxes(number: int) -> None:
    assert len(Detections(**arrays(number))) == number


def test_empty_detections_have_the_right_shapes() -> None:
    empty = Detections.empty()
    assert len(empty) == 0
    assert (empty.boxes.shape, empty.scores.shape, empty.classes.shape) == ((0, 4), (0,), (0,))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("boxes", np.zeros((2, 4))),
        ("boxes", np.zeros((2, 5), np.float32)),
        ("boxes", np.zeros(8, np.float32)),
        ("scores", np.zeros(2)),
        ("scores", np.zeros(3, np.float32)),
        ("scores", np.zeros((2, 1), np.float32)),
        ("classes", np.zeros(2, np.int32)),
        ("classes", np.zeros(2, np.float32)),
        ("classes", np.zeros(1, np.int64)),
    ],
)
def test_an_array_of_another_shape_or_type_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected .*, found {value.dtype} "):
        Detections(**(arrays() | {name: value}))


def test_boxes_of_another_number_than_scores_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^scores: expected float32 \[3\], found float32 \[2\]"):
        Detections(**(arrays() | {"boxes": np.zeros((3, 4), np.float32)}))


def test_detections_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Detections.empty().boxes = np.zeros((1, 4), np.float32)  # type: ignore[misc]


@pytest.mark.parametrize("index", [-1, 10])
def test_class_indices_are_those_of_the_ten_classes(index: int) -> None:
    with pytest.raises(ValueError, match="indices from 0 to 9"):
        Detections(np.zeros((1, 4), np.float32), np.zeros(1, np.float32), np.array([index], np.int64))


# The predictions file


def test_a_file_has_the_documented_format(path: Path) -> None:
    found = write(path, [("a.jpg", detections((2, 0.5, (10.25, 20, 31.5, 41)))), ("sub/b.jpg", detections())])
    assert found == [
        {
            "name": "a.jpg",
            "labels": [
                {
                    "id": "1",
                    "category": "car",
                    "score": 0.5,
                    "box2d": {"x1": 10.25, "y1": 20.0, "x2": 30.5, "y2": 40.0},
                }
            ],
        },
        {"name": "sub/b.jpg", "labels": []},
    ]


def test_a_link_in_place_of_an_unfinished_file_is_not_written_through(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"of somebody else")
    path.parent.mkdir(exist_ok=True)
    path.with_name(f".{path.name}.partial").symlink_to(other)
    writer = PredictionsWriter(path)
    writer.finish()
    assert path.read_bytes() == b"[]\n"
    assert other.read_bytes() == b"of somebody else"


def test_labels_come_in_class_order_then_by_descending_score(path: Path) -> None:
    box = (0, 0, 2, 2)
    (frame,) = write(
        path, [("a.jpg", detections((9, 0.9, box), (0, 0.25, box), (2, 0.5, box), (0, 0.75, box), (2, 1.0, box)))]
    )
    assert [(label["category"], label["score"]) for label in frame["labels"]] == [
        ("pedestrian", 0.75),
        ("pedestrian", 0.25),
        ("car", 1.0),
        ("car", 0.5),
        ("traffic sign", float(np.float32(0.9))),
    ]


def test_equal_scores_of_one_class_keep_the_detectors_order(path: Path) -> None:
    rows: list[Row] = [(place % 2, 0.5, (place, 0, place + 1, 1)) for place in range(40)]
    (frame,) = write(path, [("a.jpg", detections(*rows))])
    starts = [label["box2d"]["x1"] for label in frame["labels"]]
    assert starts == [*range(0, 40, 2), *range(1, 40, 2)]


def test_ids_count_up_over_the_file(path: Path) -> None:
    box = (0, 0, 2, 2)
    two = detections((1, 0.5, box), (0, 0.5, box))
    frames = write(path, [("a.jpg", two), ("b.jpg", detections()), ("c.jpg", two), ("d.jpg", two)])
    assert [[label["id"] for label in frame["labels"]] for frame in frames] == [["1", "2"], [], ["3", "4"], ["5", "6"]]


def test_each_class_index_gets_its_name() -> None:
    labels = to_labels(detections(*((index, 0.5, (0, 0, 2, 2)) for index in range(10))), count(1))
    assert tuple(label.category for label in labels) == CLASSES


number = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=300, deadline=None)
@given(score=st.floats(0, 1, width=32), corners=st.tuples(number, number, number, number))
def test_every_float_is_read_back_from_the_file_bit_for_bit_as_float64(
    tmp_path_factory: pytest.TempPathFactory, score: float, corners: tuple[float, float, float, float]
) -> None:
    (frame,) = write(tmp_path_factory.mktemp("run") / "det.json", [("a.jpg", detections((4, score, corners)))])
    (label,) = frame["labels"]
    x1, y1, x2, y2 = (np.float64(np.float32(corner)) for corner in corners)
    expected = {"x1": x1, "y1": y1, "x2": x2 - np.float64(1), "y2": y2 - np.float64(1)}
    assert {name: bits(value) for name, value in label["box2d"].items()} == {
        name: bits(value) for name, value in expected.items()
    }
    assert bits(label["score"]) == bits(np.float64(np.float32(score)))


def test_the_subtraction_is_made_after_widening(path: Path) -> None:
    """In float32, 1279.7 − 1 is rounded to another number than in float64."""
    corner = np.float32(0.1)
    (frame,) = write(path, [("a.jpg", detections((0, 0.5, (0, 0, float(corner), 1))))])
    x2 = frame["labels"][0]["box2d"]["x2"]
    assert x2 == float(np.float64(corner) - 1)
    assert x2 != float(corner - np.float32(1))


def digits(decimal: str) -> str:
    mantissa = decimal.lower().partition("e")[0].lstrip("-").replace(".", "")
    return mantissa.strip("0")


@settings(deadline=None)
@given(value=number)
def test_numbers_are_written_with_the_fewest_digits_that_give_the_float64_back(
    tmp_path_factory: pytest.TempPathFactory, value: float
) -> None:
    path = tmp_path_factory.mktemp("run") / "det.json"
    write(path, [("a.jpg", detections((0, 0.5, (value, 0, 1, 1))))])
    written = path.read_text().partition('"x1":')[2].partition(",")[0]
    assert digits(written) == digits(repr(float(value)))


def test_no_frame_at_all_is_an_empty_list(path: Path) -> None:
    assert write(path, []) == []


def test_the_final_name_appears_only_with_the_complete_file(path: Path) -> None:
    writer = PredictionsWriter(path)
    writer.write("a.jpg", detections())
    assert not path.exists()
    assert listing(path.parent) == [".det.json.partial"]
    writer.finish()
    assert listing(path.parent) == ["det.json"]


def test_an_earlier_file_stays_until_the_new_one_is_complete(path: Path) -> None:
    write(path, [("old.jpg", detections())])
    writer = PredictionsWriter(path)
    writer.write("new.jpg", detections())
    assert json.loads(path.read_bytes())[0]["name"] == "old.jpg"
    writer.abandon()
    assert json.loads(path.read_bytes())[0]["name"] == "old.jpg"


def test_the_counts_follow_what_was_written(path: Path) -> None:
    writer = PredictionsWriter(path)
    writer.write("a.jpg", detections((0, 0.5, (0, 0, 1, 1)), (0, 0.4, (0, 0, 1, 1))))
    writer.write("b.jpg", detections())
    assert (writer.frames, writer.labels) == (2, 2)
    writer.finish()


@pytest.mark.parametrize("number_of_frames", [0, 3])
def test_an_abandoned_writer_leaves_nothing(path: Path, number_of_frames: int) -> None:
    writer = PredictionsWriter(path)
    for place in range(number_of_frames):
        writer.write(f"{place}.jpg", detections((0, 0.5, (0, 0, 1, 1))))
    writer.abandon()
    assert listing(path.parent) == []


def test_the_file_of_a_killed_process_is_overwritten(path: Path) -> None:
    left = PredictionsWriter(path)
    left.write("a.jpg", detections(*[(0, 0.5, (0, 0, 1, 1))] * 100))
    frames = [("b.jpg", detections())]
    assert write(path, frames) == [{"name": "b.jpg", "labels": []}]
    assert listing(path.parent) == ["det.json"]
    left.abandon()


def test_a_refused_frame_leaves_the_file_as_it_was(path: Path) -> None:
    writer = PredictionsWriter(path)
    writer.write("b.jpg", detections())
    for name, error in (("a.jpg", ValueError), ("b.jpg", ValueError), ("../c.jpg", InvalidFileError)):
        with pytest.raises(error):
            writer.write(name, detections((0, 0.5, (0, 0, 1, 1))))
    writer.write("c.jpg", detections((0, 0.5, (0, 0, 1, 1))))
    writer.finish()
    frames = json.loads(path.read_bytes())
    assert [frame["name"] for frame in frames] == ["b.jpg", "c.jpg"]
    assert frames[1]["labels"][0]["id"] == "1"


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_cannot_represent_are_refused(path: Path, odd: float) -> None:
    writer = PredictionsWriter(path)
    writer.write("a.jpg", detections())
    for found in (detections((0, odd, (0, 0, 1, 1))), detections((0, 0.5, (0, 0, odd, 1)))):
        with pytest.raises(InvalidFileError, match=r"b\.jpg"):
            writer.write("b.jpg", found)
    writer.finish()
    assert len(json.loads(path.read_bytes())) == 1


@pytest.mark.parametrize("name", ["", "/a.jpg", "../a.jpg", "a/../../b.jpg", "C:\\a.jpg", "\udc80.jpg", "a\n.jpg"])
def test_an_unsafe_name_is_refused_as_the_first_frame_too(path: Path, name: str) -> None:
    writer = PredictionsWriter(path)
    with pytest.raises(InvalidFileError):
        writer.write(name, detections())
    writer.abandon()


def test_names_are_sorted_by_code_point_and_may_hold_any_script(path: Path) -> None:
    names = sorted(["Z.jpg", "a.jpg", "a/b.jpg", 'q"uote.jpg', "ä.jpg", "車.jpg", "😀.jpg"])
    assert [frame["name"] for frame in write(path, [(name, detections()) for name in names])] == names


def test_a_folder_that_cannot_be_created_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_bytes(b"")
    with pytest.raises(StorageError) as caught:
        PredictionsWriter(tmp_path / "runs" / "det.json")
    assert caught.value.path == tmp_path / "runs" / "det.json"


def test_a_folder_in_place_of_the_file_is_a_storage_error(path: Path) -> None:
    path.mkdir(parents=True)
    writer = PredictionsWriter(path)
    writer.write("a.jpg", detections())
    with pytest.raises(StorageError):
        writer.finish()
    writer.abandon()
    assert listing(path.parent) == ["det.json"]


FULL_DISK = """\
import resource, signal, sys
from pathlib import Path
from bdd100k_zoo.data.detections import Detections
from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.data.detections import PredictionsWriter

limit, frames = map(int, sys.argv[2:])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
writer = PredictionsWriter(Path(sys.argv[1]))
try:
    for number in range(frames):
        writer.write(f"{number:06}.jpg", Detections.empty())
    writer.finish()
except StorageError as error:
    print(error)
writer.abandon()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
@pytest.mark.parametrize(("limit", "frames"), [(10, 1), (1000, 100), (100_000, 10_000)])
def test_a_full_disk_is_a_storage_error_and_nothing_is_left(path: Path, limit: int, frames: int) -> None:
    """A limit on the size of files simulates the full disk, in a separate process."""
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL_DISK, str(path), str(limit), str(frames)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith(f"{path}: ")
    assert listing(path.parent) == []


# What users do with them


def three() -> Detections:
    return detections(
        (2, 0.9, (10, 20, 30, 60)),
        (0, 0.5, (0, 0, 5, 5)),
        (2, 0.25, (50, 50, 90, 80)),
    )


def test_iterating_and_indexing_give_single_detections() -> None:
    found = three()
    assert [each.name for each in found] == found.names == ["car", "pedestrian", "car"]
    assert found[0] == next(iter(found)) == Detection((10.0, 20.0, 30.0, 60.0), found.scores[0].item(), "car")
    assert found[-1].box == (50.0, 50.0, 90.0, 80.0)
    assert found[np.int64(1)].name == "pedestrian"
    assert all(isinstance(value, float) for value in (*found[0].box, found[0].score))
    with pytest.raises(IndexError):
        found[3]


@pytest.mark.parametrize(
    ("index", "names"),
    [
        (slice(1, None), ["pedestrian", "car"]),
        (np.array([True, False, True]), ["car", "car"]),
        ([True, False, False], ["car"]),
        (np.array([1, 0]), ["pedestrian", "car"]),
        ([1], ["pedestrian"]),
        ([], []),
        (slice(0, 0), []),
    ],
)
def test_slices_masks_and_indices_give_detections(index: Any, names: list[str]) -> None:
    found = three()[index]
    assert isinstance(found, Detections)
    assert found.names == names


def test_a_filter_keeps_scores_from_its_limit_on_and_the_named_classes() -> None:
    found = three()
    assert found.filter() == found
    assert len(found.filter(min_score=0.5)) == 2
    assert found.filter(classes=["car"]).names == ["car", "car"]
    assert found.filter(classes=["person", 2], min_score=0.3).names == ["car", "pedestrian"]
    assert len(found.filter(classes=[])) == 0
    with pytest.raises(ZooError, match="no class 'cars'") as caught:
        found.filter(classes=["cars"])
    assert "traffic light" in caught.value.hint


def test_equality_compares_all_values() -> None:
    assert three() == three()
    assert three() != three()[:2]
    assert three() != 3
    changed = dataclasses.replace(three(), scores=np.array([0.9, 0.5, 0.26], np.float32))
    assert three() != changed
    with pytest.raises(TypeError):
        hash(three())


def test_their_representation_is_short() -> None:
    assert repr(three()) == "Detections(3: 1 pedestrian, 2 car)"
    assert repr(Detections.empty()) == "Detections(0)"


def test_a_notebook_shows_a_table_with_the_highest_scores_first() -> None:
    table = three()._repr_html_()
    assert table.count("<tr>") == 4
    assert table.index("0.900") < table.index("0.500") < table.index("0.250")
    assert "<td>car</td><td>0.900</td><td>10.0</td><td>20.0</td><td>30.0</td><td>60.0</td>" in table


def test_dicts_hold_python_values() -> None:
    assert json.loads(json.dumps(three().to_dicts()))[1] == {
        "class": "pedestrian",
        "score": 0.5,
        "box": [0.0, 0.0, 5.0, 5.0],
    }


def test_drawing_gives_a_picture_of_the_same_size_and_leaves_the_image_alone() -> None:
    pixels = np.zeros((100, 120, 3), np.uint8)
    pixels[..., 2] = 200
    before = pixels.copy()
    picture = three().draw(pixels)
    assert (picture.mode, picture.size) == ("RGB", (120, 100))
    drawn = np.asarray(picture)
    assert (pixels == before).all()
    assert tuple(drawn[99, 119]) == (200, 0, 0)
    assert (drawn[50:80, 49:91] != (200, 0, 0)).any()
    assert tuple(np.asarray(Detections.empty().draw(pixels[..., ::-1], "rgb"))[0, 0]) == (200, 0, 0)
