"""Boxes by class and size."""

from __future__ import annotations

import subprocess
import sys

from PIL import Image

from bdd100k_zoo.data.scalabel import Box2D, Label, LabelFrame
from tools.scenes.dataset import count, report


def frame(*boxes: tuple[str, float, float]) -> LabelFrame:
    labels = [
        Label(str(i), name, box2d=Box2D(10, 20, 10 + wide - 1, 20 + high - 1))
        for i, (name, wide, high) in enumerate(boxes)
    ]
    return LabelFrame("a.jpg", given_labels=(*labels, Label("lane", "lane/single white")))


def test_sizes_are_those_of_the_evaluation_which_counts_the_last_pixel():
    census = count([frame(("car", 32, 32), ("car", 31, 33), ("bus", 7, 8)), frame()])
    assert (census.frames, census.total) == (2, 3)
    assert census.by_class["car"] == (0, 0, 1, 1, 0, 0, 0)
    assert census.by_class["bus"] == (1, 0, 0, 0, 0, 0, 0)
    assert census.small == 2 / 3


def test_no_frames_have_a_report_too():
    assert "0 frames, 0.0 boxes a frame" in report([])


def test_a_sheet_of_scenes_is_one_image(tmp_path):
    command = [sys.executable, "-m", "tools.scenes", "--sheet", str(tmp_path / "sheet.jpg"), "--count", "4"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""
    with Image.open(tmp_path / "sheet.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (1278, 480))


def test_the_command_reports_files_that_it_must_not_overwrite(tmp_path):
    (tmp_path / "labels" / "det_20").mkdir(parents=True)
    (tmp_path / "labels" / "det_20" / "det_val.json").write_text("[]")
    command = [sys.executable, "-m", "tools.scenes", "--out", str(tmp_path), "--val", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: {tmp_path}: holds other files")


def test_the_command_prints_a_histogram():
    command = [sys.executable, "-m", "tools.scenes", "--count", "2"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert told[0].split() == ["side", "in", "px", "<8", "<16", "<32", "<64", "<96", "<192", ">=192", "all", "share"]
    assert [line.split("  ")[0] for line in told[1:3]] == ["pedestrian", "rider"]
    assert told[-1].startswith("2 frames, ")
    assert all(len(line) <= 80 for line in told)
