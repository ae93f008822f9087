"""Frames of videos: found without decoding, with the same pixels in any order of reading."""

from __future__ import annotations

import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from films import (
    HEIGHT,
    WIDTH,
    av,
    drawing,
    film,
    number_in,
    tune,
    with_damaged_packet,
    with_display_matrix,
    with_first_frames_cut,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bdd100k_zoo.data.image_files import read_image
from bdd100k_zoo.data.images import Frame, FrameReader, find_images, reader_key
from bdd100k_zoo.data.video import PacketIndex
from bdd100k_zoo.errors import (
    ImagesError,
    MissingPackageError,
    UnreadableImageError,
    ZooError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def frames_of(path: Path, every: int = 1) -> list[Frame]:
    return find_images([str(path)], every=every).frames


def read_all(frames: Iterable[Frame]) -> list[np.ndarray]:
    with FrameReader() as reader:
        return [reader.read(frame) for frame in frames]


# Reaching frames

KINDS = {
    "H.264, B-frames": ("x.mp4", "libx264", "yuv420p", {}, 12, 3),
    "H.264, one long group": ("x.mkv", "libx264", "yuv420p", {}, 1000, 3),
    "H.264, open groups": (
        "x.mp4",
        "libx264",
        "yuv420p",
        {"x264-params": "open-gop=1:keyint=12:bframes=3"},
        None,
        None,
    ),
    "H.264, intra refresh": ("x.mp4", "libx264", "yuv420p", {"x264-params": "intra-refresh=1:keyint=12"}, None, None),
    "H.264 in AVI": ("x.avi", "libx264", "yuv420p", {}, 12, 3),
    "HEVC, open groups": (
        "x.mp4",
        "libx265",
        "yuv420p",
        {"x265-params": "keyint=12:min-keyint=12:open-gop=1:bframes=3:log-level=none"},
        None,
        None,
    ),
    "MPEG-2, open groups": ("x.mkv", "mpeg2video", "yuv420p", {}, 12, 2),
    "MPEG-4 in MOV": ("x.mov", "mpeg4", "yuv420p", {}, 12, 2),
    "MPEG-4 in AVI": ("x.avi", "mpeg4", "yuv420p", {}, 12, 2),
    "M4V": ("x.m4v", "mpeg4", "yuv420p", {}, 10, 0),
    "VP8": ("x.webm", "libvpx", "yuv420p", {}, 12, None),
    "VP9": ("x.webm", "libvpx-vp9", "yuv420p", {"lag-in-frames": "16", "cpu-used": "8"}, 12, None),
    "motion JPEG": ("x.avi", "mjpeg", "yuvj420p", {}, None, None),
    "lossless": ("x.mkv", "ffv1", "yuv444p", {}, None, None),
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {}


@pytest.fixture(params=KINDS)
def reached(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, films: dict[str, Path]) -> Path:
    """A video of 40 frames of each kind, encoded once."""
    if request.param not in films:
        name, codec, pixels, options, keys, between = KINDS[request.param]
        path = tmp_path_factory.mktemp("films") / name
        films[request.param] = film(path, 40, codec, pixels, options, keys=keys, between=between)
    return films[request.param]


def test_frames_are_numbered_as_they_are_shown(reached: Path) -> None:
    frames = frames_of(reached)
    assert [frame.name for frame in frames] == [f"x-{number:07}.jpg" for number in range(40)]
    assert [frame.index for frame in frames] == list(range(40))
    assert {frame.path for frame in frames} == {reached}
    assert [number_in(pixels) for pixels in read_all(frames)] == list(range(40))


@given(order=st.lists(st.integers(0, 39), min_size=1, max_size=12))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_pixels_of_a_frame_are_the_same_in_any_order_of_reading(reached: Path, order: list[int]) -> None:
    frames = frames_of(reached)
    in_order = read_all(frames)
    for number, pixels in zip(order, read_all(frames[number] for number in order), strict=True):
        assert np.array_equal(pixels, in_order[number])


def test_a_frame_shown_before_a_key_frame_is_decoded_from_the_previous_one() -> None:
    """Both orders of an open group: I0 P3 B1 B2 I6 B4 B5 P9 B7 B8, in the order of the file."""
    times = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8]
    index = PacketIndex(times, sorted(range(10), key=times.__getitem__), keys=[0, 4], damaged=[], is_timed=True)
    assert [index.seek_start(index.frames[number]) for number in range(10)] == [0, 0, 0, 0, 0, 0, 4, 4, 4, 4]


def test_every_nth_frame_is_used(reached: Path) -> None:
    frames = frames_of(reached, every=15)
    assert [frame.name for frame in frames] == ["x-0000000.jpg", "x-0000015.jpg", "x-0000030.jpg"]
    assert [number_in(pixels) for pixels in read_all(frames)] == [0, 15, 30]


def test_a_step_beyond_the_end_takes_the_first_frame(tmp_path: Path) -> None:
    assert [frame.index for frame in frames_of(film(tmp_path / "x.mp4", 5), every=1000)] == [0]


def test_frames_of_several_videos_and_images_are_read_by_one_reader(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 4), film(tmp_path / "b.mkv", 4)
    (tmp_path / "b-0000001x.png").write_bytes(png(drawing(77)))
    frames = find_images([str(tmp_path / "*.m*"), str(tmp_path / "b-0000001x.png")]).frames
    assert [number_in(pixels) for pixels in read_all(frames)] == [0, 1, 2, 3, 0, 1, 77, 2, 3]
    assert [number_in(pixels) for pixels in read_all(reversed(frames))] == [3, 2, 77, 1, 0, 3, 2, 1, 0]


def png(pixels: np.ndarray) -> bytes:
    import cv2

    return cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes()


def test_every_thread_has_a_reader_and_all_read_the_same(tmp_path: Path) -> None:
    frames = frames_of(film(tmp_path / "x.mp4", 60, keys=12, between=3))
    in_order = read_all(frames)
    parts = [frames[start::4] for start in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for start, pixels in enumerate(pool.map(read_all, parts)):
            assert all(map(np.array_equal, pixels, in_order[start::4]))


def test_a_key_holds_the_frames_of_one_video_together() -> None:
    one, other = Path("a/x.mp4"), Path("b/x.mp4")
    assert reader_key(Frame("x-0000000.jpg", one, 0)) == reader_key(Frame("x-0000001.jpg", one, 1))
    assert reader_key(Frame("x-0000000.jpg", one, 0)) != reader_key(Frame("x-0000000.jpg", other, 0))
    assert reader_key(Frame("x.jpg", Path("x.jpg"))) is None


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="NOT TESTED: no /proc to count open files in")
def test_no_file_stays_open(tmp_path: Path) -> None:
    frames = frames_of(film(tmp_path / "x.mp4", 30, keys=5))
    before = set(Path("/proc/self/fd").iterdir())
    read_all([frames[20], frames[3], frames[4]])
    assert set(Path("/proc/self/fd").iterdir()) == before


# What is found


def test_patterns_and_lists_take_videos_too_and_one_given_twice_counts_once(tmp_path: Path) -> None:
    film(tmp_path / "b.mp4", 2), film(tmp_path / "c.mkv", 1)
    (tmp_path / "a.png").write_bytes(png(drawing(0)))
    (tmp_path / "list.txt").write_text("b.mp4\nc.mkv\n")
    expected = ["a.png", "b-0000000.jpg", "b-0000001.jpg", "c-0000000.jpg"]
    assert [frame.name for frame in find_images([str(tmp_path / "*.[pm]*")]).frames] == expected
    given = [tmp_path / "list.txt", tmp_path / "b.mp4", tmp_path / "?.m*"]
    assert [frame.name for frame in find_images(list(map(str, given))).frames] == expected[1:]


def test_the_frames_of_a_video_have_its_stamp(tmp_path: Path) -> None:
    path = film(tmp_path / "x.mp4", 3)
    assert {frame.stamp for frame in frames_of(path)} == {f"{path.stat().st_size}-{path.stat().st_mtime_ns}"}


def test_two_videos_of_one_name_are_refused(tmp_path: Path) -> None:
    film(tmp_path / "x.mp4", 2), film(tmp_path / "x.mkv", 2)
    with pytest.raises(ImagesError) as caught:
        find_images([str(tmp_path / "x.*")])
    assert {str(tmp_path / "x.mp4"), str(tmp_path / "x.mkv")} <= set(str(caught.value).split())
    assert "named after its file" in caught.value.hint


def test_a_broken_video_in_a_list_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("no video")
    (tmp_path / "list.txt").write_text("#\nx.mp4\n")
    with pytest.raises(ImagesError, match=r"line 2: .*x\.mp4: is not a complete MP4"):
        frames_of(tmp_path / "list.txt")


def test_a_broken_link_to_a_video_is_an_error_if_a_pattern_matches_it(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").symlink_to(tmp_path / "gone.mp4")
    with pytest.raises(UnreadableImageError, match="No such file"):
        find_images([str(tmp_path / "*.mp4")])


# What containers hold


def test_frames_that_are_not_evenly_spaced_are_counted_by_their_order(tmp_path: Path) -> None:
    times = [0, 33, 34, 500, 501, 502, 2000, 2033, 9000, 9001]
    frames = frames_of(film(tmp_path / "x.mkv", 10, times=times, between=3))
    assert [number_in(pixels) for pixels in read_all(reversed(frames))] == list(range(9, -1, -1))


@pytest.mark.parametrize("cut", [5, 17])
def test_frames_that_an_edit_list_cuts_away_are_none(tmp_path: Path, cut: int) -> None:
    frames = frames_of(with_first_frames_cut(film(tmp_path / "x.mp4", 40, keys=12, between=3), cut))
    assert [number_in(pixels) for pixels in read_all(frames)] == list(range(cut, 40))
    assert [number_in(pixels) for pixels in read_all(reversed(frames))] == list(range(39, cut - 1, -1))


def test_pictures_of_vp8_that_are_never_shown_are_none(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.webm", 10, "libvpx", keys=50)
    with av.open(str(whole)) as source, av.open(str(tmp_path / "x.webm"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for place, packet in enumerate(source.demux(video=0)):
            if packet.size:
                target.mux(hidden(packet, stream) if place == 4 else moved(packet, bytes(packet), stream))
    frames = frames_of(tmp_path / "x.webm")
    assert len(frames) == 9
    assert [number_in(pixels) for pixels in read_all(frames)] == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def hidden(packet: av.Packet, stream: av.VideoStream) -> av.Packet:
    content = bytes(packet)
    return moved(packet, bytes([content[0] & ~0x10]) + content[1:], stream)


def moved(packet: av.Packet, content: bytes, stream: av.VideoStream) -> av.Packet:
    copy = av.Packet(content)
    copy.pts, copy.dts, copy.time_base, copy.is_keyframe = packet.pts, packet.dts, packet.time_base, packet.is_keyframe
    copy.stream = stream
    return copy


@pytest.mark.parametrize("suffix", [".mp4", ".MP4", ".mov", ".m4v", ".mkv", ".avi"])
def test_suffixes_of_videos_count_in_any_case(tmp_path: Path, suffix: str) -> None:
    film(tmp_path / f"x{suffix.lower()}", 3, "mpeg4").rename(tmp_path / f"x{suffix}")
    assert len(frames_of(tmp_path / f"x{suffix}")) == 3


@pytest.mark.parametrize("name", ["front:left.mp4", "concat:x.mp4", "ä 車|.mp4", "drive.v2.mp4"])
def test_a_name_may_look_like_a_protocol(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "x.mp4", 2).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    frames = find_images([f"./{name}"]).frames
    assert [frame.name for frame in frames] == [f"{Path(name).stem}-0000000.jpg", f"{Path(name).stem}-0000001.jpg"]
    assert [number_in(pixels) for pixels in read_all(frames)] == [0, 1]


def test_a_folder_above_may_be_no_utf_8(tmp_path: Path) -> None:
    folder = tmp_path / "caf\udce9"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    film(tmp_path / "x.mp4", 2).rename(folder / "x.mp4")
    assert [number_in(pixels) for pixels in read_all(frames_of(folder / "x.mp4"))] == [0, 1]


# Pixels


def test_pixels_are_blue_green_red(tmp_path: Path) -> None:
    (pixels,) = read_all(frames_of(film(tmp_path / "x.mkv", 1, "ffv1", "bgr0")))
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert np.array_equal(pixels, drawing(0)[:, :, ::-1])


@pytest.mark.parametrize(
    ("codec", "form"),
    [
        ("ffv1", "yuv444p"),
        ("ffv1", "yuv410p"),
        ("ffv1", "yuv444p10le"),
        ("ffv1", "yuva420p"),
        ("ffv1", "gbrp16le"),
        ("ffv1", "bgra"),
        ("rawvideo", "bgr24"),
        ("png", "rgba"),
        ("png", "rgb48be"),
        ("mjpeg", "yuvj444p"),
        ("libx264", "yuv422p10le"),
        ("libx264rgb", "bgr24"),
    ],
)
def test_every_pixel_format_gives_the_colours_that_went_in(tmp_path: Path, codec: str, form: str) -> None:
    exactly = {"mjpeg": {"q:v": "1"}, "libx264": {"qp": "1"}, "libx264rgb": {"qp": "0"}}
    suffix = {"png": ".mov", "rawvideo": ".avi"}.get(codec, ".mkv")
    (pixels,) = read_all(frames_of(film(tmp_path / f"x{suffix}", 1, codec, form, exactly.get(codec))))
    difference = np.abs(pixels.astype(int) - drawing(0)[:, :, ::-1])
    has_less_colour = form in ("yuv410p", "yuva420p", "yuv422p10le")
    assert difference.mean() < (12 if has_less_colour else 3)


@pytest.mark.parametrize("form", ["gray", "gray10le", "ya8", "monob"])
def test_a_picture_without_colour_is_grey(tmp_path: Path, form: str) -> None:
    codec, name = ("png", "x.mov") if form in ("ya8", "monob") else ("ffv1", "x.mkv")
    (pixels,) = read_all(frames_of(film(tmp_path / name, 1, codec, form)))
    assert np.ptp(pixels, axis=2).max() == 0
    assert number_in(pixels) == 0
    assert np.ptp(pixels) > 100


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (2, 300)])
def test_odd_sizes_are_read(tmp_path: Path, size: tuple[int, int]) -> None:
    (pixels,) = read_all(frames_of(film(tmp_path / "x.mkv", 1, "ffv1", "yuv444p", size=size)))
    assert pixels.shape == (*size, 3)


MATRICES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
"""Weights of red and blue by number of the matrix (ITU-T H.273)."""


@pytest.mark.parametrize("matrix", [0, 2, *MATRICES])
@pytest.mark.parametrize("full", [None, False, True])
def test_colours_are_converted_by_the_matrix_and_range_of_the_video(
    tmp_path: Path, matrix: int, full: bool | None
) -> None:
    levels = np.array([[60, 90, 170], [120, 128, 128], [200, 120, 110], [100, 180, 90]])
    path = tmp_path / "x.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=30)
        stream.height, stream.width, stream.pix_fmt = 16, 64, "yuv444p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 0 if full is None else 1 + full
        planes = np.repeat(levels.T.astype(np.uint8)[:, None, :], 16, axis=1).repeat(16, axis=2)
        output.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv444p")))
        output.mux(stream.encode())
    (pixels,) = read_all(frames_of(path))
    expected = as_bgr(levels, *MATRICES.get(matrix, MATRICES[6]), full=bool(full))
    assert np.abs(pixels[8, 8::16] - expected).max() <= 3


def as_bgr(levels: np.ndarray, red: float, blue: float, *, full: bool) -> np.ndarray:
    """The formulas of ITU-T H.273."""
    luma = levels[:, 0] / 255 if full else (levels[:, 0] - 16) / 219
    to_blue, to_red = ((levels[:, column] - 128) / (255 if full else 224) for column in (1, 2))
    r, b = luma + 2 * (1 - red) * to_red, luma + 2 * (1 - blue) * to_blue
    g = (luma - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.stack([b, g, r], axis=-1) * 255, 0, 255)


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((1, 0, 0, 1), lambda stored: stored),
        ((-1, 0, 0, 1), lambda stored: stored[:, ::-1]),
        ((1, 0, 0, -1), lambda stored: stored[::-1]),
        ((-1, 0, 0, -1), lambda stored: stored[::-1, ::-1]),
        ((0, 1, -1, 0), lambda stored: np.rot90(stored, -1)),
        ((0, -1, 1, 0), lambda stored: np.rot90(stored)),
        ((0, 1, 1, 0), lambda stored: stored.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda stored: np.rot90(stored, 2).transpose(1, 0, 2)),
    ],
)
def test_a_video_is_turned_upright_as_its_display_matrix_says(tmp_path: Path, matrix: tuple, turned: object) -> None:
    stored = read_all(frames_of(film(tmp_path / "stored.mp4", 5)))
    frames = frames_of(with_display_matrix(film(tmp_path / "x.mp4", 5), *matrix))
    for order in (frames, frames[::-1]):
        for frame, found in zip(order, read_all(order), strict=True):
            assert np.array_equal(found, turned(stored[frame.index]))  # type: ignore[operator]
            assert found.flags.c_contiguous


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda stored: stored),
        (3, lambda stored: stored[::-1, ::-1]),
        (6, lambda stored: np.rot90(stored, -1)),
        (8, lambda stored: np.rot90(stored)),
    ],
)
def test_pictures_of_motion_jpeg_are_turned_as_their_exif_orientation_says(
    tmp_path: Path, orientation: int, turned: object
) -> None:
    content = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(drawing(5)).save(content, "JPEG", quality=95, exif=exif)
    with av.open(str(tmp_path / "x.avi"), "w") as output:
        stream = output.add_stream("mjpeg", rate=30)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuvj420p"
        packet = av.Packet(content.getvalue())
        packet.pts, packet.dts, packet.time_base, packet.stream = 0, 0, Fraction(1, 30), stream
        output.mux(packet)
    (pixels,) = read_all(frames_of(tmp_path / "x.avi"))
    expected = turned(drawing(5)[:, :, ::-1])  # type: ignore[operator]
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 12


