"""The folder of the demo, and the frames and weights that the package ships."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bdd100k_zoo.data.scalabel_reader import read_label_frames
from bdd100k_zoo.demo_run import steps as job
from bdd100k_zoo.demo_run.steps import FRAMES, MODEL, TRAIN_FRAMES, Demo, Places, bundled_weights, demo_folder
from bdd100k_zoo.errors import DigestMismatchError, StorageError
from bdd100k_zoo.files import sha256_of
from bdd100k_zoo.hub.cache import Store
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.registry import load_zoo


@pytest.mark.parametrize("kept", [None, Path("a/b")])
def test_an_interrupted_demo_leaves_no_folder(kept: Path | None) -> None:
    folder = interrupted = None
    try:
        with demo_folder(kept) as folder:
            (folder / "data").mkdir()
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        interrupted = True
    assert interrupted
    assert folder is not None
    assert not folder.exists()


def test_a_folder_stays_only_if_it_is_to_be_kept() -> None:
    with demo_folder(None) as folder:
        (folder / "data").mkdir()
    assert not folder.exists()
    with demo_folder(Path("a/b")) as folder:
        (folder / "data").mkdir()
    assert Path("a/b/data").is_dir()


def test_a_folder_that_is_not_empty_is_an_error_and_unchanged() -> None:
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    with pytest.raises(StorageError), demo_folder(Path("full")):
        pass
    assert Path("full/mine.txt").read_text() == "mine"


def test_the_frames_of_the_package_are_copied_and_the_objects_of_val_counted(tmp_path: Path) -> None:
    places = Places(tmp_path / "demo")
    assert Demo(load_zoo(), places, NO_PROGRESS).copy_frames() == 468
    shipped = {path.relative_to(job.DATA): path.read_bytes() for path in job.DATA.rglob("*.*")}
    copied = {path.relative_to(places.data): path.read_bytes() for path in places.data.rglob("*.*")}
    assert copied == shipped
    for split, number in (("train", TRAIN_FRAMES), ("val", FRAMES)):
        names = {frame.name for frame in read_label_frames(places.data / f"labels/det_20/det_{split}.json")}
        assert len(names) == number
        assert names == {path.name for path in (places.data / "images/100k" / split).iterdir()}


def test_only_shipped_files_are_copied_and_the_copies_can_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "package"
    shutil.copytree(job.DATA, data)
    (data / "images" / ".DS_Store").write_bytes(b"x")
    for path in data.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    monkeypatch.setattr(job, "DATA", data)
    places = Places(tmp_path / "demo")
    Demo(load_zoo(), places, NO_PROGRESS).copy_frames()
    assert not list(places.data.rglob(".DS_Store"))
    shutil.rmtree(places.data)
    for path in (data, *data.rglob("*")):
        path.chmod(0o755)


def test_the_weights_in_the_package_are_those_of_the_zoo_file_and_small() -> None:
    file, weights = bundled_weights(load_zoo()), load_zoo()[MODEL].weights
    assert weights.digest == f"sha256:{sha256_of(file)}"
    assert weights.size == file.stat().st_size <= 6_000_000


def test_the_weights_are_downloaded_into_the_demos_cache_without_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("BDD100K_ZOO_OFFLINE", "1")
    stored = Demo(load_zoo(), Places(tmp_path / "demo"), NO_PROGRESS).download()
    assert stored.path.is_relative_to(tmp_path / "demo" / "cache")
    assert stored.address is not None
    assert stored.address.startswith("http://127.0.0.1:")
    assert stored.verified_by == "zoo file"
    assert not (tmp_path / "cache").exists()


def test_weights_with_another_digest_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(bundled_weights(load_zoo()).read_bytes())
    content[1000] ^= 1
    spoilt = tmp_path / f"{MODEL}.pth"
    spoilt.write_bytes(content)
    monkeypatch.setattr(job, "bundled_weights", lambda _: spoilt)
    with pytest.raises(DigestMismatchError):
        Demo(load_zoo(), Places(tmp_path / "demo"), NO_PROGRESS).download()


def test_the_bundled_weights_are_an_ordinary_file_of_the_cache(tmp_path: Path) -> None:
    with Store(tmp_path / "cache", mirrors=()) as store:
        stored = store.fetch(load_zoo()[MODEL].artifact("weights"), NO_PROGRESS)
        assert stored.verified_by == "zoo file"
        assert store.find(load_zoo()[MODEL].artifact("weights")) == stored
