"""convert and submit as a user sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from scenes import record

from bdd100k_zoo.prediction.run import write_run

MODEL = "fcos_r50_fpn_1x"
BOX = {"x1": 1.5, "y1": 2, "x2": 30, "y2": 40}
FRAMES = [{"name": "a.jpg", "labels": [{"id": "1", "category": "car", "box2d": BOX}]}]
FOUND = [{"name": "a.jpg", "labels": [{"id": "1", "category": "car", "score": 0.5, "box2d": BOX}]}]


@pytest.fixture(autouse=True)
def files() -> None:
    Path("labels.json").write_text(json.dumps(FRAMES))
    Path("det.json").write_text(json.dumps(FOUND))
    Path("names.txt").write_text("a.jpg\n")


def test_convert_prints_what_it_found_and_wrote(call):
    result = call("convert", "labels.json", "--out", "coco.json", "--to", "coco")
    assert result.exit_code == 0, result.stderr
    assert "Scalabel labels" in result.stdout
    assert "COCO labels: coco.json" in result.stdout
    result = call("convert", "coco.json", "--out", "back.json", "--from", "coco", "--to", "scalabel")
    assert result.exit_code == 0, result.stderr
    (frame,) = json.loads(Path("back.json").read_text())
    assert frame["labels"] == FRAMES[0]["labels"]


def test_convert_asks_for_the_labels_of_results(call):
    arguments = ["convert", "det.json", "--out", "results.json", "--to", "coco"]
    result = call(*arguments)
    assert result.exit_code == 1
    assert "--labels" in result.stderr
    assert not Path("results.json").exists()
    result = call(*arguments, "--labels", "labels.json", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "found": "Scalabel results",
        "written": "COCO results",
        "path": "results.json",
        "images": 1,
        "objects": 1,
        "notes": [],
    }


def test_convert_notes_what_was_left_out_unless_quiet(call):
    Path("labels.json").write_text(json.dumps([{"name": "a.jpg", "labels": [{"id": "1", "category": "lane"}]}]))
    arguments = ["convert", "labels.json", "--out", "coco.json", "--to", "coco"]
    assert "1 labels without a box were left out" in call(*arguments).stderr
    assert call("--quiet", *arguments).stderr == ""


def test_convert_writes_a_folder_for_yolo_and_a_table_for_csv(call):
    arguments = ["convert", "det.json", "--to", "yolo", "--out", "yolo"]
    result = call(*arguments)
    assert result.exit_code == 1
    assert "--images" in result.stderr
    Image.new("RGB", (40, 50)).save("a.jpg")
    result = call(*arguments, "--images", "a.jpg")
    assert result.exit_code == 0, result.stderr
    assert "YOLO results: yolo" in result.stdout
    assert Path("yolo/labels/a.txt").read_text() == "2 0.40625 0.43 0.7375 0.78 0.5\n"
    assert call("convert", "det.json", "--to", "csv", "--out", "det.csv").exit_code == 0
    assert Path("det.csv").read_text().splitlines()[1] == "a.jpg,car,0.5,1.5,2.0,31.0,41.0"


def test_another_format_than_from_is_an_error(call):
    result = call("convert", "labels.json", "--out", "out.json", "--from", "coco", "--to", "scalabel")
    assert result.exit_code == 1
    assert "found Scalabel frames" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "labels.json", "--out", "labels.json", "--to", "coco"],
        ["convert", "labels.json", "--out", "out.json", "--to", "pickle"],
        ["convert", "labels.json", "--out", "out.json"],
        ["convert", "labels.json", "--to", "coco"],
        ["convert", "labels.json", "--to", "coco", "--out", ""],
        ["convert", "labels.json", "--out", "out.csv", "--to", "csv", "--images", "."],
        ["submit", "det.json", "--images", "names.txt", "--out", "./det.json"],
        ["submit", ".", "--images", "names.txt", "--out", "det.json"],
        ["submit", "det.json", "--out", "out.json"],
        ["submit", "det.json", "--images", "names.txt"],
    ],
)
def test_wrong_usage_changes_nothing(call, arguments):
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    assert call(*arguments).exit_code == 2
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_submit_writes_the_file_and_prints_its_size(call):
    result = call("submit", "det.json", "--images", "names.txt", "--out", "out/submission.json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(Path("out/submission.json").read_text()) == FOUND
    assert f"{Path('out/submission.json').stat().st_size:,} bytes" in result.stdout
    assert "20,000" in result.stderr


def test_submit_as_json_is_one_document(call):
    result = call("submit", "det.json", "--images", "names.txt", "--out", "out.json", "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert (document["frames"], document["boxes"], document["path"]) == (1, 1, "out.json")


def test_submit_reports_all_problems_at_once_with_a_hint(call):
    Path("names.txt").write_text("b.jpg\n")
    arguments = ["submit", "det.json", "--images", "names.txt", "--out", "out.json"]
    result = call(*arguments)
    assert result.exit_code == 1
    assert "1 images without a frame:\n  b.jpg" in result.stderr
    assert "1 frames without an image:\n  a.jpg" in result.stderr
    assert "hint: " in result.stderr
    assert not Path("out.json").exists()


def test_submit_as_json_lists_every_problem(call):
    labels = [{"category": "car", "score": 2, "box2d": BOX}] * 30
    Path("det.json").write_text(json.dumps([{"name": "a.jpg", "labels": labels}]))
    result = call("submit", "det.json", "--images", "names.txt", "--out", "out.json", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert [each["label"] for each in document["problems"]] == [str(n) for n in range(1, 31)]
    assert {each["frame"] for each in document["problems"]} == {"a.jpg"}
    assert document["error"]
    assert document["hint"]


def test_boxes_outside_are_clipped_only_with_the_option(call):
    Path("det.json").write_text(
        json.dumps([{**FOUND[0], "labels": [{**FOUND[0]["labels"][0], "box2d": {**BOX, "x2": 1300}}]}])
    )
    arguments = ["submit", "det.json", "--images", "names.txt", "--out", "out.json"]
    result = call(*arguments)
    assert result.exit_code == 1
    assert "--clip" in result.stderr
    assert call(*arguments, "--clip").exit_code == 0
    assert json.loads(Path("out.json").read_text())[0]["labels"][0]["box2d"] == {**BOX, "x2": 1279}


@pytest.mark.parametrize(
    "command",
    [
        ["convert", "loop.json", "--out", "out.json", "--to", "coco"],
        ["submit", "loop.json", "--images", "names.txt", "--out", "o"],
    ],
)
def test_a_link_that_leads_to_itself_is_not_reported_as_a_bug(call, command):
    Path("loop.json").symlink_to("loop.json")
    result = call(*command)
    assert result.exit_code == 1
    assert "loop.json" in result.stderr
    assert "bug" not in result.stderr


def run(folder: str, split: str) -> Path:
    path = Path("runs", MODEL, folder)
    path.mkdir(parents=True)
    write_run(path, record(MODEL, 1, split=split))
    (path / "det.json").write_text(json.dumps(FOUND))
    return path


def dataset(split: str) -> str:
    folder = Path("bdd/images/100k", split)
    folder.mkdir(parents=True)
    (folder / "a.jpg").touch()
    return "bdd"


def test_a_model_stands_for_its_run_on_test(call):
    run("test", "test")
    run("val", "val")
    result = call("submit", MODEL, "--data", dataset("test"), "--out", "out.json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(Path("out.json").read_text()) == FOUND
    result = call("submit", MODEL, "--data", "bdd", "--out", f"runs/{MODEL}/test/det.json")
    assert result.exit_code == 1
    assert "is the file that is read" in result.stderr


def test_a_run_on_another_split_is_named_before_thousands_of_missing_frames(call):
    folder = run("val", "val")
    result = call("submit", str(folder), "--data", dataset("test"), "--out", "out.json")
    assert result.exit_code == 1
    assert f"{folder / 'det.json'}: is of a run on val, not on test" in result.stderr
    assert "--split val" in result.stderr
    dataset("val")
    assert call("submit", str(folder), "--data", "bdd", "--split", "val", "--out", "out.json").exit_code == 0
    assert call("submit", str(folder), "--images", "names.txt", "--out", "out.json").exit_code == 0


def test_a_model_without_one_run_on_the_split_is_not_guessed(call):
    arguments = ["submit", MODEL, "--images", "names.txt", "--out", "out.json"]
    result = call(*arguments)
    assert result.exit_code == 1
    assert f"runs: holds no run of {MODEL} on test" in result.stderr
    run("a", "test")
    run("b", "test")
    result = call(*arguments)
    assert f"holds 2 runs of {MODEL} on test:\n  runs/{MODEL}/a\n  runs/{MODEL}/b" in result.stderr
    assert not Path("out.json").exists()
