"""COCO ↔ Scalabel: conversions in both directions restore the original to the bit."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bdd100k_zoo.data.classes import CLASS_ALIASES, CLASSES, IGNORED_CLASSES
from bdd100k_zoo.data.coco import (
    CocoAnnotation,
    CocoCategory,
    CocoImage,
    CocoLabels,
    CocoResult,
    box_to_coco,
    box_to_scalabel,
    to_corners,
)
from bdd100k_zoo.data.coco_convert import labels_from_coco, labels_to_coco, results_from_coco, results_to_coco
from bdd100k_zoo.data.formats import detect_format
from bdd100k_zoo.data.scalabel import Bbox, Box2D, ImageSize, LabelFrame, is_crowd, to_bbox
from bdd100k_zoo.data.tables import (
    read_coco_labels,
    read_coco_results,
    read_label_table,
    read_labels,
    read_prediction_table,
)
from bdd100k_zoo.errors import InputsError, InvalidFileError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = Path("file.json")


def bits(*numbers: float) -> bytes:
    return struct.pack(f"{len(numbers)}d", *numbers)


def bits_of(box: Any) -> bytes:
    return bits(*(getattr(box, name) for name in box.__struct_fields__))


coordinates = st.one_of(
    st.floats(-2000, 2000, width=32),
    st.floats(-2000, 2000),
    st.floats(-1e100, 1e100, allow_subnormal=True),
    st.integers(-50, 1300).map(float),
    st.sampled_from([0.0, -0.0, 0.1, 1e-30, 0.30000000000000004]),
)
corners = st.builds(Box2D, coordinates, coordinates, coordinates, coordinates)
bboxes = st.builds(Bbox, coordinates, coordinates, coordinates, coordinates)
truths = st.sampled_from([True, False, 0, 1, 0.5, "true", "false", "no", "0", "0.0", "yes", "", "crowd"])
attributes = st.none() | st.dictionaries(st.sampled_from(["crowd", "ignored", "occluded"]), truths)
categories = st.sampled_from([*CLASSES, *CLASS_ALIASES, *IGNORED_CLASSES])
names = st.lists(st.text("ab/cé", min_size=1, max_size=4).map(lambda text: f"x{text}y.jpg"), unique=True, max_size=5)


@st.composite
def scalabel_labels(draw: Any, *, scored: bool) -> dict[str, Any]:
    box = draw(corners)
    label = {
        "id": draw(st.integers(0, 40) | st.integers(0, 40).map(str) | st.text(max_size=3)),
        "category": draw(categories),
        "box2d": msgspec.to_builtins(box),
    }
    if scored:
        label["score"] = draw(st.floats(0, 1))
    given_attributes = draw(attributes)
    return label | ({"attributes": given_attributes} if given_attributes is not None else {})


@st.composite
def scalabel_files(draw: Any, *, scored: bool = False) -> list[dict[str, Any]]:
    return [
        {"name": name, "labels": draw(st.lists(scalabel_labels(scored=scored), max_size=4))} for name in draw(names)
    ]


def frames_of(document: list[dict[str, Any]]) -> tuple[LabelFrame, ...]:
    return msgspec.json.decode(json.dumps(document), type=tuple[LabelFrame, ...])


def through_file(value: Any) -> Any:
    """Return a value after it has been written and read."""
    return msgspec.json.decode(msgspec.json.encode(value), type=type(value))


def restored(document: list[dict[str, Any]], frames: tuple[LabelFrame, ...]) -> None:
    """Assert that every frame and label equals the document's, to the bit and by type."""
    assert [frame.name for frame in frames] == sorted(frame["name"] for frame in document)
    by_name = {frame["name"]: frame for frame in document}
    for frame in frames:
        for was, now in zip(by_name[frame.name]["labels"], frame.labels, strict=True):
            assert (now.given_id, type(now.given_id)) == (was["id"], type(was["id"]))
            assert now.category == was["category"]
            assert bits_of(now.box2d) == bits(*(was["box2d"][name] for name in ("x1", "y1", "x2", "y2")))
            assert json.dumps(now.attributes) == json.dumps(was.get("attributes"))
            assert now.score == was.get("score")


