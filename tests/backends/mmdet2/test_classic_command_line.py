"""The command line in the environment of the classic stack, from images to official scores and pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.classic, pytest.mark.usefixtures("classic")]
MODEL = "faster_rcnn_r50_fpn_1x"
SMALL = "test_dataloader.dataset.pipeline.1.scale=(320,180)"


def run(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bdd100k_zoo", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four small images of noise, two sizes."""
    folder = tmp_path / "images"
    folder.mkdir()
    drawn = np.random.default_rng(1)
    for place, size in enumerate([(180, 320), (180, 320), (200, 200), (200, 200)]):
        Image.fromarray(drawn.integers(0, 255, (*size, 3), np.uint8)).save(folder / f"{place}.png")
    return folder


@pytest.fixture
def predict(save_weights: Callable[[str], Path], images: Path) -> tuple[object, ...]:
    """The command line of a run, without its folder."""
    return ("predict", MODEL, "--images", images, "--weights", save_weights(MODEL), "--cfg-options", SMALL)


def test_images_become_official_scores_and_pictures(predict: tuple[object, ...], images: Path) -> None:
    done = run(*predict, "--out", "out")
    assert "Warning" not in done.stderr
    assert "CUDA" not in done.stderr
    record, frames = json.loads(Path("out/run.json").read_text()), json.loads(Path("out/det.json").read_text())
    assert (record["backend"], record["ops"], record["precision"]) == ("mmdet2", "mmcv", "fp32")
    assert record["versions"]["mmdet"].startswith("2.28")
    assert [frame["name"] for frame in frames] == ["0.png", "1.png", "2.png", "3.png"]
    assert all(frame["labels"] for frame in frames)

    # What was found with a score above the median is what is there.
    median = float(np.median([label["score"] for frame in frames for label in frame["labels"]]))
    for frame in frames:
        frame["labels"] = [label for label in frame["labels"] if label.pop("score") > median]
    Path("labels.json").write_text(json.dumps(frames))
    ours = json.loads(run("eval", "out/det.json", "--labels", "labels.json", "--json").stdout)
    theirs = json.loads(run("eval", "out/det.json", "--labels", "labels.json", "--engine", "official", "--json").stdout)
    assert ours["results"][0]["scores"] == theirs["results"][0]["scores"]
    assert theirs["results"][0]["scores"]["AP"]["OVERALL"] > 0

    run("show", "out", "--images", images, "--out", "pictures", "--viewer", "scalabel", "--min-score", median)
    with Image.open("pictures/2.jpg") as picture:
        assert picture.size == (200, 200)


def test_several_processes_find_the_same_as_one(predict: tuple[object, ...]) -> None:
    run(*predict, "--out", "one")
    run(*predict, "--out", "two", "--gpus", 2, "--device", "cpu", "--backend", "mmdet2")
    assert json.loads(Path("two/run.json").read_text())["backend"] == "mmdet2"
    one, two = (json.loads(Path(folder, "det.json").read_text()) for folder in ("one", "two"))
    assert [(frame["name"], len(frame["labels"])) for frame in one] == [(f["name"], len(f["labels"])) for f in two]


def test_the_other_backend_is_refused_with_a_repair(predict: tuple[object, ...]) -> None:
    done = run(*predict, "--out", "out", "--backend", "mmdet3", status=1)
    assert "it needs mmdet 3, and mmdet 2.28" in " ".join(done.stderr.split())
    assert "bdd100k-zoo[predict]" in done.stderr
    assert not Path("out").exists()


def test_a_command_that_needs_mmdet_3_reports_it() -> None:
    done = run("bench", MODEL, "--images", 1, status=1)
    assert "mmdet 3 is needed and cannot be imported: mmdet 2.28.2 is installed" in " ".join(done.stderr.split())


def test_an_interrupted_run_of_another_backend_is_not_resumed(predict: tuple[object, ...]) -> None:
    run(*predict, "--out", "out")
    record = json.loads(Path("out/run.json").read_text())
    Path("out/run.json").write_text(json.dumps(record | {"backend": "mmdet3"}))
    done = run(*predict, "--out", "out", "--backend", "mmdet2", status=1)
    assert "backend: mmdet3 there, mmdet2 now" in " ".join(done.stderr.split())
