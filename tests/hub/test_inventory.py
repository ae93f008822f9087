"""The contents of the cache are listed, and listing changes nothing."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from fault_host import artifact_of, md5_of
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.hub import Store, ledger
from bdd100k_zoo.hub.inventory import SIDECAR_PATTERN, CacheItem, scan_cache
from bdd100k_zoo.hub.layout import (
    RESERVED_SUFFIXES,
    SAFE_NAME,
    damaged_path,
    ledger_path,
    lock_path,
    partial_facts_path,
    partial_path,
)
from bdd100k_zoo.hub.verify import hash_file

if TYPE_CHECKING:
    from bdd100k_zoo.registry import Artifact

ADDRESS = "https://far.example/tiny_1x.pth"
ARTIFACT = artifact_of(ADDRESS)
CONTENT = b"weights"
FACTS = {"model": "tiny_1x", "what": "weights", "address": ADDRESS, "etag": '"7"', "last_modified": None, "total": 28}


def place(store: Store, artifact: Artifact = ARTIFACT) -> Path:
    path = store.path(artifact)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    return path


def record(path: Path, **facts: Any) -> None:
    hashes, status = hash_file(path), path.stat()
    known = {
        "model": "tiny_1x",
        "what": "weights",
        "address": ADDRESS,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "md5": hashes.md5,
        "sha256": hashes.sha256,
        "verified_by": "publisher",
        "reason": None,
    }
    ledger.write_ledger(path, ledger.LedgerEntry(**(known | facts)))


def stock(store: Store, *artifacts: Artifact) -> tuple[CacheItem, ...]:
    return scan_cache(store.root, {store.path(artifact): artifact for artifact in artifacts})


def only(store: Store, *artifacts: Artifact) -> CacheItem:
    (item,) = stock(store, *artifacts)
    return item


def test_a_cache_that_does_not_exist_is_empty(store: Store) -> None:
    assert stock(store, ARTIFACT) == ()
    assert not store.root.exists()


def test_a_verified_file_is_listed_with_its_facts(store: Store) -> None:
    path = place(store)
    record(path, zoo_file="/somewhere/mine.yaml")
    os.utime(path, ns=(0, 1_700_000_000_500_000_000))
    record(path, zoo_file="/somewhere/mine.yaml")
    item = only(store, ARTIFACT)
    assert item.path == item.target == path
    assert (item.kind, item.model, item.what, item.size) == ("file", "tiny_1x", "weights", len(CONTENT))
    assert (item.state, item.verified_by, item.reason) == ("verified", "publisher", None)
    assert (item.changed, item.address) == ("2023-11-14T22:13:20+00:00", ADDRESS)
    assert str(item.zoo_file) == "/somewhere/mine.yaml"


def test_the_time_of_the_last_change_can_be_read_back(store: Store) -> None:
    changed = place(store).stat().st_mtime
    read = datetime.fromisoformat(only(store, ARTIFACT).changed)
    assert read == datetime.fromtimestamp(int(changed), timezone.utc)


def test_an_unverified_file_is_listed_with_the_reason(store: Store) -> None:
    record(place(store), verified_by=None, reason="the digest's address is dead")
    item = only(store, ARTIFACT)
    assert (item.state, item.verified_by, item.reason) == ("unverified", None, "the digest's address is dead")


def test_a_digest_in_the_zoo_file_verifies_a_file_that_came_without_one(store: Store) -> None:
    record(place(store), verified_by=None, reason="none then")
    item = only(store, artifact_of(ADDRESS, digest=f"md5:{md5_of(CONTENT)}"))
    assert (item.state, item.verified_by, item.reason) == ("verified", "zoo file", None)


@pytest.mark.parametrize("known", [{"digest": "md5:" + "0" * 32}, {"size": 8}], ids=["digest", "size"])
def test_a_file_that_contradicts_the_zoo_file_is_wrong(store: Store, known: dict[str, Any]) -> None:
    record(place(store))
    item = only(store, artifact_of(ADDRESS, **known))
    assert (item.state, item.verified_by) == ("wrong", None)
    assert str(next(iter(known.values()))) in str(item.reason)


@pytest.mark.parametrize("change", [{"mtime_ns": 1}, {"size": 99}])
def test_a_file_that_is_not_the_ledgers_has_changed(store: Store, change: dict[str, int]) -> None:
    record(place(store), **change)
    item = only(store, ARTIFACT)
    assert item.state == "changed"
    assert "ledger" in str(item.reason)


def test_a_file_without_a_ledger_is_known_by_its_name(store: Store) -> None:
    place(store)
    item = only(store, artifact_of("https://far.example/other_1x.pth", model="other_1x"), ARTIFACT)
    assert (item.kind, item.model, item.state, item.reason) == ("file", "tiny_1x", "unknown", "it has no ledger")


def test_a_damaged_ledger_is_reported_and_not_used(store: Store) -> None:
    path = place(store)
    ledger_path(path).write_text("{")
    for artifacts in ([ARTIFACT], []):
        item = only(store, *artifacts)
        assert (item.kind, item.state, item.reason) == ("file", "unknown", "its ledger is damaged")


def test_a_file_of_a_model_that_the_zoo_lacks_is_known_by_its_ledger(store: Store) -> None:
    record(place(store))
    item = only(store)
    assert (item.kind, item.model, item.state) == ("file", "tiny_1x", "verified")


def test_a_file_that_no_model_names_is_listed_as_other(store: Store) -> None:
    (place(store).parent / "notes.txt").write_text("mine")
    notes, weights = stock(store, ARTIFACT)
    assert (notes.kind, notes.path.name, notes.model) == ("other", "notes.txt", None)
    assert "no ledger" in str(notes.reason)
    assert weights.kind == "file"


def test_a_partial_file_is_listed_with_how_far_it_came(store: Store) -> None:
    target = store.path(ARTIFACT)
    target.parent.mkdir(parents=True)
    partial = partial_path(target, "1a2b3c4d")
    partial.write_bytes(CONTENT)
    item = only(store, ARTIFACT)
    assert (item.kind, item.target, item.model, item.total) == ("partial", target, "tiny_1x", None)
    partial_facts_path(partial).write_bytes(msgspec.json.encode(FACTS | {"host": "here", "pid": 7}))
    item = only(store)
    assert (item.model, item.what, item.size, item.total, item.address) == ("tiny_1x", "weights", 7, 28, ADDRESS)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"total": "many"}', b"\xff"])
def test_facts_that_cannot_be_read_hide_no_partial_file(store: Store, content: bytes) -> None:
    partial = partial_path(store.path(ARTIFACT), "1a2b3c4d")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(CONTENT)
    partial_facts_path(partial).write_bytes(content)
    assert only(store, ARTIFACT).kind == "partial"


def test_facts_and_records_that_were_left_alone_are_listed_as_left_over(store: Store) -> None:
    target = store.path(ARTIFACT)
    facts = partial_facts_path(partial_path(target, "1a2b3c4d"))
    facts.parent.mkdir(parents=True)
    facts.write_bytes(msgspec.json.encode(FACTS))
    half = [target.with_name(f".{name}.{'a' * 32}") for name in (ledger_path(target).name, facts.name)]
    for path in half:
        path.write_bytes(b"{")
    items = stock(store)
    assert {item.path for item in items} == {facts, *half}
    assert {(item.kind, item.target) for item in items} == {("partial", target)}
    assert next(item.model for item in items if item.path == facts) == "tiny_1x"


def test_a_file_that_was_set_aside_is_known_by_the_ledger_that_stayed_or_went_along(store: Store) -> None:
    path = place(store)
    record(path)
    aside = damaged_path(path, "20261105T101112")
    path.rename(aside)
    damaged, left = stock(store)
    assert (damaged.kind, damaged.model, damaged.target) == ("damaged", "tiny_1x", path)
    assert (left.kind, left.path) == ("ledger", ledger_path(path))
    ledger_path(path).rename(ledger_path(aside))
    assert (only(store).kind, only(store).model, only(store).address) == ("damaged", "tiny_1x", ADDRESS)
    ledger_path(aside).unlink()
    assert (only(store).model, only(store, ARTIFACT).model) == (None, "tiny_1x")


def test_locks_and_the_ledgers_of_files_are_no_items(store: Store) -> None:
    path = place(store)
    record(path)
    lock_path(path).touch()
    assert [item.path for item in stock(store, ARTIFACT)] == [path]


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize(("verified_by", "state"), [(None, "unverified"), ("user", "verified")])
def test_a_ledger_without_a_file_is_listed_with_its_facts(
    store: Store, listed: bool, verified_by: str | None, state: str
) -> None:
    path = place(store)
    record(path, verified_by=verified_by, reason=None if verified_by else "no digest")
    path.unlink()
    item = only(store, *([ARTIFACT] if listed else []))
    assert (item.path, item.target, item.kind) == (ledger_path(path), path, "ledger")
    assert (item.model, item.what, item.state, item.verified_by) == ("tiny_1x", "weights", state, verified_by)


def test_a_damaged_ledger_without_a_file_is_listed_too(store: Store) -> None:
    path = place(store)
    path.unlink()
    ledger_path(path).write_text("{")
    item = only(store, ARTIFACT)
    assert (item.kind, item.model, item.state, item.reason) == ("ledger", "tiny_1x", "unknown", "it is damaged")
    assert (only(store).model, only(store).what) == (None, "weights")


def test_the_ledger_of_another_file_verifies_nothing(store: Store) -> None:
    path = place(store)
    for facts in ({"model": "other_1x"}, {"what": "preds"}, {"model": "other_1x", "address": None}):
        record(path, **facts)
        item = only(store, ARTIFACT)
        assert (item.state, item.verified_by) == ("unverified", None)
        assert "its ledger is that of the" in str(item.reason)


def test_a_file_from_an_address_that_is_no_longer_listed_is_not_shown_as_verified(store: Store) -> None:
    record(place(store), address="https://old.example/tiny_1x.pth")
    item = only(store, ARTIFACT)
    assert (item.state, item.verified_by) == ("unverified", None)
    assert "https://old.example/tiny_1x.pth" in str(item.reason)


def test_links_and_folders_are_named_and_not_followed(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "big.pth").write_bytes(bytes(1000))
    path = store.path(ARTIFACT)
    path.parent.mkdir(parents=True)
    path.symlink_to(outside / "big.pth")
    (path.parent / "folder").mkdir()
    (path.parent / "nowhere").symlink_to(tmp_path / "nowhere")
    (store.root / "det" / "preds").symlink_to(outside)
    found = {item.path.name: (item.kind, item.size, item.reason) for item in stock(store, ARTIFACT)}
    assert found == {
        "folder": ("other", 0, "it is a folder"),
        "nowhere": ("other", 0, "it is a link"),
        "preds": ("other", 0, "it is a link"),
        path.name: ("other", 0, "it is a link"),
    }


def test_a_cache_that_is_reached_through_a_link_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    store = Store(tmp_path / "link")
    place(store)
    assert only(store, ARTIFACT).kind == "file"


def test_a_folder_that_is_a_file_is_named(store: Store) -> None:
    (store.root / "det").mkdir(parents=True)
    (store.root / "det" / "weights").write_text("in the way")
    assert (only(store).kind, only(store).path.name) == ("other", "weights")
    (store.root / "det" / "weights").unlink()
    (store.root / "det").rmdir()
    (store.root / "det").write_text("in the way")
    assert stock(store) == ()


def test_a_folder_that_cannot_be_read_is_a_storage_error(store: Store) -> None:
    folder = place(store).parent
    if os.geteuid() == 0:
        pytest.skip("root may read every folder")
    folder.chmod(0)
    with pytest.raises(StorageError, match="Permission"):
        stock(store, ARTIFACT)
    folder.chmod(0o755)


def test_looking_changes_nothing(store: Store) -> None:
    path = place(store)
    partial_path(path, "1a2b3c4d").write_bytes(b"x")
    before = {each: each.stat().st_mtime_ns for each in store.root.rglob("*")}
    stock(store, ARTIFACT)
    assert {each: each.stat().st_mtime_ns for each in store.root.rglob("*")} == before


names = st.from_regex(SAFE_NAME, fullmatch=True).filter(lambda name: not name.endswith(RESERVED_SUFFIXES))


@given(name=names)
def test_no_file_of_an_artifact_is_mistaken_for_a_sidecar(name: str) -> None:
    assert SIDECAR_PATTERN.fullmatch(name) is None


@given(name=names, unique=st.from_regex("[0-9a-f]{8}", fullmatch=True), stamp=st.from_regex("[0-9T]+", fullmatch=True))
def test_a_sidecar_leads_back_to_its_file(name: str, unique: str, stamp: str) -> None:
    target = Path("/cache") / name
    partial = partial_path(target, unique)
    beside = {partial: "partial", partial_facts_path(partial): "partial", damaged_path(target, stamp): "damaged"}
    for path, kind in beside.items():
        found = SIDECAR_PATTERN.fullmatch(path.name)
        assert found
        assert found[kind] == name
