"""Partial files, and whether a transfer is resumed."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import msgspec
import pytest
from fault_host import artifact_of, md5_of
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.errors import StorageError
from bdd100k_zoo.hub import resume as under_test
from bdd100k_zoo.hub.layout import partial_facts_path, partial_path
from bdd100k_zoo.hub.resume import (
    STALE_SECONDS,
    PartialFacts,
    PartialFile,
    build_partial_facts,
    describe_owner,
    find_abandoned_partials,
    find_owner,
    find_partials,
    range_headers,
)

if TYPE_CHECKING:
    from pathlib import Path


HERE = "https://a.org/x.pth"
ARTIFACT = artifact_of(HERE)
NOBODY = 2**22 + 1
"""No process has this number."""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "x.pth"


def _leave(target: Path, content: bytes, **facts: object) -> Path:
    """Leave a partial file as a process that was killed would."""
    with PartialFile(target, build_partial_facts(ARTIFACT)) as partial:
        partial.restart(build_partial_facts(ARTIFACT, HERE, etag='"1"', total=10))
        partial.write(content)
    text = partial_facts_path(partial.path).read_text()
    for name, value in facts.items():
        before = getattr(under_test.read_partial_facts(partial.path), name)
        text = text.replace(f'"{name}":{_json(before)}', f'"{name}":{_json(value)}')
    partial_facts_path(partial.path).write_text(text)
    return partial.path


def _json(value: object) -> str:
    return "null" if value is None else f'"{value}"' if isinstance(value, str) else str(value)


def test_a_partial_file_is_adopted_with_its_facts(target: Path) -> None:
    left = _leave(target, b"begin")
    with PartialFile(target, build_partial_facts(ARTIFACT)) as partial:
        assert partial.path != left
        assert not left.exists()
        assert not partial_facts_path(left).exists()
        assert (partial.size, partial.facts.address, partial.facts.etag, partial.facts.total) == (
            5, HERE, '"1"', 10,
        )  # fmt: skip
        partial.resume(HERE)
        partial.write(b" and end")
        assert partial.is_resumed
        assert partial.hashes().md5 == md5_of(b"begin and end")
        partial.sync()
        partial.move_into_place()
    assert target.read_bytes() == b"begin and end"
    assert list(target.parent.iterdir()) == [target]


def test_bytes_from_two_addresses_have_none(target: Path) -> None:
    _leave(target, b"begin")
    with PartialFile(target, build_partial_facts(ARTIFACT)) as partial:
        partial.resume("https://b.org/x.pth")
        assert (partial.facts.address, partial.facts.etag) == (None, None)


def test_bytes_of_another_start_of_the_machine_need_a_digest(target: Path) -> None:
    _leave(target, b"begin", boot="another")
    with PartialFile(target, build_partial_facts(ARTIFACT)) as partial:
        assert partial.facts.address is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff"])
def test_bytes_whose_facts_are_damaged_need_a_digest(target: Path, damage: bytes) -> None:
    partial_facts_path(_leave(target, b"begin")).write_bytes(damage)
    with PartialFile(target, build_partial_facts(ARTIFACT)) as partial:
        assert (partial.size, partial.facts.address) == (5, None)


def test_bytes_of_another_model_need_a_digest(target: Path) -> None:
    _leave(target, b"begin")
    with PartialFile(target, build_partial_facts(artifact_of(HERE, model="another"))) as partial:
        assert partial.facts.address is None


def test_the_largest_partial_file_is_adopted_and_an_empty_one_removed(target: Path) -> None:
    with PartialFile(target, build_partial_facts(ARTIFACT)) as smaller:
        smaller.restart(build_partial_facts(ARTIFACT, HERE))
        smaller.write(b"sma")
        with PartialFile(target, build_partial_facts(ARTIFACT)) as larger:
            larger.restart(build_partial_facts(ARTIFACT, HERE))
            larger.write(b"large")
        with PartialFile(target, build_partial_facts(ARTIFACT)) as partial:
            assert partial.size == 5
            partial.discard_bytes()
    assert [state.size for state in find_partials(target)] == [3]


def test_a_partial_file_that_this_process_writes_is_not_abandoned(target: Path) -> None:
    with PartialFile(target, build_partial_facts(ARTIFACT)) as partial:
        partial.restart(build_partial_facts(ARTIFACT, HERE))
        partial.write(b"begin")
        assert list(find_abandoned_partials(target)) == []
        others: list[int] = []
        thread = threading.Thread(target=lambda: others.extend(state.size for state in find_abandoned_partials(target)))
        thread.start()
        thread.join()
        assert others == []
    assert [state.size for state in find_abandoned_partials(target)] == [5]


def test_the_partial_file_of_a_dead_process_is_abandoned(target: Path) -> None:
    path = _leave(target, b"begin", pid=NOBODY)
    assert [state.path for state in find_abandoned_partials(target)] == [path]
    _leave_to(path, os.getppid())
    assert list(find_abandoned_partials(target)) == []


def _leave_to(partial: Path, pid: int) -> None:
    facts = partial_facts_path(partial)
    facts.write_text(facts.read_text().replace(f'"pid":{NOBODY}', f'"pid":{pid}'))


hosts = st.sampled_from(["here", "there", None])
boots = st.sampled_from(["now", "before", None])


@given(
    host=hosts, pid=st.sampled_from([None, os.getppid(), NOBODY]), booted=boots, quiet=st.floats(0, 2 * STALE_SECONDS)
)
def test_a_partial_file_is_abandoned_only_by_a_process_that_has_ended_as_far_as_is_known(
    host: str | None, pid: int | None, booted: str | None, quiet: float
) -> None:
    facts = PartialFacts(model="m", what="weights", address=HERE, host=host, pid=pid, boot=booted)
    left = not describe_owner(facts, "here", "now", quiet)
    if pid is None:
        assert left
    elif host == "here":
        assert left == (booted == "before" or pid == NOBODY)
    else:
        assert left == (quiet > STALE_SECONDS)


def test_a_partial_file_that_was_removed_never_gets_the_name(target: Path) -> None:
    with PartialFile(target, build_partial_facts(ARTIFACT)) as partial:
        partial.restart(build_partial_facts(ARTIFACT, HERE))
        partial.write(b"begin")
        partial.path.rename(target.with_name("stolen"))
        with pytest.raises(StorageError, match="removed or replaced"):
            partial.move_into_place()
    assert not target.exists()
    assert target.with_name("stolen").read_bytes() == b"begin"


def test_a_link_in_place_of_a_partial_file_is_not_followed(target: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    target.with_name("x.pth.0a0b0c0d.partial").symlink_to(precious)
    with PartialFile(target, build_partial_facts(ARTIFACT)) as partial:
        partial.restart(build_partial_facts(ARTIFACT, HERE))
        partial.write(b"begin")
    assert precious.read_bytes() == b"mine"


def test_the_facts_name_the_writing_process(target: Path) -> None:
    with PartialFile(target, build_partial_facts(ARTIFACT)) as partial:
        partial.restart(build_partial_facts(ARTIFACT, HERE))
        partial.write(b"x")
        facts = under_test.read_partial_facts(partial.path)
        assert facts is not None
        assert (facts.host, facts.pid) == (socket.gethostname(), os.getpid())
    facts = under_test.read_partial_facts(partial.path)
    assert facts is not None
    assert facts.pid is None


@pytest.mark.parametrize(
    ("facts", "removed"),
    [
        ({"pid": NOBODY}, True),
        ({"pid": os.getppid()}, False),
        ({"pid": os.getpid()}, False),
        ({"pid": None}, False),
        ({"pid": NOBODY, "host": "elsewhere"}, False),
    ],
)
def test_unfinished_facts_of_a_killed_process_are_removed_at_once(
    target: Path, facts: dict[str, object], removed: bool
) -> None:
    unfinished = target.with_name(f".{target.name}.0123abcd.partial.json.{'0' * 32}")
    known = build_partial_facts(
        ARTIFACT, HERE, **{"host": socket.gethostname(), "boot": under_test.read_boot_id(), **facts}
    )
    unfinished.write_bytes(msgspec.json.encode(known))
    under_test.remove_partials(target)
    assert unfinished.exists() is not removed


@pytest.mark.parametrize("named", ["partial", "facts"])
def test_the_owner_of_a_partial_file_is_the_live_process_that_its_facts_name(target: Path, named: str) -> None:
    here = {"host": socket.gethostname(), "boot": under_test.read_boot_id()}
    for facts, owner in (
        ({"pid": os.getppid(), **here}, f"process {os.getppid()} works on it"),
        ({"pid": 1, **here}, "process 1 works on it"),
        ({"pid": NOBODY, **here}, ""),
        ({"pid": 0, **here}, ""),
        ({"pid": -1, **here}, ""),
        ({"pid": 1 << 40, **here}, ""),
        ({"pid": None, **here}, ""),
        ({"pid": 5, "host": "elsewhere"}, "process 5 on elsewhere may work on it"),
    ):
        partial = partial_path(target, "1a2b3c4d")
        partial.write_bytes(b"begin")
        partial_facts_path(partial).write_bytes(msgspec.json.encode(build_partial_facts(ARTIFACT, **facts)))
        path = partial if named == "partial" else partial_facts_path(partial)
        assert find_owner(path) == owner
        os.utime(path, (1, 1))
        assert find_owner(path) == ("" if "elsewhere" in owner else owner)


ADDRESSES = ("https://a.org/x", "https://b.org/x")
few_bytes = st.integers(0, 5)
kept_facts = st.builds(
    PartialFacts,
    model=st.just("tiny_1x"),
    what=st.just("weights"),
    address=st.sampled_from([*ADDRESSES, None]),
    etag=st.sampled_from([None, '"1"', 'W/"1"']),
    last_modified=st.sampled_from([None, "Sun, 01 Mar 2026 12:00:00 GMT"]),
    total=st.none() | few_bytes,
)
resumable = given(
    facts=kept_facts,
    kept=few_bytes,
    address=st.sampled_from(ADDRESSES),
    digest_known=st.booleans(),
    size=st.none() | few_bytes,
)


@resumable
def test_a_transfer_resumes_only_if_a_mixture_of_two_files_would_be_detected(
    facts: PartialFacts, kept: int, address: str, digest_known: bool, size: int | None
) -> None:
    headers = range_headers(facts, kept, address, digest_known=digest_known, size=size)
    if not headers:
        return
    validator = headers.get("If-Range")
    same_address = facts.address == address
    complete = kept == facts.total
    assert digest_known or (same_address and (validator or complete))
    assert validator is None or same_address
    assert not (validator or "").startswith("W/")


@resumable
def test_a_transfer_resumes_only_within_the_file(
    facts: PartialFacts, kept: int, address: str, digest_known: bool, size: int | None
) -> None:
    headers = range_headers(facts, kept, address, digest_known=digest_known, size=size)
    if not headers:
        return
    assert headers["Range"] == f"bytes={kept}-"
    assert kept > 0
    for total in (facts.total, size):
        assert total is None or kept <= total
    assert None in (facts.total, size) or facts.total == size


@resumable
def test_bytes_that_can_be_resumed_are_never_discarded(
    facts: PartialFacts, kept: int, address: str, digest_known: bool, size: int | None
) -> None:
    fits = 0 < kept <= min(x for x in (facts.total, size, 99) if x is not None)
    agrees = None in (facts.total, size) or facts.total == size
    if digest_known and fits and agrees:
        assert range_headers(facts, kept, address, digest_known=True, size=size)