# What cannot be read


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a complete MP4, MOV, AVI, Matroska or WebM video"),
        (b"just text\n" * 100, "is not a complete"),
        (b"<html>404</html>", "is not a complete"),
        (b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n", "is not a complete"),
        (b"ffconcat version 1.0\nfile 'other.mp4'\n", "is not a complete"),
        (b"\xff\xd8\xff\xe0" + bytes(1000), "is not a complete"),
    ],
)
def test_a_file_that_is_no_video_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    film(tmp_path / "other.mp4", 3)
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=message) as caught:
        frames_of(tmp_path / "x.mp4")
    assert caught.value.path == tmp_path / "x.mp4"


@pytest.mark.parametrize("with_cover", [False, True])
def test_sound_without_a_video_is_an_error(tmp_path: Path, with_cover: bool) -> None:
    tune(tmp_path / "x.mp4", with_cover=with_cover)
    with pytest.raises(ImagesError, match="holds no video: found audio"):
        frames_of(tmp_path / "x.mp4")


def test_a_video_without_frames_is_an_error(tmp_path: Path) -> None:
    whole = film(tmp_path / "x.mkv", 30)
    whole.write_bytes(whole.read_bytes()[:600])
    with pytest.raises(ZooError, match=r"without any frame|is not a complete"):
        frames_of(whole)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX files")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.mp4")
    with pytest.raises(UnreadableImageError, match="is not a regular file"):
        frames_of(tmp_path / "x.mp4")


