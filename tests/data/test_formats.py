"""Every form of labels and predictions, read by every reader with the same result."""

from __future__ import annotations

import gzip
import json
from math import inf, isnan
from typing import TYPE_CHECKING, Any

import pytest

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.formats import detect_format, is_true, to_number
from bdd100k_zoo.data.scalabel import LooseFrame
from bdd100k_zoo.data.scalabel_reader import decode_loose_frame, read_frames, read_label_frames, read_loose_frames
from bdd100k_zoo.data.tables import read_label_table, read_prediction_table
from bdd100k_zoo.errors import InputsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BOXES = {"b.jpg": [("car", 0.5, 1.5, 2.0, 30.25, 40.0), ("bus", 0.25, 5.0, 6.0, 70.0, 80.0)], "a.jpg": []}
Found = dict[str, list[tuple[Any, ...]]]
"""Category and corners of each box, by frame."""
EXPECTED: Found = {name: [(category, *corners) for category, _, *corners in rows] for name, rows in BOXES.items()}


def frames(*, scored: bool, number: Callable[[float], Any] = float, identity: Any = "1") -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "labels": [
                {
                    "id": identity,
                    "category": category,
                    **({"score": score} if scored else {}),
                    "box2d": dict(zip(("x1", "y1", "x2", "y2"), map(number, corners), strict=True)),
                }
                for category, score, *corners in rows
            ],
        }
        for name, rows in BOXES.items()
    ]


def of_table(table: Any) -> Found:
    found: Found = {name: [] for name in table.frames}
    for place, name in enumerate(table.frames):
        for row in range(table.starts[place], table.starts[place + 1]):
            x, y, width, height = table.boxes[row].tolist()
            found[name].append((CLASSES[table.classes[row]], x, y, x + width - 1, y + height - 1))
    return found


def corners_of(box: Any) -> tuple[float, ...]:
    return tuple(float(getattr(box, name)) for name in ("x1", "y1", "x2", "y2"))


def of_records(records: Any) -> Found:
    return {
        frame.name: [(label.category, *corners_of(label.box2d)) for label in frame.labels if label.box2d]
        for frame in records
    }


def submitted(path: Path) -> Found:
    decoded = [decode_loose_frame(frame) for frame in read_loose_frames(path).frames]
    assert all(isinstance(frame, LooseFrame) for frame in decoded), decoded
    return {
        str(frame.name): [(label.category, *corners_of(label.box2d)) for label in frame.labels or ()]  # type: ignore[union-attr]
        for frame in decoded
    }


READERS: dict[str, tuple[bool, Callable[[Path], Found]]] = {
    "eval, labels": (False, lambda path: of_table(read_label_table(path))),
    "eval, predictions": (True, lambda path: of_table(read_prediction_table(path))),
    "train": (False, lambda path: of_records(read_label_frames(path))),
    "convert, labels": (False, lambda path: of_records(read_frames(path))),
    "convert, results": (True, lambda path: of_records(read_frames(path))),
    "submit": (True, submitted),
}
"""Whether what it reads has scores, and how to read it."""
readers = pytest.mark.parametrize("reader", READERS)


def in_a_folder(path: Path, documents: list[Any]) -> None:
    path.mkdir()
    for place, document in enumerate(documents):
        (path / f"{place}.json").write_text(json.dumps(document))


FORMS: dict[str, Callable[[Path, bool], object]] = {
    "a list": lambda path, scored: path.write_text(json.dumps(frames(scored=scored))),
    "an object": lambda path, scored: path.write_text(json.dumps({"config": None, "frames": frames(scored=scored)})),
    "a byte order mark": lambda path, scored: path.write_text("\ufeff" + json.dumps(frames(scored=scored))),
    "JSON lines": lambda path, scored: path.write_text(
        "".join(json.dumps(frame) + "\n" for frame in frames(scored=scored)) + "\n"
    ),
    "a folder of lists": lambda path, scored: in_a_folder(path, [[frame] for frame in frames(scored=scored)]),
    "a folder of frames": lambda path, scored: in_a_folder(path, frames(scored=scored)),
    "numeric ids": lambda path, scored: path.write_text(json.dumps(frames(scored=scored, identity=7))),
    "null ids": lambda path, scored: path.write_text(json.dumps(frames(scored=scored, identity=None))),
    "numbers as text": lambda path, scored: path.write_text(json.dumps(frames(scored=scored, number=str))),
}


@readers
@pytest.mark.parametrize("form", FORMS)
def test_every_reader_reads_every_form(tmp_path: Path, reader: str, form: str) -> None:
    scored, read = READERS[reader]
    path = tmp_path / "frames.json"
    FORMS[form](path, scored)
    assert detect_format(path) == "Scalabel frames"
    assert read(path) == EXPECTED


