"""Videos → which frames they have, read off their packets by PyAV (FFmpeg). Nothing is decoded here."""

from __future__ import annotations

import os
import stat
from bisect import bisect_right
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple, cast

from bdd100k_zoo.errors import MissingPackageError, NoImagesError, UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
EXTRA = "video"
"""The extra that installs PyAV."""

OPTIONS = {"format_whitelist": "mov,mp4,avi,matroska,webm", "protocol_whitelist": "file"}
"""FFmpeg goes by content, not by name: a playlist called x.mp4 would send it to other files, and to the network."""


def count_frames(path: Path) -> int:
    """Count the frames of a video.

    Raises:
        MissingPackageError: PyAV is missing.
        NoImagesError: the file holds no video, or one without frames.
        UnreadableImageError: it cannot be read, or is no whole video of a known kind.
    """
    with open_video(path) as (container, stream):
        frames = len(read_packet_index(container, stream).frames)
    if not frames:
        raise NoImagesError(str(path), "is a video without any frame")
    return frames


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video for as long as the block runs; what FFmpeg raises there is told as an UnreadableImageError."""
    with closing(open_container(path)) as container, video_errors(path):
        yield container, main_stream(path, container)


def open_container(path: Path) -> InputContainer:
    """Open a file whatever it holds; raises MissingPackageError, UnreadableImageError."""
    try:
        import av
    except ImportError as error:
        raise MissingPackageError("PyAV", EXTRA, str(error)) from error
    with video_errors(path):
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise UnreadableImageError(path, "is no regular file")
        # After `file:`, a colon in the path begins no protocol.
        return av.open(f"file:{os.fspath(path)}", options=OPTIONS)


def main_stream(path: Path, container: InputContainer) -> VideoStream:
    """Choose the video that players choose; raises NoImagesError, UnreadableImageError."""
    stream = container.streams.best("video")
    if stream is None or stream.disposition & stream.disposition.attached_pic:  # the cover of a piece of music
        kinds = sorted({each.type for each in container.streams}) or ["nothing"]
        raise NoImagesError(str(path), f"holds no video: found {', '.join(kinds)}")
    if getattr(stream, "codec_context", None) is None:
        raise UnreadableImageError(path, "is encoded in a way that PyAV cannot decode")
    return cast("VideoStream", stream)


@contextmanager
def video_errors(path: Path) -> Iterator[None]:
    """Tell what FFmpeg and the file system raise as an UnreadableImageError."""
    from av import FFmpegError

    try:
        yield
    except OSError as error:
        raise UnreadableImageError(path, error.strerror or str(error)) from error
    except FFmpegError as error:
        raise UnreadableImageError(path, f"is no whole {KNOWN_CONTAINERS} video ({error.strerror})") from error


KNOWN_CONTAINERS = "MP4, MOV, AVI, Matroska or WebM"


class PacketIndex(NamedTuple):
    """What the packets of a video tell. A packet's place is its number in the file: the order of the decoder."""

    times: Sequence[int]
    """Presentation time by place."""
    frames: Sequence[int]
    """Place by frame number."""
    keys: Sequence[int]
    """Places that decoding can start from, ascending."""
    damaged: Sequence[int]
    """Places of packets that the container calls damaged, ascending."""
    is_timed: bool
    """Whether the times are presentation times; where not, frames are numbered as they come out of the decoder."""

    def start(self, place: int) -> int:
        """Give the place from which to decode for the frame of a packet to come out right.

        It is the last key that is shown no later. What is shown before a key may lean on the key before that, too,
        although it comes after it in the file.
        """
        for position in range(bisect_right(self.keys, place) - 1, -1, -1):
            if self.times[self.keys[position]] <= self.times[place]:
                return self.keys[position]
        return 0


def read_packet_index(container: InputContainer, stream: VideoStream) -> PacketIndex:
    """Read all packets of a video that was just opened."""
    times: list[int | None] = []
    frames, keys, damaged = [], [], []
    for place, packet in enumerate(read_packets(container, stream)):
        times.append(packet.pts)
        if packet.is_keyframe:
            keys.append(place)
        if packet.is_corrupt:
            damaged.append(place)
        if not (packet.is_discard or _is_hidden(stream, packet)):
            frames.append(place)
    told = [time for time in times if time is not None]
    # AVI holds no times of presentation. Those that FFmpeg makes up are wrong where pictures wait for others.
    believed = container.format.name != "avi" or len(keys) == len(times)
    if believed and len(set(told)) == len(times):
        return PacketIndex(told, sorted(frames, key=told.__getitem__), keys, damaged, is_timed=True)
    return PacketIndex(range(len(times)), frames, keys, damaged, is_timed=False)


def read_packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """Give the packets from where the container stands, without those that hold nothing."""
    return (packet for packet in container.demux(stream) if packet.size)


def _is_hidden(stream: VideoStream, packet: Packet[VideoStream]) -> bool:
    """VP8 has pictures that are never shown: the fifth bit of a packet tells (RFC 6386, 9.1)."""
    return stream.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10
