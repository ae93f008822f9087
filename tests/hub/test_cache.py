from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fault_host import HASTE, Reply, Told, artifact_of, md5_of
from filelock import FileLock
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

import bdd100k_zoo
from bdd100k_zoo.errors import (
    ArtifactError,
    DigestMismatchError,
    OfflineError,
    StorageError,
    TransferError,
    UnverifiedError,
)
from bdd100k_zoo.hub import Store, default_cache_root, ledger, locks
from bdd100k_zoo.hub.cache import describe_cached
from bdd100k_zoo.hub.layout import cache_file_name, ledger_path, lock_path
from bdd100k_zoo.hub.ledger import LedgerEntry, classify_cached
from bdd100k_zoo.hub.mirrors import Mirror
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.registry import ARTIFACT_KINDS, Artifact, load_zoo
from bdd100k_zoo.registry.models import UserDigest

if TYPE_CHECKING:
    from collections.abc import Callable

    from fault_host import Host

NAME = "tiny_1x_det_bdd100k.pth"
LEDGER = NAME + ".ledger.json"
OTHER_MD5 = "md5:" + "0" * 32

model_names = st.from_regex(r"[a-z0-9][a-z0-9_]{0,20}", fullmatch=True)
segments = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["", ".", "..", "%2e%2e", "..%2f..%2fx", "a%00b", ".hidden", "x.pth.lock", "x.ledger.json", "-rf"]),
)
suffixed = st.builds("{}{}{}".format, model_names, st.sampled_from(["", "_det_bdd100k"]), st.sampled_from(["", ".pth"]))
addresses = st.builds("https://a.org/{}/{}".format, segments, st.one_of(segments, suffixed))


def _put_by_hand(store: Store, artifact: Artifact, content: bytes) -> Path:
    path = store.path(artifact)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# Names


@given(model=model_names, what=st.sampled_from(ARTIFACT_KINDS), address=addresses)
def test_every_file_is_directly_in_its_folder_of_the_cache(model: str, what: str, address: str) -> None:
    root = Path("/cache")
    path = Store(root).path(artifact_of(address, model=model, what=what))
    assert path.parent == root / "det" / what
    assert path.name.isascii()
    assert not path.name.startswith(".")
    assert len(path.name) <= 150
    assert not path.name.endswith((".lock", ".partial", ".ledger.json"))


@given(one=model_names, other=model_names, first=addresses, second=addresses)
def test_no_two_models_share_a_file(one: str, other: str, first: str, second: str) -> None:
    assume(one != other)
    assert cache_file_name(artifact_of(first, model=one)) != cache_file_name(artifact_of(second, model=other))


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://a.org/m/tiny_1x_det_bdd100k.pth", "tiny_1x_det_bdd100k.pth"),
        ("https://a.org/m/tiny_1x.pth?raw=1#top", "tiny_1x.pth"),
        ("https://a.org/m/epoch_12.pth", "tiny_1x-epoch_12.pth"),
        ("https://a.org/m/tiny_1x_more.pth", "tiny_1x-tiny_1x_more.pth"),
        ("https://a.org/m/%2e%2e%2fsecret", "tiny_1x-weights"),
        ("https://a.org/m/" + "a" * 200, "tiny_1x-weights"),
        ("https://a.org/", "tiny_1x-weights"),
        ("https://[a.org/x.pth", "tiny_1x-weights"),
    ],
)
def test_a_file_keeps_its_published_name_if_that_names_the_model(address: str, name: str) -> None:
    assert cache_file_name(artifact_of(address)) == name


def test_every_file_of_the_zoo_keeps_its_published_name() -> None:
    for model in load_zoo().models:
        for what in ARTIFACT_KINDS:
            artifact = model.artifact(what)
            for address in artifact.addresses[:1]:
                assert cache_file_name(artifact) == address.rpartition("/")[2]


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BDD100K_ZOO_CACHE", "~/mine")
    assert default_cache_root() == tmp_path / "home" / "mine"
    monkeypatch.setenv("BDD100K_ZOO_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_root().name == "bdd100k-zoo"


def test_a_relative_root_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Store(Path("here")).path(artifact_of()).is_relative_to(tmp_path / "here")


# Fetching


def test_a_file_with_a_recorded_digest_and_size_arrives_verified(
    host: Host, store: Store, told: Told, body: bytes, left_over: Callable[[], list[str]]
) -> None:
    address = host.serves(f"/{NAME}", body)
    sha256 = hashlib.sha256(body).hexdigest()
    stored = store.fetch(artifact_of(address, digest=f"sha256:{sha256}", size=len(body)), told)
    assert stored.path == store.root / "det" / "weights" / NAME
    assert stored.path.read_bytes() == body
    assert (stored.size, stored.md5, stored.sha256) == (len(body), md5_of(body), sha256)
    assert (stored.verified, stored.verified_by, stored.reason, stored.address) == (True, "zoo file", None, address)
    assert left_over() == [NAME, LEDGER]
    assert told.warnings == []


def test_a_published_digest_verifies_as_well(host: Host, store: Store, told: Told, body: bytes) -> None:
    digest_address = host.serves("/x.md5", f"{md5_of(body)}  model.pth\n".encode())
    artifact = artifact_of(host.serves(f"/{NAME}", body), digest_addresses=(digest_address,))
    stored = store.fetch(artifact, told, require_digest=True)
    assert (stored.verified_by, stored.digest_address) == ("publisher", digest_address)
    assert told.warnings == []


@pytest.mark.parametrize("refetched", [False, True])
def test_a_cached_file_is_returned_and_nothing_is_contacted(host: Host, body: bytes, refetched: bool) -> None:
    digest_address = host.serves("/x.md5", md5_of(body).encode())
    artifact = artifact_of(host.serves(f"/{NAME}", body), digest_addresses=(digest_address,))
    with Store() as store:
        first = store.fetch(artifact, NO_PROGRESS)
    asked = host.asked.copy()
    again = Store(offline=True)
    assert (again.fetch(artifact, NO_PROGRESS) if refetched else again.find(artifact)) == first
    assert host.asked == asked


def test_a_dead_digest_address_leaves_the_file_unverified_and_every_fetch_warns(
    host: Host, store: Store, told: Told, body: bytes
) -> None:
    digest_address = host.address + "/gone.md5"
    artifact = artifact_of(host.serves(f"/{NAME}", body), digest_addresses=(digest_address,))
    stored = store.fetch(artifact, told)
    reason = f"the zoo file records no digest, and {digest_address} answered 404 Not Found"
    assert (stored.verified, stored.verified_by, stored.reason) == (False, None, reason)
    assert store.fetch(artifact, told) == stored
    assert told.warnings == [f"the weights of tiny_1x are unverified: {reason}"] * 2


def test_without_any_digest_the_file_is_unverified(host: Host, store: Store, told: Told, body: bytes) -> None:
    stored = store.fetch(artifact_of(host.serves("/p.json", body), what="preds"), told)
    assert stored.reason == "the zoo file records no digest and no address of one"
    assert stored.path.name == "tiny_1x-p.json"


def test_a_required_digest_that_is_missing_is_reported_before_the_file_is_requested(
    host: Host, store: Store, told: Told, body: bytes, left_over: Callable[[], list[str]]
) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body), digest_addresses=(host.address + "/gone.md5",))
    with pytest.raises(UnverifiedError, match="answered 404"):
        store.fetch(artifact, told, require_digest=True)
    assert host.asked == {"/gone.md5": 1}
    assert left_over() == []


