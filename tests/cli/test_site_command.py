"""The command site."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.evaluation.scores import SCORING_VERSION, StoredScores, fingerprint_file, write_stored_scores
from bdd100k_zoo.prediction.run import RunCounts, RunSeconds, WeightsUsed, parse_run, write_run

MODEL = "cascade_rcnn_r50_fpn_3x"


def run_of(folder: Path) -> None:
    """A finished run on val, with kept scores."""
    weights = WeightsUsed(
        path="w.pth",
        size=1,
        md5="0",
        sha256="0",
        verified=False,
        verified_by=None,
        unverified_because="no digest is recorded",
        address="https://weights.example/w.pth",
    )
    record = parse_run(
        {
            "model": MODEL,
            "config": "c.py",
            "config_sha256": "0",
            "cfg_options": {},
            "weights": weights,
            "backend": "mmdet3",
            "device": "cpu",
            "device_name": "cpu",
            "precision": "fp32",
            "ops": "torchvision",
            "versions": {},
            "split": "val",
            "image_roots": (),
            "counts": RunCounts(images=1, unreadable=0, detections=0),
            "seconds": RunSeconds(load=0, decode=0, detect=1, write=0, total=1),
            "unreadable": (),
            "started": "2030-01-02T03:04:05+00:00",
        }
    )
    write_run(folder, record)
    (folder / "det.json").write_text("[]")
    facts = fingerprint_file(folder / "det.json")
    scores = {"AP": dict.fromkeys(CLASSES, 30.5) | {"OVERALL": 33.725}}
    write_stored_scores(
        folder,
        StoredScores(
            predictions=facts, labels=facts, engine="fast", lenient=False, scores=scores, rules=SCORING_VERSION
        ),
    )


def test_site_prints_the_path_of_the_page(call) -> None:
    result = call("site", "--out", "public")
    assert result.exit_code == 0, result.stderr
    size = Path("public/index.html").stat().st_size
    assert result.stdout == f"site        public/index.html ({size:,} bytes)\n"
    assert result.stderr == ""


def test_site_as_json(call) -> None:
    document = json.loads(call("site", "--out", "public", "--json").stdout)
    size = Path("public/index.html").stat().st_size
    assert document == {"site": "public/index.html", "bytes": size, "models": 64, "left_out": []}


def test_scores_of_runs_and_recorded_speeds_are_shown(call) -> None:
    run_of(Path("runs", MODEL, "val"))
    record = {"model": MODEL, "device_name": "A \x1b[31mcard", "precision": "fp16", "images_per_second": 41.25}
    Path("speed.jsonl").write_text(json.dumps(record) + "\n")
    result = call("site", "--out", "public", "--runs", "runs", "--speed", "speed.jsonl")
    assert result.exit_code == 0, result.stderr
    page = Path("public/index.html").read_text(encoding="utf-8")
    assert 'data-value="33.725"' in page
    assert 'data-value="41.25"' in page
    assert "AP by class, measured on val" in page
    assert "\x1b" not in page


def test_every_run_that_is_left_out_is_named_with_the_reason(call) -> None:
    run_of(Path("runs", "shown"))
    run_of(Path("runs", "old", "val"))
    Path("runs", "old", "val", "det.json").write_text('[{"name": "a.jpg"}]')
    Path("runs", "broken").mkdir()
    Path("runs", "broken", "run.json").write_text("{}")
    Path("runs", "broken", "det.json").write_text("[]")
    record = {"model": "gone_1x", "device_name": "card", "precision": "fp16", "images_per_second": 41.25}
    Path("speed.jsonl").write_text((json.dumps(record) + "\n") + json.dumps({**record, "model": MODEL}) + "\n")
    asked = ["--runs", "runs", "--speed", "speed.jsonl"]
    reasons = {
        "broken": "its run.json is not a run record",
        "old/val": "its scores are of another det.json: `bdd100k-zoo eval` scores it again",
        "speed.jsonl, record 1": "its model gone_1x is not among those shown",
    }
    for command in (["site", "--out", "public"], ["table"], ["table", "--format", "csv"]):
        result = call(*command, *asked)
        assert result.exit_code == 0, result.stderr
        assert "left out" not in result.stdout
        assert result.stderr.count("left out ") == len(reasons)
        for name, reason in reasons.items():
            assert f"left out {name}: {reason}" in result.stderr
    assert "left out" not in call("--quiet", "table", *asked).stderr
    for command in (["site", "--out", "public", "--json"], ["table", "--format", "json"]):
        found = json.loads(call(*command, *asked).stdout)["left_out"]
        assert [each["name"] for each in found] == list(reasons)
        assert all(each["reason"].startswith(reasons[each["name"]]) for each in found)
    page = Path("public/index.html").read_text(encoding="utf-8")
    assert "Not on this page: 3 of the runs and speed records" in page
    assert "<bdi>old/val</bdi>: its scores are of another det.json" in page


def test_another_page_is_refused_with_a_hint(call) -> None:
    Path("public").mkdir()
    Path("public/index.html").write_text("mine")
    result = call("site", "--out", "public")
    assert result.exit_code == 1
    assert "public/index.html" in result.stderr
    assert "choose another folder" in result.stderr


def test_models_of_another_zoo_file_are_on_the_page(call, write_zoo) -> None:
    result = call("--zoo", str(write_zoo("mine_7x")), "site", "--out", "public")
    assert result.exit_code == 0, result.stderr
    page = Path("public/index.html").read_text(encoding="utf-8")
    assert '<article class="card" id="mine_7x"' in page


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x"])
def test_a_zoo_file_whose_addresses_are_scripts_is_refused(call, write_zoo, address) -> None:
    file = write_zoo()
    file.write_text(file.read_text().replace("predictions: null", f'predictions: "{address}"'))
    result = call("--zoo", str(file), "site", "--out", "public")
    assert result.exit_code == 1
    assert not Path("public").exists()


@pytest.mark.parametrize(("package", "named"), [("jinja2", "Jinja2"), ("matplotlib", "matplotlib")])
def test_a_missing_extra_is_reported_with_its_install_command(call, monkeypatch, package, named) -> None:
    from bdd100k_zoo.reporting import page

    page._environment.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    result = call("site", "--out", "public")
    assert result.exit_code == 1
    assert named in result.stderr
    assert "pip install 'bdd100k-zoo[report]'" in result.stderr
    assert not Path("public").exists()


def test_out_is_required(call) -> None:
    assert call("site").exit_code == 2
