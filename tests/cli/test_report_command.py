"""The command report."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from documents import Document, check
from scenes import Inputs, make_inputs, record

pytest.importorskip("jinja2", reason="NOT TESTED: reports, as Jinja2 is not installed")
pytest.importorskip("matplotlib", reason="NOT TESTED: reports, as matplotlib is not installed")

from bdd100k_zoo.prediction.run import write_run


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return make_inputs(tmp_path / "data", frames=40)


def test_a_report_is_written_and_reported(call, inputs):
    result = call("report", *inputs.arguments, "--images", str(inputs.images), "--title", "Two detectors")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["AP", "AP", "report"]
    assert lines[2].split()[1] == "report.html"
    page = Document(Path("report.html").read_bytes())
    check(page)
    assert page.all("title")[0].words == "Two detectors"


def test_ap_and_intervals_are_those_of_eval(call, inputs):
    options = ["--confidence", "--resamples", "100", "--json"]
    told = msgspec.json.decode(call("report", *inputs.arguments, *options, "--out", "r.html").stdout)
    expected = msgspec.json.decode(call("eval", *inputs.arguments, *options).stdout)["results"]
    assert told["report"] == "r.html"
    assert told["bytes"] == Path("r.html").stat().st_size
    for run, other in zip(told["runs"], expected, strict=True):
        assert run["ap"] == other["scores"]["AP"]["OVERALL"]
        assert run["interval"] == [other["intervals"]["OVERALL"][end] for end in ("low", "high")]


def test_labels_without_objects_make_a_report_without_verdicts(call, inputs):
    labels = [{**frame, "labels": []} for frame in json.loads(inputs.labels.read_text())]
    inputs.labels.write_text(json.dumps(labels))
    result = call("report", *inputs.arguments, "--confidence", "--lenient")
    assert result.exit_code == 0, result.stderr
    page = Document(Path("report.html").read_bytes())
    check(page)
    words = page.all("main")[0].words
    assert "40 frames with 0 objects are too few to tell which is better" in words
    assert "is better beyond chance" not in words


def test_labels_are_found_below_the_datasets_root_and_runs_by_their_models(call, inputs, monkeypatch):
    root = Path("bdd")
    (root / "labels" / "det_20").mkdir(parents=True)
    (root / "labels" / "det_20" / "det_val.json").write_bytes(inputs.labels.read_bytes())
    monkeypatch.setenv("BDD100K_ROOT", str(root))
    result = call("report", "retinanet_r50_fpn_1x", "--runs", str(inputs.runs[0].parent))
    assert result.exit_code == 0, result.stderr
    assert "retinanet_r50_fpn_1x" in result.stdout


def test_names_from_files_cannot_drive_the_terminal(call, inputs):
    evil = "[bold]\x1b[2J\u202e<script>alert(1)</script>"
    write_run(inputs.runs[0], record(evil, 12))
    result = call("report", *inputs.arguments)
    assert result.exit_code == 0, result.stderr
    assert "[bold]" in result.stdout
    assert "\x1b" not in result.stdout + result.stderr
    assert "\u202e" not in result.stdout + result.stderr
    page = Document(Path("report.html").read_bytes())
    check(page)
    assert "<script>alert(1)</script>" in page.all("h1")[0].words


def test_names_of_frames_and_conditions_are_shown_in_the_page(call, tmp_path):
    evil = "<img src=x onerror=alert(1)>\u202e.jpg"
    hostile = make_inputs(tmp_path / "hostile", images=12, names=[evil])
    labels = json.loads(hostile.labels.read_text())
    for frame in labels:
        frame["attributes"]["weather"] = '"><script>alert(1)</script>'
    hostile.labels.write_text(json.dumps(labels))
    result = call("report", *hostile.arguments, "--images", str(hostile.images))
    assert result.exit_code == 0, result.stderr
    page = Document(Path("report.html").read_bytes())
    check(page)
    assert "<img src=x onerror=alert(1)>⟨U+202E⟩.jpg" in " ".join(each.words for each in page.all("figcaption"))
    assert '"><script>alert(1)</script>' in [each.words for each in page.all("th")]


def test_a_class_of_a_hostile_name_is_refused_in_plain_words(call, inputs):
    frames = json.loads((inputs.runs[0] / "det.json").read_text())
    frames[0]["labels"].append({**frames[1]["labels"][0], "category": "<b>\x1b[2J"})
    (inputs.runs[0] / "det.json").write_text(json.dumps(frames))
    result = call("report", *inputs.arguments)
    assert result.exit_code == 1
    assert "unknown category" in result.stderr
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        ([], 2, "Missing argument"),
        (["absent.json"], 1, "no labels of val"),
        (["absent.json", "--labels", "nowhere.json"], 1, "nowhere.json"),
        (["nonsense", "--labels", "nowhere.json"], 1, "no model 'nonsense'"),
    ],
)
def test_missing_inputs_are_one_message(call, arguments, status, told):
    result = call("report", *arguments)
    assert result.exit_code == status
    assert told in result.stderr
    assert "unexpected" not in result.stderr


def test_another_file_is_not_written_over(call, inputs):
    Path("notes.html").write_text("mine")
    result = call("report", *inputs.arguments, "--out", "notes.html")
    assert result.exit_code == 1
    assert "notes.html" in result.stderr
    assert "hint" in result.stderr
    assert Path("notes.html").read_text() == "mine"