@pytest.mark.parametrize(
    ("name", "container", "codec"),
    [
        ("x.mp4", {"movflags": "faststart"}, "libx264"),
        ("x.avi", {}, "mpeg4"),
        ("y.avi", {}, "mjpeg"),
        ("x.mkv", {}, "libx264"),
    ],
)
@pytest.mark.parametrize("part", [0.5, 0.8])
def test_of_a_truncated_video_the_frames_that_are_there_are_read(
    tmp_path: Path, name: str, container: dict[str, str], codec: str, part: float
) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = film(tmp_path / name, 60, codec, pixels, keys=12, between=0, size=(240, 320), container=container)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    frames = frames_of(path)
    assert 10 < len(frames) < 60
    found = list(what_is_readable(frames))
    assert found[:10] == list(range(10))
    assert found[-1] == ("frame" if name != "x.mkv" else found[-1])
    assert all(number in (place, "frame") for place, number in enumerate(found))
    assert list(what_is_readable(reversed(frames))) == found[::-1]


def what_is_readable(frames: Iterable[Frame]) -> Iterator[int | str]:
    """Yield the number in every frame, or the first word of the reason why it cannot be read."""
    with FrameReader() as reader:
        for frame in frames:
            try:
                yield number_in(reader.read(frame))
            except UnreadableImageError as error:
                yield error.reason.split()[0]


