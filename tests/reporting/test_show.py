"""show: which pictures are drawn, when they are drawn again, and which files are never overwritten."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from surroundings import Told

from bdd100k_zoo.data.classes import CLASSES
from bdd100k_zoo.data.drawing.colours import CLASS_COLOURS, FALSE_COLOUR, MISSED_COLOUR, TRUE_COLOUR
from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.errors import (
    ImagesError,
    InputsError,
    InvalidFileError,
    StorageError,
    WorkerFailedError,
)
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.reporting.frame_boxes import ALL_CLASSES, FramePredictions
from bdd100k_zoo.reporting.picture_files import PictureJob, draw_picture_files, read_picture, read_picture_digest
from bdd100k_zoo.reporting.show import ShowRequest, ShowResult, read_frame_names, show_predictions

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("a.jpg", "b/c.png", "d.jpg")
CAR, BUS = CLASSES.index("car"), CLASSES.index("bus")


def label(box: tuple[float, ...] = (20, 30, 80, 70), category: str = "car", score: float | None = None) -> dict:
    corners = dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
    return {"id": "1", "category": category, "box2d": corners} | ({} if score is None else {"score": score})


def write(path: str, frames: dict[str, list[dict]], **fields: Any) -> Path:
    Path(path).write_text(json.dumps([{"name": name, "labels": labels, **fields} for name, labels in frames.items()]))
    return Path(path)


def paint(folder: str, *names: str, size: tuple[int, int] = (160, 90)) -> None:
    for place, name in enumerate(names):
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (40 + 20 * place % 160, 90, 60)).save(path)


@pytest.fixture
def drive(tmp_path: Path) -> dict[str, list[dict]]:
    """Three images in the folder drive, and their predictions in det.json."""
    paint("drive", *NAMES)
    frames = {name: [label(score=0.9), label((5, 5, 25, 25), "bus", 0.2)] for name in NAMES}
    write("det.json", frames)
    return frames


def drawn(progress: Any = NO_PROGRESS, **changes: Any) -> ShowResult:
    facts: dict[str, Any] = {"predictions": Path("det.json"), "images": ("drive",), "out": Path("out")}
    return show_predictions(ShowRequest(**(facts | {"min_score": 0.3} | changes)), progress)


def files_in(folder: str) -> dict[str, int]:
    """Every file below a folder, with the time of its last change."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def test_every_frame_becomes_a_picture_of_its_size_with_its_boxes(drive):
    shown = drawn()
    assert [str(each.path) for each in shown.pictures] == ["out/a.jpg", "out/b/c.jpg", "out/d.jpg"]
    assert (shown.boxes, shown.left_out, shown.existing) == (3, 3, 0)
    for picture in shown.pictures:
        with Image.open(picture.path) as image:
            assert image.size == (160, 90)
            difference = max(abs(a - b) for a, b in zip(image.getpixel((50, 29)), CLASS_COLOURS[CAR], strict=True))
            assert difference < 40  # a JPEG's colours are near


def test_pictures_are_drawn_into_images_of_every_format_and_other_files_are_counted():
    names = ("a.jfif", "b.webp", "c.BMP", "d.tif")
    Path("drive").mkdir()
    for name, form in zip(names, ("JPEG", "WEBP", "BMP", "TIFF"), strict=True):
        Image.new("RGB", (160, 90), (40, 90, 60)).save(f"drive/{name}", form)
    write("det.json", {name: [label(score=0.9)] for name in names})
    Path("drive/notes.txt").touch()
    told = Told()
    shown = drawn(told)
    assert [str(each.path) for each in shown.pictures] == [f"out/{name[0]}.jpg" for name in names]
    assert told.notes == ["ignored in drive: 1 .txt"]


def test_the_pixels_of_a_png_are_exact(drive):
    (first, *_) = drawn(form="png").pictures
    assert first.path == Path("out/a.png")
    with Image.open(first.path) as image:
        assert image.getpixel((50, 29)) == CLASS_COLOURS[CAR]
        assert image.getpixel((50, 50)) == read_picture(Path("drive/a.jpg")).getpixel((50, 50))


def test_predictions_can_be_given_as_the_folder_of_a_run(drive):
    Path("run").mkdir()
    Path("det.json").rename("run/det.json")
    assert len(drawn(predictions=Path("run")).pictures) == 3


def test_existing_pictures_are_not_drawn_again(drive):
    drawn()
    before, told = files_in("out"), Told()
    shown = drawn(told)
    assert shown.existing == len(shown.pictures) == 3
    assert files_in("out") == before
    assert told.done == {"Drawing": 3}


def changed_by(**changes: Any) -> list[str]:
    """The pictures that a second request changes."""
    before = files_in("out")
    drawn(**changes)
    after = files_in("out")
    assert after.keys() >= before.keys()
    return [name for name in after if after[name] != before.get(name)]


