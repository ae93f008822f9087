from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
import torch
from fault_host import HASTE, Told, running_host
from mmdet.models.backbones import ResNet
from safetensors.torch import save_file

from bdd100k_zoo.backends.common.config import load_config
from bdd100k_zoo.cli.output import explain
from bdd100k_zoo.errors import (
    ArtifactError,
    CheckpointError,
    ConfigError,
    OfflineError,
    TransferError,
    UnsafeCheckpointError,
)
from bdd100k_zoo.hub import Store
from bdd100k_zoo.hub.mirrors import Mirror
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.training import start_values
from bdd100k_zoo.training.recipe import pretrained_source
from bdd100k_zoo.training.start_values import fetch_start_values, load_pretrained_backbone, pretrained_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fault_host import Host

DCN = {
    "dcn": {"type": "DCN", "deform_groups": 1, "fallback_on_stride": False},
    "stage_with_dcn": (False, True, True, True),
}


def backbone(**settings: Any) -> ResNet:
    return ResNet(depth=50, base_channels=4, stem_channels=4, **settings)


def learnt() -> dict[str, torch.Tensor]:
    """What a classifier's file holds: other values, no counters, and a classifier."""
    kept = {key: tensor for key, tensor in backbone().state_dict().items() if "num_batches" not in key}
    return {key: torch.full_like(tensor, 0.5) for key, tensor in kept.items()} | {"fc.weight": torch.ones(3)}


@pytest.mark.parametrize("form", ["plain", "parallel", "checkpoint", "detector"])
@pytest.mark.parametrize("settings", [{}, DCN])
def test_a_backbone_takes_its_values_from_every_usual_form(tmp_path: Path, form: str, settings: dict[str, Any]) -> None:
    values: Any = learnt()
    if form == "parallel":
        values = {f"module.{key}": tensor for key, tensor in values.items()}
    if form == "detector":
        values = {f"backbone.{key}": tensor for key, tensor in values.items()} | {"neck.weight": torch.ones(1)}
    torch.save({"state_dict": values, "epoch": 3} if form in ("checkpoint", "detector") else values, tmp_path / "x.pth")
    model = backbone(**settings)
    load_pretrained_backbone(model, tmp_path / "x.pth", name="x")
    for key, tensor in model.state_dict().items():
        if not key.endswith(("num_batches_tracked", "conv_offset.weight", "conv_offset.bias")):
            assert (tensor == 0.5).all(), key


def test_values_that_are_missing_or_of_another_shape_are_reported(tmp_path: Path) -> None:
    values = learnt()
    del values["layer3.0.conv1.weight"]
    values["conv1.weight"] = torch.ones(1)
    torch.save(values, tmp_path / "x.pth")
    model = backbone()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    problems = r"1 missing: layer3\.0\.conv1\.weight; 1 of another shape: conv1\.weight: "
    with pytest.raises(CheckpointError, match=f"does not fit the backbone of x: {problems}"):
        load_pretrained_backbone(model, tmp_path / "x.pth", name="x")
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_text("<html>gone</html>")
    with pytest.raises(UnsafeCheckpointError, match="web page"):
        load_pretrained_backbone(backbone(), tmp_path / "x.pth", name="x")


def test_every_recipe_names_start_values_that_have_an_address() -> None:
    found = {pretrained_source(load_config(model.config_path)) for model in load_zoo().models}
    assert {name: pretrained_url(name) for name in found} == {
        "torchvision://resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
        "torchvision://resnet101": "https://download.pytorch.org/models/resnet101-63fe2227.pth",
        **{
            f"open-mmlab://{name}": f"https://download.openmmlab.com/pretrain/third_party/{file}.pth"
            for name, file in (
                ("detectron/resnet50_caffe", "resnet50_caffe-788b5fa3"),
                ("detectron/resnet101_caffe", "resnet101_caffe-3ad79236"),
                ("msra/hrnetv2_w18", "hrnetv2_w18-00eb2006"),
                ("msra/hrnetv2_w32", "hrnetv2_w32-dc9eeb4f"),
            )
        },
    }


def test_names_that_nothing_is_known_of_are_reported_and_paths_are_none() -> None:
    for name in ("torchvision://resnet51", "s3://bucket/x.pth", "http://far.example/x.pth"):
        with pytest.raises(ConfigError, match="--pretrained"):
            pretrained_url(name)
    assert pretrained_url("weights/x.pth") is None
    assert pretrained_url("https://far.example/x.pth") == "https://far.example/x.pth"


@pytest.mark.parametrize(
    ("value", "problem"),
    [(torch.full((64,), float("nan")), "holds NaN or infinity"), (torch.ones(64).long(), "has the type torch.int64")],
)
def test_values_that_cannot_be_used_are_refused(tmp_path: Path, value: torch.Tensor, problem: str) -> None:
    values = learnt()
    name = "bn1.weight"
    torch.save(values | {name: value[: len(values[name])]}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=f"{name} {problem}"):
        load_pretrained_backbone(backbone(), tmp_path / "x.pth", name="x")


def test_values_in_safetensors_are_taken(tmp_path: Path) -> None:
    save_file(learnt(), tmp_path / "x.safetensors")
    model = backbone()
    load_pretrained_backbone(model, tmp_path / "x.safetensors", name="x")
    assert (model.conv1.weight == 0.5).all()


# Fetching

CONTENT = b"values " * 1000
NAME = f"net-{hashlib.sha256(CONTENT).hexdigest()[:8]}"
DEAD = "https://127.0.0.1:1/models/"
"""Nothing listens there."""


@pytest.fixture
def host() -> Iterator[Host]:
    with running_host() as host:
        yield host


def store(folder: Path, *mirrors: str, offline: bool = False) -> Store:
    return Store(folder / "cache", mirrors=[Mirror(each) for each in mirrors], retry_policy=HASTE, offline=offline)


def test_a_file_is_fetched_once_into_a_folder_of_its_own(tmp_path: Path, host: Host) -> None:
    host.serves(f"/det/start-values/{NAME}.pth", CONTENT)
    for offline in (False, True):
        path = fetch_start_values(f"{DEAD}{NAME}.pth", store(tmp_path, host.address, offline=offline), Told())
        assert path == tmp_path / "cache" / "det" / "start-values" / f"{NAME}.pth"
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT, b"something else"])
def test_torchvisions_names_tell_what_the_file_must_be(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(start_values, "TORCHVISION", DEAD)
    host.serves(f"/det/start-values/{NAME}.pth", content)
    reports = Told()
    if content == CONTENT:
        assert fetch_start_values(f"{DEAD}{NAME}.pth", store(tmp_path, host.address), reports).exists()
        assert not reports.warnings
        return
    with pytest.raises(ArtifactError, match=NAME[-8:]):
        fetch_start_values(f"{DEAD}{NAME}.pth", store(tmp_path, host.address), reports)


def test_a_dead_address_is_reported_with_what_can_be_done(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="start-values of net") as dead:
        fetch_start_values(f"{DEAD}{NAME}.pth", store(tmp_path), Told())
    with pytest.raises(OfflineError) as offline:
        fetch_start_values(f"{DEAD}{NAME}.pth", store(tmp_path, offline=True), Told())
    for error in (dead.value, offline.value):
        _, hint = explain(error)
        assert "--pretrained FILE" in hint
        assert "--from-scratch" in hint


def test_a_path_is_a_path(tmp_path: Path) -> None:
    assert fetch_start_values(str(tmp_path / "x.pth"), store(tmp_path), Told()) == tmp_path / "x.pth"
