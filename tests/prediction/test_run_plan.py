"""Plans: how frames are cut, and what tells two runs apart."""

from __future__ import annotations

from itertools import chain
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.prediction.run import Chunks, RunPlan, frames_digest, options_text, run_plan_differences


def plan(**changes: Any) -> RunPlan:
    facts: dict[str, Any] = {
        "model": "fcos_r50_fpn_1x",
        "config_sha256": "c" * 64,
        "cfg_options": '{"a": 1}',
        "split": None,
        "image_roots": ("/data/b", "/data/a"),
        "frames": 100,
        "frames_sha256": "f" * 64,
        "weights_sha256": "a" * 64,
        "backend": "mmdet3",
        "device": "cuda (a card)",
        "ops": "torchvision",
        "precision": "fp32",
        "optimised": True,
        "batch_size": 8,
        "chunk_size": 32,
        "threads": None,
        "versions": {"torch": "2.15", "mmdet": "3.3.0"},
    }
    return RunPlan(**(facts | changes))


@given(frames=st.integers(0, 500), size=st.integers(1, 40))
def test_chunks_hold_every_frame_once_and_are_cut_at_multiples(frames: int, size: int) -> None:
    chunks = Chunks(frames, size)
    parts = [chunks.frames_of(number) for number in range(chunks.count)]
    assert list(chain.from_iterable(parts)) == list(range(frames))
    assert all(part.start == number * size for number, part in enumerate(parts))
    assert all(len(part) == size for part in parts[:-1])
    assert all(parts)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": "other"}, ("model", "fcos_r50_fpn_1x", "other")),
        ({"config_sha256": "d" * 64}, ("config's SHA-256", "c" * 64, "d" * 64)),
        ({"cfg_options": ""}, ("cfg_options", '{"a": 1}', "none now")),
        ({"split": "val"}, ("split", "none there", "val")),
        ({"image_roots": ("/data/a",)}, ("images", "/data/a, /data/b there", "/data/a now")),
        ({"frames": 99, "frames_sha256": "e" * 64}, ("number of images", "100", "99")),
        ({"frames_sha256": "e" * 64}, ("times of change", "ffffffffffff", "eeeeeeeeeeee")),
        ({"weights_sha256": "b" * 64}, ("weights' SHA-256", "a" * 64, "b" * 64)),
        ({"backend": "mmdet2"}, ("backend", "mmdet3", "mmdet2")),
        ({"device": "cpu"}, ("device", "cuda (a card)", "cpu")),
        ({"ops": "mmcv"}, ("ops", "torchvision", "mmcv")),
        ({"precision": "fp16"}, ("precision", "fp32", "fp16")),
        ({"optimised": False}, ("changed for speed", "True", "False")),
        ({"batch_size": 4}, ("batch size", "8", "4")),
        ({"chunk_size": 16}, ("chunk", "32", "16")),
        ({"threads": 2}, ("threads", "none there", "2 now")),
        ({"versions": {"torch": "2.16"}}, ("versions", "mmdet 3.3.0, torch 2.15 there", "torch 2.16 now")),
    ],
)
def test_what_differs_is_named_once_with_both_values(changes: dict[str, Any], named: tuple[str, ...]) -> None:
    (told,) = run_plan_differences(plan(), plan(**changes))
    assert [told.index(each) for each in named] == sorted(told.index(each) for each in named)
    assert run_plan_differences(plan(**changes), plan(**changes)) == ()


def test_every_fact_is_compared() -> None:
    compared = {field for field in RunPlan.__struct_fields__ if run_plan_differences(plan(), plan(**{field: "x"}))}
    assert compared == set(RunPlan.__struct_fields__)


UNKNOWN_AT_FIRST = [field.name for field in msgspec.structs.fields(RunPlan) if field.default is msgspec.UNSET]


@given(unknown=st.sets(st.sampled_from(UNKNOWN_AT_FIRST)))
def test_what_is_not_known_yet_fits_anything_and_is_read_back_so(unknown: set[str]) -> None:
    wanted = plan(**dict.fromkeys(unknown, msgspec.UNSET))
    assert run_plan_differences(plan(), wanted) == run_plan_differences(wanted, plan()) == ()
    assert msgspec.json.decode(msgspec.json.encode(wanted), type=RunPlan) == wanted


def test_image_roots_may_come_in_any_order() -> None:
    assert run_plan_differences(plan(), plan(image_roots=("/data/a", "/data/b"))) == ()


frames = st.lists(st.tuples(st.text(), st.text()), unique=True, max_size=5)


@given(one=frames, other=frames)
def test_the_digest_tells_other_frames(one: list[tuple[str, str]], other: list[tuple[str, str]]) -> None:
    def is_clean(pairs: list[tuple[str, str]]) -> bool:
        return not any("\0" in text or "\n" in text for pair in pairs for text in pair)

    if is_clean(one) and is_clean(other):  # as names and stamps are
        assert (frames_digest(one) == frames_digest(other)) == (one == other)


def test_options_are_the_same_text_however_they_are_ordered_and_none_are_no_text() -> None:
    assert options_text({"b": (1, 2), "a": None}) == options_text({"a": None, "b": [1, 2]})
    assert options_text({}) == ""
    assert "1+2j" in options_text({"d": 1 + 2j})
