"""Videos → pixels of any frame, the same whichever way it is reached; through PyAV (FFmpeg)."""

from __future__ import annotations

import struct
from bisect import bisect_left, insort
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from bdd100k_zoo.data.videos import (
    main_stream,
    open_container,
    open_video,
    read_packet_index,
    read_packets,
    video_errors,
)
from bdd100k_zoo.errors import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream


class VideoReader:
    """An open video, for one thread. Frames that are read in order are decoded once each.

    For any other frame, decoding starts at the key frame before it; where the container cannot go there, at the
    beginning.

    Raises:
        MissingPackageError, NoImagesError, UnreadableImageError: see ``videos.count_frames``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_video(path) as (container, stream):
            self._index = read_packet_index(container, stream)
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._decoded: Iterator[tuple[int, int, VideoFrame]]
        self._numbers = {place: number for number, place in enumerate(self._index.frames)}
        self._places = {time: place for place, time in enumerate(self._index.times)}
        self._damaged = list(self._index.damaged)
        self._open()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def read(self, number: int) -> npt.NDArray[np.uint8]:
        """Give a frame: uint8 [height, width, 3], BGR, as ``pixels_of`` makes it.

        Raises:
            UnreadableImageError: there is no such frame, or it cannot be decoded, or it is damaged or follows a
                damaged one before the next key frame: then no pixel of it can be relied on.
        """
        if number >= len(self._index.frames):
            raise UnreadableImageError(self.path, f"has no frame {number}: there are {len(self._index.frames)}")
        with video_errors(self.path):
            found = self._find(number)
            if found is None:
                raise UnreadableImageError(self.path, f"frame {number} cannot be decoded")
            place, picture = found
            if self._is_damaged(place):
                raise UnreadableImageError(self.path, f"frame {number} is damaged, or one that it is made from")
            return picture_to_bgr(picture, self._reformatter)

    def _find(self, number: int) -> tuple[int, VideoFrame] | None:
        """Decode up to a frame; give its place and picture, or None where the decoder passes over it."""
        start = self._index.start(self._index.frames[number]) if self._index.is_timed else 0
        # What lies ahead is decoded on to, unless a key frame lies ahead as well from which there is less to decode.
        if number != self._next and (number < self._next or start > self._fed):
            self._seek(start)
        found = self._decode_on(number)
        if found is None and not self._is_from_beginning:  # some decoders need more before they show anything
            self._rewind()
            found = self._decode_on(number)
        return found

    def _decode_on(self, number: int) -> tuple[int, VideoFrame] | None:
        for given, place, picture in self._decoded:
            if given > number:
                self._decoded = chain([(given, place, picture)], self._decoded)
                self._next = given
                return None
            self._next = given + 1
            if given == number:
                return place, picture
        self._next = len(self._index.frames)
        return None

    def _seek(self, start: int) -> None:
        """Let decoding start from a key, or before it."""
        from av import FFmpegError

        packets = read_packets(self._container, self._stream)
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
            self._start(chain([first], packets), place)

    def _rewind(self) -> None:
        """Open the file anew: that reaches the beginning, whatever the container can and cannot do."""
        self._container.close()
        self._open()

    def _open(self) -> None:
        self._container = open_container(self.path)
        self._stream = main_stream(self.path, self._container)
        # It is videos that are read side by side. And with one thread, a decoder tells of damage where it is.
        self._stream.codec_context.thread_count = 1
        self._is_from_beginning = True
        self._start(read_packets(self._container, self._stream), 0)

    def _start(self, packets: Iterator[Packet[VideoStream]], place: int) -> None:
        self._decoded = self._decode(packets, place)
        self._next = 0  # no frame before this number is still to come
        self._fed = place  # the place of the packet that the decoder was given last

    def _decode(self, packets: Iterator[Packet[VideoStream]], place: int) -> Iterator[tuple[int, int, VideoFrame]]:
        """Give number, place and picture of the frames to come, in the order in which they are shown."""
        shown = 0
        for packet in chain(packets, [None]):  # at the end, the decoder gives what it still holds
            if packet is not None:
                self._fed = place
                if not self._index.is_timed:
                    packet.pts = place  # so that its picture tells where it comes from
            for picture in self._pictures(packet, place):
                origin = None if picture.pts is None else self._places.get(picture.pts)
                if origin is None:
                    continue
                if picture.is_corrupt:
                    self._note_damage(origin)
                number = self._numbers.get(origin) if self._index.is_timed else shown
                shown += 1
                if number is not None:
                    yield number, origin, picture
            place += 1

    def _pictures(self, packet: Packet[VideoStream] | None, place: int) -> Iterator[VideoFrame]:
        from av import FFmpegError

        try:
            yield from self._stream.decode(packet)
        except FFmpegError:
            self._note_damage(place)

    def _note_damage(self, place: int) -> None:
        if not self._damage_within(place, place):
            insort(self._damaged, place)

    def _is_damaged(self, place: int) -> bool:
        return self._damage_within(self._index.start(place), place)

    def _damage_within(self, first: int, last: int) -> bool:
        position = bisect_left(self._damaged, first)
        return position < len(self._damaged) and self._damaged[position] <= last


UNSPECIFIED, FULL_RANGE, LIMITED_RANGE = 2, 2, 1
SMPTE170M, BT2020 = 6, 9
MATRICES = {0: SMPTE170M, UNSPECIFIED: SMPTE170M, 3: SMPTE170M, 10: BT2020}
"""What stands for matrices that are not told, or that FFmpeg has no numbers for (ITU-T H.273, MatrixCoefficients)."""


def picture_to_bgr(picture: VideoFrame, reformatter: VideoReformatter) -> npt.NDArray[np.uint8]:
    """Convert a decoded picture: uint8 [height, width, 3], BGR, full range.

    YUV is converted by the matrix and range that the video tells; where it tells none, by BT.601's and the limited
    range, as FFmpeg does. Chroma is brought to full size bilinearly. There is no tone mapping, and pixels that are not
    square stay as they are stored. The picture is turned and mirrored as the video's display matrix says, by quarters.
    """
    matrix = _display_matrix(picture)
    if not picture.format.is_rgb:
        picture.colorspace = MATRICES.get(int(picture.colorspace), int(picture.colorspace))
        if not int(picture.color_range):
            is_full = picture.format.name.startswith("yuvj")
            picture.color_range = FULL_RANGE if is_full else LIMITED_RANGE
    # Tags that do not matter here, and some of which the conversion refuses.
    picture.color_trc = picture.color_primaries = UNSPECIFIED
    converted = reformatter.reformat(picture, format="bgr24", dst_color_range=FULL_RANGE, threads=1)
    pixels: npt.NDArray[np.uint8] = converted.to_ndarray()
    return np.ascontiguousarray(_turned(pixels, matrix))


QUARTERS = {-90: (0, 1, -1, 0), 90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), -180: (-1, 0, 0, -1)}
IDENTITY_MATRIX = (1, 0, 0, 1)


def _display_matrix(picture: VideoFrame) -> tuple[int, ...]:
    """Give a, b, c, d: what is stored at (x, y) is shown at (ax + cy, bx + dy), up to scale and position."""
    try:
        numbers = struct.unpack("=9i", bytes(picture.side_data["DISPLAYMATRIX"]))
    except KeyError:
        return IDENTITY_MATRIX
    except ValueError:  # beside it is something that PyAV has no name for
        return QUARTERS.get(picture.rotation, IDENTITY_MATRIX)
    return numbers[0], numbers[1], numbers[3], numbers[4]


def _turned(pixels: npt.NDArray[np.uint8], matrix: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    a, b, c, d = matrix
    across, down = a, d
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels = pixels.transpose(1, 0, 2)
        across, down = c, b
    return pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