@given(corners)
@example(Box2D(-0.0, 0.1, -0.0, 0.30000000000000004))
def test_corners_come_back_to_the_bit(box: Box2D) -> None:
    bbox, kept = box_to_coco(box, msgspec.UNSET)
    assert bits_of(bbox) == bits(box.x1, box.y1, box.x2 - box.x1 + 1, box.y2 - box.y1 + 1)
    assert bits_of(box_to_scalabel(bbox, kept)[0]) == bits_of(box)


@given(bboxes)
@example(Bbox(1000.3, 0.0, 0.1, -0.0))
def test_a_bbox_comes_back_to_the_bit(bbox: Bbox) -> None:
    box, kept = box_to_scalabel(bbox, msgspec.UNSET)
    assert bits_of(box) == bits(bbox.x, bbox.y, bbox.x + bbox.width - 1, bbox.y + bbox.height - 1)
    assert bits_of(box_to_coco(box, kept)[0]) == bits_of(bbox)


def test_boxes_of_integers_and_of_float32_detectors_need_no_original() -> None:
    for box in (Box2D(3, 4, 120, 719), Box2D(644.0753784179688, 358.0701904296875, 665.1045532226562, 406.5)):
        assert box_to_coco(box, msgspec.UNSET)[1] is msgspec.UNSET


def test_an_original_that_no_longer_fits_its_box_is_not_used() -> None:
    moved = Bbox(10, 20, 30, 40)
    assert box_to_scalabel(moved, Box2D(0, 0, 5, 5))[0] == Box2D(10, 20, 39, 59) == to_corners(moved)
    assert box_to_coco(Box2D(10, 20, 39, 59), Bbox(0, 0, 5, 5))[0] == moved == to_bbox(Box2D(10, 20, 39, 59))


@given(scalabel_files())
def test_scalabel_labels_come_back_from_coco(document: list[dict[str, Any]]) -> None:
    dataset = through_file(labels_to_coco(FILE, frames_of(document)))
    restored(document, labels_from_coco(FILE, dataset))


@given(scalabel_files())
def test_coco_labels_hold_what_the_official_evaluation_computes(document: list[dict[str, Any]]) -> None:
    dataset = through_file(labels_to_coco(FILE, frames_of(document)))
    ordered = sorted(document, key=lambda frame: frame["name"])
    assert [(image.id, image.file_name) for image in dataset.images] == [
        (number, frame["name"]) for number, frame in enumerate(ordered, 1)
    ]
    expected = [(number, label) for number, frame in enumerate(ordered, 1) for label in frame["labels"]]
    known = {**{name: name for name in CLASSES}, **CLASS_ALIASES, **IGNORED_CLASSES}
    for (image, label), annotation in zip(expected, dataset.annotations, strict=True):
        box, flags = label["box2d"], label.get("attributes") or {}
        assert annotation.image_id == image
        assert CLASSES[annotation.category_id - 1] == known[label["category"]]
        assert bits_of(annotation.bbox) == bits(
            box["x1"], box["y1"], box["x2"] - box["x1"] + 1, box["y2"] - box["y1"] + 1
        )
        crowd = (
            TRUE[flags.get("crowd", False)] or TRUE[flags.get("ignored", False)] or label["category"] in IGNORED_CLASSES
        )
        assert annotation.iscrowd == int(crowd)
    ids = [annotation.id for annotation in dataset.annotations]
    assert len(set(ids)) == len(ids)
    assert all(isinstance(number, int) and number > 0 for number in ids)


TRUE = {True: True, False: False, 0.5: False, "true": True, "false": False, "no": False} | {
    "0": False, "0.0": False, "yes": True, "": False, "crowd": True, None: False
}  # fmt: skip
"""How the official tools interpret an attribute's value; 1 and 0 are the keys True and False."""


@pytest.mark.parametrize(("value", "expected"), [*TRUE.items(), (2, True), (-0.3, False), ("OFF", False), ("2", True)])
def test_attributes_are_true_as_the_official_tools_read_them(value: Any, expected: bool) -> None:
    assert is_crowd("car", {"crowd": value}) is expected
    assert is_crowd("car", {"ignored": value}) is expected
    assert is_crowd("car", {"occluded": value}) is False