def flat(name: Callable[[str], str] = str, **fields: Any) -> list[dict[str, Any]]:
    """Predictions for BDD100K's old evaluation: one entry per box."""
    return [
        {"name": name(frame), "timestamp": 1000, "category": category, "bbox": corners, "score": score} | fields
        for frame, rows in BOXES.items()
        for category, score, *corners in rows
    ]


@readers
def test_flat_predictions_are_read_by_every_reader_and_their_corners_belong_to_the_box(
    tmp_path: Path, reader: str
) -> None:
    scored, read = READERS[reader]
    path = tmp_path / "flat.json"
    entries = flat() if scored else [{k: v for k, v in each.items() if k != "score"} for each in flat()]
    path.write_text(json.dumps(entries))
    assert read(path) == {"b.jpg": EXPECTED["b.jpg"]}
    path.write_text(json.dumps([*entries, {"name": "a.jpg"}]))
    assert read(path) == EXPECTED


@pytest.mark.parametrize("spelling", ["bbox as an object", "box2d as a list"])
def test_other_spellings_of_flat_predictions_are_read(tmp_path: Path, spelling: str) -> None:
    def respelled(entry: dict[str, Any]) -> dict[str, Any]:
        box = entry.pop("bbox")
        names = ("x1", "y1", "x2", "y2")
        return entry | ({"box2d": box} if "list" in spelling else {"bbox": dict(zip(names, box, strict=True))})

    path = tmp_path / "flat.json"
    path.write_text(json.dumps([respelled(entry) for entry in flat()]))
    assert of_table(read_prediction_table(path)) == {"b.jpg": EXPECTED["b.jpg"]}


def test_flat_entries_of_a_frame_are_gathered_wherever_they_are(tmp_path: Path) -> None:
    first, second = flat()
    other = first | {"name": "z.jpg"}
    path = tmp_path / "flat.json"
    path.write_text(json.dumps([first, other, second]))
    table = read_prediction_table(path)
    assert (table.frames, table.starts.tolist(), table.flat) == (("b.jpg", "z.jpg"), [0, 2, 3], True)


@pytest.mark.parametrize("bbox", [[1, 2, 3], "1 2 3 4", None, [1, 2, 3, "wide"]])
def test_a_flat_entry_without_four_corners_is_named(tmp_path: Path, bbox: Any) -> None:
    path = tmp_path / "flat.json"
    path.write_text(json.dumps([*flat(), *flat(bbox=bbox)[:1]]))
    with pytest.raises(InputsError) as caught:
        read_prediction_table(path)
    assert str(caught.value).startswith(f"{path}: frame b.jpg: label 3 (no. 3): ")


def of_2018(*, extension: str = "") -> list[dict[str, Any]]:
    """BDD100K's labels as they were published in 2018, one document per image."""
    lane = {"category": "lane/road curb", "id": 9, "attributes": {"direction": "parallel"}, "poly2d": [[1, 2, "L"]]}
    return [
        {
            "name": frame["name"].removesuffix(".jpg") + extension,
            "attributes": {"weather": "clear", "scene": "highway", "timeofday": "night"},
            "frames": [{"timestamp": 10000, "objects": [lane, *frame["labels"]]}],
        }
        for frame in frames(scored=False)
    ]


@pytest.mark.parametrize("reader", [name for name, (scored, _) in READERS.items() if not scored])
@pytest.mark.parametrize("extension", ["", ".jpg"])
def test_the_labels_of_2018_are_read_from_their_folder(tmp_path: Path, reader: str, extension: str) -> None:
    in_a_folder(tmp_path / "train", of_2018(extension=extension))
    assert READERS[reader][1](tmp_path / "train") == EXPECTED


def test_attributes_of_the_labels_of_2018_are_kept(tmp_path: Path) -> None:
    in_a_folder(tmp_path / "train", of_2018())
    table = read_label_table(tmp_path / "train")
    assert {attributes and attributes.weather for attributes in table.attributes} == {"clear"}
    (issue,) = table.let_through
    assert (issue.kind, issue.count) == ("labels without a box, which are not scored", 2)


def test_a_file_of_2018_with_several_frames_is_named(tmp_path: Path) -> None:
    (document, *_) = of_2018()
    path = tmp_path / "one.json"
    path.write_text(json.dumps(document | {"frames": document["frames"] * 2}))
    with pytest.raises(InputsError, match="expected one frame below `frames`, found 2"):
        read_label_table(path)