def test_a_required_digest_refuses_an_unverified_file_of_the_cache(host: Host, store: Store, body: bytes) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body))
    path = store.fetch(artifact, NO_PROGRESS).path
    with pytest.raises(UnverifiedError, match="no digest"):
        store.fetch(artifact, NO_PROGRESS, require_digest=True)
    assert path.read_bytes() == body


def test_an_alternate_is_tried_when_the_published_address_fails(
    host: Host, store: Store, told: Told, body: bytes
) -> None:
    published, alternate = host.address + f"/{NAME}", host.serves("/later.pth", body)
    digest_address = host.serves("/x.md5", md5_of(body).encode())
    stored = store.fetch(artifact_of(published, alternate, digest_addresses=(digest_address,)), told)
    assert (stored.address, stored.verified_by, stored.path.name) == (alternate, "publisher", NAME)
    assert told.notes == [f"{published} answered 404 Not Found; trying {alternate}"]


@pytest.mark.parametrize("published_digest_is_dead", [True, False])
def test_the_publishers_later_digest_is_read_where_the_published_one_is_dead(
    host: Host, store: Store, body: bytes, published_digest_is_dead: bool
) -> None:
    digest_addresses = (host.address + "/x.md5", host.serves("/later/tiny.md5", md5_of(body).encode()))
    if not published_digest_is_dead:
        host.serves("/x.md5", md5_of(body).encode())
    addresses = (host.address + f"/{NAME}", host.serves("/later/tiny.pth", body))
    artifact = artifact_of(*addresses, digest_addresses=digest_addresses)
    stored = store.fetch(artifact, NO_PROGRESS, require_digest=True)
    assert (stored.verified_by, stored.digest_address) == ("publisher", digest_addresses[published_digest_is_dead])


def test_only_listed_addresses_of_digests_are_asked(host: Host, store: Store, body: bytes) -> None:
    host.serves("/later/tiny.md5", md5_of(body).encode())
    addresses = (host.address + f"/{NAME}", host.serves("/later/tiny.pth", body))
    for digest_addresses in ((), (host.address + "/x.md5",)):
        assert not store.fetch(artifact_of(*addresses, digest_addresses=digest_addresses), NO_PROGRESS).verified
    assert "/later/tiny.md5" not in host.asked


def test_wrong_bytes_are_not_kept_and_the_next_address_is_tried(
    host: Host, store: Store, told: Told, body: bytes
) -> None:
    wrong, right = host.serves(f"/{NAME}", b"other bytes"), host.serves("/later.pth", body)
    stored = store.fetch(artifact_of(wrong, right, digest=f"md5:{md5_of(body)}"), told)
    assert (stored.address, stored.path.read_bytes()) == (right, body)
    assert "sent other bytes" in told.notes[0]


def test_only_wrong_bytes_are_a_digest_mismatch(
    host: Host, store: Store, body: bytes, left_over: Callable[[], list[str]]
) -> None:
    wrong, also = host.serves(f"/{NAME}", body), host.serves("/later.pth", body + b"!")
    with pytest.raises(DigestMismatchError) as caught:
        store.fetch(artifact_of(wrong, also, digest=OTHER_MD5), NO_PROGRESS)
    assert (caught.value.subject, caught.value.expected, caught.value.source) == (wrong, OTHER_MD5, "zoo file")
    assert caught.value.found == f"md5:{md5_of(body)}"
    assert left_over() == []


def test_failures_of_several_kinds_are_all_reported(
    host: Host, dead_address: str, store: Store, body: bytes, left_over: Callable[[], list[str]]
) -> None:
    replies = {
        host.serves(f"/{NAME}", body): f"sent other bytes: expected {OTHER_MD5} (from zoo file)",
        host.address + "/none.pth": "answered 404 Not Found",
        host.serves("/cut.pth", Reply(b"a" * 1234, promised=5678)): "ended after 1,234 of 5,678 bytes",
        dead_address + "/x.pth": "refused the connection",
    }
    with pytest.raises(TransferError) as caught:
        store.fetch(artifact_of(*replies, digest=OTHER_MD5), NO_PROGRESS)
    attempts = caught.value.attempts
    assert [attempt.address for attempt in attempts] == list(replies)
    assert all(attempt.outcome.startswith(words) for attempt, words in zip(attempts, replies.values(), strict=True))
    assert caught.value.kept == 1234
    assert [Path(name).suffix for name in left_over()] == [".partial", ".json"]


def test_plain_http_to_another_machine_is_not_contacted_without_a_recorded_digest(store: Store) -> None:
    with pytest.raises(TransferError, match="was not contacted: plain http"):
        store.fetch(artifact_of("http://models.example.org/x.pth"), NO_PROGRESS)


def test_no_address_is_an_error_of_its_own(store: Store) -> None:
    with pytest.raises(ArtifactError):
        store.fetch(artifact_of(what="visuals"), NO_PROGRESS)
    assert store.find(artifact_of(what="visuals")) is None


