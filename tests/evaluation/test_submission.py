"""submit: checks, and the file that is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import record

from bdd100k_zoo.errors import (
    ImagesError,
    InputsError,
    InvalidFileError,
    StorageError,
    SubmissionError,
    SubmissionProblem,
)
from bdd100k_zoo.evaluation import submission
from bdd100k_zoo.prediction.run import parse_run, write_run

IN, OUT, LIST = Path("det.json"), Path("out.json"), Path("names.txt")


def label(x1: float = 1, y1: float = 2, x2: float = 30, y2: float = 40, **changes: Any) -> dict[str, Any]:
    box = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return {"id": "1", "category": "car", "score": 0.5, "box2d": box} | changes


def submit(document: Any, *names: str, clip: bool = False, images: str | None = None) -> submission.Submission:
    IN.write_text(document if isinstance(document, str) else json.dumps(document))
    LIST.write_text("".join(f"{name}\n" for name in names))
    return submission.submit(IN, images or str(LIST), OUT, clip=clip)


def problems(document: Any, *names: str, clip: bool = False, images: str | None = None) -> list[SubmissionProblem]:
    with pytest.raises(SubmissionError) as caught:
        submit(document, *names, clip=clip, images=images)
    assert caught.value.path == IN
    assert not OUT.exists()
    return list(caught.value.problems)


def kinds(document: Any, *names: str, **options: Any) -> list[str]:
    return [problem.kind for problem in problems(document, *names, **options)]


def frame(*labels: dict[str, Any], name: str = "a.jpg") -> dict[str, Any]:
    return {"name": name, "labels": list(labels)}


def test_limits_of_a_run_and_other_files_among_the_images_are_noted(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "det.json").write_text(json.dumps([frame(label(), name="a.webp")]))
    write_run(tmp_path / "run", parse_run(record("fcos_r50_fpn_1x", 1).flat() | {"min_score": 0.3}))
    for name in ("a.webp", "a.txt", "Thumbs.db"):
        (tmp_path / "images" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "images" / name).touch()
    notes = submission.submit(tmp_path / "run", str(tmp_path / "images"), OUT).notes
    assert notes[:2] == (
        f"ignored in {tmp_path / 'images'}: 1 .txt",
        f"{tmp_path / 'run' / 'det.json'} was made with min_score 0.3; the official numbers need a run with the "
        "defaults",
    )


def test_a_valid_file_is_written_sorted_and_numbered_with_one_frame_per_line() -> None:
    submitted = submit([frame(label(id="x"), name="b.jpg"), frame(label(id=7), label(id=8)), {"name": "c.jpg"}],
                  "a.jpg", "b.jpg", "c.jpg")  # fmt: skip
    assert (submitted.frames, submitted.boxes, submitted.bytes) == (3, 3, OUT.stat().st_size)
    written = json.loads(OUT.read_text())
    assert [(each["name"], [one["id"] for one in each["labels"]]) for each in written] == [
        ("a.jpg", ["1", "2"]),
        ("b.jpg", ["3"]),
        ("c.jpg", []),
    ]
    assert len(OUT.read_text().splitlines()) == 5
    assert submitted.notes == ("there are 3 frames; the test split has 20,000",)


def test_a_written_file_is_written_again_byte_for_byte() -> None:
    submit({"frames": [frame(label(0.1, 1e-07, 5.300000190734863, 0.30000000000000004), name="a.jpg")]}, "a.jpg")
    first = OUT.read_bytes()
    submit(first.decode(), "a.jpg")
    assert OUT.read_bytes() == first


@given(
    st.lists(
        st.tuples(st.floats(0, 600), st.floats(0, 300), st.floats(600, 1279), st.floats(300, 719), st.floats(0, 1)),
        min_size=1,
        max_size=5,
    )
)
def test_numbers_are_written_to_the_last_bit(boxes: list[tuple[float, float, float, float, float]]) -> None:
    given_labels = [label(*box[:4], score=box[4], id=str(n)) for n, box in enumerate(boxes, 1)]
    submit([frame(*given_labels)], "a.jpg")
    assert json.dumps(json.loads(OUT.read_text())[0]["labels"]) == json.dumps(
        [{**each, "score": float(each["score"])} for each in given_labels]
    )


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"category": "lane"}, submission.UNKNOWN_CATEGORIES),
        ({"category": None}, submission.UNKNOWN_CATEGORIES),
        ({"category": "trailer"}, submission.REGION_CATEGORIES),
        ({"score": 1.0000001}, submission.INVALID_SCORES),
        ({"score": -1e-9}, submission.INVALID_SCORES),
        ({"score": None}, submission.INVALID_SCORES),
        ({"score": "high"}, submission.INVALID_SCORES),
        ({"score": float("nan")}, submission.INVALID_SCORES),
        ({"score": float("inf")}, submission.INVALID_SCORES),
        ({"box2d": None}, submission.INVALID_BOXES),
        ({"box2d": {"x1": 1, "y1": 2, "x2": 3}}, submission.INVALID_BOXES),
        ({"box2d": {"x1": 1, "y1": 2, "x2": 3, "y2": float("-inf")}}, submission.INVALID_BOXES),
        (label(30, 2, 28.9, 40), submission.SWAPPED_EDGES),
        (label(1, 40, 30, 2), submission.SWAPPED_EDGES),
        (label(-1.1, 2, 30, 40), submission.BOXES_OUTSIDE_IMAGE),
        (label(1, -1.1, 30, 40), submission.BOXES_OUTSIDE_IMAGE),
        (label(1, 2, 1280.1, 40), submission.BOXES_OUTSIDE_IMAGE),
        (label(1, 2, 30, 720.1), submission.BOXES_OUTSIDE_IMAGE),
    ],
)
def test_problems_of_a_label_are_reported_with_its_place(changes: dict[str, Any], kind: str) -> None:
    (found,) = problems([frame(label(), label() | changes)], "a.jpg")
    assert (found.kind, found.frame, found.label) == (kind, "a.jpg", "2")
    assert found.detail


@pytest.mark.parametrize(
    "changes",
    [
        {"score": 0},
        {"score": 1},
        label(0, 0, 1279, 719),
        label(-1, -1, 1280, 720),
        label(30, 40, 29, 39),
        {"id": None},
        {"attributes": {"any": [1]}, "poly2d": None},
    ],
)
def test_labels_within_bounds_are_accepted(changes: dict[str, Any]) -> None:
    assert submit([frame(label() | changes)], "a.jpg").boxes == 1


def test_all_problems_are_reported_at_once() -> None:
    document = [
        frame(label(category="lane", score=2), label(-50), name="b.jpg"),
        frame(name="b.jpg"),
        frame(name="deep/c.jpg"),
        frame(name="d.jpg"),
        {"name": "e.jpg", "labels": [{"score": True}]},
        {"labels": []},
    ]
    found = problems(document, "a.jpg", "b.jpg", "c.jpg", "e.jpg")
    assert [(each.kind, each.frame, each.label) for each in found] == [
        (submission.MISSING_FRAMES, "a.jpg", ""),
        (submission.MISSING_FRAMES, "c.jpg", ""),
        (submission.MISSING_FRAMES, "e.jpg", ""),
        (submission.EXTRA_FRAMES, "d.jpg", ""),
        (submission.EXTRA_FRAMES, "deep/c.jpg", ""),
        (submission.UNKNOWN_CATEGORIES, "b.jpg", "1"),
        (submission.INVALID_SCORES, "b.jpg", "1"),
        (submission.BOXES_OUTSIDE_IMAGE, "b.jpg", "2"),
        (submission.DUPLICATE_FRAMES, "b.jpg", ""),
        (submission.MALFORMED_FRAMES, "frame 5", ""),
        (submission.MALFORMED_FRAMES, "frame 6", ""),
    ]
    assert found[4].detail == "there is c.jpg"
    assert "$.labels[0].score" in found[-2].detail


def test_the_message_counts_each_kind_and_names_its_first_ten() -> None:
    with pytest.raises(SubmissionError) as caught:
        submit([frame(*[label(category="lane")] * 1234)], "a.jpg", "b.jpg")
    lines = str(caught.value).splitlines()
    assert lines[1:3] == ["1 images without a frame:", "  b.jpg"]
    assert lines[3:5] == ["1,234 labels of unknown categories:", "  a.jpg, label 1: lane"]
    assert lines[-1] == "  and 1,224 more"
    assert len(lines) == 15
    assert len(caught.value.problems) == 1235


def test_literal_nan_and_infinity_are_problems_of_their_labels() -> None:
    text = json.dumps([frame(label(score=float("nan")), label(y2=float("inf"), id="NaN"))])
    assert "NaN" in text
    found = problems(text, "a.jpg")
    assert [(each.kind, each.label) for each in found] == [
        (submission.INVALID_SCORES, "1"),
        (submission.INVALID_BOXES, "2"),
    ]
    assert (found[0].detail, found[1].detail) == ("nan", "x1 1.0, y1 2.0, x2 30.0, y2 inf")


def test_changes_and_oddities_are_noted() -> None:
    labels = [label(category=name, id=None) for name in ("bike", "person", "bike")]
    submitted = submit([frame(*labels, *[label(score="0.25")] * 98)], "a.jpg")
    written = json.loads(OUT.read_text())[0]["labels"]
    assert [one["category"] for one in written[:4]] == ["bicycle", "pedestrian", "bicycle", "car"]
    assert written[3]["score"] == 0.25
    assert [one["id"] for one in written] == [str(n) for n in range(1, 102)]
    notes = "\n".join(submitted.notes)
    assert "bike → bicycle (2), person → pedestrian (1)" in notes
    assert "1 frames have more than 100 boxes" in notes


def test_clipping_moves_edges_into_the_image_and_is_noted() -> None:
    boxes = [label(-5, -0.5, 1300, 800), label(), label(1279.5, 5, 1290, 9)]
    assert kinds([frame(*boxes)], "a.jpg") == [submission.BOXES_OUTSIDE_IMAGE, submission.BOXES_OUTSIDE_IMAGE]
    submitted = submit([frame(*boxes)], "a.jpg", clip=True)
    assert "2 boxes were clipped to their images" in submitted.notes
    corners = [list(one["box2d"].values()) for one in json.loads(OUT.read_text())[0]["labels"]]
    assert corners == [[0, 0, 1279, 719], [1, 2, 30, 40], [1279.5, 5, 1279, 9]]


@pytest.mark.parametrize("box", [(1280, 2, 1290, 40), (1, 720, 30, 730), (-9, 2, -1, 40), (1, -9, 30, -1)])
def test_a_box_entirely_outside_its_image_cannot_be_clipped(box: tuple[float, float, float, float]) -> None:
    assert kinds([frame(label(*box))], "a.jpg", clip=True) == [submission.BOXES_OUTSIDE_IMAGE]


def test_a_folder_of_images_is_searched_recursively() -> None:
    folder = Path("images")
    (folder / "deep").mkdir(parents=True)
    for name in ("a.jpg", "deep/b.png"):
        (folder / name).write_bytes(b"an image")  # of which only the name matters: all images have one size
    assert submit([frame(label()), frame(name="deep/b.png")], images=str(folder)).frames == 2
    OUT.unlink()
    (found,) = problems([frame(label(x2=1300)), frame(name="deep/b.png")], images=str(folder))
    assert found.kind == submission.BOXES_OUTSIDE_IMAGE
    assert found.detail.endswith("the image is 1280×720")


def test_the_folder_of_a_run_stands_for_its_predictions() -> None:
    Path("run").mkdir()
    Path("run/det.json").write_text(json.dumps([frame(label())]))
    LIST.write_text("\ufeff\n a.jpg \r\n\n", encoding="utf-8")
    assert submission.submit(Path("run"), str(LIST), OUT).frames == 1


def test_the_expected_number_of_frames_is_not_noted() -> None:
    names = [f"{n:05}.jpg" for n in range(submission.TEST_IMAGES)]
    frames = [{"name": name, "labels": []} for name in names[1:]]
    assert submit([frame(label(), name=names[0]), *frames], *names).notes == ()


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", ImagesError, "contains no image name"),
        (b"a.jpg\n/data/b.jpg\n", InvalidFileError, "/data/b.jpg"),
        (b"\xff\xd8\xff", InvalidFileError, "is not a list of image names"),
    ],
)
def test_an_invalid_list_is_an_error(content: bytes, error: type[Exception], message: str) -> None:
    IN.write_text("[]")
    LIST.write_bytes(content)
    with pytest.raises(error, match=message):
        submission.submit(IN, str(LIST), OUT)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "is empty"),
        ('[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]', "found a list of COCO results"),
        ('{"images": [], "annotations": [], "categories": []}', "found a COCO labels file"),
        ('{"model": "x"}', "a JSON object of model"),
        ('[{"name": "a.jpg", "labels": []}', r"is truncated.*byte 32"),
        ('[{"name": "a.jpg", "labels": []}, x]', r"Expecting value.*\(char 34\)"),
        ('[{"name": "a.jpg", "labels": []}] rest', r"Extra data.*\(char 34\)"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_predictions_file_is_an_error(document: str, message: str) -> None:
    with pytest.raises(InputsError, match=message):
        submit(document, "a.jpg")
    assert not OUT.exists()


def test_missing_images_and_predictions_are_errors() -> None:
    with pytest.raises(StorageError):
        submission.submit(IN, str(LIST), OUT)
    IN.write_text("[]")
    with pytest.raises(ImagesError):
        submission.submit(IN, "nowhere", OUT)
    assert kinds([], "a.jpg") == [submission.MISSING_FRAMES, submission.FILES_WITHOUT_BOXES]


FLAT = [
    {"name": "a.jpg", "timestamp": 1000, "category": "car", "bbox": [1, 2, 30, 40], "score": 0.5},
    {"name": "a.jpg", "timestamp": 1000, "category": "bike", "bbox": [1, 2, 30.5, 40], "score": 0.25},
]


@pytest.mark.parametrize("extension", [".jpg", ""])
def test_flat_predictions_are_written_with_an_empty_frame_for_each_other_image(extension: str) -> None:
    submitted = submit([each | {"name": f"a{extension}"} for each in FLAT], "b.jpg", "a.jpg")
    first, second = json.loads(OUT.read_text())
    assert (first["name"], second) == ("a.jpg", {"name": "b.jpg", "labels": []})
    assert [(each["category"], *each["box2d"].values()) for each in first["labels"]] == [
        ("car", 1, 2, 30, 40),
        ("bicycle", 1, 2, 30.5, 40),
    ]
    assert "1 images have no box; each got an empty frame" in submitted.notes


def test_problems_of_flat_predictions_are_reported_with_their_places() -> None:
    odd = [FLAT[0], FLAT[1] | {"bbox": [1, 2, 3]}, FLAT[1] | {"name": "z.jpg"}, FLAT[1] | {"score": 3}]
    found = problems(odd, "a.jpg", "b.jpg")
    assert (submission.EXTRA_FRAMES, "z.jpg") in [(each.kind, each.frame) for each in found]
    assert (submission.MALFORMED_FRAMES, "frame 1") in [(each.kind, each.frame) for each in found]


@pytest.mark.parametrize("document", [[frame()], {"frames": [frame()]}, [{"name": "a.jpg", "labels": None}]])
def test_a_file_without_a_box_is_an_error(document: Any) -> None:
    (found,) = problems(document, "a.jpg")
    assert (found.kind, found.frame) == (submission.FILES_WITHOUT_BOXES, "det.json")


def test_boxes_that_are_not_in_pixels_are_an_error() -> None:
    normalised = [label(0.1, 0.2, 0.3, 1.0), label(0, 0, 1, 1)]
    (found,) = problems([frame(*normalised)], "a.jpg")
    assert found.kind == submission.NORMALISED_FILES
    assert submit([frame(*normalised, label())], "a.jpg").boxes == 3


def test_a_folder_of_predictions_is_written_as_one_file() -> None:
    Path("parts").mkdir()
    for name in ("b.jpg", "a.jpg"):
        Path("parts", f"{name}.json").write_text(json.dumps([frame(label(), name=name)]))
    LIST.write_text("a.jpg\nb.jpg\n")
    assert submission.submit(Path("parts"), str(LIST), OUT).frames == 2
