"""Folders of labels for YOLO: whole or absent, inside their folder, and never in place of other programs' files."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.yolo import has_labels, label_file, remove_labels, yolo_writer
from bdd100k_zoo.errors import InvalidFileError, StorageError

OUT = Path("out")


def write(folder: Path, frames: dict[str, list[str]]) -> None:
    with yolo_writer(folder) as add:
        for name, rows in frames.items():
            add(name, rows)


def texts(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.txt")}


def test_each_frame_has_a_file_and_folders_of_names_are_kept() -> None:
    write(OUT, {"a.jpg": ["2 0.5 0.5 1 1", "0 0.1 0.1 0.1 0.1"], "day/b.png": ["1 0 0 0 0"], "empty.jpg": [], "c": []})
    assert texts(OUT) == {
        "labels/a.txt": "2 0.5 0.5 1 1\n0 0.1 0.1 0.1 0.1\n",
        "labels/day/b.txt": "1 0 0 0 0\n",
        "labels/empty.txt": "",
        "labels/c.txt": "",
    }
    assert has_labels(OUT)


def test_the_classes_are_those_of_the_benchmark_in_their_order() -> None:
    write(OUT, {})
    dataset = yaml.safe_load((OUT / "data.yaml").read_text())
    assert dataset == {"train": "images", "val": "images", "names": dict(enumerate(CLASSES))}


@pytest.mark.parametrize("name", ["../a.jpg", "/tmp/a.jpg", "a/../../b.jpg", "", "C:/a.jpg", "..\\a.jpg", "a\0.jpg"])
def test_a_name_that_leaves_the_folder_is_refused_and_nothing_is_written(name: str) -> None:
    with pytest.raises(InvalidFileError):
        write(Path("in/out"), {"good.jpg": [], name: ["1 0 0 0 0"]})
    assert sorted(Path().rglob("*")) == [Path("in")]
    with pytest.raises(InvalidFileError):
        label_file(name)


def test_two_frames_with_one_text_file_are_an_error() -> None:
    with pytest.raises(InvalidFileError, match=r"'a\.png'.*same text file, a\.txt") as caught:
        write(OUT, {"a.jpg": [], "a.jpg.jpg": [], "a.png": []})
    assert "rename" in caught.value.hint
    assert not OUT.exists()


def test_its_own_labels_are_replaced_and_other_files_are_left_alone() -> None:
    write(OUT, {"old.jpg": []})
    (OUT / "images").mkdir()
    (OUT / "images" / "new.jpg").touch()
    write(OUT, {"new.jpg": ["1 0 0 0 0"]})
    assert texts(OUT) == {"labels/new.txt": "1 0 0 0 0\n"}
    assert sorted(path.name for path in OUT.iterdir()) == ["data.yaml", "images", "labels"]


def test_an_error_leaves_the_old_labels() -> None:
    write(OUT, {"old.jpg": []})
    with pytest.raises(InvalidFileError):
        write(OUT, {"new.jpg": [], "new.png": []})
    assert texts(OUT) == {"labels/old.txt": ""}
    assert sorted(path.name for path in OUT.iterdir()) == ["data.yaml", "labels"]


@pytest.mark.parametrize("foreign", ["labels/a.txt", "data.yaml"])
def test_files_of_another_program_are_not_replaced(foreign: str) -> None:
    path = OUT / foreign
    path.parent.mkdir(parents=True)
    path.write_text("theirs")
    with pytest.raises(StorageError, match="not replaced"):
        write(OUT, {"a.jpg": []})
    remove_labels(OUT)
    assert path.read_text() == "theirs"


def test_a_link_in_place_of_labels_is_not_followed() -> None:
    write(Path("elsewhere"), {"theirs.jpg": []})
    OUT.mkdir()
    (OUT / "labels").symlink_to(Path("elsewhere/labels").resolve())
    with pytest.raises(StorageError, match="not replaced"):
        write(OUT, {"a.jpg": []})
    assert texts(Path("elsewhere")) == {"labels/theirs.txt": ""}


def test_a_file_in_place_of_the_folder_is_an_error() -> None:
    OUT.touch()
    with pytest.raises(StorageError, match="is a file"):
        write(OUT, {})


def test_labels_are_removed_as_a_whole() -> None:
    write(OUT, {"a.jpg": []})
    remove_labels(OUT)
    assert not has_labels(OUT)
    assert not texts(OUT)
    remove_labels(OUT)
    remove_labels(Path("missing"))