def test_offline_contacts_nothing_and_names_what_is_missing(host: Host, body: bytes) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body), digest_addresses=(host.serves("/x.md5", b""),))
    store = Store(offline=True)
    with pytest.raises(OfflineError) as caught:
        store.fetch(artifact, NO_PROGRESS)
    assert f"the weights of tiny_1x are not in the cache ({store.path(artifact)})" in str(caught.value)
    assert not host.asked
    assert not store.root.exists()


def test_offline_files_of_this_machine_are_copied_into_the_cache(tmp_path: Path, host: Host, body: bytes) -> None:
    file = tmp_path / "shared" / NAME
    file.parent.mkdir()
    file.write_bytes(body)
    artifact = artifact_of(host.serves(f"/{NAME}", body))
    artifact = artifact._replace(addresses=(*artifact.addresses, file.as_uri()))
    stored = Store(offline=True).fetch(artifact, NO_PROGRESS)
    assert stored.path.read_bytes() == body
    assert stored.address == file.as_uri()
    assert not host.asked


@pytest.mark.parametrize("value", ["1", "true", "TRUE", "yes", "on"])
def test_the_variable_makes_a_store_offline_unless_the_argument_overrides_it(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("BDD100K_ZOO_OFFLINE", value)
    assert Store().offline
    assert not Store(offline=False).offline


@pytest.mark.parametrize("value", [None, "", "0", "false", "no"])
def test_a_store_is_online_unless_the_variable_is_true(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is not None:
        monkeypatch.setenv("BDD100K_ZOO_OFFLINE", value)
    assert not Store().offline
    assert Store(offline=True).offline


def test_a_cache_folder_of_an_unknown_user_is_used_literally(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BDD100K_ZOO_CACHE", "~nobody_of_that_name/cache")
    assert Store().root == Path("~nobody_of_that_name/cache").absolute()


# What stands in the cache already


def test_a_file_put_there_by_hand_is_found_and_hashed_once(store: Store, body: bytes) -> None:
    artifact = artifact_of(f"https://a.org/{NAME}")
    path = _put_by_hand(store, artifact, body)
    stored = store.find(artifact)
    assert stored is not None
    assert (stored.md5, stored.address, stored.verified) == (md5_of(body), None, False)
    assert "by hand" in str(stored.reason)
    _change_keeping_facts(path, body[::-1])
    assert store.find(artifact) == stored


def _change_keeping_facts(path: Path, content: bytes) -> None:
    facts = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_a_file_put_there_by_hand_is_verified_by_the_zoo_file(store: Store, body: bytes) -> None:
    artifact = artifact_of(f"https://a.org/{NAME}", digest=f"md5:{md5_of(body)}", size=len(body))
    _put_by_hand(store, artifact, body)
    stored = store.fetch(artifact, NO_PROGRESS, require_digest=True)
    assert (stored.verified, stored.verified_by, stored.reason) == (True, "zoo file", None)


def test_a_file_put_there_by_hand_may_be_replaced_by_its_owner(store: Store, body: bytes) -> None:
    artifact = artifact_of(f"https://a.org/{NAME}")
    _put_by_hand(store, artifact, body[:1000])
    store.find(artifact)
    _put_by_hand(store, artifact, body)
    stored = store.find(artifact)
    assert stored is not None
    assert stored.md5 == md5_of(body)


def test_a_touched_file_keeps_its_history(host: Host, store: Store, body: bytes) -> None:
    artifact = artifact_of(
        host.serves(f"/{NAME}", body), digest_addresses=(host.serves("/x.md5", md5_of(body).encode()),)
    )
    first = store.fetch(artifact, NO_PROGRESS)
    os.utime(first.path, (1, 1))
    assert store.find(artifact) == first


def _damage(path: Path, body: bytes, same_size: bool = True) -> bytes:
    changed = body[::-1] if same_size else body[:1000]
    path.write_bytes(changed)
    os.utime(path, (1, 1))
    return changed


@pytest.mark.parametrize("same_size", [True, False])
def test_a_downloaded_file_that_has_changed_is_an_error_and_stays(
    host: Host, store: Store, body: bytes, same_size: bool
) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body))
    path = store.fetch(artifact, NO_PROGRESS).path
    changed = _damage(path, body, same_size)
    for ask in (store.find, lambda wanted: Store(offline=True).fetch(wanted, NO_PROGRESS)):
        with pytest.raises(DigestMismatchError) as caught:
            ask(artifact)
        assert (caught.value.subject, caught.value.found) == (
            str(path),
            f"sha256:{hashlib.sha256(changed).hexdigest()}",
        )
        assert str(ledger_path(path)) in caught.value.source
    assert path.read_bytes() == changed


def test_a_wrong_file_is_fetched_again_and_set_aside_once_the_right_one_is_here(
    host: Host, store: Store, told: Told, body: bytes
) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", Reply(body), Reply(status=404), Reply(body)))
    first = store.fetch(artifact, NO_PROGRESS)
    changed = _damage(first.path, body)
    with pytest.raises(TransferError):
        store.fetch(artifact, told)
    assert first.path.read_bytes() == changed
    assert store.fetch(artifact, told) == first
    assert first.path.read_bytes() == body
    (aside,) = first.path.parent.glob("*.damaged")
    assert aside.read_bytes() == changed
    assert str(aside) in told.notes[-1]
    assert "fetching it again" in told.warnings[0]


def test_the_first_stored_file_is_pinned_and_another_file_later_is_an_error(
    host: Host, store: Store, told: Told, body: bytes
) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body, body[::-1]))
    path = store.fetch(artifact, NO_PROGRESS).path
    path.unlink()
    with pytest.raises(DigestMismatchError) as caught:
        store.fetch(artifact, told)
    assert caught.value.expected == f"sha256:{hashlib.sha256(body).hexdigest()}"
    assert caught.value.source == f"its ledger {ledger_path(path)}"
    assert not path.exists()
    host.serves(f"/{NAME}", body)
    assert store.fetch(artifact, told).md5 == md5_of(body)