def test_an_mp4_without_its_table_of_contents_is_an_error(tmp_path: Path) -> None:
    path = film(tmp_path / "x.mp4", 30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableImageError, match="is not a complete"):
        frames_of(path)


@pytest.mark.parametrize("place", [12, 19, 26])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_damaged_frames_are_refused_up_to_the_next_key_frame_in_any_order(
    tmp_path: Path, place: int, suffix: str
) -> None:
    path = film(tmp_path / f"x{suffix}", 60, keys=12, between=0, size=(240, 320))
    frames = frames_of(path)
    whole = read_all(frames)
    with_damaged_packet(path, place)
    frames = [frame._replace(stamp="") for frame in frames]  # which would tell
    found: dict[int, set[bytes]] = {}
    with FrameReader() as reader:
        for number in (*range(60), *range(59, -1, -1), *range(0, 60, 7)):
            found.setdefault(number, set()).add(bytes_or_nothing(reader, frames[number]))
    refused = [number for number in range(60) if found[number] == {b""}]
    assert 0 < len(refused) <= 12
    assert all(found[number] == {whole[number].tobytes()} for number in range(60) if number not in refused)


def bytes_or_nothing(reader: FrameReader, frame: Frame) -> bytes:
    try:
        return reader.read(frame).tobytes()
    except UnreadableImageError:
        return b""


