"""predict as a user sees it, with a real model of random weights."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from bdd100k_zoo.demo_run.steps import DATA
from bdd100k_zoo.prediction.run_folder import run_folder_lock

MODEL = "faster_rcnn_r50_fpn_1x"
SMALL = "test_dataloader.dataset.pipeline.1.scale=(160,90)"


def test_predict_writes_predictions_and_record(call, trial):
    result = call("predict", MODEL, "--images", str(trial.frames), "--weights", str(trial.weights))
    assert result.exit_code == 0, result.stderr
    folder = Path("runs", MODEL, "images-frames")
    (frame,) = json.loads((folder / "det.json").read_text())
    run = json.loads((folder / "run.json").read_text())
    assert frame["name"] == "street.jpg"
    assert 0 < len(frame["labels"]) <= 100
    assert run["model"] == MODEL
    assert run["counts"] == {"images": 1, "unreadable": 0, "detections": len(frame["labels"])}
    assert run["weights"]["md5"] == hashlib.md5(trial.weights.read_bytes()).hexdigest()
    assert run["weights"]["verified"] is False
    assert run["cfg_options"] == {}
    assert set(run["versions"]) >= {"python", "torch", "torchvision", "mmdet", "mmengine"}
    assert str(folder / "det.json") in result.stdout
    assert "s/image" in result.stdout


def test_images_are_positional_and_each_file_names_its_run(call, trial):
    for day in ("monday", "tuesday"):
        shutil.copytree(trial.frames, day)
    model, weights = ["predict", MODEL], ["--weights", str(trial.weights), "--cfg-options", SMALL]
    first = call(*model, "monday/street.jpg", *weights)
    assert first.exit_code == 0, first.stderr
    folder = Path("runs", MODEL, "images-street")
    assert f"{folder}/det.json" in first.stdout
    other = call(*model, "tuesday/street.jpg", *weights)
    assert other.exit_code == 0, other.stderr
    assert f"{folder} holds a run of other images; this one is written to {folder}-2" in other.stderr
    assert (folder / "det.json").read_bytes() == Path(f"{folder}-2", "det.json").read_bytes()
    again = call(*model, "--images", "tuesday/street.jpg", *weights)
    assert f"{folder}-2 holds this run already, complete" in again.stderr
    settings = call(*model, "tuesday/street.jpg", "--precision", "bf16", *weights)
    assert settings.exit_code == 1
    assert "precision: fp32 there, bf16 now" in settings.stderr
    assert "--out" in settings.stderr
    assert "--fresh" in settings.stderr
    both = call(*model, "monday/street.jpg", "tuesday/street.jpg", *weights)
    assert both.exit_code == 1
    assert "two images would be the frame 'street.jpg'" in both.stderr


def test_a_forgotten_model_is_asked_for(call, trial):
    shutil.copy(trial.frames / "street.jpg", "street.jpg")
    result = call("predict", "street.jpg")
    assert result.exit_code == 2
    assert "name a model before the images: `predict MODEL street.jpg`" in " ".join(
        result.stderr.replace("│", "").split()
    )
    assert "the zoo has no model" in call("predict", "fcos_r50_fpn", "street.jpg").stderr


def test_boxes_of_few_images_are_printed_as_a_table(call):
    Path("few").mkdir()
    images = [Path("few", f"{number}.jpg") for number in range(5)]
    frame = next((DATA / "images").rglob("*.jpg"))
    for image in images:
        shutil.copy(frame, image)
    few = call("predict", "demo_fcos_r18_fpn", *map(str, images[:4]))
    assert few.exit_code == 0, few.stderr
    frames = json.loads(Path("runs/demo_fcos_r18_fpn/images-few/det.json").read_text())
    titles = re.findall(r"^([0-3]\.jpg): (\d+) boxes, and (\d+) with scores below 0\.3$", few.stdout, re.MULTILINE)
    scores = [label["score"] for label in frames[0]["labels"]]
    high = sum(score >= 0.3 for score in scores)
    assert high
    assert titles == [(f"{number}.jpg", str(high), str(len(scores) - high)) for number in range(4)]
    best = max(frames[0]["labels"], key=lambda label: label["score"])
    rows = re.findall(r"^([a-z ]+?) +(\d\.\d\d) +([\d. ]+)$", few.stdout, re.MULTILINE)
    assert len(rows) == 4 * high
    box = [best["box2d"]["x1"], best["box2d"]["y1"], best["box2d"]["x2"] + 1, best["box2d"]["y2"] + 1]
    assert rows[0][:2] == (best["category"], f"{best['score']:.2f}")
    assert rows[0][2].split() == [f"{side:.1f}" for side in box]
    assert max(map(len, few.stdout.splitlines())) <= 80
    many = call("predict", "demo_fcos_r18_fpn", *map(str, images), "--out", "many")
    assert "with scores below" not in many.stdout


def test_limits_are_kept_and_other_formats_are_written_beside(call):
    frames = DATA / "images"
    limits = ["--min-score", "0.2", "--classes", "car,person", "--max-per-image", "3"]
    arguments = ["predict", "demo_fcos_r18_fpn", str(frames), "--out", "out", *limits]
    result = call(*arguments, "--format", "csv", "--format", "coco", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["exports"] == {"coco": "out/det.coco.json", "csv": "out/det.csv"}
    assert (document["min_score"], document["max_per_image"]) == (0.2, 3)
    assert document["classes"] == ["pedestrian", "car"]
    labels = [label for frame in json.loads(Path("out/det.json").read_text()) for label in frame["labels"]]
    assert {label["category"] for label in labels} <= {"pedestrian", "car"}
    assert min(label["score"] for label in labels) >= 0.2
    assert len(json.loads(Path("out/det.coco.json").read_text())) == len(labels) <= 3 * document["counts"]["images"]
    assert len(Path("out/det.csv").read_text().splitlines()) == 1 + len(labels)
    again = call(*arguments, "--format", "yolo")
    assert "holds this run already" in again.stderr
    assert "yolo        out/yolo" in again.stdout
    assert len(list(Path("out/yolo/labels").rglob("*.txt"))) == document["counts"]["images"]
    other = call(*arguments, "--min-score", "0.3")
    assert other.exit_code == 1
    assert "min_score: 0.2 there, 0.3 now" in other.stderr


@pytest.fixture
def mixed(trial, tmp_path) -> Path:
    """A folder with two whole images, one below it, and one that is no image."""
    folder = tmp_path / "mixed"
    shutil.copytree(trial.frames, folder / "b")
    (folder / "a.jpg").write_bytes((folder / "b" / "street.jpg").read_bytes())
    (folder / "broken.png").write_text("not an image")
    return folder


def test_an_unreadable_image_is_named_counted_and_given_an_empty_frame(call, trial, mixed):
    arguments = ["predict", MODEL, "--images", str(mixed), "--weights", str(trial.weights), "--out", "out"]
    result = call(*arguments, "--cfg-options", "model.test_cfg.rcnn.max_per_img=7", "model.test_cfg.rcnn.score_thr=0.0")
    assert result.exit_code == 1
    assert "broken.png" in result.stderr
    frames = json.loads(Path("out/det.json").read_text())
    assert [(frame["name"], len(frame["labels"])) for frame in frames] == [
        ("a.jpg", 7),
        ("b/street.jpg", 7),
        ("broken.png", 0),
    ]
    assert frames[0]["labels"] == [{**label, "id": str(n)} for n, label in enumerate(frames[1]["labels"], 1)]
    assert [label["id"] for frame in frames for label in frame["labels"]] == [str(n) for n in range(1, 15)]
    run = json.loads(Path("out/run.json").read_text())
    assert run["counts"]["unreadable"] == 1
    again = call(*arguments, "--cfg-options", "model.test_cfg.rcnn.max_per_img=7", "model.test_cfg.rcnn.score_thr=0.0")
    assert again.exit_code == 1  # nothing is computed again, and the image is still unreadable
    assert "holds this run already" in again.stderr
    assert run["unreadable"][0]["name"] == "broken.png"
    assert run["cfg_options"] == {"model.test_cfg.rcnn.max_per_img": 7, "model.test_cfg.rcnn.score_thr": 0.0}


def test_skip_unreadable_exits_with_0_and_json_is_the_record(call, trial, mixed):
    arguments = ["predict", MODEL, "--images", str(mixed / "broken.png"), "--weights", str(trial.weights)]
    result = call(*arguments, "--out", "out", "--skip-unreadable", "--json")
    assert result.exit_code == 0
    paths = {"predictions": "out/det.json", "record": "out/run.json", "exports": {}}
    assert json.loads(result.stdout) == {**paths, **json.loads(Path("out/run.json").read_text())}
    assert json.loads(Path("out/det.json").read_text()) == [{"name": "broken.png", "labels": []}]


def test_weights_are_downloaded_once_and_reported_as_unverified(call, trial, served, write_zoo):
    shutil.copy(trial.weights, served.folder / "weights.pth")
    arguments = ["--zoo", str(write_zoo()), "predict", "mine", "--images", str(trial.frames)]
    first = call(*arguments)
    assert first.exit_code == 0, first.stderr
    assert first.stderr.count("unverified") == 1
    (served.folder / "weights.pth").unlink()
    second = call("--offline", *arguments, "--fresh")
    assert second.exit_code == 0, second.stderr
    assert "unverified" in second.stderr
    run = json.loads(Path("runs/mine/images-frames/run.json").read_text())
    assert run["weights"]["address"] == f"{served.address}/weights.pth"
    assert run["weights"]["unverified_because"]


def test_frames_of_a_video_are_named_numbered_and_distinguished_from_another_choice_of_them(call, trial):
    films = pytest.importorskip("films", reason="NOT TESTED: videos, as PyAV is not installed")
    films.film(Path("drive 1.mp4"), 4)
    arguments = ["predict", MODEL, "--images", "drive 1.mp4", "--weights", str(trial.weights)]
    result = call(*arguments, "--every", "3")
    assert result.exit_code == 0, result.stderr
    folder = Path("runs", MODEL, "images-drive_1")
    names = [frame["name"] for frame in json.loads((folder / "det.json").read_text())]
    assert names == ["drive 1-0000000.jpg", "drive 1-0000003.jpg"]
    assert json.loads((folder / "run.json").read_text())["every"] == 3
    again = call(*arguments)
    assert again.exit_code == 1
    assert "every: 3 there, 1 now" in again.stderr


def test_a_step_of_no_frames_is_wrong_usage(call, trial):
    arguments = ["--images", str(trial.frames), "--weights", str(trial.weights)]
    assert call("predict", MODEL, *arguments, "--every", "0").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "nowhere"], "nowhere: does not exist"),
        (["--images", "-"], "standard input: names no image"),
        (["--images", "list.txt"], "list.txt, line 2: gone.jpg: does not exist"),
        (["--images", "~nobody_of_that_name/x"], "~nobody_of_that_name/x: does not exist"),
        (["--images", "loop"], "loop: does not exist"),
        (["--images", "x" * 300 + "/in"], "File name too long"),
        (["--split", "val", "--data", "x" * 300], "File name too long"),
        (["--images", ".", "--weights", "none.pth"], "holds no image"),
        (["--images", "frame.jpg", "--weights", "none.pth"], "none.pth: No such file"),
        (["--images", "frame.jpg", "--weights", "page.pth"], "it is a web page, not a checkpoint"),
        (["--images", "frame.jpg", "--weights", "pointer.pth"], "hint: `git lfs pull` fetches that file"),
        (["--images", "frame.jpg", "--weights", "WEIGHTS", "--device", "cuda:99"], "'cuda:99' cannot be used"),
        (["--images", "frame.jpg", "--weights", "WEIGHTS", "--cfg-options", "modle.x=1"], "modle"),
        (["--images", "frame.jpg", "--weights", "WEIGHTS", "--cfg-options", "rubbish"], "rubbish"),
        (["--split", "val", "--data", "."], "images/100k/val: does not exist"),
    ],
)
def test_what_is_wrong_is_one_message_with_a_hint(call, trial, tmp_path, arguments, message):
    shutil.copy(trial.frames / "street.jpg", tmp_path / "frame.jpg")
    Path("loop").symlink_to("loop")
    Path("list.txt").write_text("frame.jpg\ngone.jpg\n")
    Path("pointer.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    Path("page.pth").write_text("<!DOCTYPE html><html>404</html>")
    if "holds no image" in message:
        Path("frame.jpg").unlink()
    result = call("predict", MODEL, *(str(trial.weights) if a == "WEIGHTS" else a for a in arguments))
    assert result.exit_code == 1
    assert message in result.stderr
    assert "unexpected" not in result.stderr
    assert "hint: " in result.stderr
    assert not Path("runs").exists()


def test_weights_of_another_model_are_refused_by_name(call, trial):
    result = call("predict", "retinanet_r50_fpn_1x", "--images", str(trial.frames), "--weights", str(trial.weights))
    assert result.exit_code == 1
    assert "does not fit retinanet_r50_fpn_1x" in result.stderr
    assert "roi_head.bbox_head.fc_cls.weight" in result.stderr or "bbox_head.cls_convs" in result.stderr


def test_another_run_is_left_alone_the_same_one_not_made_again_and_any_replaced_when_asked(call, trial, tmp_path):
    out = tmp_path / ("long" * 30) / "run"
    weights = ["--weights", str(trial.weights), "--cfg-options", SMALL]
    arguments = ["--images", str(trial.frames), *weights, "--out", str(out)]
    assert call("predict", MODEL, *arguments).exit_code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    shutil.copytree(trial.frames, tmp_path / "other")
    (tmp_path / "other" / "street.jpg").rename(tmp_path / "other" / "road.jpg")
    copied = tmp_path / "other.pth"
    copied.write_bytes(trial.weights.read_bytes() + b"\0")
    for model, changed, message in (
        ("fcos_r50_fpn_1x", [], f"model: {MODEL} there, fcos_r50_fpn_1x now"),
        (MODEL, ["--images", "other"], "images: "),
        (MODEL, ["--cfg-options", "model.test_cfg.rcnn.max_per_img=7"], "cfg_options: {"),
        (MODEL, ["--weights", str(copied)], "SHA-256: "),
    ):
        result = call("predict", model, *arguments, *changed)
        assert result.exit_code == 1
        assert message in result.stderr
        assert "--fresh" in result.stderr
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    Path("link").symlink_to(trial.frames)
    again = call("predict", MODEL, "--images", "link", *weights, "--out", str(out))
    assert again.exit_code == 0, again.stderr
    assert "holds this run already" in again.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    old = json.loads((out / "run.json").read_text())  # what version 0.1.0 wrote has no digest of its images
    (out / "run.json").write_text(json.dumps({**old, "frames_sha256": None}))
    anew = call("predict", MODEL, *arguments)
    assert anew.exit_code == 0, anew.stderr
    assert json.loads((out / "run.json").read_text())["frames_sha256"] == old["frames_sha256"]
    assert (out / "det.json").read_bytes() == before["det.json"]

    (out / "run.json").write_text("rubbish")
    fresh = call("predict", MODEL, *arguments, "--fresh", "--cfg-options", "model.test_cfg.rcnn.max_per_img=7")
    assert fresh.exit_code == 0, fresh.stderr
    assert len(json.loads((out / "det.json").read_text())[0]["labels"]) == 7
    assert json.loads((out / "run.json").read_text())["image_roots"] == [str(trial.frames.resolve())]
    lines = [line for line in fresh.stdout.splitlines() if line.startswith(("predictions ", "record "))]
    assert [line.split()[-1] for line in lines] == [str(out / "det.json"), str(out / "run.json")]
    assert lines == [line.rstrip() for line in lines]


def test_a_folder_that_another_process_works_in_is_left_alone(call, trial):
    arguments = ["--images", str(trial.frames), "--weights", str(trial.weights), "--out", "out", "--fresh"]
    with run_folder_lock(Path("out")):
        result = call("predict", MODEL, *arguments)
        assert result.exit_code == 1
        assert "another process is making a run in out" in result.stderr
        assert "hint: " in result.stderr
        assert [path.name for path in Path("out").iterdir()] == [".lock-0"]


@pytest.mark.parametrize("option", ["--images", "--out", "--weights", "--data"])
def test_an_empty_path_is_wrong_usage(call, trial, option):
    result = call("predict", MODEL, "--images", str(trial.frames), "--weights", str(trial.weights), option, "")
    assert result.exit_code == 2
    assert "is empty" in " ".join(result.stderr.split())
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--out", "file/run"], "file/run: "),
        (["--out", "new/" + "x" * 300], "File name too long"),
        (["--device", "cuda:99"], "'cuda:99' cannot be used"),
        (["--cfg-options", "model.backbone.depth.x=1"], "model.backbone.depth"),
    ],
)
def test_nothing_is_downloaded_before_the_rest_is_validated(call, trial, served, write_zoo, tmp_path, changed, message):
    shutil.copy(trial.weights, served.folder / "weights.pth")
    Path("file").write_text("")
    result = call("--zoo", str(write_zoo()), "predict", "mine", "--images", str(trial.frames), *changed)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "unexpected" not in result.stderr
    assert not (tmp_path / "cache").exists()
    assert not Path("runs").exists()
    assert not Path("new").exists()


def test_a_split_is_found_below_the_dataset_root(call, trial, tmp_path, monkeypatch):
    shutil.copytree(trial.frames, tmp_path / "bdd" / "images" / "100k" / "val")
    monkeypatch.setenv("BDD100K_ROOT", str(tmp_path / "bdd"))
    result = call("predict", MODEL, "--split", "val", "--weights", str(trial.weights))
    assert result.exit_code == 0, result.stderr
    run = json.loads(Path("runs", MODEL, "val", "run.json").read_text())
    assert run["split"] == "val"


def test_images_that_have_changed_since_are_noticed(call, trial, tmp_path):
    shutil.copytree(trial.frames, tmp_path / "frames")
    arguments = ["predict", MODEL, "--images", "frames", "--weights", str(trial.weights), "--out", "out"]
    small = ["--cfg-options", SMALL]
    assert call(*arguments, *small).exit_code == 0
    os.utime(tmp_path / "frames" / "street.jpg", (1, 1))
    result = call(*arguments, *small)
    assert result.exit_code == 1
    assert "times of change of the images: digest" in result.stderr
    shutil.copy(trial.frames / "street.jpg", tmp_path / "frames" / "road.jpg")
    result = call(*arguments, *small)
    assert "number of images: 1 there, 2 now" in result.stderr
    assert "hint: " in result.stderr


def test_batches_readers_and_precision_are_recorded(call, trial, mixed):
    arguments = ["--images", str(mixed), "--weights", str(trial.weights), "--out", "out", "--skip-unreadable"]
    options = ["--batch-size", "2", "--workers", "3", "--precision", "fp32", "--cfg-options", SMALL]
    result = call("predict", MODEL, *arguments, *options)
    assert result.exit_code == 0, result.stderr
    run = json.loads(Path("out/run.json").read_text())
    assert (run["batch_size"], run["precision"], run["processes"], run["split_batches"]) == (2, "fp32", 1, {})
    assert run["optimised"] is True
    assert 0 < run["busy"] <= 1
    assert run["seconds"]["total"] > run["seconds"]["load"] + run["seconds"]["detect"]
    one, other, _ = json.loads(Path("out/det.json").read_text())
    for first, second in zip(one["labels"], other["labels"], strict=True):  # one image twice, in one batch
        assert first["score"] == pytest.approx(second["score"], abs=1e-5)


def test_merge_names_the_frames_that_are_missing_and_writes_nothing(call, trial, mixed):
    arguments = ["--images", str(mixed), "--weights", str(trial.weights), "--out", "out"]
    result = call("predict", MODEL, *arguments, "--merge")
    assert result.exit_code == 1
    assert "3 of 3 frames are missing" in result.stderr
    assert "1 to 3: a.jpg to broken.png" in result.stderr
    assert "without --merge" in result.stderr
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("environment", "options", "message"),
    [
        ({}, ["--merge", "--fresh"], "--merge computes nothing"),
        ({}, ["--gpus", "some"], "neither a number nor"),
        ({}, ["--gpus", "0"], "neither a number nor"),
        ({}, ["--batch-size", "0"], "not in the range"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, ["--fresh"], "give another --out"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, ["--gpus", "2"], "this is one of 2 already"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(call, trial, monkeypatch, environment, options, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = call("predict", MODEL, "--images", str(trial.frames), "--weights", str(trial.weights), *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert not Path("runs").exists()


def test_a_precision_that_the_device_does_not_have_is_reported_before_anything_is_made(call, trial):
    arguments = ["--images", str(trial.frames), "--weights", str(trial.weights), "--device", "cpu"]
    result = call("predict", MODEL, *arguments, "--precision", "tf32")
    assert result.exit_code == 1
    assert "'cpu' cannot be used: it does not support tf32" in result.stderr
    assert "hint: --precision fp32" in result.stderr
    assert not Path("runs").exists()


def test_half_the_bits_are_recorded_and_no_other_precision_resumes_with_them(call, trial):
    arguments = ["--images", str(trial.frames), "--weights", str(trial.weights), "--out", "out"]
    options = ["--device", "cpu", "--cfg-options", SMALL]
    result = call("predict", MODEL, *arguments, *options, "--precision", "bf16")
    assert result.exit_code == 0, result.stderr
    assert json.loads(Path("out/run.json").read_text())["precision"] == "bf16"
    result = call("predict", MODEL, *arguments, *options)
    assert result.exit_code == 1
    assert "precision: bf16 there, fp32 now" in result.stderr


@pytest.mark.parametrize(
    ("launcher", "message"),
    [
        ("pytorch", "RANK and WORLD_SIZE are not set"),
        ("slurm", "SLURM_PROCID and SLURM_STEP_NUM_TASKS and SLURM_STEP_ID are not set"),
        ("mpi", "OMPI_COMM_WORLD_RANK and OMPI_COMM_WORLD_SIZE are not set"),
    ],
)
def test_a_launcher_that_did_not_start_the_process_is_reported_by_its_variables(call, trial, launcher, message):
    result = call("predict", MODEL, "--images", str(trial.frames), "--launcher", launcher)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "hint: " in result.stderr


def test_more_gpus_than_there_are_is_reported(call, trial):
    result = call("predict", MODEL, "--images", str(trial.frames), "--weights", str(trial.weights), "--gpus", "999")
    assert result.exit_code == 1
    assert "999 GPUs were requested" in result.stderr
    assert not Path("runs").exists()


def test_show_draws_the_run_into_its_folder(call, trial):
    arguments = ["predict", MODEL, "--images", str(trial.frames), "--weights", str(trial.weights), "--out", "out"]
    result = call(*arguments, "--cfg-options", SMALL, "--show")
    assert result.exit_code == 0, result.stderr
    assert Path("out/pictures/street.jpg").is_file()
    assert "pictures    out/pictures" in result.stdout
    again = call(*arguments, "--cfg-options", SMALL, "--show", "--json")
    assert json.loads(again.stdout)["counts"]["images"] == 1


def test_show_needs_a_list_that_can_be_read_again(call, trial):
    result = call("predict", MODEL, "--images", "-", "--weights", str(trial.weights), "--show")
    assert result.exit_code == 2
    assert "--show" in result.stderr


def test_a_backend_that_is_not_installed_is_refused_with_the_way_to_it_before_anything_is_fetched(call, trial):
    result = call("predict", MODEL, "--images", str(trial.frames), "--backend", "mmdet2")
    assert result.exit_code == 1
    assert "it needs mmdet 2, and mmdet 3.3.0 is installed" in " ".join(result.stderr.split())
    assert "readthedocs.io/classic" in result.stderr
    assert not Path("runs").exists()


def test_a_run_of_one_backend_is_not_resumed_by_the_other(call, trial):
    arguments = ["predict", MODEL, "--images", str(trial.frames), "--weights", str(trial.weights), "--out", "out"]
    assert call(*arguments, "--cfg-options", SMALL).exit_code == 0
    again = call(*arguments, "--cfg-options", SMALL)
    assert "holds this run already" in again.stderr
    other = call(*arguments, "--cfg-options", SMALL, "--backend", "mmdet2")
    assert other.exit_code == 1
    assert "backend: mmdet3 there, mmdet2 now" in " ".join(other.stderr.split())