def test_a_pinned_file_is_verified_later_when_its_digest_can_be_had(host: Host, store: Store, body: bytes) -> None:
    digest_address = host.address + "/x.md5"
    artifact = artifact_of(host.serves(f"/{NAME}", body), digest_addresses=(digest_address,))
    assert not store.fetch(artifact, NO_PROGRESS).verified
    host.serves("/x.md5", md5_of(body).encode())
    stored = store.fetch(artifact, NO_PROGRESS, require_digest=True)
    assert (stored.verified_by, stored.digest_address, stored.reason) == ("publisher", digest_address, None)
    assert store.find(artifact) == stored
    assert host.asked[f"/{NAME}"] == 1


def test_a_cached_file_that_the_publishers_digest_contradicts_later_is_an_error(
    host: Host, store: Store, body: bytes
) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body), digest_addresses=(host.address + "/x.md5",))
    store.fetch(artifact, NO_PROGRESS)
    host.serves("/x.md5", b"0" * 32)
    with pytest.raises(DigestMismatchError, match=OTHER_MD5):
        store.fetch(artifact, NO_PROGRESS, require_digest=True)


@pytest.mark.parametrize("known", [{"digest": OTHER_MD5}, {"size": 7}])
def test_a_cached_file_that_the_zoo_file_contradicts_is_an_error_and_stays(
    host: Host, store: Store, body: bytes, known: dict[str, object]
) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body))
    path = store.fetch(artifact, NO_PROGRESS).path
    for _ in range(2):
        with pytest.raises(DigestMismatchError) as caught:
            store.find(artifact._replace(**known))
        assert (caught.value.subject, caught.value.source) == (str(path), "zoo file")
    assert path.read_bytes() == body
    assert store.find(artifact) is not None


def test_a_damaged_file_that_the_zoo_file_contradicts_never_changes_the_ledger(
    host: Host, store: Store, body: bytes
) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body))
    store.fetch(artifact, NO_PROGRESS).path.write_bytes(b"damaged")
    for asked in (artifact._replace(digest=f"md5:{md5_of(body)}"), artifact):
        with pytest.raises(DigestMismatchError):
            store.find(asked)


def test_a_ledger_that_contradicts_the_zoo_file_is_not_believed_unseen(host: Host, store: Store, body: bytes) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body))
    path = store.fetch(artifact, NO_PROGRESS).path
    _change_keeping_facts(path, body[::-1])
    stored = store.find(artifact._replace(digest=f"md5:{md5_of(body[::-1])}"))
    assert stored is not None
    assert stored.md5 == md5_of(body[::-1])


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe", b'{"model": "tiny_1x"}'])
def test_a_damaged_ledger_counts_as_none_and_is_reported(host: Host, store: Store, body: bytes, damage: bytes) -> None:
    artifact = artifact_of(
        host.serves(f"/{NAME}", body), digest_addresses=(host.serves("/x.md5", md5_of(body).encode()),)
    )
    path = store.fetch(artifact, NO_PROGRESS).path
    ledger_path(path).write_bytes(damage)
    stored = store.find(artifact)
    assert stored is not None
    assert (stored.verified, stored.md5) == (False, md5_of(body))
    assert f"its ledger {ledger_path(path)} was damaged" in str(stored.reason)


def test_a_file_from_an_address_that_is_no_longer_listed_is_fetched_again(
    host: Host, store: Store, told: Told, body: bytes
) -> None:
    old = artifact_of(host.serves(f"/old/{NAME}", b"the old file"))
    path = store.fetch(old, NO_PROGRESS).path
    new = artifact_of(host.serves(f"/new/{NAME}", body))
    assert store.find(new) is None
    stored = store.fetch(new, told)
    assert (stored.path, stored.path.read_bytes(), stored.address) == (path, body, new.addresses[0])
    assert "does not list" in told.notes[0]


def test_a_file_from_an_address_that_is_no_longer_listed_stays_until_another_has_come(
    host: Host, store: Store, told: Told
) -> None:
    old = artifact_of(host.serves(f"/old/{NAME}", b"the old file"))
    path = store.fetch(old, NO_PROGRESS).path
    with pytest.raises(TransferError):
        store.fetch(artifact_of(host.address + f"/new/{NAME}"), NO_PROGRESS)
    with pytest.raises(OfflineError):
        Store(offline=True).fetch(artifact_of(host.address + f"/new/{NAME}"), told)
    assert path.read_bytes() == b"the old file"
    assert store.find(old) is not None


hex_digests = st.sampled_from(["a" * 32, "b" * 32])


@given(
    md5=hex_digests,
    size=st.sampled_from([1, 2]),
    came_from=st.sampled_from([None, "https://a.org/x", "https://b.org/x"]),
    stands_for=st.sampled_from([None, "https://a.org/x", "https://b.org/x"]),
    recorded=st.none() | hex_digests,
    recorded_size=st.sampled_from([None, 1, 2]),
    model=st.sampled_from(["tiny_1x", "other_1x"]),
)
def test_a_kept_file_is_never_one_that_the_zoo_file_contradicts_or_another_address_sent(
    md5: str,
    size: int,
    came_from: str | None,
    stands_for: str | None,
    recorded: str | None,
    recorded_size: int | None,
    model: str,
) -> None:
    digest = f"md5:{recorded}" if recorded else None
    artifact = artifact_of("https://a.org/x", digest=digest, size=recorded_size)
    facts = {"model": model, "what": "weights", "mtime_ns": 0, "verified_by": None, "reason": None}
    entry = LedgerEntry(address=came_from, stands_for=stands_for, size=size, md5=md5, sha256="c" * 64, **facts)
    same = model == "tiny_1x" and (came_from is None or (stands_for or came_from) == "https://a.org/x")
    listed = same or md5 == recorded
    agrees = recorded in (None, md5) and recorded_size in (None, size)
    expected = "foreign" if not listed else "keep" if agrees else "contradicted"
    found = classify_cached(artifact, entry, Path())
    assert (found.is_foreign, found.mismatch is not None) == (expected == "foreign", expected == "contradicted")
    assert (found.usable_entry is not None) == (expected == "keep")


# The folder, the disk, and other processes


def test_a_file_that_the_disk_has_no_room_for_is_not_begun(host: Host, small_disk: Path, body: bytes) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body))
    with Store(small_disk) as store, pytest.raises(StorageError, match="no space for 2,097,159 bytes more") as caught:
        store.fetch(artifact, NO_PROGRESS)
    assert caught.value.path == store.path(artifact).parent
    assert [path.suffix for path in small_disk.rglob("*") if path.is_file()] in ([], [".lock"])


