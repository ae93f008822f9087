from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
from fault_host import HASTE, Told, running_host
from mmdet.models.backbones import PyramidVisionTransformer, PyramidVisionTransformerV2, ResNet, SwinTransformer
from safetensors.torch import save_file

from bdd100k_zoo.backends.common.config import load_config
from bdd100k_zoo.backends.mmdet3.convnext import ConvNeXt
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
    addresses = {name for name in found if name.startswith("https://")}
    assert len(addresses) == 4 + 2 + 3 + 1 + 4  # Swin, PVT, PVTv2, RSB, ConvNeXt
    assert all(pretrained_url(name) == name for name in addresses)
    found -= addresses
    assert {name: pretrained_url(name) for name in found} == {
        "torchvision://resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
        "torchvision://resnet101": "https://download.pytorch.org/models/resnet101-63fe2227.pth",
        **{
            f"open-mmlab://{name}": f"https://download.openmmlab.com/pretrain/third_party/{file}.pth"
            for name, file in (
                ("detectron/resnet50_caffe", "resnet50_caffe-788b5fa3"),
                ("detectron/resnet101_caffe", "resnet101_caffe-3ad79236"),
                ("detectron2/resnet50_caffe", "resnet50_msra-5891d200"),
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


# The names of the authors of transformers


def small_swin() -> Any:
    return SwinTransformer(
        embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), window_size=2, convert_weights=True
    )


def swin_authors_file(model: Any) -> dict[str, torch.Tensor]:
    """A classifier's state dict by the names of the authors' code: other values, and no norms of the outputs."""
    names = {"stages.": "layers.", "attn.w_msa.": "attn.", "ffn.layers.0.0.": "mlp.fc1.", "ffn.layers.1.": "mlp.fc2."}
    values = {"norm.weight": torch.ones(64), "head.weight": torch.ones(3, 64)}
    for key, tensor in model.state_dict().items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        if not re.fullmatch(r"norm\d\..*", key):
            values[key.replace("patch_embed.projection", "patch_embed.proj")] = tensor + 1
    return values


@pytest.mark.parametrize("parallel", [False, True])
def test_the_files_of_the_authors_of_swin_are_converted(tmp_path: Path, parallel: bool) -> None:
    values = swin_authors_file(small_swin())
    torch.save({"model": values} if parallel else values, tmp_path / "x.pth")
    model = small_swin()
    norms = model.norm3.weight.detach().clone()
    load_pretrained_backbone(model, tmp_path / "x.pth", name="x")
    assert torch.equal(model.stages[3].blocks[0].ffn.layers[1].weight, values["layers.3.blocks.0.mlp.fc2.weight"])
    assert torch.equal(model.stages[0].blocks[0].attn.w_msa.qkv.weight, values["layers.0.blocks.0.attn.qkv.weight"])
    assert torch.equal(model.norm3.weight, norms)
    # Merged patches are in another order: top left, bottom left, top right, bottom right with the authors.
    theirs = values["layers.0.downsample.norm.weight"].view(4, 8)
    assert torch.equal(model.stages[0].downsample.norm.weight.view(8, 4), theirs[[0, 2, 1, 3]].T)


def test_an_incomplete_file_of_the_authors_of_swin_is_refused(tmp_path: Path) -> None:
    values = swin_authors_file(small_swin())
    del values["layers.1.blocks.0.norm1.weight"]
    torch.save(values, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"1 missing: stages\.1\.blocks\.0\.norm1\.weight"):
        load_pretrained_backbone(small_swin(), tmp_path / "x.pth", name="x")


def test_a_backbone_of_swin_takes_the_values_of_a_detector_too(tmp_path: Path) -> None:
    trained = small_swin()
    torch.save({f"backbone.{key}": tensor for key, tensor in trained.state_dict().items()}, tmp_path / "x.pth")
    model = small_swin()
    load_pretrained_backbone(model, tmp_path / "x.pth", name="x")
    assert all(torch.equal(tensor, trained.state_dict()[key]) for key, tensor in model.state_dict().items())


def small_convnext() -> Any:
    return ConvNeXt({"depths": (1, 1, 1, 1), "channels": (4, 8, 8, 8)})


def convnext_classifier(model: Any) -> dict[str, torch.Tensor]:
    """A classifier's state dict as OpenMMLab publishes it: other values, and one of the four norms of outputs."""
    values = {f"backbone.{key}": tensor + 1 for key, tensor in model.state_dict().items()}
    lacking = {f"backbone.norm{stage}.{kind}" for stage in range(3) for kind in ("weight", "bias")}
    return {key: values[key] for key in values if key not in lacking} | {"head.fc.weight": torch.ones(3, 8)}


def test_a_classifiers_values_start_a_convnext_with_its_one_norm_of_outputs(tmp_path: Path) -> None:
    values, model = convnext_classifier(small_convnext()), small_convnext()
    torch.save({"state_dict": values}, tmp_path / "x.pth")
    load_pretrained_backbone(model, tmp_path / "x.pth", name="x")
    taken = model.state_dict()
    assert all(torch.equal(taken[key.removeprefix("backbone.")], values[key]) for key in values if "head" not in key)
    assert torch.equal(model.norm0.weight, torch.ones(4))


def test_an_incomplete_classifier_starts_no_convnext(tmp_path: Path) -> None:
    values = convnext_classifier(small_convnext())
    del values["backbone.stages.1.0.gamma"]
    torch.save(values, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"1 missing: stages\.1\.0\.gamma"):
        load_pretrained_backbone(small_convnext(), tmp_path / "x.pth", name="x")


def small_pvt(kind: Any) -> Any:
    return kind(embed_dims=8, num_layers=[1, 1, 1, 1], num_heads=[1, 2, 5, 8], convert_weights=True)


def pvt_authors_file(model: Any, *, linear: bool) -> dict[str, torch.Tensor]:
    """A classifier's state dict by the names of the authors' code, where queries, keys and values are apart."""
    values: dict[str, torch.Tensor] = {"head.weight": torch.ones(3, 64)}
    for key, tensor in model.state_dict().items():
        stage, part, rest = re.fullmatch(r"layers\.(\d)\.(\d)\.(.*)", key).groups()  # type: ignore[union-attr]
        number, other = int(stage) + 1, tensor + 1
        if part == "0":
            values[f"patch_embed{number}.{rest.replace('projection', 'proj')}"] = other
        elif part == "2":
            values[f"norm{number}.{rest}"] = other
        elif rest == "0.pos_embed":
            values[f"pos_embed{number}"] = torch.cat([other[:, :1], other], 1) if number == 4 else other
        else:
            name = f"block{number}.0.{rest.partition('.')[2]}"
            if "in_proj_" in name:
                cut = len(other) // 3
                values[name.replace("attn.in_proj_", "q.")] = other[:cut]
                values[name.replace("attn.in_proj_", "kv.")] = other[cut:]
                continue
            name = name.replace("attn.attn.out_proj", "attn.proj")
            for ours, theirs in (("layers.0.", "fc1."), ("layers.1.", "dwconv.dwconv."), ("layers.3.", "fc2.")):
                name = name.replace(f"ffn.{ours}", f"mlp.{theirs}")
            name = name.replace("ffn.layers.4.", "mlp.fc2.")
            flat = name.endswith(("fc1.weight", "fc2.weight"))
            values[name] = other.flatten(1) if flat else other
    if linear:
        values |= {"norm.weight": torch.ones(64), "cls_token": torch.ones(1, 1, 64)}
    return values


@pytest.mark.parametrize("kind", [PyramidVisionTransformer, PyramidVisionTransformerV2])
def test_the_files_of_the_authors_of_pvt_are_converted(tmp_path: Path, kind: Any) -> None:
    expected = {key: tensor + 1 for key, tensor in small_pvt(kind).state_dict().items()}
    before = small_pvt(kind)
    before.load_state_dict({key: tensor - 1 for key, tensor in expected.items()})
    torch.save(pvt_authors_file(before, linear=kind is PyramidVisionTransformer), tmp_path / "x.pth")
    model = small_pvt(kind)
    load_pretrained_backbone(model, tmp_path / "x.pth", name="x")
    found = model.state_dict()
    assert [key for key, tensor in expected.items() if not torch.allclose(found[key], tensor)] == []


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
