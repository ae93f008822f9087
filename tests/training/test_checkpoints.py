"""Checkpoints of trainings: written whole or not at all, and read by weights alone."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter, OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from bdd100k_zoo.backends.common.checkpoint import read_checkpoint
from bdd100k_zoo.errors import UnsafeCheckpointError
from bdd100k_zoo.training import checkpoints
from bdd100k_zoo.training.checkpoints import export_weights


class Runner:
    """What a checkpoint is made of, without a model of mmdet's."""

    def __init__(self, step: int = 3) -> None:
        self.model = nn.Linear(2, 2)
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.model(torch.ones(2)).sum().backward()
        optimizer.step()
        self.optim_wrapper = optimizer
        self.param_schedulers = [Scheduler()]
        self.train_loop = SimpleNamespace(iter=step, epoch=1, resume_at=self.resume_at)
        self.seed = 5
        self.begun_at = 0

    def resume_at(self, step: int) -> None:
        self.begun_at = step

    def call_hook(self, name: str, checkpoint: dict[str, Any]) -> None:
        if name == "before_save_checkpoint":
            checkpoint["hook"] = {"average": torch.ones(3)}


class Scheduler:
    def __init__(self) -> None:
        self.last_step, self._global_step, self.base_values = 4, 5, [0.1]
        self.milestones = Counter([1, 2])

    def state_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def test_a_checkpoint_loads_by_weights_only_and_restores_everything(tmp_path: Path) -> None:
    before = Runner()
    path = checkpoints.save_checkpoint(tmp_path, before, "plan")
    assert path.name == "checkpoint-00000003.pth"
    content = torch.load(path, weights_only=True)
    assert content["meta"]["iter"] == 3
    assert torch.equal(content["hook"]["average"], torch.ones(3))
    after = Runner()
    after.param_schedulers[0].last_step = 0
    saved, problems = checkpoints.find_last_checkpoint(tmp_path, "plan")
    assert saved is not None
    assert not problems
    checkpoints.restore_runner(saved, after)
    assert after.begun_at == 3
    assert torch.equal(after.model.weight, before.model.weight)
    assert after.param_schedulers[0].state_dict() == before.param_schedulers[0].state_dict()
    states = [runner.optim_wrapper.state_dict()["state"][0]["exp_avg"] for runner in (before, after)]
    assert torch.equal(*states)


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 20, 300):
        checkpoints.save_checkpoint(tmp_path, Runner(step), "plan")
    assert [path.name for path in checkpoints.list_checkpoints(tmp_path)] == [
        "checkpoint-00000300.pth",
        "checkpoint-00000020.pth",
    ]


def test_a_checkpoint_of_another_training_is_not_resumed_from(tmp_path: Path) -> None:
    checkpoints.save_checkpoint(tmp_path, Runner(), "another plan")
    saved, problems = checkpoints.find_last_checkpoint(tmp_path, "plan")
    assert saved is None
    assert "another training" in str(problems[0])


def test_other_tensors_are_no_checkpoint_of_a_training(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, checkpoints.checkpoint_path(tmp_path, 1))
    assert "not a checkpoint of a training" in str(checkpoints.find_last_checkpoint(tmp_path, "plan")[1][0])


@pytest.mark.parametrize("part", ["plan", "meta", "iter", "state_dict", "optimizer", "param_schedulers"])
@pytest.mark.parametrize("value", [None, 7, "text", [], {}], ids=repr)
def test_a_checkpoint_whose_parts_are_something_else_is_reported(part: str, value: object, tmp_path: Path) -> None:
    path = checkpoints.save_checkpoint(tmp_path, Runner(), "plan")
    content = torch.load(path, weights_only=True)
    (content["meta"] if part == "iter" else content)[part] = value
    torch.save(content, path)
    saved, problems = checkpoints.find_last_checkpoint(tmp_path, "plan")
    if saved and (part, value) != ("iter", 7):
        with pytest.raises(UnsafeCheckpointError, match="does not belong to this training"):
            checkpoints.restore_runner(saved, Runner())
    else:
        assert saved or isinstance(problems[0], UnsafeCheckpointError)


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    with checkpoints.checkpoint_path(tmp_path, 1).open("wb") as file:
        pickle.dump({"format": checkpoints.CHECKPOINT_FORMAT, "evil": Evil()}, file)
    saved, problems = checkpoints.find_last_checkpoint(tmp_path, "plan")
    assert saved is None
    assert isinstance(problems[0], UnsafeCheckpointError)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_that_does_not_fit_is_reported(tmp_path: Path) -> None:
    checkpoints.save_checkpoint(tmp_path, Runner(), "plan")
    other = Runner()
    other.model = nn.Linear(3, 2)
    saved, _ = checkpoints.find_last_checkpoint(tmp_path, "plan")
    assert saved is not None
    with pytest.raises(UnsafeCheckpointError, match="does not belong to this training"):
        checkpoints.restore_runner(saved, other)


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    runner = Runner()
    runner.seed = Counter  # type: ignore[assignment]
    with pytest.raises(TypeError, match="tensors and plain values"):
        checkpoints.save_checkpoint(tmp_path, runner, "plan")
    assert not list(tmp_path.iterdir())


def test_the_weights_alone_are_a_checkpoint_that_predict_reads(tmp_path: Path) -> None:
    runner = Runner()
    export_weights(checkpoints.save_checkpoint(tmp_path, runner, "plan"), tmp_path / "best.pth")
    found = read_checkpoint(tmp_path / "best.pth")
    assert found.state_dict.keys() == OrderedDict(runner.model.state_dict()).keys()
    assert len(found.classes) == 10


FULL = """
import resource, signal, sys
from pathlib import Path
import torch
from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.backends.mmdet3 import import_backend
import_backend()
from bdd100k_zoo.training.checkpoints import export_weights
torch.save({"meta": {}, "state_dict": {"a": torch.zeros(1 << 20)}}, sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    export_weights(Path(sys.argv[1]), Path(sys.argv[2]))
except StorageError as error:
    print(error)
"""


def test_a_disk_that_is_full_leaves_what_was_there(tmp_path: Path) -> None:
    checkpoint, path = tmp_path / "checkpoint.pth", tmp_path / "best.pth"
    path.write_bytes(b"before")
    done = subprocess.run([sys.executable, "-c", FULL, checkpoint, path], capture_output=True, text=True, check=True)
    assert "File too large" in done.stdout
    assert path.read_bytes() == b"before"
    assert {*tmp_path.iterdir()} == {checkpoint, path}
