"""What the cache holds is recorded in a zoo file that lists it, and never against what is recorded there."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from surroundings import NAME, Surroundings, entry_of, write_zoo_file

from bdd100k_zoo.errors import DigestMismatchError, EmptyCacheError, ManifestError
from bdd100k_zoo.hub.digests import RecordedDigests, load_zoo_with, read_cached_digests, write_digests
from bdd100k_zoo.registry import load_zoo

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"weights" * 1000
SHA = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


def write(here: Surroundings, **options: bool) -> RecordedDigests:
    return write_digests(here.store, here.zoo, here.zoo_file, here.told, **options)


def test_digests_and_sizes_of_every_kind_of_file_are_recorded(here: Surroundings) -> None:
    here.holds(CONTENT)
    here.holds(b"[]", "preds")
    written = write(here)
    assert [(each.model, each.what, each.size) for each in written.recorded] == [
        (NAME, "weights", len(CONTENT)),
        (NAME, "preds", 2),
    ]
    model = load_zoo(here.zoo_file)[NAME]
    assert model.artifact("weights")[3:5] == (SHA, len(CONTENT))
    assert model.artifact("preds")[3:5] == (f"sha256:{hashlib.sha256(b'[]').hexdigest()}", 2)
    assert model.artifact("visuals")[3:5] == (None, None)
    assert here.told.warnings == []


def test_a_second_time_nothing_changes(here: Surroundings) -> None:
    here.holds(CONTENT)
    write(here)
    before, here.zoo = here.zoo_file.read_bytes(), load_zoo(here.zoo_file)
    again = write(here)
    assert (again.recorded, again.already, again.left_out) == ((), 1, 0)
    assert here.zoo_file.read_bytes() == before


def test_the_digests_of_unverified_files_are_recorded_only_where_that_is_asked_for(here: Surroundings) -> None:
    here.holds(CONTENT, verified_by=None, reason="no digest")
    here.holds(b"[]", "preds")
    written = write(here)
    assert [each.what for each in written.recorded] == ["preds"]
    assert [each.what for each in written.unverified] == ["weights"]
    assert load_zoo(here.zoo_file)[NAME].artifact("weights").digest is None
    here.zoo = load_zoo(here.zoo_file)
    asked = write(here, include_unverified=True)
    assert ([each.what for each in asked.recorded], asked.unverified) == (["weights"], ())
    assert load_zoo(here.zoo_file)[NAME].artifact("weights").digest == SHA
    assert [f"the weights of {NAME} are unverified" in warning for warning in here.told.warnings] == [True, True]


def test_a_recorded_digest_that_agrees_stays_and_its_size_is_added(here: Surroundings) -> None:
    here.lists(entry_of(NAME, digest=MD5))
    here.holds(CONTENT)
    write(here)
    assert load_zoo(here.zoo_file)[NAME].artifact("weights")[3:5] == (MD5, len(CONTENT))


@pytest.mark.parametrize("known", [{"digest": "md5:" + "0" * 32}, {"digest": MD5, "size": 3}])
def test_a_recorded_digest_or_size_that_differs_is_an_error_and_nothing_is_written(
    here: Surroundings, known: dict[str, object]
) -> None:
    here.holds(b"[]", "preds")
    here.holds(CONTENT)
    here.lists(entry_of(NAME, **known))
    before = here.zoo_file.read_bytes()
    with pytest.raises(DigestMismatchError) as caught:
        write(here)
    assert caught.value.expected in (str(known["digest"]), "3 bytes")
    assert caught.value.found in (MD5, f"{len(CONTENT):,} bytes")
    assert here.zoo_file.read_bytes() == before


def test_models_that_the_file_does_not_list_are_left_out_and_counted(here: Surroundings, tmp_path: Path) -> None:
    here.holds(CONTENT)
    here.holds(b"x", name="fcos_r50_fpn_1x")
    here.holds(b"[]", "preds", name="fcos_r50_fpn_1x")
    written = write(here)
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


def test_an_empty_cache_and_what_is_not_complete_have_no_digests(here: Surroundings) -> None:
    with pytest.raises(EmptyCacheError):
        read_cached_digests(here.store, here.zoo)
    path = here.path()
    path.parent.mkdir(parents=True)
    path.with_name(f"{path.name}.1a2b3c4d.partial").write_bytes(b"half")
    with pytest.raises(EmptyCacheError):
        write(here)