def test_a_video_that_is_shorter_than_its_frames_are_many_is_unreadable_there(tmp_path: Path) -> None:
    path = film(tmp_path / "x.mp4", 10)
    with FrameReader() as reader:
        with pytest.raises(UnreadableImageError, match="has no frame 15: there are 10"):
            reader.read(Frame("x-0000015.jpg", path, 15))
        assert number_in(reader.read(Frame("x-0000009.jpg", path, 9))) == 9
    path.unlink()
    with FrameReader() as reader, pytest.raises(UnreadableImageError, match="No such file"):
        reader.read(Frame("x-0000000.jpg", path, 0))


def test_a_file_that_changed_since_it_was_found_is_not_read(tmp_path: Path) -> None:
    video, image = film(tmp_path / "x.mp4", 3), tmp_path / "y.png"
    Image.new("RGB", (4, 4)).save(image)
    frames = find_images([str(video), str(image)]).frames
    with FrameReader() as reader:
        assert [reader.read(frame).ndim for frame in frames] == [3] * 4
        for path, frame in ((video, frames[0]), (image, frames[3])):
            path.write_bytes(path.read_bytes() + b" ")
            with pytest.raises(ImagesError, match=f"{path} has changed since the run began"):
                reader.read(frame)
            path.unlink()
            with pytest.raises(ImagesError, match="is gone since the run began"):
                reader.read(frame)


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "x.mp4", 2)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingPackageError) as caught:
        frames_of(path)
    assert caught.value.extra == "video"
    with FrameReader() as reader, pytest.raises(MissingPackageError):
        reader.read(Frame("x-0000000.jpg", path, 0))


def test_a_reader_reads_image_files_too(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(drawing(3)))
    (frame,) = find_images([str(tmp_path)]).frames
    assert np.array_equal(read_all([frame])[0], read_image(tmp_path / "x.png"))
    assert read_all([frame])[0].shape == (HEIGHT, WIDTH, 3)
