"""A run's predictions in other formats: equal to what convert writes, whole or absent, and of these predictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from tiny import TinyDetector, draw, resume_run

from bdd100k_zoo.data.convert import convert_file
from bdd100k_zoo.data.detections import Detections, PredictionsWriter
from bdd100k_zoo.data.images import Frame, find_images
from bdd100k_zoo.errors import ImagesError, InvalidFileError, StorageError
from bdd100k_zoo.prediction.exports import EXPORTS, remove_exports, write_exports
from bdd100k_zoo.progress import NO_PROGRESS

RUN, IMAGES = Path("run"), Path("images")
NAMES = ("a.jpg", "day/b.png", "day/c.jpg", "d.jpg")
SIZES = ((200, 100), (60, 40), (50, 50), (40, 30))
ALL = tuple(EXPORTS)


@pytest.fixture(autouse=True)
def frames() -> list[Frame]:
    """Write images and the predictions of a run on them: frame ``d.jpg`` has no boxes."""
    (IMAGES / "day").mkdir(parents=True)
    for name, size in zip(NAMES, SIZES, strict=True):
        Image.new("RGB", size).save(IMAGES / name)
    found = find_images([str(IMAGES)]).frames
    rng, writer = np.random.default_rng(0), PredictionsWriter(RUN / "det.json")
    for frame in found:
        size = dict(zip(NAMES, SIZES, strict=True))[frame.name]
        number = 0 if frame.name == "d.jpg" else 7
        corners = np.sort(rng.random((number, 2, 2), np.float32), axis=1).reshape(-1, 4) * np.array([*size, *size])
        scores = rng.random(number, np.float32)
        writer.write(frame.name, Detections(corners.astype(np.float32), scores, rng.integers(0, 10, number)))
    writer.finish()
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_they_are_what_convert_writes(frames: list[Frame]) -> None:
    assert write_exports(RUN, ALL, frames) == [RUN / "det.coco.json", RUN / "yolo", RUN / "det.csv"]
    convert_file(RUN / "det.json", Path("yolo"), "yolo", images=[str(IMAGES)])
    convert_file(RUN / "det.json", Path("det.csv"), "csv")
    assert contents(RUN / "yolo") == contents(Path("yolo"))
    assert (RUN / "det.csv").read_bytes() == Path("det.csv").read_bytes()
    Path("labels.json").write_text(json.dumps([{"name": name} for name in NAMES]))
    convert_file(RUN / "det.json", Path("results.json"), "coco", labels=Path("labels.json"))
    results = json.loads((RUN / "det.coco.json").read_bytes())
    order = sorted(NAMES)
    assert [result.pop("file_name") for result in results] == [order[each["image_id"] - 1] for each in results]
    assert results == json.loads(Path("results.json").read_bytes())


def test_each_result_and_row_has_a_line(frames: list[Frame]) -> None:
    write_exports(RUN, ALL, frames)
    lines = (RUN / "det.coco.json").read_text().splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("[", "]", 21 + 2)
    assert len((RUN / "det.csv").read_text().splitlines()) == 21 + 1


def test_a_frame_without_boxes_has_an_empty_text_file_and_names_with_folders_subfolders(frames: list[Frame]) -> None:
    Path(IMAGES, "d.jpg").write_text("unreadable: its size is not needed")
    write_exports(RUN, ["yolo"], frames)
    labels = contents(RUN / "yolo" / "labels")
    assert {name for name in labels if name.endswith(".txt")} == {"a.txt", "d.txt", "day/b.txt", "day/c.txt"}
    assert labels["d.txt"] == b""
    assert len(labels["day/b.txt"].splitlines()) == 7


def test_a_run_without_any_box_has_empty_lists() -> None:
    writer = PredictionsWriter(RUN / "det.json")
    writer.write("a.jpg", Detections.empty())
    writer.finish()
    write_exports(RUN, ALL, [])
    assert (RUN / "det.coco.json").read_bytes() == b"[]\n"
    assert (RUN / "det.csv").read_bytes() == b"image,class,score,x1,y1,x2,y2\n"
    assert contents(RUN / "yolo")["labels/a.txt"] == b""


def test_what_is_there_is_left_and_what_is_missing_is_written(frames: list[Frame]) -> None:
    assert write_exports(RUN, ["csv"], []) == [RUN / "det.csv"]
    before = (RUN / "det.csv").stat().st_mtime_ns
    assert write_exports(RUN, ["csv", "coco", "csv"], []) == [RUN / "det.csv", RUN / "det.coco.json"]
    assert (RUN / "det.csv").stat().st_mtime_ns == before
    first = contents(RUN)
    remove_exports(RUN)
    assert contents(RUN).keys() == {"det.json"}
    write_exports(RUN, ["coco", "csv"], frames)
    assert contents(RUN) == first


def test_after_an_error_none_is_written_and_left_overs_of_a_killed_process_are_removed(frames: list[Frame]) -> None:
    (RUN / ".det.csv.0123").touch()
    (RUN / "yolo" / ".labels.0123").mkdir(parents=True)
    Path(IMAGES, "day/c.jpg").unlink()
    with pytest.raises(ImagesError, match=r"c\.jpg"):
        write_exports(RUN, ALL, frames)
    assert contents(RUN).keys() == {"det.json"}
    with pytest.raises(ImagesError, match="not among the images"):
        write_exports(RUN, ALL, frames[:1])
    assert contents(RUN).keys() == {"det.json"}


def test_damaged_predictions_are_an_error(frames: list[Frame]) -> None:
    content = (RUN / "det.json").read_bytes()
    (RUN / "det.json").write_bytes(content[:-20])
    with pytest.raises(InvalidFileError, match="line 5"):
        write_exports(RUN, ALL, frames)
    (RUN / "det.json").unlink()
    with pytest.raises(StorageError):
        write_exports(RUN, ALL, frames)
    assert contents(RUN) == {}


@pytest.mark.parametrize("name", ["../x.jpg", "/x.jpg"])
def test_a_hostile_name_in_the_predictions_leaves_the_folder_alone(name: str, frames: list[Frame]) -> None:
    path = RUN / "det.json"
    path.write_bytes(path.read_bytes().replace(b'"d.jpg"', json.dumps(name).encode()))
    with pytest.raises(InvalidFileError, match="relative path"):
        write_exports(RUN, ["yolo"], frames)
    assert not list(Path().rglob("x.txt"))


def test_a_new_run_in_the_folder_removes_the_exports_of_the_old_one() -> None:
    images, out = Path("scenes"), Path("out")
    draw(images, 4)
    resume_run(out, images, TinyDetector(seed=1))
    frames = find_images([str(images)]).frames
    write_exports(out, ALL, frames)
    first = contents(out)
    resume_run(out, images, TinyDetector(seed=2), fresh=True)
    assert contents(out).keys() == {"det.json", "run.json", "yolo/data.yaml"}
    write_exports(out, ALL, frames)
    changed = {name for name, content in contents(out).items() if content != first[name]}
    assert changed >= {"det.json", "det.csv", "det.coco.json", "yolo/labels/0000.txt"}


class Notes:
    """Progress that keeps notes."""

    task = staticmethod(NO_PROGRESS.task)
    warn = staticmethod(NO_PROGRESS.warn)

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_another_process_that_writes_them_is_left_to_it(frames: list[Frame]) -> None:
    write_exports(RUN, ["csv"], frames)
    progress = Notes()
    with FileLock(RUN / ".lock-exports"):
        assert write_exports(RUN, ["csv", "coco"], frames, progress) == [RUN / "det.csv"]
    assert progress.notes == [f"another process is writing det.coco.json in {RUN}"]