@given(scalabel_files(scored=True))
def test_scalabel_results_come_back_from_coco(document: list[dict[str, Any]]) -> None:
    frames = frames_of(document)
    dataset = labels_to_coco(FILE, frames)
    results = [through_file(result) for result in results_to_coco(FILE, frames, dataset, FILE)]
    restored(document, results_from_coco(FILE, results, dataset, FILE))


@st.composite
def coco_files(draw: Any) -> CocoLabels:
    """Files with the benchmark's categories and arbitrary image and annotation ids."""
    file_names = draw(names)
    ids = draw(st.lists(st.integers(0, 10**12), min_size=len(file_names), max_size=len(file_names), unique=True))
    images = tuple(CocoImage(number, name, 640, 360) for number, name in zip(ids, file_names, strict=True))
    numbers = draw(st.lists(st.integers(1, 10**12), unique=True, max_size=6 if ids else 0))
    annotations = tuple(
        CocoAnnotation(
            image_id=draw(st.sampled_from(ids)),
            category_id=draw(st.integers(1, 10)),
            id=number,
            bbox=draw(bboxes),
            iscrowd=draw(st.integers(0, 1)),
            attributes=draw(attributes),
        )
        for number in numbers
    )
    return CocoLabels(images, tuple(CocoCategory(n, name) for n, name in enumerate(CLASSES, 1)), annotations)


@given(coco_files())
def test_coco_labels_come_back_from_scalabel(dataset: CocoLabels) -> None:
    frames = tuple(through_file(frame) for frame in labels_from_coco(FILE, dataset))
    again = labels_to_coco(FILE, frames)
    assert sorted(again.images, key=lambda image: image.id) == sorted(dataset.images, key=lambda image: image.id)
    assert again.categories == dataset.categories
    now = {annotation.id: annotation for annotation in again.annotations}
    assert len(now) == len(again.annotations) == len(dataset.annotations)
    for was in dataset.annotations:
        same = now[was.id]
        assert (same.image_id, same.category_id, same.iscrowd) == (was.image_id, was.category_id, was.iscrowd)
        assert bits_of(same.bbox) == bits_of(was.bbox)


@given(coco_files(), st.data())
def test_coco_results_come_back_from_scalabel(dataset: CocoLabels, data: st.DataObject) -> None:
    ids = [image.id for image in sorted(dataset.images, key=lambda image: image.file_name)]
    one = st.builds(CocoResult, st.sampled_from(ids or [0]), st.integers(1, 10), bboxes, st.floats(-1, 1))
    results = data.draw(st.lists(one, max_size=6 if ids else 0))
    frames = [through_file(frame) for frame in results_from_coco(FILE, results, dataset, FILE)]
    again = results_to_coco(FILE, frames, dataset, FILE)
    expected = sorted(results, key=lambda result: ids.index(result.image_id))
    for now, was in zip(again, expected, strict=True):
        assert (now.image_id, now.category_id, now.score) == (was.image_id, was.category_id, was.score)
        assert bits_of(now.bbox) == bits_of(was.bbox)


def coco(**changes: Any) -> dict[str, Any]:
    return {
        "info": {"year": 2020},
        "images": [{"id": 7, "file_name": "val/b.jpg", "width": 4, "height": 2}, {"id": 3, "file_name": "val/a.jpg"}],
        "categories": [{"id": 1, "name": "person", "supercategory": "x"}, {"id": 44, "name": "van"}],
        "annotations": [{"id": 5, "image_id": 7, "category_id": 44, "bbox": [1, 2, 10, 20], "segmentation": []}],
    } | changes


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    def write(document: object, name: str = "coco.json") -> Path:
        path = tmp_path / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    return write


def frames_in(path: Path) -> tuple[LabelFrame, ...]:
    return labels_from_coco(path, msgspec.json.decode(path.read_bytes(), type=CocoLabels))


