"""Videos: how many frames they have, and the pixels of any frame; read by PyAV (FFmpeg), which is imported late.

Frames are counted from the packets, without decoding. The pixels of a frame are the same in whatever order frames are
read.
"""

from __future__ import annotations

import os
import stat
import struct
from bisect import bisect_right
from contextlib import closing, contextmanager
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, cast

from bdd100k_zoo.errors import ImagesError, MissingPackageError, UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
EXTRA = "video"
"""The extra that installs PyAV."""

VIDEO_HINT = "check the file with a player; --images takes videos, images, folders and patterns"
KNOWN_CONTAINERS = "MP4, MOV, AVI, Matroska or WebM"
OPTIONS = {"format_whitelist": "mov,mp4,avi,matroska,webm", "protocol_whitelist": "file"}
"""FFmpeg goes by content, not by name: a playlist named x.mp4 would make it open other files and network addresses."""


def count_frames(path: Path) -> int:
    """Count the frames of a video.

    Raises:
        MissingPackageError: PyAV is not installed.
        ImagesError: the file holds no video, or one without frames.
        UnreadableImageError: the file cannot be read, or is no complete video of a known kind.
    """
    with _open_video(path) as (container, stream):
        frames = len(_read_packet_index(container, stream).frames)
    if not frames:
        raise ImagesError(f"{path}: is a video without any frame", VIDEO_HINT)
    return frames


@contextmanager
def _open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video while the block runs; FFmpeg's errors in the block are raised as UnreadableImageError."""
    with closing(_open_container(path)) as container, _video_errors(path):
        yield container, _main_stream(path, container)


def _open_container(path: Path) -> InputContainer:
    """Open a file whatever it holds; raises MissingPackageError, UnreadableImageError."""
    try:
        import av
    except ImportError as error:
        raise MissingPackageError("PyAV", EXTRA, str(error)) from error
    with _video_errors(path):
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would block
            raise UnreadableImageError(path, "is not a regular file")
        # After the prefix `file:`, a colon in the path does not start a protocol.
        return av.open(f"file:{os.fspath(path)}", options=OPTIONS)


def _main_stream(path: Path, container: InputContainer) -> VideoStream:
    """Return the video stream that players choose; raises ImagesError, UnreadableImageError."""
    stream = container.streams.best("video")
    if stream is None or stream.disposition & stream.disposition.attached_pic:  # the cover image of an audio file
        kinds = sorted({each.type for each in container.streams}) or ["nothing"]
        raise ImagesError(f"{path}: holds no video: found {', '.join(kinds)}", VIDEO_HINT)
    if getattr(stream, "codec_context", None) is None:
        raise UnreadableImageError(path, "is encoded in a way that PyAV cannot decode")
    return cast("VideoStream", stream)


@contextmanager
def _video_errors(path: Path) -> Iterator[None]:
    """Raise the errors of FFmpeg and of the file system as UnreadableImageError."""
    from av import FFmpegError

    try:
        yield
    except OSError as error:
        raise UnreadableImageError(path, error.strerror or str(error)) from error
    except FFmpegError as error:
        raise UnreadableImageError(path, f"is not a complete {KNOWN_CONTAINERS} video ({error.strerror})") from error


class PacketIndex(NamedTuple):
    """The packets of a video. A packet's place is its index in the file, which is the order of decoding."""

    times: Sequence[int]
    """Presentation time by place."""
    frames: Sequence[int]
    """Place by frame number; frames are numbered in the order of presentation."""
    keys: Sequence[int]
    """Places of key frames, from which decoding can start, ascending."""
    damaged: Sequence[int]
    """Places of packets that the container marks as damaged."""
    is_timed: bool
    """Whether the times are presentation times; if not, frames are numbered in the order of the decoder's output."""

    def seek_start(self, place: int) -> int:
        """Return the place to start decoding from, for the frame of a packet to be decoded correctly.

        It is the last key frame that is presented no later. A frame that is presented before a key frame, although it
        is stored after it, may also depend on the key frame before that one.
        """
        for position in range(bisect_right(self.keys, place) - 1, -1, -1):
            if self.times[self.keys[position]] <= self.times[place]:
                return self.keys[position]
        return 0