def test_a_transfer_that_fills_the_disk_resumes_when_there_is_space(host: Host, small_disk: Path, body: bytes) -> None:
    framing = {"framing": "chunked", "etag": '"1"', "ranges": "honoured"}
    artifact = artifact_of(host.serves(f"/{NAME}", Reply(body, **framing)))
    with Store(small_disk) as store:
        with pytest.raises(StorageError, match="No space left") as caught:
            store.fetch(artifact, NO_PROGRESS)
        assert caught.value.path == store.path(artifact)
        (kept,) = store.partials(artifact)
        assert kept.size > 100_000
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
        assert store.fetch(artifact, NO_PROGRESS).md5 == md5_of(body)
    assert host.seen_headers[-1]["Range"] == f"bytes={kept.size}-"


def test_a_read_only_disk_is_reported(host: Host, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with Store(small_disk) as store, pytest.raises(StorageError, match="Read-only file system"):
        store.fetch(artifact_of(host.serves(f"/{NAME}", b"content")), NO_PROGRESS)
    assert not host.asked


def test_a_cache_that_may_only_be_read_still_gives_its_files(small_disk: Path) -> None:
    store = Store(small_disk)
    artifact = artifact_of(f"https://a.org/{NAME}")
    _put_by_hand(store, artifact, b"content")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    stored = store.fetch(artifact, NO_PROGRESS)
    assert stored.md5 == md5_of(b"content")


def test_a_file_in_place_of_the_cache_is_reported(host: Host, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    with Store() as store, pytest.raises(StorageError):
        store.fetch(artifact_of(host.serves(f"/{NAME}", b"content")), NO_PROGRESS)
    assert not host.asked


def test_a_folder_in_place_of_the_file_is_reported(
    host: Host, store: Store, left_over: Callable[[], list[str]]
) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", b"content"))
    store.path(artifact).mkdir(parents=True)
    with pytest.raises(StorageError):
        store.fetch(artifact, NO_PROGRESS)
    assert left_over() == []


def test_others_who_can_read_the_folder_can_read_the_file(host: Host, store: Store) -> None:
    stored = store.fetch(artifact_of(host.serves(f"/{NAME}", b"content")), NO_PROGRESS)
    plain = stored.path.with_name("plain")
    plain.touch()
    assert stored.path.stat().st_mode == plain.stat().st_mode


def test_of_several_that_ask_at_once_one_downloads(host: Host, body: bytes) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body))
    start = threading.Barrier(4)

    def ask(_: int) -> str:
        with Store(retry_policy=HASTE) as store:
            start.wait()
            return store.fetch(artifact, NO_PROGRESS).md5

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ask, range(4))) == {md5_of(body)}
    assert host.asked == {f"/{NAME}": 1}


def test_several_processes_share_one_download(host: Host, store: Store, body: bytes) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body))
    code = (
        "import sys; from bdd100k_zoo.hub import Store; from bdd100k_zoo.registry import Artifact;"
        "from bdd100k_zoo.progress import NO_PROGRESS;"
        "artifact = Artifact('tiny_1x', 'weights', (sys.argv[1],), None, None);"
        "print(Store().fetch(artifact, NO_PROGRESS).md5)"
    )
    command = [sys.executable, "-W", "error", "-c", code, artifact.addresses[0]]
    environment = {**os.environ, "PYTHONPATH": str(Path(bdd100k_zoo.__file__).parents[1])}
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(3)]
    assert {process.communicate()[0].strip() for process in processes} == {md5_of(body)}
    assert host.asked == {f"/{NAME}": 1}


def test_a_lock_that_is_never_released_is_named(
    host: Host, store: Store, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LOCK_WAIT", 0.1)
    artifact = artifact_of(host.serves(f"/{NAME}", b"content"))
    lock = lock_path(store.path(artifact))
    lock.parent.mkdir(parents=True)
    with FileLock(lock), pytest.raises(StorageError) as caught:
        store.fetch(artifact, told)
    assert caught.value.path == lock
    assert "waiting" in told.notes[0]
    assert not host.asked


class Interrupting(Told):
    def advance(self, amount: int) -> None:
        super().advance(amount)
        if self.done > 100_000:
            raise KeyboardInterrupt


def test_after_an_interrupt_the_next_fetch_resumes(host: Host, store: Store, body: bytes) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", Reply(body, etag='"1"', ranges="honoured")))
    with pytest.raises(KeyboardInterrupt):
        store.fetch(artifact, Interrupting())
    (kept,) = store.partials(artifact)
    assert (kept.size > 100_000, kept.total) == (True, len(body))
    assert not store.path(artifact).exists()
    told = Told()
    assert store.fetch(artifact, told).md5 == md5_of(body)
    assert (host.seen_headers[1]["Range"], host.seen_headers[1]["If-Range"]) == (f"bytes={kept.size}-", '"1"')
    assert store.partials(artifact) == ()
    assert told.done == len(body)


def test_no_password_is_recorded_or_shown_and_the_next_fetch_still_resumes(
    host: Host, store: Store, body: bytes, tmp_path: Path
) -> None:
    reply = Reply(body, etag='"1"', ranges="honoured")
    cut = dataclasses.replace(reply, cut=len(body) // 2)
    address = host.serves(f"/{NAME}?token=s3cr3t", cut, Reply(status=404), reply)
    artifact = artifact_of(address.replace("//", "//me:s3cr3t@"))
    told = Told()
    with pytest.raises(TransferError) as caught:
        store.fetch(artifact, told)
    recorded = b"".join(path.read_bytes() for path in (tmp_path / "cache").rglob("*.json"))
    stored = store.fetch(artifact, told)
    assert host.seen_headers[-1]["Authorization"].startswith("Basic ")
    assert host.seen_headers[-1]["Range"] == f"bytes={len(body) // 2}-"
    assert store.find(artifact) == stored
    assert store.fetch(artifact, told) == stored
    assert host.asked[f"/{NAME}?token=s3cr3t"] == 3
    recorded += store.path(artifact).with_name(f"{NAME}.ledger.json").read_bytes()
    assert recorded.count(b"***@127.0.0.1") > 1
    for shown in (recorded.decode(), str(caught.value), *told.notes, *told.warnings, str(stored)):
        assert "s3cr3t" not in shown


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.write_bytes(b"of somebody else")
    return path


@pytest.mark.parametrize("dangling", [False, True])
@pytest.mark.parametrize("name", [NAME, LEDGER])
def test_nothing_is_written_through_a_link_in_the_place_of_a_file_or_its_ledger(
    host: Host, store: Store, body: bytes, outside: Path, name: str, dangling: bool
) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body), digest=f"md5:{md5_of(body)}")
    link = store.path(artifact).with_name(name)
    link.parent.mkdir(parents=True)
    link.symlink_to(outside.with_name("nowhere") if dangling else outside)
    assert store.fetch(artifact, NO_PROGRESS).path.read_bytes() == body
    assert not link.is_symlink()
    assert outside.read_bytes() == b"of somebody else"
    assert not outside.with_name("nowhere").exists()


