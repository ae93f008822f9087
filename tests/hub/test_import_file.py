"""A copy that somebody still has is looked into, held to the best digest there is, and filed; nothing else is."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from surroundings import HOST, NAME, Surroundings, entry_of

from bdd100k_zoo.backends.mmdet3.random_weights import save_random_weights
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.errors import (
    BrokenFileError,
    CheckpointClassesError,
    CheckpointMismatchError,
    CheckUnavailableError,
    DigestMismatchError,
    NoAddressError,
    RecordError,
    StorageError,
    UnsafeCheckpointError,
    WrongFileError,
)
from bdd100k_zoo.hub.import_file import import_copy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bdd100k_zoo.hub.cache import StoredFile
    from bdd100k_zoo.registry import ArtifactKind

FITTING = "retinanet_r50_fpn_1x"


def take(here: Surroundings, file: Path, what: ArtifactKind = "weights") -> StoredFile:
    return import_copy(here.zoo[NAME], what, file, here.store, here.told)


def sha256_of(file: Path) -> str:
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)


# Weights


def test_random_weights_are_refused_although_they_fit(here: Surroundings, tmp_path: Path) -> None:
    save_random_weights(here.zoo[NAME].config_path, tmp_path / "random.pth")
    with pytest.raises(UnsafeCheckpointError, match="its metadata states that its weights are random"):
        take(here, tmp_path / "random.pth")
    assert here.names() == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_and_the_parameter_named(
    here: Surroundings, checkpoint: Callable[..., Path], tmp_path: Path, value: float
) -> None:
    import torch

    content = torch.load(checkpoint(FITTING), weights_only=True)
    parameter = content["state_dict"]["bbox_head.retina_cls.bias"].clone()
    parameter[7] = value
    torch.save({"state_dict": content["state_dict"] | {"bbox_head.retina_cls.bias": parameter}}, tmp_path / "w.pth")
    with pytest.raises(CheckpointMismatchError, match=r"bbox_head\.retina_cls\.bias holds NaN or infinity"):
        take(here, tmp_path / "w.pth")
    assert here.names() == []


def test_a_copy_that_fits_is_filed_and_called_unverified_where_no_digest_is_known(
    here: Surroundings, checkpoint: Callable[..., Path]
) -> None:
    file = checkpoint(FITTING)
    stored = take(here, file)
    assert stored.path == here.path()
    assert stored.path.read_bytes() == file.read_bytes()
    assert not stored.verified
    assert [f"the weights of {NAME} are unverified" in warning for warning in here.told.warnings] == [True]
    found = here.store.find(here.zoo[NAME].artifact("weights"))
    assert found
    assert found.sha256 == stored.sha256
    assert str(found.address).startswith("file://")


def test_a_copy_with_the_zoo_files_digest_is_verified(here: Surroundings, checkpoint: Callable[..., Path]) -> None:
    file = checkpoint(FITTING)
    here.lists(entry_of(NAME, digest=sha256_of(file), size=file.stat().st_size))
    stored = take(here, file)
    assert (stored.verified, stored.verified_by, here.told.warnings) == (True, "zoo file", [])


def test_a_fitting_copy_of_another_digest_is_refused(here: Surroundings, checkpoint: Callable[..., Path]) -> None:
    here.lists(entry_of(NAME, digest="sha256:" + "0" * 64))
    with pytest.raises(DigestMismatchError, match="0000"):
        take(here, checkpoint(FITTING))
    assert here.names() == []


def test_a_copy_is_held_to_the_digest_of_the_damaged_file_it_replaces(
    here: Surroundings, checkpoint: Callable[..., Path]
) -> None:
    here.holds(b"the published bytes").unlink()
    with pytest.raises(DigestMismatchError, match="ledger"):
        take(here, checkpoint(FITTING))


def test_the_checkpoint_of_another_model_is_refused_before_anything_is_written(
    here: Surroundings, checkpoint: Callable[..., Path]
) -> None:
    with pytest.raises(CheckpointMismatchError, match=NAME):
        take(here, checkpoint("fcos_r50_fpn_1x"))
    assert not here.store.root.exists()


def test_a_checkpoint_of_other_classes_is_refused(here: Surroundings, checkpoint: Callable[..., Path]) -> None:
    with pytest.raises(CheckpointClassesError):
        take(here, checkpoint(FITTING, classes=CLASSES[::-1]))
    assert not here.store.root.exists()


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"PK\x03\x04 cut"])
def test_what_is_no_checkpoint_is_refused(here: Surroundings, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(UnsafeCheckpointError):
        take(here, file)
    assert not here.store.root.exists()


def test_a_file_that_is_not_there_is_named(here: Surroundings, tmp_path: Path) -> None:
    for what in ("weights", "preds", "visuals"):
        with pytest.raises(StorageError, match="none"):
            take(here, tmp_path / "none", what)


# Without torch


@pytest.mark.usefixtures("without_torch")
def test_without_torch_a_digest_must_vouch_for_the_copy(here: Surroundings, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"the published bytes")
    here.lists(entry_of(NAME, digest=sha256_of(file)))
    stored = take(here, file)
    assert (stored.verified_by, stored.path.read_bytes()) == ("zoo file", b"the published bytes")
    assert "a digest must verify" in here.told.notes[0]


@pytest.mark.usefixtures("without_torch")
def test_without_torch_and_a_digest_the_error_says_what_both_lack(here: Surroundings, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"anything")
    with pytest.raises(CheckUnavailableError) as caught:
        take(here, file)
    told = str(caught.value)
    assert str(file) in told
    assert NAME in told
    assert "no digest" in told
    assert "torch" in told
    assert here.names() == []


# Other files


@pytest.mark.parametrize("content", [b"[]", b'{"AP": [NaN, 1.5]}', b"\xef\xbb\xbf{}", '{"name": "ü"}'.encode()])
def test_json_is_filed(here: Surroundings, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "copy.json"
    file.write_bytes(content)
    for what in ("preds", "scores-val"):
        assert take(here, file, what).path.read_bytes() == content
    assert len(here.told.warnings) == 2


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", BrokenFileError),
        (b'[{"name": "a.jpg"', BrokenFileError),
        (b'["\xff"]', BrokenFileError),
        (b"[" * 100_000 + b"]" * 100_000, BrokenFileError),
        (b"<html>404", WrongFileError),
        (b"PK\x03\x04", WrongFileError),
    ],
)
def test_what_is_no_json_is_refused(here: Surroundings, content: bytes, error: type[Exception], tmp_path: Path) -> None:
    file = tmp_path / "copy.json"
    file.write_bytes(content)
    with pytest.raises(error):
        take(here, file, "preds")
    assert not here.store.root.exists()


def test_a_zip_archive_is_filed_and_what_is_none_is_refused(here: Surroundings, tmp_path: Path) -> None:
    file = tmp_path / "copy.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jpg", b"pixels")
    assert take(here, file, "visuals").path == here.path("visuals")
    whole = file.read_bytes()
    for content in (b"", b"{}", whole[:-30]):
        file.write_bytes(content)
        with pytest.raises(RecordError, match="zip archive"):
            take(here, file, "visuals")
    zipfile.ZipFile(file, "w").close()
    with pytest.raises(RecordError, match="holds nothing"):
        take(here, file, "visuals")


def test_what_the_model_does_not_publish_cannot_be_filed(here: Surroundings, tmp_path: Path) -> None:
    with pytest.raises(NoAddressError, match="scores-test"):
        take(here, tmp_path / "copy.json", "scores-test")
    assert HOST in here.zoo[NAME].artifact("preds").addresses[0]