def test_only_pictures_that_would_differ_are_drawn_again(drive):
    drawn()
    write("det.json", drive | {"d.jpg": [label((30, 30, 90, 70), score=0.9)]})
    assert changed_by() == ["d.jpg"]
    paint("drive", "a.jpg", size=(200, 100))
    assert changed_by() == ["a.jpg"]
    assert changed_by(min_score=0.4) == []
    assert changed_by(min_score=0.1) == ["a.jpg", "b/c.jpg"]
    assert changed_by(min_score=0.1, classes=(BUS,)) == ["a.jpg", "b/c.jpg", "d.jpg"]


def test_fresh_draws_all_again(drive):
    drawn()
    assert changed_by(fresh=True) == ["a.jpg", "b/c.jpg", "d.jpg"]


def test_a_picture_that_is_cut_off_counts_as_none(drive):
    drawn()
    whole = Path("out/a.jpg").read_bytes()
    Path("out/a.jpg").write_bytes(whole[:-40])
    assert changed_by() == ["a.jpg"]
    assert Path("out/a.jpg").read_bytes() == whole


@pytest.mark.parametrize("fresh", [False, True])
def test_files_of_others_are_never_overwritten(drive, fresh):
    Path("out").mkdir()
    Path("out/d.jpg").write_bytes(b"mine")
    with pytest.raises(StorageError) as caught:
        drawn(fresh=fresh)
    assert str(caught.value) == "out: holds other files under these names; nothing was written:\n  out/d.jpg"
    assert list(files_in("out")) == ["d.jpg"]


def test_the_folder_of_the_images_is_refused_as_a_place_for_pictures(drive):
    before = files_in("drive")
    with pytest.raises(StorageError):
        drawn(out=Path("drive"))
    assert files_in("drive") == before


@pytest.mark.parametrize(
    "name", ["../x.jpg", "/tmp/x.jpg", "a/../../x.jpg", "..\\x.jpg", "C:\\x.jpg", "x\x1b[2J.jpg", ""]
)
def test_a_name_that_leads_out_of_the_folder_is_refused_and_nothing_is_written(drive, name):
    write("det.json", drive | {name: [label(score=0.9)]})
    with pytest.raises(InvalidFileError):
        drawn()
    assert not Path("out").exists()
    assert not Path("x.jpg").exists()


@pytest.mark.parametrize("name", ["été 1/ñ.jpg", "<b>&amp;.jpg", "[red]x.jpg", "$(touch x).jpg", "a\u202egpj.jpg", "7"])
def test_odd_names_that_stay_in_the_folder_are_drawn(name):
    path = Path("drive", name).with_suffix(".jpg")
    paint("drive", str(path.relative_to("drive")))
    name = name if name.endswith(".jpg") else f"{name}.jpg"
    write("det.json", {name: [label(score=0.9)]})
    (picture,) = drawn().pictures
    assert picture.path.parent.resolve().is_relative_to(Path("out").resolve())
    assert list(files_in("out")) == [name]


def test_a_link_that_leads_out_of_the_folder_is_not_followed(drive):
    Path("elsewhere").mkdir()
    Path("out").mkdir()
    Path("out/b").symlink_to(Path("elsewhere").resolve())
    with pytest.raises(StorageError, match="leads out of out"):
        drawn()
    assert files_in("elsewhere") == files_in("out") == {}


def test_frames_that_differ_only_in_their_suffix_have_separate_pictures(drive):
    paint("drive", "a.png")
    write("det.json", drive | {"a.png": [label(score=0.9)]})
    drawn(frames=("a.jpg",))
    drawn()
    assert list(files_in("out")) == ["a.jpg.jpg", "a.png.jpg", "b/c.png.jpg", "d.jpg.jpg"]


def test_names_of_one_picture_are_an_error(drive):
    write("det.json", {"a.jpg": [], "./a.jpg": []})
    with pytest.raises(InvalidFileError, match="same file"):
        drawn()


def test_frames_without_an_image_are_reported_and_the_others_drawn(drive):
    write("det.json", drive | {"far.jpg": [], "farther.jpg": []})
    shown = drawn()
    assert shown.without_image == ("far.jpg", "farther.jpg")
    assert len(shown.pictures) == 3


def test_images_of_no_predicted_frame_are_an_error(drive):
    write("det.json", {"far.jpg": []})
    with pytest.raises(ImagesError, match=r"no frame of the predictions, such as far\.jpg"):
        drawn()
    assert not Path("out").exists()


