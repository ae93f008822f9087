"""What verifies a cached file: only digests of the zoo file, the publisher and the user."""

from __future__ import annotations

import hashlib

import pytest
from fault_host import artifact_of, md5_of
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.hub.ledger import LedgerEntry, must_match_ledger, resolve_verification
from bdd100k_zoo.registry.models import UserDigest

ADDRESS = "https://a.org/x.pth"
CONTENT = b"weights"
RIGHT = (f"md5:{md5_of(CONTENT)}", f"sha256:{hashlib.sha256(CONTENT).hexdigest()}")
WRONG = ("md5:" + "0" * 32, "sha256:" + "0" * 64)

recorded = st.none() | st.sampled_from([*RIGHT, *WRONG])
kinds = st.sampled_from([None, "zoo file", "publisher", "user"])


def entry_of(verified_by: str | None, **facts: str | None) -> LedgerEntry:
    known = {"model": "tiny_1x", "what": "weights", "address": ADDRESS, **facts}
    return LedgerEntry(
        size=len(CONTENT),
        mtime_ns=0,
        md5=RIGHT[0][4:],
        sha256=RIGHT[1][7:],
        verified_by=verified_by,
        digest_address="https://a.org/x.md5" if verified_by == "publisher" else None,
        reason=None if verified_by else "no digest",
        **known,
    )


@given(
    zoo=recorded,
    user=recorded,
    pinned=kinds,
    model=st.sampled_from(["tiny_1x", "other_1x"]),
    address=st.sampled_from([ADDRESS, "https://b.org/x.pth", None]),
)
def test_a_file_is_verified_by_a_digest_that_it_has_or_by_its_own_ledger(
    zoo: str | None, user: str | None, pinned: str | None, model: str, address: str | None
) -> None:
    given_by_user = (UserDigest("weights", user, "lab.yaml"),) if user else ()
    found = resolve_verification(
        artifact_of(ADDRESS, digest=zoo, user_digests=given_by_user), entry_of(pinned, model=model, address=address)
    )
    known = [digest for digest in (zoo, user) if digest]
    own = model == "tiny_1x" and address in (ADDRESS, None)
    if any(digest in WRONG for digest in known) or not (known or own):
        expected = None
    else:
        expected = "zoo file" if zoo else pinned if pinned and own else "user" if user else None
    assert found.verified_by == expected
    assert (found.reason is None) == (expected is not None)
    assert found.digest_address == ("https://a.org/x.md5" if expected == "publisher" else None)


@pytest.mark.parametrize("pinned", ["zoo file", "publisher", "user", None])
def test_a_file_of_an_unknown_model_is_described_by_its_ledger(pinned: str | None) -> None:
    assert resolve_verification(None, entry_of(pinned)).verified_by == pinned


@given(zoo=recorded, user=recorded, pinned=kinds)
def test_a_ledger_pins_unless_a_recorded_digest_decides(zoo: str | None, user: str | None, pinned: str | None) -> None:
    given_by_user = (UserDigest("weights", user, "lab.yaml"),) if user else ()
    artifact = artifact_of(ADDRESS, digest=zoo, user_digests=given_by_user)
    assert must_match_ledger(entry_of(pinned), artifact) == (zoo is None and (user is None or pinned is not None))
    assert must_match_ledger(entry_of(pinned), None)