def test_a_link_in_place_of_a_lock_is_reported_and_not_followed(
    host: Host, store: Store, body: bytes, outside: Path
) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body))
    lock = lock_path(store.path(artifact))
    lock.parent.mkdir(parents=True)
    lock.symlink_to(outside)
    with pytest.raises(StorageError, match="is a link") as caught:
        store.fetch(artifact, NO_PROGRESS)
    assert caught.value.path == lock
    assert outside.read_bytes() == b"of somebody else"


def test_links_in_the_place_of_a_partial_file_and_its_facts_are_not_followed(
    host: Host, store: Store, body: bytes, outside: Path
) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body))
    folder = store.path(artifact).parent
    folder.mkdir(parents=True)
    for suffix in ("partial", "partial.json"):
        (folder / f"{NAME}.0123abcd.{suffix}").symlink_to(outside)
    assert store.fetch(artifact, NO_PROGRESS).path.read_bytes() == body
    assert outside.read_bytes() == b"of somebody else"


def test_a_pipe_in_the_place_of_a_ledger_is_an_error_and_not_waited_for(host: Host, store: Store, body: bytes) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body))
    store.fetch(artifact, NO_PROGRESS)
    ledger = ledger_path(store.path(artifact))
    ledger.unlink()
    os.mkfifo(ledger)
    with pytest.raises(StorageError, match="is not a regular file"):
        store.fetch(artifact, NO_PROGRESS)