def _read_packet_index(container: InputContainer, stream: VideoStream) -> PacketIndex:
    """Read all packets of a video that was just opened."""
    times: list[int | None] = []
    frames, keys, damaged = [], [], []
    is_vp8 = stream.codec_context.name == "vp8"
    for place, packet in enumerate(_read_packets(container, stream)):
        times.append(packet.pts)
        if packet.is_keyframe:
            keys.append(place)
        if packet.is_corrupt:
            damaged.append(place)
        # VP8 has frames that are never shown, marked by the fifth bit of a packet (RFC 6386, 9.1).
        if not (packet.is_discard or (is_vp8 and not memoryview(packet)[0] & 0x10)):
            frames.append(place)
    known_times = [time for time in times if time is not None]
    # AVI stores no presentation times, and those that FFmpeg infers are wrong if frames are stored out of order.
    is_reliable = container.format.name != "avi" or len(keys) == len(times)
    if is_reliable and len(set(known_times)) == len(times):
        return PacketIndex(known_times, sorted(frames, key=known_times.__getitem__), keys, damaged, is_timed=True)
    return PacketIndex(range(len(times)), frames, keys, damaged, is_timed=False)


def _read_packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """Return the packets from the container's position on, without empty ones."""
    return (packet for packet in container.demux(stream) if packet.size)


