"""An export is a folder that can be served: the published layout, a digest beside each file, an index of all."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from surroundings import NAME, Surroundings, entry_of

from bdd100k_zoo.errors import EmptyCacheError, FilesExistError, StorageError
from bdd100k_zoo.hub.layout import MIRROR_FOLDERS
from bdd100k_zoo.hub.mirror_export import ExportResult, export_mirror
from bdd100k_zoo.hub.verify import parse_md5
from bdd100k_zoo.registry import ARTIFACT_KINDS

if TYPE_CHECKING:
    from pathlib import Path

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


def test_files_stand_where_the_published_host_has_them_each_with_its_digest(here: Surroundings) -> None:
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


def test_a_model_of_the_published_zoo_stands_under_its_published_path(here: Surroundings) -> None:
    name = "fcos_r50_fpn_1x"
    for what in ARTIFACT_KINDS:
        here.holds(b"x", what, name)
    exported = export(here, name)
    published = [here.zoo[name].artifact(what).addresses[0] for what in ARTIFACT_KINDS]
    assert [f"https://dl.cv.ethz.ch/bdd100k/{entry.path}" for entry in exported.files] == published
    assert f"det/{MIRROR_FOLDERS['weights']}/{name}_det_bdd100k.md5" in files(here)


def test_the_index_says_what_a_zoo_file_can_take_over(here: Surroundings) -> None:
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


def test_an_unverified_file_is_left_out_and_named_unless_it_is_asked_for(here: Surroundings) -> None:
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


# What stands in the folder already


def write(here: Surroundings, path: str, content: str) -> Path:
    file = here.folder / "mirror" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


def test_other_files_are_not_overwritten_and_all_named_before_anything_is_written(here: Surroundings) -> None:
    here.holds(CONTENT)
    here.holds(b"[]", "preds")
    others = [write(here, WEIGHTS, "mine"), write(here, f"{PREDS}.md5", f"{'0' * 32}  {NAME}.json")]
    with pytest.raises(FilesExistError) as caught:
        export(here)
    assert caught.value.paths == tuple(others)
    assert files(here) == {WEIGHTS, f"{PREDS}.md5"}
    assert others[0].read_text() == "mine"


def test_an_index_that_is_none_of_ours_is_not_overwritten(here: Surroundings) -> None:
    here.holds(CONTENT)
    other = write(here, "index.json", '{"pages": []}')
    with pytest.raises(FilesExistError, match=r"index\.json"):
        export(here)
    assert files(here) == {"index.json"}
    assert other.read_text() == '{"pages": []}'


def test_a_digest_in_another_form_is_kept(here: Surroundings) -> None:
    here.holds(CONTENT)
    bare = write(here, f"det/models/{NAME}.md5", hashlib.md5(CONTENT).hexdigest().upper())
    export(here)
    assert bare.read_text() == hashlib.md5(CONTENT).hexdigest().upper()


def test_nothing_to_export_is_an_error(here: Surroundings) -> None:
    with pytest.raises(EmptyCacheError):
        export(here)
    here.holds(CONTENT)
    with pytest.raises(EmptyCacheError, match="fcos_r50_fpn_1x"):
        export(here, "fcos_r50_fpn_1x")
    assert not (here.folder / "mirror").exists()


def test_a_folder_that_cannot_be_written_is_told(here: Surroundings) -> None:
    here.holds(CONTENT)
    write(here, "det", "a file in the way")
    with pytest.raises(StorageError, match="det"):
        export(here)
    assert files(here) == {"det"}