def test_labels_of_other_tools_are_read_with_their_names_and_folders(put: Callable[..., Path]) -> None:
    first, second = frames_in(put(coco()))
    assert (first.name, first.labels) == ("val/a.jpg", ())
    assert (second.name, second.size) == ("val/b.jpg", ImageSize(4, 2))
    (label,) = second.labels
    assert (label.id, label.category, bits_of(label.box2d)) == ("5", "van", bits(1, 2, 10, 21))


@pytest.mark.parametrize(("iscrowd", "expected"), [(1, True), (0, False), (None, False)])
def test_crowds_of_other_tools_get_an_attribute(put: Callable[..., Path], iscrowd: int | None, expected: bool) -> None:
    annotation = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4]}
    path = put(coco(annotations=[annotation | ({} if iscrowd is None else {"iscrowd": iscrowd})]))
    (label,) = frames_in(path)[1].labels
    assert is_crowd(label.category, label.attributes) is expected


def test_an_annotation_whose_crowd_flag_was_changed_is_what_the_flag_says() -> None:
    document = [
        {"name": "a", "labels": [{"id": "1", "category": "trailer", "box2d": {"x1": 0, "y1": 0, "x2": 9, "y2": 9}}]}
    ]
    dataset = labels_to_coco(FILE, frames_of(document))
    edited = msgspec.structs.replace(
        dataset, annotations=tuple(msgspec.structs.replace(each, iscrowd=0) for each in dataset.annotations)
    )
    (frame,) = labels_from_coco(FILE, edited)
    assert [label.category for label in frame.labels] == ["truck"]
    assert labels_to_coco(FILE, [frame]).annotations[0].iscrowd == 0


