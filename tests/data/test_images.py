"""Finding images below the paths that a user gives, and reading them."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image

from bdd100k_zoo.data.image_files import read_image
from bdd100k_zoo.data.images import find_images
from bdd100k_zoo.errors import (
    ImagesError,
    InvalidFileError,
    StorageError,
    UnreadableImageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

REFERENCE = Path(__file__).resolve().parents[1] / "data" / "reference"


def listing(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))


def names(given: str | Path, *more: str | Path) -> list[str]:
    return [frame.name for frame in find_images([str(given), *map(str, more)]).frames]


# Finding


def test_a_folder_is_searched_to_its_depth_and_names_are_relative_with_slashes(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a/z.png", "a/b/c/d.jpeg", "notes.txt", "a/x.gif")
    assert names(tmp_path) == ["a/b/c/d.jpeg", "a/z.png", "b.jpg"]
    assert [frame.path for frame in find_images([str(tmp_path)]).frames] == [
        tmp_path / "a/b/c/d.jpeg",
        tmp_path / "a/z.png",
        tmp_path / "b.jpg",
    ]


def test_suffixes_count_in_any_case(tmp_path: Path) -> None:
    images = ["1.JPG", "2.JpEg", "3.PNG", "4.WebP", "5.BMP", "6.tif", "7.TIFF", "8.jfif", "9.JPE"]
    touch(tmp_path, *images, "4.jpg.bak", "5.jpgx", "jpg", "6.gif", "7.heic")
    assert names(tmp_path) == names(tmp_path / "*") == images
    assert names(*(tmp_path / name for name in images)) == images


def test_hidden_files_are_skipped_in_folders_and_patterns(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", ".2.jpg", ".cache/3.jpg", ".jpg", "sub/._4.jpg")
    assert names(tmp_path) == ["1.jpg"]
    assert names(tmp_path / "*.jpg") == ["1.jpg"]
    assert names(tmp_path / "**" / "*.jpg") == ["1.jpg"]


def test_a_folder_that_is_hidden_itself_may_be_given(tmp_path: Path) -> None:
    touch(tmp_path, ".frames/1.jpg")
    assert names(tmp_path / ".frames") == ["1.jpg"]


def test_a_file_is_named_by_its_base_name(tmp_path: Path) -> None:
    touch(tmp_path, "deep/down/1.jpg", ".hidden.png")
    assert names(tmp_path / "deep/down/1.jpg", tmp_path / ".hidden.png") == [".hidden.png", "1.jpg"]


def test_relative_and_home_paths_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "home/frames/1.jpg", "frames/2.jpg")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert names("frames", "~/frames", "./frames/../frames/2.jpg", "~/frames/*.jpg") == ["1.jpg", "2.jpg"]


def test_a_pattern_that_the_shell_left_alone_is_expanded(tmp_path: Path) -> None:
    touch(tmp_path, "day1/1.jpg", "day2/2.PNG", "day2/2.txt", "night/3.jpg", "day1/deep/4.jpg")
    assert names(tmp_path / "day*/*") == ["1.jpg", "2.PNG"]
    assert names(tmp_path / "**/*.jpg") == ["1.jpg", "3.jpg", "4.jpg"]
    assert names(tmp_path / "day[2-9]/?.*") == ["2.PNG"]


def test_brackets_in_the_name_of_an_existing_path_are_no_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "run[1]/a[0].jpg", "run1/b.jpg")
    assert names(tmp_path / "run[1]") == ["a[0].jpg"]
    assert names(tmp_path / "run[1]" / "a[0].jpg") == ["a[0].jpg"]
    assert names(tmp_path / "run[1]/*.jpg") == ["b.jpg"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX files")
def test_pipes_and_devices_are_frames_that_cannot_be_read(tmp_path: Path) -> None:
    """Reading a pipe would wait for a writer, and a device may never end."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for given in (tmp_path, tmp_path / "*.[jp]*g"):
        frames = find_images([str(given)]).frames
        assert [frame.name for frame in frames] == ["pipe.jpg", "zero.png"]
        for frame in frames:
            with pytest.raises(UnreadableImageError, match="is not a regular file"):
                read_image(frame.path)


def test_folders_that_a_pattern_matches_are_no_images(tmp_path: Path) -> None:
    touch(tmp_path, "x.jpg/1.png", "y.jpg")
    assert names(tmp_path / "*.jpg") == ["y.jpg"]
    assert names(tmp_path) == ["x.jpg/1.png", "y.jpg"]
    assert names(tmp_path / "x.jpg") == ["1.png"]


