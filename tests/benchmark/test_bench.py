"""Records that bench computes from its rounds; tests/cli runs the rounds with a real model."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import pytest
import torch

import bdd100k_zoo
from bdd100k_zoo.backends.common import devices
from bdd100k_zoo.backends.protocol import DetectorFacts
from bdd100k_zoo.benchmark import bench as job
from bdd100k_zoo.benchmark.loops import BenchRound, BenchSetup, DetectorInfo, read_detector_info
from bdd100k_zoo.sample_data import write_sample_frames

if TYPE_CHECKING:
    from collections.abc import Callable

INFO = DetectorInfo(
    DetectorFacts(
        backend="mmdet3",
        device="cuda:0",
        device_name="H100",
        precision="fp32",
        ops="torchvision",
        versions={"torch": "3"},
    ),
    8,
    "some processor",
)


def round_of(seconds: float, detect: float = 0.0) -> BenchRound:
    return BenchRound(10, seconds, {"decode": 0.5, "prepare": 0.25, "detect": detect}, {})


def test_engines_alternate_and_the_first_round_does_not_count() -> None:
    asked: list[tuple[str, int]] = []

    def engine(name: str) -> Callable[[int], BenchRound]:
        def run(images: int) -> BenchRound:
            asked.append((name, images))
            return round_of(len(asked))

        return run

    advanced: list[int] = []

    class Advanced:
        def advance(self, amount: int) -> None:
            advanced.append(amount)

        def restart(self, done: int, total: int | None) -> None:
            raise AssertionError("nothing restarts here")

    ours, stock = job.run_rounds([engine("ours"), engine("stock")], 10, 3, Advanced())
    assert [name for name, _ in asked] == ["stock", "ours", "ours", "stock", "stock", "ours", "ours", "stock"]
    assert {images for _, images in asked} == {10}
    assert [each.seconds for each in ours] == [3, 6, 7]
    assert [each.seconds for each in stock] == [4, 5, 8]
    assert advanced == [10] * 8


def test_the_record_has_medians_and_ratios_of_pairs() -> None:
    ours, stock = (
        [round_of(1.0, 0.75), round_of(2.0, 1.5), round_of(5.0, 3.75)],
        [round_of(s) for s in (4.0, 5.0, 10.0)],
    )
    speed = job.build_speed_record("fcos_r50_fpn_1x", INFO, ours, stock)
    assert speed.rates == (10.0, 5.0, 2.0)
    assert speed.images_per_second == 5.0
    assert speed.seconds == {"decode": 0.05, "prepare": 0.025, "detect": 0.2}
    assert speed.busy == 0.75
    assert speed.against is not None
    assert speed.against.rates == (2.5, 2.0, 1.0)
    assert speed.against.ratios == (4.0, 2.5, 2.0)
    assert speed.against.ratio == 2.5
    assert (speed.model, speed.device_name, speed.batch_size, speed.images) == ("fcos_r50_fpn_1x", "H100", 8, 10)
    assert speed.versions == {"bdd100k-zoo": bdd100k_zoo.__version__, "torch": "3"}
    alone = job.build_speed_record("fcos_r50_fpn_1x", INFO, ours)
    assert (alone.against, alone.tf32_ratio) == (None, None)
    assert job.build_speed_record("fcos_r50_fpn_1x", INFO, ours, tf32=stock).tf32_ratio == 0.4


@pytest.mark.parametrize(
    ("precision", "capability", "offers"), [("fp32", (8, 0), True), ("fp32", (7, 5), False), ("fp16", (9, 0), False)]
)
def test_tf32_is_measured_beside_fp32_where_the_device_has_it(precision, capability, offers, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(devices, "resolve_device", torch.device)
    facts = msgspec.structs.replace(INFO.facts, precision=precision)
    detector = SimpleNamespace(facts=facts, batch_size=8)
    assert (
        read_detector_info(BenchSetup("any", Path("config.py"), Path("weights.pth"), "."), detector).offers_tf32
        is offers
    )


def test_the_number_of_images_depends_on_the_device() -> None:
    assert job.default_image_count(INFO._replace(batch_size=1)) == 64
    assert job.default_image_count(INFO) == 128
    assert job.default_image_count(INFO._replace(batch_size=32)) == 512
    on_cpu = DetectorFacts(
        backend="mmdet3", device="cpu", device_name="", precision="fp32", ops="torchvision", versions={}
    )
    assert job.default_image_count(DetectorInfo(on_cpu, 1, "")) == 2


def test_the_commit_is_that_of_the_checkout_and_shows_changes(tmp_path, monkeypatch) -> None:
    package = tmp_path / "bdd100k_zoo" / "__init__.py"
    package.parent.mkdir()
    package.write_text("")
    monkeypatch.setattr(bdd100k_zoo, "__file__", str(package))
    assert job.read_checkout_commit() is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert job.read_checkout_commit() is None
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    commit = job.read_checkout_commit()
    assert commit is not None
    assert commit.isalnum()
    (tmp_path / "beside").write_text("")
    assert job.read_checkout_commit() == commit
    package.write_text("changed")
    assert job.read_checkout_commit() == f"{commit}-changed"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert job.read_checkout_commit() is None


def test_synthetic_frames_differ_and_are_reproducible(tmp_path: Path) -> None:
    first, again = write_sample_frames(tmp_path / "a", 3), write_sample_frames(tmp_path / "b", 3)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    pictures = [cv2.imread(str(path)) for path in first]
    assert {picture.shape for picture in pictures} == {(720, 1280, 3)}
    assert all(np.abs(one.astype(int) - other).mean() > 3 for one, other in pairwise(pictures))
