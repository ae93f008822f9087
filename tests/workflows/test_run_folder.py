"""The folder of a run: one process at a time, no other run replaced unasked, and names that never fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bdd100k_zoo.errors import BusyFolderError, OtherRunError, StorageError
from bdd100k_zoo.records.run import Counts, RunRecord, Seconds, WeightsUsed, write_run
from bdd100k_zoo.workflows.run_folder import Plan, check_replaceable, claimed, default_folder, differences, resolved

MODEL = "fcos_r50_fpn_1x"


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


# One process at a time

CLAIM = (
    "import sys\n"
    "from pathlib import Path\n"
    "from bdd100k_zoo.workflows.run_folder import claimed\n"
    "with claimed(Path(sys.argv[1])):\n"
    "    print('claimed', flush=True)\n"
    "    sys.stdin.read()\n"
)


def test_a_second_process_is_refused_at_once_and_welcome_when_the_first_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "claimed\n"
        with pytest.raises(BusyFolderError) as caught, claimed(folder):
            pass
        assert caught.value.folder == folder
        with pytest.raises(BusyFolderError), claimed(folder):  # being refused has not freed it
            pass
        first.stdin.close()
        assert first.wait() == 0
    with claimed(folder):
        assert listing(folder) == [".lock"]


def test_a_killed_process_leaves_the_folder_free(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "claimed\n"
        first.kill()
    assert listing(folder) == [".lock"]
    with claimed(folder):
        (folder / "det.json").write_text("[]")
    assert listing(folder) == ["det.json"]


def test_no_lock_stays_behind_even_after_a_failure(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "det.json").write_text("[]")
    with pytest.raises(KeyError), claimed(tmp_path / "run"):
        raise KeyError
    assert listing(tmp_path / "run") == ["det.json"]


def test_folders_that_nothing_came_into_are_removed_again_and_others_stay() -> None:
    Path("runs").mkdir()
    with claimed(Path("runs/a/b")):
        assert Path("runs/a/b").is_dir()
    assert listing(Path()) == ["runs"]
    Path("runs/kept").mkdir()
    with claimed(Path("runs/kept")):
        pass
    assert listing(Path("runs")) == ["kept"]


@pytest.mark.parametrize("name", ["file/run", "file", "new/" + "x" * 300, "loop/run", "loop"])
def test_a_folder_that_cannot_be_made_is_told_and_nothing_is_left_of_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(StorageError), claimed(tmp_path / name):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="NOT TESTED: root may write every folder")
def test_a_folder_that_may_not_be_written_or_entered_is_told(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    for folder in (tmp_path / "locked", tmp_path / "locked" / "run"):
        with pytest.raises(StorageError, match=r"[Pp]ermission"), claimed(folder):
            pass
    assert resolved(str(tmp_path / "locked" / "in"))


# What may be replaced


def record(**changes: Any) -> RunRecord:
    weights = WeightsUsed(
        path="x.pth",
        size=3,
        md5="0" * 32,
        sha256="a" * 64,
        verified=False,
        verified_by=None,
        unverified_because="no digest is recorded",
        address=None,
    )
    standing = RunRecord(
        model=MODEL,
        config="x.py",
        config_sha256="0" * 64,
        cfg_options={"model.test_cfg.max_per_img": 50},
        weights=weights,
        backend="mmdet3",
        device="cpu",
        device_name="some processor",
        precision="fp32",
        ops="torchvision",
        versions={},
        split=None,
        image_roots=(resolved("frames"),),
        counts=Counts(images=2, unreadable=0, detections=7),
        seconds=Seconds(load=0, decode=0, detect=0, write=0, total=0),
        unreadable=(),
        started="2030-01-02T03:04:05+00:00",
    )
    return msgspec.structs.replace(standing, **changes)


def plan(**changes: Any) -> Plan:
    facts: dict[str, Any] = {
        "model": MODEL,
        "image_roots": (resolved("frames"),),
        "cfg_options": {"model.test_cfg.max_per_img": 50},
    }
    return Plan(**(facts | changes))


def test_the_same_plan_does_not_differ_whatever_machine_it_runs_on() -> None:
    assert differences(record(device="cuda:0", versions={"torch": "3"}), plan()) == ()
    assert differences(record(), plan(weights_sha256="a" * 64)) == ()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": "retinanet_r50_fpn_1x"}, ("model", MODEL, "retinanet_r50_fpn_1x")),
        ({"image_roots": ("/other/frames",)}, ("images", "frames", "/other/frames")),
        ({"every": 5}, ("every", "1", "5")),
        ({"split": "val"}, ("split", "none", "val")),
        ({"cfg_options": {}}, ("cfg_options", "50", "none")),
        ({"weights_sha256": "b" * 64}, ("SHA-256", "a" * 64, "b" * 64)),
    ],
)
def test_what_differs_is_named_with_both_values(changes: dict[str, Any], named: tuple[str, ...]) -> None:
    (told,) = differences(record(), plan(**changes))
    assert [told.index(each) for each in named] == sorted(told.index(each) for each in named)


def test_overrides_are_compared_as_a_record_holds_them(tmp_path: Path) -> None:
    options = {"a": (1, 2), "b": {"c": (3.5, None)}, "d": 1 + 2j}
    write_run(tmp_path, record(cfg_options=options))
    check_replaceable(tmp_path, plan(cfg_options=options))


def test_folders_are_the_same_however_they_are_written_and_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "frames")
    monkeypatch.setenv("HOME", str(tmp_path))
    ways = ("frames", "./frames/", str(tmp_path / "frames"), "link", "~/frames")
    assert {resolved(way) for way in ways} == {str((tmp_path / "frames").resolve())}
    here, there = resolved("frames"), resolved("other/*.jpg")
    assert differences(record(image_roots=(here, there)), plan(image_roots=(there, here))) == ()


def test_standard_input_is_the_same_wherever_the_process_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standing = record(image_roots=(resolved("-"),))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert differences(standing, plan(image_roots=(resolved("-"),))) == ()


def test_a_path_of_bytes_that_are_no_utf_8_is_found_again_in_a_record(tmp_path: Path) -> None:
    root = resolved("caf\udce9/*.jpg")
    write_run(tmp_path, record(image_roots=(root,)))
    check_replaceable(tmp_path, plan(image_roots=(root,)))


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"det.json": "[]"}, "no run.json"),
        ({"det.json": "[]", "run.json": "{"}, "not a run record"),
        ({"run.json": "[]"}, "not a run record"),
    ],
)
def test_what_nothing_is_known_of_is_not_replaced(tmp_path: Path, files: dict[str, str], told: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(OtherRunError, match=told):
        check_replaceable(tmp_path, plan())


def test_the_rest_of_an_unfinished_run_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "det.partial.json").write_text("[]")
    check_replaceable(tmp_path, plan())


# Its name


@pytest.mark.parametrize(
    ("images", "split", "expected"),
    [
        (("day one/",), None, "images-day_one"),
        (("day one/x.jpg",), None, "images-day_one"),
        (("day one/*.jpg",), None, "images-day_one"),
        (("day one",), "val", "val"),
        (("drive 1.mp4", "day one"), None, "images-drive_1"),
        (("day one/frames.v2.txt",), None, "images-frames.v2"),
        (("-",), None, "images-list"),
        (("day one/*.mp4",), None, "images-day_one"),
        (("day one/gone.mp4",), None, "images-day_one"),
        (("loop",), None, "images-HERE"),
        (("~nobody_of_that_name/frames",), None, "images-_nobody_of_that_name"),
        (("x" * 300 + "/in",), None, "images-" + "x" * 300),
    ],
)
def test_a_run_is_named_after_its_images(
    tmp_path: Path, images: tuple[str, ...], split: str | None, expected: str
) -> None:
    Path("day one").mkdir()
    Path("drive 1.mp4").touch()
    Path("day one", "frames.v2.txt").touch()
    Path("loop").symlink_to("loop")
    named = expected.replace("HERE", "".join(c if c.isalnum() or c in "-_." else "_" for c in tmp_path.name))
    assert default_folder(MODEL, images, split) == Path("runs", MODEL, named)


def test_a_working_folder_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(StorageError):
        default_folder(MODEL, ("frames",), None)
