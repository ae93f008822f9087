"""Conversion of files between Scalabel and COCO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.convert import FORMATS, READERS, TITLES, WRITERS, convert_file
from bdd100k_zoo.data.formats import AnnotationFormat, FileFormat, TargetFormat
from bdd100k_zoo.errors import InputsError, InvalidFileError, StorageError

IN, OUT, BACK, LABELS = Path("in.json"), Path("out.json"), Path("back.json"), Path("labels.json")


def box(x1: float, y1: float, x2: float, y2: float) -> dict[str, float]:
    return {"x1": x1, "y1": y1, "x2": x2, "y2": y2}


LABELLED: list[dict[str, Any]] = [
    {
        "name": "b.jpg",
        "attributes": {"weather": "clear"},
        "size": {"width": 1280, "height": 720},
        "labels": [
            {"id": "a-1", "category": "other vehicle", "box2d": box(0.1, 0.2, 0.30000000000000004, 7)},
            {"id": "a-2", "category": "bike", "box2d": box(1, 2, 3, 4), "attributes": {"crowd": True}},
        ],
    },
    {"name": "a.jpg", "size": {"width": 1280, "height": 720}, "labels": []},
]
DETECTED: list[dict[str, Any]] = [
    {"name": "b.jpg", "labels": [{"id": "1", "category": "car", "score": 0.1, "box2d": box(-3.3, 2, 3, 4)}]}
]


def put(path: Path, document: object) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_every_format_has_a_reader_or_writer_and_a_title() -> None:
    assert set(get_args(TargetFormat)) == set(WRITERS) == set(TITLES)
    assert set(get_args(FileFormat)) == set(READERS) == set(FORMATS)
    assert set(get_args(AnnotationFormat)) == set(FORMATS.values())


def test_labels_are_converted_to_coco_and_restored_completely() -> None:
    result = convert_file(put(IN, LABELLED), OUT, "coco")
    assert (result.found, result.written, result.images, result.objects) == ("Scalabel labels", "COCO labels", 2, 2)
    coco = json.loads(OUT.read_text())
    assert [(image["id"], image["file_name"], image["width"]) for image in coco["images"]] == [
        (1, "a.jpg", 1280),
        (2, "b.jpg", 1280),
    ]
    assert [(each["id"], each["name"]) for each in coco["categories"]] == list(enumerate(CLASSES, 1))
    first, second = coco["annotations"]
    assert (first["id"], first["image_id"], first["category_id"], first["iscrowd"]) == (1, 2, 3, 1)
    assert first["bbox"] == [0.1, 0.2, 0.30000000000000004 - 0.1 + 1, 7 - 0.2 + 1]
    assert first["area"] == first["bbox"][2] * first["bbox"][3]
    assert (second["category_id"], second["iscrowd"], second["bbox"]) == (8, 1, [1, 2, 3, 3])
    assert convert_file(OUT, BACK, "scalabel").found == "COCO labels"
    assert json.loads(BACK.read_text()) == LABELLED[::-1]


def test_results_become_coco_with_the_ids_of_the_labels_and_come_back_with_every_frame() -> None:
    put(LABELS, LABELLED)
    result = convert_file(put(IN, DETECTED), OUT, "coco", labels=LABELS)
    assert (result.found, result.written, result.objects) == ("Scalabel results", "COCO results", 1)
    assert json.loads(OUT.read_text()) == [
        {"image_id": 2, "category_id": 3, "bbox": [-3.3, 2, 3 + 3.3 + 1, 3], "score": 0.1}
    ]
    convert_file(OUT, BACK, "scalabel", labels=LABELS)
    frames = json.loads(BACK.read_text())
    assert [frame["name"] for frame in frames] == ["a.jpg", "b.jpg"]
    assert frames[1]["labels"] == DETECTED[0]["labels"]


def test_either_format_of_labels_serves_results() -> None:
    put(IN, DETECTED)
    convert_file(put(LABELS, LABELLED), Path("coco-labels.json"), "coco")
    convert_file(IN, OUT, "coco", labels=LABELS)
    convert_file(IN, BACK, "coco", labels=Path("coco-labels.json"))
    assert OUT.read_bytes() == BACK.read_bytes()


def test_a_set_of_frames_around_the_list_and_a_frame_a_line() -> None:
    convert_file(put(IN, {"frames": LABELLED, "config": None}), OUT, "coco")
    convert_file(OUT, BACK, "scalabel")
    lines = BACK.read_text().splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("[", "]", 4)


def test_results_without_a_box_are_refused_and_images_without_labels_are_not() -> None:
    put(LABELS, LABELLED)
    with pytest.raises(InputsError, match="no box"):
        convert_file(put(IN, [{"name": "a.jpg", "labels": []}]), OUT, "coco", labels=LABELS)
    with pytest.raises(InputsError, match="no box"):
        convert_file(put(BACK, []), OUT, "scalabel", "coco", LABELS)
    assert not OUT.exists()
    result = convert_file(IN, OUT, "coco")
    assert (result.found, result.notes) == ("Scalabel labels", ("there is no label: only the images were written",))


def test_what_a_format_cannot_hold_is_noted() -> None:
    lane = {"id": "9", "category": "lane/road curb", "poly2d": []}
    result = convert_file(put(IN, [{"name": "a.jpg", "labels": [lane]}]), OUT, "coco")
    assert result.notes == ("1 labels without a box were left out",)
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "categories": [{"id": n, "name": f"animal {n}"} for n in range(9)],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "segmentation": {"counts": "x", "size": [1, 1]}}],
    }
    result = convert_file(put(IN, coco), OUT, "scalabel")
    assert "1 annotations have no bbox" in result.notes[0]
    assert "animal 0, animal 1, animal 2, animal 3, animal 4, …" in result.notes[1]
    assert json.loads(OUT.read_text())[0]["labels"] == [{"id": "1", "category": "animal 3"}]


@pytest.mark.parametrize(
    ("document", "to", "given", "message"),
    [
        (LABELLED, "coco", "coco", r"expected coco \(--from\), found Scalabel frames"),
        (LABELLED, "scalabel", None, "in the format scalabel already"),
        (DETECTED, "coco", None, "the ids of their images are in a labels file"),
        (
            [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}],
            "scalabel",
            None,
            "the ids of their images are in a labels file",
        ),
        ([], "coco", None, "which may be of either format"),
        ({"model": "x"}, "coco", None, "a JSON object of model"),
        ('[{"name": "a.jpg", "labels": [', "coco", None, r"is truncated.*byte 30"),
        ('[{"name": "a.jpg"}, {"name": "b.jpg"', "coco", None, r"is truncated.*byte 36"),
        ('{"images": ' + "[" * 100_000 + "]" * 100_000 + "}", "scalabel", None, "does not have the expected structure"),
        ('[{"name": ' + "[" * 100_000 + "]" * 100_000 + "}]", "coco", None, "nested too deeply"),
        ([{"name": "a.jpg", "labels": [{"box2d": {"x1": 1}}]}], "coco", None, r"y1.*labels\[0\]\.box2d"),
    ],
)
def test_invalid_input_is_an_error_and_nothing_is_written(document: Any, to: Any, given: Any, message: str) -> None:
    with pytest.raises((InvalidFileError, InputsError), match=message) as caught:
        convert_file(put(IN, document), OUT, to, given)
    assert caught.value.path == IN
    assert not OUT.exists()


def test_results_of_frames_that_the_labels_lack_are_an_error_with_the_labels_file() -> None:
    put(LABELS, [{"name": "z.jpg"}])
    with pytest.raises(InvalidFileError, match=r"1 frames that labels\.json lacks: b\.jpg"):
        convert_file(put(IN, DETECTED), OUT, "coco", labels=LABELS)


def test_a_missing_file_is_a_storage_error() -> None:
    with pytest.raises(StorageError):
        convert_file(IN, OUT, "coco")


FLAT = [{"name": "b.jpg", "timestamp": 1000, "category": "car", "bbox": [1, 2, 30.5, 40], "score": 0.5}]


def test_flat_predictions_become_results() -> None:
    put(LABELS, LABELLED)
    assert convert_file(put(IN, FLAT), OUT, "coco", labels=LABELS).found == "Scalabel results"
    assert json.loads(OUT.read_text()) == [{"image_id": 2, "category_id": 3, "bbox": [1, 2, 30.5, 39], "score": 0.5}]


def test_a_folder_of_labels_is_converted_as_one_file() -> None:
    Path("parts").mkdir()
    for frame in LABELLED:
        put(Path("parts", f"{frame['name']}.json"), [frame])
    convert_file(Path("parts"), OUT, "coco")
    assert convert_file(OUT, BACK, "scalabel").images == 2
    assert json.loads(BACK.read_text()) == LABELLED[::-1]


@pytest.mark.parametrize("scored", [False, True])
def test_boxes_that_are_not_in_pixels_are_refused(scored: bool) -> None:
    put(LABELS, LABELLED)
    label = {"id": "1", "category": "car", "box2d": box(0.1, 0.2, 0.3, 1)} | ({"score": 0.5} if scored else {})
    with pytest.raises(InputsError, match="multiply"):
        convert_file(put(IN, [{"name": "b.jpg", "labels": [label]}]), OUT, "coco", labels=LABELS if scored else None)
    result = {"image_id": 1, "category_id": 1, "bbox": [0.1, 0.2, 0.3, 0.4]}
    categories = [{"id": 1, "name": "car"}]
    document: Any = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [result], "categories": categories}
    with pytest.raises(InputsError, match="multiply"):
        convert_file(
            put(IN, [result | {"score": 1}] if scored else document), OUT, "scalabel", labels=LABELS if scored else None
        )
    assert not OUT.exists()


def test_assumptions_about_ids_are_noted() -> None:
    put(LABELS, LABELLED)
    results = [
        {"image_id": name, "category_id": category, "bbox": [1, 2, 3, 4], "score": 1}
        for name, category in (("a", 0), ("b", 2))
    ]
    (note,) = convert_file(put(IN, results), OUT, "scalabel", labels=LABELS).notes
    assert "0 pedestrian, 1 rider, 2 car" in note
    assert [frame["labels"][0]["category"] for frame in json.loads(OUT.read_text())] == ["pedestrian", "car"]


@pytest.mark.parametrize("rest", [{"info": None, "licenses": None}, {"info": "", "licenses": {}}, {"info": []}])
def test_whatever_is_in_info_and_licenses_is_read(rest: dict[str, Any]) -> None:
    convert_file(put(IN, LABELLED), OUT, "coco")
    put(BACK, json.loads(OUT.read_text()) | rest)
    assert convert_file(BACK, IN, "scalabel").images == len(LABELLED)


def test_text_that_is_not_valid_unicode_is_named() -> None:
    odd = {"id": "1\ud800", "category": "car", "box2d": box(1, 2, 3, 4)}
    with pytest.raises(InvalidFileError, match="not valid Unicode"):
        convert_file(put(IN, [{"name": "a.jpg", "labels": [odd]}]), OUT, "coco")


def test_flat_predictions_without_the_suffix_of_their_images_are_converted() -> None:
    put(IN, [{"name": "a", "category": "car", "score": 0.5, "bbox": [1, 2, 30, 40]}])
    assert convert_file(IN, OUT, "coco", labels=put(LABELS, LABELLED)).objects == 1