def test_unreadable_images_are_reported_and_the_others_drawn(drive):
    Path("drive/a.jpg").write_bytes(b"no image")
    whole = Path("drive/d.jpg").read_bytes()
    Path("drive/d.jpg").write_bytes(whole[: len(whole) // 2])
    shown = drawn()
    assert list(shown.unreadable) == ["a.jpg", "d.jpg"]
    assert all(shown.unreadable.values())
    assert list(files_in("out")) == ["b/c.jpg"]


def test_only_requested_frames_are_drawn(drive):
    Path("list.txt").write_text("# some\n\nd.jpg\n")
    assert [each.frame for each in drawn(frames=read_frame_names(["list.txt"])).pictures] == ["d.jpg"]
    assert read_frame_names(["list.txt", "x.jpg"]) == ("d.jpg", "x.jpg")
    with pytest.raises(InvalidFileError, match=r"no frame nowhere\.jpg"):
        drawn(frames=("nowhere.jpg",))


def test_two_processes_draw_what_one_does():
    names = [f"{n:03}.png" for n in range(70)]
    paint("drive", *names)
    write("det.json", {name: [label((n, n, n + 40, n + 30), score=0.8)] for n, name in enumerate(names)})
    told = Told()
    assert len(drawn(told, workers=2, out=Path("two")).pictures) == 70
    drawn(workers=1, out=Path("one"))
    assert told.done == {"Drawing": 70}
    assert [path.read_bytes() for path in sorted(Path("two").iterdir())] == [
        path.read_bytes() for path in sorted(Path("one").iterdir())
    ]


def test_a_killed_process_is_an_error(drive):
    def sheets() -> Iterator[PictureJob]:
        for number in range(200):
            if number == 100:
                for child in multiprocessing.active_children():
                    os.kill(child.pid, signal.SIGKILL)
            yield PictureJob(str(number), find_images(["drive"]).frames[0], Path("out", f"{number}.jpg"), (), None)

    with pytest.raises(WorkerFailedError):
        list(draw_picture_files(sheets(), 200, 2, Path("out")))


def test_frames_of_a_video_are_drawn():
    films = pytest.importorskip("films")
    films.film(Path("drive.mp4"), frames=30)
    frames = {f"drive-{n:07}.jpg": [label((10, 20, 30, 40), score=0.9)] for n in range(0, 30, 3)}
    write("det.json", frames)
    shown = drawn(images=("drive.mp4",), every=3, form="png")
    assert len(shown.pictures) == 10
    numbers = []
    for picture in shown.pictures:
        with Image.open(picture.path) as image:
            assert image.size == (films.WIDTH, films.HEIGHT)
            numbers.append(image.getpixel((63, 47))[0])
    assert len(set(numbers)) > 5


@pytest.mark.parametrize(("mode", "expected"), [("L", (70, 70, 70)), ("I;16", (70, 70, 70)), ("RGBA", (1, 2, 3))])
def test_images_of_any_kind_are_read_in_rgb(mode, expected):
    colour = {"L": 70, "I;16": 70 * 256 + 5, "RGBA": (1, 2, 3, 9)}[mode]
    Image.new(mode, (8, 6), colour).save("a.png")
    assert read_picture(Path("a.png")).getpixel((3, 3)) == expected


def test_images_are_turned_as_their_camera_was_held():
    image = Image.new("RGB", (8, 6))
    turned = Image.Exif()
    turned[0x0112] = 6
    image.save("a.jpg", exif=turned)
    assert read_picture(Path("a.jpg")).size == (6, 8)


def test_a_picture_contains_its_digest(drive):
    drawn()
    assert len(read_picture_digest(Path("out/a.jpg")) or "") == 64
    assert read_picture_digest(Path("out/none.jpg")) == ""
    assert read_picture_digest(Path("drive/a.jpg")) is None
    Path("empty.jpg").touch()
    assert read_picture_digest(Path("empty.jpg")) is None


# With labels ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def labelled(drive) -> Path:
    """Labels of two of the frames: in a, one car is found and one is not; in d, a bus is found with a low score."""
    return write(
        "labels.json",
        {
            "a.jpg": [label(), label((100, 30, 140, 70))],
            "d.jpg": [label((5, 5, 25, 25), "bus")],
            "z.jpg": [label()],
        },
    )


def kinds(scene: FramePredictions, key: str, min_score: float, classes: Any = ALL_CLASSES) -> list[str]:
    return [mark.kind for mark in scene.marks(key, min_score, classes)]


def test_detections_and_objects_are_marked_as_matched(labelled):
    scene = FramePredictions(Path("det.json"), labelled)
    assert kinds(scene, "a.jpg", 0) == ["true", "false", "found", "missed"]
    assert kinds(scene, "d.jpg", 0) == ["false", "true", "found"]
    assert kinds(scene, "b/c.png", 0) == ["detection", "detection"]


def test_an_object_that_only_a_detection_below_the_score_found_is_missed(labelled):
    scene = FramePredictions(Path("det.json"), labelled)
    assert kinds(scene, "d.jpg", 0.3) == ["false", "missed"]
    assert kinds(scene, "d.jpg", 0.3, [BUS]) == ["missed"]


def test_ignored_regions_and_detections_in_them_are_marked():
    write("det.json", {"a.jpg": [label(score=0.9)]})
    path = write("labels.json", {"a.jpg": [label((0, 0, 150, 80), "other vehicle")]})
    assert kinds(FramePredictions(Path("det.json"), path), "a.jpg", 0) == ["uncounted", "region"]


def colours_of(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as image:
        return {colour for _, colour in image.getcolors(1 << 20)}


def test_pictures_with_labels_have_a_legend_and_those_without_have_none(labelled):
    shown = drawn(labels=labelled, form="png", min_score=0.1)
    sizes = {}
    for each in shown.pictures:
        with Image.open(each.path) as image:
            sizes[each.frame] = image.height
    assert sizes["b/c.png"] == 90 < min(sizes["a.jpg"], sizes["d.jpg"])
    assert shown.unlabelled == 1
    assert {TRUE_COLOUR, FALSE_COLOUR, MISSED_COLOUR} <= colours_of(Path("out/a.png"))


def test_only_the_worst_frames_are_drawn(labelled):
    shown = drawn(labels=labelled, top_errors=1, min_score=0)
    (worst,) = shown.pictures
    assert worst.frame == "a.jpg"
    assert worst.loss is not None
    assert worst.loss.lost == pytest.approx(worst.loss.to_false + worst.loss.to_missed)
    assert worst.loss.to_false == pytest.approx(25)  # its false bus is ranked before the true one of d
    assert worst.loss.to_missed == pytest.approx(50 * 50 / 101)  # 50 of 101 points of recall of cars are not reached


def test_frames_that_cost_nothing_are_not_among_the_worst(labelled):
    write("det.json", {"a.jpg": [label((140, 5, 150, 9), "train", 0.5)], "b/c.png": [], "d.jpg": []})
    assert [each.frame for each in drawn(labels=labelled, top_errors=9).pictures] == ["a.jpg", "d.jpg"]


def test_predictions_without_a_box_are_drawn_but_not_matched(labelled):
    write("det.json", {name: [] for name in NAMES})
    assert drawn().boxes == 0
    with pytest.raises(InputsError, match=r"det\.json: holds no box"):
        drawn(labels=labelled)


@pytest.mark.parametrize("judged", [False, True])
def test_flat_predictions_without_the_suffix_of_their_images_are_drawn(labelled, judged):
    flat = [{"name": "a", "category": "car", "score": 0.9, "bbox": [20, 30, 80, 70]}]
    Path("det.json").write_text(json.dumps(flat))
    found = drawn(images=("drive/a.jpg",), **({"labels": labelled} if judged else {}))
    assert [each.frame for each in found.pictures] == ["a.jpg"]
    assert (found.boxes, found.unlabelled) == (1, 0)


def test_the_worst_frames_are_chosen_among_the_requested_ones(labelled):
    shown = drawn(labels=labelled, top_errors=5, frames=("b/c.png", "a.jpg"))
    assert [each.frame for each in shown.pictures] == ["a.jpg"]


def test_where_no_frame_costs_anything_there_is_nothing_to_draw(drive):
    path = write("labels.json", {name: [label()] for name in NAMES})
    with pytest.raises(ImagesError, match="none costs any AP"):
        drawn(labels=path, top_errors=3, classes=(CAR,))


def test_coco_results_are_drawn_with_coco_labels(drive):
    images = [{"id": 5, "file_name": "a.jpg", "width": 160, "height": 90}]
    categories = [{"id": index, "name": name} for index, name in enumerate(CLASSES, 1)]
    box = {"image_id": 5, "category_id": CAR + 1, "bbox": [20, 30, 60, 40]}
    annotation = box | {"id": 1, "area": 2400, "iscrowd": 0}
    Path("coco.json").write_text(json.dumps({"images": images, "categories": categories, "annotations": [annotation]}))
    Path("det.json").write_text(json.dumps([box | {"score": 0.9}]))
    scene = FramePredictions(Path("det.json"), Path("coco.json"))
    assert kinds(scene, "a.jpg", 0.3) == ["true", "found"]


def test_frames_of_the_same_name_are_distinguished_by_their_videos():
    frame = {"name": "1.jpg", "labels": [label(score=0.9)]}
    Path("det.json").write_text(json.dumps([frame | {"videoName": "v"}, frame | {"videoName": "w", "labels": []}]))
    paint("drive", "v/1.jpg", "w/1.jpg")
    assert [each.frame for each in drawn().pictures] == ["v/1.jpg", "w/1.jpg"]
    assert drawn().boxes == 1
