from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from small_training import MODEL, make_root, options

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "root", train=4, val=2)


def arguments(root: Path, *more: str) -> list[str]:
    short = ["--epochs", "1", "--batch-size", "2", "--workers", "0", "--device", "cpu"]
    return ["train", MODEL, "--data", str(root), *short, *more, *options()]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--pretrained", "x.pth", "--from-scratch"], "either --pretrained FILE or --from-scratch"),
        (["--resume", "--fresh"], "either --resume or --fresh"),
        (["--batch-size", "0"], "--batch-size"),
        (["--gpus", "some"], "neither a number nor"),
        (["--pretrained", ""], "is a variable of the shell unset?"),
    ],
)
def test_wrong_usage_is_reported(call, root, more, message):
    result = call(*arguments(root, *more))
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_without_a_dataset_that_is_wrong_usage(call):
    result = call("train", MODEL)
    assert result.exit_code == 2
    assert "--data" in result.stderr


def test_a_training_tells_what_it_does_and_where_everything_is(call, root):
    result = call(*arguments(root))
    assert result.exit_code == 0, result.stderr
    folder = f"runs/{MODEL}/train"
    assert f"weights     {folder}/weights.pth" in result.stdout
    assert f"{MODEL} on 4 images, 1 epoch of 2 steps → {folder}" in result.stderr
    assert "learning rate 0.000625 for a batch of 2; 0.01 for a batch of 32" in result.stderr
    assert "epoch 1: loss " in result.stderr
    assert "Epoch 1/1 · loss " in result.stderr
    again = call(*arguments(root, "--json"))
    assert json.loads(again.stdout)["finished"] is True
    assert "complete; --fresh makes it again" in again.stderr


def test_with_json_a_failure_is_one_document(call, root):
    result = call(*arguments(root, "--json", "--resume"))
    assert result.exit_code == 1
    message = json.loads(result.stdout)
    assert "no checkpoint to resume from" in message["error"]
    assert "--resume" in message["hint"]


def test_too_many_gpus_are_reported(call, root):
    result = call(*[word if word != "cpu" else "cuda" for word in arguments(root, "--gpus", "99")])
    assert result.exit_code == 1
    assert "99 GPUs were requested" in result.stderr
