"""Copies imported into the cache, mirrors exported from it, and digests recorded in a zoo file."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from surroundings import HOST, NAME, Surroundings, check_weights, entry_of, write_zoo_file

from bdd100k_zoo.backends.mmdet3.random_weights import save_random_weights
from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.errors import (
    ArtifactError,
    CheckpointError,
    DigestMismatchError,
    InputsError,
    InvalidFileError,
    ManifestError,
    StorageError,
    UnsafeCheckpointError,
)
from bdd100k_zoo.hub.import_export import (
    ExportResult,
    RecordedDigests,
    export_mirror,
    import_copy,
    load_zoo_with,
    read_cached_digests,
    write_digests,
)
from bdd100k_zoo.hub.layout import MIRROR_FOLDERS
from bdd100k_zoo.hub.verify import parse_md5
from bdd100k_zoo.registry import ARTIFACT_KINDS, load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bdd100k_zoo.hub.cache import StoredFile
    from bdd100k_zoo.registry import ArtifactKind


FITTING = "retinanet_r50_fpn_1x"


def take(here: Surroundings, file: Path, what: ArtifactKind = "weights") -> StoredFile:
    return import_copy(here.zoo[NAME], what, file, here.store, here.told, check_weights=check_weights)


def sha256_of(file: Path) -> str:
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)


# Weights


@pytest.mark.slow
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
    with pytest.raises(CheckpointError, match=r"bbox_head\.retina_cls\.bias holds NaN or infinity"):
        take(here, tmp_path / "w.pth")
    assert here.names() == []


def test_a_copy_that_fits_is_imported_as_unverified_if_no_digest_is_known(
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


def test_a_copy_is_checked_against_the_digest_of_the_damaged_file_it_replaces(
    here: Surroundings, checkpoint: Callable[..., Path]
) -> None:
    here.holds(b"the published bytes").unlink()
    with pytest.raises(DigestMismatchError, match="ledger"):
        take(here, checkpoint(FITTING))


def test_the_checkpoint_of_another_model_is_refused_before_anything_is_written(
    here: Surroundings, checkpoint: Callable[..., Path]
) -> None:
    with pytest.raises(CheckpointError, match=NAME):
        take(here, checkpoint("fcos_r50_fpn_1x"))
    assert not here.store.root.exists()


def test_a_checkpoint_of_other_classes_is_refused(here: Surroundings, checkpoint: Callable[..., Path]) -> None:
    with pytest.raises(CheckpointError):
        take(here, checkpoint(FITTING, classes=CLASSES[::-1]))
    assert not here.store.root.exists()


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"PK\x03\x04 cut"])
def test_a_file_that_is_no_checkpoint_is_refused(here: Surroundings, content: bytes, tmp_path: Path) -> None:
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
def test_without_torch_a_digest_must_verify_the_copy(here: Surroundings, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"the published bytes")
    here.lists(entry_of(NAME, digest=sha256_of(file)))
    stored = take(here, file)
    assert (stored.verified_by, stored.path.read_bytes()) == ("zoo file", b"the published bytes")
    assert "a digest must verify" in here.told.notes[0]


@pytest.mark.usefixtures("without_torch")
def test_without_torch_and_a_digest_the_error_names_both(here: Surroundings, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"anything")
    with pytest.raises(ArtifactError) as caught:
        take(here, file)
    told = str(caught.value)
    assert str(file) in told
    assert NAME in told
    assert "no digest" in told
    assert "torch" in told
    assert here.names() == []


# Other files


@pytest.mark.parametrize("content", [b"[]", b'{"AP": [NaN, 1.5]}', b"\xef\xbb\xbf{}", '{"name": "ü"}'.encode()])
def test_json_is_imported(here: Surroundings, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "copy.json"
    file.write_bytes(content)
    for what in ("preds", "scores-val"):
        assert take(here, file, what).path.read_bytes() == content
    assert len(here.told.warnings) == 2


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", InputsError),
        (b'[{"name": "a.jpg"', InputsError),
        (b'["\xff"]', InputsError),
        (b"[" * 100_000 + b"]" * 100_000, InputsError),
        (b"<html>404", InputsError),
        (b"PK\x03\x04", InputsError),
    ],
)
def test_a_file_that_is_no_json_is_refused(
    here: Surroundings, content: bytes, error: type[Exception], tmp_path: Path
) -> None:
    file = tmp_path / "copy.json"
    file.write_bytes(content)
    with pytest.raises(error):
        take(here, file, "preds")
    assert not here.store.root.exists()


def test_a_zip_archive_is_imported_and_anything_else_is_refused(here: Surroundings, tmp_path: Path) -> None:
    file = tmp_path / "copy.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jpg", b"pixels")
    assert take(here, file, "visuals").path == here.path("visuals")
    whole = file.read_bytes()
    for content in (b"", b"{}", whole[:-30]):
        file.write_bytes(content)
        with pytest.raises(InvalidFileError, match="zip archive"):
            take(here, file, "visuals")
    zipfile.ZipFile(file, "w").close()
    with pytest.raises(InvalidFileError, match="is an empty zip archive"):
        take(here, file, "visuals")


def test_a_file_that_the_model_does_not_publish_cannot_be_imported(here: Surroundings, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="scores-test"):
        take(here, tmp_path / "copy.json", "scores-test")
    assert HOST in here.zoo[NAME].artifact("preds").addresses[0]


CONTENT = b"weights" * 400_000
WEIGHTS = f"det/models/{NAME}.pth"
PREDS = f"det/preds/{NAME}.json"


def export(here: Surroundings, *names: str, **options: bool) -> ExportResult:
    return export_mirror(here.store, here.zoo, here.folder / "mirror", names, here.told, **options)


def files(here: Surroundings) -> set[str]:
    root = here.folder / "mirror"
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def index(here: Surroundings) -> dict[str, Any]:
    document = json.loads((here.folder / "mirror" / "index.json").read_text())
    assert set(document) == {"files"}
    return {entry["path"]: entry for entry in document["files"]}


def test_files_have_the_paths_of_the_published_host_each_with_its_digest(here: Surroundings) -> None:
    here.holds(CONTENT)
    here.holds(b"[]", "preds")
    exported = export(here)
    assert files(here) == {WEIGHTS, f"det/models/{NAME}.md5", PREDS, f"{PREDS}.md5", "index.json"}
    assert (here.folder / "mirror" / WEIGHTS).read_bytes() == CONTENT
    md5 = hashlib.md5(CONTENT).hexdigest()
    assert (here.folder / f"mirror/det/models/{NAME}.md5").read_text() == f"{md5}  {NAME}.pth\n"
    assert parse_md5((here.folder / "mirror" / f"{PREDS}.md5").read_text()) == hashlib.md5(b"[]").hexdigest()
    assert (exported.written, exported.left_out) == (2, ())
    assert here.told.done == {f"{NAME} weights": len(CONTENT), f"{NAME} preds": 2}


def test_a_model_of_the_published_zoo_has_its_published_path(here: Surroundings) -> None:
    name = "fcos_r50_fpn_1x"
    for what in ARTIFACT_KINDS:
        here.holds(b"x", what, name)
    exported = export(here, name)
    published = [here.zoo[name].artifact(what).addresses[0] for what in ARTIFACT_KINDS]
    assert [f"https://dl.cv.ethz.ch/bdd100k/{entry.path}" for entry in exported.files] == published
    assert f"det/{MIRROR_FOLDERS['weights']}/{name}_det_bdd100k.md5" in files(here)


def test_the_index_has_the_digests_that_a_zoo_file_can_record(here: Surroundings) -> None:
    here.holds(CONTENT)
    here.holds(b"[]", "preds", verified_by=None, reason="no digest is known")
    export(here, include_unverified=True)
    assert index(here)[WEIGHTS] == {
        "model": NAME,
        "what": "weights",
        "path": WEIGHTS,
        "size": len(CONTENT),
        "md5": hashlib.md5(CONTENT).hexdigest(),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "verified": True,
        "verified_by": "publisher",
    }
    assert (index(here)[PREDS]["verified"], index(here)[PREDS]["verified_by"]) == (False, None)
    assert [f"the preds of {NAME} are unverified" in warning for warning in here.told.warnings] == [True]


def test_a_second_export_copies_nothing_and_a_further_one_adds(here: Surroundings) -> None:
    here.lists(entry_of(NAME), entry_of("yours_1x"))
    here.holds(CONTENT)
    export(here)
    before = {path: path.stat().st_mtime_ns for path in (here.folder / "mirror").rglob("*.pth")}
    assert export(here).written == 0
    here.holds(b"yours", name="yours_1x")
    exported = export(here, "yours_1x")
    assert [entry.model for entry in exported.files] == ["yours_1x"]
    assert set(index(here)) == {WEIGHTS, "det/models/yours_1x.pth"}
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_index_forgets_a_file_that_was_taken_out_of_the_folder(here: Surroundings) -> None:
    here.holds(CONTENT)
    here.holds(b"[]", "preds")
    export(here)
    (here.folder / "mirror" / PREDS).unlink()
    here.path("preds").unlink()
    export(here)
    assert set(index(here)) == {WEIGHTS}


def test_a_file_without_a_ledger_gets_one_and_is_exported(here: Surroundings) -> None:
    path = here.path()
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    (entry,) = export(here, include_unverified=True).files
    assert (entry.sha256, entry.verified) == (hashlib.sha256(CONTENT).hexdigest(), False)


# What is left out


def damage(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"W" + path.read_bytes()[1:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_damaged_file_is_left_out_and_named_even_where_size_and_time_are_right(here: Surroundings) -> None:
    damage(here.holds(CONTENT))
    here.holds(b"[]", "preds")
    exported = export(here)
    assert files(here) == {PREDS, f"{PREDS}.md5", "index.json"}
    (left,) = exported.left_out
    assert (left.path, left.damaged) == (here.path(), True)
    assert hashlib.sha256(CONTENT).hexdigest() in left.reason


def test_an_unverified_file_is_left_out_and_named_unless_it_is_requested(here: Surroundings) -> None:
    here.holds(CONTENT)
    path = here.holds(b"[]", "preds", verified_by=None, reason="no digest is known")
    exported = export(here)
    assert files(here) == {WEIGHTS, f"det/models/{NAME}.md5", "index.json"}
    assert [(left.path, left.unverified, left.damaged) for left in exported.left_out] == [(path, True, False)]
    assert "no digest is known" in exported.left_out[0].reason
    assert export(here, include_unverified=True).left_out == ()
    assert {path: entry["verified"] for path, entry in index(here).items()} == {WEIGHTS: True, PREDS: False}


def test_a_file_that_contradicts_the_zoo_file_is_left_out(here: Surroundings) -> None:
    here.holds(CONTENT)
    here.lists(entry_of(NAME, digest="md5:" + "0" * 32))
    exported = export(here)
    assert (exported.files, [left.damaged for left in exported.left_out]) == ((), [True])
    assert files(here) == set()


def test_a_file_of_a_model_that_the_zoo_lacks_is_left_out_and_not_called_damaged(here: Surroundings) -> None:
    here.lists(entry_of(NAME), entry_of("gone_1x"))
    here.holds(CONTENT, name="gone_1x")
    here.holds(CONTENT)
    here.lists(entry_of(NAME))
    (left,) = export(here).left_out
    assert (left.path.name, left.damaged) == ("gone_1x.pth", False)


def test_a_file_from_an_address_that_the_zoo_no_longer_lists_is_left_out(here: Surroundings) -> None:
    old = "https://old.example/mine_1x.pth"
    here.holds(CONTENT, address=old, stands_for=old)
    (left,) = export(here).left_out
    assert (left.damaged, old in left.reason) == (False, True)


# What is in the folder already


def write(here: Surroundings, path: str, content: str) -> Path:
    file = here.folder / "mirror" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


def test_other_files_are_not_overwritten_and_all_named_before_anything_is_written(here: Surroundings) -> None:
    here.holds(CONTENT)
    here.holds(b"[]", "preds")
    others = [write(here, WEIGHTS, "mine"), write(here, f"{PREDS}.md5", f"{'0' * 32}  {NAME}.json")]
    with pytest.raises(StorageError) as caught:
        export(here)
    assert str(caught.value).endswith("".join(f"\n  {path}" for path in others))
    assert files(here) == {WEIGHTS, f"{PREDS}.md5"}
    assert others[0].read_text() == "mine"


def test_an_index_that_is_none_of_ours_is_not_overwritten(here: Surroundings) -> None:
    here.holds(CONTENT)
    other = write(here, "index.json", '{"pages": []}')
    with pytest.raises(StorageError, match=r"index\.json"):
        export(here)
    assert files(here) == {"index.json"}
    assert other.read_text() == '{"pages": []}'


def test_a_digest_in_another_form_is_kept(here: Surroundings) -> None:
    here.holds(CONTENT)
    bare = write(here, f"det/models/{NAME}.md5", hashlib.md5(CONTENT).hexdigest().upper())
    export(here)
    assert bare.read_text() == hashlib.md5(CONTENT).hexdigest().upper()


def test_nothing_to_export_is_an_error(here: Surroundings) -> None:
    with pytest.raises(ArtifactError):
        export(here)
    here.holds(CONTENT)
    with pytest.raises(ArtifactError, match="fcos_r50_fpn_1x"):
        export(here, "fcos_r50_fpn_1x")
    assert not (here.folder / "mirror").exists()


def test_a_folder_that_cannot_be_written_is_reported(here: Surroundings) -> None:
    here.holds(CONTENT)
    write(here, "det", "a file in the way")
    with pytest.raises(StorageError, match="det"):
        export(here)
    assert files(here) == {"det"}


RECORDED_CONTENT = b"weights" * 1000
SHA = f"sha256:{hashlib.sha256(RECORDED_CONTENT).hexdigest()}"
MD5 = f"md5:{hashlib.md5(RECORDED_CONTENT).hexdigest()}"


def record(here: Surroundings, **options: bool) -> RecordedDigests:
    return write_digests(here.store, here.zoo, here.zoo_file, here.told, **options)


def test_digests_and_sizes_of_every_kind_of_file_are_recorded(here: Surroundings) -> None:
    here.holds(RECORDED_CONTENT)
    here.holds(b"[]", "preds")
    written = record(here)
    assert [(each.model, each.what, each.size) for each in written.recorded] == [
        (NAME, "weights", len(RECORDED_CONTENT)),
        (NAME, "preds", 2),
    ]
    model = load_zoo(here.zoo_file)[NAME]
    assert model.artifact("weights")[3:5] == (SHA, len(RECORDED_CONTENT))
    assert model.artifact("preds")[3:5] == (f"sha256:{hashlib.sha256(b'[]').hexdigest()}", 2)
    assert model.artifact("visuals")[3:5] == (None, None)
    assert here.told.warnings == []


def test_a_second_time_nothing_changes(here: Surroundings) -> None:
    here.holds(RECORDED_CONTENT)
    record(here)
    before, here.zoo = here.zoo_file.read_bytes(), load_zoo(here.zoo_file)
    again = record(here)
    assert (again.recorded, again.already, again.left_out) == ((), 1, 0)
    assert here.zoo_file.read_bytes() == before


def test_the_digests_of_unverified_files_are_recorded_only_where_that_is_requested(here: Surroundings) -> None:
    here.holds(RECORDED_CONTENT, verified_by=None, reason="no digest")
    here.holds(b"[]", "preds")
    written = record(here)
    assert [each.what for each in written.recorded] == ["preds"]
    assert [each.what for each in written.unverified] == ["weights"]
    assert load_zoo(here.zoo_file)[NAME].artifact("weights").digest is None
    here.zoo = load_zoo(here.zoo_file)
    asked = record(here, include_unverified=True)
    assert ([each.what for each in asked.recorded], asked.unverified) == (["weights"], ())
    assert load_zoo(here.zoo_file)[NAME].artifact("weights").digest == SHA
    assert [f"the weights of {NAME} are unverified" in warning for warning in here.told.warnings] == [True, True]


def test_a_recorded_digest_that_agrees_stays_and_its_size_is_added(here: Surroundings) -> None:
    here.lists(entry_of(NAME, digest=MD5))
    here.holds(RECORDED_CONTENT)
    record(here)
    assert load_zoo(here.zoo_file)[NAME].artifact("weights")[3:5] == (MD5, len(RECORDED_CONTENT))


@pytest.mark.parametrize("known", [{"digest": "md5:" + "0" * 32}, {"digest": MD5, "size": 3}])
def test_a_recorded_digest_or_size_that_differs_is_an_error_and_nothing_is_written(
    here: Surroundings, known: dict[str, object]
) -> None:
    here.holds(b"[]", "preds")
    here.holds(RECORDED_CONTENT)
    here.lists(entry_of(NAME, **known))
    before = here.zoo_file.read_bytes()
    with pytest.raises(DigestMismatchError) as caught:
        record(here)
    assert caught.value.expected in (str(known["digest"]), "3 bytes")
    assert caught.value.found in (MD5, f"{len(RECORDED_CONTENT):,} bytes")
    assert here.zoo_file.read_bytes() == before


def test_models_that_the_file_does_not_list_are_left_out_and_counted(here: Surroundings, tmp_path: Path) -> None:
    here.holds(RECORDED_CONTENT)
    here.holds(b"x", name="fcos_r50_fpn_1x")
    here.holds(b"[]", "preds", name="fcos_r50_fpn_1x")
    written = record(here)
    assert ([each.model for each in written.recorded], written.left_out) == ([NAME], 2)
    other = write_zoo_file(tmp_path / "other.yaml", entry_of("other_1x"))
    before = other.read_bytes()
    written = write_digests(here.store, load_zoo_with(here.zoo, other, (here.zoo_file,)), other, here.told)
    assert (written.recorded, written.left_out, other.read_bytes()) == ((), 3, before)


def test_a_zoo_file_that_is_not_in_use_is_loaded_and_one_that_is_not_read_twice(
    here: Surroundings, tmp_path: Path
) -> None:
    assert load_zoo_with(here.zoo, here.zoo_file, ()) is here.zoo
    (tmp_path / "link.yaml").symlink_to(here.zoo_file)
    assert load_zoo_with(here.zoo, tmp_path / "link.yaml", ()) is here.zoo
    assert load_zoo_with(here.zoo, here.zoo.files[0], ()) is here.zoo
    other = write_zoo_file(tmp_path / "other.yaml", entry_of("other_1x"))
    extended = load_zoo_with(here.zoo, other, (here.zoo_file,))
    assert {extended["other_1x"].zoo_file, extended[NAME].zoo_file} == {other, here.zoo_file}
    with pytest.raises(ManifestError):
        load_zoo_with(here.zoo, tmp_path / "none.yaml", ())


def test_an_empty_cache_and_partial_files_have_no_digests(here: Surroundings) -> None:
    with pytest.raises(ArtifactError):
        read_cached_digests(here.store, here.zoo)
    path = here.path()
    path.parent.mkdir(parents=True)
    path.with_name(f"{path.name}.1a2b3c4d.partial").write_bytes(b"half")
    with pytest.raises(ArtifactError):
        record(here)
