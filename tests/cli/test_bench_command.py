"""bench as a user sees it, with a real model of few layers and small images."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = """
_base_ = ["bdd100k_zoo::faster_rcnn_r50_fpn_1x_det_bdd100k.py"]
model = dict(
    backbone=dict(depth=18, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256, 512]),
    roi_head=dict(bbox_head=dict(fc_out_channels=32)),
    test_cfg=dict(rpn=dict(max_per_img=20)),
)
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(160, 96), keep_ratio=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]))
"""


@pytest.fixture
def arguments(write_zoo, monkeypatch):
    """Return arguments that measure a small model, with one thread: several wait for one another on a busy machine."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    zoo = str(write_zoo("mine", config=SMALL))
    return ("--zoo", zoo, "bench", "mine", "--device", "cpu", "--limit", "2")


@pytest.fixture
def measure(call, arguments):
    return lambda *more: call(*arguments, *more)


@pytest.fixture
def start(arguments, tmp_path):
    """Measure in another process, whose temporary files have a folder of their own."""
    (tmp_path / "temporary").mkdir()

    @contextmanager
    def run(*more: str) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "bdd100k_zoo", *arguments, *more]
        surroundings = os.environ | {"TMPDIR": str(tmp_path / "temporary")}
        process = subprocess.Popen(
            command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:  # the test has failed: without this it would wait for the end
                    os.killpg(process.pid, signal.SIGKILL)

    return run


@pytest.mark.slow
def test_speed_is_printed_beside_that_of_mmdets_own_loop_recorded_and_shown_in_a_table(call, measure, write_zoo):
    result = measure("--against-mmdet", "--out", "out/speed.jsonl")
    assert result.exit_code == 0, result.stderr
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    labels = [line[:11].strip() for line in result.stdout.splitlines()]
    assert [label for label in labels if label] == ["speed", "mmdet", "ratio", "an image", "busy", "device", "versions"]
    assert "in 6 rounds of 2 images" in result.stdout
    (line,) = Path("out/speed.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert (record["model"], record["device"], record["batch_size"], record["images"]) == ("mine", "cpu", 1, 2)
    assert len(record["rates"]) == len(record["against"]["rates"]) == 6
    assert min(record["rates"]) > 0
    assert set(record["seconds"]) == {"decode", "prepare", "detect"}
    assert all(record["seconds"].values())
    assert 0 < record["busy"] <= 1
    assert set(record["versions"]) >= {"bdd100k-zoo", "python", "torch", "mmdet"}
    assert "s/image" in result.stdout or "images/s" in result.stdout
    table = call("--zoo", str(write_zoo("mine", config=SMALL)), "table", "--speed", "out/speed.jsonl")
    assert f"img/s ({record['device_name']}, fp32)" in table.stdout


@pytest.mark.slow
def test_json_is_the_record_and_no_files_are_left(start, tmp_path):
    before = sorted(path.name for path in tmp_path.iterdir())
    with start("--json", "--batch-size", "2") as process:
        out, messages = process.communicate(timeout=120)
    assert process.returncode == 0, messages
    record = json.loads(out)
    assert (record["batch_size"], record["against"]) == (2, None)
    assert "Warning" not in messages
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize(
    ("number", "status"),
    [
        pytest.param(signal.SIGINT, 130, id="ctrl-c"),
        pytest.param(signal.SIGTERM, 143, id="sigterm", marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_ends_all_processes_and_leaves_no_files(start, tmp_path, number, status):
    with start("--limit", "100000") as process:
        while not (children := children_of(process.pid)) or not has_weights(tmp_path / "temporary"):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        os.killpg(process.pid, number)
        messages = process.communicate(timeout=60)[1]
    assert process.returncode == status, messages
    assert "Traceback" not in messages
    assert all(map(ends, children))
    assert not list((tmp_path / "temporary").iterdir())


def has_weights(folder: Path) -> bool:
    """Return whether a file of weights is below a folder; os.walk skips other folders that disappear meanwhile."""
    return any(name.endswith(".pth") for _, _, names in os.walk(folder) for name in names)


def children_of(process: int) -> list[int]:
    return list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))


def ends(process: int) -> bool:
    """Return whether a process ends within seconds: Python's resource tracker exits after all others."""
    for _ in range(100):
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_a_record_that_cannot_be_written_is_an_error_before_anything_is_measured(measure, tmp_path):
    result = measure("--out", str(tmp_path))
    assert result.exit_code == 1
    assert "random weights" not in result.stderr
    assert str(tmp_path) in result.stderr.replace("\n", "")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (("--device", "cuda:99"), "the device 'cuda:99' cannot be used"),
        (("--precision", "tf32"), "the device 'cpu' cannot be used: it does not support tf32"),
    ],
)
def test_an_unavailable_device_or_precision_is_an_error_with_a_hint(measure, wanted, message):
    result = measure(*wanted)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "hint: " in result.stderr


@pytest.mark.parametrize("option", ["--limit", "--batch-size"])
def test_zero_is_wrong_usage(measure, option):
    assert measure(option, "0").exit_code == 2


def test_an_unknown_model_is_a_failure(call):
    result = call("bench", "faster_rcnn_r50_fpn_2x")
    assert result.exit_code == 1
    assert "did you mean" in result.stderr