class VideoReader:
    """An open video, for one thread. Frames that are read in order are decoded once each.

    For any other frame, decoding starts at the key frame before it, or at the beginning if the container cannot seek.

    Raises:
        MissingPackageError, ImagesError, UnreadableImageError: as ``count_frames``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _open_video(path) as (container, stream):
            self._index = _read_packet_index(container, stream)
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._decoded: Iterator[tuple[int, int, VideoFrame]]
        self._numbers = {place: number for number, place in enumerate(self._index.frames)}
        self._places = {time: place for place, time in enumerate(self._index.times)}
        self._damaged = set(self._index.damaged)
        self._open()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def read(self, number: int) -> npt.NDArray[np.uint8]:
        """Return a frame as uint8 [height, width, 3], BGR, converted by ``picture_to_bgr``.

        Raises:
            UnreadableImageError: there is no such frame, it cannot be decoded, or it or a frame between it and the key
                frame before it is damaged, so that its pixels may be wrong.
        """
        if number >= len(self._index.frames):
            raise UnreadableImageError(self.path, f"has no frame {number}: there are {len(self._index.frames)}")
        with _video_errors(self.path):
            found = self._find(number)
            if found is None:
                raise UnreadableImageError(self.path, f"frame {number} cannot be decoded")
            place, picture = found
            start = self._index.seek_start(place)
            if any(start <= damaged <= place for damaged in self._damaged):
                raise UnreadableImageError(self.path, f"frame {number} is damaged, or a frame that it is decoded from")
            return picture_to_bgr(picture, self._reformatter)

    def _find(self, number: int) -> tuple[int, VideoFrame] | None:
        """Return the place and picture of a frame; None if the decoder skips it."""
        start = self._index.seek_start(self._index.frames[number]) if self._index.is_timed else 0
        # For a frame ahead, decoding continues, unless a key frame ahead leaves less to decode.
        if number != self._next and (number < self._next or start > self._fed):
            self._seek(start)
        found = self._decode_until(number)
        if found is None and not self._is_from_beginning:  # some decoders need more packets before their first frame
            self._rewind()
            found = self._decode_until(number)
        return found

    def _decode_until(self, number: int) -> tuple[int, VideoFrame] | None:
        for current, place, picture in self._decoded:
            if current > number:
                self._decoded = chain([(current, place, picture)], self._decoded)
                self._next = current
                return None
            self._next = current + 1
            if current == number:
                return place, picture
        self._next = len(self._index.frames)
        return None

    def _seek(self, start: int) -> None:
        """Move to a key frame, or to a place before it."""
        from av import FFmpegError

        packets = _read_packets(self._container, self._stream)
        try:
            self._container.seek(self._index.times[start], stream=self._stream)
            first = next(packets, None)
        except FFmpegError:
            first = None
        place = None if first is None or first.pts is None else self._places.get(first.pts)
        if start == 0 or first is None or place is None or place > start:
            self._rewind()
        else:
            self._is_from_beginning = False
            self._start_decoding(chain([first], packets), place)

    def _rewind(self) -> None:
        """Move to the beginning by opening the file again, which works for every container."""
        self._container.close()
        self._open()

    def _open(self) -> None:
        self._container = _open_container(self.path)
        self._stream = _main_stream(self.path, self._container)
        # Videos are read in parallel, not frames. And with one thread, a decoder reports damage at the right packet.
        self._stream.codec_context.thread_count = 1
        self._is_from_beginning = True
        self._start_decoding(_read_packets(self._container, self._stream), 0)

    def _start_decoding(self, packets: Iterator[Packet[VideoStream]], place: int) -> None:
        self._decoded = self._decode(packets, place)
        self._next = 0  # the smallest number of the frames still to be decoded
        self._fed = place  # the place of the packet that was passed to the decoder last

    def _decode(self, packets: Iterator[Packet[VideoStream]], place: int) -> Iterator[tuple[int, int, VideoFrame]]:
        """Yield number, place and picture of the following frames in the order of presentation."""
        shown = 0
        for packet in chain(packets, [None]):  # None flushes the decoder at the end
            if packet is not None:
                self._fed = place
                if not self._index.is_timed:
                    packet.pts = place  # the decoder copies it to the picture, which so records its origin
            for picture in self._decode_packet(packet, place):
                origin = None if picture.pts is None else self._places.get(picture.pts)
                if origin is None:
                    continue
                if picture.is_corrupt:
                    self._damaged.add(origin)
                number = self._numbers.get(origin) if self._index.is_timed else shown
                shown += 1
                if number is not None:
                    yield number, origin, picture
            place += 1

    def _decode_packet(self, packet: Packet[VideoStream] | None, place: int) -> Iterator[VideoFrame]:
        from av import FFmpegError

        try:
            yield from self._stream.decode(packet)
        except FFmpegError:
            self._damaged.add(place)


UNSPECIFIED, FULL_RANGE, LIMITED_RANGE = 2, 2, 1
SMPTE170M, BT2020 = 6, 9
MATRICES = {0: SMPTE170M, UNSPECIFIED: SMPTE170M, 3: SMPTE170M, 10: BT2020}
"""Replacements for matrices that are unspecified or unknown to FFmpeg (ITU-T H.273, MatrixCoefficients)."""


def picture_to_bgr(picture: VideoFrame, reformatter: VideoReformatter) -> npt.NDArray[np.uint8]:
    """Convert a decoded picture to uint8 [height, width, 3], BGR, full range.

    YUV is converted by the matrix and range that the video specifies; by default by BT.601's matrix and the limited
    range, as FFmpeg does. Chroma is upsampled bilinearly. There is no tone mapping, and non-square pixels stay as they
    are stored. The picture is rotated and mirrored by the video's display matrix, in quarter turns.
    """
    import numpy as np

    matrix = _display_matrix(picture)
    if not picture.format.is_rgb:
        picture.colorspace = MATRICES.get(int(picture.colorspace), int(picture.colorspace))
        if not int(picture.color_range):
            is_full = picture.format.name.startswith("yuvj")
            picture.color_range = FULL_RANGE if is_full else LIMITED_RANGE
    # These tags do not affect the conversion, which refuses some of their values.
    picture.color_trc = picture.color_primaries = UNSPECIFIED
    converted = reformatter.reformat(picture, format="bgr24", dst_color_range=FULL_RANGE, threads=1)
    return np.ascontiguousarray(_rotated(converted.to_ndarray(), matrix))


QUARTER_TURNS = {-90: (0, 1, -1, 0), 90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), -180: (-1, 0, 0, -1)}
IDENTITY_MATRIX = (1, 0, 0, 1)


def _display_matrix(picture: VideoFrame) -> tuple[int, ...]:
    """Return a, b, c, d: the pixel stored at (x, y) is shown at (ax + cy, bx + dy), up to scale and offset."""
    try:
        numbers = struct.unpack("=9i", bytes(picture.side_data["DISPLAYMATRIX"]))
    except KeyError:
        return IDENTITY_MATRIX
    except ValueError:  # PyAV fails on side data of a type that it does not know
        return QUARTER_TURNS.get(picture.rotation, IDENTITY_MATRIX)
    return numbers[0], numbers[1], numbers[3], numbers[4]


def _rotated(pixels: npt.NDArray[np.uint8], matrix: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    a, b, c, d = matrix
    across, down = a, d
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels = pixels.transpose(1, 0, 2)
        across, down = c, b
    return pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