def test_an_annotation_without_bbox_or_id_is_a_label_without_a_box(put: Callable[..., Path]) -> None:
    path = put(coco(annotations=[{"image_id": 3, "category_id": 1, "segmentation": [[1, 2, 3, 4, 5, 6]]}]))
    (label,) = frames_in(path)[0].labels
    assert (label.id, label.category, label.box2d) == ("1", "person", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": [{"id": 9, "image_id": 8, "category_id": 1, "bbox": [1, 2, 3, 4]}]}, "annotation 9"),
        ({"annotations": [{"id": 9, "image_id": 7, "category_id": 2, "bbox": [1, 2, 3, 4]}]}, "annotation 9"),
        ({"annotations": [{"id": 9, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3]}]}, "length 4"),
        ({"annotations": [{"id": 9, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4, 5]}]}, "length 4"),
        ({"annotations": [{"id": 9, "image_id": 7, "category_id": 1, "bbox": [1e308, 0, 1e308, 0]}]}, "too large"),
        ({"images": [{"id": 7, "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}]}, "image ids"),
        ({"images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "a.jpg"}]}, "a.jpg"),
        ({"images": [{"file_name": "a.jpg"}]}, "`id`"),
        ({"categories": [{"id": 1, "name": "car"}, {"id": 1, "name": "bus"}]}, "category ids"),
    ],
)
def test_inconsistent_labels_are_refused(put: Callable[..., Path], changes: Any, message: str) -> None:
    path = put(coco(**changes))
    with pytest.raises((InvalidFileError, InputsError), match=message) as caught:
        read_coco_labels(path)
    assert caught.value.path == path


def test_a_file_name_that_leaves_its_folder_is_refused(put: Callable[..., Path]) -> None:
    with pytest.raises(InvalidFileError):
        read_coco_labels(put(coco(images=[{"id": 1, "file_name": "../a.jpg"}], annotations=[])))


def test_faults_are_counted_and_the_first_three_named(put: Callable[..., Path]) -> None:
    lost = [{"id": n, "image_id": 1000, "category_id": 1, "bbox": [1, 2, 3, 4]} for n in range(1, 1235)]
    with pytest.raises(
        InvalidFileError,
        match=r"1,234 annotations .*: annotation 1: image 1000, category 1, annotation 2: .*, annotation 3: .*, …$",
    ):
        read_coco_labels(put(coco(annotations=lost)))


def result(**changes: Any) -> dict[str, Any]:
    return {"image_id": 7, "category_id": 1, "bbox": [1.5, 2, 10, 20], "score": 0.25} | changes


def test_results_get_a_frame_for_every_image_of_the_labels(put: Callable[..., Path]) -> None:
    results = put([result(), result(category_id=44, score=1)], "results.json")
    table = read_coco_results(results, put(coco()))
    assert (table.frames, table.starts.tolist()) == (("val/a.jpg", "val/b.jpg"), [0, 0, 2])
    assert table.classes.tolist() == [CLASSES.index("pedestrian"), CLASSES.index("car")]
    assert table.scores.tolist() == [0.25, 1]
    assert table.boxes.tolist() == [[1.5, 2, 10, 20]] * 2


def test_results_may_be_none_at_all(put: Callable[..., Path]) -> None:
    table = read_coco_results(put([], "results.json"), put(coco()))
    assert table.starts.tolist() == [0, 0, 0]
    assert table.boxes.shape == (0, 4)


@pytest.mark.parametrize("odd", [{"image_id": 1}, {"category_id": 2}])
def test_results_of_images_or_categories_that_the_labels_lack_are_refused(put: Callable[..., Path], odd: Any) -> None:
    with pytest.raises(InvalidFileError, match=r"result 2: image \d, category \d"):
        read_coco_results(put([result(), result(**odd)], "results.json"), put(coco()))


def test_results_of_scalabel_labels_have_the_ids_of_their_conversion(put: Callable[..., Path]) -> None:
    labels = put([{"name": "b.jpg", "labels": None}, {"name": "a.jpg"}], "labels.json")
    table = read_coco_results(put([result(image_id=2, category_id=3)], "results.json"), labels)
    assert (table.frames, table.starts.tolist()) == (("a.jpg", "b.jpg"), [0, 0, 1])
    assert table.classes.tolist() == [CLASSES.index("car")]


@pytest.mark.parametrize("bbox", [[1, 2, -3, 4], [1, 2, 3, -0.5]])
def test_boxes_of_negative_size_are_refused_unless_lenient(put: Callable[..., Path], bbox: list[float]) -> None:
    annotation = {"id": 9, "image_id": 7, "category_id": 1, "bbox": bbox}
    labels, results = put(coco(annotations=[annotation])), put([result(bbox=bbox)], "results.json")
    with pytest.raises(InvalidFileError, match=r"negative size: val/b\.jpg: label 9"):
        read_coco_labels(labels)
    with pytest.raises(InvalidFileError, match=r"negative size: val/b\.jpg: label 1"):
        read_coco_results(results, labels)
    assert read_coco_labels(labels, lenient=True).boxes.tolist() == [bbox]
    assert read_coco_results(results, labels, lenient=True).boxes.tolist() == [bbox]


def test_categories_that_the_benchmark_lacks_cannot_be_evaluated(put: Callable[..., Path]) -> None:
    path = put(coco(categories=[{"id": 44, "name": "giraffe"}]))
    with pytest.raises(InvalidFileError, match=r"val/b\.jpg: label 5: giraffe"):
        read_coco_labels(path)


def test_a_class_is_found_among_the_categories_of_other_tools_by_its_alias() -> None:
    dataset = CocoLabels((CocoImage(9, "a"),), (CocoCategory(4, "person"), CocoCategory(5, "van")))
    box = {"x1": 0, "y1": 0, "x2": 9, "y2": 9}
    found = [{"id": "1", "category": name, "score": 0.5, "box2d": box} for name in ("pedestrian", "van", "car")]
    frames = frames_of([{"name": "a", "labels": found}])
    results = results_to_coco(FILE, frames, dataset, FILE)
    assert [each.category_id for each in results] == [4, 5, 5]
    restored([{"name": "a", "labels": found}], results_from_coco(FILE, results, dataset, FILE))
    with pytest.raises(InvalidFileError, match=r"a: label 1: bus"):
        results_to_coco(FILE, frames_of([{"name": "a", "labels": [found[0] | {"category": "bus"}]}]), dataset, FILE)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([{"id": "4", "category": "lane", "box2d": {"x1": 0, "y1": 0, "x2": 1, "y2": 1}}], "a.jpg: label 4: lane"),
        ([{"id": "4", "category": "car", "box2d": {"x1": -1e308, "y1": 0, "x2": 1e308, "y2": 1}}], "too large"),
    ],
)
def test_scalabel_labels_that_coco_cannot_hold_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(InvalidFileError, match=message):
        labels_to_coco(FILE, frames_of([{"name": "a.jpg", "labels": labels}]))


@pytest.mark.parametrize("score", [None, "high", "nan", "inf"])
def test_results_need_scores(score: Any) -> None:
    box = {"x1": 0, "y1": 0, "x2": 1, "y2": 1}
    frames = frames_of([{"name": "a", "labels": [{"id": "1", "category": "car", "box2d": box, "score": score}]}])
    with pytest.raises(InvalidFileError, match="a: label 1"):
        results_to_coco(FILE, frames, labels_to_coco(FILE, frames_of([{"name": "a"}])), FILE)


def test_repeated_names_are_distinguished_by_their_video_or_refused() -> None:
    document: list[dict[str, Any]] = [{"name": "1.jpg", "videoName": "b"}, {"name": "1.jpg", "videoName": "a"}]
    dataset = through_file(labels_to_coco(FILE, frames_of(document)))
    assert [(image.id, image.videoName) for image in dataset.images] == [(1, "b"), (2, "a")]
    box = {"x1": 0, "y1": 0, "x2": 1, "y2": 1}
    found = document[1] | {"labels": [{"id": "1", "category": "car", "box2d": box, "score": 0.5}]}
    assert [each.image_id for each in results_to_coco(FILE, frames_of([found]), dataset, FILE)] == [2]
    with pytest.raises(InvalidFileError, match=r"1\.jpg"):
        labels_to_coco(FILE, frames_of([{"name": "1.jpg"}, {"name": "1.jpg"}]))


def test_fields_of_frames_are_kept() -> None:
    document = [
        {
            "name": "a.jpg",
            "attributes": {"weather": "rainy", "scene": "tunnel"},
            "timestamp": 10000,
            "videoName": "a",
            "frameIndex": 3,
            "url": "https://x.example/a.jpg",
            "size": {"width": 640, "height": 360},
            "labels": [],
        }
    ]
    dataset = through_file(labels_to_coco(FILE, frames_of(document)))
    assert json.loads(msgspec.json.encode(labels_from_coco(FILE, dataset))) == document


@pytest.mark.parametrize(
    ("document", "shape"),
    [
        ('[{"name": "a", "labels": [{"x": "]}\\"{"}]}]', "Scalabel frames"),
        ('\ufeff {"frames": []}', "Scalabel frames"),
        ('{"annotations": [], "categories": [], "images": []}', "COCO labels"),
        ('{"name": "mine", "images": [], "annotations": [], "categories": []}', "COCO labels"),
        ('[{"name": "car", "bbox": [1, 2, 3, 4], "image_id": 1}]', "COCO results"),
        ('[{"name": "a", "bbox": [1, 2, 3, 4]}]', "Scalabel frames"),
        ('{"name": "a"}\n{"name": "b"}', "Scalabel frames"),
        ('[{"labels": [{"name": {"images": 5}}], "name": "a"}]', "Scalabel frames"),
        ('[{"bbox": [1, 2, 3, 4], "image_id": 1}]', "COCO results"),
        (" [ ] ", None),
    ],
)
def test_a_file_is_recognised_by_its_outermost_names(tmp_path: Path, document: str, shape: str | None) -> None:
    path = tmp_path / "file.json"
    path.write_text(document)
    assert detect_format(path) == shape


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("<html>", "a web page"),
        ('{"model": "x", "weights": {}}', "a JSON object of model, weights"),
        ('[{"bbox": []}]', "a list of bbox"),
        ("[1, 2]", "a list, but not of objects"),
        ('{"images": [', "truncated after byte 12"),
        ('{"images": [}', r"byte 12"),
        ('[{"image_id": 1', "is truncated"),
        ('[{"name": "a"}]', "holds no box"),
        ('[{"image_id": 7, "category_id": 1, "bbox": [1,2,3,4], "score": 1}]', "found a list of COCO results"),
        ("[]", "holds no box"),
    ],
)
def test_a_wrong_file_given_as_labels_is_named(put: Callable[..., Path], document: str, message: str) -> None:
    path = put(document)
    with pytest.raises((InvalidFileError, InputsError), match=message) as caught:
        read_labels(path)
    assert caught.value.path == path


