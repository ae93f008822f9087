"""run.json: read back as written, whatever stands in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bdd100k_zoo.errors import RecordError, StorageError
from bdd100k_zoo.prediction.run import RunCounts, RunRecord, RunSeconds, Unreadable, WeightsUsed, read_run, write_run

if TYPE_CHECKING:
    from pathlib import Path


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
    return RunRecord(**(facts | changes))


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = write_run(tmp_path / "runs" / "x", record())
    assert path == tmp_path / "runs" / "x" / "run.json"
    assert read_run(tmp_path / "runs" / "x") == record()


def test_the_file_is_indented_json_with_every_field(tmp_path: Path) -> None:
    text = write_run(tmp_path, record()).read_text(encoding="utf-8")
    assert set(json.loads(text)) == set(RunRecord.__struct_fields__)
    assert json.loads(text)["unreadable"] == [{"name": "b.jpg", "reason": "is empty"}]
    assert '\n  "model": "fcos_r50_fpn_1x",\n' in text
    assert text.endswith("}\n")
    assert "ä/*.jpg" in text


@pytest.mark.parametrize(
    ("value", "stands"),
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
def test_any_override_is_recorded(tmp_path: Path, value: object, stands: object) -> None:
    text = write_run(tmp_path, record(cfg_options={"key": value})).read_bytes()
    assert json.loads(text)["cfg_options"] == {"key": stands}
    assert read_run(tmp_path).model == "fcos_r50_fpn_1x"


def test_paths_whose_bytes_are_no_utf_8_do_not_cost_the_record(tmp_path: Path) -> None:
    write_run(tmp_path, record(image_roots=("caf\udce9/",)))
    assert read_run(tmp_path).image_roots == ("caf\\udce9/",)


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
    with pytest.raises(RecordError) as caught:
        read_run(tmp_path)
    assert caught.value.path == tmp_path / "run.json"


def test_a_record_from_before_videos_took_every_frame(tmp_path: Path) -> None:
    write_run(tmp_path, record(every=3))
    standing = json.loads((tmp_path / "run.json").read_text())
    assert standing.pop("every") == 3
    (tmp_path / "run.json").write_text(json.dumps(standing))
    assert read_run(tmp_path) == record(every=1)


def test_a_record_from_before_it_was_recorded_does_not_tell_whether_a_model_was_changed_for_speed(
    tmp_path: Path,
) -> None:
    write_run(tmp_path, record(optimised=True))
    standing = json.loads((tmp_path / "run.json").read_text())
    assert standing.pop("optimised") is True
    (tmp_path / "run.json").write_text(json.dumps(standing))
    assert read_run(tmp_path).optimised is None


def test_a_missing_record_is_told_by_path(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        read_run(tmp_path)
    assert caught.value.path == tmp_path / "run.json"