@pytest.mark.parametrize("category", ["lane", "drivable area", "lane/single white", "a lane of another name"])
@pytest.mark.parametrize("reader", [name for name, (scored, _) in READERS.items() if not scored])
def test_lanes_and_areas_are_skipped_counted_and_reported(tmp_path: Path, reader: str, category: str) -> None:
    lane = {"id": 5, "category": category, "attributes": {"laneStyle": "solid"}, "poly2d": [{"vertices": [[0, 0]]}]}
    documents = frames(scored=False)
    documents[0]["labels"] += [lane, lane]
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(documents))
    assert READERS[reader][1](path) == EXPECTED
    (issue,) = read_label_table(path).let_through
    assert (issue.kind, issue.count) == ("labels without a box, which are not scored", 2)
    assert issue.examples == (f"{path}: frame b.jpg: 2",)


def test_a_box_of_an_unknown_category_is_refused_although_lanes_are_skipped(tmp_path: Path) -> None:
    documents = frames(scored=False)
    documents[0]["labels"][0]["category"] = "lane"
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(documents))
    with pytest.raises(InputsError, match="unknown category 'lane'"):
        read_label_table(path)


OTHERS = {
    "UTF-16": (json.dumps([{"name": "a"}]).encode("utf-16"), "text in UTF-16: save it as UTF-8"),
    "UTF-16 without a mark": (json.dumps([{"name": "a"}]).encode("utf-16-le"), "UTF-16"),
    "gzip": (gzip.compress(b"[]"), "a gzip archive: unpack it"),
    "zip": (b"PK\x03\x04", "a zip archive"),
    "pickle": (b"\x80\x04", "a Python pickle"),
    "a web page": (b"<!doctype html><html>", "a web page"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "a Git LFS pointer"),
    "a COCO labels file": (b'{"info": {}, "images": [], "annotations": [], "categories": []}', "COCO labels"),
    "COCO results": (b'[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]', "COCO results"),
    "settings": (b'{"model": "x", "weights": 5}', "a JSON object of model, weights"),
    "numbers": (b"[1, 2]", "a list, but not of objects"),
    "nesting": (b'[{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]", "nested too deeply"),
    "nesting lines": (b'{"name": 1}\n{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    "half a line": (b'{"name": "a"}\n{"name": ', "is not JSON"),
    "nothing": (b" \n", "is empty"),
}


@readers
@pytest.mark.parametrize("other", OTHERS)
def test_every_reader_names_other_formats(tmp_path: Path, reader: str, other: str) -> None:
    content, message = OTHERS[other]
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(InputsError) as caught:
        READERS[reader][1](path)
    assert caught.value.path == path  # type: ignore[attr-defined]
    assert message in str(caught.value)


@pytest.mark.timeout(60)
def test_an_unterminated_string_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "cut.json"
    path.write_bytes(b'["' + b'\\"' * (1 << 20))
    with pytest.raises(InputsError):
        detect_format(path)


def test_an_integer_of_thousands_of_digits_in_a_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lines.json"
    path.write_text('{"name": "a.jpg"}\n{"name": ' + "9" * 5000 + "}\n")
    with pytest.raises(InputsError, match="an integer of thousands of digits"):
        read_label_table(path)


def test_a_flat_entry_with_an_empty_bbox_beside_its_box_keeps_the_box(tmp_path: Path) -> None:
    path = tmp_path / "det.json"
    box = {"x1": 1, "y1": 2, "x2": 30, "y2": 40}
    path.write_text(json.dumps([{"name": "a.jpg", "category": "car", "score": 0.5, "bbox": None, "box2d": box}]))
    assert len(read_prediction_table(path).boxes) == 1


def test_a_folder_without_json_is_an_error_of_every_reader(tmp_path: Path) -> None:
    for _, read in READERS.values():
        with pytest.raises(InputsError, match="none of them"):
            read(tmp_path)


# Coercion of values


@pytest.mark.parametrize(
    "value", [True, 1, 1.0, 2, -1, 1.5, inf, "true", "TRUE", "Yes", "on", "1", "2", "0.5", "crowd"]
)
def test_values_that_are_true(value: object) -> None:
    assert is_true(value)


@pytest.mark.parametrize("value", [False, 0, 0.0, 0.5, -0.5, "false", "No", "off", "0", " 0 ", "0.0", "", None])
def test_values_that_are_false(value: object) -> None:
    assert not is_true(value)


@pytest.mark.parametrize(("value", "number"), [(1, 1.0), (0.25, 0.25), ("0.25", 0.25), (" 1e3 ", 1000.0), (True, 1.0)])
def test_numbers_and_texts_that_are_numbers(value: object, number: float) -> None:
    assert to_number(value) == number


@pytest.mark.parametrize("value", [None, "", "high", [1], {}, 10**400])
def test_values_that_are_no_number(value: Any) -> None:
    assert to_number(value) is None


def test_not_a_number_is_a_number() -> None:
    assert isnan(to_number("nan") or 0)