def test_frames_are_sorted_by_code_point_over_all_that_was_given(tmp_path: Path) -> None:
    touch(tmp_path, "one/b.jpg", "one/B.jpg", "one/a/x.jpg", "one/a-x.jpg", "two/ä.jpg", "two/10.jpg", "two/9.jpg")
    found = names(tmp_path / "two", tmp_path / "one")
    assert found == ["10.jpg", "9.jpg", "B.jpg", "a-x.jpg", "a/x.jpg", "b.jpg", "ä.jpg"]
    assert found == sorted(found)


def test_the_same_file_given_several_times_is_one_frame(tmp_path: Path) -> None:
    touch(tmp_path, "frames/1.jpg")
    folder = tmp_path / "frames"
    (tmp_path / "link").symlink_to(folder)
    assert names(folder, folder, folder / "1.jpg", folder / "*.jpg", tmp_path / "link", f"{folder}/../frames") == [
        "1.jpg"
    ]


def test_two_images_with_one_name_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "day/1.jpg", "night/1.jpg")
    for given in ([tmp_path / "day", tmp_path / "night"], [tmp_path / "*/1.jpg"]):
        with pytest.raises(ImagesError) as caught:
            find_images([str(path) for path in given])
        first, second = tmp_path / "day/1.jpg", tmp_path / "night/1.jpg"
        assert str(caught.value) in {
            f"two images would be the frame '1.jpg': {first} and {second}",
            f"two images would be the frame '1.jpg': {second} and {first}",
        }


def test_names_that_differ_in_case_are_two_frames(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.JPG")
    if len(listing(tmp_path)) < 2:
        pytest.skip("this file system does not tell upper from lower case")
    assert names(tmp_path) == ["a.JPG", "a.jpg"]


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "store/1.jpg", "store/sub/2.jpg")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "x.jpg").symlink_to(tmp_path / "store" / "1.jpg")
    (tmp_path / "frames" / "y").symlink_to(tmp_path / "store" / "sub")
    assert names(tmp_path / "frames") == ["x.jpg", "y/2.jpg"]


def test_links_that_lead_back_end(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "sub/2.jpg")
    for link in ("again", "once more", "sub/up", "sub/up too"):
        (tmp_path / link).symlink_to(tmp_path)
    assert names(tmp_path) == ["1.jpg", "sub/2.jpg"]


def test_a_broken_link_is_a_frame_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "1.jpg").symlink_to(tmp_path / "gone.jpg")
    (frame,) = find_images([str(tmp_path / "frames")]).frames
    assert frame.name == "1.jpg"
    with pytest.raises(UnreadableImageError):
        read_image(frame.path)


def test_a_broken_link_does_not_hide_that_two_images_share_a_name(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.jpg").symlink_to(tmp_path / "gone.jpg")
    for order in (("a", "b"), ("b", "a")):
        with pytest.raises(ImagesError):
            find_images([str(tmp_path / folder) for folder in order])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gone", "does not exist"),
        ("gone.jpg", "does not exist"),
        ("~nobody_of_that_name/frames", "does not exist"),
        ("", "holds no image"),
        ("notes.md", "is not an image"),
        ("empty", "found no files"),
        ("papers", "found 2 \\.pdf, 1 without a suffix$"),
        ("papers/*", "found 2 \\.pdf, 1 without a suffix$"),
        ("gone/*.jpg", "matches no image"),
        ("[", "does not exist|matches no image"),
        ("loop.jpg", "does not exist"),
        ("hidden", "found no files"),
    ],
)
def test_a_path_without_images_is_an_error_with_the_kinds_of_its_files(
    tmp_path: Path, given: str, message: str
) -> None:
    touch(tmp_path, "notes.md", "papers/a.pdf", "papers/B.PDF", "papers/LICENSE", "hidden/.1.jpg")
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "holds nothing").mkdir()
    if not given:
        os.chdir(tmp_path / "empty")
    with pytest.raises(ImagesError, match=message) as caught:
        find_images([given])
    assert Path(str(caught.value).partition(": ")[0]) == Path(given)
    assert caught.value.hint


