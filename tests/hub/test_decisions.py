from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.hub.decisions import Action, CachedState, DownloadState, PartialInfo, decide_download

HERE, THERE = "https://a.org/x", "https://b.org/x"
sizes = st.integers(0, 5)
addresses = st.sampled_from([HERE, THERE, None])
partials = st.builds(
    PartialInfo,
    size=sizes,
    address=addresses,
    etag=st.sampled_from([None, '"1"', 'W/"1"']),
    last_modified=st.sampled_from([None, "Sun, 01 Mar 2026 12:00:00 GMT"]),
    total=st.none() | sizes,
)
everything = st.builds(
    DownloadState,
    cached=st.sampled_from(get_args(CachedState)),
    partial=st.none() | partials,
    address=addresses,
    digest=st.sampled_from([None, "md5:" + "a" * 32]),
    size=st.none() | sizes,
)


@given(known=everything)
def test_a_right_file_is_kept_and_nothing_else_is(known: DownloadState) -> None:
    assert (decide_download(known).action == "keep") == (known.cached == "keep")


@given(known=everything)
def test_where_nothing_may_be_asked_only_a_right_file_helps(known: DownloadState) -> None:
    assert (decide_download(known).action == "fail") == (known.address is None and known.cached != "keep")


@given(known=everything)
def test_a_wrong_file_is_fetched_again_wherever_something_may_be_asked(known: DownloadState) -> None:
    wrong = known.cached in ("contradicted", "changed")
    assert (decide_download(known).action == "refetch") == (wrong and known.address is not None)


@given(known=everything)
def test_bytes_are_gone_on_from_only_where_something_tells_a_mixture_of_two_files(known: DownloadState) -> None:
    decision = decide_download(known)
    if decision.action != "resume":
        return
    partial = known.partial
    assert partial is not None
    same_address = partial.address == known.address
    complete = partial.size == partial.total
    assert known.digest or (same_address and (decision.validator or complete))
    assert decision.validator is None or same_address
    assert not (decision.validator or "").startswith("W/")


@given(known=everything)
def test_bytes_are_gone_on_from_only_within_the_file(known: DownloadState) -> None:
    decision = decide_download(known)
    if decision.action != "resume":
        return
    partial = known.partial
    assert partial is not None
    assert decision.offset == partial.size > 0
    for total in (partial.total, known.size):
        assert total is None or decision.offset <= total
    assert None in (partial.total, known.size) or partial.total == known.size


@given(known=everything)
def test_what_can_be_gone_on_from_is_never_thrown_away(known: DownloadState) -> None:
    partial = known.partial
    if partial is None or known.address is None or known.cached in ("keep", "contradicted", "changed"):
        return
    fits = 0 < partial.size <= min(x for x in (partial.total, known.size, 99) if x is not None)
    agrees = None in (partial.total, known.size) or partial.total == known.size
    if known.digest and fits and agrees:
        assert decide_download(known).action == "resume"


@given(known=everything)
def test_every_action_is_one_of_the_five(known: DownloadState) -> None:
    assert decide_download(known).action in get_args(Action)
