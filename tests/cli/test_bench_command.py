"""bench as a user sees it, with a real model that is given small images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SMALL = """
_base_ = ["bdd100k_zoo::faster_rcnn_r50_fpn_1x_det_bdd100k.py"]
model = dict(test_cfg=dict(rpn=dict(max_per_img=20)))
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(160, 96), keep_ratio=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]))
"""


@pytest.fixture
def measure(call, write_zoo):
    """Measure a small model."""
    zoo = str(write_zoo("mine", config=SMALL))
    return lambda *arguments: call("--zoo", zoo, "bench", "mine", "--device", "cpu", "--images", "2", *arguments)


def test_speed_is_told_beside_that_of_mmdets_own_loop_recorded_and_shown_in_a_table(call, measure, write_zoo):
    result = measure("--against-mmdet", "--record", "out/speed.jsonl")
    assert result.exit_code == 0, result.stderr
    labels = [line.split()[0] for line in result.stdout.splitlines()]
    assert labels == ["speed", "mmdet", "ratio", "an", "device", "versions"]
    assert "in 5 rounds of 2 images" in result.stdout
    (line,) = Path("out/speed.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert (record["model"], record["device"], record["batch_size"], record["images"]) == ("mine", "cpu", 1, 2)
    assert len(record["rates"]) == len(record["against"]["rates"]) == 5
    assert min(record["rates"]) > 0
    assert set(record["seconds"]) == {"decode", "prepare", "detect"}
    assert all(record["seconds"].values())
    assert 0 < record["busy"] <= 1
    assert set(record["versions"]) >= {"bdd100k-zoo", "python", "torch", "mmdet"}
    assert "s/image" in result.stdout or "images/s" in result.stdout
    table = call("--zoo", str(write_zoo("mine", config=SMALL)), "table", "--speed", "out/speed.jsonl")
    assert f"img/s ({record['device_name']}, fp32)" in table.stdout


def test_json_is_the_record_and_nothing_is_written_unasked(measure, tmp_path):
    before = sorted(path.name for path in tmp_path.iterdir())
    result = measure("--json", "--batch-size", "2")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert (record["batch_size"], record["against"]) == (2, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_device_that_is_not_there_is_told_with_a_hint(measure):
    result = measure("--device", "cuda:99")
    assert result.exit_code == 1
    assert "'cuda:99' cannot be used" in result.stderr
    assert "hint: " in result.stderr


@pytest.mark.parametrize("option", ["--images", "--batch-size"])
def test_none_at_all_is_wrong_usage(measure, option):
    assert measure(option, "0").exit_code == 2
