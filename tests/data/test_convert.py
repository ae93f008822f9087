"""Conversion of files between Scalabel and COCO, and to YOLO and CSV."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from PIL import Image

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.convert import FORMATS, READERS, TITLES, WRITERS, convert_file
from bdd100k_zoo.data.formats import AnnotationFormat, FileFormat, TargetFormat
from bdd100k_zoo.errors import ImagesError, InputsError, InvalidFileError, StorageError

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


# YOLO and CSV

SIZED = {"width": 200, "height": 100}


def rows_of(folder: Path) -> dict[str, list[str]]:
    labels = folder / "labels"
    return {path.relative_to(labels).as_posix(): path.read_text().splitlines() for path in labels.rglob("*.txt")}


def test_labels_become_a_text_file_for_each_image() -> None:
    labels = [
        {"category": "car", "box2d": box(10, 20, 29, 59)},
        {"category": "person", "box2d": box(0, 0, 199, 99)},
        {"category": "lane/road curb", "poly2d": []},
    ]
    frames = [{"name": "day/b.jpg", "size": SIZED, "labels": labels}, {"name": "a.jpg"}]
    result = convert_file(put(IN, frames), OUT, "yolo")
    assert (result.written, result.images, result.objects) == ("YOLO labels", 2, 2)
    assert result.notes == ("1 labels without a box were left out",)
    assert rows_of(OUT) == {"a.txt": [], "day/b.txt": ["2 0.1 0.4 0.1 0.4", "0 0.5 0.5 1 1"]}


def test_results_have_their_scores_and_rows_are_those_of_coco_labels_and_results() -> None:
    label = {"id": "1", "category": "truck", "box2d": box(10, 20, 29, 59)}
    frames = [{"name": "a.jpg", "size": SIZED, "labels": [label]}]
    results = [{"name": "a.jpg", "labels": [label | {"score": 0.25}]}]
    convert_file(put(LABELS, frames), BACK, "coco")
    convert_file(BACK, Path("labels"), "yolo")
    assert rows_of(Path("labels")) == {"a.txt": ["3 0.1 0.4 0.1 0.4"]}
    expected = {"a.txt": ["3 0.1 0.4 0.1 0.4 0.25"]}
    convert_file(put(IN, results), OUT, "yolo", labels=LABELS)
    assert rows_of(OUT) == expected
    convert_file(IN, Path("results.json"), "coco", labels=BACK)
    for number, labels in enumerate((LABELS, BACK)):
        convert_file(Path("results.json"), Path(f"{number}"), "yolo", labels=labels)
        assert rows_of(Path(f"{number}")) == expected


def test_crowds_are_left_out_and_boxes_are_clipped_and_all_is_noted() -> None:
    labels = [
        {"category": "other vehicle", "box2d": box(1, 2, 3, 4)},
        {"category": "car", "box2d": box(1, 2, 3, 4), "attributes": {"crowd": True}},
        {"category": "car", "box2d": box(-10, 20, 9, 59)},
        {"category": "car", "box2d": box(300, 20, 320, 59)},
    ]
    result = convert_file(put(IN, [{"name": "a.jpg", "size": SIZED, "labels": labels}]), OUT, "yolo")
    assert rows_of(OUT) == {"a.txt": ["2 0.025 0.4 0.05 0.4"]}
    assert (result.objects, result.notes) == (
        1,
        (
            "2 crowds and ignored regions were left out: YOLO cannot mark them",
            "1 boxes without an area inside their image were left out",
            "1 boxes were clipped to their image",
        ),
    )


def test_the_size_is_that_of_the_images_then_of_the_file_then_of_bdd100k() -> None:
    label = {"category": "car", "box2d": box(0, 0, 639, 359)}
    name = "b1c66a42-6f7d68ca.jpg"
    convert_file(put(IN, [{"name": name, "labels": [label]}]), OUT, "yolo")
    assert rows_of(OUT) == {"b1c66a42-6f7d68ca.txt": ["2 0.25 0.25 0.5 0.5"]}
    sized = put(IN, [{"name": name, "size": {"width": 640, "height": 720}, "labels": [label]}])
    convert_file(sized, OUT, "yolo")
    assert rows_of(OUT) == {"b1c66a42-6f7d68ca.txt": ["2 0.5 0.25 1 0.5"]}
    Path("images").mkdir()
    Image.new("RGB", (2560, 360)).save(Path("images", name))
    convert_file(sized, OUT, "yolo", images=["images"])
    assert rows_of(OUT) == {"b1c66a42-6f7d68ca.txt": ["2 0.125 0.5 0.25 1"]}


def test_an_unknown_size_is_an_error_and_needed_only_for_boxes() -> None:
    frame: dict[str, Any] = {"name": "a.jpg", "labels": [{"category": "car", "box2d": box(1, 2, 3, 4)}]}
    with pytest.raises(ImagesError, match=r"size of the image 'a\.jpg' is unknown") as caught:
        convert_file(put(IN, [frame]), OUT, "yolo")
    assert "--images" in caught.value.hint
    Path("images").mkdir()
    Image.new("RGB", (20, 20)).save("images/b.jpg")
    with pytest.raises(ImagesError, match=r"'a\.jpg' is not among the images"):
        convert_file(IN, OUT, "yolo", images=["images"])
    assert not OUT.exists()
    convert_file(put(IN, [frame | {"labels": []}]), OUT, "yolo")
    assert rows_of(OUT) == {"a.txt": []}


def test_labels_assumed_to_have_the_size_of_bdd100k_do_not_give_it_to_results() -> None:
    put(LABELS, [{"name": "a.jpg", "labels": [{"category": "car", "box2d": box(1, 2, 3, 4)}]}])
    put(IN, [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}])
    with pytest.raises(ImagesError, match="unknown"):
        convert_file(IN, OUT, "yolo", labels=LABELS)


def test_csv_has_a_row_for_each_box() -> None:
    labels = [
        {"category": "person", "box2d": box(1, 2, 3.5, 4)},
        {"category": "other vehicle", "box2d": box(0.1, 0.2, 0.3, 4)},
    ]
    frames = [{"name": 'day/"b",1.jpg', "labels": labels}, {"name": "a.jpg"}]
    result = convert_file(put(IN, frames), OUT, "csv")
    assert (result.written, result.images, result.objects) == ("CSV labels", 2, 2)
    assert OUT.read_bytes() == (
        b"image,class,score,x1,y1,x2,y2\n"
        b'"day/""b"",1.jpg",pedestrian,,1.0,2.0,4.5,5.0\n'
        b'"day/""b"",1.jpg",other vehicle,,0.1,0.2,1.3,5.0\n'
    )
    convert_file(put(IN, DETECTED), OUT, "csv")
    assert OUT.read_text().splitlines()[1:] == ["b.jpg,car,0.1,-3.3,2.0,4.0,5.0"]


@pytest.mark.parametrize("to", ["yolo", "csv"])
def test_frames_of_several_videos_are_told_apart_and_names_stay_inside(to: Any) -> None:
    label = {"category": "car", "box2d": box(1, 2, 3, 4)}
    frames = [{"name": "1.jpg", "videoName": video, "size": SIZED, "labels": [label]} for video in ("x", "y")]
    convert_file(put(IN, frames), OUT, to)
    if to == "csv":
        assert [line.split(",")[0] for line in OUT.read_text().splitlines()[1:]] == ["x/1.jpg", "y/1.jpg"]
    else:
        assert sorted(rows_of(OUT)) == ["x/1.txt", "y/1.txt"]
    frames[0]["videoName"] = "../x"
    with pytest.raises(InvalidFileError, match="relative path"):
        convert_file(put(IN, frames), BACK, to)
    with pytest.raises(InvalidFileError, match="relative path"):
        convert_file(put(IN, [frames[0] | {"name": "../1.jpg"}]), BACK, to)
    assert not BACK.exists()


@pytest.mark.parametrize(
    ("change", "to", "message"),
    [
        ({"category": "animal"}, "yolo", r"1 labels of unknown categories: b\.jpg: label 1: animal"),
        ({"score": "high"}, "yolo", r"1 labels without a score that is a number: b\.jpg: label 1: high"),
        ({"score": "high"}, "csv", r"1 labels without a score that is a number: b\.jpg: label 1: high"),
    ],
)
def test_what_yolo_and_csv_cannot_hold_is_an_error(change: dict[str, str], to: Any, message: str) -> None:
    label = DETECTED[0]["labels"][0] | change
    with pytest.raises(InvalidFileError, match=message):
        convert_file(put(IN, [DETECTED[0] | {"size": SIZED, "labels": [label]}]), OUT, to)
    assert not OUT.exists()