def test_the_cache_and_its_folders_may_be_links_to_another_disk(host: Host, body: bytes, tmp_path: Path) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body))
    for each in ("disk", "weights"):
        (tmp_path / each).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "det").mkdir()
    (tmp_path / "disk" / "det" / "weights").symlink_to(tmp_path / "weights")
    with Store(tmp_path / "link", retry_policy=HASTE) as store:
        assert store.fetch(artifact, NO_PROGRESS).path.read_bytes() == body
    assert (tmp_path / "weights" / NAME).read_bytes() == body


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_pipe_or_device_in_a_mirror_is_no_file(
    dead_address: str, body: bytes, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    folder = tmp_path / "mirror" / "det" / "models"
    folder.mkdir(parents=True)
    make(folder / NAME)
    artifact = artifact_of(f"{dead_address}/{NAME}")
    mirrors = [Mirror((tmp_path / "mirror").as_uri())]
    with Store(mirrors=mirrors, retry_policy=HASTE) as store, pytest.raises(TransferError) as caught:
        store.fetch(artifact, NO_PROGRESS)
    assert caught.value.attempts[1].outcome == "cannot be read: is not a regular file"


def test_on_a_file_system_without_locks_the_file_still_arrives(
    host: Host, store: Store, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", no_locks)
    assert store.fetch(artifact_of(host.serves(f"/{NAME}", body)), NO_PROGRESS).md5 == md5_of(body)


# Mirrors, and copies that somebody has


def test_mirrors_are_asked_after_the_addresses_of_the_zoo(
    host: Host, dead_address: str, told: Told, body: bytes
) -> None:
    mirror = Mirror(host.address + "/lab")
    host.serves(f"/lab/det/models/{NAME}", body)
    host.serves("/lab/det/models/tiny_1x_det_bdd100k.md5", f"{md5_of(body)}  {NAME}\n".encode())
    artifact = artifact_of(f"{dead_address}/{NAME}", digest_addresses=(f"{dead_address}/x.md5",))
    with Store(mirrors=(mirror,), retry_policy=HASTE) as store:
        stored = store.fetch(artifact, told)
        assert [route.address for route in store.routes(artifact)] == [artifact.addresses[0], stored.address]
    assert stored.address == f"{mirror.base}/det/models/{NAME}"
    digest = f"{mirror.base}/det/models/tiny_1x_det_bdd100k.md5"
    assert (stored.verified, stored.verified_by, stored.digest_address) == (False, None, None)
    assert f"it matches the mirror's digest {digest}" in str(stored.reason)
    assert f"it matches the mirror's digest {digest}" in told.warnings[0]
    assert Store(offline=True).find(artifact) == stored


@pytest.mark.parametrize("served", ["http", "file"])
def test_a_mirrors_digest_passes_no_requirement_however_often_it_is_asked(
    host: Host, dead_address: str, tmp_path: Path, body: bytes, served: str
) -> None:
    digest = md5_of(body).encode()
    host.serves(f"/lab/det/models/{NAME}", body)
    host.serves("/lab/det/models/tiny_1x_det_bdd100k.md5", digest)
    folder = tmp_path / "lab" / "det" / "models"
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(body)
    (folder / "tiny_1x_det_bdd100k.md5").write_bytes(digest)
    base = host.address + "/lab" if served == "http" else (tmp_path / "lab").as_uri()
    artifact = artifact_of(f"{dead_address}/{NAME}", digest_addresses=(f"{dead_address}/x.md5",))
    with Store(mirrors=(Mirror(base),), retry_policy=HASTE) as store:
        with pytest.raises(UnverifiedError):
            store.fetch(artifact, NO_PROGRESS, require_digest=True)
        assert store.find(artifact) is None
        path = store.fetch(artifact, NO_PROGRESS).path
        with pytest.raises(UnverifiedError):
            store.fetch(artifact, NO_PROGRESS, require_digest=True)
        path.unlink()  # the pin of an unverified file stays, and verifies the next one no more than this one
        assert not store.fetch(artifact, NO_PROGRESS).verified
        copy = store.import_file(artifact, folder / NAME, NO_PROGRESS)
    assert (copy.verified, copy.verified_by) == (False, None)


def test_a_transfer_from_a_mirror_that_its_digest_contradicts_is_not_kept(
    host: Host, dead_address: str, body: bytes, left_over: Callable[[], list[str]]
) -> None:
    host.serves(f"/lab/det/models/{NAME}", body)
    host.serves("/lab/det/models/tiny_1x_det_bdd100k.md5", b"0" * 32)
    with (
        Store(mirrors=(Mirror(host.address + "/lab"),), retry_policy=HASTE) as store,
        pytest.raises(TransferError, match="sent other bytes"),
    ):
        store.fetch(artifact_of(f"{dead_address}/{NAME}"), NO_PROGRESS)
    assert left_over() == []


def test_a_shared_folder_is_a_mirror(store: Store, tmp_path: Path, dead_address: str, body: bytes) -> None:
    folder = tmp_path / "shared" / "det" / "models"
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(body)
    artifact = artifact_of(f"{dead_address}/{NAME}", digest=f"md5:{md5_of(body)}")
    store.mirrors = (Mirror((tmp_path / "shared").as_uri()),)
    stored = store.fetch(artifact, NO_PROGRESS)
    assert stored.address == (folder / NAME).as_uri()
    assert stored.verified_by == "zoo file"


def test_the_publishers_digest_counts_for_mirrors_too(host: Host, store: Store, body: bytes) -> None:
    store.mirrors = (Mirror(host.address + "/lab"),)
    host.serves(f"/lab/det/models/{NAME}", body[::-1], body)
    artifact = artifact_of(host.address + f"/{NAME}", digest_addresses=(host.serves("/x.md5", md5_of(body).encode()),))
    with pytest.raises(TransferError, match="sent other bytes"):
        store.fetch(artifact, NO_PROGRESS)
    stored = store.fetch(artifact, NO_PROGRESS, require_digest=True)
    assert (stored.verified_by, stored.digest_address) == ("publisher", host.address + "/x.md5")
    assert stored.address == f"{host.address}/lab/det/models/{NAME}"


def test_a_file_that_was_never_published_is_not_asked_of_mirrors(host: Host, store: Store) -> None:
    store.mirrors = (Mirror(host.address),)
    with pytest.raises(ArtifactError):
        store.fetch(artifact_of(what="preds"), NO_PROGRESS)
    assert not host.asked


def test_a_host_that_has_just_failed_gets_one_try_for_the_next_file(
    host: Host, store: Store, dead_address: str
) -> None:
    host.serves("/x.pth", Reply(status=503))
    host.serves("/y.pth", Reply(status=503))
    for name in "xy":
        with pytest.raises(TransferError):
            store.fetch(artifact_of(f"{host.address}/{name}.pth", model=name), NO_PROGRESS)
    assert (host.asked["/x.pth"], host.asked["/y.pth"]) == (HASTE.tries, 1)


@pytest.fixture
def copy(tmp_path: Path, body: bytes) -> Path:
    path = tmp_path / "a copy.pth"
    path.write_bytes(body)
    return path


def test_a_copy_is_imported_and_verified_by_the_published_digest(
    host: Host, store: Store, copy: Path, body: bytes
) -> None:
    digest_address = host.serves("/x.md5", md5_of(body).encode())
    artifact = artifact_of(f"{host.address}/{NAME}", digest_addresses=(digest_address,))
    stored = store.import_file(artifact, copy, NO_PROGRESS)
    assert (stored.path, stored.path.read_bytes()) == (store.path(artifact), body)
    assert (stored.verified_by, stored.digest_address) == ("publisher", digest_address)
    assert stored.address == copy.as_uri()
    assert store.find(artifact) == stored
    assert host.asked == {"/x.md5": 1}
    assert copy.read_bytes() == body


def users(digest: str, source: str = "lab.yaml") -> dict[str, tuple[UserDigest, ...]]:
    return {"user_digests": (UserDigest("weights", digest, source),)}


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_digest_of_the_user_verifies_downloads_copies_and_what_is_in_the_cache(
    host: Host, store: Store, copy: Path, body: bytes, kind: str
) -> None:
    digest = f"{kind}:{hashlib.new(kind, body).hexdigest()}"
    plain = artifact_of(host.serves(f"/{NAME}", body))
    given = plain._replace(**users(digest))
    assert not store.fetch(plain, NO_PROGRESS).verified
    found = store.find(given)
    assert found is not None
    assert (found.verified, found.verified_by) == (True, "user")
    assert store.find(plain) != found  # the ledger of what was filed without the digest says so
    for file in (
        lambda: store.import_file(given, copy, NO_PROGRESS),
        lambda: store.fetch(given, NO_PROGRESS, require_digest=True),
    ):
        store.path(plain).unlink()
        ledger_path(store.path(plain)).unlink()
        assert file().verified_by == "user"
        remembered = store.find(plain)
        assert remembered is not None
        assert remembered.verified_by == "user"


def test_a_digest_of_the_user_replaces_an_unverified_file_which_is_kept(
    host: Host, store: Store, copy: Path, body: bytes
) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body[::-1]))
    path = store.fetch(artifact, NO_PROGRESS).path
    given = artifact._replace(**users(f"md5:{md5_of(body)}"))
    with pytest.raises(DigestMismatchError, match=r"lab\.yaml"):
        store.find(given)
    assert store.import_file(given, copy, NO_PROGRESS).verified_by == "user"
    (aside,) = path.parent.glob("*.damaged")
    assert aside.read_bytes() == body[::-1]


@pytest.mark.parametrize("in_place", [True, False])
def test_a_digest_of_the_user_does_not_overrule_the_pin_of_a_verified_file(
    host: Host, store: Store, copy: Path, body: bytes, in_place: bool
) -> None:
    copy.write_bytes(body[::-1])
    digest_address = host.serves("/x.md5", md5_of(body).encode())
    artifact = artifact_of(host.serves(f"/{NAME}", body), digest_addresses=(digest_address,))
    path = store.fetch(artifact, NO_PROGRESS).path
    given = artifact._replace(**users(f"md5:{md5_of(body[::-1])}"))
    if not in_place:
        path.unlink()
    with pytest.raises(DigestMismatchError) as caught:
        store.import_file(given, copy, NO_PROGRESS)
    assert caught.value.source == f"its ledger {ledger_path(path)}"
    assert "lab.yaml" in str(caught.value)
    path.write_bytes(body[::-1])
    with pytest.raises(DigestMismatchError):
        store.find(given)


