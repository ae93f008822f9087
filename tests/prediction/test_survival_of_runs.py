"""Processes of a run that are killed at any moment. Children are forked from a warm process."""

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
import time
from itertools import count
from typing import TYPE_CHECKING

import pytest
import torch
from tiny import TinyDetector, child, draw, dying_child, resume_run

from bdd100k_zoo.prediction.journal import read_journals
from bdd100k_zoo.prediction.run import read_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

WARM = multiprocessing.get_context("forkserver")
# There is one such server a session: the first module is what the tests of downloads want in it.
WARM.set_forkserver_preload(["bdd100k_zoo.hub.cache", "torch", "cv2", "bdd100k_zoo.prediction.sharding"])
ROUNDS = [10, pytest.param(30, marks=pytest.mark.slow)]
PAUSE = 0.004
"""Seconds a batch: a child alone takes about a quarter of a second."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survival") / "frames"
    draw(folder, 75)
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As in the children."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def unbroken(images: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of one process that nothing disturbs."""
    out = tmp_path_factory.mktemp("unbroken")
    resume_run(out, images, TinyDetector())
    return (out / "det.json").read_bytes()


def _child(target: Callable[..., None], *arguments: object) -> ForkServerProcess:
    process = WARM.Process(target=target, args=arguments)
    process.start()
    return process


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("world", [2, pytest.param(1, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_whenever_processes_are_killed_the_file_is_that_of_an_unbroken_run(
    images: Path, unbroken: bytes, tmp_path: Path, world: int, rounds: int
) -> None:
    chance = random.Random(rounds + world)
    all_kept: list[int] = []
    for number in range(rounds):
        out = tmp_path / str(number)
        kept = 0
        for _ in range(3):
            processes = [_child(child, out, images, rank, world, PAUSE) for rank in range(world)]
            time.sleep(chance.uniform(0, 0.3))
            for process in processes:
                process.kill()
                process.join()
            if (out / "run.json").exists():
                break
            kept, before = read_journals(out).frames, kept
            assert kept >= before
            all_kept.append(kept)
        _finish(out, images, chance.choice([1, 2, 3]))  # it resumes with another number of processes, too
        assert (out / "det.json").read_bytes() == unbroken
        assert read_run(out).counts.images == 75
    assert [kept for kept in all_kept if 0 < kept < 75]


def _finish(out: Path, images: Path, world: int) -> None:
    processes = [_child(child, out, images, rank, world, 0.0) for rank in range(world)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert sorted(path.name for path in out.iterdir()) == ["det.json", "run.json"]


def test_a_process_that_is_killed_before_any_of_its_steps_in_the_folder_loses_nothing(
    images: Path, unbroken: bytes, tmp_path: Path
) -> None:
    for step in count(1):
        out = tmp_path / str(step)
        process = _child(dying_child, out, images, step, {"detector": TinyDetector()})
        process.join()
        _finish(out, images, 1)
        assert (out / "det.json").read_bytes() == unbroken
        if process.exitcode == 0:
            break
    assert step > 10


def test_a_run_that_replaces_another_is_the_old_or_the_new_one_at_any_step(tmp_path: Path) -> None:
    images = tmp_path / "frames"
    draw(images, 12)
    changes = {"detector": TinyDetector(seed=8), "model": "other"}
    for folder, made in (("old", {"detector": TinyDetector()}), ("new", changes)):
        resume_run(tmp_path / folder, images, **made)
    old, new = ((tmp_path / folder / "det.json").read_bytes() for folder in ("old", "new"))
    for step in count(1):
        out = tmp_path / str(step)
        shutil.copytree(tmp_path / "old", out)
        process = _child(dying_child, out, images, step, changes | {"fresh": True})
        process.join()
        if read_journals(out).header:
            resume_run(out, images, **changes)  # without `fresh`: the run that was begun is resumed
            assert (out / "det.json").read_bytes() == new
        else:
            expected = {"tiny": old, "other": new}[read_run(out).request.model]
            assert (out / "det.json").read_bytes() == expected
        if process.exitcode == 0:
            break
    assert step > 10


def test_a_rank_that_is_killed_can_be_run_again_alone(images: Path, unbroken: bytes, tmp_path: Path) -> None:
    for rank in (0, 2):
        _child(child, tmp_path, images, rank, 3, 0.0).join()
    assert not (tmp_path / "det.json").exists()
    process = _child(child, tmp_path, images, 1, 3, PAUSE)
    time.sleep(0.1)
    process.kill()
    process.join()
    _child(child, tmp_path, images, 1, 3, 0.0).join()
    assert (tmp_path / "det.json").read_bytes() == unbroken
    assert read_run(tmp_path).processes == 3
    assert [frame["name"] for frame in json.loads(unbroken)] == [f"{place:04}.png" for place in range(75)]
