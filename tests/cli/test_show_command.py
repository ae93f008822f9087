"""The command show."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from scenes import record

from bdd100k_zoo.prediction.run import write_run

MODEL = "fcos_r50_fpn_1x"
NAMES = ("a.jpg", "[red]b.jpg")


def frames(score: float | None, *names: str) -> str:
    box = {"id": "1", "category": "car", "box2d": {"x1": 20, "y1": 30, "x2": 80, "y2": 70}}
    low = box | {"score": 0.1}
    labels = [box] if score is None else [box | {"score": score}, low]
    return json.dumps([{"name": name, "labels": labels} for name in names])


@pytest.fixture(autouse=True)
def drive(tmp_path: Path) -> None:
    Path("drive").mkdir()
    for name in NAMES:
        Image.new("RGB", (160, 90), (40, 90, 60)).save(Path("drive", name))
    Path("det.json").write_text(frames(0.9, *NAMES))
    Path("labels.json").write_text(frames(None, *NAMES))


SHOW = ("show", "det.json", "--images", "drive", "--out", "out")


def test_show_draws_and_reports_what_is_left_out(call):
    result = call(*SHOW)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.split() == ["pictures", "out", "images", "2", "boxes", "2"]
    assert "2 boxes with scores below 0.3 are left out; --min-score 0 draws all" in result.stderr
    assert sorted(path.name for path in Path("out").iterdir()) == ["[red]b.jpg", "a.jpg"]
    again = call(*SHOW)
    assert "2, 2 of them already existed" in again.stdout


def test_frames_without_an_image_are_named(call):
    Path("det.json").write_text(frames(0.9, *NAMES, "[bold]c.jpg", "d.jpg", "e.jpg", "f.jpg"))
    result = call(*SHOW)
    assert result.exit_code == 0
    assert "warning: 4 frames without an image: [bold]c.jpg, d.jpg, e.jpg and 1 more" in result.stderr


def test_images_that_cannot_be_read_end_with_1(call):
    Path("drive/a.jpg").write_bytes(b"no image")
    result = call(*SHOW)
    assert result.exit_code == 1
    assert "1 frame unreadable: a.jpg (" in result.stderr
    assert Path("out/[red]b.jpg").exists()


def test_the_worst_frames_are_listed_with_what_they_cost(call):
    Path("det.json").write_text(json.dumps([*json.loads(frames(0.9, NAMES[1])), {"name": "a.jpg", "labels": []}]))
    result = call(*SHOW, "--labels", "labels.json", "--top-errors", "5")
    assert result.exit_code == 0, result.stderr
    heading, worst = result.stdout.splitlines()[-2:]
    assert heading.split() == ["frame", "AP", "lost", "to", "false", "to", "missed"]
    name, lost, to_false, to_missed = worst.split()
    assert (name, to_false) == ("a.jpg", "0.0000")
    assert lost == to_missed
    assert 49 < float(lost) < 51


def test_json_is_one_complete_document(call):
    Path("det.json").write_text(frames(0.9, *NAMES, "far.jpg"))
    result = call(*SHOW, "--labels", "labels.json", "--json", "--format", "png")
    told = json.loads(result.stdout)
    assert [each["path"] for each in told["pictures"]] == ["out/a.png", "out/[red]b.png"]
    assert told["without_image"] == ["far.jpg"]
    assert (told["boxes"], told["left_out"], told["existing"], told["unreadable"]) == (2, 2, 0, [])


def test_classes_go_by_their_names_and_aliases(call):
    assert call(*SHOW, "--classes", "person,bus").stdout.split()[-1] == "0"
    assert call(*SHOW, "--classes", "car, person", "--min-score", "0").stdout.split()[-1] == "4"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--top-errors", "3"], "--labels FILE, or the dataset"),
        (["--classes", "cat"], "pedestrian"),
        (["--min-score", "1.5"], "0<=x<=1"),
        (["--labels", ""], "empty"),
    ],
)
def test_wrong_usage_ends_with_2(call, arguments, told):
    result = call(*SHOW, *arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert not Path("out").exists()


def test_a_run_interrupted_twice_leaves_complete_pictures_and_resumes(call):
    names = [f"{n:03}.png" for n in range(200)]
    for name in names:
        os.link("drive/a.jpg", Path("drive", name.replace("png", "jpg")))
    Path("det.json").write_text(frames(0.9, *(name.replace("png", "jpg") for name in names)))
    command = [sys.executable, "-m", "bdd100k_zoo", *SHOW, "--format", "png", "--workers", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while process.poll() is None and len(list(Path().glob("out/*.png"))) < 5:
            time.sleep(0.01)
        for _ in range(2):
            os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "pictures are in out; the same command resumes" in told
    stand = {path.name for path in Path("out").iterdir()}
    assert 5 <= len(stand) < 200
    assert stand <= set(names)
    shown = json.loads(call(*SHOW, "--format", "png", "--json").stdout)
    assert (shown["existing"], len(shown["pictures"])) == (len(stand), 200)


def test_a_name_that_leads_out_of_the_folder_is_one_message(call):
    Path("det.json").write_text(frames(0.9, "../\x1b[2Jx.jpg"))
    result = call(*SHOW)
    assert result.exit_code == 1
    assert "is not a relative path inside its folder" in result.stderr
    assert "\x1b" not in result.stderr


def test_other_files_in_the_folder_are_named_with_what_to_do(call):
    result = call("show", "det.json", "--images", "drive", "--out", "drive")
    assert result.exit_code == 1
    assert "nothing was written" in result.stderr
    assert "hint: move them away, or choose another folder" in result.stderr


def test_a_list_chooses_frames_and_an_unknown_one_is_named(call):
    Path("list.txt").write_text("a.jpg\n")
    assert call(*SHOW, "--frames", "list.txt").stdout.split()[3] == "1"
    result = call(*SHOW, "--frames", "nowhere.jpg")
    assert result.exit_code == 1
    assert "det.json: holds no frame nowhere.jpg" in result.stderr


def test_the_official_viewer_is_named_where_it_is_missing_and_nothing_is_written(call):
    if importlib.util.find_spec("scalabel"):
        pytest.skip("the official packages are installed")
    result = call(*SHOW, "--viewer", "scalabel")
    assert result.exit_code == 1
    assert "scalabel is needed and cannot be imported" in result.stderr
    assert "pip install 'bdd100k-zoo[official]'" in result.stderr
    assert not Path("out").exists()


def test_the_official_viewer_draws_no_labels(call):
    result = call(*SHOW, "--viewer", "scalabel", "--labels", "labels.json")
    assert result.exit_code == 2
    assert "draws predictions only" in result.stderr


# Runs and models ------------------------------------------------------------------------------------------------------


def dataset(split: str = "val") -> Path:
    """A dataset whose split has the frames of ``drive``, as white images."""
    folder = Path("bdd/images/100k", split)
    folder.mkdir(parents=True)
    for name in NAMES:
        Image.new("RGB", (160, 90), "white").save(folder / name)
    labels = Path("bdd/labels/det_20")
    labels.mkdir(parents=True, exist_ok=True)
    (labels / f"det_{split}.json").write_text(frames(None, *NAMES))
    return Path("bdd")


def run(folder: str, split: str | None, *images: str) -> Path:
    path = Path("runs", MODEL, folder)
    path.mkdir(parents=True)
    write_run(path, record(MODEL, len(NAMES), split=split, image_roots=images))
    (path / "det.json").write_text(frames(0.9, *NAMES))
    return path


def brightness(picture: Path) -> int:
    """The first channel of a corner, where no box is drawn."""
    with Image.open(picture) as image:
        return image.convert("RGB").getpixel((159, 89))[0]


def test_a_model_stands_for_its_run_and_the_images_of_the_split(call):
    root, folder = dataset(), run("val", "val")
    run("test", "test")
    result = call("show", MODEL, "--data", str(root), "--split", "val")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.split()[:4] == ["pictures", str(folder / "pictures"), "images", "2"]
    assert brightness(folder / "pictures" / "a.jpg") > 240
    assert "frames without labels" not in result.stderr


def test_a_runs_folder_tells_its_split(call, monkeypatch):
    monkeypatch.setenv("BDD100K_ROOT", str(dataset("test")))
    folder = run("test", "test")
    assert call("show", str(folder)).exit_code == 0
    assert brightness(folder / "pictures" / "a.jpg") > 240
    result = call("show", str(folder), "--split", "val")
    assert result.exit_code == 1
    assert f"{folder / 'det.json'}: is of a run on test, not on val" in result.stderr
    assert "hint: use --split test" in result.stderr


def test_a_run_on_other_images_is_drawn_into_those_though_the_dataset_has_the_same_names(call, monkeypatch):
    monkeypatch.setenv("BDD100K_ROOT", str(dataset()))
    folder = run("images-drive", None, "drive")
    assert call("show", str(folder), "--json").exit_code == 0
    assert brightness(folder / "pictures" / "a.jpg") < 60
    assert call("show", str(folder), "--split", "val", "--out", "val").exit_code == 0
    assert brightness(Path("val/a.jpg")) > 240


def test_a_run_on_a_split_has_its_own_images_where_no_dataset_is_named(call):
    folder = run("val", "val", "drive")
    assert call("show", MODEL, "--out", "here").exit_code == 0
    assert brightness(Path("here/a.jpg")) < 60
    assert not (folder / "pictures").exists()


def test_the_worst_frames_are_found_by_the_labels_of_the_dataset(call):
    root, folder = dataset(), run("val", "val")
    (folder / "det.json").write_text(json.dumps([*json.loads(frames(0.9, NAMES[1])), {"name": "a.jpg", "labels": []}]))
    result = call("show", MODEL, "--data", str(root), "--top-errors", "5", "--json")
    assert result.exit_code == 0, result.stderr
    (worst,) = json.loads(result.stdout)["pictures"]
    assert worst["frame"] == "a.jpg"


def test_several_runs_of_a_model_are_listed(call):
    run("val", "val")
    run("again", "val")
    result = call("show", MODEL, "--data", str(dataset()))
    assert result.exit_code == 1
    message = f"runs: holds 2 runs of {MODEL} on val:\n  runs/{MODEL}/again\n  runs/{MODEL}/val"
    assert message in result.stderr
    assert "hint: give the folder of one of them" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["det.json", "--images", "drive"], ["det.json: belongs to no run", "hint: use --out DIR"]),
        (["nowhere/det.json"], ["nowhere/det.json: ", "No such file"]),
        (["det.json", "--out", "out"], ["it is not known where the images are", "--images PATH, or --data ROOT"]),
        ([MODEL, "--data", "bdd"], [f"runs: holds no run of {MODEL} on val", "predict MODEL --split val"]),
        (["fcos_r50_fpn_9x", "--data", "bdd"], ["fcos_r50_fpn_1x"]),
        (["det.json", "--data", "nowhere", "--out", "out"], ["nowhere/images/100k/val: does not exist"]),
    ],
)
def test_what_is_missing_is_named_with_what_to_give(call, arguments, told):
    result = call("show", *arguments)
    assert result.exit_code == 1
    assert all(each in result.stderr for each in told), result.stderr
    assert not Path("out").exists()