def test_a_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        read_coco_labels(tmp_path / "none.json")


def columns(table: Any) -> dict[str, Any]:
    """Return all columns that are evaluated, to the bit."""
    names = [each.name for each in dataclasses.fields(table) if each.name not in ("path", "let_through")]
    values = {name: getattr(table, name) for name in names}
    return {
        name: (value.dtype, value.shape, value.tobytes()) if hasattr(value, "tobytes") else value
        for name, value in values.items()
    }


@settings(max_examples=30)
@given(labelled=scalabel_files(), detected=scalabel_files(scored=True))
def test_the_evaluation_gets_the_same_tables_from_either_format(
    tmp_path_factory: pytest.TempPathFactory, labelled: list[dict[str, Any]], detected: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("both")
    labels, predictions = folder / "labels.json", folder / "det.json"
    found = {frame["name"]: frame["labels"] for frame in detected}
    labels.write_text(json.dumps(labelled))
    every = [{"name": frame["name"], "labels": found.get(frame["name"], [])} for frame in labelled]
    predictions.write_text(json.dumps(sorted(every, key=lambda frame: frame["name"])))
    dataset = labels_to_coco(FILE, frames_of(labelled))
    (folder / "coco.json").write_bytes(msgspec.json.encode(dataset))
    results = results_to_coco(FILE, frames_of(every), dataset, FILE)
    (folder / "results.json").write_bytes(msgspec.json.encode(results))
    expected = read_label_table(labels, lenient=True)
    assert columns(read_coco_labels(folder / "coco.json", lenient=True)) == columns(expected)
    expected_predictions = columns(read_prediction_table(predictions, lenient=True))
    for of in (labels, folder / "coco.json"):
        assert columns(read_coco_results(folder / "results.json", of, lenient=True)) == expected_predictions


@given(coco_files())
def test_the_evaluation_gets_the_boxes_of_a_coco_file_to_the_bit(dataset: CocoLabels) -> None:
    path = Path("boxes.json")
    path.write_bytes(msgspec.json.encode(dataset))
    names = {image.id: image.file_name for image in dataset.images}
    ordered = sorted(dataset.annotations, key=lambda annotation: names[annotation.image_id])
    table = read_coco_labels(path, lenient=True)
    assert table.boxes.tobytes() == b"".join(bits_of(annotation.bbox) for annotation in ordered)
    assert table.crowd.tolist() == [bool(annotation.iscrowd) for annotation in ordered]
    assert table.classes.tolist() == [annotation.category_id - 1 for annotation in ordered]


def test_the_published_cases_are_restored_completely(shared: Path) -> None:
    content = (shared / "official" / "scalabel_det" / "labels.json").read_bytes()
    frames = msgspec.json.decode(content, type=tuple[LabelFrame, ...])
    again = labels_from_coco(FILE, through_file(labels_to_coco(FILE, frames)))
    for was, now in zip(sorted(frames, key=lambda frame: frame.name), again, strict=True):
        assert (now.name, now.videoName, now.attributes) == (was.name, was.videoName, was.attributes)
        assert now.labels == tuple(label for label in was.labels if label.box2d)


STEMS = {"files": ["deep/b1-c2.jpg", "a.jpg", "007.jpg"], "ids": ["b1-c2", "a", 7]}


def ultralytics(*categories: int, **fields: Any) -> list[dict[str, Any]]:
    """Results that ultralytics writes with ``save_json``: image ids are the names of files without suffixes."""
    return [
        {"image_id": image, "category_id": category, "bbox": [1.5, 2, 30, 40], "score": 0.5} | fields
        for image, category in zip(STEMS["ids"], categories, strict=True)
    ]


@pytest.mark.parametrize(("categories", "first"), [((0, 9, 2), 0), ((1, 10, 3), 1)])
@pytest.mark.parametrize("form", ["scalabel", "coco"])
def test_results_of_ultralytics_are_matched_by_file_names(
    put: Callable[..., Path], categories: tuple[int, ...], first: int, form: str
) -> None:
    images = [{"id": 10 + place, "file_name": name} for place, name in enumerate(STEMS["files"])]
    named = [{"id": place, "name": name} for place, name in enumerate(CLASSES, 1)]
    document: Any = {"images": images, "annotations": [], "categories": named}
    labels = put(document if form == "coco" else [{"name": name} for name in STEMS["files"]])
    table = read_coco_results(put(ultralytics(*categories), "results.json"), labels)
    found = {name: CLASSES[index] for name, index in zip(table.frames, table.classes.tolist(), strict=True)}
    assert found == {"deep/b1-c2.jpg": "pedestrian", "a.jpg": "traffic sign", "007.jpg": "car"}
    assert table.boxes.tolist() == [[1.5, 2, 30, 40]] * 3
    (issue,) = table.let_through
    assert (issue.kind, issue.count) == ("results whose images were found by their file names", 3)
    assert f"category ids were taken to be {first} pedestrian, {first + 1} rider" in issue.examples[0]


def test_file_names_of_newer_versions_of_ultralytics_identify_the_images(put: Callable[..., Path]) -> None:
    labels = put([{"name": "x/0010.jpg"}, {"name": "x/2.jpg"}])
    results = [
        {"image_id": 2, "file_name": "2.jpg", "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5},
        {"image_id": 10, "file_name": "0010.jpg", "category_id": 10, "bbox": [1, 2, 3, 4], "score": 0.5},
    ]
    table = read_coco_results(put(results, "results.json"), labels)
    assert (table.frames, table.classes.tolist()) == (("x/0010.jpg", "x/2.jpg"), [9, 0])


@pytest.mark.parametrize(
    ("names", "results", "message"),
    [
        (STEMS["files"], ultralytics(1, 2, 9), "no category id 0 or 10, so they may begin at 0 or at 1"),
        ([*STEMS["files"], "other/a.png"], ultralytics(0, 1, 2), r"coco\.json has several named a"),
        (STEMS["files"], ultralytics(0, 1, 10), "results of an image or category"),
        (["b.jpg"], ultralytics(0, 1, 2), "results of an image or category"),
        (["2.jpg", "1.jpg", "3.jpg"], [result(image_id=2), result(image_id=3)], None),
        (
            ["2.jpg", "10.jpg", "1.jpg"],
            [result(image_id=2)],
            "numbers of images or, as file names are numbers, names of files",
        ),
    ],
)
def test_ambiguous_ids_are_an_error(
    put: Callable[..., Path], names: list[str], results: list[dict[str, Any]], message: str | None
) -> None:
    labels = put([{"name": name} for name in names])
    if message is None:
        assert read_coco_results(put(results, "results.json"), labels).starts.tolist() == [0, 0, 1, 2]
        return
    with pytest.raises(InvalidFileError, match=message):
        read_coco_results(put(results, "results.json"), labels)


def test_ids_of_coco_labels_hold_whatever_their_files_are_called(put: Callable[..., Path]) -> None:
    images = [{"id": 1, "file_name": "2.jpg"}, {"id": 2, "file_name": "1.jpg"}]
    labels = put(coco(images=images, annotations=[]))
    table = read_coco_results(put([result(image_id=1, category_id=1)], "results.json"), labels)
    assert (table.frames, table.starts.tolist()) == (("1.jpg", "2.jpg"), [0, 0, 1])


def test_images_without_a_result_are_counted(put: Callable[..., Path]) -> None:
    labels = put([{"name": "a.jpg"}, {"name": "b.jpg"}])
    (issue,) = read_coco_results(put([result(image_id=2)], "results.json"), labels).let_through
    assert (issue.kind, issue.count) == ("frames without predictions", 1)
    assert "a.jpg" in issue.examples[0]


def test_labels_carry_what_pycocotools_needs_to_read_results() -> None:
    dataset = json.loads(msgspec.json.encode(labels_to_coco(FILE, frames_of([{"name": "a.jpg"}]))))
    assert (dataset["info"], dataset["licenses"]) == ({}, [])
