"""run.json, read back as it was written; how frames are split, and what tells two runs apart."""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import REQUEST, make_header

from bdd100k_zoo.backends.protocol import DetectorFacts
from bdd100k_zoo.errors import InvalidFileError, StorageError
from bdd100k_zoo.prediction.run import (
    OTHER_VERSION_HINT,
    Chunks,
    RunCounts,
    RunRecord,
    RunRequest,
    RunSeconds,
    Unreadable,
    WeightsUsed,
    compared,
    differences,
    frames_digest,
    options_text,
    parse_run,
    read_run,
    write_run,
)

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.prediction.journal import JournalHeader


def record(**changes: Any) -> RunRecord:
    facts: dict[str, Any] = {
        "model": "fcos_r50_fpn_1x",
        "config": "fcos_r50_fpn_1x_det_bdd100k.py",
        "config_sha256": "0" * 64,
        "cfg_options": {"model.test_cfg.max_per_img": 50, "a": [1, {"b": None}]},
        "weights": WeightsUsed(
            path="/cache/x.pth",
            size=3,
            md5="0" * 32,
            sha256="0" * 64,
            verified=False,
            verified_by=None,
            unverified_because="no digest is recorded",
            address="https://far.example/x.pth",
        ),
        "backend": "mmdet3",
        "device": "cpu",
        "device_name": "some processor",
        "precision": "fp32",
        "ops": "torchvision",
        "versions": {"python": "3.11.1", "torch": "2.15.0+cpu"},
        "split": None,
        "image_roots": ("frames", "ä/*.jpg"),
        "counts": RunCounts(images=2, unreadable=1, detections=7),
        "seconds": RunSeconds(load=1.5, decode=0.1, detect=2.25, write=0.0, total=4.0),
        "unreadable": (Unreadable("b.jpg", "is empty"),),
        "started": "2030-01-02T03:04:05+00:00",
    }
    return parse_run(facts | changes)


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = write_run(tmp_path / "runs" / "x", record())
    assert path == tmp_path / "runs" / "x" / "run.json"
    assert read_run(tmp_path / "runs" / "x") == record()


def test_the_file_is_indented_json_with_every_field(tmp_path: Path) -> None:
    text = write_run(tmp_path, record()).read_text(encoding="utf-8")
    elsewhere = {"request", "facts", "frames", "weights_sha256", "random_weights"}
    fields = {*RunRecord.__struct_fields__, *RunRequest.__struct_fields__, *DetectorFacts.__struct_fields__}
    assert set(json.loads(text)) == fields - elsewhere
    assert json.loads(text)["unreadable"] == [{"name": "b.jpg", "reason": "is empty"}]
    assert '\n  "model": "fcos_r50_fpn_1x",\n' in text
    assert text.endswith("}\n")
    assert "ä/*.jpg" in text


@pytest.mark.parametrize(
    ("value", "recorded"),
    [
        ((1, 2), [1, 2]),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (1j, "1j"),
        (b"\xff", "b'\\xff'"),
        (..., "Ellipsis"),
        ({(1, 2): "x"}, {"(1, 2)": "x"}),
        ({1}, "{1}"),
        (10**30, 10**30),
        (True, True),
        ("\udcff", "\\udcff"),
    ],
)
def test_any_override_is_recorded(tmp_path: Path, value: object, recorded: object) -> None:
    text = write_run(tmp_path, record(cfg_options={"key": value})).read_bytes()
    assert json.loads(text)["cfg_options"] == {"key": recorded}
    assert read_run(tmp_path).request.model == "fcos_r50_fpn_1x"


def test_paths_whose_bytes_are_no_utf_8_do_not_cost_the_record(tmp_path: Path) -> None:
    write_run(tmp_path, record(image_roots=("caf\udce9/",)))
    assert read_run(tmp_path).request.image_roots == ("caf\\udce9/",)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"model": 3}',
        b'{"model": "\xff"}',
        b"\xff\xfe",
        b'{"cfg_options": ' + b"[" * 200_000,
        b'{"cfg_options": {"a": ' + b"[" * 200_000,
    ],
    ids=lambda content: str(content[:24]),
)
def test_what_is_no_run_record_is_refused_by_path(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(InvalidFileError) as caught:
        read_run(tmp_path)
    assert caught.value.path == tmp_path / "run.json"


def test_a_record_from_before_videos_took_every_frame(tmp_path: Path) -> None:
    write_run(tmp_path, record(every=3))
    existing = json.loads((tmp_path / "run.json").read_text())
    assert existing.pop("every") == 3
    (tmp_path / "run.json").write_text(json.dumps(existing))
    assert read_run(tmp_path) == record(every=1)


def test_a_record_from_before_limits_had_none(tmp_path: Path) -> None:
    write_run(tmp_path, record(min_score=0.3, classes=["car", "bus"], max_per_image=5))
    existing = json.loads((tmp_path / "run.json").read_text())
    assert read_run(tmp_path).request.limits == {"min_score": "0.3", "classes": "car, bus", "max_per_image": "5"}
    assert [existing.pop(name) for name in sorted(LIMITS)] == [["car", "bus"], 5, 0.3]
    (tmp_path / "run.json").write_text(json.dumps(existing))
    assert read_run(tmp_path) == record()
    assert read_run(tmp_path).request.limits == {}


def test_a_record_of_another_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"format": 9, "run": {"model": "x"}}')
    with pytest.raises(InvalidFileError, match=r"run\.json: is not a run record of this version: ") as caught:
        read_run(tmp_path)
    assert caught.value.hint == OTHER_VERSION_HINT