def test_an_error_counts_the_five_most_common_kinds(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{place}.txt" for place in range(4)), "1.gif", "2.gif", "1.mp4", "2.mp4", "3.mp4")
    touch(tmp_path, "1.doc", "a.c", "a.h", "b")
    with pytest.raises(ImagesError, match=r"found 4 \.txt, 3 \.mp4, 2 \.gif, 1 \.c, 1 \.doc, 2 others$"):
        find_images([str(tmp_path)])


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["day"], "ignored in day: 3 .txt, 1 .heic, 1 without a suffix"),
        (["day/*"], "ignored in day/*: 2 .txt, 1 folder(s), 1 without a suffix"),
        (["day/**"], "ignored in day/**: 3 .txt, 1 .heic, 1 without a suffix"),
        (["day/*.jpg"], ""),
        (["clean"], ""),
        (["clean", "day", "day", "day/1.jpg"], "ignored in day: 3 .txt, 1 .heic, 1 without a suffix"),
        (["clean", "day/*.?*", "videos"], "ignored in day/*.?*: 2 .txt; in videos: 2 .mp4 (videos are given by "
         "their names, or by a pattern)"),
        (["kinds"], "ignored in kinds: 2 .a, 1 .b, 1 .c, 1 .d, 1 .e, 2 others"),
        (["list.txt"], ""),
    ],
)  # fmt: skip
def test_files_that_are_no_images_are_counted_and_hidden_ones_are_not(
    tmp_path: Path, given: list[str], line: str
) -> None:
    touch(tmp_path, "day/1.jpg", "day/a.txt", "day/B.TXT", "day/deep/c.txt", "day/deep/2.heic", "day/README")
    touch(tmp_path, "day/.DS_Store", "day/Thumbs.db", "day/desktop.ini", "day/.git/config", "clean/3.png")
    touch(tmp_path, "videos/4.jpg", "videos/a.mp4", "videos/b.mp4", "kinds/5.webp", "kinds/2.a", "list.txt")
    touch(tmp_path, *(f"kinds/1.{kind}" for kind in "abcdefg"))
    (tmp_path / "list.txt").write_text("day/1.jpg\n")
    found = find_images(given)
    assert found.describe_ignored() == line
    assert found.frames


def test_one_path_without_images_among_others_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "frames/1.jpg")
    with pytest.raises(ImagesError):
        find_images([str(tmp_path / "frames"), str(tmp_path / "gone")])


def test_a_file_name_that_is_no_utf_8_is_refused_before_anything_runs(tmp_path: Path) -> None:
    try:
        touch(tmp_path, "1.jpg", "caf\udce9.jpg")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    with pytest.raises(InvalidFileError) as caught:
        find_images([str(tmp_path)])
    assert str(caught.value).startswith(r"frame 'caf\udce9.jpg': ")


def test_a_folder_name_above_the_given_one_may_be_no_utf_8(tmp_path: Path) -> None:
    try:
        touch(tmp_path, "caf\udce9/1.jpg")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    assert names(tmp_path / "caf\udce9") == ["1.jpg"]


def test_a_name_that_could_drive_a_terminal_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "\x1b[2J.jpg")
    with pytest.raises(InvalidFileError):
        find_images([str(tmp_path)])


