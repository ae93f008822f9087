"""eval as a user sees it: a dataset root, runs, and the official scores of one frozen case."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from scenes import make_inputs

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.prediction.run import RunCounts, RunRecord, RunSeconds, WeightsUsed, parse_run, write_run

CASE = Path(__file__).resolve().parents[1] / "data" / "official" / "case_1022.json.gz"
MODEL = "cascade_rcnn_r50_fpn_3x"


def record(model: str, split: str | None, images: int, **weights_are: Any) -> RunRecord:
    """Return the record of a run."""
    weights = WeightsUsed(
        path="w.pth",
        size=1,
        md5="0" * 32,
        sha256="0" * 64,
        verified=False,
        verified_by=None,
        unverified_because="made up",
        **({"address": "https://weights.example/w.pth"} | weights_are),
    )
    return parse_run(
        {
            "model": model,
            "config": "c.py",
            "config_sha256": "0" * 64,
            "cfg_options": {},
            "weights": weights,
            "backend": "mmdet3",
            "device": "cpu",
            "device_name": "cpu",
            "precision": "fp32",
            "ops": "torchvision",
            "versions": {},
            "split": split,
            "image_roots": ("images",),
            "counts": RunCounts(images=images, unreadable=0, detections=0),
            "seconds": RunSeconds(load=0, decode=0, detect=0, write=0, total=0),
            "unreadable": (),
            "started": "2026-01-01T00:00:00+00:00",
        }
    )


class Dataset:
    """Labels of val below a root, official scores, and runs below runs/."""

    def __init__(self) -> None:
        self.case = json.loads(gzip.decompress(CASE.read_bytes()))
        self.root = Path("bdd")
        self.labels = self.root / "labels" / "det_20" / "det_val.json"
        self.labels.parent.mkdir(parents=True)
        self.labels.write_text(json.dumps(self.case["labels"]))
        found = {frame["name"]: frame for frame in self.case["predictions"]}
        empty = {"labels": []}
        self.predictions = [found.get(frame["name"], {**empty, "name": frame["name"]}) for frame in self.case["labels"]]

    def run(self, model: str = MODEL, split: str | None = "val", share: float = 1.0, **weights_are: bool) -> Path:
        """Write a run with a share of the predictions of each frame."""
        folder = Path("runs", model, split or "images-frames")
        folder.mkdir(parents=True)
        frames = [
            {**frame, "labels": (frame["labels"] or [])[: int(len(frame["labels"] or []) * share)]}
            for frame in self.predictions
        ]
        (folder / "det.json").write_text(json.dumps(frames))
        write_run(folder, record(model, split, len(frames), **weights_are))
        return folder


@pytest.fixture
def dataset() -> Dataset:
    return Dataset()


def overall(case: dict, metric: str) -> str:
    return f"{case['official'][metric][1]['OVERALL']:.2f}"


def test_every_run_of_the_split_is_scored_beside_the_published_ap(call, dataset, monkeypatch):
    dataset.run()
    dataset.run("retinanet_r50_fpn_1x", share=0.5)
    dataset.run("fcos_r50_fpn_1x", split="test")
    monkeypatch.setenv("BDD100K_ROOT", str(dataset.root))
    result = call("eval", "--split", "val", "--lenient")
    assert result.exit_code == 0, result.stderr
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if "_fpn_" in line}
    assert set(rows) == {MODEL, "retinanet_r50_fpn_1x"}
    ap = overall(dataset.case, "AP")
    assert rows[MODEL][:6] == [overall(dataset.case, name) for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")]
    assert rows[MODEL][6] == "33.72"
    assert float(rows[MODEL][7]) == pytest.approx(float(ap) - 33.72, abs=0.011)
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_run_with_limits_is_scored_with_a_line_that_the_official_numbers_need_the_defaults(call, dataset):
    folder = dataset.run()
    made = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(made | {"min_score": 0.3, "classes": ["car", "bus"]}))
    result = call("eval", MODEL, "--data", str(dataset.root), "--lenient")
    assert result.exit_code == 0, result.stderr
    line = f"{folder / 'det.json'} was made with min_score 0.3, classes car, bus; the official numbers need a run with"
    assert result.stderr.splitlines()[0] == f"{line} the defaults"
    assert f"{MODEL} (with" in result.stdout
    assert "33.72" not in result.stdout
    document = json.loads(call("eval", MODEL, "--data", str(dataset.root), "--lenient", "--json").stdout)
    (found,) = document["results"]
    assert (found["name"], found["published_ap"]) == (f"{MODEL} (with limits)", None)


def test_one_file_gets_the_official_table_and_the_official_file(call, dataset):
    folder = dataset.run()
    result = call("eval", MODEL, "--data", str(dataset.root), "--out", "scores.json", "--lenient")
    assert result.exit_code == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith(("OVERALL", "traffic light"))]
    assert [len(row) for row in rows] == [14, 13]
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert Path("scores.json").read_text() == json.dumps(dataset.case["official"], indent=2)
    assert (folder / "scores.json").is_file()


def test_scores_intervals_and_conditions_need_no_hotcoco(call, dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    dataset.run()
    options = ["--lenient", "--confidence", "--resamples", "100", "--by", "weather"]
    result = call("eval", MODEL, "--data", str(dataset.root), "--out", "scores.json", *options)
    assert result.exit_code == 0, result.stderr
    assert Path("scores.json").read_text() == json.dumps(dataset.case["official"], indent=2)


def test_stored_scores_are_used_until_a_file_changes(call, dataset):
    folder = dataset.run()
    arguments = ["eval", MODEL, "--data", str(dataset.root), "--lenient"]
    assert "scoring" in call(*arguments).stderr
    again = call(*arguments)
    assert "scoring" not in again.stderr
    assert overall(dataset.case, "AP") in again.stdout
    frames = json.loads((folder / "det.json").read_text())
    (folder / "det.json").write_text(json.dumps([{**frame, "labels": []} for frame in frames]))
    changed = call(*arguments)
    assert "scoring" in changed.stderr
    assert f"{MODEL} {overall(dataset.case, 'AP')}" not in re.sub(" +", " ", changed.stdout)


def test_accepted_issues_are_reported_again_with_stored_scores(call, dataset):
    folder = dataset.run()
    frames = json.loads((folder / "det.json").read_text())
    (folder / "det.json").write_text(json.dumps([*frames, {"name": "stranger.jpg", "labels": []}]))
    arguments = ["eval", MODEL, "--data", str(dataset.root), "--lenient"]
    outputs = [call(*arguments).stderr for _ in range(2)]
    assert ["scoring" in each for each in outputs] == [True, False]
    assert all("accepted: " in each and "stranger.jpg" in each for each in outputs)


def test_folders_of_labels_and_predictions_score_as_their_files(call, dataset):
    for name, frames in (("labels", dataset.case["labels"]), ("det", dataset.predictions)):
        Path(name).mkdir()
        for place, frame in enumerate(frames):
            Path(name, f"{place}.json").write_text(json.dumps([frame]))
    result = call("eval", "det", "--labels", "labels", "--lenient", "--out", "scores.json")
    assert result.exit_code == 0, result.stderr
    assert Path("scores.json").read_text() == json.dumps(dataset.case["official"], indent=2)


def test_the_scores_of_several_files_go_into_no_single_one(call, dataset):
    folder = dataset.run()
    shutil.copy(folder / "det.json", "other.json")
    files = [str(folder / "det.json"), "other.json"]
    result = call("eval", *files, "--data", str(dataset.root), "--lenient", "--out", "scores.json")
    assert result.exit_code == 2
    assert "--out holds the scores of one predictions file" in result.stderr
    assert not Path("scores.json").exists()


def test_another_file_in_the_folder_of_a_run_does_not_change_the_stored_scores(call, dataset):
    folder = dataset.run()
    assert call("eval", MODEL, "--data", str(dataset.root), "--lenient").exit_code == 0
    stored = (folder / "scores.json").read_bytes()
    shutil.copy(folder / "det.json", folder / "other.json")
    assert call("eval", str(folder / "other.json"), "--data", str(dataset.root), "--lenient").exit_code == 0
    assert (folder / "scores.json").read_bytes() == stored


def test_intervals_are_stored_with_the_scores(call, dataset):
    dataset.run()
    arguments = ["eval", MODEL, "--data", str(dataset.root), "--lenient", "--confidence", "--resamples", "100"]
    first = call(*arguments)
    again = call(*arguments)
    assert "scoring" in first.stderr
    assert "scoring" not in again.stderr
    assert again.stdout == first.stdout
    assert "scoring" in call(*arguments[:-1], "101").stderr


def test_table_shows_measured_beside_published_scores(call, dataset):
    assert "holds no run with scores" in call("table", "--runs", "runs").stderr
    folder = dataset.run()
    assert call("eval", "--data", str(dataset.root), "--lenient").exit_code == 0
    text = call("table", "--runs", "runs", "--family", "cascade_rcnn").stdout
    header, _, *rows = text.splitlines()[2:]
    assert header.split(" | ")[3:5] == ["Box AP-val", "Measured AP-val"]
    measured = [row.split(" | ")[4].strip() for row in rows]
    assert measured == ["", overall(dataset.case, "AP"), ""]
    csv = call("table", "--runs", "runs", "--format", "csv").stdout
    assert csv.splitlines()[0].endswith(",measured_ap_val")
    (folder / "det.json").write_text("[]")
    assert call("table", "--runs", "runs").exit_code == 1


@pytest.mark.parametrize(
    ("weights_are", "label"),
    [({"published": False}, "own weights"), ({"address": None}, "own weights"), ({"random": True}, "random weights")],
)
def test_a_score_of_other_weights_is_never_shown_as_that_of_the_model(call, dataset, weights_are, label):
    dataset.run(**weights_are)
    name = f"{MODEL} ({label})"
    arguments = ["eval", MODEL, "--data", str(dataset.root), "--lenient"]
    (result,) = msgspec.json.decode(call(*arguments, "--json").stdout)["results"]
    assert (result["name"], result["model"]) == (name, MODEL)
    assert (result["published_ap"], result["difference"]) == (None, None)
    message = call("table", "--runs", "runs")
    assert message.exit_code == 1
    assert "holds no run with scores" in message.stderr
    assert "holds no run with scores" in call("site", "--out", "site", "--runs", "runs").stderr
    assert (
        call("report", f"runs/{MODEL}/val", "--data", str(dataset.root), "--lenient", "--out", "r.html").exit_code == 0
    )
    page = Path("r.html").read_text()
    assert name in page
    assert f"{label}, not the published ones" in page
    assert "published 33.72" not in page


def test_a_score_of_the_published_weights_is_shown_and_one_of_other_weights_is_not(call, dataset):
    dataset.run(published=True)
    dataset.run("retinanet_r50_fpn_1x", published=False)
    assert call("eval", "--data", str(dataset.root), "--lenient").exit_code == 0
    rows = [line.split(",") for line in call("table", "--runs", "runs", "--format", "csv").stdout.splitlines()]
    measured = {row[rows[0].index("name")]: row[-1] for row in rows[1:]}
    assert {name for name, ap in measured.items() if ap} == {MODEL}


def test_json_is_complete_and_has_no_nan(call, dataset):
    dataset.run()
    shutil.copytree(Path("runs", MODEL), Path("runs", "copy"))
    arguments = ["eval", f"runs/{MODEL}/val", "runs/copy/val/det.json", "--data", str(dataset.root), "--lenient"]
    result = call(*arguments, "--confidence", "--resamples", "100", "--by", "weather", "--json")
    assert result.exit_code == 0, result.stderr
    document = msgspec.json.decode(result.stdout)
    first, second = document["results"]
    assert first["scores"]["AP"]["OVERALL"] == dataset.case["official"]["AP"][1]["OVERALL"]
    assert first["published_ap"] == 33.72
    assert set(first["intervals"]["OVERALL"]) == {"frames", "objects", "low", "high"}
    assert first["intervals"]["OVERALL"]["frames"] == len(dataset.case["labels"])
    assert sum(value["frames"] for value in first["conditions"].values()) == len(dataset.case["labels"])
    assert second["scores"] == first["scores"]
    assert all(value.keys() == {"frames", "objects", "scores"} for value in first["conditions"].values())
    assert sum(value["objects"] for value in first["conditions"].values()) == first["intervals"]["OVERALL"]["objects"]


def test_few_frames_give_neither_intervals_nor_a_verdict(call, dataset):
    """The case has fewer than 30 frames: the difference is printed without a verdict."""
    folder = dataset.run()
    dataset.run("retinanet_r50_fpn_1x", share=0.2)
    frames = len(dataset.case["labels"])
    arguments = ["eval", MODEL, "retinanet_r50_fpn_1x", "--data", str(dataset.root), "--lenient", "--confidence"]
    text = call(*arguments).stdout
    assert f"{MODEL} minus retinanet_r50_fpn_1x: +" in text
    assert f"{frames} frames with " in text
    assert "are too few to tell which is better (at least 30 frames and 30 objects)" in text
    assert "beyond chance" not in text
    assert not re.search(r"\d to ", text)
    document = msgspec.json.decode(call(*arguments, "--json").stdout)
    for interval in (*document["results"][0]["intervals"].values(), *document["comparisons"]):
        assert (interval["low"], interval["high"]) == (None, None)
        assert interval["frames"] <= frames
    stored = msgspec.json.decode((folder / "scores.json").read_bytes())["bootstrap"]["intervals"]
    assert stored == document["results"][0]["intervals"]


def test_labels_without_objects_allow_no_comparison(call, tmp_path):
    inputs = make_inputs(tmp_path / "data", frames=40, images=0)
    labels = [{**frame, "labels": []} for frame in json.loads(inputs.labels.read_text())]
    inputs.labels.write_text(json.dumps(labels))
    result = call("eval", *inputs.arguments, "--confidence", "--json", "--lenient")
    assert result.exit_code == 0, result.stderr
    assert "NaN" not in result.stdout
    assert msgspec.json.decode(result.stdout)["comparisons"] == []
    assert " minus " not in call("eval", *inputs.arguments, "--confidence").stdout


def test_confidence_shows_which_file_is_better_and_the_numbers_of_frames_and_objects(call, tmp_path):
    inputs = make_inputs(tmp_path / "data", frames=45, images=0)
    labels = json.loads(inputs.labels.read_text())
    for place, frame in enumerate(labels):
        frame["attributes"]["weather"] = "foggy" if place == 0 else "clear"
        frame["labels"] += [{**frame["labels"][0], "id": "car", "category": "car"}]
    inputs.labels.write_text(json.dumps(labels))
    worse = inputs.runs[1] / "det.json"
    worse.write_text(json.dumps([{**each, "labels": each["labels"][:2]} for each in json.loads(worse.read_text())]))
    options = ["--confidence", "--resamples", "100", "--by", "weather"]
    text = call("eval", *inputs.arguments, *options).stdout
    assert re.search(r"faster_rcnn_r50_fpn_1x minus retinanet_r50_fpn_1x: \+.*faster_rcnn_r50_fpn_1x is better", text)
    objects = {name: sum(each["category"] == name for frame in labels for each in frame["labels"]) for name in CLASSES}
    rows = {line.split("  ")[0].strip(): line.split() for line in text.splitlines() if line.strip()}
    frames = sum(any(each["category"] == "bus" for each in frame["labels"]) for frame in labels)
    assert objects["bus"] < 30
    assert rows["bus"][1:] == [str(frames), str(objects["bus"]), *["too", "few"] * 2]
    assert re.fullmatch(rf"45 {objects['car']} [\d.]+ to [\d.]+ [\d.]+ to [\d.]+", " ".join(rows["car"][1:]))
    assert rows["OVERALL"][1:3] == ["45", str(sum(objects.values()))]
    assert rows["foggy"][1:3] == ["1", str(len(labels[0]["labels"]))]
    assert "each on its own" in text
    document = msgspec.json.decode(call("eval", *inputs.arguments, *options, "--json").stdout)
    (comparison,) = document["comparisons"]
    assert 0 < comparison["low"] <= comparison["difference"] <= comparison["high"]
    assert (comparison["frames"], comparison["objects"]) == (45, sum(objects.values()))
    intervals = document["results"][0]["intervals"]
    assert {name for name, each in intervals.items() if each["low"] is not None} >= {"car", "OVERALL"}
    assert all((each["low"] is not None) == (each["frames"] >= 30) for name, each in intervals.items())


def test_a_run_without_a_split_is_scored_if_its_frames_are_the_labelled_ones(call, dataset):
    dataset.run(split=None)
    result = call("eval", "--data", str(dataset.root), "--lenient")
    assert result.exit_code == 0, result.stderr
    assert overall(dataset.case, "AP") in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ([], "no labels of val", "--labels"),
        (["--data", "nowhere"], "det_val.json", "bdd100k.com"),
        (["--data", "bdd"], "holds no run on val", "predict MODEL --split val"),
        (["fcos_r50_fpn_1x", "--data", "bdd"], "holds no run of fcos_r50_fpn_1x", "predict"),
        (["nonsense", "--data", "bdd"], "no model 'nonsense'", "list"),
        (["absent.json", "--data", "bdd"], "absent.json", "check that the path exists"),
        (["bdd/labels/det_20/det_val.json", "--data", "bdd"], "det_val.json", ""),
    ],
)
def test_a_missing_or_wrong_input_is_reported_in_one_message(call, dataset, arguments, message, hint):
    result = call("eval", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert hint in result.stderr
    assert "unexpected" not in result.stderr


def test_a_strict_error_names_file_frame_and_label(call, dataset):
    folder = dataset.run()
    frames = json.loads((folder / "det.json").read_text())
    frames[-1]["labels"] = [
        {"id": "7", "category": "lorry", "score": 0.5, "box2d": {"x1": 0, "y1": 0, "x2": 1, "y2": 1}}
    ]
    (folder / "det.json").write_text(json.dumps(frames))
    result = call("eval", MODEL, "--data", str(dataset.root))
    assert result.exit_code == 1
    for word in (str(folder / "det.json"), frames[-1]["name"], "7", "lorry"):
        assert str(word) in result.stderr


def test_published_predictions_are_fetched_and_scored(call, dataset, served, write_zoo):
    (served.folder / "det.json").write_text(json.dumps(dataset.predictions))
    zoo = write_zoo("mine_1x")
    zoo.write_text(zoo.read_text().replace("predictions: null", f"predictions: {served.address}/det.json"))
    arguments = ["--zoo", str(zoo), "eval", "mine_1x", "--published", "--data", str(dataset.root), "--lenient"]
    result = call(*arguments)
    assert result.exit_code == 0, result.stderr
    assert "mine_1x (published, unverified)" in result.stdout
    assert overall(dataset.case, "AP") in result.stdout


def test_the_official_engine_needs_its_extra_or_agrees(call, dataset):
    dataset.run()
    result = call("eval", MODEL, "--data", str(dataset.root), "--engine", "official")
    if result.exit_code:
        assert "bdd100k-zoo[official]" in result.stderr
    else:
        assert overall(dataset.case, "AP") in result.stdout


def test_coco_results_and_labels_score_the_same(call, dataset):
    folder = dataset.run()
    assert call("convert", str(dataset.labels), "--out", "coco_labels.json", "--to", "coco").exit_code == 0
    converted = call(
        "convert", str(folder / "det.json"), "--to", "coco", "--labels", "coco_labels.json", "--out", "coco.json"
    )
    assert converted.exit_code == 0, converted.stderr
    result = call("eval", "coco.json", "--labels", "coco_labels.json", "--lenient", "--out", "scores.json")
    assert result.exit_code == 0, result.stderr
    assert Path("scores.json").read_text() == json.dumps(dataset.case["official"], indent=2)


BOX = {"x1": 10, "y1": 20, "x2": 50, "y2": 60}


def evaluated(call, predictions, *options, labels=None, expect=0):
    """Score predictions of the frames a.jpg and b.jpg, of which a.jpg has one car."""
    truth = [{"name": "a.jpg", "labels": [{"id": 1, "category": "car", "box2d": BOX}]}, {"name": "b.jpg"}]
    Path("labels.json").write_text(json.dumps(truth if labels is None else labels))
    Path("det.json").write_text(json.dumps(predictions))
    result = call("eval", "det.json", "--labels", "labels.json", "--json", *options)
    assert result.exit_code == expect, result.output
    return json.loads(result.stdout)


def scored(*labels):
    return [{"name": "a.jpg", "labels": list(labels)}, {"name": "b.jpg", "labels": []}]


@pytest.mark.parametrize("name", ["a.jpg", "a"])
def test_flat_predictions_are_scored_and_images_without_a_box_are_reported(call, name):
    flat = [{"name": name, "timestamp": 1, "category": "car", "bbox": [10, 20, 50, 60], "score": 0.5}]
    (result,) = evaluated(call, flat)["results"]
    whole = {"id": 1, "category": "car", "score": 0.5, "box2d": BOX}
    assert result["scores"] == evaluated(call, scored(whole))["results"][0]["scores"]
    assert result["scores"]["AP"]["OVERALL"] == pytest.approx(100)
    (message,) = result["let_through"]
    assert (message["kind"], message["count"]) == ("frames without predictions", 1)
    assert "b.jpg" in message["examples"][0]


def test_flat_predictions_of_unknown_frames_are_an_error(call):
    flat = [{"name": "z.jpg", "category": "car", "bbox": [10, 20, 50, 60], "score": 0.5}]
    assert "not in the labels: z.jpg" in evaluated(call, flat, expect=1)["error"]


@pytest.mark.parametrize("predictions", [scored(), [], {"frames": scored()}])
def test_predictions_without_a_box_are_an_error_unless_lenient(call, predictions):
    document = evaluated(call, predictions, expect=1)
    assert "det.json: holds no box" in document["error"]
    assert "--lenient" in document["hint"]
    (result,) = evaluated(call, predictions, "--lenient")["results"]
    assert result["scores"]["AP"]["OVERALL"] == 0
    assert "files without a box" in [message["kind"] for message in result["let_through"]]


NORMAL = {"x1": 0.1, "y1": 0.2, "x2": 0.5, "y2": 0.6}


@pytest.mark.parametrize(
    ("predictions", "problem"),
    [
        (scored(), "holds no box"),
        (scored({"id": 1, "category": "car", "score": 0.5, "box2d": NORMAL}), "all boxes lie within 0 to 1"),
        ([{"name": "a.jpg", "category": "car", "bbox": [10, 20, 50, 60], "score": 0.5}], "flat predictions"),
    ],
)
def test_the_official_engine_refuses_files_that_it_would_silently_score_0(call, predictions, problem):
    document = evaluated(call, predictions, "--engine", "official", expect=1)
    assert problem in document["error"]


def test_stored_scores_of_an_older_version_are_not_used(call, dataset):
    folder = dataset.run()
    arguments = ["eval", MODEL, "--data", str(dataset.root), "--lenient"]
    first = call(*arguments)
    stored = json.loads((folder / "scores.json").read_text())
    assert "scoring" not in call(*arguments).stderr
    (folder / "scores.json").write_text(json.dumps({**stored, "rules": 1}))
    again = call(*arguments)
    assert "scoring" in again.stderr
    assert again.stdout == first.stdout


def test_labels_without_a_box_are_an_error_unless_lenient(call):
    found = scored({"id": 1, "category": "car", "score": 0.5, "box2d": BOX})
    empty = [{"name": "a.jpg", "labels": []}, {"name": "b.jpg"}]
    assert "labels.json: holds no box" in evaluated(call, found, labels=empty, expect=1)["error"]
    (result,) = evaluated(call, found, "--lenient", labels=empty)["results"]
    assert result["scores"]["AP"]["OVERALL"] is None


@pytest.mark.parametrize("which", ["predictions", "labels", "results"])
def test_boxes_that_are_not_in_pixels_are_an_error_unless_lenient(call, which):
    normalised = {"x1": 0.1, "y1": 0.2, "x2": 0.5, "y2": 1.0}
    small = {"id": 1, "category": "car", "score": 0.5, "box2d": normalised}
    predictions, labels = scored(small), None
    if which == "labels":
        predictions = scored({"id": 1, "category": "car", "score": 0.5, "box2d": BOX})
        labels = [{"name": "a.jpg", "labels": [{"id": 1, "category": "car", "box2d": normalised}]}, {"name": "b.jpg"}]
    if which == "results":
        predictions = [{"image_id": 1, "category_id": 3, "bbox": [0.1, 0.2, 0.4, 0.8], "score": 0.5}]
    error = evaluated(call, predictions, labels=labels, expect=1)["error"]
    assert "all boxes lie within 0 to 1: expected pixels" in error
    assert ("labels.json" if which == "labels" else "det.json") in error
    (result,) = evaluated(call, predictions, "--lenient", labels=labels)["results"]
    assert result["scores"]["AP"]["OVERALL"] == 0
    assert "files whose boxes all lie within 0 to 1" in [message["kind"] for message in result["let_through"]]


def test_boxes_that_are_not_finite_are_scored_and_reported_when_lenient(call):
    odd = {"id": 1, "category": "car", "score": 0.9, "box2d": BOX | {"x2": float("nan")}}
    whole = {"id": 2, "category": "car", "score": 0.5, "box2d": BOX}
    assert "box2d.x2 is not a finite number: nan" in evaluated(call, scored(odd, whole), expect=1)["error"]
    (result,) = evaluated(call, scored(odd, whole), "--lenient")["results"]
    # Its overlap is NaN, which is below no threshold: it takes the car, and the other box finds none left.
    assert result["scores"]["AP"]["car"] == pytest.approx(100)
    assert result["scores"]["AR1"]["car"] == pytest.approx(100)
    assert "corners that are not finite" in [message["kind"] for message in result["let_through"]]


@pytest.mark.parametrize(
    "predictions",
    [
        scored({"id": 1, "category": "lane", "score": 0.5, "box2d": BOX}),
        scored({"id": 1, "category": "car", "score": 0.5, "box2d": {"x1": None}}),
        [{"name": "b.jpg"}, {"labels": []}],
    ],
)
def test_a_hint_does_not_suggest_leniency_where_that_does_not_help(call, predictions):
    for options in ((), ("--lenient",)):
        document = evaluated(call, predictions, *options, expect=1)
        assert document["hint"]
        assert "lenient" not in document["hint"]


def test_a_hint_suggests_leniency_where_that_helps(call):
    predictions = scored({"id": 1, "category": "car", "score": 0.5, "box2d": {**BOX, "x2": 0}})
    assert "--lenient" in evaluated(call, predictions, expect=1)["hint"]
    assert evaluated(call, predictions, "--lenient")["results"]


def test_a_hint_of_a_command_without_leniency_does_not_suggest_it(call):
    Path("det.json").write_text(json.dumps([{"labels": []}, {"name": "a.jpg"}]))
    result = call("show", "det.json", "--images", ".", "--out", "out", "--json")
    assert result.exit_code == 1
    assert "has no name" in json.loads(result.stdout)["error"]
    assert "lenient" not in json.loads(result.stdout)["hint"]