def test_a_record_from_before_it_was_recorded_does_not_tell_whether_a_model_was_changed_for_speed(
    tmp_path: Path,
) -> None:
    write_run(tmp_path, record(optimised=True))
    existing = json.loads((tmp_path / "run.json").read_text())
    assert existing.pop("optimised") is True
    (tmp_path / "run.json").write_text(json.dumps(existing))
    assert read_run(tmp_path).facts.optimised is None


def test_a_missing_record_is_reported_by_path(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        read_run(tmp_path)
    assert caught.value.path == tmp_path / "run.json"


# What tells two runs apart


def header(**changes: Any) -> JournalHeader:
    return make_header(**changes)


def different(existing: JournalHeader, requested: JournalHeader) -> tuple[str, ...]:
    return differences(existing.compared(), requested.compared())


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
        ({"config_sha256": "d" * 64}, ("config's SHA-256", "0" * 64, "d" * 64)),
        ({"cfg_options": {}}, ("cfg_options", '{"a": 1}', "none now")),
        ({"min_score": 0.3}, ("min_score", "none there", "0.3 now")),
        ({"classes": ("car", "bus")}, ("classes", "none there", "car, bus now")),
        ({"max_per_image": 5}, ("max_per_image", "none there", "5 now")),
        ({"split": "val"}, ("split", "none there", "val")),
        ({"image_roots": ("/data/a",)}, ("images", "/data/a, /data/b there", "/data/a now")),
        ({"frames": 99, "frames_sha256": "e" * 64}, ("number of images", "100", "99")),
        ({"frames_sha256": "e" * 64}, ("times of change", "ffffffffffff", "eeeeeeeeeeee")),
        ({"weights_sha256": "b" * 64}, ("weights' SHA-256", "a" * 64, "b" * 64)),
        ({"backend": "mmdet2"}, ("backend", "mmdet3", "mmdet2")),
        ({"device": "cpu", "device_name": ""}, ("device", "cuda (a card)", "cpu")),
        ({"device_name": "b card"}, ("device", "cuda (a card)", "cuda (b card)")),
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
    (message,) = different(header(), header(**changes))
    assert [message.index(each) for each in named] == sorted(message.index(each) for each in named)
    assert different(header(**changes), header(**changes)) == ()


NOT_COMPARED = {"config", "random_weights"}
"""The name of a config, whose digest is compared; and what the digest of the weights implies."""


def test_every_fact_is_compared() -> None:
    known = {*RunRequest.__struct_fields__, *DetectorFacts.__struct_fields__, "chunk_size"}
    other = {
        "classes": ("car",),
        "cfg_options": {},
        "image_roots": ("/x",),
        "versions": {},
        "device": "cpu",
        "frames_sha256": "e" * 64,
    }
    compared_ones = {name for name in known if different(header(), header(**{name: other.get(name, 5)}))}
    assert compared_ones == known - NOT_COMPARED


def test_what_is_requested_is_compared_with_what_is_used() -> None:
    existing = header().compared()
    asked = msgspec.structs.replace(REQUEST, backend="mmdet3", batch_size=8)
    assert differences(existing, compared(asked)) == differences(existing, compared(REQUEST)) == ()
    asked = msgspec.structs.replace(REQUEST, backend="mmdet2", batch_size=4, precision="fp16")
    assert differences(existing, compared(asked)) == (
        "backend: mmdet3 there, mmdet2 now",
        "precision: fp32 there, fp16 now",
        "batch size: 8 there, 4 now",
    )


LIMITS = {"min_score", "classes", "max_per_image"}
"""Their None is known: there is no limit."""
UNKNOWN_AT_FIRST = [
    field.name for field in msgspec.structs.fields(RunRequest) if field.default is None and field.name not in LIMITS
]


@given(unknown=st.sets(st.sampled_from(UNKNOWN_AT_FIRST)))
def test_what_is_not_known_yet_fits_anything_and_is_read_back_so(unknown: set[str]) -> None:
    existing = header().compared()
    wanted = msgspec.structs.replace(REQUEST, **dict.fromkeys(unknown))
    assert differences(existing, compared(wanted)) == differences(compared(wanted), existing) == ()
    assert msgspec.json.decode(msgspec.json.encode(wanted), type=RunRequest) == wanted


def test_image_roots_may_come_in_any_order() -> None:
    assert different(header(), header(image_roots=("/data/a", "/data/b"))) == ()


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
