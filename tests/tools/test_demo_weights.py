"""Bundling of the demo's weights."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from bdd100k_zoo.backends.mmdet3.random_weights import save_random_weights
from bdd100k_zoo.demo_run.steps import MODEL
from bdd100k_zoo.errors import CheckpointError, UnsafeCheckpointError
from bdd100k_zoo.files import sha256_of
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.registry.loading import DEMO_ZOO_FILE
from tools.demo_weights import bundle


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return weights as a training writes them, without metadata that states that they are random."""
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    save_random_weights(load_zoo()[MODEL].config_path, path)
    torch.save({"meta": {}, "state_dict": state_of(path)}, path)
    return path


def state_of(path: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(path, weights_only=True)["state_dict"])


def test_bundled_weights_have_half_the_size_and_equal_the_trained_ones_except_for_rounding(
    weights: Path, tmp_path: Path
) -> None:
    zoo_file = Path(shutil.copy(DEMO_ZOO_FILE, tmp_path / "zoo.yaml"))
    bundle(weights, tmp_path / "small.pth", zoo_file)
    assert (tmp_path / "small.pth").stat().st_size < 0.55 * weights.stat().st_size
    learnt, bundled = state_of(weights), state_of(tmp_path / "small.pth")
    assert learnt.keys() == bundled.keys()
    for name, tensor in bundled.items():
        assert tensor.dtype == (torch.float16 if tensor.dim() > 1 else learnt[name].dtype)
        torch.testing.assert_close(tensor.to(learnt[name].dtype), learnt[name], rtol=1e-3, atol=1e-7)


def test_only_digest_and_size_change_in_the_zoo_file(weights: Path, tmp_path: Path) -> None:
    zoo_file = Path(shutil.copy(DEMO_ZOO_FILE, tmp_path / "zoo.yaml"))
    known = bundle(weights, tmp_path / "small.pth", zoo_file)
    assert known.digest == f"sha256:{sha256_of(tmp_path / 'small.pth')}"
    assert known.size == (tmp_path / "small.pth").stat().st_size
    text = zoo_file.read_text(encoding="utf-8")
    assert f"digest: {known.digest}\n" in text
    assert f"size: {known.size}\n" in text
    recorded = re.compile(r"(digest|size): .*")
    assert recorded.sub("", text) == recorded.sub("", DEMO_ZOO_FILE.read_text(encoding="utf-8"))


def test_weights_of_another_model_are_refused_and_nothing_is_written(weights: Path, tmp_path: Path) -> None:
    content = torch.load(weights, weights_only=True)
    content["state_dict"].popitem()
    torch.save(content, tmp_path / "other.pth")
    zoo_file = Path(shutil.copy(DEMO_ZOO_FILE, tmp_path / "zoo.yaml"))
    with pytest.raises(CheckpointError):
        bundle(tmp_path / "other.pth", tmp_path / "small.pth", zoo_file)
    assert not (tmp_path / "small.pth").exists()
    assert zoo_file.read_bytes() == DEMO_ZOO_FILE.read_bytes()


def test_random_weights_are_never_bundled(tmp_path: Path) -> None:
    save_random_weights(load_zoo()[MODEL].config_path, tmp_path / "random.pth")
    zoo_file = Path(shutil.copy(DEMO_ZOO_FILE, tmp_path / "zoo.yaml"))
    with pytest.raises(UnsafeCheckpointError, match="its weights are random"):
        bundle(tmp_path / "random.pth", tmp_path / "small.pth", zoo_file)
    assert not (tmp_path / "small.pth").exists()


def test_a_number_that_16_bits_cannot_hold_keeps_its_32(weights: Path, tmp_path: Path) -> None:
    state = state_of(weights)
    name = "neck.fpn_convs.0.conv.weight"
    torch.save({"meta": {}, "state_dict": state | {name: state[name] * 0 + 1e5}}, tmp_path / "large.pth")
    bundle(tmp_path / "large.pth", tmp_path / "small.pth", Path(shutil.copy(DEMO_ZOO_FILE, tmp_path / "zoo.yaml")))
    assert (state_of(tmp_path / "small.pth")[name] == 1e5).all()


def test_only_entries_of_the_model_are_bundled(weights: Path, tmp_path: Path) -> None:
    state = state_of(weights)
    averages = {"ema_" + name.replace(".", "_"): tensor for name, tensor in state.items()}
    torch.save({"meta": {}, "state_dict": state | averages}, tmp_path / "averaged.pth")
    bundle(tmp_path / "averaged.pth", tmp_path / "small.pth", Path(shutil.copy(DEMO_ZOO_FILE, tmp_path / "zoo.yaml")))
    assert state_of(tmp_path / "small.pth").keys() == state.keys()
