from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bdd100k_zoo.data.scalabel import Box2D, ImageSize, is_crowd
from bdd100k_zoo.data.scalabel_reader import read_label_frames
from bdd100k_zoo.errors import InputsError, InvalidFileError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

FRAME = """{"name": "a.jpg", "attributes": {"weather": "rainy"}, "timestamp": 10000, "labels": [
    {"id": "7", "category": "car", "manualShape": true, "attributes": {"occluded": false, "crowd": true},
     "box2d": {"x1": 1, "y1": 2.5, "x2": 30, "y2": 40}, "score": null},
    {"id": 8, "category": "lane/road curb", "poly2d": [{"vertices": [[0, 0]]}]}]}"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "labels.json"


@pytest.mark.parametrize("document", [f"[{FRAME}]", f'{{"frames": [{FRAME}], "config": {{}}, "groups": null}}'])
def test_both_outer_forms_are_read_and_unknown_fields_ignored(file: Path, document: str) -> None:
    file.write_text(document)
    (frame,) = read_label_frames(file)
    car, lane = frame.labels
    assert (frame.name, frame.attributes, frame.size) == ("a.jpg", {"weather": "rainy"}, ImageSize(1280, 720))
    assert (car.id, car.category, car.box2d) == ("7", "car", Box2D(1, 2.5, 30, 40))
    assert (lane.id, lane.category, lane.box2d) == ("8", "lane/road curb", None)
    assert [is_crowd(label.category, label.attributes) for label in frame.labels] == [True, False]


def test_names_may_be_numbers_and_labels_null(file: Path) -> None:
    file.write_text('[{"name": 12, "labels": null, "size": {"width": 640, "height": 360}}, {"name": "b"}]')
    first, second = read_label_frames(file)
    assert (first.name, first.labels, first.size) == ("12", (), ImageSize(640, 360))
    assert (second.name, second.labels) == ("b", ())


@pytest.mark.parametrize("attribute", ["crowd", "ignored"])
@pytest.mark.parametrize(("value", "is_region"), [("true", True), ("1", True), ("false", False), ("null", False)])
def test_crowds_and_ignored_labels_are_regions(file: Path, attribute: str, value: str, is_region: bool) -> None:
    file.write_text(f'[{{"name": "a", "labels": [{{"attributes": {{"{attribute}": {value}}}}}]}}]')
    (label,) = read_label_frames(file)[0].labels
    assert is_crowd(label.category, label.attributes) is is_region


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ("[{", "truncated"),
        ("5", "a JSON document that is 5"),
        ('[{"labels": []}]', "name"),
        ('[{"name": "a", "labels": [{"id": 1, "box2d": {"x1": "wide", "y1": 0, "x2": 1, "y2": 1}}]}]', "box2d.x1"),
        ('[{"name": "a", "labels": [{"id": 1, "box2d": {"x1": 0, "y1": 0, "x2": 1}}]}]', "y2"),
        ('[{"name": "a", "labels": [{"id": 1, "box2d": {"x1": NaN, "y1": 0, "x2": 9, "y2": 9}}]}]', "box2d.x1"),
        ('[{"name": "a", "labels": [{"id": 1, "box2d": {"x1": 0, "y1": 0.5, "x2": 1, "y2": "1"}}]}]', "within 0 to 1"),
        ('{"images": [], "annotations": [], "categories": []}', "a COCO labels file"),
        ('[{"name": ' + "[" * 100_000 + "]" * 100_000 + "}]", "nested too deeply"),
    ],
)
def test_an_invalid_label_file_is_an_error_naming_the_file_and_the_place(file: Path, document: str, found: str) -> None:
    file.write_text(document)
    with pytest.raises(InputsError) as caught:
        read_label_frames(file)
    assert str(file) in str(caught.value)
    assert found in str(caught.value)


def test_bytes_that_are_no_text_are_an_error(file: Path) -> None:
    file.write_bytes(b'[{"name": "\xff\xfe"}]')
    with pytest.raises(InputsError):
        read_label_frames(file)


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", ""])
def test_a_frame_name_that_leaves_its_folder_is_refused(file: Path, name: str) -> None:
    file.write_text(f'[{{"name": "{name}"}}]')
    with pytest.raises(InvalidFileError):
        read_label_frames(file)


def test_a_missing_file_is_a_storage_error(file: Path) -> None:
    with pytest.raises(StorageError):
        read_label_frames(file)


def test_reading_labels_does_not_import_numpy(file: Path) -> None:
    file.write_text(f"[{FRAME}]")
    code = (
        "import sys; from pathlib import Path; from bdd100k_zoo.data.scalabel_reader import read_label_frames;"
        f"read_label_frames(Path({str(file)!r})); print('numpy' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
