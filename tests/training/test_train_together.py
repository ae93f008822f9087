"""Several processes that train one model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_training import command, environment, finished, make_root, start, steps

TESTS = Path(__file__).resolve().parents[1]
CHILD = Path(__file__).with_name("training_child.py")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("data") / "root", train=8, val=3)


def train_together(processes: int, root: Path, out: Path, batch_size: int) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    words = [sys.executable, *(torchrun if processes > 1 else ()), str(CHILD), str(root), str(out), str(batch_size)]
    env = environment(PYTHONPATH=f"{TESTS.parent}:{TESTS}")
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr


def test_two_processes_compute_what_one_does_and_have_the_same_weights(root: Path, tmp_path: Path) -> None:
    train_together(1, root, tmp_path / "one", 4)
    train_together(2, root, tmp_path / "two", 2)
    one, two = steps(tmp_path / "one"), steps(tmp_path / "two")
    assert len(one) == len(two) == 4
    for alone, together in zip(one, two, strict=True):
        assert together["rate"] == alone["rate"]
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        assert together["parts"] == pytest.approx(alone["parts"], rel=1e-4)
    weights = [torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("two-0", "two-1", "one-0")]
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name
        torch.testing.assert_close(tensor, weights[2][name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_processes_of_one_command_resume_together(root: Path, tmp_path: Path, number: signal.Signals) -> None:
    def words(out: Path) -> list[str]:
        return command(root, out, "--gpus", "2", "--epochs", "3", "--batch-size", "2")

    finished(start(words(tmp_path / "whole")))
    out = tmp_path / "out"
    first = start(words(out))
    while len(steps(out)) < 3:
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.01)
    if number == signal.SIGKILL:  # of one process: the others are started again with a new one in its place
        subprocess.run(["kill", "-KILL", str(child_of(first.pid))], check=True)
        finished(first)
    else:
        first.send_signal(number)
        _, said = finished(first, 128 + number)
        assert "which is saved; to resume:" in said
        assert len(steps(out)) < 6
        finished(start(words(out)))
    assert steps(out) == steps(tmp_path / "whole")


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="NOT TESTED: needs two GPUs")
def test_two_gpus_compute_what_one_does_for_the_same_batch(root: Path, tmp_path: Path) -> None:
    for gpus, batch_size in ((1, 4), (2, 2)):
        out = tmp_path / str(gpus)
        more = ("--gpus", str(gpus), "--epochs", "1", "--batch-size", str(batch_size), "--device", "cuda")
        finished(start(command(root, out, *more)))
    one, two = steps(tmp_path / "1"), steps(tmp_path / "2")
    assert len(one) == len(two) == 2
    # Each process normalises its own half of the batch, so that the losses are only near.
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], rel=0.1)


@pytest.mark.gpu
def test_two_processes_are_refused_on_a_single_gpu(root: Path, tmp_path: Path) -> None:
    first = str(os.environ.get("CUDA_VISIBLE_DEVICES") or "0").partition(",")[0]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = [*torchrun, *command(root, tmp_path / "out", "--device", "cuda")[1:]]
    _, said = finished(start(words, CUDA_VISIBLE_DEVICES=first), 1)
    assert "2 processes on this machine would share 1 GPU" in said


def child_of(pid: int) -> int:
    """Find one of the processes that the agent of a command has started."""
    agent = children(pid)[0]
    return children(agent)[-1]


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
