"""Speed records: appended one by one, and read as far as tables show them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bdd100k_zoo.errors import InvalidFileError, StorageError
from bdd100k_zoo.evaluation.runs import read_measured_speeds
from bdd100k_zoo.prediction.speeds import (
    Machine,
    Speed,
    SpeedSummary,
    add_speed,
    check_speed_file,
    read_speed_summaries,
)

if TYPE_CHECKING:
    from pathlib import Path


def speed(**changes: Any) -> Speed:
    facts: dict[str, Any] = {
        "model": "fcos_r50_fpn_1x",
        "device": "cuda:0",
        "device_name": "H100",
        "precision": "fp32",
        "batch_size": 8,
        "images": 64,
        "images_per_second": 101.5,
        "rates": (100.0, 101.5, 103.0),
        "seconds": {"decode": 0.002},
        "busy": 0.98,
        "against": None,
        "machine": Machine(processor="some", cores=16, threads=16, platform="Linux"),
        "versions": {"torch": "3"},
        "commit": None,
        "time": "2030-01-02T03:04:05+00:00",
    }
    return Speed(**(facts | changes))


def test_records_are_added_one_a_line_and_read_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "speed.jsonl"
    add_speed(path, speed())
    add_speed(path, speed(model="retinanet_r50_fpn_1x", images_per_second=7.5))
    lines = path.read_text().splitlines()
    assert [json.loads(line)["images_per_second"] for line in lines] == [101.5, 7.5]
    assert read_speed_summaries(path) == [
        SpeedSummary("fcos_r50_fpn_1x", "H100", "fp32", 101.5),
        SpeedSummary("retinanet_r50_fpn_1x", "H100", "fp32", 7.5),
    ]


def test_devices_and_precisions_are_kept_apart_and_the_last_record_of_a_model_counts(tmp_path: Path) -> None:
    path = tmp_path / "speed.jsonl"
    for changes in (
        {"images_per_second": 1.0},
        {"precision": "fp16", "images_per_second": 2.0},
        {"device_name": "a\x1b[2J\nb", "images_per_second": 3.0},
        {"model": "gone_1x"},
        {"images_per_second": 4.0},
        {"precision": "fp16", "images_per_second": 2.5},
    ):
        add_speed(path, speed(**changes))
    speeds, left_out = read_measured_speeds(path, {"fcos_r50_fpn_1x"})
    assert speeds == {
        "(H100, fp32)": {"fcos_r50_fpn_1x": 4.0},
        "(H100, fp16)": {"fcos_r50_fpn_1x": 2.5},
        "(a [2J b, fp32)": {"fcos_r50_fpn_1x": 3.0},
    }
    assert list(map(str, left_out)) == [
        "speed.jsonl, record 1: a later record is shown for fcos_r50_fpn_1x (H100, fp32)",
        "speed.jsonl, record 2: a later record is shown for fcos_r50_fpn_1x (H100, fp16)",
        "speed.jsonl, record 4: its model gone_1x is not among those shown",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no speed record"),
        (b"\n \n", "holds no speed record"),
        (b"{}", "line 1 is not a speed record"),
        (b'\n{"model": "x"}\n', "line 2 is not a speed record"),
        (b"\xff", "line 1 is not a speed record"),
        (b"[" * 100_000, "line 1 is not a speed record"),
    ],
)
def test_what_is_no_record_is_reported_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "speed.jsonl").write_bytes(content)
    with pytest.raises(InvalidFileError, match=message):
        read_speed_summaries(tmp_path / "speed.jsonl")


def test_a_file_that_cannot_be_read_or_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        read_speed_summaries(tmp_path / "gone")
    with pytest.raises(StorageError):
        add_speed(tmp_path, speed())
    with pytest.raises(StorageError):
        check_speed_file(tmp_path)


def test_a_place_for_records_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    check_speed_file(tmp_path / "new" / "speed.jsonl")
    assert list((tmp_path / "new").iterdir()) == []
    add_speed(tmp_path / "speed.jsonl", speed())
    before = (tmp_path / "speed.jsonl").read_bytes()
    check_speed_file(tmp_path / "speed.jsonl")
    assert (tmp_path / "speed.jsonl").read_bytes() == before
    (tmp_path / "empty").touch()
    check_speed_file(tmp_path / "empty")
    assert (tmp_path / "empty").exists()