def test_what_the_zoo_file_and_the_user_record_must_both_match(store: Store, copy: Path, body: bytes) -> None:
    sha256 = hashlib.sha256(body).hexdigest()
    artifact = artifact_of(f"https://a.org/{NAME}", digest=OTHER_MD5, **users(f"sha256:{sha256}"))
    with pytest.raises(DigestMismatchError) as caught:
        store.import_file(artifact, copy, NO_PROGRESS)
    assert all(part in str(caught.value) for part in (OTHER_MD5, "zoo file", sha256, "lab.yaml"))
    stored = store.import_file(artifact._replace(digest=f"md5:{md5_of(body)}"), copy, NO_PROGRESS)
    assert stored.verified_by == "zoo file"


def test_plain_http_may_be_requested_a_file_whose_digest_the_user_gives(store: Store, body: bytes) -> None:
    artifact = artifact_of("http://models.invalid/x.pth", **users(f"md5:{md5_of(body)}"))
    with pytest.raises(TransferError) as caught:
        store.fetch(artifact, NO_PROGRESS)
    assert "plain http" not in str(caught.value)


@pytest.mark.parametrize("word", ["mirror", "its name", "", "https://a.org/x.md5", "Zoo file"])
def test_a_ledger_that_names_no_known_origin_verifies_nothing(host: Host, store: Store, body: bytes, word: str) -> None:
    artifact = artifact_of(host.serves(f"/{NAME}", body))
    path = store.fetch(artifact, NO_PROGRESS).path
    entry = ledger.read_ledger(path)
    assert isinstance(entry, LedgerEntry)
    ledger.write_ledger(path, replace(entry, verified_by=word, reason=None))
    stored = store.find(artifact)
    assert stored is not None
    assert (stored.verified, stored.verified_by) == (False, None)
    assert repr(word) in str(stored.reason)
    with pytest.raises(UnverifiedError):
        store.fetch(artifact, NO_PROGRESS, require_digest=True)


def test_the_ledger_of_another_models_verified_file_verifies_nothing(host: Host, store: Store, body: bytes) -> None:
    digest_address = host.serves("/x.md5", md5_of(body).encode())
    verified = artifact_of(host.serves(f"/{NAME}", body), digest_addresses=(digest_address,))
    first = store.fetch(verified, NO_PROGRESS).path
    other = artifact_of("https://a.org/other_1x.pth", model="other_1x")
    path = _put_by_hand(store, other, body)
    facts = first.stat()
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    for address in (verified.addresses[0], None):
        entry = ledger.read_ledger(first)
        assert isinstance(entry, LedgerEntry)
        ledger.write_ledger(path, replace(entry, address=address))
        assert store.find(other) is None


def test_offline_a_copy_is_imported_unverified(copy: Path, told: Told) -> None:
    artifact = artifact_of(f"https://a.org/{NAME}", digest_addresses=("https://a.org/x.md5",))
    stored = Store(offline=True).import_file(artifact, copy, told)
    assert (stored.verified, stored.reason) == (False, "offline mode contacts no digest's address")
    assert "unverified" in told.warnings[0]


def test_a_wrong_copy_is_not_imported(store: Store, copy: Path, told: Told, left_over: Callable[[], list[str]]) -> None:
    with pytest.raises(DigestMismatchError):
        store.import_file(artifact_of(f"https://a.org/{NAME}", digest=OTHER_MD5), copy, told)
    assert left_over() == []
    with pytest.raises(StorageError, match="No such file"):
        store.import_file(artifact_of(f"https://a.org/{NAME}"), copy.with_name("none"), told)
    with pytest.raises(StorageError):
        store.import_file(artifact_of(f"https://a.org/{NAME}"), copy.parent, told)


def test_a_copy_replaces_a_damaged_file_which_is_kept(store: Store, copy: Path, body: bytes) -> None:
    store.offline = True
    artifact = artifact_of(f"https://a.org/{NAME}")
    path = store.import_file(artifact, copy, NO_PROGRESS).path
    changed = _damage(path, body)
    assert store.import_file(artifact, copy, NO_PROGRESS).md5 == md5_of(body)
    (aside,) = path.parent.glob("*.damaged")
    assert aside.read_bytes() == changed


def test_a_missing_file_is_described_as_not_cached() -> None:
    assert describe_cached(None) == {"cached": False}


# Files of this machine that a user's zoo file names


def test_a_changed_file_of_this_machine_replaces_its_copy(tmp_path: Path) -> None:
    source, store = tmp_path / "best.pth", Store(tmp_path / "cache", offline=True, mirrors=())
    artifact = Artifact("mine", "weights", (source.as_uri(),), None, None)
    source.write_bytes(b"after epoch 1")
    first = store.fetch(artifact, NO_PROGRESS)
    assert first.path.read_bytes() == b"after epoch 1"
    assert store.find(artifact) == store.fetch(artifact, NO_PROGRESS) == first
    source.write_bytes(b"after epoch 2")
    assert store.find(artifact) is None
    second = store.fetch(artifact, NO_PROGRESS)
    assert second.path.read_bytes() == b"after epoch 2"
    source.unlink()
    assert store.find(artifact) == store.fetch(artifact, NO_PROGRESS) == second


def test_a_recorded_digest_decides_over_a_changed_file(tmp_path: Path) -> None:
    source, store = tmp_path / "best.pth", Store(tmp_path / "cache", offline=True, mirrors=())
    source.write_bytes(b"final")
    artifact = Artifact("mine", "weights", (source.as_uri(),), None, None)._replace(digest=f"md5:{md5_of(b'final')}")
    stored = store.fetch(artifact, NO_PROGRESS)
    source.write_bytes(b"other")
    assert store.find(artifact) == store.fetch(artifact, NO_PROGRESS) == stored
