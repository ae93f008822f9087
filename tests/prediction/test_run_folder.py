"""The folder of a run: one process of a rank, no other run replaced unasked, and names that never fail."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from records import PROCESS, REQUEST, WEIGHTS, make_header

from bdd100k_zoo.errors import FolderBusyError, RunMismatchError, StorageError
from bdd100k_zoo.prediction.journal import Journal, journal_path
from bdd100k_zoo.prediction.run import (
    RunCounts,
    RunSeconds,
    compared,
    parse_run,
    to_json_object,
    write_run,
)
from bdd100k_zoo.prediction.run_folder import (
    choose_run_folder,
    clean_run_folder,
    default_run_folder,
    merge_lock,
    read_run_digest,
    read_run_folder,
    remove_journals,
    resolve_input,
    run_folder_lock,
)

if TYPE_CHECKING:
    from bdd100k_zoo.prediction.journal import JournalHeader
    from bdd100k_zoo.prediction.run import RunRecord, RunRequest

MODEL = "fcos_r50_fpn_1x"


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


# One process at a time

CLAIM = (
    "import sys\n"
    "from pathlib import Path\n"
    "from bdd100k_zoo.prediction.run_folder import run_folder_lock\n"
    "with run_folder_lock(Path(sys.argv[1]), int(sys.argv[2])):\n"
    "    print('claimed', flush=True)\n"
    "    sys.stdin.read()\n"
)


def test_a_second_process_is_refused_and_welcome_when_the_first_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(folder), "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "claimed\n"
        with pytest.raises(FolderBusyError) as caught, run_folder_lock(folder):
            pass
        assert caught.value.folder == folder
        with pytest.raises(FolderBusyError), run_folder_lock(folder):  # being refused has not freed it
            pass
        first.stdin.close()
        assert first.wait() == 0
    with run_folder_lock(folder):
        assert listing(folder) == [".lock-0"]


def test_a_process_that_starts_while_another_tidies_up_is_not_refused(tmp_path: Path) -> None:
    stop = False

    def tidy_all_the_time() -> None:
        while not stop:
            clean_run_folder(tmp_path)

    with ThreadPoolExecutor(1) as thread:
        tidying = thread.submit(tidy_all_the_time)
        try:
            for _ in range(100):
                with run_folder_lock(tmp_path):
                    pass
        finally:
            stop = True
        tidying.result()


def test_processes_of_other_ranks_are_welcome_and_start_nothing_afresh_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(folder), "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "claimed\n"
        journals = [journal_path(folder, 0), journal_path(folder, 1)]
        for path in journals:
            path.write_text("")
        with run_folder_lock(folder):
            assert listing(folder) == [".lock-0", ".lock-1", "journal-0.jsonl", "journal-1.jsonl"]
            with pytest.raises(FolderBusyError):
                remove_journals(folder)
            assert all(path.exists() for path in journals)
        other.kill()
    with run_folder_lock(folder):
        remove_journals(folder)
    assert listing(folder) == []


def test_one_process_at_a_time_merges_a_run(tmp_path: Path) -> None:
    with merge_lock(tmp_path) as mine, merge_lock(tmp_path) as also:
        assert (mine, also) == (True, False)
    with merge_lock(tmp_path) as mine:
        assert mine
    assert listing(tmp_path) == []


def test_a_killed_process_leaves_the_folder_free(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(folder), "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "claimed\n"
        first.kill()
    assert listing(folder) == [".lock-0"]
    with run_folder_lock(folder):
        (folder / "det.json").write_text("[]")
    assert listing(folder) == ["det.json"]


def test_no_lock_stays_behind_even_after_a_failure(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "det.json").write_text("[]")
    with pytest.raises(KeyError), run_folder_lock(tmp_path / "run"):
        raise KeyError
    assert listing(tmp_path / "run") == ["det.json"]


def test_folders_that_nothing_came_into_are_removed_again_and_others_stay() -> None:
    Path("runs").mkdir()
    with run_folder_lock(Path("runs/a/b")):
        assert Path("runs/a/b").is_dir()
    assert listing(Path()) == ["runs"]
    Path("runs/kept").mkdir()
    with run_folder_lock(Path("runs/kept")):
        pass
    assert listing(Path("runs")) == ["kept"]


@pytest.mark.parametrize("name", ["file/run", "file", "new/" + "x" * 300, "loop/run", "loop"])
def test_a_folder_that_cannot_be_made_is_reported_and_nothing_is_left_of_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(StorageError), run_folder_lock(tmp_path / name):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop"]


def test_a_link_in_the_place_of_a_lock_is_reported_and_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"of somebody else")
    (tmp_path / ".lock-0").symlink_to(other)
    with pytest.raises(StorageError, match="is a link"), run_folder_lock(tmp_path):
        pass
    assert other.read_bytes() == b"of somebody else"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="NOT TESTED: root may write every folder")
def test_a_folder_that_may_not_be_written_or_entered_is_reported(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    for folder in (tmp_path / "locked", tmp_path / "locked" / "run"):
        with pytest.raises(StorageError, match=r"[Pp]ermission"), run_folder_lock(folder):
            pass
    assert resolve_input(str(tmp_path / "locked" / "in"))


# What the folder holds


def record(**changes: Any) -> RunRecord:
    existing: dict[str, Any] = dict(  # noqa: C408
        model=MODEL,
        config="x.py",
        config_sha256="0" * 64,
        cfg_options={"model.test_cfg.max_per_img": 50},
        weights=WEIGHTS,
        backend="mmdet3",
        device="cpu",
        device_name="some processor",
        precision="fp32",
        ops="torchvision",
        versions={},
        split=None,
        image_roots=(resolve_input("frames"),),
        counts=RunCounts(images=2, unreadable=0, detections=7),
        seconds=RunSeconds(load=0, decode=0, detect=0, write=0, total=0),
        unreadable=(),
        started="2030-01-02T03:04:05+00:00",
        frames_sha256="f" * 64,
        batch_size=1,
    )
    return parse_run(existing | changes)


def request(**changes: Any) -> RunRequest:
    facts: dict[str, Any] = {
        "image_roots": (resolve_input("frames"),),
        "cfg_options": {"model.test_cfg.max_per_img": 50},
        "frames": 2,
        "weights_sha256": None,
    }
    return msgspec.structs.replace(REQUEST, **(facts | changes))


def wanted(**changes: Any) -> dict[str, object]:
    """What is compared of a run that is requested."""
    return compared(request(**changes))


def write_finished(folder: Path, **changes: Any) -> RunRecord:
    (folder / "det.json").write_text("[]")
    write_run(folder, record(**changes))
    return record(**changes)


def begin_journal(folder: Path, rank: int = 0, replaces: str = "", **changes: Any) -> None:
    with Journal(journal_path(folder, rank), begun(replaces=replaces, **changes), PROCESS):
        pass


def begun(**changes: Any) -> JournalHeader:
    asked = msgspec.structs.asdict(request(weights_sha256="a" * 64))
    return make_header(**(asked | {"chunk_size": 1, "batch_size": 1, "backend": "mmdet3"} | changes))


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    found = read_run_folder(tmp_path, wanted())
    assert (found.existing, found.finished, found.replaces) == ({}, None, "")


def test_a_finished_run_is_the_same_whatever_machine_made_it(tmp_path: Path) -> None:
    made = write_finished(tmp_path, device="cuda:0", device_name="a card", versions={"torch": "3"})
    assert read_run_folder(tmp_path, wanted()).finished == made
    assert read_run_folder(tmp_path, wanted(weights_sha256="a" * 64, batch_size=1, precision="fp32")).finished == made


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": "retinanet_r50_fpn_1x"}, ("model", MODEL, "retinanet_r50_fpn_1x")),
        ({"config_sha256": "1" * 64}, ("config", "0" * 64, "1" * 64)),
        ({"image_roots": ("/other/frames",)}, ("images", "frames", "/other/frames")),
        ({"every": 5}, ("every", "1", "5")),
        ({"frames": 3}, ("number of images", "2", "3")),
        ({"frames_sha256": "e" * 64}, ("images", "f" * 12, "e" * 12)),
        ({"split": "val"}, ("split", "none", "val")),
        ({"cfg_options": {}}, ("cfg_options", "50", "none")),
        ({"weights_sha256": "b" * 64}, ("SHA-256", "a" * 64, "b" * 64)),
        ({"batch_size": 2}, ("batch size", "1", "2")),
        ({"precision": "fp16"}, ("precision", "fp32", "fp16")),
    ],
)
def test_in_what_a_finished_run_differs_is_named_with_both_values(
    tmp_path: Path, changes: dict[str, Any], named: tuple[str, ...]
) -> None:
    write_finished(tmp_path)
    with pytest.raises(RunMismatchError) as caught:
        read_run_folder(tmp_path, wanted(**changes))
    (message,) = caught.value.differences
    assert [message.index(each) for each in named] == sorted(message.index(each) for each in named)


def test_a_record_of_before_there_were_journals_is_read_and_compared_as_far_as_it_goes(tmp_path: Path) -> None:
    path = write_run(tmp_path, record())
    content = json.loads(path.read_text())
    for name in ("frames_sha256", "batch_size", "threads", "processes", "optimised", "busy", "split_batches"):
        del content[name]
    del content["seconds"]["prepare"], content["seconds"]["assemble"]
    path.write_text(json.dumps(content))
    (tmp_path / "det.json").write_text("[]")
    found = read_run_folder(tmp_path, wanted(batch_size=4)).finished
    assert found is not None
    assert found.request.frames_sha256 is None
    with pytest.raises(RunMismatchError, match="model"):
        read_run_folder(tmp_path, wanted(model="other"))


def test_overrides_are_compared_as_a_record_holds_them(tmp_path: Path) -> None:
    options = {"a": (1, 2), "b": {"c": (3.5, None)}, "d": 1 + 2j}
    write_finished(tmp_path, cfg_options=options)
    assert read_run_folder(tmp_path, wanted(cfg_options=to_json_object(options))).finished


def test_folders_are_the_same_however_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "frames")
    monkeypatch.setenv("HOME", str(tmp_path))
    ways = ("frames", "./frames/", str(tmp_path / "frames"), "link", "~/frames")
    assert {resolve_input(way) for way in ways} == {str((tmp_path / "frames").resolve())}


def test_standard_input_is_the_same_wherever_the_process_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_finished(tmp_path, image_roots=(resolve_input("-"),))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_run_folder(tmp_path, wanted(image_roots=(resolve_input("-"),))).finished


def test_a_path_of_bytes_that_are_no_utf_8_is_found_again_in_a_record(tmp_path: Path) -> None:
    root = resolve_input("caf\udce9/*.jpg")
    write_finished(tmp_path, image_roots=(root,))
    assert read_run_folder(tmp_path, wanted(image_roots=(root,))).finished


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"det.json": "[]"}, "no run.json"),
        ({"det.json": "[]", "run.json": "{"}, "not a run record of this version"),
        ({"run.json": "[]"}, "not a run record of this version"),
        ({"det.json": "[]", "run.json": '{"format": 9}'}, "not a run record of this version"),
    ],
)
def test_what_nothing_is_known_of_is_replaced_only_if_that_was_requested(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(RunMismatchError, match=message):
        read_run_folder(tmp_path, wanted())
    assert read_run_folder(tmp_path, wanted(), replaceable=read_run_digest(tmp_path)).finished is None


def test_a_record_without_predictions_is_no_finished_run(tmp_path: Path) -> None:
    write_run(tmp_path, record())
    assert read_run_folder(tmp_path, wanted()).finished is None
    with pytest.raises(RunMismatchError):
        read_run_folder(tmp_path, wanted(model="other"))


def test_a_run_that_is_under_way_is_held_against_the_plan(tmp_path: Path) -> None:
    begin_journal(tmp_path, threads=1)
    assert read_run_folder(tmp_path, wanted()).journals.header == begun(threads=1)
    with pytest.raises(RunMismatchError, match="threads: 1 there, 2 now"):
        read_run_folder(tmp_path, begun(threads=2).compared())


def test_a_journal_that_was_begun_before_the_record_was_written_is_a_left_over(tmp_path: Path) -> None:
    begin_journal(tmp_path)
    made = write_finished(tmp_path)
    found = read_run_folder(tmp_path, wanted())
    assert (found.finished, found.journals.header) == (made, None)


def test_a_journal_that_was_begun_to_replace_the_record_is_the_run_under_way(tmp_path: Path) -> None:
    write_finished(tmp_path, model="other")
    begin_journal(tmp_path, replaces=read_run_digest(tmp_path))
    found = read_run_folder(tmp_path, wanted())
    replacing = begun(replaces=read_run_digest(tmp_path))
    assert (found.finished, found.journals.header) == (None, replacing)
    (tmp_path / "run.json").unlink()  # as it is for a moment, before the new one is written
    assert read_run_folder(tmp_path, wanted()).journals.header == replacing


def test_a_complete_run_is_tidied_up(tmp_path: Path) -> None:
    write_finished(tmp_path)
    begin_journal(tmp_path)
    for name in (".lock-0", ".lock-merge", ".run.json.0123"):
        (tmp_path / name).write_text("")
    clean_run_folder(tmp_path)
    assert listing(tmp_path) == ["det.json", "run.json"]


# Its name


@pytest.mark.parametrize(
    ("images", "split", "expected"),
    [
        (("day one/",), None, "images-day_one"),
        (("day one/x.jpg",), None, "images-day_one"),
        (("day one/a.jpg",), None, "images-a"),
        (("day one/a.jpg", "drive 1.mp4"), None, "images-day_one"),
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
    Path("day one", "a.jpg").touch()
    Path("day one", "frames.v2.txt").touch()
    Path("loop").symlink_to("loop")
    named = expected.replace("HERE", "".join(c if c.isalnum() or c in "-_." else "_" for c in tmp_path.name))
    assert default_run_folder(asked(images, split)) == Path("runs", MODEL, named)


def asked(images: tuple[str, ...], split: str | None = None) -> RunRequest:
    return msgspec.structs.replace(REQUEST, image_roots=images, split=split)


def written(folder: Path, request: RunRequest) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_finished(folder, **{name: getattr(request, name) for name in ("image_roots", "split", "frames_sha256")})


def test_a_working_folder_that_is_gone_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(StorageError):
        default_run_folder(asked(("frames",)))


def folder_of(request: RunRequest, *, ranks: bool = False) -> Path:
    folder, default = choose_run_folder(request, ranks=ranks)
    assert default == default_run_folder(request)
    return folder


def test_a_run_of_other_images_gets_the_next_free_name() -> None:
    base = Path("runs", MODEL)
    one, two, three = (asked((f"{day}/frames/*.jpg",)) for day in "abc")
    assert folder_of(one) == base / "images-frames"
    written(base / "images-frames", one)
    assert folder_of(one) == base / "images-frames"
    assert folder_of(two) == base / "images-frames-2"
    (base / "images-frames-2").mkdir()
    begin_journal(base / "images-frames-2", image_roots=two.image_roots)
    assert [folder_of(each).name for each in (one, two, three)] == [
        "images-frames",
        "images-frames-2",
        "images-frames-3",
    ]
    changed = msgspec.structs.replace(two, every=3, frames=7, frames_sha256="0" * 64, precision="fp16")
    assert folder_of(changed) == base / "images-frames-2"  # which is refused there: other settings
    shutil.rmtree(base / "images-frames")
    assert folder_of(two) == base / "images-frames-2"
    assert folder_of(three) == base / "images-frames"


def test_a_list_on_standard_input_is_the_same_if_it_names_the_same_images() -> None:
    one = asked(("-",))
    written(Path("runs", MODEL, "images-list"), one)
    assert folder_of(one).name == "images-list"
    assert folder_of(msgspec.structs.replace(one, frames_sha256="0" * 64)).name == "images-list-2"


def test_ranks_choose_alike_whatever_is_there_and_one_process_finds_their_run() -> None:
    one, two = asked(("a/frames/*.jpg",)), asked(("b/frames/*.jpg",))
    chosen = folder_of(one, ranks=True)
    assert re.fullmatch("images-frames-[0-9a-f]{8}", chosen.name)
    assert folder_of(two, ranks=True) != chosen
    written(chosen, two)
    assert folder_of(one, ranks=True) == chosen
    written(chosen, one)
    assert folder_of(one) == chosen


def test_a_split_has_one_folder() -> None:
    one = asked(("a/images/100k/val",), "val")
    written(Path("runs", MODEL, "val"), asked(("b/images/100k/val",), "val"))
    assert folder_of(one) == folder_of(one, ranks=True) == Path("runs", MODEL, "val")


@pytest.mark.parametrize("content", ["", "{}", '{"format": 0}', "[]"])
def test_a_folder_whose_record_cannot_be_read_is_not_passed_over_in_silence(content: str) -> None:
    one = asked(("a/frames/*.jpg",))
    folder = Path("runs", MODEL, "images-frames")
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(content)
    assert folder_of(one) == folder