def test_a_path_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    with pytest.raises((StorageError, ImagesError), match="x" * 100):
        find_images(["x" * 5000])


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_an_empty_one(tmp_path: Path) -> None:
    """A path that is too long simulates a folder without read permission: root may read all folders."""
    touch(tmp_path, "frames/1.jpg")
    here = os.open(tmp_path / "frames", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(StorageError, match="name too long"):
        find_images([str(tmp_path / "frames")])


def test_videos_in_a_folder_are_skipped_and_mentioned_if_there_is_nothing_else(tmp_path: Path) -> None:
    touch(tmp_path, "mixed/1.jpg", "mixed/drive.mp4", "drives/a.mp4", "drives/b.MOV", "drives/c.mp4")
    assert names(tmp_path / "mixed") == ["1.jpg"]
    message = r"or videos that are named themselves, or by a pattern, found 2 \.mp4, 1 \.mov$"
    with pytest.raises(ImagesError, match=message):
        find_images([str(tmp_path / "drives")])


def test_videos_are_not_mentioned_if_there_are_none(tmp_path: Path) -> None:
    touch(tmp_path, "a.pdf")
    with pytest.raises(ImagesError, match=r"^[^(]*expected images \(\.jpg, \.jpeg, [^)]*\), found 1 \.pdf$"):
        find_images([str(tmp_path)])


# Stamps


def test_a_stamp_is_size_and_time_of_change_however_the_file_was_given(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    os.utime(tmp_path / "a" / "1.jpg", ns=(5, 1_234_567_890_123_456_789))
    (tmp_path / "list.txt").write_text("a/1.jpg\n")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a" / "1.jpg")
    for given in ("a", "a/1.jpg", "a/*.jpg", "list.txt", "link.jpg"):
        (frame,) = find_images([str(tmp_path / given)]).frames
        assert frame.stamp == "7-1234567890123456789"
        assert frame.index is None


def test_a_changed_file_has_another_stamp_and_a_missing_file_has_none(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    before = {frame.name: frame.stamp for frame in find_images([str(tmp_path)]).frames}
    (tmp_path / "1.jpg").write_bytes(b"longer")
    after = {frame.name: frame.stamp for frame in find_images([str(tmp_path)]).frames}
    assert before["1.jpg"] != after["1.jpg"]
    assert before["gone.jpg"] == after["gone.jpg"] == ""


# Lists


def test_a_list_names_files_relative_to_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "day/1.jpg", "day/deep/2.PNG", "night/[3].jpg", "~4.jpg")
    absolute = tmp_path / "night" / "[3].jpg"
    lines = ["# a comment", "", "day/1.jpg", "  day/deep/../deep/2.PNG \t", str(absolute), "./~4.jpg", "day/1.jpg"]
    (tmp_path / "frames.TXT").write_text("\r\n".join(lines))
    assert names(tmp_path / "frames.TXT") == ["1.jpg", "2.PNG", "[3].jpg", "~4.jpg"]
    monkeypatch.chdir(tmp_path / "day")
    assert find_images(["../frames.TXT"]).frames[0].path == Path("../day/1.jpg")


def test_standard_input_is_a_list_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "day/1.jpg", "2.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"day/1.jpg\n2.png\n")))
    assert [frame.path for frame in find_images(["-"]).frames] == [Path("day/1.jpg"), Path("2.png")]


def test_a_file_whose_name_is_a_dash_is_given_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "-.jpg", "-/1.jpg")
    monkeypatch.chdir(tmp_path)
    assert names("./-", "-.jpg") == ["-.jpg", "1.jpg"]


def test_a_list_may_begin_with_a_byte_order_mark_and_need_not_end_with_a_line_end(tmp_path: Path) -> None:
    touch(tmp_path, "ä.jpg", "b.jpg")
    (tmp_path / "list.txt").write_bytes("\ufeffä.jpg\nb.jpg".encode())
    assert names(tmp_path / "list.txt") == ["b.jpg", "ä.jpg"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"gone.jpg", "gone.jpg: does not exist"),
        (b"day", "day: is a folder: a list names files"),
        (b"day/*.jpg", r"day/\*.jpg: does not exist"),
        (b"notes.md", "notes.md: is not an image: expected images"),
        (b"list.txt", "list.txt: is not an image"),
        (b"-", "-: does not exist"),
        (b"a\0b.jpg", "does not exist"),
        (b"caf\xe9.jpg", r"is not UTF-8 text \(byte 4\)"),
        (b"x" * 5000 + b".jpg", "name too long"),
        (b"loop.jpg", "loop.jpg: does not exist"),
    ],
)
def test_a_line_that_names_no_image_is_an_error_with_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes, message: str
) -> None:
    touch(tmp_path, "day/1.jpg", "notes.md")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "list.txt").write_bytes(b"# two lines before it\nday/1.jpg\n" + line + b"\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImagesError, match=message) as caught:
        find_images(["list.txt"])
    assert str(caught.value).startswith("list.txt, line 3: ")
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# nothing\n  \n"])
def test_a_list_without_any_path_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(ImagesError, match="names no image: expected one path per line"):
        find_images([str(tmp_path / "list.txt")])


def test_two_lines_of_one_name_are_refused_with_both_paths(tmp_path: Path) -> None:
    touch(tmp_path, "day/1.jpg", "night/1.jpg")
    (tmp_path / "list.txt").write_text("day/1.jpg\nnight/1.jpg\n")
    with pytest.raises(ImagesError) as caught:
        find_images([str(tmp_path / "list.txt")])
    assert str(caught.value).endswith(f": {tmp_path / 'day/1.jpg'} and {tmp_path / 'night/1.jpg'}")


@hypothesis.given(
    st.lists(st.sampled_from(["a.jpg", "b.png", "c d.jpg"]), min_size=1), st.sampled_from(["\n", "\r\n", " \n#\n\n"])
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_list_gives_what_its_files_give(tmp_path: Path, lines: list[str], end: str) -> None:
    touch(tmp_path, "a.jpg", "b.png", "c d.jpg")
    (tmp_path / "list.txt").write_text(end.join(lines), newline="")
    assert find_images([str(tmp_path / "list.txt")]) == find_images([str(tmp_path / line) for line in lines])


# Reading


def picture(height: int = 24, width: int = 40) -> np.ndarray:
    """Smooth colours without any symmetry, so that every rotation and every swap of channels changes it."""
    down, right = np.mgrid[0:height, 0:width]
    return np.stack([right * 6 % 256, down * 9 % 256, (right + 2 * down) * 3 % 256], axis=-1).astype(np.uint8)


def encoded(form: str, pixels: np.ndarray | None = None, **options: object) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture() if pixels is None else pixels).save(content, form, **options)  # type: ignore[arg-type]
    return content.getvalue()


def exif(orientation: int) -> bytes:
    """The smallest EXIF block with an orientation."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)


def as_mmcv_reads(path: Path) -> np.ndarray:
    mmcv = pytest.importorskip("mmcv")
    pixels: np.ndarray = mmcv.imread(str(path))
    return pixels


def save(tmp_path: Path, content: bytes, name: str = "x.jpg") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def assert_pixels(found: np.ndarray) -> None:
    assert found.dtype == np.uint8
    assert found.ndim == 3
    assert found.shape[2] == 3
    assert found.flags.c_contiguous


def test_a_png_gives_its_exact_pixels_in_blue_green_red_order(tmp_path: Path) -> None:
    found = read_image(save(tmp_path, encoded("PNG"), "x.png"))
    assert_pixels(found)
    assert np.array_equal(found, picture()[:, :, ::-1])


@pytest.mark.parametrize("name", ["square.png", "street.png"])
def test_the_reference_images_are_read_as_the_original_loader_reads_them(name: str) -> None:
    assert np.array_equal(read_image(REFERENCE / name), as_mmcv_reads(REFERENCE / name))


@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientations_are_treated_as_mmdets_own_loader_treats_them(tmp_path: Path, orientation: int) -> None:
    path = save(tmp_path, encoded("JPEG", quality=95, exif=exif(orientation)))
    found = read_image(path)
    assert_pixels(found)
    assert np.array_equal(found, as_mmcv_reads(path))


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda upright: upright),
        (2, lambda upright: upright[:, ::-1]),
        (3, lambda upright: upright[::-1, ::-1]),
        (4, lambda upright: upright[::-1]),
        (5, lambda upright: upright.transpose(1, 0, 2)),
        (6, lambda upright: np.rot90(upright, -1)),
        (7, lambda upright: np.rot90(upright, 2).transpose(1, 0, 2)),
        (8, lambda upright: np.rot90(upright)),
    ],
)
def test_an_image_is_turned_upright_as_its_exif_orientation_says(
    tmp_path: Path, orientation: int, turned: object
) -> None:
    plain = read_image(save(tmp_path, encoded("JPEG", quality=95), "plain.jpg"))
    found = read_image(save(tmp_path, encoded("JPEG", quality=95, exif=exif(orientation))))
    assert np.array_equal(found, turned(plain))  # type: ignore[operator]


def forms() -> Iterable[tuple[str, bytes]]:
    grey = picture()[:, :, 2]
    deep = picture()[:, :, 0].astype(np.uint16) * 257
    clear = np.dstack([picture(), np.linspace(0, 255, 24 * 40).reshape(24, 40).astype(np.uint8)])
    yield "grey JPEG", encoded("JPEG", grey)
    yield "grey PNG", encoded("PNG", grey)
    yield "RGBA PNG", encoded("PNG", clear)
    yield "grey PNG with alpha", encoded("PNG", clear[:, :, 2:])
    yield "grey 16-bit PNG", encoded("PNG", deep)
    yield "colour 16-bit PNG", cv2.imencode(".png", picture().astype(np.uint16) * 257)[1].tobytes()
    yield "progressive JPEG", encoded("JPEG", progressive=True)
    yield "JPEG without subsampling", encoded("JPEG", subsampling=0, quality=100)
    palette = Image.fromarray(picture()).quantize(8)
    content = io.BytesIO()
    palette.save(content, "PNG")
    yield "palette PNG", content.getvalue()
    content = io.BytesIO()
    Image.fromarray(grey).convert("1").save(content, "PNG")
    yield "black and white PNG", content.getvalue()
    content = io.BytesIO()
    Image.fromarray(picture()).convert("CMYK").save(content, "JPEG")
    yield "CMYK JPEG", content.getvalue()
    yield "one pixel", encoded("PNG", picture(1, 1))


@pytest.mark.parametrize(("content"), [pytest.param(content, id=name) for name, content in forms()])
def test_every_kind_of_jpeg_and_png_is_read_as_mmcv_reads_it(tmp_path: Path, content: bytes) -> None:
    path = save(tmp_path, content)
    found = read_image(path)
    assert_pixels(found)
    assert np.array_equal(found, as_mmcv_reads(path))


def test_real_frames_are_read_as_mmcv_reads_them(shared: Path) -> None:
    frames = find_images([str(shared / "images")]).frames
    assert len(frames) == 4
    for frame in frames:
        assert np.array_equal(read_image(frame.path), as_mmcv_reads(frame.path))


def test_the_name_does_not_decide_what_a_file_is(tmp_path: Path) -> None:
    assert np.array_equal(read_image(save(tmp_path, encoded("PNG"), "x.jpg")), picture()[:, :, ::-1])


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_truncated_file_is_refused_wherever_it_was_cut(tmp_path: Path, form: str) -> None:
    whole = encoded(form, picture(64, 64))
    last = len(whole) - (2 if form == "JPEG" else 20)
    for length in {*range(0, last, 37), last}:
        with pytest.raises(UnreadableImageError) as caught:
            read_image(save(tmp_path, whole[:length]))
        assert caught.value.path == tmp_path / "x.jpg"
        assert caught.value.reason


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("trailing", [b"\0", b"\0" * 1000, b"\n", b"SEFT trailer of a camera"])
def test_bytes_after_the_end_are_no_damage(tmp_path: Path, form: str, trailing: bytes) -> None:
    whole = encoded(form)
    expected = read_image(save(tmp_path, whole, "whole.jpg"))
    assert np.array_equal(read_image(save(tmp_path, whole + trailing)), expected)


def test_a_truncated_file_with_bytes_after_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError):
        read_image(save(tmp_path, encoded("JPEG", picture(64, 64))[:900] + b"\0" * 100))


def test_a_png_with_a_damaged_pixel_is_refused(tmp_path: Path) -> None:
    content = bytearray(encoded("PNG"))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(UnreadableImageError):
        read_image(save(tmp_path, bytes(content)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"just text\n", "is not a file of JPEG, PNG, WebP, BMP or TIFF, whatever its name says"),
        (b"GIF89a" + bytes(100), "is not a file of"),
        (b"RIFF\0\0\0\0AVI " + bytes(100), "is not a file of"),
        (b"BM" + bytes(100), "cannot be decoded"),
        (b"RIFF\0\0\0\0WEBP" + bytes(100), "cannot be decoded"),
        (b"II*\0" + bytes(100), "is damaged: the values of some of its tags are missing"),
        (b"<html>404</html>", "is not a file of"),
        (b"\xff\xd8", "is damaged"),
        (b"\xff\xd8\xff\xd9", "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n", "is damaged"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\0IEND\xaeB`\x82", "cannot be decoded"),
    ],
)
def test_a_file_that_is_no_image_is_refused_with_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(save(tmp_path, content))


def test_pixels_beyond_any_picture_are_refused_and_not_allocated(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", __import__("zlib").crc32(header))
    for end in (b"", b"\0\0\0\0IEND\xaeB`\x82"):
        with pytest.raises(UnreadableImageError):
            read_image(save(tmp_path, b"\x89PNG\r\n\x1a\n" + chunk + end))


def test_a_large_picture_with_bytes_after_its_end_is_read_without_a_warning(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("L", (9500, 9500)).save(content, "PNG", compress_level=1)
    assert read_image(save(tmp_path, content.getvalue() + b"\0")).shape == (9500, 9500, 3)


def test_a_folder_and_a_missing_file_are_unreadable_images(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    for name in ("x.jpg", "gone.jpg"):
        with pytest.raises(UnreadableImageError) as caught:
            read_image(tmp_path / name)
        assert caught.value.path == tmp_path / name


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_an_unreadable_image(tmp_path: Path) -> None:
    path = save(tmp_path, encoded("PNG"))
    path.chmod(0)
    with pytest.raises(UnreadableImageError, match=r"[Pp]ermission"):
        read_image(path)
