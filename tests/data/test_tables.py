"""Labels and predictions as columns: which files are read or refused, and the places that errors name."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bdd100k_zoo.data import scalabel_reader
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.detections import Detections, PredictionsWriter
from bdd100k_zoo.data.scalabel import FrameAttributes
from bdd100k_zoo.data.scalabel_checks import check_rows
from bdd100k_zoo.data.tables import read_label_table, read_prediction_table
from bdd100k_zoo.data.validation import IssueSummary, ValidationIssues
from bdd100k_zoo.errors import InputsError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

BOX = {"x1": 1.5, "y1": 2, "x2": 30.25, "y2": 40}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "det.json"


def write(path: Path, document: Any) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def label(**fields: Any) -> dict[str, Any]:
    return {"id": "1", "category": "car", "box2d": BOX} | fields


def frame(*labels: Any, name: Any = "a.jpg", **fields: Any) -> dict[str, Any]:
    return {"name": name, "labels": list(labels), **fields}


@pytest.mark.parametrize("outer", [lambda frames: frames, lambda frames: {"frames": frames, "config": None}])
def test_labels_become_columns_in_the_official_order_of_frames(file: Path, outer: Any) -> None:
    rainy = {"weather": "rainy", "scene": "city street", "timeofday": "night"}
    frames = [
        frame(label(), label(category="trailer"), name="b", attributes=rainy),
        frame(label(category="bike", attributes={"crowd": True, "occluded": False}), name="a", videoName="v"),
        frame(label(box2d=None), name="Z"),
        {"name": 7, "labels": None},
    ]
    issue = IssueSummary("labels without a box, which are not scored", 1, (f"{file}: frame Z: 1",))
    table = read_label_table(write(file, outer(frames)))
    assert table.frames == ("7", "Z", "a", "b")
    assert table.videos == (None, None, "v", None)
    assert table.starts.tolist() == [0, 0, 0, 1, 3]
    assert [CLASSES[index] for index in table.classes] == ["bicycle", "car", "truck"]
    assert table.crowd.tolist() == [True, False, True]
    assert table.boxes.tolist() == [[1.5, 2, 29.75, 39]] * 3
    assert table.attributes == (None, None, None, FrameAttributes("rainy", "city street", "night"))
    assert table.let_through == (issue,)


def test_predictions_become_columns_in_the_order_of_the_file(file: Path) -> None:
    frames = [frame(label(score=0.25), label(score=1, category="person"), name="b"), frame(name="a")]
    table = read_prediction_table(write(file, frames))
    assert table.frames == ("b", "a")
    assert table.starts.tolist() == [0, 2, 2]
    assert table.scores.tolist() == [0.25, 1.0]
    assert [CLASSES[index] for index in table.classes] == ["car", "pedestrian"]
    assert table.boxes.shape == (2, 4)


def test_frames_of_one_name_keep_their_order(file: Path) -> None:
    frames = [frame(name="b"), frame(name="a", videoName="w"), frame(name="a", videoName="v")]
    assert read_label_table(write(file, frames)).videos == ("w", "v", None)


def test_our_own_predictions_are_read_with_the_detectors_corners(file: Path) -> None:
    writer = PredictionsWriter(file)
    corners, scores = np.array([[1, 2, 11.5, 22]], np.float32), np.array([0.7], np.float32)
    writer.write("a.jpg", Detections(corners, scores, np.array([2])))
    writer.finish()
    table = read_prediction_table(file)
    assert table.boxes.tolist() == [[1, 2, 10.5, 20]]
    assert table.scores.tolist() == [float(scores[0])]


def test_a_folder_is_read_file_by_file_in_the_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path / "2.json", [frame(label(score=0.2), name="b")])
    write(tmp_path / "1.json", {"frames": [frame(label(score=0.1), name="a")]})
    write(tmp_path / ".hidden.json", "no JSON")
    write(tmp_path / "notes.txt", "no JSON")
    table = read_prediction_table(tmp_path)
    assert (table.frames, table.scores.tolist()) == (("a", "b"), [0.1, 0.2])


def test_an_error_in_a_folder_names_the_file(tmp_path: Path) -> None:
    write(tmp_path / "1.json", [frame(label(score=0.1))])
    write(tmp_path / "2.json", [frame(label())])
    write(tmp_path / "3.json", [frame(label(), label(score=1))])
    with pytest.raises(InputsError) as caught:
        read_prediction_table(tmp_path)
    assert caught.value.path == tmp_path / "2.json"


def test_a_folder_without_json_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "notes.txt", "[]")
    with pytest.raises(InputsError, match="none"):
        read_label_table(tmp_path)


@pytest.mark.parametrize("read", [read_label_table, read_prediction_table])
def test_a_path_that_does_not_exist_is_a_storage_error(tmp_path: Path, read: Any) -> None:
    with pytest.raises(StorageError):
        read(tmp_path / "none.json")


ODD_BUT_TAKEN = [
    {"score": "0.5"},
    {"score": True},
    {"id": None, "score": 0.5},
    {"id": 1.5, "score": 0.5},
    {"score": 0.5, "box2d": {"x1": "1.5", "y1": True, "x2": 9, "y2": 9}},
    {"score": 0.5, "attributes": {"crowd": "yes"}},
]


@pytest.mark.parametrize("fields", ODD_BUT_TAKEN, ids=json.dumps)
def test_odd_types_that_the_official_evaluator_accepts_are_accepted(file: Path, fields: dict[str, Any]) -> None:
    write(file, [frame(label(**fields), label(score=0.75))])
    predictions, labels = read_prediction_table(file), read_label_table(write(file, [frame(label(**fields), label())]))
    assert predictions.scores.tolist() == [float(fields["score"]), 0.75]
    assert labels.crowd.tolist() == ["attributes" in fields, False]
    assert labels.boxes.shape == (2, 4)


REFUSED = [
    ({"category": "lane"}, "unknown category 'lane'; known are pedestrian, rider"),
    ({"category": None}, "unknown category 'None'"),
    ({"score": "high"}, "the score is not a number: high"),
    ({"box2d": BOX | {"x1": None}}, "box2d.x1 is not a finite number: None"),
    ({"box2d": {"x1": 1, "y1": 1, "x2": 2}}, "box2d.y2 is not a finite number: missing"),
    ({"box2d": BOX | {"y2": "wide"}}, "box2d.y2 is not a finite number: wide"),
    ({"box2d": [1, 2, 3, 4]}, "box2d is not a JSON object"),
]
HIDDEN = [
    ({"box2d": BOX | {"x2": 0.25}}, "x2 0.25 < x1 1.5 - 1"),
    ({"box2d": BOX | {"y2": -3}}, "y2 -3 < y1 2 - 1"),
    ({"score": float("nan")}, "the score is not finite: nan"),
    ({"score": "inf"}, "the score is not finite: inf"),
    ({"score": None}, "has no score"),
    ({"box2d": BOX | {"y2": float("inf")}}, "box2d.y2 is not a finite number: inf"),
    ({"box2d": BOX | {"x1": "nan"}}, "box2d.x1 is not a finite number: nan"),
    ({"box2d": None}, "has no box2d"),
]


def second_label(path: Path, fields: dict[str, Any], *, lenient: bool) -> InputsError:
    """Read a file whose second label is odd, and return the error."""
    write(path, [frame(), frame(label(score=1), label(id="x7") | {"score": 0.5} | fields, name="b.jpg")])
    with pytest.raises(InputsError) as caught:
        read_prediction_table(path, lenient=lenient)
    return caught.value


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize(("fields", "problem"), REFUSED)
def test_invalid_values_are_refused_naming_file_frame_and_label(
    file: Path, fields: dict[str, Any], problem: str, lenient: bool
) -> None:
    error = second_label(file, fields, lenient=lenient)
    assert str(error).startswith(f"{file}: frame b.jpg: label x7 (no. 2): {problem}")


@pytest.mark.parametrize(("fields", "problem"), HIDDEN)
def test_what_the_official_evaluator_hides_is_refused_unless_lenient(
    file: Path, fields: dict[str, Any], problem: str
) -> None:
    error = second_label(file, fields, lenient=False)
    assert str(error) == f"{file}: frame b.jpg: label x7 (no. 2): {problem}"
    assert error.lenient_hint
    (issue,) = read_prediction_table(file, lenient=True).let_through
    assert issue.count == 1
    assert issue.examples == (str(error),)


def test_a_prediction_thinner_than_a_pixel_is_valid_but_such_a_label_is_not(file: Path) -> None:
    thin = BOX | {"x2": 0.5}
    boxes = read_prediction_table(write(file, [frame(label(score=1, box2d=thin))])).boxes
    assert boxes.tolist() == [[1.5, 2, 0, 39]]
    with pytest.raises(InputsError, match=r"x2 0\.5 < x1 1\.5$"):
        read_label_table(write(file, [frame(label(box2d=thin))]))


@pytest.mark.parametrize("fields", [fields for fields, _ in REFUSED if "score" not in fields])
def test_labels_are_checked_like_predictions(file: Path, fields: dict[str, Any]) -> None:
    write(file, [frame(label(**fields), name="b.jpg")])
    with pytest.raises(InputsError) as caught:
        read_label_table(file, lenient=True)
    assert str(caught.value).startswith(f"{file}: frame b.jpg: label 1 (no. 1): ")
    assert not caught.value.lenient_hint


def test_an_error_counts_the_findings_beyond_it(file: Path) -> None:
    write(file, [frame(*[label(score=1, box2d=BOX | {"x2": 0})] * 5)])
    with pytest.raises(InputsError) as caught:
        read_prediction_table(file)
    assert caught.value.others == 4


def test_a_label_without_an_id_is_refused(file: Path) -> None:
    with pytest.raises(InputsError, match=r"frame a\.jpg: label no\. 1: has no id"):
        read_label_table(write(file, [frame({"category": "car", "box2d": BOX})]))


@pytest.mark.parametrize("attributes", [{"crowd": None}, {"ignored": [1]}, "crowd"])
def test_attributes_that_are_no_plain_values_are_refused(file: Path, attributes: Any) -> None:
    with pytest.raises(InputsError, match="attribute"):
        read_label_table(write(file, [frame(label(attributes=attributes))]))


@pytest.mark.parametrize("broken", [{"labels": []}, 5, "a.jpg", {"name": "a", "labels": {}}])
def test_an_invalid_frame_is_refused(file: Path, broken: Any) -> None:
    with pytest.raises(InputsError):
        read_label_table(write(file, [frame(), broken]))


COCO_LABELS = {"images": [{"id": 1}], "annotations": [], "categories": []}
COCO_RESULTS = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]


@pytest.mark.parametrize("read", [read_label_table, read_prediction_table])
@pytest.mark.parametrize(
    ("content", "found"),
    [
        (COCO_LABELS, "a COCO labels file"),
        (COCO_RESULTS, "a list of COCO results"),
        ({"model": "a", "weights": []}, "a JSON object of model, weights"),
        ({}, "an empty JSON object"),
        ("5", "a JSON document that is 5"),
        ('"text"', 'a JSON document that is "text"'),
        ("<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        ("\n <HTML>", "a web page"),
        ('<?xml version="1.0"?><Error/>', "markup (XML or the like)"),
    ],
)
def test_a_file_of_another_kind_is_recognised_and_named(file: Path, read: Any, content: Any, found: str) -> None:
    with pytest.raises(InputsError) as caught:
        read(write(file, content))
    assert str(caught.value).startswith(f"{file}: expected ")
    assert str(caught.value).endswith(f" in Scalabel's format, found {found}")


@pytest.mark.parametrize(
    ("content", "found"), [(b"\x1f\x8b\x08", "gzip"), (b"PK\x03\x04", "zip"), (b"\x80\x04", "pickle")]
)
def test_an_archive_is_recognised(file: Path, content: bytes, found: str) -> None:
    file.write_bytes(content)
    with pytest.raises(InputsError, match=found):
        read_prediction_table(file)


def test_labels_given_as_predictions_are_recognised(file: Path) -> None:
    write(file, [frame(), frame(label(), label())])
    for lenient in (False, True):
        with pytest.raises(InputsError, match="labels: none of them has a score"):
            read_prediction_table(file, lenient=lenient)


def test_predictions_given_as_labels_are_recognised_but_accepted_if_lenient(file: Path) -> None:
    write(file, [frame(), frame(label(score=0.5), label(score=0.6))])
    with pytest.raises(InputsError, match="predictions: every label has a score"):
        read_label_table(file)
    assert len(read_label_table(file, lenient=True).classes) == 2


@pytest.mark.parametrize("read", [read_label_table, read_prediction_table])
@pytest.mark.parametrize("content", ["", " \n", "\ufeff"])
def test_an_empty_file_is_an_error(file: Path, read: Any, content: str) -> None:
    with pytest.raises(InputsError, match="is empty"):
        read(write(file, content))


@pytest.mark.parametrize("read", [read_label_table, read_prediction_table])
@pytest.mark.parametrize("length", [1, 30, 60, 100])
def test_a_truncated_file_is_an_error_with_the_byte(file: Path, read: Any, length: int) -> None:
    whole = json.dumps([frame(label(score=0.5), name="ä")], ensure_ascii=False).encode()
    file.write_bytes(whole[:length])
    with pytest.raises(InputsError) as caught:
        read(file)
    assert str(caught.value) == f"{file}: is truncated: the JSON does not end (at byte {length})"


def test_invalid_json_is_an_error_with_line_and_column(file: Path) -> None:
    with pytest.raises(InputsError, match=r"is not JSON: Expecting value: line 2 column 13 \(char 27\)$"):
        read_label_table(write(file, '[{"name": "ä",\n "labels": [oops]}]'))


def test_bytes_that_are_no_text_are_an_error_with_the_byte(file: Path) -> None:
    file.write_bytes(b'[{"name": "\xff"}]')
    with pytest.raises(InputsError, match=r"UTF-8.*byte 11"):
        read_label_table(file)


def test_json_that_nests_without_end_is_an_error(file: Path) -> None:
    with pytest.raises(InputsError, match="nests"):
        read_label_table(write(file, '[{"name": "a", "attributes": ' + '{"a":' * 100_000 + "1" + "}" * 100_001 + "]"))


def test_an_integer_of_thousands_of_digits_is_an_error(file: Path) -> None:
    with pytest.raises(InputsError, match="thousands of digits"):
        read_label_table(write(file, "1" * 10_000))


def test_control_characters_in_names_do_not_reach_the_terminal(file: Path) -> None:
    with pytest.raises(InputsError) as caught:
        read_label_table(write(file, [frame(label(category="\x1b[31mcar", id="\x07"), name="\x1b[2J")]))
    assert "\x1b" not in str(caught.value)
    assert "\x07" not in str(caught.value)


def test_both_readers_give_the_same_columns(shared: Path) -> None:
    folder = shared / "official/scalabel_det"
    for name, passed_over in (("labels.json", {"scores"}), ("predictions.json", {"attributes", "crowd"})):
        (source,) = scalabel_reader.decode_files(folder / name, scalabel_reader._FastFrame, name)
        scored = name == "predictions.json"
        quick = scalabel_reader._fast_rows(source.records, scored=scored)
        thorough = check_rows(folder / name, source.to_documents().frames, ValidationIssues(), scored=scored)
        assert quick
        for one, other in zip(quick, thorough, strict=True):
            for field in {*one._fields} - passed_over:
                assert getattr(one, field) == getattr(other, field)


def test_reading_columns_loads_no_evaluator() -> None:
    code = "import sys, bdd100k_zoo.data.tables; print('hotcoco' in sys.modules, 'torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False"]
